//! The quickstart with a cluster as its runtime.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::{TestNamespace, cluster};
use crate::node_image;
use crate::registry::{Daemon, daemon};
use crate::support::{Clone, Server, quickstart, try_call};

/// Where the site's base image is, and where the site goes.
struct Cluster {
    client: kube::Client,
    namespace: TestNamespace,
    registry: Daemon,
    base: String,
}

impl Cluster {
    async fn open() -> Option<Self> {
        let cluster = cluster().await?;
        let registry = daemon()?;
        let folder = tempfile::tempdir().unwrap();
        if !node_image::busybox(folder.path(), &["httpd", "sh"]) {
            return None;
        }
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\nCOPY bin /bin\nENV PATH=/bin\n")
            .unwrap();
        let base = format!("{}/library/busybox:1", registry.2);
        let mut assemble = Command::new(quickstart().with_file_name("assemble"));
        assemble.arg(folder.path()).args([&base, "--url", &format!("http://{}", registry.2)]);
        let output = assemble.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let namespace = cluster.namespace().await;
        Some(Self { client: cluster.client.clone(), namespace, registry, base })
    }

    fn start(&self, folder: &Path) -> Server {
        self.start_with(folder, &[])
    }

    fn start_with(&self, folder: &Path, more: &[&str]) -> Server {
        let plain = self.registry.2.as_str();
        let words = ["--runtime", "kubernetes", "--namespace", &self.namespace.name, "--base", &self.base];
        Server::spawn(folder, &[&words[..], &["--plain-http", plain], more].concat())
    }

    /// Waits until the site's pods all answer with this text.
    async fn answers(&self, text: &str) {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace.name);
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let found = pods.list(&ListParams::default()).await.unwrap().items;
            let live = found.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let addresses: Vec<_> =
                live.map(|pod| pod.status.as_ref().and_then(|status| status.pod_ip.clone())).collect();
            let says = |address: &Option<String>| {
                let address = format!("{}:8080", address.as_deref()?);
                Some(try_call(&address, "GET", "/index.html", &[], b"").ok()?.text())
            };
            let pages: Vec<_> = addresses.iter().map(says).collect();
            if !pages.is_empty()
                && pages.iter().all(|page| page.as_deref().is_some_and(|page| page.contains(text)))
            {
                return;
            }
            assert!(Instant::now() < until, "never `{text}`: {pages:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_runs_on_a_cluster_that_pulls_it_from_the_quickstart_itself() {
    let Some(cluster) = Cluster::open().await else { return };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let mut server = cluster.start(&folder);
    server.wait_ready();
    cluster.answers("Hello from a push").await;
    let image = server.value("image").unwrap();
    assert!(image.starts_with(&format!("{}/site:", server.address())), "{image}");
    assert_eq!(
        server.value("deploy").unwrap(),
        format!("namespace {} of cluster kubernetes", cluster.namespace.name)
    );
    let deployments = Api::<Deployment>::namespaced(cluster.client.clone(), &cluster.namespace.name);
    let deployment = deployments.get("site").await.unwrap();
    let containers = deployment.spec.unwrap().template.spec.unwrap().containers;
    assert_eq!(containers[0].image.as_deref(), Some(image.as_str()));

    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let commit = clone.push_change("a second page");
    assert_eq!(server.built(&commit)["state"], "succeeded");
    cluster.answers("a second page").await;

    // Images keep their address, so the port stays.
    let address = server.address();
    server.kill();
    // Whoever starts it otherwise by mistake is told so, and changes nothing.
    let elsewhere = Server::spawn(&folder, &[]);
    assert!(elsewhere.ends());
    let said = elsewhere.output();
    assert!(said.contains("deploys to kubernetes") && said.contains("--runtime"), "{said}");
    let again = cluster.start(&folder);
    again.wait_ready();
    assert_eq!(again.address(), address);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_go_to_the_registry_that_is_named() {
    let Some(cluster) = Cluster::open().await else { return };
    let place = tempfile::tempdir().unwrap();
    let name = format!("{}/team/site", cluster.registry.2);
    let server = cluster.start_with(&place.path().join("state"), &["--image", &name]);
    server.wait_ready();
    cluster.answers("Hello from a push").await;
    let image = server.value("image").unwrap();
    assert!(image.starts_with(&format!("{name}:")), "{image}");
    let url = format!("/v2/team/site/manifests/{}", image.rsplit_once('@').unwrap().1);
    let accept = [("accept", "application/vnd.oci.image.manifest.v1+json")];
    let found = try_call(&cluster.registry.2, "GET", &url, &accept, b"").unwrap();
    assert_eq!(found.status, 200, "{}", found.text());
}

#[test]
fn what_is_for_a_cluster_is_refused_without_one() {
    let place = tempfile::tempdir().unwrap();
    let ended = |arguments: &[&str]| {
        let mut command = Command::new(quickstart());
        command.env("KUBECONFIG", "/no/such/file").arg("--dir").arg(place.path().join("state"));
        let mut server = Server::spawn_command({
            command.args(arguments);
            command
        });
        assert!(!server.wait());
        server.output()
    };
    let said = ended(&["--namespace", "shop"]);
    assert!(said.contains("--runtime kubernetes"), "{said}");
    let said = ended(&["--runtime", "kubernetes"]);
    assert!(said.contains("/no/such/file"), "{said}");
    let said = ended(&["--runtime", "kubernetes", "--namespace", "No Name"]);
    assert!(said.contains("--namespace"), "{said}");
}
