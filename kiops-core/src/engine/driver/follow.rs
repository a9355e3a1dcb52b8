//! Starting runs and following them to their end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::perform::overtaken;
use super::runs::Runner;
use super::{Shared, backoff, later};
use crate::build::{Build, BuildExecutor, BuildInput, BuildOutput, CheckRecord};
use crate::checks::{CheckJob, CheckRunner, Reported};
use crate::engine::step::Input;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::image::ImageAccess;
use crate::name::{BuildId, CheckName, EnvironmentName, RunId, SecretName};
use crate::provider::linked_file;
use crate::run::{ProviderSource, RunEvent, RunInputs, RunOutcome, RunReports};
use crate::service::Environment;
use crate::stage::{Failure, FailureKind, Stage};
use crate::store::Claim;

/// The largest Dockerfile that is read to ask an executor whether it takes it.
pub(super) const DOCKERFILE_MAX: usize = 1 << 20;

/// How often a log for which there is no room is tried: room seldom comes by itself.
const FULL_TRIES: u32 = 3;

/// What a run is followed for.
struct Place<'a> {
    runner: Runner<'a>,
    /// The check that it is; `None`: it is the build itself.
    check: Option<&'a CheckName>,
}

impl Place<'_> {
    fn input(&self, run: &RunId, event: RunEvent) -> BuildInput {
        self.reported(run, event, Reported::Nothing)
    }

    /// The same of a check that is over, with what became of its report.
    fn reported(&self, run: &RunId, event: RunEvent, reported: Reported) -> BuildInput {
        match self.check {
            None => BuildInput::Report { run: run.clone(), event },
            Some(check) => BuildInput::Check { run: run.clone(), check: check.clone(), event, reported },
        }
    }
}

impl Shared {
    pub(super) async fn follow_build(
        &self,
        claim: &Claim,
        id: &BuildId,
        run: &RunId,
        executor: &str,
    ) -> Result<()> {
        let is_current = |build: &Build| !build.is_over() && build.run() == *run;
        let Some(build) = self.current(claim, id, is_current).await? else { return Ok(()) };
        let finished = |outcome| BuildInput::Report { run: run.clone(), event: RunEvent::Finished(outcome) };
        let Some(executor) = self.adapters.executor(executor) else {
            let failure = Failure::new(
                Stage::Setup,
                FailureKind::ExecutorUnavailable,
                format!("`{executor}` is not registered any more"),
            );
            return self.build_input(claim, id, finished(RunOutcome::Refused(failure))).await;
        };
        let place = Place { runner: Runner::Builds(executor), check: None };
        if claim.claimed_before > 0 {
            // Somebody had it before: this process in an earlier life, or another one. Only what still runs is adopted.
            if !place.runner.knows(run).await? {
                return self.build_input(claim, id, BuildInput::LostByUs { run: run.clone() }).await;
            }
        } else if let Err(stop) = self.start_build(&build, run, executor).await {
            let input = match stop {
                Stop::Failed(failure) => finished(RunOutcome::Failed(failure)),
                Stop::Refused(failure) => finished(RunOutcome::Refused(failure)),
                Stop::Later(error) => {
                    let wait = backoff(build.attempt + 3).max(Duration::from_secs(2));
                    BuildInput::Postpone { until: later(self.clock.now(), wait), reason: error.to_string() }
                }
            };
            return self.build_input(claim, id, input).await;
        }
        // It may have been canceled while it was being started: then it must not go on.
        if self.current_build(id).await?.is_none_or(|build| build.is_over() || build.run() != *run) {
            executor.cancel(run).await?;
            executor.forget(run).await?;
            return self.store.finish(claim).await;
        }
        self.follow(claim, id, run, &place).await
    }

