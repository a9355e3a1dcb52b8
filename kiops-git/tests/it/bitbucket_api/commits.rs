//! What Bitbucket Cloud does with `POST src`, in real repositories.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use kiops_core::event::Repository;
use kiops_core::http::Body;
use kiops_core::name::{BranchName, CommitId, GitRef};
use kiops_core::provider::{GitProvider as _, TreeEntryKind, TreeQuery};
use kiops_core::testing::conformance::git_provider::{Entry, GitHost as _, NewCommit};

use super::face::refusal;
use crate::hosts::{Asked, Backing, text};

/// A part of a form: what it is called, whether it is a file, what else its disposition says, and what it holds.
struct Part {
    name: String,
    is_file: bool,
    disposition: String,
    content: Bytes,
}

fn parts(asked: &Asked) -> Vec<Part> {
    let boundary = asked.header("content-type").strip_prefix("multipart/form-data; boundary=").unwrap();
    let find = |from: usize, what: &[u8]| {
        let at = asked.body[from..].windows(what.len()).position(|window| window == what);
        at.map(|at| from + at)
    };
    let (opens, closes) = (format!("--{boundary}\r\n"), format!("\r\n--{boundary}"));
    let (mut found, mut at) = (Vec::new(), 0);
    while asked.body[at..].starts_with(opens.as_bytes()) {
        let head = at + opens.len();
        let content = find(head, b"\r\n\r\n").unwrap() + 4;
        let end = find(content - 2, closes.as_bytes()).unwrap();
        let disposition = std::str::from_utf8(&asked.body[head..content]).unwrap().lines().next().unwrap();
        let name = disposition.split("; name=\"").nth(1).unwrap().split('"').next().unwrap();
        found.push(Part {
            name: name.to_owned(),
            is_file: disposition.contains("; filename=\""),
            disposition: disposition.to_owned(),
            content: asked.body.slice(content.min(end)..end),
        });
        at = end + 2;
    }
    assert_eq!(asked.body[at..], *format!("--{boundary}--\r\n").as_bytes());
    found
}

pub(super) async fn commit(asked: &Asked, host: &Backing, repository: &Repository) -> Response<Body> {
    let (parts, there) = (parts(asked), host.on_disk(repository));
    let field = |name: &str| {
        let part = parts.iter().find(|part| !part.is_file && part.name == name)?;
        Some(std::str::from_utf8(&part.content).unwrap())
    };
    let git_ref = GitRef::Branch(BranchName::parse(field("branch").unwrap()).unwrap());
    let head = host.git.head(&there, &git_ref).await.unwrap();
    let parent = field("parents").map(|id| CommitId::parse(id).unwrap());
    if head.is_some() && parent != head {
        return refusal(409, "The branch is not at the parent");
    }
    let mut entries = BTreeMap::new();
    if let Some(parent) = &parent {
        let query = TreeQuery { folder: String::new(), recursive: true, limit: 1000 };
        for entry in host.git.tree(&there, parent, &query).await.unwrap() {
            if let Ok(Some(content)) = host.git.file(&there, parent, &entry.path, 1 << 20).await {
                let is_executable = entry.kind == TreeEntryKind::Executable;
                let kept = if is_executable { Entry::Executable(content) } else { Entry::File(content) };
                entries.insert(entry.path, kept);
            }
        }
    }
    for part in &parts {
        if part.is_file {
            let content = part.content.clone();
            let is_executable = part.disposition.contains("; x-attributes=\"executable\"");
            let entry = if is_executable { Entry::Executable(content) } else { Entry::File(content) };
            entries.insert(part.name.trim_start_matches('/').to_owned(), entry);
        } else if part.name == "files" {
            let path = std::str::from_utf8(&part.content).unwrap();
            assert!(entries.remove(path.trim_start_matches('/')).is_some(), "{path} is not there");
        }
    }
    let made = NewCommit {
        parents: parent.into_iter().collect(),
        message: format!("{}\n", field("message").unwrap()),
        author: "kiops".into(),
        timestamp: Timestamp::UNIX_EPOCH,
        entries,
    };
    let id = host.commit(repository, &made).await;
    host.point(repository, &git_ref, Some(&id)).await;
    let mut response = text(201, "");
    let location = format!("https://api.bitbucket.org/2.0/repositories/{}/commit/{id}", repository.path);
    response.headers_mut().insert("location", location.parse().unwrap());
    response
}
