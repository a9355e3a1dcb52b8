//! Deploying by commit or merge request: the image's digest is written to a file of a Git repository, from which something else (Argo CD,
//! Flux, a pipeline) brings it to a cluster.

mod edit;
mod proposal;
mod record;

pub use edit::set_image;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::name::{BranchName, CommitId, GitRef, PinnedImage, ProviderName, ReleaseId};
use kiops_core::provider::{FileChange, GitProvider, NewCommit, Writes};
use kiops_core::release::{
    DeployRequest, DeployTarget, Deployer, Live, Proposals, Revision, RevisionInfo, RolloutStatus,
};
use kiops_core::service::{GitFile, Target};
use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use self::record::Record;
use crate::revisions::{self, check_keep};

const OPERATION: &str = "deploy by commit";
/// The largest file that is read, in bytes.
const FILE_MAX: usize = 1 << 20;
/// How often a commit is made anew because another one came between.
const TRIES: u32 = 32;

/// How releases become commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct GitOpsConfig {
    /// The runtime's name, as environments name it. `gitops` by default.
    pub name: String,
    /// How many revisions of each target the history keeps; 10 at least, 50 by default.
    pub keep: usize,
    /// Whether commits say `[skip ci]`, so that none of them starts a build (E80). On by default; off where pipelines of that
    /// repository are to run. What is proposed by merge request does not say so: pipelines look at it. kiops itself knows both.
    pub skip_ci: bool,
}

impl Default for GitOpsConfig {
    fn default() -> Self {
        Self { name: "gitops".to_owned(), keep: revisions::KEEP, skip_ci: true }
    }
}

/// A runtime whose targets are files in Git repositories ([`Target::GitFile`]).
///
/// A release is one commit on the target's branch. It sets the image of the target's container in the file ([`set_image`] says in which
/// files), and adds the revision to the history that lies beside it, `.kiops/{service}/{component}/{environment}.json`. Both are in the same
/// commit, made only if the branch has not moved since they were read: so what others commit meanwhile is never lost, and any number of replicas
/// may work on one repository.
///
/// Where the target says so, a release is a merge request instead, which a person merges ([`Proposals`]): the same commit on a branch of its own,
/// `kiops/{service}-{component}-{environment}/{revision}-{release}`. If another release becomes that revision first, it is proposed again as the
/// next. Such a target never goes back by itself.
///
/// A rollout is complete once it is committed, or merged: whether a cluster follows the repository is not looked at. If somebody changes the image
/// by another commit, the rollout has failed, and says so.
#[derive(Debug)]
pub struct GitOps {
    config: GitOpsConfig,
    providers: BTreeMap<ProviderName, Arc<dyn GitProvider>>,
}

impl GitOps {
    /// A runtime of the repositories at these hosts.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a configuration that keeps fewer than 10 revisions.
    pub fn new(
        config: GitOpsConfig,
        providers: impl IntoIterator<Item = Arc<dyn GitProvider>>,
    ) -> Result<Self> {
        check_keep(OPERATION, config.keep)?;
        let providers = providers.into_iter().map(|provider| (provider.name(), provider)).collect();
        Ok(Self { config, providers })
    }

    fn file<'a>(&'a self, target: &'a DeployTarget) -> Result<File<'a>> {
        let Target::GitFile(file) = &target.target else {
            return Err(Error::unsupported(OPERATION, "the target is no file in a Git repository")
                .with_remedy("give the environment another runtime, or make the target a file"));
        };
        let Some(provider) = self.providers.get(&file.provider) else {
            return Err(Error::invalid(OPERATION, format!("provider `{}` is not registered", file.provider))
                .with_remedy("register the provider with this runtime"));
        };
        let Some(writes) = provider.writes() else {
            let text = format!("provider `{}` cannot be written to", file.provider);
            return Err(Error::unsupported(OPERATION, text));
        };
        Ok(File { file, provider: provider.as_ref(), writes, record: record::path(target) })
    }