    pub(super) async fn follow_check(
        &self,
        claim: &Claim,
        id: &BuildId,
        name: &CheckName,
        run: &RunId,
    ) -> Result<()> {
        let Some(build) = self.current(claim, id, |build| build.check_goes_on(run)).await? else {
            return Ok(());
        };
        let finished = |outcome| BuildInput::Check {
            run: run.clone(),
            check: name.clone(),
            event: RunEvent::Finished(outcome),
            reported: Reported::Nothing,
        };
        let stage = build.check(name).map_or(Stage::Test, |check| check.spec.stage);
        let Some(runner) = &self.adapters.runner else {
            let failure =
                Failure::new(stage, FailureKind::ExecutorUnavailable, "no check runner is registered");
            return self.build_input(claim, id, finished(RunOutcome::Failed(failure))).await;
        };
        let place = Place { runner: Runner::Checks(runner), check: Some(name) };
        if claim.claimed_before > 0 {
            if !place.runner.knows(run).await? {
                return self.build_input(claim, id, BuildInput::LostByUs { run: run.clone() }).await;
            }
        } else if let Err(stop) = self.start_check(&build, name, run, runner).await {
            let outcome = match stop {
                Stop::Failed(failure) | Stop::Refused(failure) => RunOutcome::Failed(failure),
                Stop::Later(error) => RunOutcome::Lost { reason: error.to_string() },
            };
            return self.build_input(claim, id, finished(outcome)).await;
        }
        // It may have been canceled while it was being started: then it must not go on.
        if self.current_build(id).await?.is_none_or(|build| !build.check_goes_on(run)) {
            runner.cancel(run).await?;
            runner.forget(run).await?;
            return self.store.finish(claim).await;
        }
        self.follow(claim, id, run, &place).await
    }

    /// The build, if this run is still the one it is at; else the claim is done.
    async fn current(
        &self,
        claim: &Claim,
        id: &BuildId,
        is: impl Fn(&Build) -> bool,
    ) -> Result<Option<Build>> {
        match self.current_build(id).await? {
            Some(build) if is(&build) => Ok(Some(build)),
            _ => {
                self.store.finish(claim).await?;
                Ok(None)
            }
        }
    }

    async fn current_build(&self, id: &BuildId) -> Result<Option<Build>> {
        self.store.build(id).await
    }

    async fn start_build(
        &self,
        build: &Build,
        run: &RunId,
        executor: &Arc<dyn BuildExecutor>,
    ) -> Result<(), Stop> {
        let spec = &build.spec;
        let provider = self.adapters.provider(&spec.provider).map_err(|error| settings(&error))?;
        let file =
            linked_file(provider.as_ref(), &spec.repository, &spec.commit, &spec.dockerfile, DOCKERFILE_MAX);
        let file = file.await;
        let dockerfile = match file {
            Ok(Some(bytes)) => String::from_utf8(bytes.to_vec()).map_err(|_| {
                Stop::Failed(Failure::new(
                    Stage::Setup,
                    FailureKind::DockerfileInvalid,
                    format!("{} is not UTF-8", spec.dockerfile),
                ))
            })?,
            Ok(None) => {
                return Err(Stop::Failed(Failure::new(
                    Stage::Setup,
                    FailureKind::DockerfileNotFound,
                    &spec.dockerfile,
                )));
            }
            Err(error) => return Err(clone_failure(&error)),
        };
        executor.accepts(spec, &dockerfile).map_err(Stop::Refused)?;
        let inputs = self.inputs(build, spec.secrets.iter()).await?;
        executor.start(run, spec, inputs).await.map_err(|error| match error.retry() {
            Retry::Never => {
                Stop::Failed(Failure::from_error(Stage::Setup, FailureKind::ExecutorUnavailable, &error))
            }
            _ => Stop::Later(error),
        })
    }

    async fn start_check(
        &self,
        build: &Build,
        name: &CheckName,
        run: &RunId,
        runner: &Arc<dyn CheckRunner>,
    ) -> Result<(), Stop> {
        let Some(check) = build.check(name) else {
            return Err(Stop::Failed(Failure::new(
                Stage::Test,
                FailureKind::SettingsInvalid,
                format!("no check `{name}`"),
            )));
        };
        let live = self.place_of_live(build, check).await?;
        let (environment, url) = live.map_or((None, None), |(environment, url)| (Some(environment), url));
        let job = CheckJob {
            build: build.id.clone(),
            service: build.service().clone(),
            check: check.spec.clone(),
            provider: build.spec.provider.clone(),
            repository: build.spec.repository.clone(),
            commit: build.commit().clone(),
            image: build.image(),
            environment,
            url,
        };
        let given = self.may_have_secrets(build, job.environment.as_ref()).await?;
        let mut inputs = self.inputs(build, check.spec.secrets.iter().filter(|_| given)).await?;
        // A check pushes nothing.
        inputs.push = None;
        runner.start(run, &job, inputs).await.map_err(|error| match error.retry() {
            Retry::Never => {
                Stop::Failed(Failure::from_error(check.spec.stage, FailureKind::ExecutorUnavailable, &error))
            }
            _ => Stop::Later(error),
        })
    }

