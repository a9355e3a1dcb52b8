//! `--runtime`: where releases go.

use clap::{Args, ValueEnum};
use kiops_core::name::{DnsLabel, ImageName, ImageRef};
use kiops_core::{Error, Result};
use kiops_examples::cluster::open_cluster;
use kiops_examples::local::{Kubernetes, Runtime};
use kiops_kube::ClusterConfig;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where releases go. A folder keeps the one that it was begun with.
    #[arg(long, value_enum, default_value_t = Kind::Manifests)]
    runtime: Kind,
    #[command(flatten)]
    cluster: ClusterArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// To manifests in the folder.
    Manifests,
    /// To the cluster of a kubeconfig: what KUBECONFIG names, else ~/.kube/config.
    Kubernetes,
}

/// Only with `--runtime kubernetes`.
#[derive(Debug, Args)]
struct ClusterArguments {
    /// One of the kubeconfig's contexts; else its current one.
    #[arg(long)]
    context: Option<String>,
    /// The site's namespace: `kiops-quickstart`, unless another is named.
    #[arg(long)]
    namespace: Option<DnsLabel>,
    /// What the images are called, in a registry that the cluster pulls from (`localhost:5001/site`). Without it the cluster pulls them from
    /// this program, on 127.0.0.1: for clusters whose node is this machine.
    #[arg(long)]
    image: Option<ImageName>,
    /// The image that the first site stands on; it has busybox's `httpd`. `docker.io/library/busybox:1.37`, unless another is named.
    #[arg(long, value_parser = ImageRef::parse)]
    base: Option<ImageRef>,
    /// A registry that answers plain http, by host and port. May be given several times.
    #[arg(long, value_name = "HOST:PORT")]
    plain_http: Vec<String>,
}

impl Arguments {
    pub(crate) async fn open(self) -> Result<Runtime> {
        let ClusterArguments { context, namespace, image, base, plain_http } = self.cluster;
        if self.runtime == Kind::Manifests {
            let any = context.is_some() || namespace.is_some() || image.is_some() || base.is_some();
            return match any || !plain_http.is_empty() {
                true => Err(Error::invalid(
                    "read arguments",
                    "--context, --namespace, --image, --base and --plain-http are for a cluster",
                )
                .with_remedy("add `--runtime kubernetes`, or leave them out")),
                false => Ok(Runtime::Manifests),
            };
        }
        let cluster = open_cluster(ClusterConfig::default(), None, context.as_deref()).await?;
        Ok(Runtime::Kubernetes(Box::new(Kubernetes {
            cluster,
            namespace: namespace.map_or_else(|| DnsLabel::parse("kiops-quickstart"), Ok)?,
            image,
            base: base.map_or_else(|| ImageRef::parse("docker.io/library/busybox:1.37"), Ok)?,
            plain_http,
        })))
    }
}
