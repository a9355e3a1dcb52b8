//! From a request to what is stored, through the engine's own intake.

use bytes::Bytes;
use http::{Request, StatusCode};
use kiops_core::engine::{Ingest, IngestLimits, Taken};
use kiops_core::event::{EventKind, Repository};
use kiops_core::name::{HookId, ProviderName, ServiceName};
use kiops_core::store::{DeliveryRecord, Hook, MemoryStore, Page, Store as _};
use serde_json::{Value, json};

use super::deliveries::*;

const PATH: &str = "3fQ9vJ0bK2mX7tZ1-unguessable";

struct House {
    ingest: Ingest,
    store: MemoryStore,
}

impl House {
    /// One service, with a hook of this sender for this image.
    async fn of(sender: &str, image: &str) -> Self {
        let store = MemoryStore::new();
        let hook = Hook {
            service: ServiceName::parse("shop").unwrap(),
            provider: ProviderName::parse(sender).unwrap(),
            repository: Repository { id: None, path: image.into() },
            hook: Some(HookId::parse(PATH).unwrap()),
            secrets: secrets(&["s3cret", PATH]),
        };
        store.put_hook(&hook).await.unwrap();
        Self { ingest: Ingest::new(all(), IngestLimits::default(), [7; 32]), store }
    }

    async fn send(&self, path: &str, header: Option<&str>, body: &Value) -> Taken {
        let mut request = Request::post(format!("/api/v1/webhook/{path}"));
        if let Some(value) = header {
            request = request.header("Authorization", value);
        }
        let request = request.body(Bytes::from(body.to_string())).unwrap();
        self.ingest.handle(request, &self.store, now()).await
    }

    async fn records(&self) -> Vec<DeliveryRecord> {
        self.store.deliveries(None, Page::first(100)).await.unwrap().items
    }
}

#[tokio::test]
async fn an_unsigned_push_comes_in_by_its_own_path_only_and_is_to_be_confirmed() {
    for (sender, body) in [("acr", acr()), ("dockerhub", dockerhub()), ("quay", quay())] {
        let house = House::of(sender, "team/shop").await;
        let own = format!("{sender}/{PATH}");
        for (path, header) in
            [(sender.to_owned(), None), (sender.to_owned(), Some(PATH)), (own.replace('3', "4"), None)]
        {
            let refused = house.send(&path, header, &body).await.response;
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        }
        assert_eq!(house.send(&own, None, &body).await.response.status(), StatusCode::OK);
        let records = house.records().await;
        assert_eq!(records.len(), 1, "{sender}");
        assert!(
            !records[0].signed
                && records[0].events.iter().all(|one| matches!(one.event.kind, EventKind::ImagePush(_)))
        );
        // The hook of one image takes no other's push.
        let image = match sender {
            "acr" => "repository/repo_full_name",
            "dockerhub" => "repository/repo_name",
            _ => "repository",
        };
        let other = with(body, &[(image, json!("team/web"))]);
        assert_eq!(house.send(&own, None, &other).await.response.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_registry_that_sends_all_it_has_is_answered_2xx_and_each_service_gets_its_own() {
    let house = House::of("distribution", "team/shop").await;
    let (own, header) = (format!("distribution/{PATH}"), Some("Bearer s3cret"));
    let web = |id: &str| with(notification(id, "push"), &[("target/repository", json!("team/web"))]);
    let mixed = json!({"events": [web("1"), notification("2", "push"), notification("3", "pull"), web("4")]});
    assert_eq!(
        house.send(&own, Some("Bearer guess"), &mixed).await.response.status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(house.send(&own, header, &mixed).await.accepted.len(), 1);
    let record = &house.records().await[0];
    let kinds: Vec<&str> = record.events.iter().map(|one| one.event.kind.name()).collect();
    assert_eq!(kinds, ["image_push", "other"]);
    assert!(!record.signed, "a header does not cover the body");
    // Sent again, since the answer was lost; and what is another's alone.
    let again = house.send(&own, header, &mixed).await.response;
    assert!(again.body().starts_with(br#"{"status":"duplicate""#));
    for body in [json!({"events": [web("5")]}), json!({"events": []})] {
        let others = house.send(&own, header, &body).await;
        assert_eq!((others.response.status(), others.accepted.len()), (StatusCode::OK, 0));
    }
    assert_eq!(house.records().await.len(), 1);
}

#[tokio::test]
async fn quays_pushes_of_one_tag_all_count_although_they_read_the_same() {
    let house = House::of("quay", "team/shop").await;
    let own = format!("quay/{PATH}");
    house.send(&own, None, &quay()).await;
    let later = jiff::Timestamp::from_second(1_800_000_060).unwrap();
    let request =
        Request::post(format!("/api/v1/webhook/{own}")).body(Bytes::from(quay().to_string())).unwrap();
    let second = house.ingest.handle(request, &house.store, later).await;
    assert!(second.response.body().starts_with(br#"{"status":"accepted""#));
    assert_eq!(house.records().await.len(), 2);
}

#[tokio::test]
async fn a_harbor_push_verifies_by_the_header_also_without_a_path_of_its_own() {
    let house = House::of("harbor", "team/shop").await;
    for header in ["s3cret", "Bearer s3cret"] {
        assert_eq!(house.send("harbor", Some(header), &harbor()).await.response.status(), StatusCode::OK);
    }
    assert_eq!(house.records().await.len(), 1, "the second was a repeat");
    let other = with(harbor(), &[("event_data/repository/repo_full_name", json!("team/web"))]);
    assert_eq!(
        house.send("harbor", Some("s3cret"), &other).await.response.status(),
        StatusCode::UNAUTHORIZED
    );
    let own = house.send(&format!("harbor/{PATH}"), Some("s3cret"), &other).await;
    assert_eq!(own.response.status(), StatusCode::OK, "a project's webhook tells of all its repositories");
    assert_eq!(house.records().await.len(), 1);
}
