//! An event as one flat row.

use std::borrow::Cow;

use serde::Serialize;

use super::{About, ChangedFiles, Event, EventKind, ImagePush, MergeRequest, Pipeline, Tip};
use crate::name::{CommitId, GitRef};

/// An event as one flat row, for tables, logs and comparisons. What the sender did not state is `None` (in JSON `null`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Columns<'a> {
    /// [`EventKind::name`].
    pub kind: &'static str,
    /// Full path of the Git repository; for a merge request the target. What a registry tells of has an image instead.
    pub repo: Option<&'a str>,
    /// The ref as sent: full for pushes and tags, short for GitLab's pipelines; GitHub's name a branch only.
    #[serde(rename = "ref")]
    pub git_ref: Option<Cow<'a, str>>,
    /// The branch's short name.
    pub branch: Option<&'a str>,
    /// The tag's short name.
    pub tag: Option<&'a str>,
    /// The object before. Zeros, as many as the other id has digits: the ref did not exist.
    pub before: Option<Cow<'a, str>>,
    /// The object now, or the first digits of it where the sender gives no more. Zeros: the ref was deleted.
    pub head: Option<Cow<'a, str>>,
    /// The sender's own word: a merge request's or ref's action, a pipeline's status, or its action where it has one.
    pub action: Option<&'a str>,
    /// The merge request's number.
    pub number: Option<u64>,
    /// The branch to be merged.
    pub source_branch: Option<&'a str>,
    /// The branch to be merged into.
    pub target_branch: Option<&'a str>,
    /// Whether the merge request comes from another repository; `None` if it names neither.
    pub is_fork: Option<bool>,
    /// Whether the ref was deleted.
    pub deleted: Option<bool>,
    /// Whether the file list is the whole truth.
    pub files_complete: Option<bool>,
    /// Who pushed or acted; of a merge request who opened it, where the payload has the name.
    pub author: Option<&'a str>,
    /// Paths added, once each, in order.
    pub added: Option<Vec<&'a str>>,
    /// Paths modified, once each, in order.
    pub modified: Option<Vec<&'a str>>,
    /// Paths removed, once each, in order.
    pub removed: Option<Vec<&'a str>>,
    /// The head commit's message, or the merge request's title, or the status of a pipeline whose event has an action besides.
    pub message: Option<&'a str>,
    /// The image's path, without its registry's host.
    pub image: Option<&'a str>,
    /// The image's tag.
    pub image_tag: Option<&'a str>,
    /// The image's digest, as the sender wrote it.
    pub digest: Option<&'a str>,
    /// What a merge-request event means ([`super::MergeRequestChange::name`]).
    pub change: Option<&'static str>,
}

impl<'a> From<&'a Event> for Columns<'a> {
    fn from(event: &'a Event) -> Self {
        let mut row =
            Self { kind: event.kind.name(), repo: stated(&event.repository.path), ..Self::default() };
        match &event.kind {
            EventKind::Push(push) => {
                row.moved(&push.git_ref, &push.before, &push.head);
                if !push.is_deleted() {
                    row.files_complete = Some(push.files.is_complete());
                    row.files(&push.files);
                }
                row.action = push.action.as_deref();
                row.message = push.message.as_deref();
            }
            EventKind::Tag(tag) => {
                row.moved(&tag.git_ref, &tag.before, &tag.head);
                if !tag.is_deleted() {
                    row.files(&tag.files);
                }
                row.action = tag.action.as_deref();
                row.message = tag.message.as_deref();
            }
            EventKind::MergeRequest(request) => row.merge_request(request),
            EventKind::Pipeline(pipeline) => row.pipeline(pipeline),
            EventKind::ImagePush(push) => row.image(push),
            EventKind::EmptyPush | EventKind::Ping => {}
            EventKind::Other(other) => {
                match other.about.as_deref() {
                    Some(About::Ref { git_ref, head, deleted }) => {
                        row.about(git_ref, head.as_ref(), *deleted);
                    }
                    Some(About::MergeRequest(request)) => row.merge_request(request),
                    Some(About::Image(push)) => row.image(push),
                    None => {}
                }
                row.action = other.action.as_deref();
            }
        }
        row.author = row.author.or_else(|| event.actor.as_ref().map(|actor| actor.name.as_str()));
        row
    }
}

