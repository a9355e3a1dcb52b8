//! Base images: registries are asked in an interval what the bases of a service's Dockerfiles point at, and the engine whether that is news.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::follow::DOCKERFILE_MAX;
use super::{Driver, LONGEST_WAIT, Shared, until};
use crate::build::{Bases, Build};
use crate::engine::bases::{FoundBases, FoundComponent, KnownRefs, Standing, bases_of, last};
use crate::engine::reply::Reply;
use crate::engine::step::Input;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::name::{BuildId, CommitId, ComponentName, Digest, ImageRef, ServiceName};
use crate::policy::{RefKey, SeenBases};
use crate::provider::{Commit, GitProvider, linked_file};
use crate::service::{Component, GitSource, Service};
use crate::store::Wants;

/// How many services are looked at at once: hosts and registries have limits.
const AT_ONCE: usize = 4;

/// When a service that could not be looked at is looked at again, at the soonest.
const AGAIN: Duration = Duration::from_secs(5 * 60);

/// How long a registry is waited for.
const REGISTRY_WAIT: Duration = Duration::from_secs(15);

/// The most findings that are kept of a service.
const FINDINGS: usize = 50;

/// What this process does about base images.
pub(super) struct Rounds {
    driver: Driver,
    known: BTreeMap<ServiceName, Known>,
    under_way: JoinSet<(ServiceName, Result<()>)>,
    places: Arc<Semaphore>,
}

/// What this process knows of a service.
#[derive(Debug, Default)]
struct Known {
    is_under_way: bool,
    not_before: Option<Instant>,
}

impl Rounds {
    pub(super) fn new(driver: Driver) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { driver, known: BTreeMap::new(), under_way: JoinSet::new(), places }
    }

    /// Begins what is due. Says when to look again, `latest` at the latest.
    pub(super) async fn look(&mut self, services: &[Service], latest: Instant) -> Instant {
        let mut next = latest;
        let mut seen = BTreeMap::new();
        for service in services.iter().filter(|service| service.settings.auto_ci.base_image.enabled) {
            let mut known = self.known.remove(&service.name).unwrap_or_default();
            match self.look_at(service, &mut known).await {
                Ok(again) => next = next.min(again.unwrap_or(latest)),
                Err(error) => {
                    tracing::error!(service = %service.name, %error, "base images could not be looked at");
                }
            }
            seen.insert(service.name.clone(), known);
        }
        self.known = seen;
        next
    }

    async fn look_at(&mut self, service: &Service, known: &mut Known) -> Result<Option<Instant>> {
        let now = Instant::now();
        if known.is_under_way {
            return Ok(None);
        }
        if let Some(not_before) = known.not_before.filter(|not_before| *not_before > now) {
            return Ok(Some(not_before));
        }
        let shared = &self.driver.shared;
        match shared.how_bases_stand(service).await?.0 {
            Standing::Off => return Ok(None),
            Standing::Waits(next) => return Ok(Some(now + until(shared.clock.now(), next))),
            Standing::Due => {}
        }
        known.is_under_way = true;
        let (driver, name, places) = (self.driver.clone(), service.name.clone(), Arc::clone(&self.places));
        self.under_way.spawn(async move {
            let _place = places.acquire_owned().await;
            let result = AssertUnwindSafe(driver.look_at_bases(&name)).catch_unwind().await;
            let result =
                result.unwrap_or_else(|_| Err(Error::internal("look at base images", "it panicked")));
            (name, result.map(drop))
        });
        Ok(None)
    }

    /// The next one of those that were begun is at its end.
    pub(super) async fn join_next(
        &mut self,
    ) -> Option<Result<(ServiceName, Result<()>), tokio::task::JoinError>> {
        self.under_way.join_next().await
    }

    pub(super) fn ended(&mut self, service: &ServiceName, result: &Result<()>) {
        // A service that is gone, or does not want it any more.
        let Some(known) = self.known.get_mut(service) else { return };
        known.is_under_way = false;
        known.not_before = result.as_ref().err().map(|error| {
            let wait = match error.retry() {
                Retry::After(seconds) => Duration::from_secs(u64::from(seconds)).clamp(AGAIN, LONGEST_WAIT),
                Retry::Maybe | Retry::Never => AGAIN,
            };
            tracing::warn!(%service, %error, "base images could not be looked at; it will be tried again");
            Instant::now() + wait
        });
    }
}

impl Driver {
    /// Looks at a service's base images now, whether it is time or not, and builds what stands on one that moved. Says which builds
    /// that makes; none where the trigger or Auto CI is off, or neither a push of the tracked branch nor a schedule has built anything yet.
    ///
    /// What could not be looked at (no registry for the host, a registry that is down, an argument without a value) is no error: it is
    /// logged once, and kept ([`Driver::seen_bases`]).
    ///
    /// # Errors
    /// The Git host's where the Dockerfiles cannot be read; `Invalid` where a build is wanted and the service has no registry settings.
    pub async fn look_at_bases(&self, service: &ServiceName) -> Result<Vec<BuildId>> {
        let shared = &self.shared;
        let service = self.service(service).await?;
        let (standing, known) = shared.how_bases_stand(&service).await?;
        let Some(git) = service.source.git().filter(|_| standing != Standing::Off) else {
            return Ok(Vec::new());
        };
        let found = shared.find_bases(&service, git, &known).await?;
        let before = known.bases.bases.map(|before| before.unfollowed).unwrap_or_default();
        for finding in found.unfollowed.iter().filter(|finding| !before.contains(finding)) {
            tracing::warn!(service = %service.name, "base image not followed: {finding}");
        }
        match shared.step(&service.name, Input::Bases(Box::new(found)), None).await? {
            Reply::Builds(builds) => Ok(builds),
            _ => Ok(Vec::new()),
        }
    }

