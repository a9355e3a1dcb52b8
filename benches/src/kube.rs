//! An API server that is none, for a process of its own: what builds need of one. It plays the Job's controller and the node as well, at
//! the pace that it is told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _, stdout};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Outcome;

/// The argument by which a program becomes such a server.
pub const ARGUMENT: &str = "kube-api";

/// How builds go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// From a Job to its running container, in ms.
    pub starts_ms: u64,
    /// How many lines each writes, at once.
    pub lines: usize,
    /// After how long its container ends, with 1, in ms; `None`: never.
    pub ends_ms: Option<u64>,
}

/// What was asked of a server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Asked {
    /// How many requests there were besides lists, watches and logs.
    pub requests: usize,
    /// When each Job was created, by the first argument of its container: the clone address with the commit.
    pub jobs: BTreeMap<String, Timestamp>,
}

/// A server in a process of its own, which ends with the value.
#[derive(Debug)]
pub struct KubeApi {
    child: Child,
    /// Where it is reached.
    pub address: String,
}

impl KubeApi {
    /// Starts the running program again, as a server.
    pub fn start(pace: Pace) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, &serde_json::to_string(&pace)?])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("it has no output")?;
        let mut address = String::new();
        BufReader::new(out).read_line(&mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until the process ends; says first where.
pub fn serve(pace: &str) -> Outcome<()> {
    let pace: Pace = serde_json::from_str(pace)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(stdout(), "http://{}", listener.local_addr()?)?;
        stdout().flush()?;
        accept(listener, pace).await
    })
}

/// Serves on this socket.
pub(crate) async fn accept(listener: TcpListener, pace: Pace) -> Outcome<()> {
    let server = Arc::new(Server { pace, state: Mutex::default(), changed: watch::Sender::new(()) });
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&server), request));
            // Whoever goes away in the middle of an answer has had enough of it.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(client), service).await;
        });
    }
}

#[derive(Debug)]
struct Server {
    pace: Pace,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    /// By kind and name.
    objects: BTreeMap<(String, String), Value>,
    /// By kind: what watches are told, with its version.
    told: BTreeMap<String, Vec<(u64, Bytes)>>,
    asked: Asked,
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// A change of an object, as watches call it.
#[derive(Debug, Clone, Copy)]
enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    const fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

impl State {
    fn tell(&mut self, kind: &str, change: Change, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let text = format!("{}\n", json!({ "type": change.name(), "object": object }));
        self.told.entry(kind.to_owned()).or_default().push((self.version, text.into()));
        object
    }

    fn put(&mut self, kind: &str, name: &str, change: Change, object: Value) -> Value {
        let object = self.tell(kind, change, object);
        self.objects.insert((kind.to_owned(), name.to_owned()), object.clone());
        object
    }

    fn remove(&mut self, kind: &str, name: &str) -> Option<Value> {
        let object = self.objects.remove(&(kind.to_owned(), name.to_owned()))?;
        Some(self.tell(kind, Change::Deleted, object))
    }

    fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(kind.to_owned(), name.to_owned()))
    }

    fn list(&self, kind: &str) -> Value {
        let all = self.objects.iter().filter(|((of, _), _)| of == kind).map(|(_, object)| object);
        let items: Vec<&Value> = all.collect();
        json!({ "metadata": { "resourceVersion": self.version.to_string() }, "items": items })
    }
}

