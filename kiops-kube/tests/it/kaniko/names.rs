//! Whatever services, branches and commits are called, the API server takes the objects.

use kiops_core::build::BuildExecutor as _;
use kiops_core::name::{BranchName, BuildId, GitRef, RunId, ServiceName};

use super::support::*;
use crate::builds::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_and_texts_make_objects_that_the_cluster_takes() {
    let Some(place) = place().await else { return };
    let mut site = place.site().await;
    site.config.pod.node_selector = [("kiops.dev/no-such-node".to_owned(), "yes".to_owned())].into();
    let executor = site.executor();
    let long = "a".repeat(63);
    let branches = ["main", "fix/#12", "größe/日本語", "a%2Fb@c$(GIT_PASSWORD)", &"x/".repeat(400), "v1.0"]
        .map(|name| name.trim_end_matches('/').to_owned());
    for (n, branch) in branches.iter().enumerate() {
        let Ok(branch) = BranchName::parse(branch) else { continue };
        let mut job = site.job("passes");
        job.spec.git_ref = GitRef::Branch(branch);
        job.spec.service = ServiceName::parse(&long).unwrap();
        job.spec.metadata.git_commit_message =
            format!("\u{1b}[31m {} \r\n\t\"'`$HOME {{}}", "ü".repeat(8000));
        job.spec.labels.insert("org.opencontainers.image.title".into(), "a\nb=c --no-push".into());
        let build = BuildId::derive([n.to_string().as_str(), &std::process::id().to_string()]);
        let run = RunId::of_build(&build, u32::MAX);
        start_as(&executor, &run, &job.spec, &job.inputs).await;
        executor.cancel(&run).await.unwrap();
        executor.forget(&run).await.unwrap();
    }
}
