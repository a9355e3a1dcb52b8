//! Decisions, rule by rule.

mod files;
mod images;
mod laws;
mod merge_requests;
mod refs;
mod rules;
mod standing;

use super::*;
use crate::event::{
    Actor, ChangedFiles, CommitFacts, Event, EventKind, FileList, ImagePush, MergeRequest,
    MergeRequestChange, Pipeline, Push, Repository, TagPush, Tip,
};
use crate::name::{BranchName, CommitId, ComponentName, Digest, GitRef, ImageRef, PinnedImage, Tag};
use crate::provider::{Commit, Comparison, Relation};
use crate::service::{Service, Settings};

/// A commit: the same number is the same commit.
pub(crate) fn commit(n: u8) -> CommitId {
    CommitId::parse(format!("{:02x}", n).repeat(20)).unwrap()
}

/// A service that tracks `main`, with these settings and an image to push to.
pub(crate) fn service(settings: &str) -> Service {
    let mut settings: serde_json::Value = serde_json::from_str(settings).unwrap();
    settings["image"] = serde_json::json!({"name": "registry.local/team/app"});
    bare_service(serde_json::from_value(settings).unwrap())
}

pub(crate) fn bare_service(settings: Settings) -> Service {
    let source = serde_json::json!({
        "type": "git", "provider": "gitlab", "repository": {"id": "7", "path": "team/app"}, "branch": "main",
    });
    serde_json::from_value(serde_json::json!({"name": "app", "source": source, "settings": settings}))
        .unwrap()
}

/// The image service of S20: nginx and mysql of Docker Hub in one pod, released to `dev` by themselves.
pub(crate) fn image_service() -> Service {
    let settings = serde_json::json!({
        "deploy": {"auto": true, "environment": "dev"},
        "components": [{"runs": {"type": "workload", "containers": [
            {"name": "web", "image": {"ready": "nginx:alpine"}, "port": 80, "ingress_path": "/"},
            {"name": "db", "image": {"ready": "mysql:8.0"}, "port": 3306, "internal": true,
             "volumes": [{"path": "/var/lib/mysql", "size": "1Gi"}]},
        ]}}],
    });
    let service = serde_json::json!({"name": "app", "source": {"type": "image"}, "settings": settings});
    serde_json::from_value(service).unwrap()
}

/// `image:tag` of Docker Hub reached its registry.
pub(crate) fn image_push(image: &str, tag: &str) -> Event {
    let push = ImagePush {
        image: image.into(),
        host: Some("docker.io".into()),
        tag: Some(Tag::parse(tag).unwrap()),
        ..ImagePush::default()
    };
    let actor = Actor { id: None, name: "ada".into() };
    let repository = Repository { id: None, path: image.into() };
    Event { repository, actor: Some(actor), kind: EventKind::ImagePush(push) }
}

/// What does `image` point at?
pub(crate) fn digest_now(image: &str) -> Question {
    Question::Image { image: ImageRef::parse_familiar(image).unwrap() }
}

/// It is at the digest of this number.
pub(crate) fn is_digest(n: u8) -> Option<Answer> {
    Some(Answer::Image(Some(Digest::of(&[n]))))
}

/// `image@digest of this number`, pinned.
pub(crate) fn pinned(image: &str, n: u8) -> PinnedImage {
    ImageRef { digest: Some(Digest::of(&[n])), ..ImageRef::parse_familiar(image).unwrap() }.pinned().unwrap()
}

pub(crate) fn plain() -> Service {
    service("{}")
}

pub(crate) fn event(kind: EventKind) -> Event {
    let actor = Actor { id: Some("42".into()), name: "ada".into() };
    let repository = Repository { id: None, path: "team/app".into() };
    Event { repository, actor: Some(actor), kind }
}

/// A push of commit 2 on top of commit 1, with a message, changing `src/main.rs`.
pub(crate) fn push(branch: &str) -> Event {
    push_with(branch, |_| {})
}

pub(crate) fn push_with(branch: &str, change: impl FnOnce(&mut Push)) -> Event {
    let mut push = Push {
        action: None,
        git_ref: GitRef::parse(&format!("refs/heads/{branch}")).unwrap(),
        before: Tip::At(commit(1)),
        head: Tip::At(commit(2)),
        files: complete(&["src/main.rs"]),
        message: Some("work".into()),
        commit: CommitFacts::default(),
    };
    change(&mut push);
    event(EventKind::Push(push))
}

pub(crate) fn deletion(branch: &str) -> Event {
    push_with(branch, |push| push.head = Tip::Zeros)
}

/// A tag that was set on commit 2.
pub(crate) fn tag(name: &str) -> Event {
    tag_with(name, |_| {})
}

pub(crate) fn tag_with(name: &str, change: impl FnOnce(&mut TagPush)) -> Event {
    let mut tag = TagPush {
        action: None,
        git_ref: GitRef::parse(&format!("refs/tags/{name}")).unwrap(),
        before: Tip::Zeros,
        head: Tip::At(commit(2)),
        commit_id: Some(commit(2)),
        message: Some("work".into()),
        annotation: None,
        files: ChangedFiles::Unknown,
        commit: CommitFacts::default(),
    };
    change(&mut tag);
    event(EventKind::Tag(tag))
}

