//! Where releases go, and where their images lie.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use kiops_core::http::{HttpService, ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::image::Registry;
use kiops_core::name::{DnsLabel, EnvironmentName, ImageName, ImageRef};
use kiops_core::release::Deployer;
use kiops_core::service::{Environment, NamespaceRule};
use kiops_core::{Error, Result};
use kiops_kube::doctor::{Examination, Verdict, examine};
use kiops_kube::{Cluster, KubeDeployer, KubeDeployerConfig, ManifestDirectory, ManifestDirectoryConfig};
use kiops_registry::dockerhub::{DockerHub, DockerHubConfig};
use kiops_registry::layout::ImageLayout;
use kiops_registry::oci::{Oci, OciConfig};

use super::{ENVIRONMENT, IMAGE_HOST, Place, SERVICE};

/// Where releases go.
#[derive(Debug)]
pub enum Runtime {
    /// To manifests in the folder. Nothing runs them.
    Manifests,
    /// To a cluster.
    Kubernetes(Box<Kubernetes>),
}

/// A cluster to deploy to.
#[derive(Debug)]
pub struct Kubernetes {
    /// The cluster.
    pub cluster: Cluster,
    /// The namespace of the site. It is made where it is missing.
    pub namespace: DnsLabel,
    /// What the images are called, in a registry that the cluster pulls from without a credential. `None`: the cluster pulls them from the
    /// API's own address on 127.0.0.1, which takes a cluster whose node is this machine.
    pub image: Option<ImageName>,
    /// The image that the first site stands on. It has an `httpd` as busybox's.
    pub base: ImageRef,
    /// The registries, by host and port, that answer plain http.
    pub plain_http: Vec<String>,
}

/// What the service's images are called, and the registries of all images, by host.
pub(super) struct Images {
    pub(super) name: ImageName,
    pub(super) registries: BTreeMap<String, Arc<dyn Registry>>,
}

impl Runtime {
    /// Whether images are pulled from the API's address, which then has to stay the same.
    pub(super) fn pulls_from_here(&self) -> bool {
        matches!(self, Self::Kubernetes(kubernetes) if kubernetes.image.is_none())
    }

    pub(super) fn images(&self, address: SocketAddr, layout: &ImageLayout) -> Result<Images> {
        let here = || Arc::new(layout.clone()) as Arc<dyn Registry>;
        let Self::Kubernetes(kubernetes) = self else {
            let name = ImageName::parse(format!("{IMAGE_HOST}/{SERVICE}"))?;
            return Ok(Images { registries: [(name.host().to_owned(), here())].into(), name });
        };
        let mut registries = BTreeMap::new();
        let base = kubernetes.base.name.host();
        registries.insert(base.to_owned(), kubernetes.registry(base)?);
        let name = match &kubernetes.image {
            Some(name) => {
                registries.insert(name.host().to_owned(), kubernetes.registry(name.host())?);
                name.clone()
            }
            None => {
                let name = ImageName::parse(format!("{address}/{SERVICE}"))?;
                registries.insert(name.host().to_owned(), here());
                name
            }
        };
        Ok(Images { name, registries })
    }

    /// The deployer, once its cluster has answered.
    pub(super) async fn deployer(&self, place: &Place) -> Result<Arc<dyn Deployer>> {
        match self {
            Self::Manifests => {
                let config = ManifestDirectoryConfig::new(place.deploy(), place.revisions());
                Ok(Arc::new(ManifestDirectory::open(config).await?))
            }
            Self::Kubernetes(kubernetes) => {
                kubernetes.answers().await?;
                let mut config = KubeDeployerConfig::default();
                config.render.create_namespace = true;
                Ok(Arc::new(KubeDeployer::new(config, kubernetes.cluster.clone())?))
            }
        }
    }

    pub(super) fn environment(&self, runtime: &str) -> Result<Environment> {
        let mut environment = Environment::new(EnvironmentName::parse(ENVIRONMENT)?, runtime);
        if let Self::Kubernetes(kubernetes) = self {
            environment.namespace = NamespaceRule::Fixed(kubernetes.namespace.clone());
        }
        Ok(environment)
    }

    /// The Dockerfile of the first site.
    pub fn dockerfile(&self) -> String {
        match self {
            // An image of files. Nothing is in it that could serve them.
            Self::Manifests => {
                "FROM scratch\nCOPY . /site\nWORKDIR /site\nEXPOSE 8080\nCMD [\"/site/index.html\"]\n".into()
            }
            Self::Kubernetes(kubernetes) => format!(
                "FROM {}\nCOPY . /site\nWORKDIR /site\nEXPOSE 8080\nUSER 65534:65534\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/site\"]\n",
                kubernetes.base
            ),
        }
    }

    /// The folder of the current manifests, where they are what is deployed.
    pub fn manifests(&self, place: &Place) -> Option<PathBuf> {
        matches!(self, Self::Manifests).then(|| place.deploy())
    }

    /// Where whoever looks for what is deployed finds it, in words.
    pub fn place(&self, place: &Place) -> String {
        match self {
            Self::Manifests => place.deploy().display().to_string(),
            Self::Kubernetes(kubernetes) => {
                format!("namespace {} of cluster {}", kubernetes.namespace, kubernetes.cluster.name())
            }
        }
    }
}

impl Kubernetes {
    /// Asks the cluster who it is: what is wrong with the way to it is better told now than by the first release.
    async fn answers(&self) -> Result<()> {
        let findings = examine(&self.cluster, &Examination::default()).await;
        match findings.into_iter().find(|finding| finding.verdict == Verdict::Problem) {
            Some(problem) => {
                Err(Error::unavailable("reach cluster", problem.message).with_remedy(problem.remedy))
            }
            None => Ok(()),
        }
    }

    /// The registry of this host, without an account.
    fn registry(&self, host: &str) -> Result<Arc<dyn Registry>> {
        let timer = Arc::new(SystemTimer);
        let service = |egress| -> Result<Arc<dyn HttpService>> {
            Ok(Arc::new(ReqwestService::new(&ReqwestConfig::default(), egress)?))
        };
        if host == "docker.io" {
            let config = DockerHubConfig::default();
            let service = service(config.egress()?)?;
            return Ok(Arc::new(DockerHub::new(config, None, service, timer)?));
        }
        let mut config = OciConfig::new(host);
        // Whoever types an address means it, also one of a private network.
        config.private = true;
        if self.plain_http.iter().any(|plain| plain == host) {
            config.url = Some(format!("http://{host}"));
        }
        let service = service(config.egress()?)?;
        Ok(Arc::new(Oci::new(config, None, service, timer)?))
    }
}
