//! A GitHub App at a GitHub that checks its signature.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use jiff::Timestamp;
use kiops_core::event::Repository;
use kiops_core::http::{Egress, HttpClient, Reply, ScriptedHttp, Seen, TestTimer, Timer};
use kiops_core::name::{RepoId, SecretName};
use kiops_core::provider::{Token, TokenSource};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::{ErrorKind, Result};
use kiops_git::github::{GitHubApp, GitHubAppConfig};
use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

const APP: &str = "Iv23li0123456789";

fn start() -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap()
}

#[derive(Debug)]
struct Pem(String);

#[async_trait]
impl SecretSource for Pem {
    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>> {
        Ok(Some(name.as_str()).filter(|name| *name == "github/app").and_then(|_| Secret::new(self.0.clone())))
    }
}

/// A key, as GitHub gives it: PKCS#1, which is what PKCS#8 has in its envelope.
fn pem(key: &KeyPair) -> String {
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let body = STANDARD.encode(&der.as_ref()[26..]);
    format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n")
}

struct GitHub {
    public: Vec<u8>,
    timer: Arc<dyn Timer>,
    /// How far its clock is ahead, in seconds.
    ahead: i64,
    /// Under which path its API is.
    prefix: &'static str,
    given: Mutex<u64>,
    /// What it answers instead.
    instead: Mutex<Option<Reply>>,
    /// The installation of `acme`.
    acme: Mutex<u64>,
}

impl GitHub {
    fn now(&self) -> i64 {
        self.timer.now().as_second() + self.ahead
    }

