//! A signed GitLab push on its way from bytes to a decision, beside the bare work on the same bytes: their HMAC and a typed
//! `serde_json` parse.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use kiops_core::event::Event;
use kiops_core::name::{CommitId, ProviderName};
use kiops_core::policy::{Decision, Facts, Rules, decide};
use kiops_core::secret::Secret;
use kiops_core::service::Service;
use kiops_core::webhook::{Delivery, SecretSet, WebhookSource as _, scheme};
use kiops_git::gitlab::GitLabWebhook;
use serde::Deserialize;
use sha2::Sha256;

use crate::Outcome;

/// What signs: the base64 behind `whsec_` is the HMAC's key.
const KEY: [u8; 32] = [7; 32];
const ID: &str = "0e4f2c58-3a3b-4b7e-9d0e-6c1f2a9b8d77";

/// A push as GitLab delivers it, signed, and what it is judged by.
#[derive(Debug)]
pub struct Push {
    delivery: Delivery,
    secrets: SecretSet,
    now: Timestamp,
    service: Service,
    facts: Facts,
    rules: Rules,
}

impl Push {
    /// A push whose body has exactly this many bytes, 2 KiB at least: one commit for each KiB, at most the 20 that GitLab lists, and
    /// as many changed files as there is room for.
    pub fn of(bytes: usize) -> Outcome<Self> {
        let now = Timestamp::from_second(1_800_000_000)?;
        let token = scheme::signing_token(&KEY)?;
        let body = Bytes::from(body(bytes, "77", "group/app", 0)?);
        let headers = signed_headers(&token, ID, now, &body)?;
        Ok(Self {
            delivery: Delivery::new(ProviderName::parse("gitlab")?, headers, body),
            secrets: SecretSet::new([token]),
            now,
            service: crate::decide::service(1)?,
            facts: crate::decide::facts(&commit_id(0)?),
            rules: Rules::none(),
        })
    }

    /// The subject: verify, decode and decide, by the calls that a host makes.
    pub fn handle(&self) -> Outcome<Decision> {
        let found = GitLabWebhook.verify(&self.delivery, &self.secrets, self.now);
        if !found.verdict.is_verified() {
            return Err("the delivery does not verify".into());
        }
        let events = GitLabWebhook.decode(&self.delivery)?;
        let event = events.first().ok_or("the delivery holds no event")?;
        Ok(decide(&self.rules, &self.service, event, &self.facts))
    }

    /// The reference: the HMAC over the same bytes, compared with the signature, and a typed parse of the same fields.
    pub fn bare(&self) -> Outcome<BarePush<'_>> {
        let header = |name| self.delivery.header(name).ok_or("a header is missing");
        let mut mac = Hmac::<Sha256>::new_from_slice(&KEY)?;
        for part in [header(scheme::ID_HEADER)?, ".", header(scheme::TIMESTAMP_HEADER)?, "."] {
            mac.update(part.as_bytes());
        }
        mac.update(&self.delivery.body);
        let signature = header(scheme::SIGNATURE_HEADER)?.strip_prefix("v1,").ok_or("no signature")?;
        mac.verify_slice(&STANDARD.decode(signature)?)?;
        Ok(serde_json::from_slice(&self.delivery.body)?)
    }

    /// The event that the delivery holds.
    pub fn event(&self) -> Outcome<Event> {
        GitLabWebhook.decode(&self.delivery)?.pop().ok_or_else(|| "the delivery holds no event".into())
    }

    /// How long the body is.
    pub const fn len(&self) -> usize {
        self.delivery.body.len()
    }

    /// Never: a push has a body.
    pub const fn is_empty(&self) -> bool {
        self.delivery.body.is_empty()
    }
}

/// The headers of a delivery that GitLab signs.
pub(crate) fn signed_headers(token: &Secret, id: &str, now: Timestamp, body: &[u8]) -> Outcome<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("x-gitlab-event", HeaderValue::from_static("Push Hook"));
    headers.insert(scheme::ID_HEADER, id.parse()?);
    headers.insert(scheme::TIMESTAMP_HEADER, now.as_second().to_string().parse()?);
    headers.insert(scheme::SIGNATURE_HEADER, scheme::sign(token, id, now, body)?.parse()?);
    Ok(headers)
}

