//! The shapes in which every provider answers.

use kiops_core::event::Repository;
use kiops_core::provider::{CommitStatus, MergeRequestInfo, MergeRequestState, Page, Search, as_markdown};
use kiops_core::{Error, ErrorKind, Result};

const PAGE_DEFAULT: usize = 100;
pub(crate) const PAGE_MAX: usize = 1000;

/// The one that is open, or else the newest.
pub(crate) fn newest(found: impl IntoIterator<Item = MergeRequestInfo>) -> Option<MergeRequestInfo> {
    found.into_iter().max_by_key(|found| (found.state == MergeRequestState::Open, found.number))
}

/// One page of what `sorted` has in the order of `name`.
pub(crate) fn page<T>(sorted: Vec<T>, search: &Search, name: impl Fn(&T) -> &str) -> Page<T> {
    let wanted = search.text.to_lowercase();
    let after = search.after.as_deref();
    let limit = if search.limit == 0 { PAGE_DEFAULT } else { search.limit.min(PAGE_MAX) };
    let mut rest = sorted
        .into_iter()
        .filter(|item| after.is_none_or(|after| name(item) > after))
        .filter(|item| wanted.is_empty() || name(item).to_lowercase().contains(&wanted));
    let items: Vec<T> = rest.by_ref().take(limit).collect();
    let next = rest.next().and_then(|_| items.last().map(|item| name(item).to_owned()));
    Page { items, next }
}

/// What does not exist is `None`.
pub(crate) fn or_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Refuses what is no path within a tree. Line breaks and everything else that git allows in names are fine.
pub(crate) fn check_path(operation: &'static str, path: &str, root: bool) -> Result<()> {
    let bad = path.len() > 4096
        || path.contains('\0')
        || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if bad && !(root && path.is_empty()) {
        return Err(Error::invalid(
            operation,
            format!("`{}` is not a path from the root", path.escape_debug()),
        )
        .with_remedy("give names joined by `/`, without `.` and `..`"));
    }
    Ok(())
}

/// A status where it can only be a comment.
pub(crate) fn status_text(status: &CommitStatus) -> String {
    let mut text = format!("**{}**: {}", status.context, status.state.name());
    if !status.description.is_empty() {
        text.push_str(" - ");
        text.push_str(&as_markdown(&status.description));
    }
    if let Some(url) = status.target_url.as_ref().filter(|url| !url.is_empty()) {
        text.push_str("\n\n");
        text.push_str(url);
    }
    text
}

/// The two parts of a path. Any other text is none that a repository could have.
pub(crate) fn owner_and_name<'a>(
    operation: &'static str,
    repository: &'a Repository,
) -> Result<[&'a str; 2]> {
    let parts = repository.path.split_once('/').filter(|(owner, name)| is_name(owner) && is_name(name));
    let (owner, name) = parts.ok_or_else(|| {
        let shown: String = repository.path.chars().take(100).collect();
        Error::not_found(operation, format!("`{}` is no repository's path", shown.escape_debug()))
            .with_remedy("give it as `owner/name`")
    })?;
    Ok([owner, name])
}

/// What the hosts allow as a name of an owner or a repository, and a little more.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(is_name_byte)
}

pub(crate) const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// A list that is longer than the limit in force.
pub(crate) fn too_many(operation: &'static str, what: &str, max: usize) -> Error {
    Error::new(ErrorKind::TooLarge, operation, format!("{what} has more than {max} entries"))
        .with_remedy("raise max_entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_open_comes_before_a_newer_one_that_is_not() {
        let request = |number, state| MergeRequestInfo { number, web_url: None, state };
        let (open, closed) = (MergeRequestState::Open, MergeRequestState::Closed);
        let reopened = [request(5, open), request(6, closed)];
        assert_eq!(newest(reopened).map(|found| found.number), Some(5));
        assert_eq!(newest([request(6, closed), request(5, closed)]).map(|found| found.number), Some(6));
        assert_eq!(newest([]), None);
    }
}
