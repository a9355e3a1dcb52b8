//! Which cluster: a kubeconfig as kubectl finds it.

use std::path::{Path, PathBuf};

use kiops_core::{Error, Result};
use kiops_kube::{Cluster, ClusterConfig};

/// The cluster of a kubeconfig file and one of its contexts. Without a file it is what KUBECONFIG names, else `~/.kube/config`;
/// without a context the file's current one.
///
/// # Errors
/// `Invalid` for a file that is not there or lacks the context.
pub async fn open_cluster(
    config: ClusterConfig,
    file: Option<&Path>,
    context: Option<&str>,
) -> Result<Cluster> {
    let config = match context {
        Some(context) => {
            let mut named = config;
            context.clone_into(&mut named.name);
            named
        }
        None => config,
    };
    let file = file.map_or_else(kubeconfig, |file| Ok(file.to_owned()))?;
    Cluster::from_kubeconfig(config, &file, context).await
}

fn kubeconfig() -> Result<PathBuf> {
    let named = || {
        let list = std::env::var_os("KUBECONFIG")?;
        // A list of files is kubectl's to merge; the first one is as good as any.
        std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty())
    };
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".kube/config"));
    named().or_else(home).ok_or_else(|| {
        Error::invalid("read kubeconfig", "no file is named")
            .with_remedy("name one in the environment variable KUBECONFIG")
    })
}
