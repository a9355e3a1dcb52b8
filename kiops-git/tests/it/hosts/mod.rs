//! Hosts with a REST interface, in process: real repositories on disk, and a face that answers as a vendor's documentation says.
//!
//! A test makes an [`InProcess`] with its [`Face`], and gives it to the provider as its `HttpService`. Faults are put before the next answers.

pub(crate) mod folder;

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response};
use jiff::Timestamp;
use kiops_core::event::Repository;
use kiops_core::http::{Body, HttpService, Timer};
use kiops_core::name::{CommitId, GitRef, GitTag, RepoId, SecretName};
use kiops_core::provider::{FixedToken, GitProvider, TokenSource};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::testing::conformance::Subject;
use kiops_core::testing::conformance::git_provider::{Entry, Feature, GitBench, GitHost, Narrow, NewCommit};
use kiops_core::{Error, ErrorKind, Result};
use kiops_git::plain::{Plain, PlainConfig};
use kiops_git::rest::HostConfig;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tempfile::TempDir;

use self::folder::Folder;

/// What every host of these tests wants to see.
pub(crate) const TOKEN: &str = "t0ken-0f-the-tests";

/// A request, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// The whole address.
    pub(crate) url: String,
    /// The path's segments below the interface, decoded.
    pub(crate) path: Vec<String>,
    /// The query's pairs, decoded.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    /// The path as a face matches it.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// A parameter of the query; empty where it is missing.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A header's text; empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// What a vendor documents.
#[async_trait]
pub(crate) trait Face: Send + Sync + 'static {
    /// Where the interface begins: `https://git.example.com/prefix/api/v4/`.
    fn base(&self) -> &str;

    /// Whether a request may be answered: by default, where it carries `Bearer` and the token.
    fn lets_in(&self, asked: &Asked) -> bool {
        asked.header("authorization") == format!("Bearer {TOKEN}")
    }

    /// The answer.
    async fn answer(&self, asked: &Asked, host: &Backing) -> Response<Body>;
}

/// The repositories behind a face. All are called `team/WORD` and have a number.
#[derive(Debug)]
pub(crate) struct Backing {
    /// Reads them.
    pub(crate) git: Plain,
    /// Makes and fills them.
    pub(crate) folder: Folder,
    known: Mutex<Vec<Repository>>,
    lacks: &'static [Feature],
    _home: TempDir,
}

impl Backing {
    pub(crate) fn new() -> Self {
        Self::without(&[])
    }

    /// Those of a host that lacks something.
    pub(crate) fn without(lacks: &'static [Feature]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("srv");
        std::fs::create_dir(&root).unwrap();
        let git = Plain::new(PlainConfig::on_disk(&root)).unwrap();
        Self { git, folder: Folder::new(root, "sha1", None), known: Mutex::default(), lacks, _home: home }
    }

    /// Every repository, oldest first.
    pub(crate) fn all(&self) -> Vec<Repository> {
        self.known.lock().unwrap().clone()
    }

    /// The repository with this number or path.
    pub(crate) fn find(&self, name: &str) -> Option<Repository> {
        self.all()
            .into_iter()
            .find(|known| known.path == name || known.id.as_ref().is_some_and(|id| id.as_str() == name))
    }

    /// The same repository, as [`Backing::git`] knows it.
    pub(crate) fn on_disk(&self, repository: &Repository) -> Repository {
        Repository { id: None, path: self.folder.bare(repository).to_str().unwrap().to_owned() }
    }
}

#[async_trait]
impl GitHost for Backing {
    fn has(&self, feature: Feature) -> bool {
        // Hosts run `git archive`, which heeds attributes.
        feature != Feature::ExactArchives && !self.lacks.contains(&feature)
    }

    fn named(&self, word: &str) -> Repository {
        let number = word.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let id = RepoId::parse((number % 1_000_000_000_000).to_string()).unwrap();
        Repository { id: Some(id), path: format!("team/{word}") }
    }

    async fn create(&self, repository: &Repository) {
        self.folder.create(repository).await;
        self.known.lock().unwrap().push(repository.clone());
    }

    async fn commit(&self, repository: &Repository, commit: &NewCommit) -> CommitId {
        self.folder.commit(repository, commit).await
    }

