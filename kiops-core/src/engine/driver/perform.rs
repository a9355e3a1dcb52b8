//! Performing one effect.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Shared;
use crate::access::Subject;
use crate::build::{Build, BuildInput};
use crate::effect::Effect;
use crate::engine::PreviewInput;
use crate::engine::promote::tags_to_move;
use crate::engine::step::Input;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::name::{BuildId, DeliveryId, ReleaseId, ServiceName};
use crate::policy::{Answer, Answered, Preview, PreviewState, Question, RefKey};
use crate::release::{DeployRequest, DeployTarget, Origin, Release, ReleaseInput, Revision, RolloutStatus};
use crate::service::{Environment, Service};
use crate::stage::{Failure, FailureKind, Stage};
use crate::store::{Claim, Wants};

impl Shared {
    pub(super) async fn carry_out(&self, claim: &Claim) -> Result<()> {
        match &claim.work.effect {
            Effect::Decide { delivery } => self.decide(claim, delivery).await,
            Effect::Run { build, run, executor } => self.follow_build(claim, build, run, executor).await,
            Effect::Check { build, check, run } => self.follow_check(claim, build, check, run).await,
            Effect::CancelRun { run, executor } => {
                if let Some(executor) = self.adapters.executor(executor) {
                    executor.cancel(run).await?;
                    executor.forget(run).await?;
                }
                self.store.finish(claim).await
            }
            Effect::ForgetRun { run, executor } => {
                if let Some(executor) = self.adapters.executor(executor) {
                    executor.forget(run).await?;
                }
                self.store.finish(claim).await
            }
            Effect::CancelCheck { run } => {
                if let Some(runner) = &self.adapters.runner {
                    runner.cancel(run).await?;
                    runner.forget(run).await?;
                }
                self.store.finish(claim).await
            }
            Effect::Promote { build } => self.promote(claim, build).await,
            Effect::Propose { release } => self.propose(claim, release).await,
            Effect::Withdraw { release } => self.withdraw(claim, release).await,
            Effect::Deploy { release } => self.deploy(claim, release).await,
            Effect::Verify { release } => self.verify(claim, release).await,
            Effect::GoBack { release, to } => self.go_back(claim, release, *to).await,
            Effect::Log { build, lines, close } => {
                if !lines.is_empty() {
                    self.logs.append(build, claim.work.id.as_str(), lines.clone()).await?;
                }
                if *close {
                    self.logs.close(build).await?;
                }
                self.store.finish(claim).await
            }
            Effect::Report { build, version } => self.report(claim, build, *version).await,
            Effect::ReportDecision { delivery, version } => {
                self.report_decision(claim, delivery, *version).await
            }
            Effect::WakeBuild { build } => {
                self.build_input(claim, build, BuildInput::Tick).await?;
                self.queue.notify_one();
                Ok(())
            }
            Effect::WakeRelease { release } => self.release_input(claim, release, ReleaseInput::Tick).await,
            Effect::RemovePreview { number, .. } => self.remove_preview(claim, *number).await,
            Effect::WakePreview { number, .. } => {
                self.input(claim, Input::Preview { number: *number, input: PreviewInput::Wake }).await
            }
        }
    }

    async fn decide(&self, claim: &Claim, id: &DeliveryId) -> Result<()> {
        let service = &claim.work.service;
        let Some(record) = self.store.delivery(id).await? else {
            return self.store.finish(claim).await;
        };
        if record.is_decided() {
            return self.store.finish(claim).await;
        }
        let actor = record.events.iter().find_map(|event| event.event.actor.as_ref());
        let subject =
            self.adapters.members.member(service, &record.provider, actor).await.unwrap_or_else(|error| {
                // Not knowing who pushed must not lose the push: it counts as nobody's, and waits where that matters.
                tracing::warn!(%error, "the pusher could not be mapped to a member");
                Subject::unknown()
            });
        let input = Input::Decide { delivery: id.clone(), answers: Vec::new(), rounds: 0, subject };
        self.step(service, input, Some(claim)).await.map(|_| ())
    }

    /// Asks the provider or a registry, three times where they fail for reasons that may pass. What they cannot say stays unknown.
    pub(super) async fn answer(&self, service: Option<&Service>, question: Question) -> Answered {
        let answer = self.try_answer(service, &question).await;
        answered(question, answer)
    }

