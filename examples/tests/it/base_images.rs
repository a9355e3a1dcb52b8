//! The base-image trigger: a base that is pushed anew to a real registry builds what stands on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiops_core::image::{Manifest, Registry};
use kiops_core::name::{BuildId, Digest, ImageName, ImageRef, ServiceName, Tag};
use kiops_core::stream;
use kiops_registry::assemble::{Assembler, AssemblerConfig};
use kiops_registry::layout::{ImageLayout, LayoutConfig};
use kiops_registry::oci::Oci;
use serde_json::{Value, json};

use crate::house::{House, SITE};
use crate::images::client;
use crate::registry::{Daemon, daemon};

const BUILDS: &str = "/api/v1/builds?limit=200&service=site";

/// The house, and a registry with the base of its site.
struct Place {
    house: House,
    registry: Oci,
    daemon: Daemon,
}

impl Place {
    /// `None`: `docker-registry` is not here.
    fn open() -> Option<Self> {
        let daemon = daemon()?;
        let host = daemon.2.clone();
        let bases: Arc<dyn Registry> = Arc::new(client(&host, "kiops/0"));
        let house = House::with(Default::default(), Default::default(), async move |folder, _, adapters| {
            let layout = Arc::new(ImageLayout::open(LayoutConfig::new(folder.join("layout"))).unwrap());
            let by_host = BTreeMap::from([(host.clone(), Arc::clone(&bases))]);
            let config = AssemblerConfig::new(folder.join("work-with-bases"));
            let assembler = Assembler::with_registries(config, layout, by_host).unwrap();
            adapters.registry(&host, bases).executor(Arc::new(assembler))
        });
        let registry = client(&daemon.2, "docker/29.0");
        Some(Self { house, registry, daemon })
    }

    fn image(&self) -> ImageName {
        ImageName::parse(format!("{}/base", self.daemon.2)).unwrap()
    }

    /// Pushes `base:1` with one layer of this content. Says the layer and the image.
    fn pushes_base(&self, content: &str) -> (Digest, Digest) {
        let layer = tar("etc/base", content.as_bytes());
        let layer_digest = Digest::of(&layer);
        let config = json!({"architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]}});
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(&config), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len()}],
        });
        let manifest = Manifest {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            bytes: manifest.to_string().into(),
        };
        let (name, tag) = (self.image(), Tag::parse("1").unwrap());
        let digest = self.house.wait(async {
            for blob in [layer, config] {
                let (digest, size) = (Digest::of(&blob), blob.len() as u64);
                self.registry.put_blob(&name, &digest, size, stream::once(blob.into())).await.unwrap();
            }
            let digest = self.registry.put_manifest(&name, &manifest).await.unwrap();
            self.registry.tag(&name, &tag, &digest).await.unwrap();
            digest
        });
        (layer_digest, digest)
    }

    /// Looks at the bases of the site, as the clock does in its interval.
    fn looks(&self) -> Vec<BuildId> {
        let site = ServiceName::parse(SITE).unwrap();
        self.house.wait(self.house.driver.look_at_bases(&site)).unwrap()
    }

    /// The layers of a build's image.
    fn layers(&self, build: &Value) -> Vec<Digest> {
        let image = format!("{}@{}", build["image"].as_str().unwrap(), build["digest"].as_str().unwrap());
        let image = ImageRef::parse(&image).unwrap();
        let registry = self.house.driver.adapters().registry(&image.name).unwrap();
        let manifest = registry.manifest(&image.name, image.digest.as_ref().unwrap());
        let manifest: Value = serde_json::from_slice(&self.house.wait(manifest).unwrap().bytes).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| Digest::parse(layer["digest"].as_str().unwrap()).unwrap()).collect()
    }

    /// Waits until a build succeeded.
    fn build(&self, id: &BuildId) -> Value {
        self.house.until(&format!("/api/v1/builds/{id}"), |build| {
            assert!(!["failed", "error"].contains(&build["state"].as_str().unwrap()), "{build:#}");
            (build["state"] == "succeeded").then(|| build.clone())
        })
    }

    fn log(&self, id: &BuildId) -> String {
        self.house.call("ada", "GET", &format!("/api/v1/builds/{id}/log"), b"").text()
    }
}

