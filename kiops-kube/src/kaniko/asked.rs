//! What is looked at before a build is started, and what is kept of it until then.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use kiops_core::build::BuildSpec;
use kiops_core::name::BuildId;
use kiops_core::stage::Failure;

use super::dockerfile;
use crate::build::accepts_target;

/// Of so many builds that were asked about and not started yet it is known how many steps they have.
const ASKED_MAX: usize = 1024;

/// How many steps builds have that were asked about: only `accepts` is shown the Dockerfile, and only `start` makes the object that keeps
/// how many steps it has.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    steps: Mutex<VecDeque<(BuildId, Option<u32>)>>,
}

impl Asked {
    /// Refuses what Kaniko would pass over, and remembers how many steps the rest has.
    pub(crate) fn accepts(&self, spec: &BuildSpec, dockerfile: &str) -> Result<(), Failure> {
        if let Some(failure) = dockerfile::refused(dockerfile) {
            return Err(failure);
        }
        accepts_target(spec)?;
        self.remember(&spec.build, dockerfile::steps(dockerfile));
        Ok(())
    }

    /// How many steps a build has, if that is known.
    pub(crate) fn steps(&self, build: &BuildId) -> Option<u32> {
        let asked = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().find(|(known, _)| known == build).and_then(|(_, steps)| *steps)
    }

    fn remember(&self, build: &BuildId, steps: Option<u32>) {
        let mut asked = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|(known, _)| known != build);
        if asked.len() >= ASKED_MAX {
            asked.pop_front();
        }
        asked.push_back((build.clone(), steps));
    }
}