impl<'a> Columns<'a> {
    fn moved(&mut self, git_ref: &'a GitRef, before: &'a Tip, head: &'a Tip) {
        self.branch = git_ref.branch().map(AsRef::as_ref);
        self.tag = git_ref.tag().map(AsRef::as_ref);
        self.git_ref = Some(git_ref.to_string().into());
        self.before = id(before, head.commit());
        self.head = id(head, before.commit());
        self.deleted = Some(head.commit().is_none());
    }

    fn files(&mut self, files: &'a ChangedFiles) {
        if let Some(list) = files.list() {
            self.added = Some(list.added.sorted());
            self.modified = Some(list.modified.sorted());
            self.removed = Some(list.removed.sorted());
        }
    }

    fn about(&mut self, git_ref: &'a GitRef, head: Option<&'a CommitId>, deleted: bool) {
        self.branch = git_ref.branch().map(AsRef::as_ref);
        self.tag = git_ref.tag().map(AsRef::as_ref);
        self.head = head.map(|head| head.as_str().into());
        self.deleted = Some(deleted);
    }

    fn image(&mut self, push: &'a ImagePush) {
        self.repo = None;
        self.action = push.action.as_deref();
        self.image = stated(&push.image);
        self.image_tag = push.tag.as_ref().map(AsRef::as_ref);
        self.digest = push.digest.as_ref().map(AsRef::as_ref).or(push.stated_digest.as_deref());
    }

    fn merge_request(&mut self, request: &'a MergeRequest) {
        let head = request.head.as_ref().map(AsRef::as_ref);
        self.head = head.or(request.abbreviated_head.as_deref()).map(Cow::Borrowed);
        self.action = stated(&request.action);
        self.number = request.number;
        self.source_branch = stated(&request.source_branch);
        self.target_branch = stated(&request.target_branch);
        let named = request.source_repository.is_some() || request.target_repository.is_some();
        self.is_fork = named.then_some(request.fork);
        self.author = request.author_name.as_deref();
        self.message = request.title.as_deref();
        self.change = Some(request.change.name());
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline) {
        let name = stated(&pipeline.ref_name);
        self.git_ref = name.filter(|_| pipeline.action.is_none()).map(Cow::Borrowed);
        if pipeline.is_tag {
            self.tag = name;
        } else {
            self.branch = name;
        }
        self.head = pipeline.head.as_ref().map(|head| head.as_str().into());
        self.before = id(&pipeline.before, pipeline.head.as_ref());
        self.action = pipeline.action.as_deref().or_else(|| stated(&pipeline.status));
        if let Some(request) = &pipeline.merge_request {
            self.number = Some(request.number);
            self.source_branch = stated(&request.source_branch);
            self.target_branch = stated(&request.target_branch);
            self.is_fork = Some(request.fork);
        }
        self.is_fork = self.is_fork.or(pipeline.fork);
        self.message = match &pipeline.action {
            Some(_) => stated(&pipeline.status),
            None => pipeline.message.as_deref(),
        };
    }
}

