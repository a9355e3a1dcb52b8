//! The stages of the one pipeline, how far it is, and how it fails.

mod failure;

pub use failure::{Blame, Failure, FailureKind};

use serde::{Deserialize, Serialize};

/// A stage of the pipeline, in order: setup -> build -> push -> scan -> test -> release -> deploy (settled 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Fetching the source at its commit (K37's "Clone").
    Setup,
    /// Building the image.
    Build,
    /// Pushing the candidate tag.
    Push,
    /// Scanning source or image.
    Scan,
    /// Testing the pushed image.
    Test,
    /// Moving the other tags to the tested digest. In logs and JSON this stage is `release`.
    #[serde(rename = "release")]
    Promote,
    /// Bringing the image to an environment.
    Deploy,
}

impl Stage {
    /// Every stage in order.
    pub const ALL: [Self; 7] =
        [Self::Setup, Self::Build, Self::Push, Self::Scan, Self::Test, Self::Promote, Self::Deploy];

    /// The word in logs (`[release]`) and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Build => "build",
            Self::Push => "push",
            Self::Scan => "scan",
            Self::Test => "test",
            Self::Promote => "release",
            Self::Deploy => "deploy",
        }
    }

    /// The share of the progress bar, from and to, in percent.
    const fn span(self) -> (u8, u8) {
        match self {
            Self::Setup => (0, 10),
            Self::Build => (10, 60),
            Self::Push => (60, 75),
            Self::Scan => (75, 80),
            Self::Test => (80, 85),
            Self::Promote => (85, 90),
            Self::Deploy => (90, 100),
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// How far a build is, 0 to 100. It never falls, whatever order reports arrive in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Progress(u8);

impl Progress {
    /// Nothing done yet.
    pub const START: Self = Self(0);
    /// All done.
    pub const DONE: Self = Self(100);

    /// Percent.
    pub const fn percent(self) -> u8 {
        self.0
    }

    /// The progress at step `n` of `of` in a stage, or at its beginning where there are no steps.
    pub fn at(stage: Stage, n: u32, of: u32) -> Self {
        let (from, to) = stage.span();
        let share = if of == 0 { 0 } else { u64::from(to - from) * u64::from(n.min(of)) / u64::from(of) };
        Self(from.saturating_add(u8::try_from(share).unwrap_or(0)).min(100))
    }

    /// The further of the two.
    #[must_use]
    pub fn raised_to(self, other: Self) -> Self {
        self.max(other)
    }
}

impl TryFrom<u8> for Progress {
    type Error = crate::Error;
    fn try_from(percent: u8) -> Result<Self, Self::Error> {
        if percent > 100 {
            return Err(crate::Error::invalid("parse progress", format!("{percent} is above 100")));
        }
        Ok(Self(percent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_cover_the_bar_without_gaps() {
        let mut reached = 0;
        for stage in Stage::ALL {
            let (from, to) = stage.span();
            assert_eq!(from, reached);
            reached = to;
        }
        assert_eq!(reached, 100);
    }

    #[test]
    fn steps_move_within_their_stage() {
        assert_eq!(Progress::at(Stage::Build, 0, 0).percent(), 10);
        assert_eq!(Progress::at(Stage::Build, 4, 8).percent(), 35);
        assert_eq!(Progress::at(Stage::Build, 99, 8).percent(), 60);
        assert_eq!(Progress::at(Stage::Deploy, u32::MAX, 1).percent(), 100);
    }
}
