//! One path for every sender: a delivery goes to the one that its headers show, and proves itself there.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use kiops_core::event::Repository;
use kiops_core::name::{HookId, ProviderName, RepoId, ServiceName};
use kiops_core::secret::Secret;
use kiops_core::store::Hook;
use kiops_core::webhook::{SecretSet, scheme};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::house::{House, ID, PATH, SITE, push_event, refused, refused_with_remedy, secret, settings};
use crate::support::{Answer, call};

const COMMON: &str = "/api/v1/webhook";

/// Senders that send one another's headers, each with its event's and its signature's, in the order in which they are asked for.
const FAMILY: [(&str, &str, &str, &str); 4] = [
    ("forgejo", "X-Forgejo-Event", "X-Forgejo-Signature", ""),
    ("gitea", "X-Gitea-Event", "X-Gitea-Signature", ""),
    ("gogs", "X-Gogs-Event", "X-Gogs-Signature", ""),
    ("github", "X-GitHub-Event", "X-Hub-Signature-256", "sha256="),
];

/// Registers a service for each of [`FAMILY`], named like the sender, all on the repository, each with a secret of its own.
fn register(house: &House, hook: Option<&HookId>) {
    for (name, ..) in FAMILY {
        house.register(name, settings(name));
        let hook = Hook {
            service: ServiceName::parse(name).unwrap(),
            provider: ProviderName::parse(name).unwrap(),
            repository: Repository { id: Some(RepoId::parse(ID.to_string()).unwrap()), path: PATH.into() },
            hook: hook.cloned(),
            secrets: SecretSet::new([Secret::new(secret_of(name)).unwrap()]),
        };
        house.wait(house.driver.store().put_hook(&hook)).unwrap();
    }
}

fn secret_of(name: &str) -> String {
    format!("the secret of {name}")
}

/// A push as all of them write it.
fn push(house: &House, content: &str) -> Value {
    let before = house.clone.ok(&["rev-parse", "HEAD"]);
    let after = house.clone.push_change(content);
    let user = json!({"id": 1, "login": "ada", "username": "ada", "name": "ada"});
    json!({
        "ref": "refs/heads/main", "before": before, "after": after, "created": false, "deleted": false, "forced": false,
        "commits": [{"id": after, "message": content, "timestamp": "2026-01-02T03:04:05+01:00", "url": "https://x/c",
                     "author": {"name": "Ada"}, "committer": {"name": "Ada"},
                     "added": [], "modified": ["index.html"], "removed": []}],
        "total_commits": 1,
        "repository": {"id": ID, "full_name": PATH, "name": "site", "owner": {"login": "team"}},
        "pusher": user, "sender": user,
    })
}

/// The headers of these senders, each signed with that sender's own secret.
fn headers(names: &[&str], body: &str) -> Vec<(String, String)> {
    let shown = FAMILY.iter().filter(|(name, ..)| names.contains(name));
    let headers = shown.flat_map(|(name, event, signature, prefix)| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret_of(name).as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        [((*event).to_owned(), "push".to_owned()), ((*signature).to_owned(), format!("{prefix}{digits}"))]
    });
    // As sent: the host's own last.
    headers.collect::<Vec<_>>().into_iter().rev().collect()
}

fn send(house: &House, path: &str, headers: &[(String, String)], body: &str) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    call(&house.address, "POST", path, &headers, body.as_bytes())
}

/// How many deliveries a service has, by which sender the newest came, and what became of it.
fn newest(house: &House, service: &str) -> (u64, String, String) {
    let path = format!("/api/v1/deliveries?limit=1&service={service}");
    house.until(&path, |list| {
        let newest = &list["items"][0];
        let word = |name: &str| newest[name].as_str().map(str::to_owned);
        Some((list["total"].as_u64()?, word("provider")?, word("outcome")?))
    })
}

#[test]
fn a_delivery_with_the_headers_of_many_hosts_goes_to_the_one_that_copies_the_others() {
    let house = House::open();
    register(&house, None);
    let names = FAMILY.map(|(name, ..)| name);
    for (at, name) in names.into_iter().enumerate() {
        let body = push(&house, name).to_string();
        let answer = send(&house, COMMON, &headers(&names[at..], &body), &body);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(answer.json()["deliveries"].as_array().unwrap().len(), 1, "it is {name}'s alone");
        assert_eq!(newest(&house, name), (1, name.to_owned(), "built".to_owned()));
        // Its own path takes it as what it is: the same delivery.
        let again = send(&house, &format!("{COMMON}/{name}"), &headers(&names[at..], &body), &body);
        assert_eq!((again.status, &again.json()["status"]), (200, &json!("duplicate")), "{name}");
    }
    assert_eq!(house.get("/api/v1/deliveries")["total"], 4);
}

