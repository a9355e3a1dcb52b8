//! A thousand secrets of every kind, pushed through logs, errors, the API, `Debug` and files: none comes out.
//!
//! The run prints its seed; `KIOPS_SECRETS_SEED` repeats it.

mod place;
mod teller;
mod traced;
mod ways;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use kiops_core::name::SecretName;
use serde_json::json;

use crate::house::{House, SITE};
use crate::support::{Answer, call};
use place::{house, register};
use teller::{Told, parrot};
use traced::Traced;
use ways::{ask_with_secrets, deliver, files, print_everything, read_everything};
use words::{Numbers, Search, Word};

/// How many secrets there are.
const SECRETS: usize = 1000;
/// The registry that wants passwords.
const ROBOTS: &str = "robots.example:5000";
/// How many services tell all, and how many secrets each is given.
const TELLING: usize = 8;
const TOLD_EACH: usize = 75;
/// How many repositories lie behind the server that repeats passwords.
const REPOSITORIES: usize = 26;

/// Who has which secret.
struct Spread {
    told: Vec<Word>,
    refused: Vec<Word>,
    robots: Vec<Word>,
    hooks: Vec<Word>,
    env: Vec<Word>,
    pulls: Vec<Word>,
    git: Vec<Word>,
    bodies: Vec<Word>,
    requests: Vec<Word>,
}

impl Spread {
    fn new(all: &[Word]) -> Self {
        let mut rest = all;
        let mut take = |n: usize| {
            let (taken, left) = rest.split_at(n);
            rest = left;
            taken.to_vec()
        };
        let spread = Self {
            told: take(TELLING * TOLD_EACH),
            refused: take(10),
            robots: take(34),
            hooks: take(130),
            env: take(50),
            pulls: take(50),
            git: take(REPOSITORIES),
            bodies: take(40),
            requests: take(60),
        };
        assert!(rest.is_empty());
        spread
    }
}

/// What came out somewhere: where, and what.
#[derive(Default)]
struct Out(Vec<(String, Vec<u8>)>);

impl Out {
    fn push(&mut self, place: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.0.push((place.into(), text.into()));
    }

    fn answer(&mut self, request: impl Into<String>, answer: &Answer) {
        self.push(request, format!("{}\n\n{}", answer.head, answer.text()));
    }

    fn debug(&mut self, name: &str, value: &impl std::fmt::Debug) {
        self.push(format!("Debug of {name}"), format!("{value:?}\n{value:#?}"));
    }
}

