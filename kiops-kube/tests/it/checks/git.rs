//! A repository that pods fetch from, and an image with Git for the node.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::name::CommitId;
use kiops_core::provider::{CloneAccess, CloneCredential};
use kiops_core::run::SourceAccess;
use kiops_core::secret::Secret;
use kiops_core::stream::ByteStream;
use kiops_core::testing::skipped;
use kiops_core::{Error, Result};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::node_image::{MACHINE, load, run, scripts};

pub(crate) const TOKEN: &str = "glpat-not-for-any-log";

/// A commit, and where it is fetched.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) commit: CommitId,
    /// The commit after it, in which `link` leads to the root of whoever looks at it.
    pub(crate) next: CommitId,
    url: String,
    _folder: Option<Arc<TempDir>>,
}

impl Repository {
    /// One that nobody asks for.
    pub(super) fn nowhere() -> Self {
        let commit = CommitId::parse("abc123def0".repeat(4)).unwrap();
        Self { next: commit.clone(), commit, url: "https://git.example.com/x.git".into(), _folder: None }
    }

    /// One with two commits, of which this is the first, served over HTTP to whoever has the token.
    pub(crate) async fn served() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
            run(Command::new("git").arg("-C").arg(folder.path()).args(identity).args(args))
        };
        git(&["init", "--quiet", "--initial-branch=main", "site.git"]);
        std::fs::write(folder.path().join("site.git/page"), "first\n").unwrap();
        git(&["-C", "site.git", "add", "."]);
        git(&["-C", "site.git", "commit", "--quiet", "-m", "first"]);
        let commit = git(&["-C", "site.git", "rev-parse", "HEAD"]);
        std::fs::write(folder.path().join("site.git/page"), "second\n").unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("site.git/link")).unwrap();
        git(&["-C", "site.git", "add", "."]);
        git(&["-C", "site.git", "commit", "--quiet", "-m", "second"]);
        let next = git(&["-C", "site.git", "rev-parse", "HEAD"]);
        git(&["-C", "site.git", "config", "uploadpack.allowReachableSHA1InWant", "true"]);
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let url = format!("http://{MACHINE}:{}/site.git", listener.local_addr().unwrap().port());
        let root = folder.path().to_owned();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let root = root.clone();
                tokio::spawn(async move { answer(stream, &root).await });
            }
        });
        let [commit, next] = [commit, next].map(|id| CommitId::parse(id.trim()).unwrap());
        Self { commit, next, url, _folder: Some(Arc::new(folder)) }
    }

    pub(crate) fn host(&self) -> String {
        self.url.split('/').nth(2).unwrap().to_owned()
    }
}

#[async_trait]
impl SourceAccess for Repository {
    fn commit(&self) -> &CommitId {
        &self.commit
    }

    async fn archive(&self) -> Result<ByteStream> {
        Err(Error::unsupported("archive", "pods fetch by themselves"))
    }

    async fn clone_access(&self) -> Result<CloneAccess> {
        let password = Secret::new(TOKEN).unwrap();
        let credential = Some(CloneCredential { username: "oauth2".into(), password });
        Ok(CloneAccess { url: self.url.clone(), credential, expires_at: None })
    }
}

/// One request, answered by Git's own CGI program.
async fn answer(stream: TcpStream, root: &Path) {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await.unwrap();
    let mut words = first.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("oauth2:{TOKEN}"));
    if header("authorization") != format!("Basic {pair}") {
        let refused = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(refused.as_bytes()).await.unwrap();
        return;
    }
    let (root, method, path, query) = (root.to_owned(), method.to_owned(), path.to_owned(), query.to_owned());
    let (kind, encoding, protocol) =
        (header("content-type"), header("content-encoding"), header("git-protocol"));
    let output = tokio::task::spawn_blocking(move || {
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_TYPE", kind)
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", encoding)
            .env("GIT_PROTOCOL", protocol)
            .env("REMOTE_USER", "tests")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &body).unwrap();
        child.wait_with_output().unwrap().stdout
    });
    let output = output.await.unwrap();
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let said = String::from_utf8(output[..end].to_vec()).unwrap();
    let status = said.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    let length = output.len() - end - 4;
    let head =
        format!("HTTP/1.1 {status}\r\n{said}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&output[end + 4..]).await.unwrap();
}

/// An image with this machine's Git on the node; `None` where none can be made.
pub(super) fn image() -> Option<String> {
    let scripts = scripts()?;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let name = format!("registry.local/kiops-tests/git:{}", put_git(root)?);
    for dir in ["tmp", "etc"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    load(&scripts, &name, root);
    Some(name)
}

/// Lays out this machine's Git with all that it needs: a tag of its version.
pub(crate) fn put_git(root: &Path) -> Option<String> {
    let remote = Path::new("/usr/lib/git-core/git-remote-http");
    if !remote.exists() {
        skipped(format!("there is no {}", remote.display()));
        return None;
    }
    let put = |from: &Path, to: &str| {
        let to = root.join(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    for program in [Path::new("/usr/bin/git"), remote] {
        put(program, program.to_str().unwrap());
        for line in run(Command::new("ldd").arg(program)).lines() {
            // `libz.so.1 => /lib/libz.so.1 (0x...)`, and the loader alone.
            let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
            put(Path::new(path), path);
        }
    }
    let version = run(Command::new("git").arg("--version"));
    let version = version.split_whitespace().last().unwrap();
    Some(format!("v{}", version.replace(|c: char| !c.is_ascii_alphanumeric(), "-")))
}