    /// The same; but a digest that may be told later is an error: without it nothing can be decided. `patient`: so is an image that may
    /// yet come.
    pub(super) async fn answer_or_wait(
        &self,
        service: Option<&Service>,
        question: Question,
        patient: bool,
    ) -> Result<Answered> {
        let answer = self.try_answer(service, &question).await;
        match (&question, answer) {
            (Question::Image { image }, Ok(Answer::Image(None))) if patient => {
                Err(Error::unavailable("find image", format!("`{image}` is not in its registry yet")))
            }
            (Question::Image { .. }, Err(error)) if error.retry() != Retry::Never => Err(error),
            (_, answer) => Ok(answered(question, answer)),
        }
    }

    async fn try_answer(&self, service: Option<&Service>, question: &Question) -> Result<Answer> {
        let mut failures = 0;
        loop {
            match self.ask_once(service, question).await {
                Err(error) if error.retry() != Retry::Never && failures < 2 => {
                    failures += 1;
                    tokio::time::sleep(super::backoff(failures)).await;
                }
                asked => return asked,
            }
        }
    }

    async fn ask_once(&self, service: Option<&Service>, question: &Question) -> Result<Answer> {
        let git = || {
            let git = service
                .and_then(|service| service.source.git())
                .ok_or_else(|| Error::not_found("ask provider", "the service has no Git source"))?;
            Ok::<_, Error>((self.adapters.provider(&git.provider)?, &git.repository))
        };
        Ok(match question {
            Question::Compare { from, to } => {
                let (provider, repository) = git()?;
                Answer::Compare(provider.compare(repository, from, to).await?)
            }
            Question::Head { git_ref } => {
                let (provider, repository) = git()?;
                Answer::Head(provider.head(repository, git_ref).await?)
            }
            Question::Commit { id } => {
                let (provider, repository) = git()?;
                Answer::Commit(provider.commit(repository, id).await?)
            }
            Question::Image { image } => {
                Answer::Image(self.adapters.registry(&image.name)?.resolve(image).await?)
            }
        })
    }

    /// One input to a build. One that is not possible any more was overtaken: the work is done.
    pub(super) async fn build_input(&self, claim: &Claim, build: &BuildId, input: BuildInput) -> Result<()> {
        let executors = self.adapters.executor_names();
        let input = Input::Build { build: build.clone(), input, executors };
        self.input(claim, input).await
    }

    pub(super) async fn release_input(
        &self,
        claim: &Claim,
        release: &ReleaseId,
        input: ReleaseInput,
    ) -> Result<()> {
        self.input(claim, Input::Release { release: release.clone(), input }).await
    }

    async fn input(&self, claim: &Claim, input: Input) -> Result<()> {
        match self.step(&claim.work.service, input, Some(claim)).await {
            Ok(_) => Ok(()),
            Err(error) if overtaken(&error) => {
                tracing::debug!(%error, "overtaken");
                self.store.finish(claim).await
            }
            Err(error) => Err(error),
        }
    }

    async fn promote(&self, claim: &Claim, id: &BuildId) -> Result<()> {
        let Some(build) = self.store.build(id).await? else { return self.store.finish(claim).await };
        // While this build's tags move, no newer build's may: the lock is the service's.
        let lock = self.lock(build.service());
        let guard = lock.lock().await;
        let result = self.move_tags(&build).await;
        drop(guard);
        let input = match result {
            Ok(()) => BuildInput::Promoted(Ok(())),
            Err(error) if self.worth_another_try(claim, &error) => return Err(error),
            Err(error) => {
                let kind = match error.kind() {
                    ErrorKind::Unauthorized | ErrorKind::Forbidden => {
                        FailureKind::RegistryAuthenticationFailed
                    }
                    ErrorKind::Full => FailureKind::DiskFull,
                    _ => FailureKind::PushFailed,
                };
                BuildInput::Promoted(Err(Failure::from_error(Stage::Promote, kind, &error)))
            }
        };
        self.build_input(claim, id, input).await
    }

    async fn move_tags(&self, build: &Build) -> Result<()> {
        let Some(image) = build.image() else { return Ok(()) };
        let input = Input::Build { build: build.id.clone(), input: BuildInput::Tick, executors: Vec::new() };
        let wants = self.wants(build.service(), &input).await?;
        let view = self.store.view(&wants).await?;
        let registry = self.adapters.registry(&image.name)?;
        for tag in tags_to_move(&view, &build.id) {
            registry.tag(&image.name, &tag, &image.digest).await?;
        }
        Ok(())
    }