impl Server {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        changed
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn create(&self, kind: &str, mut object: Value) -> Option<Value> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let now = Timestamp::now();
        object["metadata"]["uid"] = json!(format!("uid-{name}"));
        object["metadata"]["creationTimestamp"] = json!(seconds(now));
        self.change(|state| {
            if state.get(kind, &name).is_some() {
                return None;
            }
            if kind == "jobs" {
                let from = object["spec"]["template"]["spec"]["containers"][0]["args"][0].as_str();
                state.asked.jobs.insert(from.unwrap_or_default().to_owned(), now);
            }
            Some(state.put(kind, &name, Change::Added, object))
        })
    }

    /// A merge patch (RFC 7396); over another state than the one that it names it is a conflict.
    fn patch(&self, kind: &str, name: &str, patch: &Value) -> Result<Value, StatusCode> {
        self.change(|state| {
            let mut object = state.get(kind, name).ok_or(StatusCode::NOT_FOUND)?.clone();
            let version = &patch["metadata"]["resourceVersion"];
            if !version.is_null() && *version != object["metadata"]["resourceVersion"] {
                return Err(StatusCode::CONFLICT);
            }
            merge(&mut object, patch);
            Ok(state.put(kind, name, Change::Modified, object))
        })
    }

    /// A Job goes with everything that belongs to it.
    fn delete(&self, kind: &str, name: &str) -> Option<Value> {
        self.change(|state| {
            if kind == "jobs" {
                state.remove("pods", &pod_name(name));
                state.remove("secrets", name);
            }
            state.remove(kind, name)
        })
    }

    /// What the Job's controller and the node do.
    async fn play(self: Arc<Self>, job: Value) {
        let name = job["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        sleep(Duration::from_millis(self.pace.starts_ms)).await;
        let pod_name = pod_name(&name);
        let template = &job["spec"]["template"];
        let mut spec = template["spec"].clone();
        spec["nodeName"] = json!("node");
        let now = seconds(Timestamp::now());
        let pod = json!({
            "metadata": {
                "name": pod_name, "namespace": job["metadata"]["namespace"], "uid": format!("uid-{pod_name}"),
                "labels": template["metadata"]["labels"], "creationTimestamp": now,
            },
            "spec": spec,
            "status": { "phase": "Pending" },
        });
        let is_there = |state: &mut State| state.get("jobs", &name).is_some();
        let made = self.change(|state| {
            is_there(state).then(|| state.put("pods", &pod_name, Change::Added, pod)).is_some()
        });
        if !made {
            return;
        }
        let _ = self.patch("pods", &pod_name, &status("Running", json!({ "running": { "startedAt": now } })));
        let Some(ends) = self.pace.ends_ms else { return };
        sleep(Duration::from_millis(ends)).await;
        let ended = json!({ "terminated": { "exitCode": 1, "startedAt": now, "finishedAt": seconds(Timestamp::now()) } });
        let _ = self.patch("pods", &pod_name, &status("Failed", ended));
        let _ = self.patch(
            "jobs",
            &name,
            &json!({ "status": { "conditions": [{ "type": "Failed", "status": "True" }] } }),
        );
    }

    /// What a watch is told from a version on, and then as it comes.
    fn watch(self: Arc<Self>, kind: String, since: u64) -> BoxStream<'static, Bytes> {
        let from = self.look(|state| {
            let told = state.told.get(&kind).map(Vec::as_slice).unwrap_or_default();
            told.partition_point(|(version, _)| *version <= since)
        });
        let changes = self.changed.subscribe();
        stream::unfold((self, kind, from, changes), |(server, kind, from, mut changes)| async move {
            loop {
                changes.borrow_and_update();
                let news = server.look(|state| {
                    let told = state.told.get(&kind).map(Vec::as_slice).unwrap_or_default();
                    told[from..].iter().map(|(_, text)| text.clone()).collect::<Vec<_>>()
                });
                if !news.is_empty() {
                    let next = from + news.len();
                    return Some((Bytes::from(news.concat()), (server, kind, next, changes)));
                }
                changes.changed().await.ok()?;
            }
        })
        .boxed()
    }

    /// The log of a pod, to its end where it is followed.
    fn log(self: Arc<Self>, pod: String, follow: bool) -> BoxStream<'static, Bytes> {
        // Whoever reads it again finds the same times.
        let started = self.look(|state| {
            let pod = state.get("pods", &pod)?;
            pod["metadata"]["creationTimestamp"].as_str()?.parse().ok()
        });
        let lines = Bytes::from(lines(self.pace.lines, started.unwrap_or(Timestamp::UNIX_EPOCH)));
        let end = async move {
            let mut changes = self.changed.subscribe();
            let runs = |server: &Self| {
                server.look(|state| {
                    let status = state.get("pods", &pod).map(|pod| &pod["status"]["phase"]);
                    status.is_some_and(|phase| phase == "Running")
                })
            };
            // One of very many that wait: it looks up now and then.
            while follow && runs(&self) {
                changes.borrow_and_update();
                if self.pace.ends_ms.is_none() {
                    sleep(Duration::from_secs(3600)).await;
                } else if changes.changed().await.is_err() {
                    break;
                }
            }
            Bytes::new()
        };
        stream::once(async { lines }).chain(stream::once(end)).boxed()
    }
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    let query = parts.uri.query().unwrap_or_default();
    let value = |name: &str| {
        query.split('&').find_map(|one| one.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    if path == ["asked"] {
        return Ok(whole(StatusCode::OK, &server.look(|state| json!(state.asked))));
    }
    let rest = path.iter().position(|part| *part == "namespaces").and_then(|at| path.get(at + 2..));
    let Some(rest) = rest else { return Ok(refused(StatusCode::NOT_FOUND)) };
    let found = |object: Option<Value>| match object {
        Some(object) => whole(StatusCode::OK, &object),
        None => refused(StatusCode::NOT_FOUND),
    };
    let counted = |server: &Server| server.change(|state| state.asked.requests += 1);
    Ok(match (&parts.method, rest) {
        (&Method::GET, [kind]) if value("watch").is_some() => {
            let since = value("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
            streamed(server.watch((*kind).to_owned(), since))
        }
        (&Method::GET, [kind]) => whole(StatusCode::OK, &server.look(|state| state.list(kind))),
        (&Method::GET, ["pods", name, "log"]) => {
            let follow = value("follow").is_some_and(|follow| follow == "true");
            streamed(server.log((*name).to_owned(), follow))
        }
        (&Method::GET, [kind, name]) => {
            counted(&server);
            found(server.look(|state| state.get(kind, name).cloned()))
        }
        (&Method::POST, [kind]) => {
            counted(&server);
            let object = serde_json::from_slice(&body).unwrap_or_default();
            match server.create(kind, object) {
                Some(object) => {
                    if *kind == "jobs" {
                        tokio::spawn(Arc::clone(&server).play(object.clone()));
                    }
                    whole(StatusCode::CREATED, &object)
                }
                None => refused(StatusCode::CONFLICT),
            }
        }
        (&Method::PATCH, [kind, name]) => {
            counted(&server);
            match server.patch(kind, name, &serde_json::from_slice(&body).unwrap_or_default()) {
                Ok(object) => whole(StatusCode::OK, &object),
                Err(code) => refused(code),
            }
        }
        (&Method::DELETE, [kind, name]) => {
            counted(&server);
            found(server.delete(kind, name))
        }
        _ => refused(StatusCode::METHOD_NOT_ALLOWED),
    })
}

fn whole(code: StatusCode, body: &Value) -> Response<Body> {
    let mut response = streamed(stream::iter([Bytes::from(body.to_string())]).boxed());
    *response.status_mut() = code;
    response
}

fn refused(code: StatusCode) -> Response<Body> {
    let body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code.as_u16(),
        "message": code.canonical_reason(), "reason": code.canonical_reason().unwrap_or_default().replace(' ', "") });
    whole(code, &body)
}

