//! A real registry, `docker-registry` of Debian, on loopback, and the token server that it trusts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kiops_core::http::{HostRule, HttpService, ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::image::RegistryCredential;
use kiops_core::secret::Secret;
use kiops_core::testing::has_program;
use kiops_registry::oci::{Oci, OciConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Who may do what at a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    Nobody,
    /// One account by Basic.
    Htpasswd,
    /// Accounts at a token server of our own.
    Token,
}

/// Name and password of the account that may push everywhere.
pub(crate) const ALICE: (&str, &str) = ("alice", "wonder$land:9");
/// One that may only pull.
pub(crate) const BOB: (&str, &str) = ("robot$bob", "builder");

/// A registry that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pub(crate) port: u16,
    folder: TempDir,
    auth: Auth,
    /// What the token server was asked for.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    realm: Option<u16>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Daemon {
    /// Starts a registry; `None`: something that it needs is not here.
    pub(crate) fn start(auth: Auth) -> Option<Self> {
        Self::start_with(auth, &json!({}))
    }

    /// The same with `notifications` as its configuration says them.
    pub(crate) fn start_with(auth: Auth, notifications: &Value) -> Option<Self> {
        let needed = match auth {
            Auth::Nobody => &["docker-registry"][..],
            Auth::Htpasswd => &["docker-registry", "htpasswd"],
            Auth::Token => &["docker-registry", "openssl"],
        };
        if !needed.iter().all(|program| has_program(program)) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let path = |name: &str| folder.path().join(name);
        let mut realm = None;
        let auth_config = match auth {
            Auth::Nobody => json!({}),
            Auth::Htpasswd => {
                let line = run("htpasswd", &["-Bbn", ALICE.0, ALICE.1]);
                std::fs::write(path("users"), line).unwrap();
                json!({"htpasswd": {"realm": "test", "path": path("users")}})
            }
            Auth::Token => {
                let (key, certificate) = (path("key.pem"), path("cert.pem"));
                let (key_path, certificate_path) = (key.to_str().unwrap(), certificate.to_str().unwrap());
                let subject =
                    ["-subj", "/CN=tokens", "-days", "2", "-keyout", key_path, "-out", certificate_path];
                let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes"];
                run("openssl", &[&new[..], &subject[..]].concat());
                let port = serve_tokens(folder.path().to_owned(), Arc::clone(&asked));
                realm = Some(port);
                json!({"token": {
                    "realm": format!("http://127.0.0.1:{port}/token"), "service": "registry.test",
                    "issuer": "tokens", "rootcertbundle": certificate,
                }})
            }
        };
        let port = free_port();
        // JSON is YAML, too.
        let config = json!({
            "version": "0.1", "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": path("data")}, "delete": {"enabled": true},
                "maintenance": {"uploadpurging": {"enabled": false}}},
            "http": {"addr": format!("127.0.0.1:{port}"), "secret": "test"}, "auth": auth_config,
            "notifications": notifications,
        });
        let mut config = config;
        if auth == Auth::Nobody {
            config.as_object_mut().unwrap().remove("auth");
        }
        std::fs::write(path("config.yml"), config.to_string()).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", path("config.yml").to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Self { child, port, folder, auth, asked, realm };
        daemon.wait();
        Some(daemon)
    }

    fn wait(&mut self) {
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert_eq!(self.child.try_wait().unwrap(), None, "the registry ended: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it and starts it anew over what it stored.
    pub(crate) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let config = self.folder.path().join("config.yml");
        let mut command = Command::new("docker-registry");
        command.args(["serve", config.to_str().unwrap()]).stdin(Stdio::null()).stdout(Stdio::null());
        self.child = command.stderr(Stdio::null()).spawn().unwrap();
        self.wait();
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it keeps its blobs.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.folder.path().join("data/docker/registry/v2/blobs/sha256")
    }

    /// The file of one.
    pub(crate) fn blob(&self, hex: &str) -> PathBuf {
        self.blobs().join(&hex[..2]).join(hex).join("data")
    }

    pub(crate) fn config(&self) -> OciConfig {
        let mut config = OciConfig::new(self.host());
        config.url = Some(format!("http://{}", self.host()));
        config.private = true;
        if let Some(port) = self.realm {
            config.realms =
                vec![HostRule::parse(&format!("http://127.0.0.1:{port}/token")).unwrap().private()];
        }
        config
    }

    /// Our client of it, with this account.
    pub(crate) fn client(&self, login: Option<(&str, &str)>) -> Oci {
        self.client_of(self.config(), login)
    }

    pub(crate) fn client_of(&self, config: OciConfig, login: Option<(&str, &str)>) -> Oci {
        let service = ReqwestService::new(&ReqwestConfig::default(), config.egress().unwrap()).unwrap();
        self.client_over(config, login, Arc::new(service))
    }

    pub(crate) fn client_over(
        &self,
        config: OciConfig,
        login: Option<(&str, &str)>,
        service: Arc<dyn HttpService>,
    ) -> Oci {
        let login = login.map(|(username, password)| RegistryCredential {
            host: self.host(),
            username: username.into(),
            password: Secret::new(password).unwrap(),
        });
        Oci::new(config, login, service, Arc::new(SystemTimer)).unwrap()
    }

    /// The account that may do everything, where one is needed.
    pub(crate) fn owner(&self) -> Option<(&'static str, &'static str)> {
        (self.auth != Auth::Nobody).then_some(ALICE)
    }
}