#[test]
fn gitlabs_signed_delivery_is_gitlabs_though_plain_repositories_sign_in_the_same_way() {
    let house = House::open();
    let before = house.clone.ok(&["rev-parse", "HEAD"]);
    let body = push_event("ada", &before, &house.clone.push_change("signed")).to_string();
    let now = Timestamp::now();
    let signature = scheme::sign(&secret(SITE), "msg_c", now, body.as_bytes()).unwrap();
    let mut headers = vec![
        ("webhook-id".to_owned(), "msg_c".to_owned()),
        ("webhook-timestamp".to_owned(), now.as_second().to_string()),
        ("webhook-signature".to_owned(), signature),
    ];
    // By the signature's headers alone it is a plain repository's, and no such repository is registered.
    refused(&send(&house, COMMON, &headers, &body), 401, "signed by no secret");
    headers.push(("x-gitlab-event".to_owned(), "Push Hook".to_owned()));
    assert_eq!(send(&house, COMMON, &headers, &body).status, 200);
    assert_eq!(newest(&house, SITE), (1, "gitlab".to_owned(), "built".to_owned()));
}

#[test]
fn whoever_the_headers_show_first_must_have_signed() {
    let house = House::open();
    register(&house, None);
    let body = push(&house, "claimed").to_string();
    let own = |name: &str| headers(&[name], &body);
    let bare = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    // GitHub's signature is right, and the header of another that comes first was added to it: with no signature, with a wrong
    // one, and with GitHub's own.
    let github = own("github");
    let (_, right) = github.iter().find(|(name, _)| name == "X-Hub-Signature-256").unwrap();
    for first in ["X-Forgejo", "X-Gitea", "X-Gogs"] {
        for signature in [None, Some("00"), Some(right.as_str()), right.strip_prefix("sha256=")] {
            let mut headers = github.clone();
            headers.push(bare(&format!("{first}-Event"), "push"));
            headers.extend(signature.map(|value| bare(&format!("{first}-Signature"), value)));
            refused(&send(&house, COMMON, &headers, &body), 401, "signed by no secret");
        }
    }
    // A host that proves itself by a token alone, put before one that signs.
    let mut headers = github.clone();
    headers.push(bare("X-Gitlab-Token", &secret_of("github")));
    refused(&send(&house, COMMON, &headers, &body), 401, "signed by no secret");
    for name in FAMILY.map(|(name, ..)| name) {
        let unsigned: Vec<_> = own(name).into_iter().filter(|(name, _)| name.ends_with("-Event")).collect();
        refused(&send(&house, COMMON, &unsigned, &body), 401, "signed by no secret");
    }
    assert_eq!(house.get("/api/v1/deliveries")["total"], 0);
    assert_eq!(send(&house, COMMON, &github, &body).status, 200);
}

#[test]
fn a_hooks_own_path_needs_no_senders_name_either() {
    let house = House::open();
    let hook = HookId::parse("0123456789abcdef-hook").unwrap();
    register(&house, Some(&hook));
    let body = push(&house, "by its own path").to_string();
    let path = format!("{COMMON}/{hook}");
    let names = FAMILY.map(|(name, ..)| name);
    assert_eq!(send(&house, &path, &headers(&names, &body), &body).status, 200);
    assert_eq!(newest(&house, "forgejo"), (1, "forgejo".to_owned(), "built".to_owned()));
    let guessed = send(&house, &format!("{COMMON}/0123456789abcdef-else"), &headers(&names, &body), &body);
    refused(&guessed, 401, "signed by no secret");
    let unsigned = [("X-Forgejo-Event".to_owned(), "push".to_owned())];
    refused(&send(&house, &path, &unsigned, &body), 401, "signed by no secret");
    assert_eq!(house.get("/api/v1/deliveries")["total"], 1);
}

#[test]
fn a_request_that_shows_no_sender_is_told_which_headers_were_looked_for() {
    let house = House::open();
    let body = push(&house, "nobody's").to_string();
    let json = ("content-type".to_owned(), "application/json".to_owned());
    let hub = ("x-hub-signature-256".to_owned(), "sha256=00".to_owned());
    for headers in [&[][..], &[json, hub]] {
        for path in [COMMON, "/api/v1/webhook/0123456789abcdef"] {
            let answer = send(&house, path, headers, &body);
            refused_with_remedy(&answer, 400, "the headers show no sender; looked for x-forgejo-event");
            for name in ["x-gitea-event", "x-gogs-event", "x-gitlab-event", "x-event-key", "x-github-event"] {
                assert!(answer.text().contains(name), "{name}: {}", answer.text());
            }
        }
    }
    for method in ["GET", "PUT", "DELETE", "HEAD"] {
        let answer = call(&house.address, method, COMMON, &[], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    assert_eq!(house.macs(), 0, "nothing was tried");
}
