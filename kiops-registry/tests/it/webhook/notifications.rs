//! What a real registry sends, and what becomes of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use kiops_core::engine::{Ingest, IngestLimits};
use kiops_core::event::{Event, EventKind, Repository};
use kiops_core::image::{Attachment, Registry as _};
use kiops_core::name::{Digest, HookId, ProviderName, ServiceName};
use kiops_core::store::{Hook, MemoryStore, Page, Store as _};
use serde_json::json;

use super::deliveries::{HEX, all, names, now, secrets};
use crate::fixtures::{image, open};
use crate::oci::daemon::{Auth, Daemon};
use crate::skopeo::{push_real, skopeo};

const PATH: &str = "3fQ9vJ0bK2mX7tZ1-unguessable";

/// Answers every request with 200 and hands it on.
fn listen(listener: TcpListener, seen: Sender<Request<Bytes>>) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let seen = seen.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &seen));
        }
    });
}

fn serve(mut stream: TcpStream, seen: &Sender<Request<Bytes>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let mut headers = HeaderMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let length = headers["content-length"].to_str().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut request = Request::post(path).body(Bytes::from(body)).unwrap();
        *request.headers_mut() = headers;
        if seen.send(request).is_err()
            || stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err()
        {
            return;
        }
    }
}

struct Intake {
    seen: Receiver<Request<Bytes>>,
    ingest: Ingest,
    store: MemoryStore,
}

impl Intake {
    /// Takes in what comes until something is kept of which this holds, and says that.
    async fn until(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let request = self.seen.recv_timeout(Duration::from_secs(60)).expect("the registry tells of it");
            let known = kiops_registry::webhook::detect(request.headers());
            assert_eq!(known.unwrap().as_str(), "distribution", "{:?}", request.headers());
            let taken = self.ingest.handle(request, &self.store, now()).await;
            assert_eq!(taken.response.status(), StatusCode::OK, "{:?}", taken.response);
            if taken.accepted.is_empty() {
                continue;
            }
            let newest = self.store.deliveries(None, Page::first(1)).await.unwrap().items.remove(0);
            if let Some(found) = newest.events.into_iter().map(|one| one.event).find(&wanted) {
                return found;
            }
        }
    }

    async fn pushes(&self) -> usize {
        let records = self.store.deliveries(None, Page::first(200)).await.unwrap().items;
        let events = records.iter().flat_map(|record| &record.events);
        events.filter(|one| matches!(one.event.kind, EventKind::ImagePush(_))).count()
    }
}

#[tokio::test]
async fn a_real_registrys_notifications_become_one_push_an_image() {
    let images = tempfile::tempdir().unwrap();
    let layout = open(images.path());
    let digest = push_real(&layout, "quickstart.local/shop:v1").await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = json!({
        "name": "kiops", "headers": {"Authorization": ["Bearer s3cret"]}, "timeout": "5s", "threshold": 3, "backoff": "1s",
        "url": format!("http://{}/api/v1/webhook/distribution/{PATH}", listener.local_addr().unwrap()),
    });
    let notifications = json!({"endpoints": [endpoint]});
    let Some(registry) = Daemon::start_with(Auth::Nobody, &notifications) else { return };
    let address = format!("127.0.0.1:{}", registry.port);
    let (sender, seen) = channel();
    listen(listener, sender);
    let store = MemoryStore::new();
    let hook = Hook {
        service: ServiceName::parse("shop").unwrap(),
        provider: ProviderName::parse("distribution").unwrap(),
        repository: Repository { id: None, path: "team/shop".into() },
        hook: Some(HookId::parse(PATH).unwrap()),
        secrets: secrets(&["s3cret"]),
    };
    store.put_hook(&hook).await.unwrap();
    let intake = Intake { seen, ingest: Ingest::new(all(), IngestLimits::default(), [7; 32]), store };

    let from = format!("oci:{}:quickstart.local/shop:v1", images.path().display());
    let copy = |to: &str| {
        let target = format!("docker://{}/{to}", address);
        let output = skopeo(&["copy", "--dest-tls-verify=false", &from, &target])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(())
    };
    // Another image's push comes by the same endpoint, and is none of ours.
    if copy("team/web:v1").is_none() || copy("team/shop:v1").is_none() {
        return;
    }
    let pushed = intake.until(|event| matches!(event.kind, EventKind::ImagePush(_))).await;
    let EventKind::ImagePush(push) = &pushed.kind else { panic!() };
    assert_eq!(names(push), ("team/shop", "v1", digest.as_str()));
    assert_eq!(push.host.as_deref(), Some(address.as_str()));
    assert_eq!(intake.pushes().await, 1, "layers and the configuration are no images");

    // A signature beside it, and a look at it, start nothing.
    let signature = format!("team/shop:sha256-{HEX}.sig");
    copy(&signature).unwrap();
    let noted = |event: &Event, word: &str| matches!(&event.kind, EventKind::Other(other) if other.note.as_deref().is_some_and(|note| note.contains(word)));
    intake.until(|event| noted(event, "signature")).await;
    // What is attached, whose type this registry does not tell, and the list by which it keeps it start nothing either.
    let (client, shop) = (registry.client(None), image(&format!("{address}/team/shop")));
    let attachment = Attachment::new("application/vnd.in-toto+json", "{}");
    let subject = Digest::parse(&digest).unwrap();
    client.referrers().unwrap().attach(&shop, &subject, &attachment).await.unwrap();
    intake.until(|event| noted(event, "our own push")).await;
    intake.until(|event| noted(event, &format!("sha256-{}", subject.hex()))).await;
    let look = format!("docker://{}/team/shop:v1", address);
    assert!(skopeo(&["inspect", "--tls-verify=false", &look]).unwrap().status.success());
    intake.until(|event| noted(event, "pull")).await;
    assert_eq!(intake.pushes().await, 1);
}
