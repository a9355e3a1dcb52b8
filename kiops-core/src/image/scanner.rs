//! A registry that looks for known vulnerabilities in what it keeps.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::name::{Digest, ImageName};

/// A registry's scanner for vulnerabilities.
///
/// # Guarantees
/// - `scan` may be repeated: while one is queued or running, no further one is asked for. What was scanned is scanned again.
/// - What was not scanned yet, and what cannot be, are states and no errors. An image that is not there is `NotFound`.
#[async_trait]
pub trait Scanner: Send + Sync {
    /// Asks for a scan of what has this digest, and says how it stands then; the result comes later, in [`Scanner::report`].
    ///
    /// Errors: `Forbidden` where the account may not, `Unsupported` where no scanner is set up or it is switched off.
    async fn scan(&self, image: &ImageName, digest: &Digest) -> Result<ScanState>;

    /// How the last scan of what has this digest stands, and what it found.
    async fn report(&self, image: &ImageName, digest: &Digest) -> Result<ScanReport>;
}

/// The last scan of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    /// How it stands.
    pub state: ScanState,
    /// What it found; `None` unless it is [`ScanState::Done`].
    pub found: Option<Vulnerabilities>,
    /// The scanner's name and version, where the host tells: `Trivy v0.51.2`.
    pub scanner: Option<String>,
    /// When it began, where it did.
    pub started_at: Option<Timestamp>,
    /// When it ended, where it did.
    pub ended_at: Option<Timestamp>,
}

/// How a scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanState {
    /// Nobody has asked for one.
    NotScanned,
    /// It waits for its turn.
    Queued,
    /// It is under way.
    Running,
    /// It has ended with a report.
    Done,
    /// It has ended without one: it failed or was stopped.
    Failed,
    /// No scanner is there for such content, or none at all.
    Unsupported,
}

impl ScanState {
    /// Whether it will become another one by itself.
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

/// Vulnerabilities by how bad they are, as the scanner has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vulnerabilities {
    /// Critical ones.
    pub critical: u64,
    /// High ones.
    pub high: u64,
    /// Medium ones.
    pub medium: u64,
    /// Low ones, those that the scanner calls negligible or none included.
    pub low: u64,
    /// Those of which the scanner does not say.
    pub unknown: u64,
    /// How many of all have a fixed version, where the host tells.
    pub fixable: Option<u64>,
}