/// An archive of one file.
fn tar(path: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

#[test]
fn a_base_that_is_pushed_anew_builds_the_site_once_on_it() {
    let Some(place) = Place::open() else { return };
    let house = &place.house;
    let (first_layer, first) = place.pushes_base("one");
    // Whoever is not asked to looks at nothing.
    assert_eq!(place.looks(), []);
    house.clone.write("Dockerfile", &format!("FROM {}:1\nCOPY . /site\n", place.image()));
    house.change_settings(SITE, |settings| settings["auto_ci"]["base_image"] = json!({"enabled": true}));
    let commit = house.push("ada", "on a base");
    let pushed = house.build_is(&house.built(SITE, &commit), "succeeded");
    assert_eq!(place.layers(&pushed)[0], first_layer);

    // Seen for the first time, by us or by the clock, and looked at again: nothing moved.
    let started = Instant::now();
    while house.get("/api/v1/services/site")["base_images"].is_null() {
        assert_eq!(place.looks(), []);
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    let seen = house.get("/api/v1/services/site")["base_images"].clone();
    let base = json!({"image": format!("{}:1", place.image()), "digest": first});
    assert_eq!((&seen["components"]["main"], &seen["unfollowed"]), (&json!([base]), &json!([])));
    assert_eq!(place.looks(), []);

    let (second_layer, second) = place.pushes_base("two");
    let builds = place.looks();
    assert_eq!(builds.len(), 1);
    assert_eq!(place.looks(), [], "the same move builds once");
    let built = place.build(&builds[0]);
    assert_eq!((&built["trigger"], &built["commit"]), (&json!("base_image"), &json!(commit)));
    let layers = place.layers(&built);
    assert_eq!((&layers[0], layers.contains(&first_layer)), (&second_layer, false));
    let log = place.log(&builds[0]);
    assert!(log.starts_with("[setup] Triggered by Base Image\n"), "{log}");
    assert!(log.contains(&format!("Base image {}:1 moved from {first} to {second}", place.image())), "{log}");
    // What was built for a push goes live by itself, and so does this.
    let live = format!("@{}", built["digest"].as_str().unwrap());
    let until = Instant::now() + Duration::from_secs(30);
    while !house.live().contains(&live) {
        assert!(Instant::now() < until, "{}", house.live());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(house.get(BUILDS)["total"], 2);
}

#[test]
fn a_registry_that_is_gone_is_told_of_and_nothing_is_built() {
    let Some(place) = Place::open() else { return };
    let house = &place.house;
    place.pushes_base("one");
    house.clone.write("Dockerfile", &format!("FROM {}:1\nCOPY . /site\n", place.image()));
    house.change_settings(SITE, |settings| settings["auto_ci"]["base_image"] = json!({"enabled": true}));
    let commit = house.push("ada", "on a base");
    house.build_is(&house.built(SITE, &commit), "succeeded");
    place.looks();
    let Place { house, daemon, registry } = place;
    let host = daemon.2.clone();
    drop((daemon, registry));
    let site = ServiceName::parse(SITE).unwrap();
    assert_eq!(house.wait(house.driver.look_at_bases(&site)).unwrap(), []);
    let service = house.get("/api/v1/services/site");
    let said = service["base_images"]["unfollowed"].to_string();
    assert!(said.contains(&format!("{host}/base:1: ")), "{said}");
    assert_eq!(
        service["base_images"]["components"]["main"].as_array().unwrap().len(),
        1,
        "it is not forgotten"
    );
    let item =
        service["readiness"]["items"].as_array().unwrap().iter().find(|item| item["name"] == "base_image");
    assert_eq!(item.unwrap()["met"], false, "{service:#}");
}
