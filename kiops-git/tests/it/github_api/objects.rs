//! What GitHub makes of a real repository where it is written to: blobs, trees, commits, refs, and the call for one file.

use std::io::Write as _;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Response};
use kiops_core::event::Repository;
use kiops_core::http::Body;
use serde_json::{Value, json};

use super::face::{Face, refs, run_text};
use crate::hosts::{Asked, Backing, json as answer};

/// Runs git with an index of its own.
fn staged(host: &Backing, repository: &Repository, index: u64, args: &[&str], input: &[u8]) -> String {
    let bare = host.folder.bare(repository);
    let mut command = crate::plain::git(&bare);
    command.env("GIT_INDEX_FILE", bare.join(format!("index-{index}"))).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?} failed");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn blob(host: &Backing, repository: &Repository, content: &[u8]) -> String {
    host.folder.run(&host.folder.bare(repository), &["hash-object", "-w", "--stdin"], content)
}

fn commit(host: &Backing, repository: &Repository, tree: &str, parents: &[&str], message: &str) -> String {
    let mut args = vec!["commit-tree", tree];
    for parent in parents {
        args.extend(["-p", parent]);
    }
    host.folder.run(&host.folder.bare(repository), &args, message.as_bytes())
}

fn point(host: &Backing, repository: &Repository, name: &str, to: &str) {
    host.folder.run(&host.folder.bare(repository), &["update-ref", name, to], b"");
}

impl Face {
    /// `None`: it is none of these calls.
    pub(super) fn write(
        &self,
        asked: &Asked,
        host: &Backing,
        repository: &Repository,
        rest: &[&str],
    ) -> Option<Response<Body>> {
        let (body, index) = (asked.json(), self.state().number());
        let all = refs(host, repository);
        let at = |name: &str| all.iter().find(|(found, ..)| found == name).map(|(_, id, _)| id.clone());
        Some(match (asked.method.clone(), rest) {
            (Method::POST, ["git", "blobs"]) => {
                assert_eq!(body["encoding"], "base64");
                let content = STANDARD.decode(body["content"].as_str().unwrap()).unwrap();
                answer(201, &json!({ "sha": blob(host, repository, &content) }))
            }
            (Method::POST, ["git", "trees"]) => {
                staged(host, repository, index, &["read-tree", body["base_tree"].as_str().unwrap()], b"");
                let mut lines = String::new();
                for entry in body["tree"].as_array().unwrap() {
                    let (mode, path) = (entry["mode"].as_str().unwrap(), entry["path"].as_str().unwrap());
                    assert!(["100644", "100755"].contains(&mode) && entry["type"] == "blob", "{entry}");
                    let id = match (&entry["sha"], &entry["content"]) {
                        (Value::String(id), Value::Null) => id.clone(),
                        (Value::Null, Value::String(text)) => blob(host, repository, text.as_bytes()),
                        _ => {
                            let found = staged(host, repository, index, &["ls-files", "--", path], b"");
                            if found.is_empty() {
                                return Some(answer(422, &json!({ "message": "GitRPC::BadObjectState" })));
                            }
                            lines.push_str(&format!("0 {}\t{path}\n", "0".repeat(40)));
                            continue;
                        }
                    };
                    lines.push_str(&format!("{mode} {id}\t{path}\n"));
                }
                staged(host, repository, index, &["update-index", "--index-info"], lines.as_bytes());
                answer(201, &json!({ "sha": staged(host, repository, index, &["write-tree"], b"") }))
            }
            (Method::POST, ["git", "commits"]) => {
                let parents = body["parents"].as_array().unwrap();
                let parents: Vec<&str> = parents.iter().map(|parent| parent.as_str().unwrap()).collect();
                let (tree, message) = (body["tree"].as_str().unwrap(), body["message"].as_str().unwrap());
                answer(201, &json!({ "sha": commit(host, repository, tree, &parents, message) }))
            }
            (Method::POST, ["git", "refs"]) => {
                let name = body["ref"].as_str().unwrap();
                if at(name).is_some() {
                    return Some(answer(422, &json!({ "message": "Reference already exists" })));
                }
                point(host, repository, name, body["sha"].as_str().unwrap());
                answer(201, &json!({ "ref": name, "object": { "sha": body["sha"], "type": "commit" } }))
            }
            (Method::PATCH, ["git", "refs", name]) => {
                assert_eq!(body["force"], false);
                let (name, to) = (format!("refs/{name}"), body["sha"].as_str().unwrap());
                let Some(from) = at(&name) else {
                    return Some(answer(422, &json!({ "message": "Reference does not exist" })));
                };
                if run_text(host, repository, &["merge-base", "--is-ancestor", &from, to]).is_none() {
                    return Some(answer(422, &json!({ "message": "Update is not a fast forward" })));
                }
                point(host, repository, &name, to);
                answer(200, &json!({ "ref": name, "object": { "sha": to, "type": "commit" } }))
            }
            (Method::PUT, ["contents", path]) => {
                let default = self.state().default_branch.clone().unwrap_or_else(|| "main".into());
                let name = format!("refs/heads/{default}");
                if at(&name).is_some() {
                    let message = "Invalid request.\n\n\"sha\" wasn't supplied.";
                    return Some(answer(422, &json!({ "message": message })));
                }
                let id = blob(host, repository, &STANDARD.decode(body["content"].as_str().unwrap()).unwrap());
                let line = format!("100644 {id}\t{path}\n");
                staged(host, repository, index, &["update-index", "--index-info"], line.as_bytes());
                let tree = staged(host, repository, index, &["write-tree"], b"");
                let id = commit(host, repository, &tree, &[], body["message"].as_str().unwrap());
                point(host, repository, &name, &id);
                answer(201, &json!({ "content": { "path": path }, "commit": { "sha": id } }))
            }
            (Method::POST, ["branches", name, "rename"]) => {
                let (from, to) = (format!("refs/heads/{name}"), body["new_name"].as_str().unwrap());
                let id = at(&from).unwrap();
                host.folder.run(&host.folder.bare(repository), &["update-ref", "-d", &from], b"");
                point(host, repository, &format!("refs/heads/{to}"), &id);
                self.state().default_branch = Some(to.to_owned());
                answer(201, &json!({ "name": to }))
            }
            _ => return None,
        })
    }
}
