//! What is read of Bitbucket Cloud's bodies. Only the fields used.

use serde::Deserialize;

use crate::body::Text;

/// A push: every branch and tag that it changed.
#[derive(Deserialize)]
pub(super) struct PushEvent<'a> {
    #[serde(borrow)]
    pub push: Push<'a>,
    #[serde(borrow)]
    pub repository: Repository<'a>,
    #[serde(borrow)]
    pub actor: Option<User<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Push<'a> {
    #[serde(borrow, default)]
    pub changes: Vec<Change<'a>>,
}

/// One ref that a push changed. Boxed, so that a list of many empty ones stays small.
#[derive(Deserialize)]
pub(super) struct Change<'a> {
    /// Null: deleted.
    #[serde(borrow)]
    pub new: Option<Box<Ref<'a>>>,
    /// Null: created.
    #[serde(borrow)]
    pub old: Option<Box<Ref<'a>>>,
}

/// A branch or tag and what it points at.
#[derive(Deserialize)]
pub(super) struct Ref<'a> {
    /// `branch` or `tag`.
    #[serde(rename = "type", borrow)]
    pub kind: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Of an annotated tag the commit, not the tag object.
    #[serde(borrow)]
    pub target: Target<'a>,
    /// An annotated tag's own message.
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Target<'a> {
    #[serde(borrow)]
    pub hash: Text<'a>,
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
    #[serde(borrow)]
    pub date: Option<Text<'a>>,
    #[serde(borrow)]
    pub author: Option<Author<'a>>,
    #[serde(borrow)]
    pub links: Option<Links<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Author<'a> {
    /// `Name <address>`, as the commit says.
    #[serde(borrow)]
    pub raw: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Links<'a> {
    #[serde(borrow)]
    pub html: Option<Link<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Link<'a> {
    #[serde(borrow)]
    pub href: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Repository<'a> {
    #[serde(borrow)]
    pub uuid: Option<Text<'a>>,
    #[serde(borrow)]
    pub full_name: Text<'a>,
}

/// A person, team or app. Old bodies have the user name, newer ones a nickname.
#[derive(Deserialize)]
pub(super) struct User<'a> {
    #[serde(borrow)]
    pub uuid: Option<Text<'a>>,
    #[serde(borrow)]
    pub username: Option<Text<'a>>,
    #[serde(borrow)]
    pub nickname: Option<Text<'a>>,
    #[serde(borrow)]
    pub display_name: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PullRequestEvent<'a> {
    #[serde(borrow)]
    pub pullrequest: PullRequest<'a>,
    #[serde(borrow)]
    pub repository: Repository<'a>,
    #[serde(borrow)]
    pub actor: Option<User<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PullRequest<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub title: Option<Text<'a>>,
    /// `OPEN`, `MERGED`, `DECLINED` or `SUPERSEDED`.
    #[serde(borrow)]
    pub state: Option<Text<'a>>,
    pub draft: Option<bool>,
    #[serde(borrow)]
    pub author: Option<User<'a>>,
    #[serde(borrow)]
    pub source: Side<'a>,
    #[serde(borrow)]
    pub destination: Side<'a>,
}

/// Where a pull request comes from or goes to.
#[derive(Deserialize)]
pub(super) struct Side<'a> {
    #[serde(borrow)]
    pub branch: Option<Branch<'a>>,
    /// Null if the branch is gone. Its hash has twelve digits.
    #[serde(borrow)]
    pub commit: Option<Hash<'a>>,
    /// Null if the fork is gone (E41).
    #[serde(borrow)]
    pub repository: Option<Named<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Branch<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Hash<'a> {
    #[serde(borrow)]
    pub hash: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Named<'a> {
    #[serde(borrow)]
    pub uuid: Option<Text<'a>>,
    #[serde(borrow)]
    pub full_name: Option<Text<'a>>,
}
