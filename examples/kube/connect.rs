//! Which cluster.

use std::path::PathBuf;

use clap::Args;
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};
use kiops_examples::cluster::open_cluster;
use kiops_kube::{Cluster, ClusterConfig};

#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// The kubeconfig file; else what KUBECONFIG names, else ~/.kube/config.
    #[arg(long, global = true)]
    kubeconfig: Option<PathBuf>,
    /// One of its contexts; else its current one.
    #[arg(long, global = true)]
    context: Option<String>,
    /// How long a call may take, in seconds.
    #[arg(long, global = true, default_value_t = 30)]
    deadline: u32,
}

impl Connection {
    /// The cluster.
    pub(crate) async fn open(&self) -> Result<Cluster> {
        let mut config = ClusterConfig::default();
        config.deadline_secs = self.deadline;
        open_cluster(config, self.kubeconfig.as_deref(), self.context.as_deref()).await
    }
}

/// The value of an environment variable.
pub(crate) fn secret_of(variable: &str) -> Result<Secret> {
    let value = std::env::var_os(variable).and_then(|value| Secret::new(value.into_encoded_bytes()));
    value.ok_or_else(|| {
        Error::invalid("read secret", format!("the environment variable `{variable}` is not set, or empty"))
    })
}
