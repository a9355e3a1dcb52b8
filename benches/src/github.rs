//! A signed GitHub push from bytes to an event, to be compared with other libraries that receive GitHub's webhooks.

use std::fmt::Write as _;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use kiops_core::event::{Event, EventKind};
use kiops_core::name::ProviderName;
use kiops_core::secret::Secret;
use kiops_core::webhook::{Delivery, SecretSet, WebhookSource as _};
use kiops_git::github::GitHubWebhook;
use sha2::Sha256;

use crate::Outcome;
use crate::push::{Files, commit, filled};

/// What the deliveries are signed with.
pub const SECRET: &str = "it is a secret between GitHub and us";

/// The path of the repository that is pushed to.
const REPOSITORY: &str = "example-org/platform";

/// A push as GitHub delivers it, signed.
#[derive(Debug)]
pub struct GitHubPush {
    delivery: Delivery,
    secrets: SecretSet,
    now: Timestamp,
}

impl GitHubPush {
    /// A push whose body has exactly this many bytes, 9 KiB at least. Some 8 KiB of it is the repository, its owner and who pushed; a
    /// commit for every 2 KiB beyond, at most 200, with as many changed files as there is room for.
    pub fn of(bytes: usize) -> Outcome<Self> {
        let commits = (bytes.saturating_sub(8 << 10) / (2 << 10)).clamp(1, 200);
        // The last commit stands in `commits` and is `head_commit`.
        let body = filled(bytes, commits, 2, render)?;
        Ok(Self {
            delivery: Delivery::new(
                ProviderName::parse("github")?,
                signed_headers(body.as_bytes())?,
                Bytes::from(body),
            ),
            secrets: SecretSet::new(Secret::new(SECRET)),
            now: Timestamp::from_second(1_800_000_000)?,
        })
    }

    /// Verify and decode, by the calls that a host makes.
    pub fn handle(&self) -> Outcome<Event> {
        if !GitHubWebhook.verify(&self.delivery, &self.secrets, self.now).verdict.is_verified() {
            return Err("the delivery does not verify".into());
        }
        GitHubWebhook.decode(&self.delivery)?.pop().ok_or_else(|| "the delivery holds no event".into())
    }

    /// The same with one byte of its body changed, which no longer verifies.
    #[must_use]
    pub fn forged(&self) -> Self {
        let mut body = self.delivery.body.to_vec();
        // The first letter of the branch: what comes of it is still a push.
        if let Some(byte) = body.iter_mut().find(|byte| **byte == b'm') {
            *byte = b'n';
        }
        let delivery = Delivery { body: body.into(), ..self.delivery.clone() };
        Self { delivery, secrets: self.secrets.clone(), now: self.now }
    }

    /// What was delivered.
    pub const fn delivery(&self) -> &Delivery {
        &self.delivery
    }
}

/// What shows that a push was read: its head, and how many paths all its commits list. `None` where it is no push.
pub fn seen(event: &Event) -> Option<String> {
    let EventKind::Push(push) = &event.kind else { return None };
    Some(format!("{} {}", push.head.commit()?, push.files.list()?.iter().count()))
}

fn signed_headers(body: &[u8]) -> Outcome<HeaderMap> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    mac.update(body);
    let mut signature = String::from("sha256=");
    for byte in mac.finalize().into_bytes() {
        write!(signature, "{byte:02x}")?;
    }
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("x-github-delivery", HeaderValue::from_static("72d3162e-cc78-11e3-81ab-4c9367dc0958"));
    headers.insert("x-github-event", HeaderValue::from_static("push"));
    headers.insert("x-hub-signature-256", signature.parse()?);
    Ok(headers)
}

/// In the order in which GitHub writes its fields.
fn render(files: &[Files], padding: &str) -> String {
    let commits: Vec<String> =
        files.iter().enumerate().map(|(at, files)| one_commit(at + 1, files)).collect();
    let (before, after) = (commit(0), commit(files.len()));
    let (repository, owner, sender) = (repository(padding), owner(), user("ada", 583_231, "User"));
    let head = commits.last().map_or("null", String::as_str);
    let commits = commits.join(",");
    format!(
        r#"{{"ref":"refs/heads/main","before":"{before}","after":"{after}","repository":{repository},"pusher":{{"name":"ada","email":"ada@example.org"}},"organization":{owner},"sender":{sender},"created":false,"deleted":false,"forced":false,"base_ref":null,"compare":"https://github.com/{REPOSITORY}/compare/{}...{}","commits":[{commits}],"head_commit":{head}}}"#,
        &before[28..],
        &after[28..],
    )
}

fn one_commit(n: usize, [added, modified, removed]: &Files) -> String {
    let (id, tree) = (commit(n), commit(n + 1_000_000));
    // A list prints as JSON, but for a space behind each comma.
    let [added, modified, removed] =
        [added, modified, removed].map(|list| format!("{list:?}").replace("\", \"", "\",\""));
    format!(
        r#"{{"id":"{id}","tree_id":"{tree}","distinct":true,"message":"Change part {n}\n\nWhy: \"because\".\n","timestamp":"2026-11-02T10:11:12+01:00","url":"https://github.com/{REPOSITORY}/commit/{id}","author":{{"name":"Grace","email":"grace@example.org","date":"2026-11-02T10:11:12+01:00","username":"grace"}},"committer":{{"name":"GitHub","email":"noreply@github.com","date":"2026-11-02T10:11:12+01:00","username":"web-flow"}},"added":{added},"removed":{removed},"modified":{modified}}}"#
    )
}

