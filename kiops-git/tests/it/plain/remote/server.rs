//! The least HTTP server that `git http-backend` can stand behind, with basic authentication and faults on demand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;

/// How the server behaves.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// As a Git host does.
    Serve,
    /// Every request is sent on to another base address.
    Redirect(String),
    /// Every answer is 503.
    Fault,
    /// Requests are read and not answered.
    Hang,
}

/// A running server. It ends when dropped.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    basic: String,
    mode: Mutex<Mode>,
    requests: AtomicUsize,
    authorized: AtomicUsize,
    ended: AtomicBool,
}

impl Server {
    /// Serves the bare repositories below `root` to one user.
    pub(crate) fn start(root: PathBuf, user: &str, password: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            root,
            basic: base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")),
            mode: Mutex::new(Mode::Serve),
            requests: AtomicUsize::new(0),
            authorized: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.ended.load(Ordering::SeqCst) {
                    break;
                }
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.answer(stream));
            }
        });
        Self { port, shared }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.host())
    }

    pub(crate) fn basic(&self) -> String {
        self.shared.basic.clone()
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// How many requests came in.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many of them carried a credential, right or wrong.
    pub(crate) fn authorized(&self) -> usize {
        self.shared.authorized.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

#[derive(Default)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut request = Self { method, path: path.into(), query: query.into(), ..Self::default() };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            request.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        if request.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut size = String::new();
                reader.read_line(&mut size).ok()?;
                let size = u64::from_str_radix(size.trim_end(), 16).ok()?;
                let mut chunk = Vec::new();
                (&mut reader).take(size + 2).read_to_end(&mut chunk).ok()?;
                if size == 0 {
                    break;
                }
                request.body.extend_from_slice(&chunk[..chunk.len() - 2]);
            }
        } else if let Some(length) = request.header("content-length").and_then(|length| length.parse().ok()) {
            (&mut reader).take(length).read_to_end(&mut request.body).ok()?;
        }
        Some(request)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let request = Request::read(&stream)?;
        self.requests.fetch_add(1, Ordering::SeqCst);
        let authorization = request.header("authorization");
        if authorization.is_some() {
            self.authorized.fetch_add(1, Ordering::SeqCst);
        }
        let mode = self.mode.lock().unwrap().clone();
        let answer = match mode {
            Mode::Hang => {
                // Until the other side gives up.
                stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
                let _ = stream.read(&mut [0]);
                return None;
            }
            Mode::Fault => b"HTTP/1.1 503 Busy\r\n".to_vec(),
            Mode::Redirect(to) => format!(
                "HTTP/1.1 301 Moved\r\nLocation: {}{}?{}\r\n",
                to.trim_end_matches('/'),
                request.path,
                request.query
            )
            .into_bytes(),
            Mode::Serve if authorization != Some(&format!("Basic {}", self.basic)) => {
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\n".to_vec()
            }
            Mode::Serve => self.backend(&request)?,
        };
        let whole = answer.windows(4).any(|part| part == b"\r\n\r\n");
        stream.write_all(&answer).ok()?;
        if !whole {
            stream.write_all(b"Content-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
        }
        Some(())
    }

    fn backend(&self, request: &Request) -> Option<Vec<u8>> {
        let mut child = Command::new("git")
            .arg("http-backend")
            .env_clear()
            .env("PATH", std::env::var_os("PATH")?)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REMOTE_USER", "kiops")
            .env("REQUEST_METHOD", &request.method)
            .env("PATH_INFO", &request.path)
            .env("QUERY_STRING", &request.query)
            .env("CONTENT_TYPE", request.header("content-type").unwrap_or_default())
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", request.header("content-encoding").unwrap_or_default())
            .env("GIT_PROTOCOL", request.header("git-protocol").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It may answer before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(&request.body);
        let output = child.wait_with_output().unwrap().stdout;
        let text = String::from_utf8_lossy(output.get(..output.len().min(200))?).into_owned();
        let status =
            text.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
        let mut answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n").into_bytes();
        answer.extend_from_slice(&output);
        Some(answer)
    }
}
