//! What is deployed where, from arguments.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use kiops_core::name::{
    ComponentName, ContainerName, DnsLabel, EnvironmentName, ImageRef, PinnedImage, ReleaseId, ServiceName,
    dns_label,
};
use kiops_core::release::{DeployRequest, DeployTarget};
use kiops_core::service::{Target, Workload};
use kiops_core::{Error, Result};

use super::build::read;

/// A target.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The service.
    #[arg(long)]
    service: ServiceName,
    /// Its component.
    #[arg(long, default_value_t)]
    component: ComponentName,
    /// The environment.
    #[arg(long, default_value = "dev")]
    environment: EnvironmentName,
    /// The namespace; the service's name by default.
    #[arg(long)]
    namespace: Option<DnsLabel>,
    /// A JSON file with the workload: {"replicas": 1, "containers": [{"name": "web", "port": 80}]}.
    #[arg(long)]
    workload: PathBuf,
}

impl Place {
    pub(crate) fn target(&self) -> Result<DeployTarget> {
        let workload: Workload = read(&self.workload)?;
        Ok(DeployTarget {
            service: self.service.clone(),
            component: self.component.clone(),
            environment: self.environment.clone(),
            namespace: self.namespace.clone().unwrap_or_else(|| dns_label([self.service.as_str()])),
            target: Target::Workload(workload),
            preview: None,
        })
    }
}

/// What is to run there.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// The image of a container, pinned: web=nginx:alpine@sha256:... Once for every container.
    #[arg(long = "image", value_name = "CONTAINER=IMAGE", value_parser = container_image, required = true)]
    images: Vec<(ContainerName, PinnedImage)>,
    /// The release's name: the same one again changes nothing. By default it follows from images, workload and what is live.
    #[arg(long)]
    release: Option<String>,
    /// Who asks, for the history.
    #[arg(long, default_value = "command line")]
    requested_by: String,
}

impl Images {
    /// The release of these images; without a name of its own it is told from others by `besides`, too.
    pub(crate) fn request(&self, besides: &str) -> Result<DeployRequest> {
        let images: BTreeMap<_, _> = self.images.iter().cloned().collect();
        if images.len() < self.images.len() {
            return Err(Error::invalid("read images", "a container is named twice"));
        }
        let release = match &self.release {
            Some(name) => ReleaseId::derive([name.as_str()]),
            None => {
                let all: Vec<String> = images.iter().map(|(name, image)| format!("{name}={image}")).collect();
                ReleaseId::derive(all.iter().map(String::as_str).chain([besides]))
            }
        };
        Ok(DeployRequest { release, images, commit: None, requested_by: self.requested_by.clone() })
    }
}

fn container_image(text: &str) -> Result<(ContainerName, PinnedImage), String> {
    let (container, image) =
        text.split_once('=').ok_or("write CONTAINER=IMAGE, such as web=nginx@sha256:...")?;
    let container = ContainerName::parse(container).map_err(|error| error.to_string())?;
    let ImageRef { name, tag, digest } =
        ImageRef::parse_familiar(image).map_err(|error| error.to_string())?;
    let digest = digest.ok_or("the image has no digest: add @sha256:...")?;
    Ok((container, PinnedImage { name, tag, digest }))
}