/// Merge request 7 with head commit 2, from branch `topic` to `main`.
pub(crate) fn merge_request(change: impl FnOnce(&mut MergeRequest)) -> Event {
    let mut request = MergeRequest {
        abbreviated_head: None,
        number: Some(7),
        action: "update".into(),
        change: MergeRequestChange::Code,
        head: Some(commit(2)),
        previous_head: None,
        source_branch: "topic".into(),
        target_branch: "main".into(),
        head_ref: Some(GitRef::parse("refs/merge-requests/7/head").unwrap()),
        fork: false,
        source_repository: None,
        target_repository: None,
        draft: false,
        labels: Vec::new(),
        author_id: None,
        author_name: None,
        title: None,
        commit: CommitFacts::default(),
        commit_message: Some("work".into()),
    };
    change(&mut request);
    event(EventKind::MergeRequest(request))
}

pub(crate) fn fork() -> Event {
    merge_request(|request| request.fork = true)
}

/// A pipeline of `main` that succeeded for commit 2.
pub(crate) fn pipeline(change: impl FnOnce(&mut Pipeline)) -> Event {
    let mut pipeline = Pipeline {
        ref_name: "main".into(),
        is_tag: false,
        head: Some(commit(2)),
        before: Tip::Zeros,
        status: "success".into(),
        source: Some("push".into()),
        child: false,
        action: None,
        fork: None,
        merge_request: None,
        message: Some("work".into()),
        commit: CommitFacts::default(),
    };
    change(&mut pipeline);
    event(EventKind::Pipeline(pipeline))
}

pub(crate) fn list(paths: &[&str]) -> FileList {
    FileList { modified: paths.iter().collect(), ..FileList::default() }
}

pub(crate) fn complete(paths: &[&str]) -> ChangedFiles {
    ChangedFiles::Complete(list(paths))
}

pub(crate) fn partial(paths: &[&str]) -> ChangedFiles {
    ChangedFiles::Partial(list(paths))
}

/// Nothing is known yet, and questions may be asked.
pub(crate) fn nothing() -> Facts {
    Facts::default()
}

/// This head was decided last.
pub(crate) fn newest(n: u8) -> Facts {
    let mut facts = Facts::default();
    facts.state.note(&commit(n), false);
    facts
}

pub(crate) fn covered(mut facts: Facts, n: u8) -> Facts {
    facts.state.covered.insert(ComponentName::default(), commit(n));
    facts
}

pub(crate) fn answered(mut facts: Facts, question: Question, answer: Option<Answer>) -> Facts {
    facts.answers.push(Answered { question, answer });
    facts
}

pub(crate) fn compare(from: u8, to: u8) -> Question {
    Question::Compare { from: commit(from), to: commit(to) }
}

pub(crate) fn comparison(files: ChangedFiles, relation: Relation) -> Option<Answer> {
    Some(Answer::Compare(Comparison { files, relation }))
}

pub(crate) fn head_of(git_ref: &str) -> Question {
    Question::Head { git_ref: GitRef::parse(git_ref).unwrap() }
}

pub(crate) fn points_at(n: u8) -> Option<Answer> {
    Some(Answer::Head(Some(commit(n))))
}

pub(crate) fn about(n: u8) -> Question {
    Question::Commit { id: commit(n) }
}

pub(crate) fn told(n: u8, message: &str) -> Option<Answer> {
    Some(Answer::Commit(Some(Commit {
        id: commit(n),
        message: message.into(),
        author: "ada".into(),
        timestamp: jiff::Timestamp::UNIX_EPOCH,
        parents: Vec::new(),
        web_url: None,
    })))
}

pub(crate) fn judged(service: &Service, event: &Event, facts: &Facts) -> Decision {
    decide(&Rules::none(), service, event, facts)
}

/// What is deployed without a build.
#[track_caller]
pub(crate) fn deploys(decision: &Decision) -> &[PlannedRelease] {
    match &decision.outcome {
        Outcome::Deploy(planned) => planned,
        other => panic!("nothing is deployed: {other:?}\n{}", said(decision)),
    }
}

/// What is built.
#[track_caller]
pub(crate) fn builds(decision: &Decision) -> &[Planned] {
    match &decision.outcome {
        Outcome::Build(planned) => planned,
        other => panic!("nothing is built: {other:?}\n{}", said(decision)),
    }
}

#[track_caller]
pub(crate) fn skips(decision: &Decision) -> SkipReason {
    match &decision.outcome {
        Outcome::Skip(skip) => skip.reason,
        other => panic!("it is not skipped: {other:?}\n{}", said(decision)),
    }
}

#[track_caller]
pub(crate) fn asks(decision: &Decision) -> &[Question] {
    match &decision.outcome {
        Outcome::Ask(questions) => questions,
        other => panic!("nothing is asked: {other:?}\n{}", said(decision)),
    }
}

#[track_caller]
pub(crate) fn holds(decision: &Decision) -> CommitId {
    match &decision.outcome {
        Outcome::Hold(HoldReason::Fork { commit, number: 7 }) => commit.clone(),
        other => panic!("it is not held: {other:?}\n{}", said(decision)),
    }
}

/// Every finding as a sentence.
pub(crate) fn said(decision: &Decision) -> String {
    decision.findings.iter().map(|finding| format!("{finding}\n")).collect()
}

pub(crate) fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}
