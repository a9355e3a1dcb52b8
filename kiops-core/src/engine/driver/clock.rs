//! What is done by the clock: the schedules of all services are looked at, and what is due gets the tracked branch's newest commit; base
//! images are looked at in their interval.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Driver, LONGEST_WAIT, backoff, bases, until};
use crate::engine::schedule::{ScheduledHead, Standing};
use crate::engine::step::Input;
use crate::error::{Error, Result, Retry};
use crate::name::{GitRef, ServiceName};
use crate::policy::{RefKey, RefState};
use crate::service::{Service, Source};
use crate::store::{Page, Wants};

/// How late a change of settings is seen, at most.
const EVERY: Duration = Duration::from_secs(30);

/// How many services are built for at once: many are due at midnight, and hosts have limits.
const AT_ONCE: usize = 8;

pub(super) async fn run(driver: Driver) {
    let mut rounds = Rounds {
        driver,
        known: BTreeMap::new(),
        under_way: JoinSet::new(),
        places: Arc::new(Semaphore::new(AT_ONCE)),
    };
    let mut bases = bases::Rounds::new(rounds.driver.clone());
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                let latest = Instant::now() + EVERY;
                next = match rounds.services().await {
                    Ok(services) => {
                        let next = rounds.look(&services, latest).await;
                        bases.look(&services, latest).await.min(next)
                    }
                    Err(error) => {
                        tracing::error!(%error, "neither schedules nor base images could be looked at");
                        latest
                    }
                };
            }
            Some(Ok((service, result))) = bases.join_next() => bases.ended(&service, &result),
            Some(Ok((service, result))) = rounds.under_way.join_next() => {
                if let Some(again) = rounds.ended(&service, &result) {
                    next = next.min(again);
                }
            }
        }
    }
}

struct Rounds {
    driver: Driver,
    known: BTreeMap<ServiceName, Known>,
    under_way: JoinSet<(ServiceName, Result<()>)>,
    places: Arc<Semaphore>,
}

/// What this process knows of a service.
#[derive(Debug, Default)]
struct Known {
    /// It has neither a schedule nor a mark.
    is_without: bool,
    is_under_way: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl Rounds {
    /// Looks at every service once. Says when to look again, `latest` at the latest.
    async fn look(&mut self, services: &[Service], latest: Instant) -> Instant {
        let mut next = latest;
        let mut seen = BTreeMap::new();
        for service in services {
            let mut known = self.known.remove(&service.name).unwrap_or_default();
            match self.look_at(service, &mut known).await {
                Ok(again) => next = next.min(again.unwrap_or(latest)),
                Err(error) => {
                    tracing::error!(service = %service.name, %error, "schedules could not be looked at");
                }
            }
            seen.insert(service.name.clone(), known);
        }
        self.known = seen;
        next
    }

    async fn services(&self) -> Result<Vec<Service>> {
        let mut services = Vec::new();
        loop {
            let page = Page { limit: 100, offset: services.len() as u64 };
            let found = self.driver.shared.store.services(page).await?;
            let is_last = found.items.is_empty();
            services.extend(found.items.into_iter().map(|stored| stored.value));
            if is_last || services.len() as u64 >= found.total {
                return Ok(services);
            }
        }
    }

    /// When there is something to do for this service; what is due is begun.
    async fn look_at(&mut self, service: &Service, known: &mut Known) -> Result<Option<Instant>> {
        let has_schedules = !service.settings.auto_ci.schedule.is_empty();
        if known.is_under_way || (known.is_without && !has_schedules) {
            return Ok(None);
        }
        let shared = &self.driver.shared;
        match shared.schedules(service).await? {
            Standing::None => {
                known.is_without = true;
                return Ok(None);
            }
            Standing::New => {
                shared.step(&service.name, Input::Scheduled { head: None }, None).await?;
                known.is_without = !has_schedules;
                // What comes next is told by the mark.
                return Ok(has_schedules.then(Instant::now));
            }
            Standing::Waits(due) => {
                return Ok(due.map(|due| Instant::now() + until(shared.clock.now(), due)));
            }
            Standing::Due(_) => {}
        }
        if let Some(not_before) = known.not_before.filter(|not_before| *not_before > Instant::now()) {
            return Ok(Some(not_before));
        }
        known.is_under_way = true;
        let (driver, service, places) = (self.driver.clone(), service.clone(), Arc::clone(&self.places));
        self.under_way.spawn(async move {
            let _place = places.acquire_owned().await;
            let name = service.name.clone();
            let result = AssertUnwindSafe(driver.build_by_schedule(service)).catch_unwind().await;
            (name, result.unwrap_or_else(|_| Err(Error::internal("build by schedule", "it panicked"))))
        });
        Ok(None)
    }

    /// When to look at the service again, if that is before the next round.
    fn ended(&mut self, service: &ServiceName, result: &Result<()>) -> Option<Instant> {
        let known = self.known.get_mut(service)?;
        known.is_under_way = false;
        let Err(error) = result else {
            (known.failures, known.not_before) = (0, None);
            return None;
        };
        let wait = match error.retry() {
            Retry::After(seconds) => Duration::from_secs(u64::from(seconds)).min(LONGEST_WAIT),
            Retry::Maybe | Retry::Never => backoff(known.failures),
        };
        known.failures = known.failures.saturating_add(1);
        tracing::warn!(%service, %error, tries = known.failures, "a schedule is due and could not be built; it will be tried again");
        known.not_before = Some(Instant::now() + wait);
        known.not_before
    }
}

impl super::Shared {
    async fn schedules(&self, service: &Service) -> Result<Standing> {
        let mut wants = Wants::of(service.name.clone());
        wants.refs.insert(RefKey::Schedule);
        let state: RefState =
            self.store.view(&wants).await?.refs.remove(&RefKey::Schedule).unwrap_or_default();
        Ok(Standing::of(service, &state, self.clock.now()))
    }
}

impl Driver {
    async fn build_by_schedule(&self, service: Service) -> Result<()> {
        let head = match &service.source {
            // With the main switch off the moment only passes.
            Source::Git(git) if service.settings.auto_ci.enabled => {
                let commit = self.commit_at(git, &GitRef::Branch(git.branch.clone()), None).await?;
                Some(Box::new(ScheduledHead { branch: git.branch.clone(), commit }))
            }
            _ => None,
        };
        self.shared.step(&service.name, Input::Scheduled { head }, None).await?;
        Ok(())
    }
}