    /// Commits a new revision, unless the release has one.
    async fn bring(
        &self,
        target: &DeployTarget,
        release: &ReleaseId,
        wanted: impl Fn(&Record) -> Result<DeployRequest> + Send + Sync,
    ) -> Result<Revision> {
        let file = self.file(target)?;
        again(|| async {
            let state = file.read().await?;
            if let Some(done) = state.record.of(release) {
                return Ok(done.revision);
            }
            if target.target.is_proposed() {
                return Err(Error::unsupported(OPERATION, "what runs there changes by merge request only")
                    .with_remedy("release to it, and merge what is proposed"));
            }
            let branch = &file.file.branch;
            let commit = self.commit(target, &file, &state, &wanted(&state.record)?, branch)?;
            let revision = state.record.next()?;
            file.writes.commit_files(&file.file.repository, &commit).await.map(|_| revision)
        })
        .await
    }

    /// A release as a commit on a branch that has, or will have, this state.
    fn commit(
        &self,
        target: &DeployTarget,
        file: &File<'_>,
        state: &State,
        request: &DeployRequest,
        branch: &BranchName,
    ) -> Result<NewCommit> {
        let image = file.image(&request.images)?;
        let text = set_image(&state.text, &file.file.container, image)
            .map_err(|error| named(&error, &file.file.path))?;
        let revision = state.record.next()?;
        let record = state.record.with(
            RevisionInfo {
                images: BTreeMap::from([(file.file.container.clone(), image.clone())]),
                ..request.clone().revision(revision, Timestamp::now())
            },
            self.config.keep,
        );
        let DeployTarget { service, component, environment, .. } = target;
        let skip = if *branch == file.file.branch { self.skip() } else { "" };
        Ok(NewCommit {
            branch: branch.clone(),
            parent: Some(state.head.clone()),
            message: format!(
                "Deploy {service} to {environment}{skip}\n\n{component}: {image}\n\nKiops-Release: {}\nKiops-Revision: {revision}\n",
                request.release
            ),
            files: vec![change(&file.file.path, text), change(&file.record, record.to_text()?)],
        })
    }

    /// What keeps pipelines from running, after a subject.
    const fn skip(&self) -> &'static str {
        if self.config.skip_ci { " [skip ci]" } else { "" }
    }
}

#[async_trait]
impl Deployer for GitOps {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn apply(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Revision> {
        self.bring(target, &request.release, |_| Ok(request.clone())).await
    }

    async fn status(&self, target: &DeployTarget, revision: Revision) -> Result<RolloutStatus> {
        let file = self.file(target)?;
        let state = file.read().await?;
        let Some(found) = state.record.revision(revision) else {
            return Err(Error::not_found(OPERATION, format!("there is no revision {revision}")));
        };
        let newest = state.record.newest().map_or(revision, |newest| newest.revision);
        if newest > revision {
            return Ok(RolloutStatus::Replaced(newest));
        }
        let path = &file.file.path;
        let image = file.image(&found.images)?;
        Ok(match set_image(&state.text, &file.file.container, image) {
            Ok(same) if same == state.text => RolloutStatus::Complete,
            Ok(_) => {
                failed(format!("{path} has another image than this revision's: another commit changed it"))
            }
            Err(error) => failed(named(&error, path).message().to_owned()),
        })
    }

    async fn rollback(&self, target: &DeployTarget, to: Revision, release: &ReleaseId) -> Result<Revision> {
        let wanted = |record: &Record| {
            let old = record.revision(to).ok_or_else(|| {
                Error::not_found(OPERATION, format!("there is no revision {to} to go back to"))
                    .with_remedy("look at the history for what is kept")
            })?;
            Ok(old.clone().again(release))
        };
        self.bring(target, release, wanted).await
    }

    async fn history(&self, target: &DeployTarget) -> Result<Vec<RevisionInfo>> {
        Ok(self.file(target)?.read().await?.record.into_revisions())
    }

    async fn observed(&self, target: &DeployTarget) -> Result<Option<Live>> {
        let state = self.file(target)?.read().await?;
        Ok(state.record.into_revisions().into_iter().next().map(RevisionInfo::live))
    }

    /// Removes the history. The file is the platform's and stays as it is.
    async fn remove(&self, target: &DeployTarget) -> Result<()> {
        let file = self.file(target)?;
        again(|| async {
            // The file itself may be gone already, and the branch.
            let Some(head) = file.head().await? else { return Ok(()) };
            let repository = &file.file.repository;
            if file.provider.file(repository, &head, &file.record, FILE_MAX).await?.is_none() {
                return Ok(());
            }
            let skip = self.skip();
            let commit = NewCommit {
                branch: file.file.branch.clone(),
                parent: Some(head),
                message: format!("Forget {} in {}{skip}\n", target.service, target.environment),
                files: vec![FileChange { path: file.record.clone(), content: None }],
            };
            file.writes.commit_files(repository, &commit).await.map(drop)
        })
        .await
    }

    fn proposals(&self) -> Option<&dyn Proposals> {
        Some(self)
    }
}

/// Does it anew while somebody else commits in between.
async fn again<T, F: Future<Output = Result<T>>>(mut once: impl FnMut() -> F) -> Result<T> {
    let mut tried = 0;
    loop {
        match once().await {
            Err(error) if error.kind() == ErrorKind::Conflict && tried < TRIES => {
                tried += 1;
                tokio::time::sleep(Duration::from_millis(20) * tried).await;
            }
            done => return done,
        }
    }
}

/// A target's file, and where it is.
struct File<'a> {
    file: &'a GitFile,
    provider: &'a dyn GitProvider,
    writes: &'a dyn Writes,
    record: String,
}

