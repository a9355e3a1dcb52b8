//! Small builders that all tests share.

use std::path::Path;

use kiops_core::name::{
    CommitId, ComponentName, ContainerName, Digest, DnsLabel, EnvironmentName, ImageRef, PinnedImage,
    ReleaseId, ServiceName,
};
use kiops_core::release::{DeployRequest, DeployTarget};
use kiops_core::service::{Container, ContainerImage, EnvValue, Target, VolumeMount, Workload};
use kiops_kube::{ManifestDirectory, ManifestDirectoryConfig};

pub(crate) fn container(name: &str, port: Option<u16>) -> Container {
    Container {
        name: ContainerName::parse(name).unwrap(),
        image: ContainerImage::Built,
        port,
        env: Default::default(),
        volumes: Vec::new(),
        tags: Default::default(),
        ingress_path: None,
        internal: false,
    }
}

pub(crate) fn target_of(service: &str, component: &str, containers: Vec<Container>) -> DeployTarget {
    DeployTarget {
        service: ServiceName::parse(service).unwrap(),
        component: ComponentName::parse(component).unwrap(),
        environment: EnvironmentName::parse("dev").unwrap(),
        namespace: DnsLabel::parse("shop").unwrap(),
        target: Target::Workload(Workload { replicas: 1, containers }),
        preview: None,
    }
}

pub(crate) fn target(service: &str, containers: Vec<Container>) -> DeployTarget {
    target_of(service, "main", containers)
}

/// The site that most tests deploy.
pub(crate) fn site() -> DeployTarget {
    let mut web = container("web", Some(8080));
    web.ingress_path = Some("/".into());
    target("site", vec![web])
}

/// S20: nginx with an ingress path, and an internal mysql with a volume.
pub(crate) fn shop() -> DeployTarget {
    let mut web = container("web", Some(80));
    web.ingress_path = Some("/".into());
    let mut db = container("db", Some(3306));
    db.internal = true;
    db.volumes = vec![VolumeMount { path: "/var/lib/mysql".into(), size: "10Gi".into() }];
    db.env.insert("MYSQL_DATABASE".into(), EnvValue::Plain("no".into()));
    db.env.insert(
        "MYSQL_ROOT_PASSWORD".into(),
        EnvValue::Secret { secret: kiops_core::name::SecretName::parse("shop/mysql").unwrap() },
    );
    target("shop", vec![web, db])
}

pub(crate) fn workload(target: &mut DeployTarget) -> &mut Workload {
    match &mut target.target {
        Target::Workload(workload) => workload,
        _ => panic!("no workload"),
    }
}

pub(crate) fn image(name: &str) -> PinnedImage {
    let image = ImageRef::parse_familiar(name).unwrap();
    PinnedImage { name: image.name, tag: image.tag, digest: Digest::of(name.as_bytes()) }
}

pub(crate) fn release(id: &str) -> ReleaseId {
    ReleaseId::derive([id])
}

/// A release of these images, container by container.
pub(crate) fn request_of(id: &str, images: &[(&str, &str)]) -> DeployRequest {
    DeployRequest {
        release: release(id),
        images: images.iter().map(|(name, tag)| (ContainerName::parse(name).unwrap(), image(tag))).collect(),
        commit: None,
        requested_by: "ann".into(),
    }
}

/// Release `id` of the site, whose image has the release's name as its tag.
pub(crate) fn request(id: &str) -> DeployRequest {
    let mut request = request_of(id, &[("web", &format!("quickstart.local/site:{id}"))]);
    request.commit = Some(CommitId::parse("0123456789abcdef0123456789abcdef01234567").unwrap());
    request
}

pub(crate) fn config(dir: &Path) -> ManifestDirectoryConfig {
    ManifestDirectoryConfig::new(dir.join("deploy"), dir.join("revisions"))
}

pub(crate) async fn open(dir: &Path) -> ManifestDirectory {
    ManifestDirectory::open(config(dir)).await.unwrap()
}

/// Every file below a folder, by its path from there, locks left out.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, from: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, from, found);
            } else if path.file_name().unwrap() != "lock" {
                found.push(path.strip_prefix(from).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}
