//! Which sender a delivery looks like.

use http::HeaderMap;
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::Detector;

/// Which of [`sources`](crate::sources) a delivery with these headers looks like, for an endpoint that takes them all; `None`: none.
///
/// Some hosts send other hosts' headers beside their own, so the ones that copy are asked for first (E49): Forgejo, which sends Gitea's,
/// Gogs' and GitHub's, before Gitea, Gitea before Gogs, and GitHub last. The two Bitbuckets share `X-Event-Key` and are told apart
/// by the headers that only Cloud sends, else by the event's name, else by `X-Request-Id`, which a proxy may have added.
///
/// Headers prove nothing: the sender found here still has to verify the delivery, and refuses what it did not sign.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// headers.insert("X-GitHub-Event", "push".parse().unwrap());
/// headers.insert("X-Gitea-Event", "push".parse().unwrap());
/// assert_eq!(kiops_git::detect(&headers).unwrap().as_str(), "gitea");
/// ```
pub fn detect(headers: &HeaderMap) -> Option<ProviderName> {
    let looks =
        |(_, marks): &&(ProviderLiteral, &[&str])| marks.iter().any(|mark| headers.contains_key(*mark));
    let found = BEFORE.iter().find(looks).map(|(name, _)| *name);
    let found =
        found.or_else(|| bitbucket(headers)).or_else(|| AFTER.iter().find(looks).map(|(name, _)| *name));
    found.map(ProviderLiteral::name)
}

/// [`detect`] for [`Ingest::with_detector`](kiops_core::engine::Ingest::with_detector).
#[derive(Debug, Clone, Copy, Default)]
pub struct ByHeaders;

impl Detector for ByHeaders {
    fn detect(&self, headers: &HeaderMap) -> Option<ProviderName> {
        detect(headers)
    }

    fn marks(&self) -> Vec<&'static str> {
        let of = |table: &'static [(ProviderLiteral, &'static [&'static str])]| {
            table.iter().flat_map(|(_, marks)| marks.iter().copied())
        };
        of(BEFORE).chain([EVENT_KEY]).chain(of(AFTER)).collect()
    }
}

/// In the order in which they are asked.
const BEFORE: &[(ProviderLiteral, &[&str])] = &[
    (ProviderLiteral::new("forgejo"), &["x-forgejo-event", "x-forgejo-signature"]),
    (ProviderLiteral::new("gitea"), &["x-gitea-event", "x-gitea-signature"]),
    (ProviderLiteral::new("gogs"), &["x-gogs-event", "x-gogs-signature"]),
    (ProviderLiteral::new("gitee"), &["x-gitee-event", "x-gitee-token"]),
    (ProviderLiteral::new("gitlab"), &["x-gitlab-event", "x-gitlab-token"]),
];

/// GitLab signs by Standard Webhooks as well: a delivery of a plain repository has nothing but them.
const AFTER: &[(ProviderLiteral, &[&str])] = &[
    (ProviderLiteral::new("github"), &["x-github-event"]),
    (ProviderLiteral::new("plain"), &["webhook-signature"]),
];

/// What both Bitbuckets send.
const EVENT_KEY: &str = "x-event-key";

