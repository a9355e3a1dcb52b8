//! Proposing releases to people, and looking what they say.

use super::Shared;
use super::perform::{request_of, runtime_failure};
use crate::error::{Error, Result};
use crate::name::ReleaseId;
use crate::release::{Proposal, Release, ReleaseInput, ReleaseState};
use crate::store::Claim;

impl Shared {
    /// Proposes a release, or looks at its proposal until something has become of it.
    pub(super) async fn propose(&self, claim: &Claim, id: &ReleaseId) -> Result<()> {
        let Some(release) = self.store.release(id).await? else { return self.store.finish(claim).await };
        let ReleaseState::Proposed(known) = &release.state else { return self.store.finish(claim).await };
        loop {
            let looked = tokio::select! {
                biased;
                looked = self.look_at_proposal(&release) => looked,
                () = self.held.lost(claim) => return self.hand_back(claim).await,
            };
            let news = match looked {
                Ok(Proposal::Open(text)) if known.as_ref() == Some(&text) => None,
                Ok(news) => Some(Ok(news)),
                // Whether people say yes does not depend on whether they can be asked now: an approval's time ends this.
                Err(error) if known.is_some() => {
                    tracing::warn!(%error, release = %id, "the proposal could not be looked at");
                    None
                }
                Err(error) if self.worth_another_try(claim, &error) => return Err(error),
                Err(error) => Some(Err(runtime_failure(&error))),
            };
            if let Some(news) = news {
                return self.release_input(claim, id, ReleaseInput::Proposed(news)).await;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(self.config.proposals) => {}
                () = self.held.lost(claim) => return self.hand_back(claim).await,
            }
            let now = self.store.release(id).await?;
            if now.is_none_or(|now| now.state != release.state) {
                return self.store.finish(claim).await;
            }
        }
    }

    async fn look_at_proposal(&self, release: &Release) -> Result<Proposal> {
        let deployer = self.adapters.deployer(&self.runtime(&release.target).await?)?;
        let proposals = deployer.proposals().ok_or_else(|| {
            Error::unsupported("propose release", format!("runtime `{}` proposes nothing", deployer.name()))
                .with_remedy("give the environment the runtime that writes to Git repositories")
        })?;
        proposals.propose(&release.target, &request_of(release)).await
    }

    /// Takes the proposal of a release back that is over.
    pub(super) async fn withdraw(&self, claim: &Claim, id: &ReleaseId) -> Result<()> {
        let Some(release) = self.store.release(id).await? else { return self.store.finish(claim).await };
        let deployer = self.adapters.deployer(&self.runtime(&release.target).await?)?;
        if let Some(proposals) = deployer.proposals()
            && proposals.withdraw(&release.target, id).await? == Proposal::Accepted
        {
            tracing::warn!(release = %id, "somebody accepted a release before it could be taken back: it is live");
        }
        self.store.finish(claim).await
    }
}
