//! One target's files: what is written in which order, and how a half-done step is completed.
//!
//! ```text
//! revisions/{namespace}/{object}/lock                      held by whoever writes
//! revisions/{namespace}/{object}/{revision}-{release}.json one a revision
//! revisions/{namespace}/{object}/removed-{revision}        the target was removed after this revision
//! current/{namespace}/{object}.yaml                        what is current
//! current/{namespace}/{object}.secrets.yaml                its Secrets, only where that is configured; 0600
//! ```
//! The order is Secrets, record, current manifest. A record without its manifest is a step that a crash cut: the next
//! writer, or the next start, writes the manifest. A removal starts with its `removed` file and is completed in the same way.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiops_core::name::{DnsLabel, ReleaseId};
use kiops_core::release::{Live, Revision, RevisionInfo, RolloutStatus};
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result};

use super::files::{self, Mode};
use super::record::{Header, Record, RecordName};
use crate::revisions::Owner;

const LOCK: &str = "lock";
const REMOVED: &str = "removed-";

/// Where one target's files are. Its methods read; what writes is [`Locked`].
#[derive(Debug)]
pub(super) struct Slot {
    folder: PathBuf,
    current: PathBuf,
    secrets: PathBuf,
}

impl Slot {
    pub(super) fn new(current: &Path, revisions: &Path, namespace: &DnsLabel, object: &DnsLabel) -> Self {
        let current = current.join(namespace.as_str());
        Self {
            folder: revisions.join(namespace.as_str()).join(object.as_str()),
            secrets: current.join(format!("{object}.secrets.yaml")),
            current: current.join(format!("{object}.yaml")),
        }
    }

