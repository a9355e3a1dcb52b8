//! Which earlier build's report a check's report is compared with, to tell what is new.

use super::record::{Build, CheckRecord, CheckState};
use crate::access::Trust;
use crate::name::{BranchName, BuildId};
use crate::policy::RefKey;

/// Finds the earlier builds whose report the report of a check is compared with: it is shown a service's builds, the newest first.
///
/// Looked for is the newest earlier build of the same service and component in which the check of the same name ended with a report:
/// 1. for a merge request, one of the branch that it would be merged into;
/// 2. one of the same ref: branch, tag, or merge request;
/// 3. one of the branch that the service tracks: what a new branch begins with.
///
/// Where the check's gate limits what is new, only reports count that its gate let through. A head that came late counts for no
/// branch, and a fork's build for none but its own merge request. A check of what is live is compared with what it found in the same
/// environment.
#[derive(Debug)]
pub struct Baseline<'a> {
    build: &'a Build,
    check: &'a CheckRecord,
    /// The most fitting first, each with the newest build of it.
    places: Vec<(RefKey, Option<BuildId>)>,
}

impl<'a> Baseline<'a> {
    /// What to look for. `targets` are the branches that the merge requests behind the build would be merged into, `tracked` is the
    /// service's own.
    pub fn new(
        build: &'a Build,
        check: &'a CheckRecord,
        targets: impl IntoIterator<Item = BranchName>,
        tracked: Option<&BranchName>,
    ) -> Self {
        let mut places: Vec<(RefKey, Option<BuildId>)> = Vec::new();
        let targets = targets.into_iter().map(RefKey::Branch);
        for place in targets.chain(build.refs(true)).chain(tracked.cloned().map(RefKey::Branch)) {
            if !places.iter().any(|(known, _)| *known == place) {
                places.push((place, None));
            }
        }
        Self { build, check, places }
    }

    /// Looks at one more build. `false`: nothing that fits better can come.
    pub fn look(&mut self, other: &Build) -> bool {
        if self.counts(other) {
            for place in other.refs(false) {
                if let Some((_, found)) = self.places.iter_mut().find(|(known, _)| *known == place) {
                    found.get_or_insert_with(|| other.id.clone());
                }
            }
        }
        self.places.first().is_some_and(|(_, found)| found.is_none())
    }

    /// The builds that were found, each once, the most fitting first: the others are for where its report is gone by now.
    pub fn found(self) -> Vec<BuildId> {
        let mut builds: Vec<BuildId> = Vec::new();
        for build in self.places.into_iter().filter_map(|(_, found)| found) {
            if !builds.contains(&build) {
                builds.push(build);
            }
        }
        builds
    }

    fn counts(&self, other: &Build) -> bool {
        let of_same = other.service() == self.build.service() && other.component() == self.build.component();
        let limits_new = self.check.spec.gate.limits_new();
        let environment = |build: &'_ Build| build.live_checks.as_ref().map(|live| live.environment.clone());
        let reported = |check: &CheckRecord| {
            check.findings.is_some()
                && (check.state == CheckState::Passed || !limits_new)
                && check.is_of_live() == self.check.is_of_live()
                && (!check.is_of_live() || environment(other) == environment(self.build))
        };
        of_same && other.order < self.build.order && other.check(&self.check.spec.name).is_some_and(reported)
    }
}

