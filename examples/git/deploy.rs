//! Deploying by commit or merge request: one release of one container.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use kiops_core::name::{
    BranchName, ComponentName, ContainerName, EnvironmentName, ImageRef, ReleaseId, ServiceName,
};
use kiops_core::provider::GitProvider;
use kiops_core::release::{DeployRequest, DeployTarget, Deployer, Proposal};
use kiops_core::service::{GitChange, GitFile, Target};
use kiops_core::{Error, Result};
use kiops_kube::{GitOps, GitOpsConfig};
use serde_json::json;

use crate::calls::{Named, print};

/// A release to a file of a repository.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    repository: Named,
    /// The branch that a cluster follows.
    branch: BranchName,
    /// The file, from the root.
    path: String,
    /// The container whose image it sets.
    container: ContainerName,
    /// The image with its digest: `registry/name:tag@sha256:...`.
    image: String,
    /// How the change gets to the branch.
    #[arg(long, value_enum, default_value_t = By::Commit)]
    by: By,
    /// The service, for the history beside the file.
    #[arg(long)]
    service: ServiceName,
    /// Its component: each has a history of its own.
    #[arg(long, default_value = "main")]
    component: ComponentName,
    /// Its environment.
    #[arg(long)]
    environment: EnvironmentName,
    /// Tells this release from others of the same image: to bring an older one back, or to ask again.
    #[arg(long, default_value = "")]
    nonce: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Commit,
    MergeRequest,
}

impl Deploy {
    /// Deploys or proposes. The same call later says what has become of it.
    pub(crate) async fn make(self, provider: Arc<dyn GitProvider>) -> Result<()> {
        let image = ImageRef::parse(&self.image)?.pinned().ok_or_else(|| {
            Error::invalid("deploy", format!("{} has no digest", self.image))
                .with_remedy("name the image with its digest")
        })?;
        let (service, environment) = (self.service, self.environment);
        let release = ReleaseId::derive([
            service.as_str(),
            environment.as_str(),
            self.branch.as_str(),
            &self.path,
            self.container.as_str(),
            &self.image,
            &self.nonce,
        ]);
        let file = GitFile {
            provider: provider.name(),
            repository: self.repository.known(),
            branch: self.branch,
            path: self.path,
            container: self.container.clone(),
            by: match self.by {
                By::Commit => GitChange::Commit,
                By::MergeRequest => GitChange::MergeRequest,
            },
        };
        let target = DeployTarget {
            namespace: kiops_core::name::dns_label([service.as_str()]),
            service,
            component: self.component,
            environment,
            target: Target::GitFile(file),
            preview: None,
        };
        let request = DeployRequest {
            release,
            images: [(self.container, image)].into(),
            commit: None,
            requested_by: "example git".to_owned(),
        };
        let deployer = GitOps::new(GitOpsConfig::default(), [provider])?;
        if let (true, Some(proposals)) = (target.target.is_proposed(), deployer.proposals()) {
            return match proposals.propose(&target, &request).await? {
                Proposal::Accepted(revision) => print(&json!({ "revision": revision })),
                Proposal::Rejected(text) => {
                    Err(Error::conflict("deploy", text).with_remedy("deploy it again with another --nonce"))
                }
                open @ Proposal::Open(_) => print(&open),
            };
        }
        print(&json!({ "revision": deployer.apply(&target, &request).await? }))
    }
}