    /// The App's claims, if the signature and they are right by GitHub's rules.
    fn lets_in(&self, seen: &Seen) -> bool {
        let parts: Vec<&str> =
            seen.header("authorization").strip_prefix("Bearer ").unwrap().split('.').collect();
        let [header, claims, signature] = parts[..] else { return false };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        let verified = public.verify(format!("{header}.{claims}").as_bytes(), &decode(signature)).is_ok();
        let claims: Value = serde_json::from_slice(&decode(claims)).unwrap();
        let now = self.now();
        let exp = claims["exp"].as_i64().unwrap();
        verified
            && claims["iss"] == APP
            && claims["iat"].as_i64().unwrap() <= now
            && (now < exp && exp <= now + 600)
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let date = Timestamp::from_second(self.now()).unwrap();
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if !self.lets_in(seen) {
            return Reply::status(401)
                .header("date", &date)
                .body(r#"{"message":"A JSON web token could not be decoded"}"#);
        }
        if let Some(reply) = self.instead.lock().unwrap().take() {
            return reply;
        }
        let path = seen.path().strip_prefix(self.prefix).unwrap_or("outside");
        let acme = *self.acme.lock().unwrap();
        match (seen.method.as_str(), path) {
            ("GET", "/app/installations") => Reply::json(json!([{"id": acme}]).to_string()),
            ("GET", "/repos/Acme/api/installation" | "/repos/acme/web/installation") => {
                Reply::json(json!({"id": acme}).to_string())
            }
            ("GET", "/repos/other/api/installation") => Reply::json(r#"{"id": 9}"#),
            ("POST", path) => {
                let id =
                    path.strip_prefix("/app/installations/").unwrap().strip_suffix("/access_tokens").unwrap();
                if ![acme.to_string().as_str(), "9"].contains(&id) {
                    return Reply::status(404);
                }
                let mut given = self.given.lock().unwrap();
                *given += 1;
                let end = self.timer.now() + Duration::from_secs(3600);
                let token = json!({"token": format!("ghs_{id}_{given}"), "expires_at": end.to_string()});
                Reply::status(201).body(token.to_string())
            }
            _ => Reply::status(404),
        }
    }
}

struct Bench {
    github: Arc<GitHub>,
    http: ScriptedHttp,
    app: GitHubApp,
    pem: String,
}

fn bench_at(prefix: &'static str, ahead: i64, change: impl FnOnce(&mut GitHubAppConfig)) -> Bench {
    let timer: Arc<dyn Timer> = Arc::new(TestTimer::at(start()));
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pem = pem(&key);
    let github = Arc::new(GitHub {
        public: key.public_key().as_ref().to_vec(),
        timer: Arc::clone(&timer),
        ahead,
        prefix,
        given: Mutex::new(0),
        instead: Mutex::new(None),
        acme: Mutex::new(1),
    });
    let asked = Arc::clone(&github);
    let slowly = Arc::clone(&timer);
    let http =
        ScriptedHttp::answering(move |seen| asked.answer(seen).after(&slowly, Duration::from_millis(100)));
    let mut config = GitHubAppConfig::new(APP, SecretName::parse("github/app").unwrap());
    if !prefix.is_empty() {
        config.api = Some(Url::parse(&format!("https://ghe.example.com{prefix}")).unwrap());
    }
    change(&mut config);
    let client = HttpClient::new(Arc::new(http.clone()), Egress::new([config.egress().unwrap()]), timer);
    let app = GitHubApp::new(config, Arc::new(Pem(pem.clone())), client).unwrap();
    Bench { github, http, app, pem }
}

fn bench() -> Bench {
    bench_at("", 0, |_| {})
}

fn repository(path: &str) -> Repository {
    Repository { id: None, path: path.into() }
}

async fn token(source: &dyn TokenSource, path: &str) -> Token {
    source.token(Some(&repository(path))).await.unwrap().unwrap()
}

fn text(token: &Token) -> &str {
    token.secret.expose_str().unwrap()
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_repository_is_reached_with_a_token_of_its_owners_installation() {
    let bench = bench();
    let acme = token(&bench.app, "Acme/api").await;
    assert_eq!((text(&acme), acme.expires_at.is_some()), ("ghs_1_1", true));
    assert_eq!(token(&bench.app, "acme/web").await, acme, "one installation, whatever its case");
    assert_eq!(text(&token(&bench.app, "other/api").await), "ghs_9_2");
    let paths: Vec<_> =
        bench.http.seen().iter().map(|seen| format!("{} {}", seen.method, seen.url)).collect();
    assert_eq!(
        paths,
        [
            "GET https://api.github.com/repos/Acme/api/installation",
            "POST https://api.github.com/app/installations/1/access_tokens",
            "GET https://api.github.com/repos/other/api/installation",
            "POST https://api.github.com/app/installations/9/access_tokens",
        ]
    );
    let first = &bench.http.seen()[0];
    assert_eq!(first.header("accept"), "application/vnd.github+json");
    assert_eq!(first.header("x-github-api-version"), "2022-11-28");
}

#[tokio::test(start_paused = true)]
async fn an_enterprise_servers_prefix_is_kept() {
    let bench = bench_at("/corp/api/v3", 0, |_| {});
    assert_eq!(text(&token(&bench.app, "Acme/api").await), "ghs_1_1");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_until_five_minutes_before_its_end_and_got_once_for_all() {
    let bench = bench();
    let tokens = join_all((0..20).map(|_| token(&bench.app, "acme/web"))).await;
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(bench.http.seen().len(), 2);
    pass(3600 - 302).await;
    assert_eq!(token(&bench.app, "acme/web").await, tokens[0]);
    pass(3).await;
    let tokens = join_all((0..20).map(|_| token(&bench.app, "acme/web"))).await;
    assert!(tokens.iter().all(|token| text(token) == "ghs_1_2"));
    assert_eq!(bench.http.seen().len(), 3, "the installation is known");
}

#[tokio::test(start_paused = true)]
async fn a_token_for_clones_is_of_one_repository_and_reads_its_content() {
    let bench = bench();
    let clones = bench.app.for_clone();
    let wide = token(&bench.app, "acme/web").await;
    let narrow = token(&clones, "acme/web").await;
    assert_ne!(narrow, wide);
    assert_eq!(token(&clones, "acme/web").await, narrow);
    let by_id = Repository { id: Some(RepoId::parse("4711").unwrap()), path: "acme/web".into() };
    assert_ne!(clones.token(Some(&by_id)).await.unwrap().unwrap(), narrow);
    let bodies: Vec<Value> = bench
        .http
        .seen()
        .iter()
        .filter(|seen| seen.method == "POST" && !seen.body.is_empty())
        .map(|seen| serde_json::from_slice(&seen.body).unwrap())
        .collect();
    let read = json!({"contents": "read"});
    assert_eq!(
        bodies,
        [
            json!({"repositories": ["web"], "permissions": read}),
            json!({"repository_ids": [4711], "permissions": read}),
        ]
    );
    assert_eq!(clones.token(None).await.unwrap_err().kind(), ErrorKind::Invalid);
    let nameless = Repository { path: String::new(), ..by_id.clone() };
    assert_eq!(clones.token(Some(&nameless)).await.unwrap(), clones.token(Some(&by_id)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_call_about_no_repository_goes_with_the_only_installation_or_the_one_that_is_set() {
    let only = bench();
    assert_eq!(text(&only.app.token(None).await.unwrap().unwrap()), "ghs_1_1");
    let set = bench_at("", 0, |config| config.installation = Some(9));
    assert_eq!(text(&set.app.token(None).await.unwrap().unwrap()), "ghs_9_1");
    for (found, kind) in [("[]", ErrorKind::NotFound), (r#"[{"id":1},{"id":2}]"#, ErrorKind::Unsupported)] {
        let bench = bench();
        *bench.github.instead.lock().unwrap() = Some(Reply::json(found));
        let error = bench.app.token(None).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.remedy().is_some(), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_made_up_for() {
    for ahead in [-3600, -45, 45, 3600, 100_000_000] {
        let bench = bench_at("", ahead, |_| {});
        assert_eq!(text(&token(&bench.app, "acme/web").await), "ghs_1_1", "{ahead}");
        let calls = bench.http.seen().len();
        assert!(calls <= 3, "{ahead}: {calls}");
        assert_eq!(text(&token(&bench.app, "other/api").await), "ghs_9_2", "{ahead}");
        assert_eq!(bench.http.seen().len(), calls + 2, "{ahead}: it is learnt once");
    }
}

#[tokio::test(start_paused = true)]
async fn an_installation_that_was_made_anew_is_found() {
    let bench = bench();
    token(&bench.app, "acme/web").await;
    *bench.github.acme.lock().unwrap() = 2;
    pass(3600).await;
    assert_eq!(text(&token(&bench.app, "acme/web").await), "ghs_2_2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_got_anew_but_not_in_a_storm() {
    let bench = bench();
    let first = token(&bench.app, "acme/web").await;
    assert!(!bench.app.refused(&first).await, "it was got just now");
    pass(61).await;
    assert!(bench.app.refused(&first).await);
    let second = token(&bench.app, "acme/web").await;
    assert_eq!(text(&second), "ghs_1_2");
    assert!(bench.app.refused(&first).await, "there is another by now");
    assert_eq!(token(&bench.app, "acme/web").await, second);
}

#[tokio::test(start_paused = true)]
async fn what_github_refuses_becomes_what_to_do() {
    for (reply, kind, word) in [
        (Reply::status(404), ErrorKind::NotFound, "Install App"),
        (
            Reply::status(403).body(r#"{"message":"This installation has been suspended"}"#),
            ErrorKind::Forbidden,
            "suspended",
        ),
        (
            Reply::status(403).header("x-ratelimit-remaining", "0").header("x-ratelimit-reset", "1900003600"),
            ErrorKind::RateLimited,
            "",
        ),
        (Reply::json("<html>"), ErrorKind::Invalid, "/api/v3/"),
        (Reply::json("[]"), ErrorKind::Invalid, "/api/v3/"),
    ] {
        let bench = bench();
        *bench.github.instead.lock().unwrap() = Some(reply);
        let error = bench.app.token(Some(&repository("acme/web"))).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let reach = bench();
    token(&reach.app, "acme/web").await;
    *reach.github.instead.lock().unwrap() = Some(Reply::status(422));
    let error = reach.app.for_clone().token(Some(&repository("acme/web"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.to_string().contains("Contents: read"), "{error}");

    let stranger = bench_at("", 0, |config| config.app = "another".into());
    let error = stranger.app.token(Some(&repository("acme/web"))).await.unwrap_err();
    assert_eq!((error.kind(), stranger.http.seen().len()), (ErrorKind::Unauthorized, 1));
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("github/app")), "{error}");

    let keyless = bench_at("", 0, |config| config.private_key = SecretName::parse("github/other").unwrap());
    let error = keyless.app.token(Some(&repository("acme/web"))).await.unwrap_err();
    assert_eq!((error.kind(), keyless.http.seen().len()), (ErrorKind::Unauthorized, 0));
    assert!(error.to_string().contains("github/other"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn neither_key_nor_token_is_ever_printed() {
    let bench = bench();
    let got = token(&bench.app, "acme/web").await;
    *bench.github.instead.lock().unwrap() = Some(Reply::status(403).body(bench.pem.clone()));
    let error = bench.app.token(Some(&repository("other/api"))).await.unwrap_err();
    let printed = format!("{:?} {:?} {got:?} {error:?} {error}", bench.app, bench.app.for_clone());
    let secret = &bench.pem[100..140];
    assert!(!printed.contains(secret) && !printed.contains("ghs_") && !printed.contains("eyJ"), "{printed}");
}

#[tokio::test]
async fn a_path_that_is_no_repository_never_becomes_an_address() {
    let bench = bench();
    for path in [
        "",
        "acme",
        "acme/",
        "/web",
        "../app",
        "acme/..",
        "a/b/c",
        "acme/we b",
        "acme/w?x",
        "acme/%2e%2e",
        "a\u{e9}/b",
    ] {
        let error = bench.app.token(Some(&repository(path))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}");
    }
    assert!(bench.http.seen().is_empty());
}

#[test]
fn settings_are_read_and_those_that_cannot_work_are_refused() {
    let config: GitHubAppConfig = serde_json::from_str(
        r#"{"app": "Iv1.1", "private_key": "github/app", "api": "https://ghe/api/v3/"}"#,
    )
    .unwrap();
    assert!(config.egress().is_ok());
    assert!(
        serde_json::from_str::<GitHubAppConfig>(r#"{"app": "1", "private_key": "k", "key": "x"}"#).is_err()
    );
    for (app, api) in
        [("", None), ("a b", None), ("1", Some("https://u:hunter2@ghe/")), ("1", Some("ftp://ghe/"))]
    {
        let mut config = GitHubAppConfig::new(app, SecretName::parse("github/app").unwrap());
        config.api = api.map(|api| Url::parse(api).unwrap());
        let error = config.egress().unwrap_err();
        assert!(error.remedy().is_some() && !error.to_string().contains("hunter2"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_answer_of_githubs_panics(status in 200u16..600, body in "\\PC{0,60}", id in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let timer: Arc<dyn Timer> = Arc::new(TestTimer::at(start()));
            let body = if id % 2 == 0 { json!({"id": id, "token": body, "expires_at": body}).to_string() } else { body };
            let http = ScriptedHttp::answering(move |_| Reply::status(status).body(body.clone()));
            let config = GitHubAppConfig::new(APP, SecretName::parse("github/app").unwrap());
            let client = HttpClient::new(Arc::new(http), Egress::new([config.egress().unwrap()]), timer);
            let app = GitHubApp::new(config, Arc::new(Pem(KEY.with(Clone::clone))), client).unwrap();
            assert!(app.token(Some(&repository("acme/web"))).await.is_err());
        });
    }
}

thread_local! {
    /// One key for all cases: making one takes its time.
    static KEY: String = pem(&KeyPair::generate(KeySize::Rsa2048).unwrap());
}
