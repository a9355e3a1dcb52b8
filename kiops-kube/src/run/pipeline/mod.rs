//! A run as a PipelineRun of Tekton's: its objects, and how it stands. Pure.

pub(crate) mod phase;
pub(crate) mod pipeline_run;
mod render;

pub(crate) use pipeline_run::{PipelineRun, TaskRun};
pub(super) use render::rendered;