    /// Locks out every other writer and completes what one of them left half done.
    pub(super) fn lock(&self, wait: Duration) -> Result<Locked<'_>> {
        files::make_folder(&self.folder)?;
        let lock = files::lock(&self.folder.join(LOCK), wait)?;
        let locked = Locked { slot: self, _lock: lock };
        locked.tidy()?;
        locked.finish_removal()?;
        Ok(locked)
    }

    /// Whether anything was ever applied.
    pub(super) fn exists(&self) -> bool {
        self.folder.is_dir()
    }

    pub(super) fn status(&self, owner: &Owner, revision: Revision) -> Result<RolloutStatus> {
        let names = self.names_of(owner)?;
        let known = names.iter().find(|name| name.revision == revision);
        let later = names.last().map(|name| name.revision).filter(|newest| *newest > revision);
        let pruned = later.is_some() && revision.0 > self.removed_after()?;
        if known.is_none() && !pruned {
            return Err(self.no_such(revision, &names));
        }
        Ok(match (self.held()?, known, later) {
            (Some((held, _)), ..) if held > revision => RolloutStatus::Replaced(held),
            (Some((held, _)), Some(name), _) if held == revision => {
                if self.holds(&self.record(name)?)? {
                    RolloutStatus::Complete
                } else {
                    let path = self.current.display();
                    RolloutStatus::Progressing(format!(
                        "`{path}` was changed by hand; applying the release again brings it back"
                    ))
                }
            }
            (_, _, Some(later)) => RolloutStatus::Replaced(later),
            _ => RolloutStatus::Progressing(format!("`{}` is still to be written", self.current.display())),
        })
    }

    pub(super) fn history(&self, owner: &Owner) -> Result<Vec<RevisionInfo>> {
        let mut history = Vec::new();
        for name in self.names_of(owner)?.iter().rev() {
            match self.record(name) {
                Ok(record) => history.push(record.info),
                // The file is named in the log; the other revisions are as good as ever.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(%error, "a revision is left out of history")
                }
                // Pruned since the folder was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(history)
    }

    pub(super) fn observed(&self, owner: &Owner) -> Result<Option<Live>> {
        let Some((revision, release)) = self.held()? else { return Ok(None) };
        if revision.0 <= self.removed_after()? || self.names_of(owner)?.is_empty() {
            return Ok(None);
        }
        match self.record(&RecordName { revision, release }) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::corrupt(
                "observe target",
                format!("`{}` holds revision {revision}, whose record is gone", self.current.display()),
            )
            .with_remedy("deploy any release: it becomes the next revision")),
            record => record.map(|record| Some(record.info.live())),
        }
    }

    /// The record of a revision of this owner's.
    pub(super) fn revision(&self, owner: &Owner, revision: Revision) -> Result<Record> {
        let names = self.names_of(owner)?;
        let name = names.iter().find(|name| name.revision == revision);
        self.record(name.ok_or_else(|| self.no_such(revision, &names))?)
    }

    fn no_such(&self, revision: Revision, names: &[RecordName]) -> Error {
        let kept = match (names.first(), names.last()) {
            (Some(first), Some(last)) => {
                format!("revisions {} to {} are kept", first.revision, last.revision)
            }
            _ => "the target has no revision".to_owned(),
        };
        Error::not_found(
            "find revision",
            format!("there is no revision {revision} in `{}`", self.folder.display()),
        )
        .with_remedy(format!("choose one from the history: {kept}"))
    }

    /// The names of all records, oldest first. None of those that a removal has done away with.
    fn names(&self) -> Result<Vec<RecordName>> {
        let removed = self.removed_after()?;
        Ok(self.all_names()?.into_iter().filter(|name| name.revision.0 > removed).collect())
    }

    fn all_names(&self) -> Result<Vec<RecordName>> {
        let mut names: Vec<_> =
            files::names(&self.folder)?.iter().filter_map(|file| RecordName::parse(file)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The same, but none where the files are another owner's.
    fn names_of(&self, owner: &Owner) -> Result<Vec<RecordName>> {
        let names = self.names()?;
        Ok(if self.owner(&names)?.is_none_or(|found| found == *owner) { names } else { Vec::new() })
    }

    /// Whose the files are, by the newest record that can be read.
    fn owner(&self, names: &[RecordName]) -> Result<Option<Owner>> {
        for name in names.iter().rev() {
            match self.record(name) {
                Ok(record) => return Ok(Some(record.owner)),
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn record(&self, name: &RecordName) -> Result<Record> {
        let operation = "read revision";
        let path = self.folder.join(name.file());
        let content = files::read(&path)?
            .ok_or_else(|| Error::not_found(operation, format!("`{}` is not there", path.display())))?;
        Record::from_json(&content, name).map_err(|reason| {
            Error::corrupt(operation, format!("`{}` does not read back: {reason}", path.display()))
                .with_remedy(
                    "restore the file from a backup or delete it; the other revisions are not touched by it",
                )
        })
    }

    /// After which revision the target was last removed; 0: never. Names alone say so, they cannot be damaged.
    fn removed_after(&self) -> Result<u64> {
        let files = files::names(&self.folder)?;
        Ok(files.iter().filter_map(|file| file.strip_prefix(REMOVED)?.parse().ok()).max().unwrap_or(0))
    }

    /// Which revision the current manifest says it holds.
    fn held(&self) -> Result<Option<(Revision, ReleaseId)>> {
        let content = files::read(&self.current)?;
        Ok(match content.as_deref().and_then(Header::of) {
            Some(Header::Revision(revision, release)) => Some((revision, release)),
            _ => None,
        })
    }

    /// Whether the current manifest is this record's, byte for byte.
    fn holds(&self, record: &Record) -> Result<bool> {
        Ok(files::read(&self.current)? == Some(manifest(record)?.into_bytes()))
    }
}

/// What the current manifest of a record is.
fn manifest(record: &Record) -> Result<String> {
    let header = Header::Revision(record.info.revision, record.info.release.clone());
    Ok(header.line() + &record.manifests.to_yaml()?)
}

/// A slot that nobody else writes to.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    slot: &'a Slot,
    _lock: File,
}

impl Locked<'_> {
    /// The revision that a release has already; its manifest is written if it is the newest and was not.
    /// `None`: it has none, or it is the newest one and its record is damaged.
    pub(super) fn resume(&self, owner: &Owner, release: &ReleaseId) -> Result<Option<Revision>> {
        let names = self.slot.names()?;
        self.refuse_foreign(&names, owner)?;
        let Some(name) = names.iter().find(|name| name.release == *release) else { return Ok(None) };
        if names.last() != Some(name) {
            return Ok(Some(name.revision));
        }
        match self.slot.record(name) {
            Ok(record) => self.put_current(&record).map(|()| Some(record.info.revision)),
            // Whoever asks again brings all that is needed to write it anew.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes `release` the newest revision, as `make` builds it, unless it has one already.
    pub(super) fn bring(
        &self,
        owner: &Owner,
        release: &ReleaseId,
        secrets: Option<&Secret>,
        keep: usize,
        make: impl FnOnce(Revision) -> Record,
    ) -> Result<Revision> {
        if let Some(revision) = self.resume(owner, release)? {
            return Ok(revision);
        }
        let slot = self.slot;
        let names = slot.names()?;
        let damaged = names.last().filter(|name| name.release == *release);
        let revision = damaged.map_or_else(|| self.next(&names), |name| Ok(name.revision))?;
        let record = make(revision);
        self.put_secrets(secrets)?;
        let path = slot.folder.join(record.name().file());
        files::replace(&path, &record.to_json()?, Mode::Shared)?;
        if let Err(error) = self.put_current(&record) {
            // What ran before keeps running, also after a restart: the revision never was.
            if !slot.holds(&record).unwrap_or(false) {
                files::remove(&path).and_then(|()| files::sync_folder(&slot.folder))?;
            }
            return Err(error);
        }
        self.prune(keep)?;
        Ok(revision)
    }

    /// Removes everything but the volumes. Another owner's files stay.
    pub(super) fn remove(&self, owner: &Owner) -> Result<()> {
        let Some(newest) = self.slot.names_of(owner)?.pop() else { return Ok(()) };
        // Read first: once the removal is decided, it must be possible to say which volumes stay.
        self.slot.record(&newest)?;
        let decided = self.slot.folder.join(format!("{REMOVED}{}", newest.revision));
        files::replace(&decided, b"", Mode::Shared)?;
        self.finish_removal()
    }

    /// Writes the newest revision's manifest where a crash kept it from being written.
    pub(super) fn complete(&self) -> Result<()> {
        let Some(newest) = self.slot.names()?.pop() else { return Ok(()) };
        let behind = match files::read(&self.slot.current)?.as_deref().map(Header::of) {
            None | Some(Some(Header::Volumes)) => true,
            Some(Some(Header::Revision(held, _))) => held < newest.revision,
            // Somebody put a file of his own there; only a release overwrites it.
            Some(None) => false,
        };
        if behind { self.put_current(&self.slot.record(&newest)?) } else { Ok(()) }
    }

    fn next(&self, names: &[RecordName]) -> Result<Revision> {
        let newest = names.last().map_or(0, |name| name.revision.0);
        let held = self.slot.held()?.map_or(0, |(held, _)| held.0);
        let last = newest.max(held).max(self.slot.removed_after()?);
        let next = last.checked_add(1).ok_or_else(|| {
            Error::corrupt("apply release", format!("revision {last} is the last one that can be"))
        })?;
        Ok(Revision(next))
    }

    fn refuse_foreign(&self, names: &[RecordName], owner: &Owner) -> Result<()> {
        let operation = "apply release";
        let path = self.slot.current.display();
        if let Some(other) = self.slot.owner(names)?.filter(|other| other != owner) {
            return Err(Error::conflict(
                operation,
                format!(
                    "`{path}` is of environment `{}`, and `{}` would overwrite it: both give the service the namespace `{}`",
                    other.environment, owner.environment, owner.namespace
                ),
            )
            .with_remedy("give one of the two environments a namespace or a runtime of its own"));
        }
        let first = names.is_empty() && self.slot.removed_after()? == 0;
        let content = if first { files::read(&self.slot.current)? } else { None };
        if content.is_some_and(|content| Header::of(&content).is_none()) {
            return Err(Error::conflict(operation, format!("`{path}` is there, and kiops did not write it"))
                .with_remedy("move the file away, or choose another directory"));
        }
        Ok(())
    }

    fn put_current(&self, record: &Record) -> Result<()> {
        if self.slot.holds(record)? {
            return Ok(());
        }
        self.make_current_folder()?;
        files::replace(&self.slot.current, manifest(record)?.as_bytes(), Mode::Shared)
    }

    fn put_secrets(&self, secrets: Option<&Secret>) -> Result<()> {
        match secrets {
            Some(secrets) => {
                self.make_current_folder()?;
                files::replace(&self.slot.secrets, secrets.expose(), Mode::Private)
            }
            None => files::remove(&self.slot.secrets),
        }
    }

    fn make_current_folder(&self) -> Result<()> {
        self.slot.current.parent().map_or(Ok(()), files::make_folder)
    }

    fn prune(&self, keep: usize) -> Result<()> {
        let names = self.slot.names()?;
        for name in &names[..names.len().saturating_sub(keep)] {
            if let Err(error) = files::remove(&self.slot.folder.join(name.file())) {
                tracing::warn!(%error, "an old revision could not be removed; the next release tries again");
            }
        }
        Ok(())
    }

    /// Removes what a writer that crashed left beside its files.
    fn tidy(&self) -> Result<()> {
        for path in [&self.slot.current, &self.slot.secrets] {
            files::temporary(path).map_or(Ok(()), |temporary| files::remove(&temporary))?;
        }
        for name in files::names(&self.slot.folder)? {
            if name.starts_with('.') && name.ends_with(".tmp") {
                files::remove(&self.slot.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Does what is left to do of a removal: first the manifests, then the records, the newest last, since it names the volumes.
    fn finish_removal(&self) -> Result<()> {
        let slot = self.slot;
        let removed = slot.removed_after()?;
        let gone: Vec<_> = slot.all_names()?.into_iter().filter(|name| name.revision.0 <= removed).collect();
        let (Some(newest), true) = (gone.last(), removed > 0) else { return Ok(()) };
        if slot.held()?.is_some_and(|(held, _)| held.0 <= removed) {
            let volumes = slot.record(newest)?.manifests.volumes_to_yaml()?;
            if volumes.is_empty() {
                files::remove(&slot.current)?;
            } else {
                files::replace(&slot.current, (Header::Volumes.line() + &volumes).as_bytes(), Mode::Shared)?;
            }
        }
        files::remove(&slot.secrets)?;
        if let Some(folder) = slot.current.parent().filter(|folder| folder.is_dir()) {
            files::sync_folder(folder)?;
            // It is not empty while another target, or a volume, is in it.
            let _ = std::fs::remove_dir(folder);
        }
        for name in &gone {
            files::remove(&slot.folder.join(name.file()))?;
        }
        for file in files::names(&slot.folder)? {
            if file
                .strip_prefix(REMOVED)
                .and_then(|last| last.parse().ok())
                .is_some_and(|last: u64| last < removed)
            {
                files::remove(&slot.folder.join(file))?;
            }
        }
        files::sync_folder(&slot.folder)
    }
}
