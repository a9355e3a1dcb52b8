//! A way to the cluster that can be cut and has faults: an HTTP proxy on loopback before the API server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kiops_kube::{Cluster, ClusterConfig};
use kube::Client;
use kube::client::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cluster::TestCluster;

/// Why a connection ends before its answer does.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

type Bodies = UnsyncBoxBody<Bytes, Broken>;
type Answer = Response<Bodies>;

/// A call of the API, as faults are chosen by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// `get`, `list`, `watch`, `create`, `patch`, `delete`.
    pub(crate) verb: &'static str,
    /// The resource with its subresource: `pods/log`.
    pub(crate) resource: String,
    /// The object; none of a list, a watch and a create.
    pub(crate) name: String,
    /// How many calls came before it.
    pub(crate) n: u64,
    /// A number of its own, the same in every run.
    pub(crate) random: u64,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It is not done, and answered with this status.
    Refused(u16),
    /// It is not done, and is to be made again after so many seconds.
    Busy(u32),
    /// It is done, and answered with this status.
    DoneBut(u16),
    /// It is done, and the connection ends without an answer.
    Lost,
    /// It is done so much later.
    Late(Duration),
    /// Its answer ends after so long, as one that is whole.
    EndsAfter(Duration),
    /// Its answer breaks off after so long.
    BreaksAfter(Duration),
    /// Its answer breaks off after so many bytes.
    BreaksAt(usize),
    /// After so many bytes nothing of its answer comes any more, and nobody is told: the connection stays.
    SilentAt(usize),
    /// A watch is told that its time is past, in its stream.
    Expired,
}

/// A cluster behind a proxy on loopback.
pub(crate) struct Proxied {
    pub(crate) cluster: Cluster,
    cut: Arc<watch::Sender<bool>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Proxied {
    /// Opens a way without faults. Calls are given up after a second.
    pub(crate) async fn open(cluster: &TestCluster) -> Self {
        let mut config = ClusterConfig::default();
        config.deadline_secs = 1;
        Self::with(cluster, config, |_| Fault::None).await
    }

    /// Opens a way with these faults, and as much patience as there is by default.
    pub(crate) async fn faulty(
        cluster: &TestCluster,
        faults: impl Fn(&Call) -> Fault + Send + Sync + 'static,
    ) -> Self {
        Self::with(cluster, ClusterConfig::default(), faults).await
    }

    async fn with(
        cluster: &TestCluster,
        config: ClusterConfig,
        faults: impl Fn(&Call) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (cut, seen) = watch::channel(false);
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let proxy = Arc::new(Proxy {
            to: cluster.client.clone(),
            next: AtomicU64::new(0),
            calls: Arc::clone(&calls),
            faults: Box::new(faults),
        });
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&proxy), seen.clone()));
            }
        });
        let url: http::Uri = address.parse().unwrap();
        let mut way = kube::Config::new(url.clone());
        way.default_retry = false;
        let cluster = Cluster::new(config, Client::try_from(way).unwrap()).with_url(&url);
        Self { cluster, cut: Arc::new(cut), calls }
    }

    /// Cuts the way, or mends it.
    pub(crate) fn switch(&self) -> impl Fn(bool) + Send + Sync + use<> {
        let cut = Arc::clone(&self.cut);
        move |on| {
            cut.send_replace(on);
        }
    }

    /// Every call until now.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// How many calls there were with this verb and resource.
    pub(crate) fn count(&self, verb: &str, resource: &str) -> usize {
        self.calls().iter().filter(|call| call.verb == verb && call.resource == resource).count()
    }
}

struct Proxy {
    to: Client,
    next: AtomicU64,
    calls: Arc<Mutex<Vec<Call>>>,
    faults: Box<dyn Fn(&Call) -> Fault + Send + Sync>,
}

async fn serve(client: TcpStream, proxy: Arc<Proxy>, mut cut: watch::Receiver<bool>) {
    if *cut.borrow_and_update() {
        return;
    }
    let service = service_fn(move |request| {
        let proxy = Arc::clone(&proxy);
        async move { proxy.pass(request).await }
    });
    tokio::select! {
        _ = http1::Builder::new().serve_connection(TokioIo::new(client), service) => {}
        _ = cut.changed() => {}
    }
}