impl Build {
    /// The refs whose content it is, for comparisons. `late`: also those that had a newer head when it came.
    fn refs(&self, late: bool) -> impl Iterator<Item = RefKey> {
        let asked = self.requesters.iter().filter(move |by| late || !by.late);
        // What a fork calls its branch is the fork's to say.
        asked
            .filter_map(|by| self.ref_of(by))
            .filter(|place| self.identity.trust == Trust::Trusted || matches!(place, RefKey::MergeRequest(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::LiveChecks;
    use crate::build::tests::{at, requester, scope, with_checks};
    use crate::checks::FindingCounts;
    use crate::name::{CommitId, ComponentName, EnvironmentName, ReleaseId};
    use crate::service::{Gate, SeverityLimits};
    use crate::stage::{Failure, FailureKind, Stage};

    /// The `n`th build of these refs. Its check `sca` passed with a report.
    fn build<const N: usize>(n: u8, refs: [RefKey; N]) -> Build {
        let mut build = with_checks(&[("sca", "image")]);
        build.identity.commit = CommitId::parse(format!("{n:02x}").repeat(20)).unwrap();
        (build.id, build.order, build.branch) = (build.identity.id(), u64::from(n), None);
        build.requesters = refs.into_iter().map(requester).collect();
        build.checks[0].state = CheckState::Passed;
        build.checks[0].findings = Some(FindingCounts::default());
        build
    }

    fn branch(name: &str) -> BranchName {
        BranchName::parse(name).unwrap()
    }

    fn request(number: u64) -> RefKey {
        RefKey::MergeRequest(number)
    }

    /// The numbers of those that the last of these is compared with, of a service that tracks `main`.
    #[track_caller]
    fn compared(targets: &[&str], builds: &[&Build]) -> Vec<u64> {
        let (build, earlier) = builds.split_last().unwrap();
        let main = branch("main");
        let targets = targets.iter().map(|name| branch(name));
        let mut baseline = Baseline::new(build, &build.checks[0], targets, Some(&main));
        let mut newest_first = std::iter::once(*build).chain(earlier.iter().rev().copied());
        while newest_first.next().is_some_and(|other| baseline.look(other)) {}
        let order = |id: BuildId| builds.iter().find(|build| build.id == id).unwrap().order;
        baseline.found().into_iter().map(order).collect()
    }

    #[test]
    fn a_branch_is_compared_with_itself_and_a_new_one_with_the_tracked_one() {
        let (one, two, three) =
            (build(1, [scope("main")]), build(2, [scope("main")]), build(3, [scope("main")]));
        assert_eq!(compared(&[], &[&one, &two, &three]), [2]);
        assert_eq!(compared(&[], &[&one]), [0_u64; 0], "the first has none");
        let (first, second) = (build(4, [scope("feature")]), build(5, [scope("feature")]));
        assert_eq!(compared(&[], &[&one, &two, &first]), [2]);
        assert_eq!(compared(&[], &[&one, &two, &first, &second]), [4], "from then on with itself");
        let newer = build(6, [scope("main")]);
        let third = build(7, [scope("feature")]);
        assert_eq!(compared(&[], &[&first, &newer, &third]), [4, 6], "the other where its report is gone");
        assert_eq!(compared(&[], &[&first, &three]), [0_u64; 0], "no other branch");
    }

    #[test]
    fn a_merge_request_is_compared_with_its_target_and_then_with_itself() {
        let release = build(1, [scope("release")]);
        let (first, second) = (build(3, [request(7)]), build(4, [request(7)]));
        let main = build(2, [scope("main")]);
        assert_eq!(compared(&["release"], &[&release, &main, &first, &second]), [1, 3, 2]);
        assert_eq!(compared(&["release"], &[&first, &second]), [3]);
        assert_eq!(compared(&["main"], &[&main, &first]), [2]);
        assert_eq!(compared(&["main"], &[&first, &build(9, [request(8)])]), [0_u64; 0], "no other request");
        let pushed = build(8, [scope("feature"), request(7)]);
        assert_eq!(compared(&["main"], &[&main, &build(5, [scope("feature")]), &pushed]), [2, 5]);
    }

    #[test]
    fn what_is_of_another_component_or_came_later_or_made_no_report_is_passed_over() {
        let one = build(1, [scope("main")]);
        let last = build(9, [scope("main")]);
        let mut other = build(2, [scope("main")]);
        other.identity.component = ComponentName::parse("worker").unwrap();
        let mut silent = build(3, [scope("main")]);
        silent.checks[0].findings = None;
        let mut renamed = build(4, [scope("main")]);
        renamed.checks[0].spec.name = crate::name::CheckName::parse("sast").unwrap();
        let mut late = build(5, [scope("main")]);
        late.requesters[0].late = true;
        let later = build(10, [scope("main")]);
        assert_eq!(compared(&[], &[&one, &other, &silent, &renamed, &late, &later, &last]), [1]);
        let by_hand = Build { branch: Some("main".into()), ..build(6, [RefKey::Manual("n".into())]) };
        assert_eq!(compared(&[], &[&one, &by_hand, &last]), [6], "by hand is of its branch");
    }

    #[test]
    fn a_fork_counts_for_nothing_but_its_own_request() {
        let mut fork = build(1, [request(7), RefKey::Manual("again".into())]);
        (fork.identity.trust, fork.branch) = (Trust::Fork, Some("main".into()));
        assert_eq!(compared(&[], &[&fork, &build(2, [scope("main")])]), [0_u64; 0]);
        let mut again = build(3, [request(7)]);
        again.identity.trust = Trust::Fork;
        assert_eq!(compared(&["main"], &[&fork, &again]), [1]);
    }

    #[test]
    fn a_limit_of_new_findings_compares_with_what_passed() {
        let one = build(1, [scope("main")]);
        let mut stopped = build(2, [scope("main")]);
        let failure = Failure::new(Stage::Scan, FailureKind::CheckFailed, "1 new findings");
        stopped.checks[0].state = CheckState::Failed(failure);
        let mut last = build(3, [scope("main")]);
        assert_eq!(compared(&[], &[&one, &stopped, &last]), [2]);
        let limits = SeverityLimits { new: Some(0), ..SeverityLimits::default() };
        last.checks[0].spec.gate = Gate::Severity(limits);
        assert_eq!(compared(&[], &[&one, &stopped, &last]), [1], "else it would pass when it is built again");
    }

    #[test]
    fn a_check_of_what_is_live_is_compared_with_the_same_environment() {
        let live = |n, environment: &str| {
            let mut build = build(n, [scope("main")]);
            build.checks[0].spec.phase = crate::service::CheckPhase::Deployed;
            let environment = EnvironmentName::parse(environment).unwrap();
            build.live_checks =
                Some(LiveChecks { release: ReleaseId::derive(["r"]), environment, since: at(0) });
            build
        };
        assert_eq!(compared(&[], &[&live(1, "dev"), &live(2, "prod"), &live(3, "dev")]), [1]);
    }
}
