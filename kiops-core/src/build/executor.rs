//! The trait of whatever builds images.

use async_trait::async_trait;

use super::BuildSpec;
use crate::error::Result;
use crate::name::RunId;
use crate::run::{Observed, RunInputs, RunReports};
use crate::stage::Failure;

/// Builds images: Kaniko on Kubernetes, a Docker Engine, the in-process assembler.
///
/// # Guarantees
/// - `start` is idempotent by run id: a second call finds the first's run, whether it still goes on or is over.
/// - A run goes on without anybody reading its reports; reports are kept until `forget`, and the last one is `Finished`.
/// - After `cancel` has returned, the run's outcome is settled and nothing more of it reaches a registry.
/// - Secrets and credentials from the inputs appear in no report.
///
/// A run that the executor does not know ends at once with [`crate::run::RunOutcome::Lost`]: an in-process executor after a restart, a Job that was deleted.
#[async_trait]
pub trait BuildExecutor: Send + Sync + std::fmt::Debug {
    /// Its name, for slots and messages (`kaniko`, `assembler`).
    fn name(&self) -> &str;

    /// Whether it can build this Dockerfile, told before anything is started; the refusal says what stands in the way and what to use instead.
    fn accepts(&self, spec: &BuildSpec, dockerfile: &str) -> Result<(), Failure>;

    /// Starts a run. It has started when this returns; how it goes is told by `reports`. An error means that nothing was started.
    async fn start(&self, run: &RunId, spec: &BuildSpec, inputs: RunInputs) -> Result<()>;

    /// The reports numbered above `after`, as they come, up to `Finished`.
    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports>;

    /// Stops a run. One that is over, or not known, is no error.
    async fn cancel(&self, run: &RunId) -> Result<()>;

    /// Every run that the executor knows of.
    async fn observed(&self) -> Result<Vec<Observed>>;

    /// Lets go of a finished run's reports and leftovers. Idempotent.
    async fn forget(&self, run: &RunId) -> Result<()>;
}
