//! The least that takes webhooks in: an `http::Request` in, an `http::Response` out. Any framework's handler can call `webhook`.

use std::io::Write as _;

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use kiops_core::engine::{Ingest, IngestLimits};
use kiops_core::event::Repository;
use kiops_core::name::{ProviderName, ServiceName};
use kiops_core::secret::Secret;
use kiops_core::store::{Hook, MemoryStore, Store};
use kiops_core::webhook::SecretSet;

async fn webhook(ingest: &Ingest, store: &dyn Store, request: Request<Bytes>) -> Response<Bytes> {
    ingest.handle(request, store, Timestamp::now()).await.response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemoryStore::new(); // or kiops_store::SqliteStore
    let (service, provider) = (ServiceName::parse("api")?, ProviderName::parse("gitlab")?);
    let repository = Repository { id: None, path: "team/api".into() };
    let token = "a secret of this service alone";
    let secrets = SecretSet::new(Secret::new(token));
    store.put_hook(&Hook { service, provider, repository, hook: None, secrets }).await?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let ingest = Ingest::new(kiops_git::sources(), IngestLimits::default(), seed);
    let request = Request::post("/api/v1/webhook/gitlab").header("x-gitlab-token", token);
    let body = r#"{"object_kind":"issue","project":{"path_with_namespace":"team/api"}}"#;
    let response = webhook(&ingest, &store, request.body(body.into())?).await;
    writeln!(std::io::stdout(), "{} {}", response.status(), String::from_utf8_lossy(response.body()))?;
    Ok(())
}