    /// Whether a check that looks there is given its secrets: it shows them to what runs there, and nobody has reviewed what runs in a
    /// preview.
    async fn may_have_secrets(
        &self,
        build: &Build,
        environment: Option<&EnvironmentName>,
    ) -> Result<bool, Stop> {
        let Some(name) = environment else { return Ok(true) };
        let environments = self.store.environments().await.map_err(Stop::Later)?;
        let found = Environment::find(&environments, build.service(), name);
        if found.is_some_and(|found| found.preview.is_none()) {
            return Ok(true);
        }
        let service = self.store.service(build.service()).await.map_err(Stop::Later)?;
        let previews = service.and_then(|service| service.value.settings.deploy.previews);
        Ok(previews.is_some_and(|previews| previews.secrets))
    }

    /// Where a check of what is live looks, and where that is reached.
    async fn place_of_live(
        &self,
        build: &Build,
        check: &CheckRecord,
    ) -> Result<Option<(EnvironmentName, Option<String>)>, Stop> {
        let Some(live) = build.live_checks.as_ref().filter(|_| check.is_of_live()) else { return Ok(None) };
        let environments = self.store.environments().await.map_err(Stop::Later)?;
        let environment = Environment::find(&environments, build.service(), &live.environment);
        let url = environment.and_then(|known| known.url_of(build.service(), build.component()));
        if url.is_none() && check.spec.command.iter().any(|word| word.contains("{url}")) {
            let text = format!(
                "checks.{}.command: `{{url}}` stands for nothing: environment `{}` has no `url`; set it (for previews with `{{namespace}}` in it), or write the address itself",
                check.spec.name, live.environment
            );
            return Err(Stop::Failed(Failure::new(check.spec.stage, FailureKind::SettingsInvalid, text)));
        }
        Ok(Some((live.environment.clone(), url)))
    }

