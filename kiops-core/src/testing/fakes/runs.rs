//! Executors and check runners whose runs follow a script and take virtual time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::super::Chaos;
use super::FakeRegistry;
use crate::build::{BuildExecutor, BuildOutput, BuildSpec};
use crate::checks::{CheckJob, CheckRunner};
use crate::error::Result;
use crate::log::NewLine;
use crate::name::RunId;
use crate::run::{
    Observed, ObservedState, RunEvent, RunInputs, RunOutcome, RunReport, RunReports, RunResult,
};
use crate::stage::{Failure, Stage};

/// What a run does.
#[derive(Debug, Clone)]
pub struct RunScript {
    /// How long each of its steps takes.
    pub step: Duration,
    /// How many steps it has.
    pub steps: u32,
    /// How it ends; `None`: with success.
    pub end: Option<RunOutcome>,
}

impl Default for RunScript {
    fn default() -> Self {
        Self { step: Duration::from_secs(5), steps: 4, end: None }
    }
}

/// Runs that go on by themselves. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Runs(Arc<Mutex<BTreeMap<RunId, Run>>>);

#[derive(Debug)]
struct Run {
    reports: watch::Sender<Vec<RunReport>>,
    task: AbortHandle,
}

impl Runs {
    /// What an in-process executor forgets when its process ends.
    pub fn forget_all(&self) {
        for (_, run) in std::mem::take(&mut *self.map()) {
            run.task.abort();
        }
    }

    /// How many runs go on.
    pub fn running(&self) -> usize {
        self.map().values().filter(|run| !is_over(&run.reports.borrow())).count()
    }

    /// Starts a run whose steps are setup, then some that work, and the one that ends it, in these stages.
    fn start(
        &self,
        id: &RunId,
        script: RunScript,
        [works, ends]: [Stage; 2],
        finish: impl FnOnce() -> RunOutcome + Send + 'static,
    ) {
        let mut runs = self.map();
        if runs.contains_key(id) {
            return;
        }
        let (reports, _) = watch::channel(Vec::new());
        let writer = reports.clone();
        let task = tokio::spawn(async move {
            let tell = |event| {
                writer.send_modify(|all: &mut Vec<RunReport>| {
                    if !is_over(all) {
                        all.push(RunReport { n: all.len() as u64 + 1, event });
                    }
                });
            };
            tell(RunEvent::Stage(Stage::Setup));
            for at in 0..script.steps {
                let stage = match at {
                    0 => Stage::Setup,
                    at if at + 1 == script.steps => ends,
                    _ => works,
                };
                tell(RunEvent::Stage(stage));
                tell(RunEvent::Step { n: at + 1, of: script.steps });
                tell(RunEvent::Lines(vec![NewLine {
                    // Setup's stage comes first, and each step has a stage, a number and a line.
                    n: u64::from(at) * 3 + 4,
                    at: Timestamp::UNIX_EPOCH,
                    stage,
                    text: format!("step {}", at + 1),
                }]));
                tokio::time::sleep(script.step).await;
            }
            // Whoever cancels waits for it, or comes first: nothing is pushed after a cancel.
            writer.send_modify(|all| {
                if !is_over(all) {
                    let event = RunEvent::Finished(script.end.unwrap_or_else(finish));
                    all.push(RunReport { n: all.len() as u64 + 1, event });
                }
            });
        });
        runs.insert(id.clone(), Run { reports, task: task.abort_handle() });
    }

    fn reports(&self, id: &RunId, after: u64) -> RunReports {
        let Some(receiver) = self.map().get(id).map(|run| run.reports.subscribe()) else {
            let outcome = RunOutcome::Lost { reason: "the executor has no such run".into() };
            let lost = RunReport { n: after + 1, event: RunEvent::Finished(outcome) };
            return Box::pin(stream::iter([Ok(lost)]));
        };
        Box::pin(stream::unfold((receiver, after), |(mut receiver, after)| async move {
            let next = {
                // Nothing comes after the outcome.
                let all = receiver.wait_for(|all| all.len() as u64 > after || is_over(all)).await.ok()?;
                all.get(usize::try_from(after).ok()?)?.clone()
            };
            let n = next.n;
            Some((Ok(next), (receiver, n)))
        }))
    }

    fn cancel(&self, id: &RunId) {
        if let Some(run) = self.map().get(id) {
            run.task.abort();
            run.reports.send_modify(|all| {
                if !is_over(all) {
                    all.push(RunReport {
                        n: all.len() as u64 + 1,
                        event: RunEvent::Finished(RunOutcome::Canceled),
                    });
                }
            });
        }
    }

