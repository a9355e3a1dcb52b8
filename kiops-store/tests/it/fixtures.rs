//! A store with something in it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use kiops_core::access::Subject;
use kiops_core::build::Trigger;
use kiops_core::engine::{Input, Next, Primary, step, wants};
use kiops_core::event::{ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, Tip};
use kiops_core::image::TagTemplate;
use kiops_core::name::{
    BranchName, CommitId, DeliveryId, EnvironmentName, GitRef, HookId, ImageName, ProviderName, RepoId,
    SecretName, ServiceName,
};
use kiops_core::policy::Rules;
use kiops_core::queue::{Limits, pick};
use kiops_core::secret::{KeyProvider, SealingKey, Secret, StaticKey};
use kiops_core::service::{Environment, GitSource, ImageTarget, Service, Settings, Source};
use kiops_core::store::{Claim, ClaimRequest, DeliveryRecord, EventRecord, Hook, NewDelivery, Store};
use kiops_core::webhook::{Delivery, ReplayKey, SecretSet};
use kiops_store::{SqliteConfig, SqliteStore};

pub(crate) const HOOK_SECRET: &str = "correct-horse-battery-staple";
pub(crate) const SECRET: &str = "hunter2-hunter2-hunter2";
pub(crate) const IN_BODY: &str = "this text stands in the body of a delivery";

pub(crate) fn keys(n: u8) -> Arc<dyn KeyProvider> {
    Arc::new(StaticKey::new(SealingKey::new([n; 32])))
}

pub(crate) fn config(folder: &Path) -> SqliteConfig {
    SqliteConfig::new(folder.join("kiops.db"))
}

pub(crate) async fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(config(folder), keys(1)).await.unwrap()
}

/// So many seconds after the beginning of the tests' time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + seconds).unwrap()
}

pub(crate) fn service_name(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

pub(crate) fn secret_name() -> SecretName {
    SecretName::parse("registry/password").unwrap()
}

pub(crate) fn repository(service: &str) -> Repository {
    Repository { id: Some(RepoId::parse(format!("id-{service}")).unwrap()), path: format!("group/{service}") }
}

pub(crate) fn provider() -> ProviderName {
    ProviderName::parse("gitlab").unwrap()
}

pub(crate) fn service(name: &str) -> Service {
    let source = GitSource {
        provider: provider(),
        repository: repository(name),
        branch: BranchName::parse("main").unwrap(),
    };
    let image = ImageTarget {
        name: ImageName::parse("quickstart.local/shop").unwrap(),
        candidate: TagTemplate::short_commit(),
        tags: Vec::new(),
    };
    let settings = Settings { image: Some(image), ..Settings::default() };
    Service { name: service_name(name), source: Source::Git(source), settings }
}

pub(crate) fn hook(service: &str) -> Hook {
    Hook {
        service: service_name(service),
        provider: provider(),
        repository: repository(service),
        hook: Some(HookId::parse(format!("0123456789abcdef-{service}")).unwrap()),
        secrets: SecretSet::new([Secret::new(HOOK_SECRET).unwrap()]),
    }
}

/// A push of the n-th commit: the same number is the same delivery.
pub(crate) fn delivery(service: &str, n: u64) -> NewDelivery {
    let commit = CommitId::parse(format!("{:040x}", n + 1)).unwrap();
    let push = Push {
        action: None,
        git_ref: GitRef::parse("refs/heads/main").unwrap(),
        before: Tip::Zeros,
        head: Tip::At(commit),
        files: ChangedFiles::Unknown,
        message: Some(format!("change {n}")),
        commit: CommitFacts::default(),
    };
    let event = Event { repository: repository(service), actor: None, kind: EventKind::Push(push) };
    let body = Bytes::from(format!(r#"{{"push":{n},"text":"{IN_BODY}"}}"#));
    let replay = ReplayKey::of_body(&Delivery::new(provider(), Default::default(), body.clone()));
    let record = DeliveryRecord {
        id: DeliveryId::derive([service, &n.to_string()]),
        service: service_name(service),
        provider: provider(),
        trigger: Trigger::Webhook,
        received_at: at(i64::try_from(n).unwrap()),
        signed: true,
        repeat: false,
        events: vec![EventRecord::new(event)],
        quarantined: None,
    };
    NewDelivery { record, body_digest: format!("digest of {n}"), replay, body }
}

/// The delivery with a body of so many bytes.
pub(crate) fn large(service: &str, n: u64, bytes: usize) -> NewDelivery {
    NewDelivery { body: Bytes::from(vec![b'x'; bytes]), ..delivery(service, n) }
}

pub(crate) fn claim_request(driver: &str, now: Timestamp) -> ClaimRequest {
    ClaimRequest { driver: driver.to_owned(), now, until: now + SignedDuration::from_secs(60), limit: 1000 }
}

pub(crate) async fn claims(store: &dyn Store, driver: &str, now: Timestamp) -> Vec<Claim> {
    store.claim(&claim_request(driver, now)).await.unwrap().claims
}

/// Two services with hooks and secrets, deliveries of which some are decided, builds of which one has started, and work.
pub(crate) async fn fill(store: &dyn Store) {
    for name in ["shop", "blog"] {
        store.put_service(&service(name), None, at(0)).await.unwrap();
        store.put_hook(&hook(name)).await.unwrap();
        store.accept((1..=6).map(|n| delivery(name, n)).collect()).await.unwrap();
    }
    store
        .put_environment(&Environment::new(EnvironmentName::parse("production").unwrap(), "here"))
        .await
        .unwrap();
    store.put_secret(&secret_name(), Some(&Secret::new(SECRET).unwrap())).await.unwrap();
    for n in 1..=3 {
        let id = delivery("shop", n).record.id;
        let input =
            Input::Decide { delivery: id, answers: Vec::new(), rounds: 2, subject: Subject::unknown() };
        take_step(store, "shop", input).await;
    }
    let (waiting, _) = store.queue().await.unwrap();
    let picks = pick(&waiting, &Default::default(), &["assembler".to_owned()], &Limits::default(), at(100));
    take_step(store, "shop", Input::Start(picks.into_iter().next().unwrap())).await;
}

pub(crate) async fn take_step(store: &dyn Store, name: &str, input: Input) {
    let name = service_name(name);
    let mut primary = Primary {
        service: store.service(&name).await.unwrap().map(|stored| stored.value),
        ..Primary::default()
    };
    if let Some(id) = input.delivery() {
        primary.delivery = store.delivery(id).await.unwrap();
    }
    if let Some(id) = input.build() {
        primary.build = store.build(id).await.unwrap();
    }
    let view = store.view(&wants(&name, &input, &primary)).await.unwrap();
    match step(&Rules::none(), &view, input, at(50)).unwrap() {
        Next::Save(stepped) => store.save(&stepped.changes, None).await.unwrap(),
        Next::Ask(questions) => panic!("it asks {questions:?}"),
    }
}
