//! The webhook of our own endpoint.

use http::HeaderMap;
use jiff::Timestamp;
use kiops_core::ErrorKind;
use kiops_core::http::Reply;
use kiops_core::image::{
    EnsuredPushHook, PushHookChange, PushHookFormat, PushHookOutcome, Registry as _, RegistryHooks,
    WantedPushHook,
};
use kiops_core::name::ProviderName;
use kiops_core::secret::Secret;
use kiops_core::webhook::{Delivery, SecretSet, Verdict, WebhookSource as _};
use kiops_registry::harbor::Harbor;
use kiops_registry::webhook::{HarborWebhook, WebhookConfig};
use serde_json::{Value, json};

use super::host::{Host, PASSWORD, Role, Who, error};

const URL: &str = "https://ci.example.com/api/v1/webhook/harbor/0f1e2d";

fn wanted(secret: &str) -> WantedPushHook {
    let secret = Secret::new(secret).unwrap();
    WantedPushHook { url: URL.into(), secret, format: None, verify_tls: true }
}

async fn ensure(host: &Host, wanted: &WantedPushHook) -> kiops_core::Result<EnsuredPushHook> {
    host.client().hooks().unwrap().ensure("team", wanted).await
}

fn hooks(harbor: &Harbor) -> &dyn RegistryHooks {
    harbor.hooks().unwrap()
}

fn policies(host: &Host) -> Vec<Value> {
    host.team(|team| team.policies.clone())
}