fn bitbucket(headers: &HeaderMap) -> Option<ProviderLiteral> {
    const CLOUD: ProviderLiteral = ProviderLiteral::new("bitbucket");
    const DC: ProviderLiteral = ProviderLiteral::new("bitbucket-dc");
    let key = headers.get(EVENT_KEY)?.to_str().unwrap_or_default();
    if ["x-hook-uuid", "x-request-uuid", "x-attempt-number"].iter().any(|name| headers.contains_key(*name)) {
        return Some(CLOUD);
    }
    match key.split_once(':') {
        Some(("pullrequest" | "issue", _)) => Some(CLOUD),
        Some(("pr" | "diagnostics" | "mirror" | "project", _)) => Some(DC),
        Some(("repo", "refs_changed" | "modified" | "forked" | "secret_detected")) => Some(DC),
        Some(("repo", what)) if what.starts_with("comment:") => Some(DC),
        Some(("repo", what)) if what == "push" || what.starts_with("commit_") => Some(CLOUD),
        _ if headers.contains_key("x-request-id") => Some(DC),
        _ => Some(CLOUD),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(headers: &[(&'static str, &'static str)]) -> Option<String> {
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value))
        });
        detect(&headers.collect()).map(|name| name.to_string())
    }

    #[test]
    fn a_host_that_sends_other_hosts_headers_is_known_by_its_own() {
        const COPIED: [&str; 4] = ["X-Forgejo-Event", "X-Gitea-Event", "X-Gogs-Event", "X-GitHub-Event"];
        let names = ["forgejo", "gitea", "gogs", "github"];
        for (at, name) in names.into_iter().enumerate() {
            let headers: Vec<_> = COPIED[at..].iter().rev().map(|header| (*header, "push")).collect();
            assert_eq!(found(&headers).as_deref(), Some(name));
        }
    }

    #[test]
    fn every_host_is_known_by_its_own_header() {
        for (header, name) in [
            ("X-Gitlab-Event", "gitlab"),
            ("X-Gitee-Event", "gitee"),
            ("X-GitHub-Event", "github"),
            ("webhook-signature", "plain"),
        ] {
            assert_eq!(found(&[(header, "x")]).as_deref(), Some(name));
        }
        let signed = [("webhook-signature", "v1,x"), ("X-Gitlab-Event", "Push Hook")];
        assert_eq!(found(&signed).as_deref(), Some("gitlab"));
        assert_eq!(found(&[("X-Hub-Signature", "sha256=00"), ("Content-Type", "application/json")]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn each_header_that_is_looked_for_is_enough_to_be_known_by() {
        let marks = ByHeaders.marks();
        assert_eq!(marks.len(), 13);
        for mark in marks {
            assert!(found(&[(mark, "x")]).is_some(), "{mark}");
        }
    }

    #[test]
    fn the_two_bitbuckets_are_told_apart_by_headers_of_cloud_before_names_before_a_request_id() {
        for (headers, name) in [
            (
                &[("X-Event-Key", "repo:push"), ("X-Request-UUID", "a"), ("X-Request-Id", "b")][..],
                "bitbucket",
            ),
            (&[("X-Event-Key", "repo:updated"), ("X-Hook-UUID", "a"), ("X-Request-Id", "b")], "bitbucket"),
            (&[("X-Event-Key", "repo:push"), ("X-Request-Id", "b")], "bitbucket"),
            (&[("X-Event-Key", "pullrequest:created")], "bitbucket"),
            (&[("X-Event-Key", "repo:commit_status_updated"), ("X-Request-Id", "b")], "bitbucket"),
            (&[("X-Event-Key", "repo:updated")], "bitbucket"),
            (&[("X-Event-Key", "repo:refs_changed"), ("X-Request-Id", "b")], "bitbucket-dc"),
            (&[("X-Event-Key", "repo:refs_changed")], "bitbucket-dc"),
            (&[("X-Event-Key", "pr:opened")], "bitbucket-dc"),
            (&[("X-Event-Key", "repo:comment:added")], "bitbucket-dc"),
            (&[("X-Event-Key", "diagnostics:ping")], "bitbucket-dc"),
            (&[("X-Event-Key", "something:new"), ("X-Request-Id", "b")], "bitbucket-dc"),
        ] {
            assert_eq!(found(headers).as_deref(), Some(name), "{headers:?}");
        }
    }

    #[test]
    fn every_name_found_is_one_of_a_source() {
        let sources: Vec<_> = crate::sources().iter().map(|source| source.name()).collect();
        for (name, _) in BEFORE.iter().chain(AFTER) {
            assert!(sources.contains(&name.name()), "{name:?}");
        }
        for key in ["repo:push", "repo:refs_changed"] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(EVENT_KEY),
                HeaderValue::from_static(key),
            )]);
            assert!(sources.contains(&detect(&headers).unwrap()));
        }
    }
}