/// The n-th commit of the history that is pushed: the push leads from 0 to its last commit.
pub(crate) fn commit_id(n: usize) -> Outcome<CommitId> {
    Ok(CommitId::parse(commit(n))?)
}

pub(crate) fn commit(n: usize) -> String {
    format!("{:040x}", 0x00c0_ffee_u128 + n as u128)
}

/// A push to `main` of the repository with this id and path, in exactly so many bytes. `salt` makes it another push of the same shape.
pub(crate) fn body(bytes: usize, id: &str, repository: &str, salt: usize) -> Outcome<String> {
    let commits = (bytes / 1024).clamp(1, 20);
    filled(bytes, commits, 1, |files, padding| render(files, id, repository, salt, padding))
}

/// What one commit added, modified and removed.
pub(crate) type Files = [Vec<String>; 3];

/// What is rendered, in exactly so many bytes: its commits get as many changed files as there is room for. `last` says how often the
/// last commit's files are written. The padding may stand anywhere in it, once.
pub(crate) fn filled(
    bytes: usize,
    commits: usize,
    last: usize,
    render: impl Fn(&[Files], &str) -> String,
) -> Outcome<String> {
    let mut files: Vec<Files> = vec![Default::default(); commits];
    let room = bytes
        .checked_sub(render(&files, "").len())
        .ok_or_else(|| format!("a push does not fit into {bytes} bytes"))?;
    let (mut used, mut n) = (0, 0);
    loop {
        let path = path(n);
        let copies = if n % commits == commits - 1 { last } else { 1 };
        // Quotes and a comma.
        let more = (path.len() + 3) * copies;
        if used + more > room {
            break;
        }
        used += more;
        // Most files of a push are changed; some come, a few go.
        let kind = [1, 1, 0, 1, 1, 0, 1, 2][n % 8];
        files[n % commits][kind].push(path);
        n += 1;
    }
    // What is left over, the commas saved included, is padding.
    let short = bytes - render(&files, "").len();
    Ok(render(&files, &"x".repeat(short)))
}

fn path(n: usize) -> String {
    const AREAS: [&str; 6] = ["api", "billing", "docs", "shared", "web", "worker"];
    const PARTS: [&str; 5] = ["src/handlers", "src/model", "src/storage/queries", "tests", "assets/i18n"];
    let (area, part) = (AREAS[n % AREAS.len()], PARTS[n / 6 % PARTS.len()]);
    // Numbers that do not compress into one branch of a parser.
    let scattered = n.wrapping_mul(2_654_435_761) % 1_000_003;
    format!("services/{area}/{part}/item_{scattered}.rs")
}

/// In the order in which GitLab writes its fields.
fn render(files: &[Files], project: &str, repository: &str, salt: usize, padding: &str) -> String {
    let (before, after) = (commit(0), commit(files.len()));
    let mut commits = String::new();
    for (at, [added, modified, removed]) in files.iter().enumerate() {
        let (id, comma) = (commit(at + 1), if at > 0 { "," } else { "" });
        let padding = if at == 0 { padding } else { "" };
        let _ = write!(
            commits,
            r#"{comma}{{"id":"{id}","message":"Change part {at}{padding}\n\nWhy: \"because\".\n","title":"Change part {at}","timestamp":"2026-11-02T10:11:12+01:00","url":"https://git.example.org/{repository}/-/commit/{id}","author":{{"name":"Grace","email":"[REDACTED]"}},"added":{added:?},"modified":{modified:?},"removed":{removed:?}}}"#
        );
    }
    // A list prints as JSON, but for a space behind each comma.
    let commits = commits.replace("\", \"", "\",\"");
    let count = files.len();
    format!(
        r#"{{"object_kind":"push","event_name":"push","before":"{before}","after":"{after}","ref":"refs/heads/main","ref_protected":true,"checkout_sha":"{after}","message":null,"user_id":9,"user_name":"Ada L.","user_username":"ada","user_email":null,"user_avatar":"https://git.example.org/uploads/{salt:016}.png","project_id":{project},"project":{{"id":{project},"name":"App","description":"","web_url":"https://git.example.org/{repository}","avatar_url":null,"git_ssh_url":"git@git.example.org:{repository}.git","namespace":"group","visibility_level":0,"path_with_namespace":"{repository}","default_branch":"main"}},"commits":[{commits}],"total_commits_count":{count},"push_options":{{}},"repository":{{"name":"App","url":"git@git.example.org:{repository}.git","visibility_level":0}}}}"#
    )
}

