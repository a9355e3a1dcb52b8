//! Image services: a push to a real registry redeploys what runs that image (S18-S22, R03, R11).

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kiops_core::Result;
use kiops_core::http::{Body, HttpService, ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::image::{Manifest, Registry as _};
use kiops_core::name::{Digest, HookId, ImageName, ProviderName, ServiceName, Tag};
use kiops_core::secret::Secret;
use kiops_core::service::{Service, Source};
use kiops_core::store::Hook;
use kiops_core::stream;
use kiops_core::testing::has_program;
use kiops_core::webhook::SecretSet;
use kiops_registry::oci::{Oci, OciConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::{House, refused};
use crate::support::{Answer, call};

const SHOP: &str = "shop";
const PATH: &str = "0123456789abcdef-shop";
const DEPLOYMENTS: &str = "/api/v1/services/shop/deployments";

/// A platform with the image service `shop`, and the registry that its images come from.
struct Shop {
    house: House,
    /// `None`: it is down.
    daemon: Option<Child>,
    folder: TempDir,
    host: String,
    /// Pushes as people's programs do.
    docker: Oci,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.close();
    }
}

/// A service whose requests go by another program's name.
#[derive(Debug)]
struct By(&'static str, ReqwestService);

#[async_trait]
impl HttpService for By {
    async fn call(&self, mut request: http::Request<Body>) -> Result<http::Response<Body>> {
        request.headers_mut().insert("user-agent", self.0.parse().unwrap());
        self.1.call(request).await
    }
}

/// A client of the registry that calls itself `agent`.
pub(crate) fn client(host: &str, agent: &'static str) -> Oci {
    let config = OciConfig { url: Some(format!("http://{host}")), private: true, ..OciConfig::new(host) };
    let service = ReqwestService::new(&ReqwestConfig::default(), config.egress().unwrap()).unwrap();
    Oci::new(config, None, Arc::new(By(agent, service)), Arc::new(SystemTimer)).unwrap()
}

impl Shop {
    /// `None`: `docker-registry` is not here. The test is skipped then, visibly; on CI that is a failure.
    fn open(containers: impl FnOnce(&str) -> Value) -> Option<Self> {
        if !has_program("docker-registry") {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let registry = Arc::new(client(&host, "kiops/0"));
        let house = {
            let host = host.clone();
            House::with(Default::default(), Default::default(), async move |_, _, adapters| {
                adapters.registry(&host, registry)
            })
        };
        let docker = client(&host, "docker/29.0");
        let settings = json!({
            "deploy": {"auto": true, "environment": "dev"},
            "components": [{"runs": {"type": "workload", "containers": containers(&host)}}],
        });
        house.put_service(&Service {
            name: ServiceName::parse(SHOP).unwrap(),
            source: Source::Image,
            settings: serde_json::from_value(settings).unwrap(),
        });
        let hook = Hook {
            service: ServiceName::parse(SHOP).unwrap(),
            provider: ProviderName::parse("distribution").unwrap(),
            repository: Default::default(),
            hook: Some(HookId::parse(PATH).unwrap()),
            secrets: SecretSet::new([Secret::new("s3cret").unwrap()]),
        };
        house.wait(house.driver.store().put_hook(&hook)).unwrap();
        let mut shop = Self { house, daemon: None, folder: tempfile::tempdir().unwrap(), host, docker };
        shop.start();
        Some(shop)
    }

    /// Starts the registry over what it stored.
    fn start(&mut self) {
        let at = |name: &str| self.folder.path().join(name);
        let endpoint = json!({
            "name": "kiops", "headers": {"Authorization": ["Bearer s3cret"]}, "timeout": "5s", "threshold": 3, "backoff": "1s",
            "url": format!("http://{}/api/v1/webhook/distribution/{PATH}", self.house.address),
        });
        let config = json!({
            "version": "0.1", "log": {"level": "error", "accesslog": {"disabled": true}},
            "http": {"addr": self.host, "secret": "test"},
            "storage": {"filesystem": {"rootdirectory": at("data")}, "delete": {"enabled": true}},
            "notifications": {"endpoints": [endpoint]},
        });
        std::fs::write(at("config.yml"), config.to_string()).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(at("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(&self.host).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "the registry ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.daemon = Some(child);
    }

    fn close(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }

    /// Pushes an image of this content, and gives its digest.
    fn push(&self, by: &Oci, image: &str, tag: &str, content: &str) -> Digest {
        let name = ImageName::parse(format!("{}/{image}", self.host)).unwrap();
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Labels": {"content": content}}});
        let config = config.to_string().into_bytes();
        let digest = Digest::of(&config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len()},
        });
        let manifest = Manifest {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            bytes: manifest.to_string().into(),
        };
        self.house.wait(async {
            let size = config.len() as u64;
            by.put_blob(&name, &digest, size, stream::once(config.into())).await.unwrap();
            let digest = by.put_manifest(&name, &manifest).await.unwrap();
            by.tag(&name, &Tag::parse(tag).unwrap(), &digest).await.unwrap();
            digest
        })
    }

    fn pushed(&self, image: &str, tag: &str, content: &str) -> Digest {
        self.push(&self.docker, image, tag, content)
    }

    /// Waits until the delivery that told of this image's push with that outcome is decided, and gives the event.
    fn told(&self, image: &str, outcome: &str) -> Value {
        self.house.until("/api/v1/deliveries?limit=200&service=shop", |list| {
            let events = list["items"].as_array()?.iter().flat_map(|one| one["events"].as_array().unwrap());
            events.clone().find(|event| event["image"] == image && event["outcome"] == outcome).cloned()
        })
    }

    /// Waits until the newest deployment is live and has these images, and gives it.
    fn live_with(&self, images: &Value) -> Value {
        self.house.until(DEPLOYMENTS, |list| {
            let newest = list["items"][0].clone();
            (newest["state"] == "live" && newest["images"] == *images).then_some(newest)
        })
    }

    /// What a registry would tell of a push.
    fn tell(&self, id: &str, image: &str, tag: &str, secret: &str) -> u16 {
        let event = json!({"events": [{
            "id": id, "timestamp": "2026-01-01T00:00:00Z", "action": "push",
            "target": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "repository": image, "tag": tag,
                "digest": Digest::of(b"evil")},
            "request": {"host": self.host, "useragent": "docker/29.0"}, "actor": {"name": "ada"},
        }]});
        let path = format!("/api/v1/webhook/distribution/{PATH}");
        let media = ("content-type", "application/vnd.docker.distribution.events.v1+json");
        let headers = [media, ("authorization", secret)];
        call(&self.house.address, "POST", &path, &headers, event.to_string().as_bytes()).status
    }

    /// What the runtime was given.
    fn manifest(&self) -> String {
        std::fs::read_to_string(self.house.folder().join("deploy/shop/shop.yaml")).unwrap()
    }

    fn deploy(&self, who: &str) -> Answer {
        self.house.post(who, DEPLOYMENTS, &json!({}))
    }
}

/// The workload of S20, with images of the registry at `host`.
fn two(host: &str) -> Value {
    json!([
        {"name": "web", "image": {"ready": format!("{host}/team/web:alpine")}, "port": 80, "ingress_path": "/"},
        {"name": "db", "image": {"ready": format!("{host}/team/db:8.0")}, "port": 3306, "internal": true,
         "volumes": [{"path": "/var/lib/mysql", "size": "1Gi"}]},
    ])
}

#[test]
fn an_image_service_is_deployed_without_a_build_and_redeployed_by_a_push_to_its_registry() {
    let Some(shop) = Shop::open(two) else { return };
    // Nothing is there yet, and the answer names what is missing.
    refused(&shop.deploy("ada"), 409, "is not in its registry");
    let (web, db) = (shop.pushed("team/web", "alpine", "one"), shop.pushed("team/db", "8.0", "one"));
    let at = |image: &str, digest: &Digest| format!("{}/{image}@{digest}", shop.host);
    shop.live_with(&json!({"web": at("team/web:alpine", &web), "db": at("team/db:8.0", &db)}));
    assert!(shop.manifest().contains(&at("team/web:alpine", &web)), "{}", shop.manifest());

    // One container's image is pushed anew: that one changes.
    let newer = shop.pushed("team/web", "alpine", "two");
    let told = shop.live_with(&json!({"web": at("team/web:alpine", &newer), "db": at("team/db:8.0", &db)}));
    let event = shop.told("team/web:alpine", "deployed");
    assert_eq!((&event["deployments"], &told["build"]), (&json!([told["id"]]), &Value::Null), "{event:#}");
    assert!(shop.manifest().contains(&at("team/web:alpine", &newer)), "{}", shop.manifest());

    // By hand what the tags point at now is deployed again; members may, others may not.
    refused(&shop.deploy("eve"), 403, "member");
    let again = shop.deploy("ada");
    assert_eq!((again.status, &again.json()["images"]["web"]), (202, &json!(at("team/web:alpine", &newer))));
    assert_eq!(shop.house.get("/api/v1/builds?service=shop")["total"], 0);
}

#[test]
fn other_tags_the_same_digest_and_our_own_pushes_change_nothing() {
    let only = |host: &str| {
        json!([{"name": "web", "image": {"ready": format!("{host}/team/web:stable")}, "port": 80,
        "tags": ["stable", "semver:1"]}])
    };
    let Some(shop) = Shop::open(only) else { return };
    let digest = shop.pushed("team/web", "stable", "one");
    shop.live_with(&json!({"web": format!("{}/team/web:stable@{digest}", shop.host)}));
    shop.pushed("team/web", "nightly", "nightly");
    let other = shop.told("team/web:nightly", "skipped");
    assert!(other["reason"].as_str().unwrap().contains("matches none of `stable` `semver:1`"), "{other:#}");
    assert_eq!(shop.pushed("team/web", "1.2.3", "one"), digest);
    let same = shop.told("team/web:1.2.3", "skipped");
    assert!(same["reason"].as_str().unwrap().contains("has this digest already"), "{same:#}");
    // The registry tells of everything: what this service does not run is not kept.
    shop.pushed("team/other", "stable", "other");
    shop.push(&client(&shop.host, "kiops/0.1.0"), "team/web", "stable", "ours");
    let newer = shop.pushed("team/web", "1.3.0", "newer");
    shop.live_with(&json!({"web": format!("{}/team/web:1.3.0@{newer}", shop.host)}));
    assert_eq!(shop.house.get(DEPLOYMENTS)["total"], 2);
    let deliveries = shop.house.get("/api/v1/deliveries?limit=200&service=shop").to_string();
    assert!(!deliveries.contains("team/other"), "{deliveries}");
    // An older version, told of late, goes over nothing newer.
    shop.pushed("team/web", "1.2.9", "older");
    let late = shop.told("team/web:1.2.9", "skipped");
    assert!(late["reason"].as_str().unwrap().contains("a newer version than `1.2.9`"), "{late:#}");
}

#[test]
fn a_push_that_is_told_of_while_the_registry_is_down_is_deployed_once_it_is_back() {
    let Some(mut shop) = Shop::open(two) else { return };
    let (db, web) = (shop.pushed("team/db", "8.0", "one"), shop.pushed("team/web", "alpine", "one"));
    let at = |image: &str, digest: &Digest| format!("{}/{image}@{digest}", shop.host);
    shop.live_with(&json!({"web": at("team/web:alpine", &web), "db": at("team/db:8.0", &db)}));
    shop.close();
    // Nobody can say any more whether this is true.
    assert_eq!(shop.tell("late-1", "team/web", "alpine", "Bearer wrong"), 401);
    assert_eq!(shop.tell("late-1", "team/web", "alpine", "Bearer s3cret"), 200);
    std::thread::sleep(Duration::from_millis(500));
    let path = "/api/v1/deliveries?limit=200&service=shop";
    let waiting = shop.house.get(path)["items"][0].clone();
    assert_eq!(waiting["outcome"], Value::Null, "it waits for the registry");
    shop.start();
    let decided =
        shop.house.until(&format!("/api/v1/deliveries/{}", waiting["id"].as_str().unwrap()), |one| {
            (!one["outcome"].is_null()).then(|| one.clone())
        });
    // The tag points where it did: the digest that was claimed is deployed nowhere.
    assert_eq!(decided["outcome"], "skipped", "{decided:#}");
    assert!(decided["findings"].to_string().contains("which the sender names"), "{decided:#}");
    assert!(
        shop.manifest().contains(web.as_str()) && !shop.manifest().contains(Digest::of(b"evil").as_str())
    );
}

#[test]
fn an_image_that_is_told_of_before_it_can_be_read_is_looked_for_again_and_not_for_ever() {
    let only =
        |host: &str| json!([{"name": "web", "image": {"ready": format!("{host}/team/web")}, "tags": ["v*"]}]);
    let Some(shop) = Shop::open(only) else { return };
    assert_eq!(shop.tell("early", "team/web", "v1", "Bearer s3cret"), 200);
    std::thread::sleep(Duration::from_millis(300));
    // Our own push tells nobody: it is the early word that is heard.
    let digest = shop.push(&client(&shop.host, "kiops/0.1.0"), "team/web", "v1", "one");
    shop.told("team/web:v1", "deployed");
    shop.live_with(&json!({"web": format!("{}/team/web:v1@{digest}", shop.host)}));
    assert_eq!(shop.tell("never", "team/web", "v2", "Bearer s3cret"), 200);
    let never = shop.told("team/web:v2", "skipped");
    assert!(never["reason"].as_str().unwrap().contains("is not in its registry"), "{never:#}");
}
