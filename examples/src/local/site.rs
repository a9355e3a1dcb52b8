//! The first commit: a small static site, pushed like anybody's.

use jiff::Timestamp;
use kiops_core::{Error, Result};
use kiops_git::plain::LocalGit;

use super::Place;

const FILES: [(&str, &str); 2] = [
    (
        "index.html",
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Hello</title>\n<link rel=\"stylesheet\" href=\"style.css\">\n<h1>Hello from a push</h1>\n<p>Change this line, commit and push: the next image is built and rolled out.</p>\n",
    ),
    ("style.css", "body { font-family: sans-serif; margin: 4rem auto; max-width: 40rem; }\n"),
];

/// Commits the site with this Dockerfile and pushes it to `main`, by the `git` command. Repeating it after a crash starts over.
pub async fn push_site(git: &LocalGit, place: &Place, dockerfile: &str) -> Result<()> {
    let folder = place.work().join("site");
    let failed =
        |error: std::io::Error| Error::unavailable("write site", format!("`{}`: {error}", folder.display()));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let workspace = git.clone_to(&place.repository(), &folder).await?;
    for (name, content) in FILES.into_iter().chain([("Dockerfile", dockerfile)]) {
        std::fs::write(folder.join(name), content).map_err(failed)?;
    }
    workspace.commit_all("Say hello", Timestamp::now()).await?;
    workspace.push(&["HEAD:refs/heads/main"]).await?;
    std::fs::remove_dir_all(&folder).map_err(failed)
}
