//! Texts that hosts take: shortened to their limits, and marked so that they are found again.

use sha2::{Digest as _, Sha256};

/// A name of at most `max` characters: a longer one is cut and ends with a hash of the whole, so that two never become one (E74). `max` is 16 or more.
pub(crate) fn shortened(name: &str, max: usize) -> String {
    if name.chars().count() <= max {
        return name.to_owned();
    }
    let hash = Sha256::digest(name.as_bytes());
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().take(max.saturating_sub(hash.len() + 1)).collect();
    format!("{kept}-{hash}")
}

/// A comment's text with the marker by which it is found again. Markdown shows no HTML comment.
pub(crate) fn with_marker(topic: &str, text: &str) -> String {
    format!("{}\n{text}", marker(topic))
}

/// Whether a comment has the marker of `topic`.
pub(crate) fn marked(body: &str, topic: &str) -> bool {
    body.starts_with(&marker(topic))
}

fn marker(topic: &str) -> String {
    format!("<!-- kiops:{} -->", label(topic))
}

/// The same for hosts whose Markdown shows HTML comments: a link's definition that no link refers to, at the end.
pub(crate) fn with_label(topic: &str, text: &str) -> String {
    format!("{}\n\n[//]: # (kiops:{})", text.trim_end(), label(topic))
}

/// Whether a comment ends with the label of `topic`.
pub(crate) fn labelled(body: &str, topic: &str) -> bool {
    let last = body.trim_end().lines().next_back().unwrap_or_default();
    last == format!("[//]: # (kiops:{})", label(topic))
}

/// The topic, where nothing in it could end the marker; else its hash.
fn label(topic: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-/._".contains(c);
    if topic.chars().all(plain) && !topic.contains("--") {
        return topic.to_owned();
    }
    let hash = Sha256::digest(topic.as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A text without what stands before the hosts of its addresses: an import's address may hold a token.
pub(crate) fn without_user_info(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).unwrap_or(after.len());
        let host = after[..end].rfind('@').map_or(0, |at| at + 1);
        out.push_str(&after[host..end]);
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_comment_is_found_by_its_own_topic_only() {
        let text = with_marker("build/api", "Built.");
        assert!(marked(&text, "build/api") && !marked(&text, "build"));
        assert!(!marked("quoted <!-- kiops:build/api -->", "build/api"));
    }

    #[test]
    fn an_address_is_shown_without_who_it_is_for() {
        let text = "fetch of 'https://ghp_secret:x-oauth@github.com/a/b.git' failed, see https://x.io/y@z";
        let shown = "fetch of 'https://github.com/a/b.git' failed, see https://x.io/y@z";
        assert_eq!(without_user_info(text), shown);
    }

    proptest! {
        #[test]
        fn names_stay_short_and_apart(one in "\\PC{1,80}", other in "\\PC{1,80}") {
            let (a, b) = (shortened(&one, 40), shortened(&other, 40));
            prop_assert!(a.chars().count() <= 40);
            prop_assert_eq!(one == other, a == b);
        }

        #[test]
        fn no_topic_ends_its_marker(topic in "\\PC{0,40}") {
            let text = with_marker(&topic, "text");
            prop_assert_eq!(text.matches("-->").count(), 1);
            prop_assert!(marked(&text, &topic));
            let text = with_label(&topic, "text");
            prop_assert_eq!(text.lines().count(), 3);
            prop_assert!(labelled(&text, &topic) && !marked(&text, &topic));
        }
    }
}
