//! Builds and releases, and which of them go on.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::Rows;
use crate::build::{Build, BuildState};
use crate::name::{BuildId, CommitId, ReleaseId, ServiceName};
use crate::release::Release;
use crate::store::Wants;

#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) builds: Rows<BuildId, Build>,
    pub(super) releases: Rows<ReleaseId, Release>,
    live_builds: BTreeMap<ServiceName, BTreeSet<BuildId>>,
    live_releases: BTreeMap<ServiceName, BTreeSet<ReleaseId>>,
    by_commit: BTreeMap<(ServiceName, CommitId), BTreeSet<BuildId>>,
}

impl Records {
    pub(super) fn put_build(&mut self, build: &Build) {
        let id = build.id.clone();
        let live = self.live_builds.entry(build.service().clone()).or_default();
        if build.is_at_rest() {
            live.remove(&id)
        } else {
            live.insert(id.clone())
        };
        let commit = (build.service().clone(), build.commit().clone());
        self.by_commit.entry(commit).or_default().insert(id.clone());
        self.builds.put(id, build.clone());
    }

    pub(super) fn put_release(&mut self, release: &Release) {
        let id = release.id.clone();
        let live = self.live_releases.entry(release.service().clone()).or_default();
        if release.is_over() {
            live.remove(&id)
        } else {
            live.insert(id.clone())
        };
        self.releases.put(id, release.clone());
    }

    /// Builds that a view shows: those that are not at rest, and those wanted.
    pub(super) fn builds_for(&self, wants: &Wants) -> BTreeMap<BuildId, Build> {
        let service = &wants.service;
        let of_commits =
            wants.commits.iter().filter_map(|commit| self.by_commit.get(&(service.clone(), commit.clone())));
        let ids = self.live_builds.get(service).into_iter().chain(of_commits).flatten().chain(&wants.builds);
        let builds = ids.filter_map(|id| self.builds.get(id)).filter(|build| build.service() == service);
        builds.map(|build| (build.id.clone(), build.clone())).collect()
    }

    /// Releases that a view shows: those that are not over, and those wanted.
    pub(super) fn releases_for(&self, wants: &Wants) -> BTreeMap<ReleaseId, Release> {
        let service = &wants.service;
        let ids = self.live_releases.get(service).into_iter().flatten().chain(&wants.releases);
        let releases =
            ids.filter_map(|id| self.releases.get(id)).filter(|release| release.service() == service);
        releases.map(|release| (release.id.clone(), release.clone())).collect()
    }

    pub(super) fn queued(&self) -> impl Iterator<Item = &Build> {
        let live = self.live_builds.values().flatten().filter_map(|id| self.builds.get(id));
        live.filter(|build| build.state == BuildState::Queued)
    }
}