impl Proxy {
    async fn pass(&self, request: Request<Incoming>) -> Result<Answer, Broken> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let call = call(&request, n);
        self.calls.lock().unwrap().push(call.clone());
        let fault = (self.faults)(&call);
        match fault {
            Fault::Refused(code) => return Ok(status(code, None)),
            Fault::Busy(seconds) => return Ok(status(429, Some(seconds))),
            Fault::Expired => return Ok(expired()),
            Fault::Late(time) => sleep(time).await,
            _ => {}
        }
        let answer = self.done(request).await?;
        match fault {
            Fault::DoneBut(code) => Ok(status(code, None)),
            Fault::Lost => Err(broken(&"the answer is lost")),
            Fault::EndsAfter(time) => Ok(answer.map(|body| ended(body, time, None))),
            Fault::BreaksAfter(time) => {
                Ok(answer.map(|body| ended(body, time, Some(broken(&"it breaks off")))))
            }
            Fault::BreaksAt(bytes) => Ok(answer.map(|body| broken_at(body, bytes))),
            Fault::SilentAt(bytes) => Ok(answer.map(|body| silent_at(body, bytes))),
            _ => Ok(answer),
        }
    }

    async fn done(&self, request: Request<Incoming>) -> Result<Answer, Broken> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| broken(&error))?.to_bytes();
        for header in [http::header::HOST, http::header::CONTENT_LENGTH, http::header::CONNECTION] {
            parts.headers.remove(header);
        }
        let request = Request::from_parts(parts, Body::from(body.to_vec()));
        let answer = self.to.send(request).await.map_err(|error| broken(&error))?;
        let (mut parts, body) = answer.into_parts();
        parts.headers.remove(http::header::TRANSFER_ENCODING);
        Ok(Response::from_parts(parts, body.map_err(|error| broken(&error)).boxed_unsync()))
    }
}

/// An answer's body, up to this moment.
fn ended(body: Bodies, after: Duration, how: Option<Broken>) -> Bodies {
    let frames = BodyStream::new(body).take_until(Box::pin(sleep(after)));
    BodyExt::boxed_unsync(StreamBody::new(frames.chain(stream::iter(how.map(Err)))))
}

/// An answer's body, up to so many bytes.
fn broken_at(body: Bodies, bytes: usize) -> Bodies {
    let frames = BodyStream::new(body).scan(bytes, |left, frame| {
        let frames = match frame.map(|frame| frame.into_data().unwrap_or_default()) {
            Ok(data) if data.len() > *left => {
                let rest = std::mem::take(left);
                vec![Ok(Frame::data(data.slice(..rest))), Err(broken(&"it breaks off"))]
            }
            Ok(data) => {
                *left -= data.len();
                vec![Ok(Frame::data(data))]
            }
            Err(error) => vec![Err(error)],
        };
        std::future::ready(Some(stream::iter(frames)))
    });
    let frames = frames.flatten();
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

/// An answer's body, up to so many bytes, without an end.
fn silent_at(body: Bodies, bytes: usize) -> Bodies {
    let until = BodyStream::new(broken_at(body, bytes)).take_while(|frame| std::future::ready(frame.is_ok()));
    BodyExt::boxed_unsync(StreamBody::new(until.chain(stream::pending())))
}

fn broken(why: &dyn std::fmt::Display) -> Broken {
    Broken(why.to_string())
}

fn call(request: &Request<Incoming>, n: u64) -> Call {
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    // `api/v1` or `apis/GROUP/VERSION`, then maybe `namespaces/NAME`, then the resource.
    let rest = parts.get(if parts.first() == Some(&"api") { 2 } else { 3 }..).unwrap_or_default();
    let rest = if rest.len() > 2 && rest[0] == "namespaces" { &rest[2..] } else { rest };
    let (resource, name, sub) = match rest {
        [resource] => (*resource, "", None),
        [resource, name] => (*resource, *name, None),
        [resource, name, sub @ ..] => (*resource, *name, Some(sub.join("/"))),
        [] => ("", "", None),
    };
    let query = request.uri().query().unwrap_or_default();
    let verb = match (request.method(), name) {
        (&Method::GET, "") if query.split('&').any(|one| one.starts_with("watch=")) => "watch",
        (&Method::GET, "") => "list",
        (&Method::GET, _) => "get",
        (&Method::POST, _) => "create",
        (&Method::DELETE, _) => "delete",
        (&Method::PATCH, _) => "patch",
        _ => "update",
    };
    let resource = sub.map_or_else(|| resource.to_owned(), |sub| format!("{resource}/{sub}"));
    Call { verb, resource, name: name.to_owned(), n, random: random(n) }
}

/// SplitMix64.
pub(crate) fn random(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn status(code: u16, wait: Option<u32>) -> Answer {
    let reason = match code {
        409 => "AlreadyExists",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let body = serde_json::json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "a fault of the test", "details": { "retryAfterSeconds": wait.unwrap_or(0) },
    });
    let mut answer = answer(StatusCode::from_u16(code).unwrap(), &body);
    if let Some(wait) = wait {
        answer.headers_mut().insert(http::header::RETRY_AFTER, wait.into());
    }
    answer
}

fn expired() -> Answer {
    let event = serde_json::json!({ "type": "ERROR", "object": {
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version",
    }});
    answer(StatusCode::OK, &event)
}

fn answer(code: StatusCode, body: &serde_json::Value) -> Answer {
    let body = Full::from(format!("{body}\n")).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    answer
}
