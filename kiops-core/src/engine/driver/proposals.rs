//! Proposing releases to people, and looking what they say.

use std::time::Duration;

use super::Shared;
use super::perform::{request_of, runtime_failure};
use crate::error::{Error, Result, Retry};
use crate::name::ReleaseId;
use crate::release::{Proposal, Proposals, Release, ReleaseInput, ReleaseState, Revision};
use crate::store::Claim;

/// How often a withdrawal is tried that is refused: a token may be renewed meanwhile. A quarter of an hour.
const REFUSED_TRIES: u32 = 20;

impl Shared {
    /// Proposes a release, or looks at its proposal until something has become of it.
    pub(super) async fn propose(&self, claim: &Claim, id: &ReleaseId) -> Result<()> {
        let Some(release) = self.store.release(id).await? else { return self.store.finish(claim).await };
        if release.state != ReleaseState::Proposed {
            return self.store.finish(claim).await;
        }
        let (known, mut pause) = (&release.proposal, self.config.proposals);
        loop {
            let looked = tokio::select! {
                biased;
                looked = self.look_at_proposal(&release) => looked,
                () = self.held.lost(claim) => return self.hand_back(claim).await,
            };
            let mut asked_to_wait = Duration::ZERO;
            let news = match looked {
                Ok(Proposal::Open(text)) if known.as_ref() == Some(&text) => None,
                Ok(news) => Some(Ok(news)),
                // Whether people say yes does not depend on whether they can be asked now: an approval's time ends this.
                Err(error) if known.is_some() => {
                    tracing::warn!(%error, release = %id, "the proposal could not be looked at");
                    if let Retry::After(seconds) = error.retry() {
                        asked_to_wait = Duration::from_secs(u64::from(seconds));
                    }
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
                () = tokio::time::sleep(pause.max(asked_to_wait)) => {
                    pause = (pause * 2).min(self.config.proposals * 4);
                }
                () = self.held.lost(claim) => return self.hand_back(claim).await,
            }
            let now = self.store.release(id).await?;
            if now.is_none_or(|now| now.state != release.state) {
                return self.store.finish(claim).await;
            }
        }
    }

    async fn look_at_proposal(&self, release: &Release) -> Result<Proposal> {
        self.proposals(release).await?.propose(&release.target, &request_of(release)).await
    }

    /// Takes back what was proposed, however long the host cannot be reached: until then somebody may say yes.
    pub(super) async fn withdraw(&self, claim: &Claim, id: &ReleaseId) -> Result<()> {
        let Some(release) = self.store.release(id).await? else { return self.store.finish(claim).await };
        if !matches!(release.state, ReleaseState::Withdrawing(_)) {
            return self.store.finish(claim).await;
        }
        let withdrawn = tokio::select! {
            biased;
            withdrawn = self.take_back(&release) => withdrawn,
            () = self.held.lost(claim) => return self.hand_back(claim).await,
        };
        let withdrawn = match withdrawn {
            Ok(accepted) => Ok(accepted),
            Err(error) if error.retry() != Retry::Never => return Err(error),
            Err(error) if claim.failures + 1 < REFUSED_TRIES => return Err(error.with_retry(Retry::Maybe)),
            Err(error) => Err(runtime_failure(&error)),
        };
        self.release_input(claim, id, ReleaseInput::Withdrawn(withdrawn)).await
    }

    async fn take_back(&self, release: &Release) -> Result<Option<Revision>> {
        let proposals = self.proposals(release).await?;
        let accepted = proposals.withdraw(&release.target, &release.id).await?;
        if accepted.is_some() || release.proposal.is_some() {
            return Ok(accepted);
        }
        // Nobody knows that it was proposed: what was on its way to the host may get there only now.
        tokio::time::sleep(self.config.lease).await;
        proposals.withdraw(&release.target, &release.id).await
    }

    async fn proposals(&self, release: &Release) -> Result<&dyn Proposals> {
        let deployer = self.adapters.deployer(&self.runtime(&release.target).await?)?;
        deployer.proposals().ok_or_else(|| {
            Error::unsupported("propose release", format!("runtime `{}` proposes nothing", deployer.name()))
                .with_remedy("give the environment the runtime that writes to Git repositories")
        })
    }
}
