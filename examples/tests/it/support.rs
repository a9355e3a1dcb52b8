//! A running quickstart, a client for its API, and a clone of its repository.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kiops_core::secret::Secret;
use kiops_core::webhook::scheme;
use serde_json::Value;

/// The example's program, which `cargo test` builds beside this one.
pub(crate) fn quickstart() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("examples/quickstart");
    assert!(program.exists(), "{} is missing: run `cargo build --examples` first", program.display());
    program
}

/// A quickstart that runs. Killed when dropped.
pub(crate) struct Server {
    /// `None`: it runs within this process, and ends by itself.
    child: Option<Child>,
    said: Arc<(Mutex<Said>, Condvar)>,
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    /// How many of its two streams have ended.
    ended: usize,
}

impl Said {
    fn is_over(&self) -> bool {
        self.ended == 2
    }
}

impl Server {
    /// Starts it on a folder, without waiting for anything.
    pub(crate) fn spawn(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(quickstart());
        command.arg("--dir").arg(folder).args(arguments);
        Self::spawn_command(command)
    }

    /// Starts a command that runs the quickstart.
    pub(crate) fn spawn_command(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new((Mutex::new(Said::default()), Condvar::new()));
        for stream in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>,
            Box::new(child.stderr.take().unwrap()),
        ] {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines() {
                    let Ok(line) = line else { break };
                    said.0.lock().unwrap().lines.push(line);
                    said.1.notify_all();
                }
                said.0.lock().unwrap().ended += 1;
                said.1.notify_all();
            });
        }
        Self { child: Some(child), said }
    }

    /// One that runs within this process and would have printed these lines.
    pub(crate) fn within(lines: Vec<String>) -> Self {
        Self { child: None, said: Arc::new((Mutex::new(Said { lines, ended: 2 }), Condvar::new())) }
    }

    /// The build's log, once its last line is written: following it to its end waits for that.
    pub(crate) fn log(&self, build: &Value) -> String {
        let path = format!("/api/v1/builds/{}/log", build["id"].as_str().unwrap());
        self.call("GET", &path, &[("accept", "text/event-stream")], b"");
        self.call("GET", &path, &[], b"").text()
    }

    /// Sends a delivery of one change of a branch or tag, as the repository's hook writes it, with `padding` bytes more.
    pub(crate) fn deliver(&self, folder: &Path, git_ref: &str, after: &str, padding: usize) -> Answer {
        let secret = Secret::new(std::fs::read(folder.join("hook-secret")).unwrap()).unwrap();
        let body = serde_json::json!({
            "repository": self.value("repo").unwrap(), "pusher": "ada", "padding": "x".repeat(padding),
            "changes": [{"ref": git_ref, "before": "0".repeat(40), "after": after}],
        })
        .to_string();
        let now = Timestamp::now();
        let id = format!("msg-{}", now.as_nanosecond());
        let signature = scheme::sign(&secret, &id, now, body.as_bytes()).unwrap();
        let at = now.as_second().to_string();
        let headers = [("webhook-id", &*id), ("webhook-timestamp", &*at), ("webhook-signature", &*signature)];
        self.call("POST", "/api/v1/webhook/plain", &headers, body.as_bytes())
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(folder: &Path) -> Self {
        let server = Self::spawn(folder, &[]);
        server.wait_ready();
        server
    }

    /// Waits for the line `ready`.
    pub(crate) fn wait_ready(&self) {
        assert!(self.wait_line(|line| line == "ready"), "never ready:\n{}", self.output());
    }

    /// Waits until a line is what is looked for; `false`: the program ended before, or a minute passed.
    pub(crate) fn wait_line(&self, is: impl Fn(&str) -> bool) -> bool {
        self.wait_said(|lines| lines.iter().any(|line| is(line)))
    }

    /// The same of all that it said so far.
    pub(crate) fn wait_output(&self, is: impl Fn(&str) -> bool) -> bool {
        self.wait_said(|lines| is(&lines.join("\n")))
    }

    fn wait_said(&self, is: impl Fn(&[String]) -> bool) -> bool {
        let until = Instant::now() + Duration::from_secs(60);
        let mut said = self.said.0.lock().unwrap();
        loop {
            if is(&said.lines) {
                return true;
            }
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|_| !said.is_over()) else {
                return false;
            };
            said = self.said.1.wait_timeout(said, left).unwrap().0;
        }
    }

    /// Everything that it said so far.
    pub(crate) fn output(&self) -> String {
        self.said.0.lock().unwrap().lines.join("\n")
    }

    /// The value of a `key: value` line.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let said = self.said.0.lock().unwrap();
        said.lines.iter().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(": ")?.to_owned()))
    }

    /// Where the API listens.
    pub(crate) fn address(&self) -> String {
        self.value("server").unwrap().strip_prefix("http://").unwrap().to_owned()
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether it ends within a minute.
    pub(crate) fn ends(&self) -> bool {
        self.wait_line(|_| false);
        self.said.0.lock().unwrap().is_over()
    }

    /// Waits for its end and says whether it was a success.
    pub(crate) fn wait(&mut self) -> bool {
        let success = self.child.as_mut().unwrap().wait().unwrap().success();
        self.wait_line(|_| false);
        success
    }

    /// GET, and the JSON that it answers.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    /// One request.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        call(&self.address(), method, path, headers, body)
    }

    /// A request with a JSON body.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.call(method, path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Waits until `look` finds something in what `GET path` answers.
    pub(crate) fn until<T>(&self, path: &str, mut look: impl FnMut(&Value) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let value = self.get(path);
            if let Some(found) = look(&value) {
                return found;
            }
            assert!(Instant::now() < until, "never there: {path}\n{value:#}\n{}", self.output());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until the newest build of a commit is over, and gives it.
    pub(crate) fn built(&self, commit: &str) -> Value {
        self.until("/api/v1/builds?limit=200", |list| {
            let build = list["items"].as_array()?.iter().find(|build| build["commit"] == commit)?;
            is_over(build).then(|| build.clone())
        })
    }

    /// Waits until the delivery of a commit is decided, and gives it.
    pub(crate) fn decided(&self, commit: &str) -> Value {
        self.until("/api/v1/deliveries?limit=200", |list| {
            let found = list["items"].as_array()?.iter().find(|delivery| delivery["commit"] == commit)?;
            (!found["outcome"].is_null()).then(|| found.clone())
        })
    }

    /// Changes the service's settings.
    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut Value)) {
        let mut settings = self.get("/api/v1/services/site/settings");
        change(&mut settings);
        let answer = self.send("PUT", "/api/v1/services/site/settings", &settings);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a build is over.
pub(crate) fn is_over(build: &Value) -> bool {
    !["queued", "starting", "running", "awaiting_approval"].contains(&build["state"].as_str().unwrap())
}

/// Every file below a folder, as text.
pub(crate) fn manifests(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(manifests(&path));
        } else {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
    found
}

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One request over a connection of its own.
pub(crate) fn call(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_call(address, method, path, headers, body).unwrap()
}

/// The same where the server may be gone.
pub(crate) fn try_call(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server may answer before it has read everything.
    let _ = stream.write_all(body);
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    let broken = || std::io::Error::other("no whole answer");
    let Some(split) = all.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Err(read.err().unwrap_or_else(broken));
    };
    let head = String::from_utf8_lossy(&all[..split]).into_owned();
    let mut body = all[split + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok(Answer { status, head, body })
}

fn unchunked(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(String::from_utf8_lossy(&raw[..end]).trim(), 16).unwrap_or(0);
        if size == 0 || raw.len() < end + 2 + size + 2 {
            break;
        }
        body.extend_from_slice(&raw[end + 2..end + 2 + size]);
        raw = &raw[end + 2 + size + 2..];
    }
    body
}