fn repository(description: &str) -> String {
    const URLS: &str = "forks=forks keys=keys{/key_id} collaborators=collaborators{/collaborator} teams=teams hooks=hooks \
        issue_events=issues/events{/number} events=events assignees=assignees{/user} branches=branches{/branch} tags=tags \
        blobs=git/blobs{/sha} git_tags=git/tags{/sha} git_refs=git/refs{/sha} trees=git/trees{/sha} statuses=statuses/{sha} \
        languages=languages stargazers=stargazers contributors=contributors subscribers=subscribers subscription=subscription \
        commits=commits{/sha} git_commits=git/commits{/sha} comments=comments{/number} issue_comment=issues/comments{/number} \
        contents=contents/{+path} compare=compare/{base}...{head} merges=merges archive={archive_format}{/ref} \
        downloads=downloads issues=issues{/number} pulls=pulls{/number} milestones=milestones{/number} \
        notifications=notifications{?since,all,participating} labels=labels{/name} releases=releases{/id} deployments=deployments";
    let urls = urls(URLS, &format!("https://api.github.com/repos/{REPOSITORY}"));
    let owner = user("example-org", 9_919, "Organization");
    format!(
        r#"{{"id":186853002,"node_id":"MDEwOlJlcG9zaXRvcnkxODY4NTMwMDI=","name":"platform","full_name":"{REPOSITORY}","private":true,"owner":{owner},"html_url":"https://github.com/{REPOSITORY}","description":"{description}","fork":false,"url":"https://api.github.com/repos/{REPOSITORY}",{urls},"created_at":1557933565,"updated_at":"2026-11-01T15:20:41Z","pushed_at":1793610672,"git_url":"git://github.com/{REPOSITORY}.git","ssh_url":"git@github.com:{REPOSITORY}.git","clone_url":"https://github.com/{REPOSITORY}.git","svn_url":"https://github.com/{REPOSITORY}","homepage":null,"size":81324,"stargazers_count":21,"watchers_count":21,"language":"Rust","has_issues":true,"has_projects":true,"has_downloads":true,"has_wiki":false,"has_pages":false,"has_discussions":false,"forks_count":1,"mirror_url":null,"archived":false,"disabled":false,"open_issues_count":2,"license":null,"allow_forking":true,"is_template":false,"web_commit_signoff_required":false,"topics":["deployment","platform"],"visibility":"private","forks":1,"open_issues":2,"watchers":21,"default_branch":"main","stargazers":21,"master_branch":"main","organization":"example-org","custom_properties":{{}}}}"#
    )
}

fn owner() -> String {
    const URLS: &str = "repos=repos events=events hooks=hooks issues=issues members=members{/member} public_members=public_members{/member}";
    let base = "https://api.github.com/orgs/example-org";
    let urls = urls(URLS, base);
    format!(
        r#"{{"login":"example-org","id":9919,"node_id":"MDEyOk9yZ2FuaXphdGlvbjk5MTk=","url":"{base}",{urls},"avatar_url":"https://avatars.githubusercontent.com/u/9919?v=4","description":""}}"#
    )
}

fn user(login: &str, id: u64, kind: &str) -> String {
    const URLS: &str = "followers=followers following=following{/other_user} gists=gists{/gist_id} starred=starred{/owner}{/repo} \
        subscriptions=subscriptions organizations=orgs repos=repos events=events{/privacy} received_events=received_events";
    let base = format!("https://api.github.com/users/{login}");
    let urls = urls(URLS, &base);
    format!(
        r#"{{"name":"{login}","email":null,"login":"{login}","id":{id},"node_id":"MDQ6VXNlcjU4MzIzMQ==","avatar_url":"https://avatars.githubusercontent.com/u/{id}?v=4","gravatar_id":"","url":"{base}","html_url":"https://github.com/{login}",{urls},"type":"{kind}","user_view_type":"public","site_admin":false}}"#
    )
}

/// The fields of a list of `name=path`.
fn urls(list: &str, base: &str) -> String {
    let field = |(name, path)| format!(r#""{name}_url":"{base}/{path}""#);
    list.split_whitespace().filter_map(|entry| entry.split_once('=')).map(field).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::event::ChangedFiles;
    use serde_json::Value;

    #[test]
    fn every_file_of_a_push_in_exactly_so_many_bytes_is_read() {
        for bytes in [9 << 10, 10 << 10, 100 << 10, 1 << 20] {
            let push = GitHubPush::of(bytes).unwrap();
            assert_eq!(push.delivery().body.len(), bytes);
            let json: Value = serde_json::from_slice(&push.delivery().body).unwrap();
            let commits = json["commits"].as_array().unwrap();
            assert_eq!(commits.last(), json.get("head_commit"));
            let listed: usize = commits
                .iter()
                .flat_map(|commit| {
                    ["added", "modified", "removed"].map(|kind| commit[kind].as_array().unwrap().len())
                })
                .sum();
            let event = push.handle().unwrap();
            assert_eq!(seen(&event).unwrap(), format!("{} {listed}", json["after"].as_str().unwrap()));
            let EventKind::Push(pushed) = &event.kind else { panic!("it is no push") };
            assert!(matches!(pushed.files, ChangedFiles::Complete(_)), "{:?}", pushed.files);
            // Room is for files, not for padding.
            assert!(json["repository"]["description"].as_str().unwrap().len() < 500);
        }
    }

    #[test]
    fn a_forged_push_is_a_push_and_does_not_verify() {
        let forged = GitHubPush::of(10 << 10).unwrap().forged();
        assert!(GitHubWebhook.decode(&forged.delivery).is_ok());
        assert!(forged.handle().is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(GitHubPush::of(1 << 10).is_err());
    }
}