#[test]
fn of_a_thousand_secrets_none_comes_out_anywhere() {
    let seed = std::env::var("KIOPS_SECRETS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::try_from(Timestamp::now().as_microsecond()).unwrap());
    eprintln!("KIOPS_SECRETS_SEED={seed}");
    let mut numbers = Numbers(seed);
    let all: Vec<Word> = (0..SECRETS).map(|n| Word::new(n, &mut numbers)).collect();
    let words =
        Arc::new(all.iter().map(|word| (word.value.clone(), word.clone())).collect::<BTreeMap<_, _>>());
    assert_eq!(words.len(), SECRETS, "they are all different");
    let mut search = Search::of(&all);
    assert!(search.len() > 8 * SECRETS, "{} forms", search.len());
    let spread = Spread::new(&all);

    let traced = Traced::listen();
    let told: Arc<Mutex<Told>> = Arc::default();
    let (git, said) = parrot(Arc::clone(&words));
    let house = house(&spread, &words, &told, &git);
    let mut out = Out::default();

    register(&house, &spread, &git, &mut out);
    let failures = build(&house, &spread, &mut out);
    deploy(&house, &spread);
    unreachable_repositories(&house, &mut out);
    deliver(&house, &spread, &mut out);
    ask_with_secrets(&house, &spread, &mut out);
    read_everything(&house, &mut out);
    print_everything(&house, &spread, &git, &mut out);
    out.push("what was traced", traced.stop());

    // What was told before it was masked has every form of every secret that was to be told: the search finds them.
    let told = std::mem::take(&mut *told.lock().unwrap());
    let missing = search.missing(&told.raw, &spread.told);
    assert!(missing.is_empty(), "not told: {missing:?}");
    let said = std::mem::take(&mut *said.lock().unwrap());
    assert!(said.len() >= REPOSITORIES, "the Git server was asked {} times", said.len());
    out.push("how inputs were printed", told.printed);

    // What came out instead is there, whole but for the secrets.
    let logs: String = failures.iter().map(|(log, _)| log.as_str()).collect();
    // Raw bytes may hold an escape sequence, which takes its neighbours along.
    for word in spread.told.iter().filter(|word| word.text().is_some()) {
        // A service account's file begins with a line too short to be a secret.
        let instead = if word.value.starts_with(b"{\r\n") { "{" } else { "***" };
        for text in [format!("before {}: {instead}", word.n), format!(" after {}", word.n)] {
            assert!(logs.contains(&text), "{text:?} is not in the logs");
        }
    }
    assert_eq!(logs.matches("the last line").count(), TELLING);
    assert!(logs.matches("***").count() > spread.told.len() * 10, "a mask stands for every form");
    for (_, failure) in &failures {
        assert!(failure.contains("***"), "{failure}");
    }

    for (place, text) in &out.0 {
        assert!(!text.is_empty(), "{place} is empty");
        search.look(place, text);
    }
    let traced =
        String::from_utf8_lossy(&out.0.iter().find(|(place, _)| place == "what was traced").unwrap().1)
            .into_owned();
    assert!(traced.contains("delivery refused: no secret vouches for it"), "little was traced: {traced}");
    files(&house, &spread, &mut search);
    search.finish();
}

// Logs and errors.

/// Builds whatever tells or fails; gives each build's log and failure.
fn build(house: &House, spread: &Spread, out: &mut Out) -> Vec<(String, String)> {
    assert!(spread.robots.len() >= 2 * (TELLING + 3), "two passwords for each build");
    let names = (0..TELLING).map(|n| format!("told-{n}"));
    let names = names.chain(["refused-0", "pushed-0", "pushed-1"].map(str::to_owned));
    let mut ended = Vec::new();
    for name in names {
        let started = house.post("root", &format!("/api/v1/services/{name}/builds"), &json!({}));
        assert_eq!(started.status, 202, "{}", started.text());
        let id = started.json()["items"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/builds/{id}");
        let build = house.until(&path, |build| crate::support::is_over(build).then(|| build.clone()));
        assert!(build["state"] == "failed" || build["state"] == "error", "{build:#}");
        let text = house.call("root", "GET", &format!("{path}/log"), b"");
        let headers = [("x-member", "root"), ("accept", "text/event-stream")];
        let events = call(&house.address, "GET", &format!("{path}/log"), &headers, b"");
        assert!(name.starts_with("refused") || events.text().contains("event: end"), "{}", events.text());
        if name.starts_with("told") {
            assert!(
                events.text().contains("the last line") && events.text().matches("***").count() > TOLD_EACH
            );
        }
        out.answer(format!("the log of {name}"), &text);
        out.answer(format!("the events of {name}"), &events);
        ended.push((text.text(), build["failure"].to_string()));
    }
    ended
}

/// Two services go live: one in an environment where Secrets are written, one where they are not.
fn deploy(house: &House, spread: &Spread) {
    for name in ["shop", SITE] {
        let started = house.post("root", &format!("/api/v1/services/{name}/builds"), &json!({}));
        assert_eq!(started.status, 202, "{}", started.text());
        house.until(&format!("/api/v1/services/{name}/deployments"), |list| {
            let state = list["items"][0]["state"].as_str()?;
            assert_ne!(state, "failed", "{list:#}");
            (state == "live").then_some(())
        });
    }
    // And one that wants a secret which is not there.
    let missing = SecretName::parse(format!("env/{}", spread.env[0].n)).unwrap();
    house.wait(house.driver.store().put_secret(&missing, None)).unwrap();
    house.change_settings("shop", |settings| settings["image"]["tags"] = json!(["next"]));
    let started = house.post("root", "/api/v1/services/shop/builds", &json!({}));
    assert_eq!(started.status, 202, "{}", started.text());
    house.until("/api/v1/services/shop/deployments", |list| {
        (list["items"][0]["state"] == "failed").then_some(())
    });
}

/// The Git server answers with the password that it was shown.
fn unreachable_repositories(house: &House, out: &mut Out) {
    for n in 0..REPOSITORIES {
        let path = format!("/api/v1/services/far-{n}");
        let started = house.post("root", &format!("{path}/builds"), &json!({}));
        assert!(started.status >= 400, "{}", started.text());
        out.answer(format!("a build of far-{n}"), &started);
        out.answer(path.clone(), &house.call("root", "GET", &path, b""));
    }
}
