//! Releases as merge requests: each on a branch of its own, live once a person has merged it.

use async_trait::async_trait;
use kiops_core::name::{BranchName, CommitId, ReleaseId};
use kiops_core::provider::{MergeRequestInfo, MergeRequestState, NewMergeRequest, Search};
use kiops_core::release::{DeployRequest, DeployTarget, Proposal, Proposals, Revision};
use kiops_core::{Error, Result};

use super::record::Record;
use super::{File, GitOps, State, again};

const PROPOSE: &str = "propose release";

/// The branch on which a release is proposed as this revision. One that was proposed before another was merged is proposed again, as the next.
fn branch(target: &DeployTarget, revision: Revision, release: &ReleaseId) -> Result<BranchName> {
    let DeployTarget { service, component, environment, .. } = target;
    let name = format!("{}{component}/{environment}/{revision}-{release}", service.proposals());
    BranchName::parse(&name).map_err(|error| Error::internal(PROPOSE, error.to_string()))
}

#[async_trait]
impl Proposals for GitOps {
    async fn propose(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Proposal> {
        let file = self.file(target)?;
        again(|| self.propose_once(target, &file, request)).await
    }

    async fn withdraw(&self, target: &DeployTarget, release: &ReleaseId) -> Result<Option<Revision>> {
        let file = self.file(target)?;
        file.close_all(target, release).await?;
        // One that was merged meanwhile cannot be closed any more. Where there is no branch, nothing was.
        let Some(head) = file.head().await? else { return Ok(None) };
        Ok(file.record_at(&head).await?.of(release).map(|merged| merged.revision))
    }
}

impl GitOps {
    async fn propose_once(
        &self,
        target: &DeployTarget,
        file: &File<'_>,
        request: &DeployRequest,
    ) -> Result<Proposal> {
        let head = file.must_head().await?;
        let record = file.record_at(&head).await?;
        if let Some(merged) = record.of(&request.release) {
            return Ok(Proposal::Accepted(merged.revision));
        }
        let branch = branch(target, record.next()?, &request.release)?;
        if let Some(found) = file.request(&branch).await? {
            return Ok(file.became(found));
        }
        // Proposed as an earlier revision, which another release has become: that cannot be merged any more.
        file.close_all(target, &request.release).await?;
        self.commit_proposal(target, file, (head, record), request, &branch).await?;
        let DeployTarget { service, component, environment, .. } = target;
        let image = file.image(&request.images)?;
        let new = NewMergeRequest {
            source: branch,
            target: file.file.branch.clone(),
            title: format!("Deploy {service} to {environment}{}", self.skip()),
            description: format!(
                "Sets `{component}` to `{image}`.\n\nMerging it deploys that; closing it rejects the release."
            ),
        };
        Ok(file.became(file.writes.open_merge_request(&file.file.repository, &new).await?))
    }

    /// Commits the release on its branch, unless it is there.
    async fn commit_proposal(
        &self,
        target: &DeployTarget,
        file: &File<'_>,
        (head, record): (CommitId, Record),
        request: &DeployRequest,
        branch: &BranchName,
    ) -> Result<()> {
        if let Some(proposed) = file.head_of(branch).await? {
            return match file.record_at(&proposed).await?.of(&request.release) {
                Some(_) => Ok(()),
                None => Err(Error::invalid(PROPOSE, format!("branch {branch} has something else"))
                    .with_remedy("remove that branch, and deploy again")),
            };
        }
        let state = State { text: file.text_at(&head).await?, record, head };
        let commit = self.commit(target, file, &state, request, branch)?;
        file.writes.commit_files(&file.file.repository, &commit).await.map(drop)
    }
}

impl File<'_> {
    async fn request(&self, branch: &BranchName) -> Result<Option<MergeRequestInfo>> {
        self.writes.merge_request(&self.file.repository, branch, &self.file.branch).await
    }

    fn became(&self, found: MergeRequestInfo) -> Proposal {
        let MergeRequestInfo { number, web_url, state } = found;
        let name = match web_url {
            Some(url) => format!("merge request {number} ({url})"),
            None => format!("merge request {number} of {}", self.file.repository.path),
        };
        match state {
            MergeRequestState::Open => Proposal::Open(name),
            MergeRequestState::Closed => Proposal::Rejected(format!("{name} was closed")),
            // Hosts may say so a moment before the branch has it. Where it never gets it, somebody merged something else.
            MergeRequestState::Merged => {
                Proposal::Open(format!("branch {}: {name} was merged, and is not there", self.file.branch))
            }
        }
    }

    /// Closes whatever is open of a release.
    async fn close_all(&self, target: &DeployTarget, release: &ReleaseId) -> Result<()> {
        let ours = |branch: &BranchName| {
            let (_, name) = branch.as_str().rsplit_once('/').unwrap_or_default();
            let revision = name.strip_suffix(release.as_str()).and_then(|name| name.strip_suffix('-'));
            let revision = revision.and_then(|revision| revision.parse().ok()).map(Revision);
            revision.is_some_and(|revision| {
                self::branch(target, revision, release).is_ok_and(|own| own == *branch)
            })
        };
        let mut search = Search::text(release.as_str());
        loop {
            let page = self.provider.branches(&self.file.repository, &search).await?;
            for head in &page.items {
                let Some(branch) = head.git_ref.branch().filter(|branch| ours(branch)) else { continue };
                if let Some(MergeRequestInfo { number, state: MergeRequestState::Open, .. }) =
                    self.request(branch).await?
                {
                    self.writes.close_merge_request(&self.file.repository, number).await?;
                }
            }
            let Some(next) = page.next else { return Ok(()) };
            search = search.after(next);
        }
    }
}
