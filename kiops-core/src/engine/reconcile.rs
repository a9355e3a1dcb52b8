//! After a restart: what is stored against what executors have. Pure.

use std::collections::BTreeSet;

use crate::name::RunId;
use crate::run::Observed;

/// The observed runs that no live build stands behind: they are stopped. The others are adopted by whoever claims their work,
/// and a live run that is not observed is lost, which its follower finds by itself.
pub fn orphans<'a>(live: &BTreeSet<RunId>, observed: &'a [Observed]) -> Vec<&'a RunId> {
    observed.iter().map(|one| &one.run).filter(|run| !live.contains(*run)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::BuildId;
    use crate::run::ObservedState;

    #[test]
    fn a_run_of_an_earlier_attempt_is_an_orphan() {
        let build = BuildId::derive(["x"]);
        let live = BTreeSet::from([RunId::of_build(&build, 2)]);
        let observed: Vec<Observed> = [1, 2]
            .map(|attempt| Observed { run: RunId::of_build(&build, attempt), state: ObservedState::Running })
            .into();
        assert_eq!(orphans(&live, &observed), [&RunId::of_build(&build, 1)]);
    }
}