/// Text that is borrowed where it holds no escapes.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
#[allow(dead_code, reason = "parsing it is the point; only a test looks into it")]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What kiops reads of a push: the same fields and no others.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "parsing these fields is the point")]
pub struct BarePush<'a> {
    #[serde(borrow)]
    object_kind: Text<'a>,
    #[serde(borrow)]
    before: Text<'a>,
    #[serde(borrow)]
    after: Text<'a>,
    #[serde(borrow, rename = "ref")]
    git_ref: Text<'a>,
    #[serde(borrow)]
    checkout_sha: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    user_id: Option<u64>,
    #[serde(borrow)]
    user_name: Option<Text<'a>>,
    #[serde(borrow)]
    user_username: Option<Text<'a>>,
    project_id: Option<u64>,
    #[serde(borrow)]
    project: BareProject<'a>,
    #[serde(borrow)]
    commits: Vec<BareCommit<'a>>,
    total_commits_count: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "parsing these fields is the point")]
struct BareProject<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    path_with_namespace: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "parsing these fields is the point")]
struct BareCommit<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    url: Option<Text<'a>>,
    #[serde(borrow)]
    author: Option<BareAuthor<'a>>,
    #[serde(borrow)]
    added: Vec<Text<'a>>,
    #[serde(borrow)]
    modified: Vec<Text<'a>>,
    #[serde(borrow)]
    removed: Vec<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "parsing these fields is the point")]
struct BareAuthor<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

impl BarePush<'_> {
    /// How many files its commits list.
    pub fn files(&self) -> usize {
        self.commits
            .iter()
            .map(|commit| commit.added.len() + commit.modified.len() + commit.removed.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::event::{ChangedFiles, EventKind};
    use kiops_core::policy::Outcome as Decided;

    #[test]
    fn subject_and_reference_read_the_same_push() {
        for bytes in [2 << 10, 10 << 10, 100 << 10, 1 << 20] {
            let push = Push::of(bytes).unwrap();
            assert_eq!(push.len(), bytes);
            let EventKind::Push(decoded) = push.event().unwrap().kind else { panic!("it is no push") };
            let ChangedFiles::Complete(files) = &decoded.files else { panic!("{:?}", decoded.files) };
            let bare = push.bare().unwrap();
            assert_eq!(files.iter().count(), bare.files());
            assert_eq!(
                files.added.len(),
                bare.commits.iter().map(|commit| commit.added.len()).sum::<usize>()
            );
            assert_eq!(decoded.head.commit().unwrap().as_str(), bare.after.0);
            assert!(bare.files() > bytes / 200, "{} files in {bytes} bytes", bare.files());
        }
    }

    #[test]
    fn the_push_is_verified_and_decided_to_build() {
        let decision = Push::of(100 << 10).unwrap().handle().unwrap();
        assert!(matches!(decision.outcome, Decided::Build(_)), "{decision:?}");
    }

    #[test]
    fn the_reference_refuses_a_changed_body_as_the_subject_does() {
        let mut push = Push::of(10 << 10).unwrap();
        let mut body = push.delivery.body.to_vec();
        body[5000] ^= 1;
        push.delivery.body = body.into();
        assert!(push.handle().is_err());
        assert!(push.bare().is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Push::of(100).is_err());
    }
}
