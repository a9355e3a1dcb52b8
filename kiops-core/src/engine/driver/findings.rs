//! Taking in the report of a check: it is kept first, and then compared with an earlier one.

use super::Shared;
use crate::build::{Baseline, Build, CheckRecord};
use crate::checks::{Reported, Sarif};
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::name::{BranchName, BuildId, CheckName, RunId};
use crate::policy::RefKey;
use crate::run::RunOutcome;
use crate::store::Page;

/// How many builds of a service are looked at for a report to compare with.
const LOOKED_AT: u64 = 1000;

/// How many of them at a time.
const AT_A_TIME: u32 = 50;

/// How much of a report is read at a time, in bytes.
const PIECE: usize = 1 << 20;

/// A larger report is read on a thread of its own: its reading takes a tenth of a second.
const LARGE: usize = 256 << 10;

/// How many reports are taken in at once. One that is made for it takes 250 MB to read.
pub(super) const AT_ONCE: usize = 2;

impl Shared {
    /// Takes in the report that a check's run ended with, if it made one: out of the outcome, and to where it is kept. An error means
    /// that it was not kept, or could not be compared, and nothing may be judged by it yet.
    ///
    /// Kept under its run, a report is the same however often it is taken in; one of a run that the build is past is let go of. Which
    /// report it is compared with is settled once the check's end is stored. [`AT_ONCE`] are taken in; of each never more than one
    /// report is in memory, and of the other what its findings are recognised by.
    pub(super) async fn take_in_report(
        &self,
        id: &BuildId,
        name: &CheckName,
        run: &RunId,
        outcome: &mut RunOutcome,
    ) -> Result<Reported> {
        let RunOutcome::Succeeded(result) = outcome else { return Ok(Reported::Nothing) };
        let Some(text) = result.sarif.take() else { return Ok(Reported::Nothing) };
        let gone = |_| Error::unavailable("take in report", "the driver is being shut down");
        let _turn = self.reports.acquire().await.map_err(gone)?;
        let build = self.store.build(id).await?.filter(|build| build.check_goes_on(run));
        let Some((build, check)) = build.as_ref().and_then(|build| Some((build, build.check(name)?))) else {
            return Ok(Reported::Nothing);
        };
        let (text, report) = parsed(text).await?;
        let report = match report {
            Ok(report) => report,
            Err(error) => return Ok(Reported::Unreadable(error.to_string())),
        };
        self.logs.keep_report(id, run, text.into()).await?;
        let before = self.earlier_report(build, check).await?;
        Ok(Reported::Kept(report.counts(before.as_ref())))
    }

    /// The report that this check's is compared with; `None`: there is none, or it is gone.
    async fn earlier_report(&self, build: &Build, check: &CheckRecord) -> Result<Option<Sarif>> {
        for id in self.earlier_builds(build, check).await? {
            let Some(earlier) = self.store.build(&id).await? else { continue };
            let Some(record) = earlier.check(&check.spec.name) else { continue };
            match self.kept_report(&id, &earlier.check_run(record)).await {
                Ok(None) => {}
                Ok(report) => return Ok(report),
                // Passed over, it would let everything through: without an earlier report nothing is new.
                Err(error) if check.spec.gate.limits_new() => {
                    let text = format!("the report of build {id}, to tell what is new: {}", error.message());
                    return Err(Error::new(error.kind(), "read report", text)
                        .with_retry(error.retry())
                        .with_remedy("bring the file back, or remove the log of that build"));
                }
                Err(error) => tracing::warn!(build = %id, %error, "a report that was kept cannot be read"),
            }
        }
        Ok(None)
    }

    /// The builds whose report it may be, the most fitting first.
    async fn earlier_builds(&self, build: &Build, check: &CheckRecord) -> Result<Vec<BuildId>> {
        let service = self.store.service(build.service()).await?;
        let git = service.as_ref().and_then(|service| service.value.source.git());
        let targets = self.targets(build).await?;
        let mut baseline = Baseline::new(build, check, targets, git.map(|git| &git.branch));
        let mut offset = 0;
        'pages: while offset < LOOKED_AT {
            let page = self.store.builds(Some(build.service()), Page { limit: AT_A_TIME, offset }).await?;
            offset += page.items.len() as u64;
            for other in &page.items {
                if !baseline.look(other) {
                    break 'pages;
                }
            }
            if page.items.is_empty() || offset >= page.total {
                break;
            }
        }
        Ok(baseline.found())
    }

    /// The branches that the merge requests behind a build would be merged into.
    async fn targets(&self, build: &Build) -> Result<Vec<BranchName>> {
        let mut targets = Vec::new();
        for by in &build.requesters {
            let (RefKey::MergeRequest(number), Some(delivery)) = (&by.scope, &by.delivery) else { continue };
            let Some(record) = self.store.delivery(delivery).await? else { continue };
            targets.extend(record.events.iter().find_map(|event| match &event.event.kind {
                EventKind::MergeRequest(request) if request.number == Some(*number) => {
                    BranchName::parse(&request.target_branch).ok()
                }
                _ => None,
            }));
        }
        Ok(targets)
    }

    async fn kept_report(&self, build: &BuildId, run: &RunId) -> Result<Option<Sarif>> {
        let mut report = Vec::new();
        loop {
            let Some(piece) = self.logs.report(build, run, report.len() as u64, PIECE).await? else {
                return Ok(None);
            };
            if piece.is_empty() {
                // What is no text reads as no report either.
                return parsed(String::from_utf8(report).unwrap_or_default()).await?.1.map(Some);
            }
            report.extend_from_slice(&piece);
        }
    }
}

/// The text again, and what it says as a report, or why it is none.
async fn parsed(text: String) -> Result<(String, Result<Sarif>)> {
    let is_large = text.len() > LARGE;
    let parse = move || {
        let report = Sarif::parse(&text);
        (text, report)
    };
    if !is_large {
        return Ok(parse());
    }
    tokio::task::spawn_blocking(parse).await.map_err(|gone| match gone.is_panic() {
        true => Error::internal("read SARIF report", "it panicked"),
        false => Error::unavailable("read SARIF report", "the program is shutting down"),
    })
}