fn streamed(body: BoxStream<'static, Bytes>) -> Response<Body> {
    let mut response =
        Response::new(StreamBody::new(body.map(Ok::<_, Infallible>).map_ok(Frame::data).boxed()));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            object.as_object_mut().and_then(|object| object.remove(key));
        } else {
            merge(&mut object[key.as_str()], value);
        }
    }
}

fn status(phase: &str, state: Value) -> Value {
    let container = json!({ "name": "run", "ready": phase == "Running", "restartCount": 0, "image": "kaniko", "imageID": "", "state": state });
    json!({ "status": {
        "phase": phase,
        "conditions": [{ "type": "Ready", "status": if phase == "Running" { "True" } else { "False" } }],
        "containerStatuses": [container],
    }})
}

fn pod_name(job: &str) -> String {
    format!("{job}-x1y2z")
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// So many lines as Kaniko writes them, with the times that the node puts before them.
fn lines(count: usize, from: Timestamp) -> Vec<u8> {
    let mut log = Vec::with_capacity(count * 100);
    for n in 0..count {
        let at = from + SignedDuration::from_micros(i64::try_from(n).unwrap_or(0));
        let text = match n {
            0 => "Retrieving image manifest registry.local/base:1".to_owned(),
            1 => "RUN make".to_owned(),
            n => format!("compiling part {n} of the whole, which takes its time"),
        };
        let line =
            format!("{at} {}\n", json!({ "level": "info", "msg": text, "time": "2026-02-01T00:00:00Z" }));
        log.extend_from_slice(line.as_bytes());
    }
    log
}