    fn observed(&self) -> Vec<Observed> {
        let state = |run: &Run| {
            if is_over(&run.reports.borrow()) { ObservedState::Finished } else { ObservedState::Running }
        };
        self.map().iter().map(|(id, run)| Observed { run: id.clone(), state: state(run) }).collect()
    }

    fn forget(&self, id: &RunId) {
        let mut runs = self.map();
        if runs.get(id).is_some_and(|run| is_over(&run.reports.borrow())) {
            runs.remove(id);
        }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunId, Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_over(reports: &[RunReport]) -> bool {
    reports.last().is_some_and(|report| matches!(report.event, RunEvent::Finished(_)))
}

type Scripts<Job> = Arc<dyn Fn(&Job) -> RunScript + Send + Sync>;

/// A build executor that follows scripts and pushes to a fake registry.
#[derive(Clone)]
pub struct FakeExecutor {
    name: String,
    runs: Runs,
    script: Scripts<BuildSpec>,
    registry: FakeRegistry,
    chaos: Chaos,
}

impl fmt::Debug for FakeExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeExecutor").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FakeExecutor {
    /// An executor of this name whose runs do what `script` says of their spec.
    pub fn new(
        name: &str,
        runs: Runs,
        registry: FakeRegistry,
        chaos: Chaos,
        script: impl Fn(&BuildSpec) -> RunScript + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), runs, script: Arc::new(script), registry, chaos }
    }
}

#[async_trait]
impl BuildExecutor for FakeExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn accepts(&self, _: &BuildSpec, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn start(&self, run: &RunId, spec: &BuildSpec, _: RunInputs) -> Result<()> {
        self.chaos
            .around("start run", async {
                let (registry, spec, script) = (self.registry.clone(), spec.clone(), (self.script)(spec));
                self.runs.start(run, script, [Stage::Build, Stage::Push], move || {
                    let digest = match &spec.output {
                        BuildOutput::Push { image, tag } => {
                            Some(registry.push(image, tag, spec.commit.as_str()))
                        }
                        BuildOutput::Discard => None,
                    };
                    RunOutcome::Succeeded(RunResult { digest, ..RunResult::default() })
                });
                Ok(())
            })
            .await
    }

    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports> {
        self.chaos.around("read reports", async { Ok(self.runs.reports(run, after)) }).await
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        self.chaos
            .around("cancel run", async {
                self.runs.cancel(run);
                Ok(())
            })
            .await
    }

    async fn observed(&self) -> Result<Vec<Observed>> {
        self.chaos.around("observe runs", async { Ok(self.runs.observed()) }).await
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        self.chaos
            .around("forget run", async {
                self.runs.forget(run);
                Ok(())
            })
            .await
    }
}

/// A check runner that follows scripts.
#[derive(Clone)]
pub struct FakeRunner {
    runs: Runs,
    script: Scripts<CheckJob>,
    chaos: Chaos,
}

impl fmt::Debug for FakeRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeRunner").field("runs", &self.runs).finish_non_exhaustive()
    }
}

impl FakeRunner {
    /// A runner whose runs do what `script` says of their job.
    pub fn new(
        runs: Runs,
        chaos: Chaos,
        script: impl Fn(&CheckJob) -> RunScript + Send + Sync + 'static,
    ) -> Self {
        Self { runs, script: Arc::new(script), chaos }
    }
}

#[async_trait]
impl CheckRunner for FakeRunner {
    fn name(&self) -> &str {
        "fake"
    }

    async fn start(&self, run: &RunId, job: &CheckJob, _: RunInputs) -> Result<()> {
        let success = || RunOutcome::Succeeded(RunResult::default());
        self.chaos
            .around("start check", async {
                self.runs.start(run, (self.script)(job), [job.check.stage; 2], success);
                Ok(())
            })
            .await
    }

    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports> {
        self.chaos.around("read check", async { Ok(self.runs.reports(run, after)) }).await
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        self.chaos
            .around("cancel check", async {
                self.runs.cancel(run);
                Ok(())
            })
            .await
    }

    async fn observed(&self) -> Result<Vec<Observed>> {
        self.chaos.around("observe checks", async { Ok(self.runs.observed()) }).await
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        self.chaos
            .around("forget check", async {
                self.runs.forget(run);
                Ok(())
            })
            .await
    }
}