    /// What a run needs and no store may keep.
    async fn inputs<'a>(
        &self,
        build: &Build,
        secrets: impl Iterator<Item = (&'a String, &'a SecretName)> + Send,
    ) -> Result<RunInputs, Stop> {
        let provider = self.adapters.provider(&build.spec.provider).map_err(|error| settings(&error))?;
        let source =
            ProviderSource::new(Arc::clone(provider), build.spec.repository.clone(), build.commit().clone());
        let mut resolved = std::collections::BTreeMap::new();
        for (id, name) in secrets {
            let secret = self.adapters.secret(name).await.map_err(|error| match error.retry() {
                Retry::Never => settings(&error),
                _ => Stop::Later(error),
            })?;
            resolved.insert(id.clone(), secret);
        }
        let (mut pull, mut push) = (Vec::new(), None);
        if let BuildOutput::Push { image, .. } = &build.spec.output {
            let registry = self.adapters.registry(image).map_err(|error| settings(&error))?;
            push = registry.credential(image, ImageAccess::Push).await.map_err(registry_failure)?;
            pull.extend(registry.credential(image, ImageAccess::Pull).await.map_err(registry_failure)?);
        }
        Ok(RunInputs { source: Arc::new(source), pull, push, secrets: resolved })
    }

    async fn follow(&self, claim: &Claim, id: &BuildId, run: &RunId, place: &Place<'_>) -> Result<()> {
        let mut follower = Follower { seen: 0, last_sign: None };
        let mut failures = 0;
        loop {
            let ended = tokio::select! {
                biased;
                () = self.held.lost(claim) => return self.hand_back(claim).await,
                ended = self.follow_once(claim, id, run, place, &mut follower) => ended,
            };
            let error = match ended {
                Ok(true) => return Ok(()),
                Ok(false) => None,
                Err(error) if error.retry() == Retry::Never => return Err(error),
                Err(error) => Some(error),
            };
            failures = if error.is_some() { failures + 1 } else { 0 };
            if let Some(error) = error {
                tracing::warn!(%error, failures, "the run's reports were interrupted");
                if failures > self.config.tries || (is_full(&error) && failures >= FULL_TRIES) {
                    return self.give_up(claim, id, run, place, &error).await;
                }
            }
            tokio::time::sleep(backoff(failures)).await;
        }
    }

    /// A run whose reports cannot be taken in any more: it is lost, unless there is no room for its log.
    async fn give_up(
        &self,
        claim: &Claim,
        id: &BuildId,
        run: &RunId,
        place: &Place<'_>,
        error: &Error,
    ) -> Result<()> {
        let outcome = if is_full(error) {
            let stage_of = |build: Build| match place.check.and_then(|name| build.check(name)) {
                Some(check) => check.spec.stage,
                None => build.stage(),
            };
            let stage = self.current_build(id).await?.map_or(Stage::Build, stage_of);
            RunOutcome::Failed(Failure::from_error(stage, FailureKind::DiskFull, error))
        } else {
            RunOutcome::Lost { reason: format!("its reports cannot be taken in: {error}") }
        };
        self.build_input(claim, id, place.input(run, RunEvent::Finished(outcome))).await?;
        // Only now: if the store is what is full, the run goes on, and so does whoever follows it next.
        if let Err(error) = place.runner.cancel(run).await {
            tracing::warn!(%error, "a run that nobody follows any more could not be stopped");
        }
        Ok(())
    }

    /// Follows the reports until the run is over (`true`), the reports break off (`false`), or something fails.
    async fn follow_once(
        &self,
        claim: &Claim,
        id: &BuildId,
        run: &RunId,
        place: &Place<'_>,
        follower: &mut Follower,
    ) -> Result<bool> {
        let mut reports = place.runner.reports(run, follower.seen).await?;
        while let Some(report) = next(&mut reports).await {
            let report = report?;
            if report.n <= follower.seen && report.event != RunEvent::Alive {
                continue;
            }
            match report.event {
                RunEvent::Finished(mut outcome) => {
                    let reported = match place.check {
                        Some(check) => self.take_in_report(id, check, run, &mut outcome).await?,
                        None => Reported::Nothing,
                    };
                    let input = place.reported(run, RunEvent::Finished(outcome), reported);
                    self.build_input(claim, id, input).await?;
                    return Ok(true);
                }
                RunEvent::Lines(lines) => {
                    self.logs.append(id, run.as_str(), lines).await?;
                    if !self.sign(id, run, place, follower).await? {
                        self.store.finish(claim).await?;
                        return Ok(true);
                    }
                }
                RunEvent::Alive => {
                    if !self.sign(id, run, place, follower).await? {
                        self.store.finish(claim).await?;
                        return Ok(true);
                    }
                }
                event @ (RunEvent::Stage(_) | RunEvent::Step { .. }) => {
                    follower.last_sign = Some(Instant::now());
                    if !self.tell(id, place.input(run, event), &claim.work.service).await? {
                        self.store.finish(claim).await?;
                        return Ok(true);
                    }
                }
            }
            follower.seen = follower.seen.max(report.n);
        }
        Ok(false)
    }

    /// Stores a sign of life, not more often than the configuration says. `false`: the build is past this run.
    async fn sign(
        &self,
        id: &BuildId,
        run: &RunId,
        place: &Place<'_>,
        follower: &mut Follower,
    ) -> Result<bool> {
        if follower.last_sign.is_some_and(|last| last.elapsed() < self.config.signs) {
            return Ok(true);
        }
        follower.last_sign = Some(Instant::now());
        let service = match self.store.build(id).await? {
            Some(build) => build.service().clone(),
            None => return Ok(false),
        };
        self.tell(id, place.input(run, RunEvent::Alive), &service).await
    }

    /// One report to the build. `false`: the build is past this run.
    async fn tell(
        &self,
        id: &BuildId,
        input: BuildInput,
        service: &crate::name::ServiceName,
    ) -> Result<bool> {
        let input = Input::Build { build: id.clone(), input, executors: Vec::new() };
        match self.step(service, input, None).await {
            Ok(_) => Ok(true),
            Err(error) if overtaken(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

struct Follower {
    /// The number of the last report that was taken in.
    seen: u64,
    last_sign: Option<Instant>,
}

/// Why a run did not start.
enum Stop {
    Failed(Failure),
    Refused(Failure),
    Later(Error),
}

fn settings(error: &Error) -> Stop {
    Stop::Failed(Failure::from_error(Stage::Setup, FailureKind::SettingsInvalid, error))
}

fn is_full(error: &Error) -> bool {
    error.kind() == ErrorKind::Full
}

fn clone_failure(error: &Error) -> Stop {
    let kind = match error.kind() {
        ErrorKind::Full => FailureKind::DiskFull,
        ErrorKind::NotFound => FailureKind::CommitNotFound,
        ErrorKind::TooLarge => FailureKind::DockerfileInvalid,
        _ => FailureKind::GitCloneFailed,
    };
    Stop::Failed(Failure::from_error(Stage::Setup, kind, error))
}

fn registry_failure(error: Error) -> Stop {
    match error.retry() {
        Retry::Never => {
            Stop::Failed(Failure::from_error(Stage::Push, FailureKind::RegistryAuthenticationFailed, &error))
        }
        _ => Stop::Later(error),
    }
}

async fn next(reports: &mut RunReports) -> Option<Result<crate::run::RunReport>> {
    std::future::poll_fn(|context| Pin::as_mut(reports).poll_next(context)).await
}