    async fn point(&self, repository: &Repository, git_ref: &GitRef, commit: Option<&CommitId>) {
        self.folder.point(repository, git_ref, commit).await;
    }

    async fn annotate(&self, repository: &Repository, tag: &GitTag, commit: &CommitId) -> CommitId {
        self.folder.annotate(repository, tag, commit).await
    }
}

/// What a host does instead of answering well.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers with this status, these headers and this body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Sends half of what it should, and breaks off.
    CutOff,
    /// Sends half of what it should, and says nothing more.
    Stalls,
    /// Breaks off before it answers.
    Refused,
}

/// A host as a provider calls it.
pub(crate) struct InProcess {
    face: Box<dyn Face>,
    pub(crate) host: Arc<Backing>,
    asked: Mutex<Vec<Asked>>,
    faults: Mutex<VecDeque<Fault>>,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl InProcess {
    pub(crate) fn new(face: impl Face) -> Arc<Self> {
        Self::over(face, Arc::new(Backing::new()))
    }

    pub(crate) fn over(face: impl Face, host: Arc<Backing>) -> Arc<Self> {
        Arc::new(Self { face: Box::new(face), host, asked: Mutex::default(), faults: Mutex::default() })
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Puts a fault before the next answer that has none yet.
    pub(crate) fn fault(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }
}

#[async_trait]
impl HttpService for InProcess {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let body = kiops_core::stream::collect(body.into_stream(), usize::MAX).await?;
        let below = url.strip_prefix(self.face.base()).map(str::to_owned);
        let (path, query) =
            below.as_deref().map_or(("", ""), |below| below.split_once('?').unwrap_or((below, "")));
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let asked = Asked {
            method: parts.method,
            path: path.split('/').map(decode).collect(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: parts.headers,
            body,
            url,
        };
        self.asked.lock().unwrap().push(asked.clone());
        record(&asked);
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            Some(Fault::Refused) => return Err(Error::unavailable("call", "the connection was refused")),
            Some(Fault::Status(status, headers, body)) => {
                let mut response = text(status, body);
                for (name, value) in headers {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                return Ok(response);
            }
            _ => {}
        }
        let response = if below.is_none() {
            text(404, "not below the interface")
        } else if !self.face.lets_in(&asked) {
            json(401, &serde_json::json!({"message": "401 Unauthorized"}))
        } else {
            self.face.answer(&asked, &self.host).await
        };
        let Some(fault) = fault else { return Ok(response) };
        let (parts, body) = response.into_parts();
        let all = kiops_core::stream::collect(body.into_stream(), usize::MAX).await?;
        let half = stream::iter([Ok(all.slice(..all.len() / 2))]);
        let rest: kiops_core::stream::ByteStream = match fault {
            Fault::Stalls => Box::pin(half.chain(stream::pending())),
            _ => {
                Box::pin(half.chain(stream::iter([Err(Error::unavailable("read", "the connection broke"))])))
            }
        };
        Ok(Response::from_parts(parts, Body::once(None, rest)))
    }
}

/// Writes a request down where `KIOPS_RECORD` names a file: `.ci/specs` asks a vendor's description about each.
fn record(asked: &Asked) {
    let Some(file) = std::env::var_os("KIOPS_RECORD") else { return };
    let header = |name: &str| Some(asked.header(name)).filter(|value| !value.is_empty());
    let line = serde_json::json!({
        "method": asked.method.as_str(),
        "url": asked.url,
        "accept": header("accept"),
        "type": header("content-type"),
        "body": String::from_utf8_lossy(&asked.body),
    });
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// An answer with a JSON body.
pub(crate) fn json(status: u16, value: &Value) -> Response<Body> {
    let mut response = text(status, value.to_string());
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

/// An answer with a body of text.
pub(crate) fn text(status: u16, body: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status.try_into().unwrap();
    response
}

/// An answer with a body of bytes.
pub(crate) fn bytes(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(Body::from(body.into()))
}

/// The page of `items` that `page` and `per_page` ask for, with a `Link` header to the next one. Hosts give `most` a page at most.
pub(crate) fn page(asked: &Asked, items: Vec<Value>, most: usize) -> Response<Body> {
    let number = |name: &str| asked.parameter(name).parse::<usize>().ok().filter(|n| *n > 0);
    let (at, size) =
        (number("page").unwrap_or(1), number("per_page").or_else(|| number("limit")).unwrap_or(20).min(most));
    let total = items.len();
    let shown: Vec<Value> = items.into_iter().skip((at - 1) * size).take(size).collect();
    let mut response = json(200, &Value::Array(shown));
    response.headers_mut().insert("x-total-count", total.into());
    if at * size < total {
        let base = asked.url.split('?').next().unwrap();
        let others = asked.query.iter().filter(|(key, _)| key != "page");
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair("page", &(at + 1).to_string())
            .finish();
        let link = format!("<{base}?{query}>; rel=\"next\", <{base}?page=1>; rel=\"first\"");
        response.headers_mut().insert("link", link.parse().unwrap());
    }
    response
}

/// The status that an error of the repositories means.
pub(crate) fn status_of(error: &Error) -> u16 {
    match error.kind() {
        ErrorKind::NotFound => 404,
        ErrorKind::Invalid => 400,
        kind => panic!("the repositories answered {kind:?}: {error}"),
    }
}

/// The tests' token, always the same.
pub(crate) fn tokens() -> Arc<dyn TokenSource> {
    tokens_of(Secret::new(TOKEN).unwrap())
}

/// Another token, always the same.
pub(crate) fn tokens_of(secret: Secret) -> Arc<dyn TokenSource> {
    #[derive(Debug)]
    struct One(Secret);
    #[async_trait]
    impl SecretSource for One {
        async fn secret(&self, _: &SecretName) -> Result<Option<Secret>> {
            Ok(Some(self.0.clone()))
        }
    }
    Arc::new(FixedToken::new(Arc::new(One(secret)), SecretName::parse("git/token").unwrap()))
}

/// Time, and no chance.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// As it is.
    Real,
    /// Waits are a hundredth: for faults. A test cannot pause its clock, since real processes answer.
    Fast,
}

impl Timer for Clock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> kiops_core::http::Sleeping {
        Box::pin(tokio::time::sleep(match self {
            Self::Real => duration,
            Self::Fast => duration / 100,
        }))
    }

    fn random(&self) -> u64 {
        0
    }
}

/// A kind of host, for the conformance suite: how its face and its provider are made.
pub(crate) struct Kind {
    pub(crate) config: fn() -> HostConfig,
    pub(crate) face: fn() -> Arc<InProcess>,
    pub(crate) provider: fn(HostConfig, Arc<InProcess>) -> Arc<dyn GitProvider>,
    pub(crate) opened: Mutex<Option<Arc<InProcess>>>,
}

#[async_trait]
impl Subject<GitBench> for Kind {
    async fn open(&self) -> Arc<GitBench> {
        let host = (self.face)();
        *self.opened.lock().unwrap() = Some(Arc::clone(&host));
        self.bench(&host)
    }

    async fn reopen(&self) -> Option<Arc<GitBench>> {
        let host = self.opened.lock().unwrap().clone()?;
        Some(self.bench(&host))
    }
}

impl Kind {
    fn bench(&self, host: &Arc<InProcess>) -> Arc<GitBench> {
        let config = (self.config)();
        let narrow = HostConfig { max_changed_files: 10, max_archive_bytes: 100_000, ..config.clone() };
        Arc::new(GitBench {
            provider: (self.provider)(config, Arc::clone(host)),
            host: Arc::<Backing>::clone(&host.host),
            narrow: Some(Narrow {
                provider: (self.provider)(narrow, Arc::clone(host)),
                changed_files: 10,
                archive_bytes: 100_000,
            }),
        })
    }
}

/// One commit with one file, on no branch.
pub(crate) async fn first_commit(host: &Backing, repository: &Repository) -> CommitId {
    let entries = [("Dockerfile".to_owned(), Entry::File(Bytes::from_static(b"FROM scratch\n")))];
    let commit = NewCommit {
        parents: Vec::new(),
        message: "First\n".into(),
        author: "Ada".into(),
        timestamp: Timestamp::UNIX_EPOCH,
        entries: entries.into(),
    };
    host.commit(repository, &commit).await
}
