//! Rollouts.

use std::time::Duration;

use kiops_core::name::ReleaseId;
use kiops_core::release::{DeployTarget, Deployer, Revision, RolloutStatus};
use kiops_core::{Error, ErrorKind, Result};
use kiops_kube::{KubeDeployer, KubeDeployerConfig};

use super::connect::Connection;
use super::target::Images;
use super::write;

/// Between two looks at a rollout.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn deployer(connection: &Connection) -> Result<KubeDeployer> {
    KubeDeployer::new(KubeDeployerConfig::default(), connection.open().await?)
}

pub(crate) async fn apply(
    connection: &Connection,
    target: &DeployTarget,
    images: &Images,
    wait: bool,
) -> Result<()> {
    let deployer = deployer(connection).await?;
    // What was live before may be wanted again, and with other settings.
    let live = deployer.observed(target).await?.map_or(0, |live| live.revision.0);
    let workload = serde_json::to_string(&target.target)
        .map_err(|error| Error::internal("deploy", format!("the workload cannot be written: {error}")))?;
    let revision = deployer.apply(target, &images.request(&format!("{live} {workload}"))?).await?;
    told(&deployer, target, revision, wait).await
}

pub(crate) async fn rollback(
    connection: &Connection,
    target: &DeployTarget,
    to: Revision,
    wait: bool,
) -> Result<()> {
    let deployer = deployer(connection).await?;
    // Once for each revision that is live now: repeated after a cut it is the same, and later it is another one.
    let live = deployer.observed(target).await?.map_or(0, |live| live.revision.0);
    let words = ["rollback", target.service.as_ref(), &live.to_string(), &to.to_string()].map(str::to_owned);
    let release = ReleaseId::derive(words.iter().map(String::as_str));
    let revision = deployer.rollback(target, to, &release).await?;
    told(&deployer, target, revision, wait).await
}

pub(crate) async fn status(connection: &Connection, target: &DeployTarget) -> Result<()> {
    let deployer = deployer(connection).await?;
    let Some(live) = deployer.observed(target).await? else {
        return write("nothing was deployed\n");
    };
    let status = deployer.status(target, live.revision).await?;
    write(&format!("revision {}: {}\n", live.revision, words(&status)))?;
    for info in deployer.history(target).await? {
        let images: Vec<String> = info.images.iter().map(|(name, image)| format!("{name}={image}")).collect();
        let (at, who) = (info.applied_at, info.requested_by);
        write(&format!("{} {at} {who} {}\n", info.revision, images.join(" ")))?;
    }
    Ok(())
}

pub(crate) async fn remove(connection: &Connection, target: &DeployTarget) -> Result<()> {
    deployer(connection).await?.remove(target).await
}

async fn told(deployer: &KubeDeployer, target: &DeployTarget, revision: Revision, wait: bool) -> Result<()> {
    write(&format!("revision {revision}\n"))?;
    let mut last = String::new();
    if !wait {
        return Ok(());
    }
    loop {
        let status = deployer.status(target, revision).await?;
        let text = words(&status);
        if text != last {
            write(&format!("{text}\n"))?;
            last = text;
        }
        match status {
            RolloutStatus::Progressing(_) => tokio::time::sleep(LOOK).await,
            RolloutStatus::Complete => return Ok(()),
            RolloutStatus::Failed(failure) => {
                let error = Error::new(ErrorKind::Unavailable, "roll out", failure.message);
                return Err(error.with_remedy(failure.remedy));
            }
            RolloutStatus::Replaced(by) => {
                return Err(Error::conflict("roll out", format!("revision {by} took its place")));
            }
        }
    }
}

fn words(status: &RolloutStatus) -> String {
    match status {
        RolloutStatus::Progressing(what) => format!("progressing: {what}"),
        RolloutStatus::Complete => "complete".to_owned(),
        RolloutStatus::Failed(failure) => format!("failed: {}", failure.message),
        RolloutStatus::Replaced(by) => format!("replaced by revision {by}"),
    }
}