fn stated(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Zeros are written as long as the other id, which tells the repository's kind of hash.
fn id<'a>(tip: &'a Tip, other: Option<&CommitId>) -> Option<Cow<'a, str>> {
    match tip {
        Tip::At(commit) => Some(commit.as_str().into()),
        Tip::Zeros => Some("0".repeat(other.map_or(40, |other| other.as_str().len())).into()),
        Tip::Absent => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, FileList, Other, Paths, Push, Repository};

    fn push(before: Tip, head: Tip) -> Event {
        let added = Paths::from_iter(["b", "a", "b"]);
        Event {
            repository: Repository { id: None, path: "group/app".into() },
            actor: Some(Actor { id: None, name: "ada".into() }),
            kind: EventKind::Push(Push {
                action: None,
                git_ref: GitRef::parse("refs/heads/main").unwrap(),
                before,
                head,
                files: ChangedFiles::Complete(FileList { added, ..FileList::default() }),
                message: None,
                commit: Default::default(),
            }),
        }
    }

    fn at(digit: &str, length: usize) -> Tip {
        Tip::At(CommitId::parse(digit.repeat(length)).unwrap())
    }

    #[test]
    fn zeros_have_the_length_of_the_other_id() {
        let created = push(Tip::Zeros, at("a", 64));
        let row = Columns::from(&created);
        assert_eq!(row.before.as_deref(), Some("0".repeat(64).as_str()));
        assert_eq!((row.deleted, row.added.as_deref()), (Some(false), Some(["a", "b"].as_slice())));
        assert_eq!((row.branch, row.author), (Some("main"), Some("ada")));
    }

    #[test]
    fn a_deletion_says_nothing_of_files() {
        let deleted = push(at("b", 40), Tip::Zeros);
        let row = Columns::from(&deleted);
        assert_eq!(row.head.as_deref(), Some("0".repeat(40).as_str()));
        assert_eq!((row.deleted, row.files_complete, row.added), (Some(true), None, None));
        let unwritten = push(at("b", 40), Tip::Absent);
        assert_eq!(Columns::from(&unwritten).head, None);
    }

    #[test]
    fn a_push_that_names_no_ref_is_a_push_of_which_nothing_is_stated() {
        let mut event = push(Tip::Absent, at("a", 40));
        event.kind = EventKind::EmptyPush;
        let row = Columns::from(&event);
        assert_eq!((row.kind, row.repo, row.author), ("push", Some("group/app"), Some("ada")));
        assert_eq!(row, Columns { kind: row.kind, repo: row.repo, author: row.author, ..Columns::default() });
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn an_image_push_has_an_image_and_no_repository_and_shows_a_digest_that_cannot_be_pinned() {
        let push = ImagePush {
            action: Some("pushed".into()),
            image: "team/app".into(),
            host: Some("registry.example.com".into()),
            stated_digest: Some("sha512:0f".into()),
            ..ImagePush::default()
        };
        let mut event = Event {
            repository: Repository { id: None, path: "team/app".into() },
            actor: None,
            kind: EventKind::ImagePush(push.clone()),
        };
        let row = Columns::from(&event);
        assert_eq!((row.kind, row.repo, row.action), ("image_push", None, Some("pushed")));
        assert_eq!((row.image, row.image_tag, row.digest), (Some("team/app"), None, Some("sha512:0f")));
        let about = Some(Box::new(About::Image(push)));
        event.kind = EventKind::Other(Other { name: "scan".into(), about, ..Other::default() });
        let row = Columns::from(&event);
        assert_eq!((row.kind, row.repo, row.action, row.image), ("other", None, None, Some("team/app")));
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn every_column_is_there_in_json_and_null_where_nothing_was_stated() {
        let mut event = Event {
            repository: Repository::default(),
            actor: None,
            kind: EventKind::Other(Other { name: "Note Hook".into(), ..Other::default() }),
        };
        let json = serde_json::to_value(Columns::from(&event)).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 23);
        assert_eq!(json["kind"], "other");
        assert!(json.as_object().unwrap().iter().all(|(key, value)| key == "kind" || value.is_null()));
        // Also of what is ignored it is worth knowing who did it.
        event.actor = Some(Actor { id: None, name: "ada".into() });
        assert_eq!(Columns::from(&event).author, Some("ada"));
    }
}