    async fn deploy(&self, claim: &Claim, id: &ReleaseId) -> Result<()> {
        let Some(release) = self.store.release(id).await? else { return self.store.finish(claim).await };
        // Of a release that is over meanwhile, or somebody else's work now, nothing more is applied.
        let applied = tokio::select! {
            biased;
            applied = self.apply(&release) => applied,
            () = self.held.lost(claim) => return self.hand_back(claim).await,
        };
        let applied = match applied {
            Ok(revision) => Ok(revision),
            Err(error) if self.worth_another_try(claim, &error) => return Err(error),
            Err(error) => Err(runtime_failure(&error)),
        };
        self.release_input(claim, id, ReleaseInput::Applied(applied)).await
    }

    async fn apply(&self, release: &Release) -> Result<Revision> {
        let deployer = self.adapters.deployer(&self.runtime(&release.target).await?)?;
        if let Origin::Rollback(to) = release.origin {
            return deployer.rollback(&release.target, to, &release.id).await;
        }
        deployer.apply(&release.target, &request_of(release)).await
    }

    async fn verify(&self, claim: &Claim, id: &ReleaseId) -> Result<()> {
        let Some(release) = self.store.release(id).await? else { return self.store.finish(claim).await };
        let Some(revision) = release.revision else { return self.store.finish(claim).await };
        match self.settled(claim, &release, revision).await? {
            Some(status) => self.release_input(claim, id, ReleaseInput::Status(status)).await,
            None => Ok(()),
        }
    }

    /// How a rollout came out; `None`: somebody else goes on with it, or nobody needs to, and the work was let go of.
    async fn settled(
        &self,
        claim: &Claim,
        release: &Release,
        revision: Revision,
    ) -> Result<Option<RolloutStatus>> {
        let deployer = self.adapters.deployer(&self.runtime(&release.target).await?)?;
        let mut wait = self.config.rollouts;
        loop {
            match deployer.status(&release.target, revision).await {
                Ok(RolloutStatus::Progressing(text)) => tracing::debug!(%text, "rollout"),
                Ok(settled) => return Ok(Some(settled)),
                // The rollout's own timer ends this.
                Err(error) if error.retry() != Retry::Never => {
                    tracing::warn!(%error, "the rollout could not be looked at")
                }
                Err(error) => return Ok(Some(RolloutStatus::Failed(runtime_failure(&error)))),
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
                () = self.held.lost(claim) => return self.hand_back(claim).await.map(|()| None),
            }
            let now = self.store.release(&release.id).await?;
            if now.is_none_or(|now| now.state != release.state) {
                return self.store.finish(claim).await.map(|()| None);
            }
        }
    }

    async fn go_back(&self, claim: &Claim, id: &ReleaseId, to: Revision) -> Result<()> {
        let Some(release) = self.store.release(id).await? else { return self.store.finish(claim).await };
        let deployer = self.adapters.deployer(&self.runtime(&release.target).await?)?;
        // The release's own id is the failed revision's.
        let own = ReleaseId::derive([release.id.as_str(), "back"]);
        let back = tokio::select! {
            biased;
            back = deployer.rollback(&release.target, to, &own) => back,
            () = self.held.lost(claim) => return self.hand_back(claim).await,
        };
        let result = match back {
            // What was live before is back when it runs, and not when the runtime was told.
            Ok(revision) => match self.settled(claim, &release, revision).await? {
                Some(RolloutStatus::Failed(failure)) => Err(failure),
                Some(_) => Ok(revision),
                None => return Ok(()),
            },
            Err(error) if self.worth_another_try(claim, &error) => return Err(error),
            Err(error) => Err(runtime_failure(&error)),
        };
        self.release_input(claim, id, ReleaseInput::WentBack(result)).await
    }

    /// The runtime that a target is on. A preview stays where it was made, so that all of it is found when it goes.
    pub(super) async fn runtime(&self, target: &DeployTarget) -> Result<String> {
        if let Some(number) = target.preview
            && let Some(preview) = self.previews(&target.service).await?.remove(&number)
            && preview.environment == target.environment
        {
            return Ok(preview.runtime);
        }
        let environments = self.store.environments().await?;
        let found = Environment::find(&environments, &target.service, &target.environment);
        found.map(|environment| environment.runtime).ok_or_else(|| {
            let text = format!("environment `{}` is not registered any more", target.environment);
            Error::not_found("find runtime", text)
        })
    }

    /// The previews of a service that there are, by merge request.
    pub(super) async fn previews(&self, service: &ServiceName) -> Result<BTreeMap<u64, Preview>> {
        let mut wants = Wants::of(service.clone());
        wants.refs.insert(RefKey::Previews);
        let state = self.store.view(&wants).await?.refs.remove(&RefKey::Previews);
        Ok(state.unwrap_or_default().previews)
    }