    /// What a service's base images were when they were looked at last; `None`: they were not.
    pub async fn seen_bases(&self, service: &ServiceName) -> Result<Option<SeenBases>> {
        let mut wants = Wants::of(service.clone());
        wants.refs.insert(RefKey::BaseImages);
        let state = self.shared.store.view(&wants).await?.refs.remove(&RefKey::BaseImages);
        Ok(state.and_then(|state| state.bases))
    }
}

impl Shared {
    /// How a service's base images stand, by what is known.
    async fn how_bases_stand(&self, service: &Service) -> Result<(Standing, KnownRefs)> {
        let Some(git) = service.source.git() else { return Ok((Standing::Off, KnownRefs::default())) };
        let mut wants = Wants::of(service.name.clone());
        wants.refs.extend(KnownRefs::keys(&git.branch));
        let mut refs = self.store.view(&wants).await?.refs;
        let known = KnownRefs::of(&git.branch, |key| refs.remove(key).unwrap_or_default());
        Ok((Standing::of(service, &known, self.clock.now()), known))
    }

    /// Reads every component's Dockerfile as it was built last, and asks the registries of its bases.
    async fn find_bases(&self, service: &Service, git: &GitSource, known: &KnownRefs) -> Result<FoundBases> {
        let provider = self.adapters.provider(&git.provider)?.as_ref();
        let newest = self.newest_builds(service, known).await?;
        let (mut read, mut unfollowed) = (BTreeMap::<ComponentName, (Commit, Bases)>::new(), Vec::new());
        for component in &service.settings.components {
            let Some(build) = last(known, &component.name, |id| newest.get(id)) else { continue };
            let file = component.dockerfile_path();
            match read_bases(provider, service, git, build.commit(), component).await? {
                Ok((commit, bases)) => {
                    unfollowed.extend(bases.unknown.iter().map(|unknown| format!("{file}: {unknown}")));
                    read.insert(component.name.clone(), (commit, bases));
                }
                Err(why) => unfollowed.push(format!("{file} of {}: {why}", build.commit().short())),
            }
        }
        let images: BTreeSet<&ImageRef> = read.values().flat_map(|(_, bases)| &bases.images).collect();
        let mut digests = BTreeMap::new();
        let mut silent = BTreeSet::new();
        for image in images {
            let told = self.ask(image, &mut silent).await;
            digests
                .insert(image.clone(), told.map_err(|why| unfollowed.push(format!("{image}: {why}"))).ok());
        }
        let found = |(commit, bases): (Commit, Bases)| {
            let told = |image: ImageRef| {
                let digest = digests.get(&image).cloned().flatten();
                (image, digest)
            };
            FoundComponent { commit, bases: bases.images.into_iter().map(told).collect() }
        };
        let components = read.into_iter().map(|(name, of)| (name, found(of))).collect();
        unfollowed.truncate(FINDINGS);
        Ok(FoundBases {
            branch: git.branch.clone(),
            newest: newest.into_keys().collect(),
            since: known.bases.bases.as_ref().map(|seen| seen.at),
            components,
            unfollowed,
        })
    }

    async fn newest_builds(&self, service: &Service, known: &KnownRefs) -> Result<BTreeMap<BuildId, Build>> {
        let mut newest = BTreeMap::new();
        for id in service.settings.components.iter().flat_map(|component| known.newest(&component.name)) {
            newest.extend(self.store.build(id).await?.map(|build| (id.clone(), build)));
        }
        Ok(newest)
    }

    /// What a tag points at, or why that cannot be told. A host that said nothing once is not asked again.
    async fn ask(&self, image: &ImageRef, silent: &mut BTreeSet<String>) -> Result<Digest, String> {
        const SILENT: &str = "its registry did not answer in time";
        let host = image.name.host();
        let registry = self.adapters.registry(&image.name).map_err(|error| error.to_string())?;
        if silent.contains(host) {
            return Err(SILENT.into());
        }
        match tokio::time::timeout(REGISTRY_WAIT, registry.resolve(image)).await {
            Ok(Ok(Some(digest))) => Ok(digest),
            Ok(Ok(None)) => Err("it is not in its registry".into()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                silent.insert(host.to_owned());
                Err(SILENT.into())
            }
        }
    }
}

/// The bases of one component at this commit, or why nobody can tell them. An error is the host's.
async fn read_bases(
    provider: &dyn GitProvider,
    service: &Service,
    git: &GitSource,
    commit: &CommitId,
    component: &Component,
) -> Result<Result<(Commit, Bases), &'static str>> {
    let Some(commit) = provider.commit(&git.repository, commit).await? else {
        return Ok(Err("the commit is not in the repository any more"));
    };
    let path = component.dockerfile_path();
    let file = match linked_file(provider, &git.repository, &commit.id, &path, DOCKERFILE_MAX).await {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Err("there is no such file")),
        Err(error) if error.kind() == ErrorKind::TooLarge => return Ok(Err("it is larger than 1 MiB")),
        Err(error) => return Err(error),
    };
    let text = std::str::from_utf8(&file);
    Ok(text.map(|text| (commit, bases_of(service, component, text))).map_err(|_| "it is not UTF-8"))
}
