//! Releases as merge requests: each on a branch of its own, live once a person has merged it.

use async_trait::async_trait;
use kiops_core::name::{BranchName, CommitId, ReleaseId, dns_label};
use kiops_core::provider::{MergeRequestInfo, MergeRequestState, NewMergeRequest, Search};
use kiops_core::release::{DeployRequest, DeployTarget, Proposal, Proposals, Revision};
use kiops_core::{Error, Result};

use super::record::Record;
use super::{File, GitOps, State, again};

const PROPOSE: &str = "propose release";
const WITHDRAW: &str = "withdraw release";

/// The branch on which a release is proposed as this revision. One that was proposed before another was merged is proposed again, as the next.
fn branch(target: &DeployTarget, revision: Revision, release: &ReleaseId) -> BranchName {
    let DeployTarget { service, component, environment, .. } = target;
    let place = dns_label([service.as_str(), component.as_str(), environment.as_str()]);
    BranchName::of_proposal(&place, revision.0, release)
}

#[async_trait]
impl Proposals for GitOps {
    async fn propose(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Proposal> {
        let file = self.file(target)?;
        again(|| self.propose_once(target, &file, request)).await
    }

    async fn withdraw(&self, target: &DeployTarget, release: &ReleaseId) -> Result<Option<Revision>> {
        let file = self.file(target)?;
        let merged = file.close_all(target, release).await?;
        // Where there is no branch, nothing was.
        let Some(head) = file.head().await? else { return Ok(None) };
        match (file.record_at(&head).await?.of(release), merged) {
            (Some(found), _) => Ok(Some(found.revision)),
            (None, None) => Ok(None),
            // Hosts may say so a moment before the branch has it; if it stays so, somebody merged something else.
            (None, Some(name)) => {
                let text = format!("{name} was merged, and {} does not have it", file.file.branch);
                Err(Error::invalid(WITHDRAW, text).with_remedy("look at what was merged, and deploy again"))
            }
        }
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
        let branch = branch(target, record.next()?, &request.release);
        if let Some(found) = file.request(&branch).await? {
            return Ok(file.became(&found));
        }
        // Proposed as an earlier revision, which another release has become: that cannot be merged any more.
        file.close_all(target, &request.release).await?;
        self.commit_proposal(target, file, (head, record), request, &branch).await?;
        let DeployTarget { service, component, environment, .. } = target;
        let image = file.image(&request.images)?;
        let new = NewMergeRequest {
            source: branch,
            target: file.file.branch.clone(),
            title: format!("Deploy {service} to {environment}"),
            description: format!(
                "Sets `{component}` to `{image}`.\n\nMerging it deploys that; closing it rejects the release."
            ),
        };
        Ok(file.became(&file.writes.open_merge_request(&file.file.repository, &new).await?))
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
        let (revision, made) = (record.next()?, file.head_of(branch).await?);
        let is_new = made.is_none();
        let head = made.unwrap_or(head);
        let record = if is_new { record } else { file.record_at(&head).await? };
        if record.of(&request.release).is_some() {
            return Ok(());
        }
        // Some hosts make the branch before the commit: what was cut off there is completed.
        if record.next()? != revision {
            return Err(Error::invalid(PROPOSE, format!("branch {branch} has something else"))
                .with_remedy("remove that branch, and deploy again"));
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

    fn named(&self, found: &MergeRequestInfo) -> String {
        match &found.web_url {
            Some(url) => format!("merge request {} ({url})", found.number),
            None => format!("merge request {} of {}", found.number, self.file.repository.path),
        }
    }

    fn became(&self, found: &MergeRequestInfo) -> Proposal {
        match found.state {
            // Hosts may say that it is merged a moment before the branch has it.
            MergeRequestState::Open | MergeRequestState::Merged => Proposal::Open(self.named(found)),
            MergeRequestState::Closed => Proposal::Rejected(format!("{} was closed", self.named(found))),
        }
    }

    /// Closes whatever is open of a release, and names what was merged.
    async fn close_all(&self, target: &DeployTarget, release: &ReleaseId) -> Result<Option<String>> {
        let mut merged = None;
        for branch in self.branches_of(target, release).await? {
            let Some(found) = self.request(&branch).await? else { continue };
            let mut state = found.state;
            if state == MergeRequestState::Open {
                let closed = self.writes.close_merge_request(&self.file.repository, found.number).await;
                // Somebody may be merging it: then nobody closes it any more.
                state = self.request(&branch).await?.map_or(MergeRequestState::Closed, |now| now.state);
                if state == MergeRequestState::Open {
                    closed?;
                    let text = format!("{} is still open: somebody may be merging it", self.named(&found));
                    return Err(Error::unavailable(WITHDRAW, text));
                }
            }
            if state == MergeRequestState::Merged {
                merged = Some(self.named(&found));
            }
        }
        Ok(merged)
    }

    /// The branches on which a release was proposed, as one revision after the other.
    async fn branches_of(&self, target: &DeployTarget, release: &ReleaseId) -> Result<Vec<BranchName>> {
        let any = branch(target, Revision(0), release);
        let (place, digits) = any.as_str().rsplit_once("/0-").unwrap_or_default();
        let ours = |branch: &&BranchName| {
            let rest = branch.as_str().strip_prefix(place).and_then(|rest| rest.strip_prefix('/'));
            let revision =
                rest.and_then(|rest| rest.strip_suffix(digits)).and_then(|rest| rest.strip_suffix('-'));
            revision.is_some_and(|revision| revision.parse::<u64>().is_ok())
        };
        let (mut search, mut found) = (Search::text(digits), Vec::new());
        loop {
            let page = self.provider.branches(&self.file.repository, &search).await?;
            found.extend(page.items.iter().filter_map(|head| head.git_ref.branch()).filter(ours).cloned());
            let Some(next) = page.next else { return Ok(found) };
            search = search.after(next);
        }
    }
}