/// A quickstart with a clone of its repository.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) clone: Clone,
    pub(crate) place: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let server = Server::start(&place.path().join("state"));
        let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
        Self { server, clone, place }
    }

    /// The quickstart's folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    /// How many builds there are of a commit.
    pub(crate) fn builds_of(&self, commit: &str) -> usize {
        let list = self.server.get("/api/v1/builds?limit=200");
        list["items"].as_array().unwrap().iter().filter(|build| build["commit"] == commit).count()
    }
}

/// A clone of a quickstart's repository.
pub(crate) struct Clone {
    pub(crate) folder: PathBuf,
}

impl Clone {
    /// Clones into a new folder.
    pub(crate) fn of(repository: &str, folder: PathBuf) -> Self {
        let clone = Self { folder };
        let output =
            git(Path::new("/")).args(["clone", "--quiet", repository]).arg(&clone.folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        clone
    }

    /// Runs git in it.
    pub(crate) fn git(&self, arguments: &[&str]) -> Output {
        git(&self.folder).args(arguments).output().unwrap()
    }

    /// Runs git in it, and gives what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.git(arguments);
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything and says the commit's id.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.ok(&["add", "--all"]);
        self.ok(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.ok(&["rev-parse", "HEAD"])
    }

    /// Writes a file, commits and pushes to `main`, and says the commit's id.
    pub(crate) fn push_change(&self, content: &str) -> String {
        self.write("index.html", content);
        let commit = self.commit(content);
        self.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
        commit
    }
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.invalid");
    }
    command
}