/// A token server as the distribution's documentation has it: Basic in, a signed token out that grants what the account may.
fn serve_tokens(folder: PathBuf, asked: Arc<Mutex<Vec<String>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (status, body) = token_answer(&folder, &asked, &stream);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port
}

fn token_answer(folder: &Path, asked: &Mutex<Vec<String>>, stream: &TcpStream) -> (&'static str, String) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let given = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.trim_start_matches("Basic ").to_owned())
    });
    let account = |(name, password): (&str, &str)| STANDARD.encode(format!("{name}:{password}"));
    let rights: &[&str] = match given.as_deref() {
        None => &[],
        Some(given) if given == account(ALICE) => &["pull", "push", "delete"],
        Some(given) if given == account(BOB) => &["pull"],
        Some(_) => {
            return ("401 Unauthorized", json!({"details": "incorrect username or password"}).to_string());
        }
    };
    let url = url::Url::parse(&format!("http://localhost{target}")).unwrap();
    asked.lock().unwrap().push(url.query().unwrap_or_default().to_owned());
    let scopes = url.query_pairs().filter(|(name, _)| name == "scope");
    let access = scopes.map(|(_, scope)| {
        let (rest, actions) = scope.rsplit_once(':').unwrap();
        let actions: Vec<&str> = actions.split(',').filter(|action| rights.contains(action)).collect();
        json!({"type": "repository", "name": rest.trim_start_matches("repository:"), "actions": actions})
    });
    let access: Vec<_> = access.collect();
    let now = jiff::Timestamp::now().as_second();
    let certificate = std::fs::read_to_string(folder.join("cert.pem")).unwrap();
    let der: String = certificate.lines().filter(|line| !line.starts_with("-----")).collect();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [der]});
    let claims = json!({
        "iss": "tokens", "sub": "", "aud": "registry.test", "exp": now + 300, "nbf": now - 10, "iat": now,
        "jti": now.to_string(), "access": access,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let input = folder.join(format!("to-sign-{}", asked.lock().unwrap().len()));
    std::fs::write(&input, &text).unwrap();
    let key = folder.join("key.pem");
    let signature =
        run("openssl", &["dgst", "-sha256", "-sign", key.to_str().unwrap(), input.to_str().unwrap()]);
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
    ("200 OK", json!({"token": token, "expires_in": 300}).to_string())
}