/// The branch as it is now.
struct State {
    head: CommitId,
    text: String,
    record: Record,
}

impl File<'_> {
    async fn head(&self) -> Result<Option<CommitId>> {
        self.head_of(&self.file.branch).await
    }

    async fn head_of(&self, branch: &BranchName) -> Result<Option<CommitId>> {
        self.provider.head(&self.file.repository, &GitRef::Branch(branch.clone())).await
    }

    /// Where the target's branch is.
    async fn must_head(&self) -> Result<CommitId> {
        let GitFile { repository, branch, .. } = self.file;
        self.head().await?.ok_or_else(|| {
            Error::not_found(OPERATION, format!("there is no branch {branch} in {}", repository.path))
                .with_remedy("create the branch with the file, or correct the target")
        })
    }

    async fn read(&self) -> Result<State> {
        let head = self.must_head().await?;
        let text = self.text_at(&head).await?;
        Ok(State { text, record: self.record_at(&head).await?, head })
    }

    async fn text_at(&self, head: &CommitId) -> Result<String> {
        let GitFile { repository, branch, path, .. } = self.file;
        let file = self.provider.file(repository, head, path, FILE_MAX).await?;
        let file = file.ok_or_else(|| {
            Error::not_found(OPERATION, format!("{path} is not in {branch} of {}", repository.path))
                .with_remedy("commit the file, or correct the target")
        })?;
        String::from_utf8(file.to_vec())
            .map_err(|_| Error::invalid(OPERATION, format!("{path} is not UTF-8")))
    }

    async fn record_at(&self, head: &CommitId) -> Result<Record> {
        let record = self.provider.file(&self.file.repository, head, &self.record, FILE_MAX).await?;
        record.map_or_else(|| Ok(Record::default()), |bytes| Record::read(&bytes, &self.record))
    }

    fn image<'i, M>(&self, images: M) -> Result<&'i PinnedImage>
    where
        M: IntoIterator<Item = (&'i kiops_core::name::ContainerName, &'i PinnedImage)>,
    {
        let mut images = images.into_iter().filter(|(container, _)| **container == self.file.container);
        images.next().map(|(_, image)| image).ok_or_else(|| {
            Error::invalid(
                OPERATION,
                format!("the release has no image for container {}", self.file.container),
            )
            .with_remedy("deploy an image of that container, or correct the target\'s container")
        })
    }
}

fn change(path: &str, text: String) -> FileChange {
    FileChange { path: path.to_owned(), content: Some(Bytes::from(text)) }
}

fn named(error: &Error, path: &str) -> Error {
    error.reworded(OPERATION, format!("{path}: {}", error.message()))
}

fn failed(text: String) -> RolloutStatus {
    RolloutStatus::Failed(Failure::new(Stage::Deploy, FailureKind::RolloutFailed, text))
}