    /// Takes away all that was released to a preview, however often that takes: what is left over would run for ever.
    async fn remove_preview(&self, claim: &Claim, number: u64) -> Result<()> {
        let removed = self.try_to_remove(claim, number).await;
        removed.map_err(|error| match error.retry() {
            Retry::Never => error.with_retry(Retry::Maybe),
            _ => error,
        })
    }

    async fn try_to_remove(&self, claim: &Claim, number: u64) -> Result<()> {
        let preview = self.previews(&claim.work.service).await?.remove(&number);
        let goes = |preview: &Preview| matches!(preview.state, PreviewState::Removing(_));
        let Some(preview) = preview.filter(goes) else { return self.store.finish(claim).await };
        let removing = async {
            let deployer = self.adapters.deployer(&preview.runtime)?;
            for target in DeployTarget::all_of(&claim.work.service, number, &preview) {
                deployer.remove(&target).await?;
            }
            Ok::<_, Error>(())
        };
        // Once somebody else removes it, something new may be there soon, which this would take away.
        let removed = tokio::select! {
            biased;
            removed = removing => removed,
            () = self.held.lost(claim) => return self.hand_back(claim).await,
        };
        let Err(error) = removed else {
            return self.input(claim, Input::Preview { number, input: PreviewInput::Removed }).await;
        };
        self.note_stuck(&claim.work.service, number, &error).await;
        Err(error)
    }

    /// Says with a preview why it is still there.
    async fn note_stuck(&self, service: &ServiceName, number: u64, error: &Error) {
        let input = Input::Preview { number, input: PreviewInput::Stuck(error.to_string()) };
        if let Err(error) = self.step(service, input, None).await {
            tracing::warn!(%error, "what keeps a preview could not be noted");
        }
    }

    pub(super) fn worth_another_try(&self, claim: &Claim, error: &Error) -> bool {
        error.retry() != Retry::Never && claim.failures + 1 < self.config.tries
    }

    /// The claim was let go of on the way: at shutdown it is still ours, and free for whoever comes next.
    pub(super) async fn hand_back(&self, claim: &Claim) -> Result<()> {
        self.store.give_back(claim, self.clock.now(), "").await
    }

    /// Work that cannot be done is kept aside, and what it was about ends in a state that says so.
    pub(super) async fn set_aside(&self, claim: &Claim, error: &Error) -> Result<()> {
        let reason = error.to_string();
        let service = &claim.work.service;
        let executors = self.adapters.executor_names();
        let input = match &claim.work.effect {
            Effect::Run { build, .. }
            | Effect::Check { build, .. }
            | Effect::Promote { build }
            | Effect::WakeBuild { build } => {
                let input = BuildInput::Quarantine { reason: reason.clone() };
                Some(Input::Build { build: build.clone(), input, executors })
            }
            Effect::Propose { release }
            | Effect::Withdraw { release }
            | Effect::Deploy { release }
            | Effect::Verify { release }
            | Effect::GoBack { release, .. }
            | Effect::WakeRelease { release } => Some(Input::Release {
                release: release.clone(),
                input: ReleaseInput::Quarantine { reason: reason.clone() },
            }),
            _ => None,
        };
        if let Effect::RemovePreview { number, .. } = &claim.work.effect {
            self.note_stuck(service, *number, error).await;
        }
        // First the record is kept: what follows may let go of the work.
        self.store.quarantine(claim, &reason, self.clock.now()).await?;
        if let Some(input) = input
            && let Err(error) = self.step(service, input, None).await
        {
            tracing::error!(%error, "what was set aside could not be marked so");
        }
        let record = claim.work.effect.subject().to_owned();
        let _ = self.events.send(crate::notify::DomainEvent::Quarantined { record, reason });
        Ok(())
    }
}

/// A question with its answer; without one where whoever was asked could not say.
fn answered(question: Question, answer: Result<Answer>) -> Answered {
    let answer = answer.inspect_err(|error| tracing::warn!(%error, "a question stays unanswered")).ok();
    Answered { question, answer }
}

/// A transition that is not possible any more, or a record that is gone.
pub(super) fn overtaken(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && error.retry() == Retry::Never
}

/// What a release asks its runtime for.
pub(super) fn request_of(release: &Release) -> DeployRequest {
    DeployRequest {
        release: release.id.clone(),
        images: release.images.clone(),
        commit: release.commit.clone(),
        requested_by: release.requested_by.clone(),
    }
}

pub(super) fn runtime_failure(error: &Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::Full => FailureKind::DiskFull,
        ErrorKind::Invalid | ErrorKind::Unsupported => FailureKind::SettingsInvalid,
        _ => FailureKind::RuntimeUnavailable,
    };
    Failure::from_error(Stage::Deploy, kind, error)
}
