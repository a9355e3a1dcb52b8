//! Releases that people are asked about outside, and what must become of them.

use super::super::chaos::Draw;
use super::World;
use crate::name::ReleaseId;
use crate::release::{Release, ReleaseState};
use crate::service::{Component, Target};

/// The people of a world. What they say is drawn apart, so that worlds in which nobody is asked stay what they were.
#[derive(Debug)]
pub(super) struct People {
    draw: Draw,
    /// Whether one of them ever said no.
    pub(super) said_no: bool,
}

impl People {
    pub(super) const fn of_seed(seed: u64) -> Self {
        Self { draw: Draw::new(seed ^ 0x9e01), said_no: false }
    }
}

/// A component whose releases are merge requests.
pub(super) fn component() -> Component {
    let file = serde_json::json!({
        "type": "git_file", "provider": "fake", "repository": {"path": "team/deploy"}, "branch": "main",
        "path": "site.yaml", "container": "main", "by": "merge_request",
    });
    let runs: Target = serde_json::from_value(file).expect("a target");
    Component { runs: Some(runs), ..Component::default() }
}

impl World {
    /// Some of those who are asked answer, mostly yes.
    pub(super) fn some_answer(&mut self) {
        for release in self.deployer.proposed() {
            match self.people.draw.below(8) {
                0 => self.says(&release, false),
                1..=3 => self.says(&release, true),
                _ => {}
            }
        }
    }

    /// Everybody who is still asked says yes.
    pub(super) fn all_say_yes(&self) {
        for release in self.deployer.proposed() {
            self.deployer.answer(&release, true);
        }
    }

    fn says(&mut self, release: &ReleaseId, yes: bool) {
        self.people.said_no |= !yes;
        self.deployer.answer(release, yes);
    }

    /// Nobody is asked about what is over, and nothing went live that nobody accepted.
    pub(super) fn check_proposals(&self, seed: u64, releases: &[Release]) {
        let open = self.deployer.proposed();
        assert!(open.is_empty(), "seed {seed}: people are still asked about {open:?}");
        for release in releases.iter().filter(|release| release.state == ReleaseState::Live) {
            assert!(
                self.deployer.was_accepted(&release.id),
                "seed {seed}: {} went live, and nobody accepted it",
                release.id
            );
        }
    }
}
