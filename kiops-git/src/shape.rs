//! The shapes in which every provider answers.

use kiops_core::provider::{Page, Search};
use kiops_core::{Error, ErrorKind, Result};

const PAGE_DEFAULT: usize = 100;
pub(crate) const PAGE_MAX: usize = 1000;

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