fn policy(id: u64, address: &str) -> Value {
    json!({
        "id": id, "name": format!("somebodys-{id}"), "enabled": true, "event_types": ["PULL_ARTIFACT"],
        "targets": [{"type": "http", "address": address, "auth_header": "of somebody", "payload_format": "Default"}],
    })
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_made_once_and_updated_after_that() {
    let host = Host::new();
    let made = ensure(&host, &wanted("first-secret")).await.unwrap();
    assert_eq!((made.change, made.removed), (PushHookChange::Created, 0));
    assert!(made.hook.enabled && made.hook.sends_pushes);
    assert_eq!((made.hook.url.as_str(), made.hook.format), (URL, PushHookFormat::CloudEvents));
    let again = ensure(&host, &wanted("second-secret")).await.unwrap();
    assert_eq!((again.change, again.removed), (PushHookChange::Updated, 0));
    assert_eq!(again.hook, made.hook);
    let all = policies(&host);
    assert_eq!((all.len(), &all[0]["event_types"]), (1, &json!(["PUSH_ARTIFACT"])));
    let target = &all[0]["targets"][0];
    assert_eq!((&target["type"], &target["auth_header"]), (&json!("http"), &json!("second-secret")));
    assert_eq!(target["skip_cert_verify"], json!(false));
}

#[tokio::test(start_paused = true)]
async fn what_harbor_is_told_to_send_is_what_our_receiver_believes() {
    let host = Host::new();
    ensure(&host, &wanted("shared-secret")).await.unwrap();
    let header = policies(&host)[0]["targets"][0]["auth_header"].as_str().unwrap().to_owned();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", header.parse().unwrap());
    let provider = ProviderName::parse("harbor").unwrap();
    let delivery = Delivery { provider, hook: None, headers, body: bytes::Bytes::from_static(b"{}") };
    let receiver = HarborWebhook::new(WebhookConfig::default());
    let verify = |secret: &str| {
        let secrets = SecretSet::new([Secret::new(secret).unwrap()]);
        receiver.verify(&delivery, &secrets, Timestamp::UNIX_EPOCH).verdict
    };
    assert_eq!(verify("shared-secret"), Verdict::Verified);
    assert_eq!(verify("another-secret"), Verdict::Mismatch);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_switched_off_or_sends_something_else_is_brought_into_line() {
    let host = Host::new();
    let mut off = policy(90, &format!("{URL}/"));
    off["enabled"] = json!(false);
    off["targets"][0]["type"] = json!("slack");
    host.team(|team| team.policies.push(off));
    let ensured = ensure(&host, &wanted("s")).await.unwrap();
    assert_eq!((ensured.change, ensured.hook.id.as_str()), (PushHookChange::Reenabled, "90"));
    let all = policies(&host);
    assert_eq!((all.len(), &all[0]["enabled"], &all[0]["name"]), (1, &json!(true), &json!("somebodys-90")));
    assert_eq!(
        (&all[0]["event_types"][0], &all[0]["targets"][0]["type"]),
        (&json!("PUSH_ARTIFACT"), &json!("http"))
    );
}

#[tokio::test(start_paused = true)]
async fn of_several_with_our_address_one_is_left_and_others_are_not_touched() {
    let host = Host::new();
    let mut shared = policy(70, URL);
    shared["targets"].as_array_mut().unwrap().push(json!({"address": "https://other.example.com"}));
    let others: Vec<Value> =
        (200..350).map(|id| policy(id, &format!("https://other.example.com/{id}"))).collect();
    host.team(|team| {
        team.policies.extend(others.clone());
        team.policies.extend([policy(402, URL), policy(401, URL), shared.clone()]);
    });
    let ensured = ensure(&host, &wanted("s")).await.unwrap();
    assert_eq!((ensured.hook.id.as_str(), ensured.removed), ("401", 1), "the oldest is kept");
    let left = policies(&host);
    assert_eq!(left.len(), 152);
    assert!(others.iter().chain([&shared]).all(|other| left.contains(other)));
    assert!(hooks(&host.client()).remove("team", URL).await.unwrap());
    assert!(!hooks(&host.client()).remove("team", URL).await.unwrap());
    assert_eq!(policies(&host).len(), 151);
}

#[tokio::test(start_paused = true)]
async fn two_that_make_it_at_once_make_one() {
    let host = Host::new();
    let looked = std::sync::atomic::AtomicBool::new(false);
    host.fault(move |seen| {
        let looks = seen.method == "GET" && seen.path().ends_with("/webhook/policies");
        (looks && !looked.swap(true, std::sync::atomic::Ordering::Relaxed)).then(|| Reply::json("[]"))
    });
    let other = Host::new();
    ensure(&other, &wanted("theirs")).await.unwrap();
    let theirs = policies(&other);
    host.team(|team| team.policies = theirs);
    let ensured = ensure(&host, &wanted("ours")).await.unwrap();
    assert_eq!((ensured.change, ensured.removed), (PushHookChange::Updated, 0));
    let all = policies(&host);
    assert_eq!((all.len(), &all[0]["targets"][0]["auth_header"]), (1, &json!("ours")));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_elsewhere_is_said_to_stand_in_the_way() {
    let host = Host::new();
    ensure(&host, &wanted("s")).await.unwrap();
    host.team(|team| team.policies[0]["targets"][0]["address"] = json!("https://other.example.com"));
    let error = ensure(&host, &wanted("s")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.remedy().unwrap().contains("stands in the way"), "{error}");
    assert_eq!(policies(&host).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn cloudevents_are_taken_where_harbor_knows_them_and_refused_where_not() {
    let host = Host::new();
    let with = |format| WantedPushHook { format: Some(format), ..wanted("s") };
    let payload = |host: &Host| policies(host)[0]["targets"][0]["payload_format"].clone();
    let ensured = ensure(&host, &with(PushHookFormat::Native)).await.unwrap();
    assert_eq!((ensured.hook.format, payload(&host)), (PushHookFormat::Native, json!("Default")));
    let ensured = ensure(&host, &with(PushHookFormat::CloudEvents)).await.unwrap();
    assert_eq!((ensured.hook.format, payload(&host)), (PushHookFormat::CloudEvents, json!("CloudEvents")));

    let old = Host::new();
    old.state().is_old = true;
    let error = ensure(&old, &with(PushHookFormat::CloudEvents)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(policies(&old).is_empty());
    let ensured = ensure(&old, &wanted("s")).await.unwrap();
    assert_eq!((ensured.hook.format, payload(&old)), (PushHookFormat::Native, Value::Null));
}

#[tokio::test(start_paused = true)]
async fn the_last_deliveries_are_told_where_harbor_tells_them() {
    let host = Host::new();
    assert_eq!(hooks(&host.client()).state("team", URL).await.unwrap(), None);
    ensure(&host, &wanted("s")).await.unwrap();
    let state = hooks(&host.client()).state("team", URL).await.unwrap().unwrap();
    assert!(state.hook.enabled && state.hook.sends_pushes);
    let outcomes: Vec<_> =
        state.deliveries.unwrap().into_iter().map(|one| (one.id, one.outcome, one.at.is_some())).collect();
    assert_eq!(
        outcomes,
        [
            ("33".to_owned(), PushHookOutcome::UnderWay, true),
            ("32".to_owned(), PushHookOutcome::Failed, true),
            ("31".to_owned(), PushHookOutcome::Delivered, true),
        ]
    );
    host.team(|team| {
        team.policies[0]["enabled"] = json!(false);
        team.policies[0]["event_types"] = json!(["PULL_ARTIFACT"]);
    });
    host.state().is_old = true;
    let state = hooks(&host.client()).state("team", URL).await.unwrap().unwrap();
    assert_eq!((state.hook.enabled, state.hook.sends_pushes, state.deliveries), (false, false, None));
}

#[tokio::test(start_paused = true)]
async fn addresses_and_secrets_that_harbor_would_change_are_refused_before_anything_is_asked() {
    let host = Host::new();
    for url in ["https://ci.example.com/x?token=a", "ci.example.com", "https://u:p@ci.example.com/"] {
        let bad = WantedPushHook { url: url.into(), ..wanted("s") };
        let error = ensure(&host, &bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!error.to_string().contains("token") && !error.to_string().contains("u:p"), "{error}");
    }
    for secret in ["line\nbreak", " blank", "caf\u{e9}"] {
        assert_eq!(ensure(&host, &wanted(secret)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(host.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_named_and_the_secret_is_in_no_error() {
    let host = Host::new();
    host.account("dev", Who::Member(7, Role::Guest));
    let guest = host.client_as("dev", PASSWORD);
    let refused = hooks(&guest).ensure("team", &wanted("s")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    assert!(refused.remedy().unwrap().contains("Project Admin"), "{refused}");
    host.fault(|seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        (seen.method == "POST").then(|| error(400, "BAD_REQUEST", &format!("cannot take {body}")))
    });
    for secret in ["very-secret", "quoted\"very-secret"] {
        let error = ensure(&host, &wanted(secret)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!format!("{error:?} {error}").contains("very-secret"), "{error:?}");
    }
    assert!(!format!("{:?}", wanted("very-secret")).contains("very-secret"));
}
