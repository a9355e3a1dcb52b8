//! An independent client reads what we write.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use http::{HeaderMap, HeaderName, Method, Uri};
use kiops_core::image::Registry as _;
use kiops_core::stream;
use kiops_core::testing::has_program;
use kiops_registry::layout::{ImageLayout, ServeBody};

use crate::fixtures::{image, manifest_of, open, put, tag};

/// What skopeo says; `None` without it.
pub(crate) fn skopeo(arguments: &[&str]) -> Option<Output> {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "--tmpdir", "/tmp"]).args(arguments);
    has_program("skopeo").then(|| skopeo.output().unwrap())
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Copies an image out of a layout into a folder, and says the digest that skopeo finds there.
pub(crate) fn copy_out(layout: &Path, reference: &str, target: &Path) -> Option<String> {
    copy(&[], &format!("oci:{}:{reference}", layout.display()), target)
}

/// The digests of an image's layers as skopeo unpacks them.
#[cfg(feature = "assemble")]
pub(crate) fn unpack(options: &[&str], source: &str, target: &Path) -> Option<Vec<String>> {
    let options: Vec<&str> = options.iter().copied().chain(["--dest-decompress"]).collect();
    copy(&options, source, target)?;
    let manifest = std::fs::read(target.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    Some(layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect())
}

pub(crate) fn copy(options: &[&str], source: &str, target: &Path) -> Option<String> {
    let folder = format!("dir:{}", target.display());
    let arguments: Vec<&str> =
        ["copy"].iter().chain(options).copied().chain([source, folder.as_str()]).collect();
    succeeded(skopeo(&arguments)?);
    let manifest = target.join("manifest.json");
    Some(succeeded(skopeo(&["manifest-digest", manifest.to_str().unwrap()])?))
}

/// Pushes an image whose configuration a client can read.
pub(crate) async fn push_real(layout: &ImageLayout, reference: &str) -> String {
    let (name, word) = reference.rsplit_once(':').unwrap();
    let name = image(name);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Labels":{{"n":"{name}"}}}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    );
    let mut config = put(layout, &name, config).await;
    config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
    let digest = layout.put_manifest(&name, &manifest_of(&config, &[])).await.unwrap();
    layout.tag(&name, &tag(word), &digest).await.unwrap();
    digest.to_string()
}

#[tokio::test]
async fn skopeo_copies_each_of_several_images_out_of_one_layout() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(&dir.path().join("layout"));
    for name in ["site", "team/api"] {
        let reference = format!("quickstart.local/{name}:abc1234");
        let digest = push_real(&layout, &reference).await;
        let Some(found) = copy_out(layout.path(), &reference, &dir.path().join(name.replace('/', "-")))
        else {
            return;
        };
        assert_eq!(found, digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pulls_an_image_from_what_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(&dir.path().join("layout"));
    let digest = push_real(&layout, "quickstart.local/team/site:abc1234").await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Handle::current();
    let server = layout.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (layout, runtime) = (server.clone(), runtime.clone());
            std::thread::spawn(move || answer(&layout, &runtime, connection.unwrap()));
        }
    });
    let source = format!("docker://{address}/team/site:abc1234");
    let target = dir.path().join("out");
    let options = ["--src-tls-verify=false"];
    let Some(found) = tokio::task::block_in_place(|| copy(&options, &source, &target)) else { return };
    assert_eq!(found, digest);
    let tags = tokio::task::block_in_place(|| {
        skopeo(&["list-tags", "--tls-verify=false", &format!("docker://{address}/team/site")])
    });
    assert!(succeeded(tags.unwrap()).contains("\"abc1234\""));
}

/// As much HTTP as a client needs: one request a connection.
fn answer(layout: &ImageLayout, runtime: &tokio::runtime::Handle, mut connection: TcpStream) {
    let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else { return };
    let mut headers = HeaderMap::new();
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        headers.insert(name.parse::<HeaderName>().unwrap(), value.trim().parse().unwrap());
    }
    let mut words = request.split(' ');
    let method: Method = words.next().unwrap().parse().unwrap();
    let uri: Uri = words.next().unwrap().parse().unwrap();
    let (parts, body) = runtime.block_on(layout.serve(&method, &uri, &headers)).into_parts();
    let body = match body {
        ServeBody::Empty => Vec::new(),
        ServeBody::Bytes(bytes) => bytes.to_vec(),
        ServeBody::Stream { content, .. } => {
            runtime.block_on(stream::collect(content, 1 << 20)).unwrap().to_vec()
        }
    };
    write!(connection, "HTTP/1.1 {}\r\nconnection: close\r\n", parts.status).unwrap();
    for (name, value) in &parts.headers {
        write!(connection, "{name}: {}\r\n", value.to_str().unwrap()).unwrap();
    }
    connection.write_all(&[b"\r\n", &body[..]].concat()).unwrap();
}
