//! The driver: claims due work, performs it, and feeds the results back. It judges nothing; what it knows it asks of the store.

mod adapters;
mod ask;
mod bases;
mod clock;
mod findings;
mod follow;
mod heads;
mod held;
mod images;
mod perform;
mod proposals;
mod report;
mod runs;
mod schedule;
mod tidy;

pub use adapters::{Adapters, AdaptersBuilder, Clock, Members, NobodyIsMember, SystemClock};
pub use ask::Triggered;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use self::held::Held;
use super::reply::Reply;
use super::step::{Input, Next, step};
use super::wants::{Primary, wants, wants_more};
use crate::effect::Effect;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::log::LogStore;
use crate::name::{ProviderName, ServiceName};
use crate::notify::DomainEvent;
use crate::policy::{Question, Rules};
use crate::queue::Limits;
use crate::store::{Claim, ClaimRequest, Store, View};

/// How the driver works. Every duration is in real time of its clock.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DriverConfig {
    /// Its name: one for each process that runs at a time. After a restart the same name takes its own leases over at once;
    /// another name waits until they run out.
    pub name: String,
    /// How many builds run at once.
    pub limits: Limits,
    /// How long a lease holds without being renewed. 30 s by default.
    pub lease: Duration,
    /// How often the store is asked for work that another process stored. 1 s by default.
    pub sweep: Duration,
    /// How often heads are listed, to find lost webhooks and for services that are polled
    /// ([`Deliveries::Polling`](crate::service::Deliveries::Polling)); `None`: only when asked. 30 s by default.
    pub heads: Option<Duration>,
    /// How often a sign of life of a run is stored, at most. 5 s by default.
    pub signs: Duration,
    /// How often a rollout is looked at. 500 ms by default.
    pub rollouts: Duration,
    /// How often a proposal is looked at that people have not answered yet ([`Proposals`](crate::release::Proposals)): at first so often, later a
    /// quarter of that. 30 s by default.
    pub proposals: Duration,
    /// How many pieces of work are performed at once, besides runs that are followed. 32 by default.
    pub parallel: usize,
    /// How often work that fails for reasons that may pass is tried before it counts as failed. 6 by default.
    pub tries: u32,
    /// Where people can look at a build, with `{service}` and `{build}` in the places of both names: commit statuses link to it.
    /// `https://ci.example.com/builds/{build}`; `None`: they link to nothing.
    pub build_url: Option<String>,
    /// How long what may go is kept.
    pub keep: Keep,
}

/// How long what may go is kept; `None` is for ever. The driver removes what is older once an hour.
///
/// Records of deliveries, builds and releases always stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Bodies of deliveries and their replay keys, from when they came in. 30 days by default. Less shortens the time in
    /// which a repeated delivery is known as such.
    pub bodies: Option<Duration>,
    /// Logs of builds, from their last line. 90 days by default.
    pub logs: Option<Duration>,
}

impl Default for Keep {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { bodies: Some(30 * DAY), logs: Some(90 * DAY) }
    }
}

impl Keep {
    /// Everything, for ever.
    pub const EVERYTHING: Self = Self { bodies: None, logs: None };
}

impl DriverConfig {
    /// The defaults under this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            limits: Limits::default(),
            lease: Duration::from_secs(30),
            sweep: Duration::from_secs(1),
            heads: Some(Duration::from_secs(30)),
            signs: Duration::from_secs(5),
            rollouts: Duration::from_millis(500),
            proposals: Duration::from_secs(30),
            parallel: 32,
            tries: 6,
            build_url: None,
            keep: Keep::default(),
        }
    }
}

/// Performs what the engine asks for. Cheap to clone; all clones are one driver.
#[derive(Debug, Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    logs: Arc<dyn LogStore>,
    adapters: Adapters,
    rules: Rules,
    clock: Arc<dyn Clock>,
    config: DriverConfig,
    /// There may be due work.
    work: Notify,
    /// There may be a build to start.
    queue: Notify,
    events: broadcast::Sender<DomainEvent>,
    /// How each service's heads were listed the last time.
    listed: Mutex<BTreeMap<ServiceName, heads::Listed>>,
    held: Held,
    /// Steps of one service go one after the other: across processes the ledger's version sees to that.
    services: Mutex<BTreeMap<ServiceName, Arc<tokio::sync::Mutex<()>>>>,
    permits: Arc<Semaphore>,
    /// Turns in taking in reports.
    reports: Semaphore,
    /// What Git hosts were told of builds.
    told: Mutex<BTreeMap<report::Place, report::Told>>,
    /// Turns in telling each Git host something.
    telling: Mutex<BTreeMap<ProviderName, Arc<Semaphore>>>,
}

/// What happens, as it happens. A reader that falls far behind misses events: the store has them all.
#[derive(Debug)]
pub struct Watching(broadcast::Receiver<DomainEvent>);

impl Watching {
    /// The next event; `None`: the driver is gone. Events that were missed are passed over.
    pub async fn next(&mut self) -> Option<DomainEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Driver {
    /// A driver over these. It does nothing until [`Driver::run`].
    pub fn new(
        store: Arc<dyn Store>,
        logs: Arc<dyn LogStore>,
        adapters: Adapters,
        rules: Rules,
        clock: Arc<dyn Clock>,
        config: DriverConfig,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(config.parallel.max(1)));
        let shared = Shared {
            store,
            logs,
            adapters,
            rules,
            clock,
            config,
            work: Notify::new(),
            queue: Notify::new(),
            events: broadcast::channel(1024).0,
            listed: Mutex::default(),
            held: Held::default(),
            services: Mutex::default(),
            permits,
            reports: Semaphore::new(findings::AT_ONCE),
            told: Mutex::default(),
            telling: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The logs.
    pub fn logs(&self) -> &Arc<dyn LogStore> {
        &self.shared.logs
    }

    /// The adapters.
    pub fn adapters(&self) -> &Adapters {
        &self.shared.adapters
    }

    /// The host's rules.
    pub fn rules(&self) -> &Rules {
        &self.shared.rules
    }

    /// How many builds run at once.
    pub fn limits(&self) -> &Limits {
        &self.shared.config.limits
    }

    /// How often heads are listed; `None`: only when asked.
    pub fn heads_every(&self) -> Option<Duration> {
        self.shared.config.heads
    }

    /// The time by the driver's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// What happens from now on.
    pub fn watch(&self) -> Watching {
        Watching(self.shared.events.subscribe())
    }

    /// Looks for work now instead of at the next sweep: call it after a delivery was accepted.
    pub fn wake(&self) {
        self.shared.work.notify_one();
    }

    /// Works until `shutdown` resolves, then finishes what is being stored, within `grace`, and returns. Whatever is cut
    /// goes on at the next start. Runs of executors outside this process go on by themselves.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send, grace: Duration) {
        let shared = &self.shared;
        let mut tasks = JoinSet::new();
        // Whoever drops this future ends all of it.
        let (mut starting, mut keeping) = (JoinSet::new(), JoinSet::new());
        starting.spawn(schedule::run(Arc::clone(shared)));
        starting.spawn(tidy::run(Arc::clone(shared)));
        starting.spawn(clock::run(self.clone()));
        if let Some(every) = shared.config.heads {
            starting.spawn(heads::run(self.clone(), every));
        }
        keeping.spawn(held::renew(Arc::clone(shared)));
        keeping.spawn(notify(Arc::clone(shared)));
        shared.cancel_orphans().await;
        shared.queue.notify_one();
        tokio::pin!(shutdown);
        let mut is_new = true;
        loop {
            let next = match self.claim(&mut tasks, &mut is_new).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(%error, "no work could be claimed");
                    Instant::now() + shared.config.sweep
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = shared.work.notified() => {}
                Some(_) = tasks.join_next() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
        starting.shutdown().await;
        shared.held.let_go_of_runs();
        let ended = tokio::time::timeout(grace, async { while tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!("shut down with work under way; it goes on at the next start");
        }
        tasks.shutdown().await;
        keeping.shutdown().await;
    }

    /// Claims what is due and starts performing it. Says when to look again. A driver that is new lets go first of what an earlier life held.
    async fn claim(&self, tasks: &mut JoinSet<()>, is_new: &mut bool) -> Result<Instant> {
        let shared = &self.shared;
        let limit = shared.permits.available_permits();
        if limit == 0 {
            return Ok(Instant::now() + shared.config.sweep);
        }
        if *is_new {
            shared.store.let_go(&shared.config.name).await?;
            *is_new = false;
        }
        let now = shared.clock.now();
        let request = ClaimRequest {
            driver: shared.config.name.clone(),
            now,
            until: later(now, shared.config.lease),
            limit,
        };
        let claims = shared.store.claim(&request).await?;
        let full = claims.claims.len() >= limit;
        for claim in claims.claims {
            let span = tracing::info_span!("work", service = %claim.work.service, effect = claim.work.effect.name(), subject = claim.work.effect.subject());
            if matches!(claim.work.effect, Effect::Log { .. }) {
                // In the order in which they were stored: nothing may overtake a build's first line.
                Arc::clone(shared).perform(claim).instrument(span).await;
                continue;
            }
            // Hosts that answer slowly must not keep everything else waiting: those who tell them wait for their own places. A namespace
            // that does not go is waited for, too.
            let removes = matches!(claim.work.effect, Effect::RemovePreview { .. } | Effect::Withdraw { .. });
            let apart = claim.work.effect.follows() || removes || claim.work.effect.is_report();
            let permit = if apart { None } else { Arc::clone(&shared.permits).acquire_owned().await.ok() };
            let shared = Arc::clone(shared);
            let task = async move {
                shared.perform(claim).await;
                drop(permit);
            };
            tasks.spawn(task.instrument(span));
        }
        if full {
            return Ok(Instant::now());
        }
        let sweep = Instant::now() + shared.config.sweep;
        let due = claims.next_due.map(|due| Instant::now() + until(shared.clock.now(), due));
        Ok(due.map_or(sweep, |due| due.min(sweep)))
    }
}

impl Shared {
    /// Performs one piece of work to its end: done, given back for later, or set aside.
    async fn perform(self: Arc<Self>, claim: Claim) {
        self.held.hold(&claim);
        let result = AssertUnwindSafe(self.carry_out(&claim)).catch_unwind().await;
        let result = result.unwrap_or_else(|_| Err(Error::internal("perform work", "it panicked")));
        self.held.release(&claim);
        if let Err(error) = result {
            self.failed(&claim, &error).await;
        }
    }

    async fn failed(&self, claim: &Claim, error: &Error) {
        let now = self.clock.now();
        let again = match error.retry() {
            Retry::After(seconds) => Some(Duration::from_secs(u64::from(seconds)).min(LONGEST_WAIT)),
            // Lines that could not be written come again in the order in which they failed: all wait as long.
            Retry::Maybe if matches!(claim.work.effect, Effect::Log { .. }) => Some(LOG_WAIT),
            Retry::Maybe => Some(backoff(claim.failures)),
            // Somebody else was first, or the store is behind: look again soon.
            Retry::Never if error.kind() == ErrorKind::Conflict => Some(backoff(claim.failures)),
            Retry::Never => None,
        };
        let result = match again {
            Some(wait) => {
                tracing::warn!(%error, tries = claim.failures + 1, "work failed; it will be tried again");
                self.store.give_back(claim, later(now, wait), &error.to_string()).await
            }
            None => {
                tracing::error!(%error, "work cannot be done and was set aside");
                self.set_aside(claim, error).await
            }
        };
        if let Err(error) = result {
            // The lease runs out, and the work is claimed again.
            tracing::error!(%error, "the store did not take a failure");
        }
        self.work.notify_one();
    }

    /// Loads, steps and saves until nobody else was faster. `answer` gives answers to what the step asks.
    async fn step(&self, service: &ServiceName, input: Input, claim: Option<&Claim>) -> Result<Reply> {
        let lock = self.lock(service);
        let mut one_at_a_time = Some(lock.lock().await);
        let mut input = input;
        let mut asked: Option<View> = None;
        for _ in 0..50 {
            if one_at_a_time.is_none() {
                one_at_a_time = Some(lock.lock().await);
            }
            let mut wanted = self.wants(service, &input).await?;
            let mut view = self.store.view(&wanted).await?;
            // Somebody else may have joined the build since it was looked up.
            while wants_more(&mut wanted, &input, &view) {
                view = self.store.view(&wanted).await?;
            }
            // What registries said goes with what was known then: a tag may have moved since somebody else decided.
            if asked
                .take_if(|before| before.ledger != view.ledger || before.service != view.service)
                .is_some()
            {
                forget_images(&mut input);
            }
            match step(&self.rules, &view, input.clone(), self.clock.now())? {
                Next::Ask(questions) => {
                    let patient = claim.is_some_and(|claim| claim.failures < IMAGE_LOOKS);
                    // A silent registry keeps nobody else from the service: it is asked without end. A provider is not, and what it
                    // says of a branch must not be overtaken by another push's decision.
                    if questions.iter().any(asks_registry) {
                        drop(one_at_a_time.take());
                    }
                    self.answer_into(&view, &mut input, questions, patient).await?;
                    asked = Some(view);
                }
                Next::Save(mut stepped) => {
                    if self.host_takes_no_statuses(&view) {
                        stepped.changes.work.retain(|work| !work.effect.is_report());
                    }
                    let changes = &stepped.changes;
                    match (changes.is_empty(), claim) {
                        (true, None) => return Ok(stepped.reply),
                        (true, Some(claim)) => {
                            self.store.finish(claim).await?;
                            self.queue.notify_one();
                            return Ok(stepped.reply);
                        }
                        _ => {}
                    }
                    match self.store.save(changes, claim).await {
                        Ok(()) => {
                            self.saved(changes);
                            return Ok(stepped.reply);
                        }
                        Err(error) if error.kind() == ErrorKind::Conflict => {
                            if let Some(claim) = claim
                                && !self.still_holds(claim).await?
                            {
                                return Ok(Reply::Done);
                            }
                            tokio::task::yield_now().await;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Err(Error::conflict("save changes", "somebody else was faster fifty times").with_retry(Retry::Maybe))
    }

    /// Whether the service's host is one that cannot be told of builds: a plain repository.
    fn host_takes_no_statuses(&self, view: &View) -> bool {
        let git = view.service.as_ref().and_then(|service| service.source.git());
        let provider = git.and_then(|git| self.adapters.providers.get(&git.provider));
        provider.is_some_and(|provider| provider.statuses().is_none())
    }

    async fn still_holds(&self, claim: &Claim) -> Result<bool> {
        let until = later(self.clock.now(), self.config.lease);
        Ok(self.store.renew(std::slice::from_ref(claim), until).await?.first().copied().unwrap_or(false))
    }

    async fn wants(&self, service: &ServiceName, input: &Input) -> Result<crate::store::Wants> {
        let mut primary = Primary {
            service: self.store.service(service).await?.map(|stored| stored.value),
            ..Primary::default()
        };
        if let Some(id) = input.delivery() {
            primary.delivery = self.store.delivery(id).await?.filter(|record| record.service == *service);
        }
        if let Some(id) = input.build() {
            primary.build = self.store.build(id).await?.filter(|build| build.service() == service);
        }
        if let Some(id) = input.release() {
            primary.release = self.store.release(id).await?.filter(|release| release.service() == service);
        }
        Ok(wants(service, input, &primary))
    }

    fn saved(&self, changes: &crate::store::Changes) {
        for id in &changes.cancel_work {
            self.held.let_go(id);
        }
        for event in &changes.events {
            // Nobody has to listen.
            let _ = self.events.send(event.clone());
        }
        if !changes.builds.is_empty() || !changes.free_slots.is_empty() {
            self.queue.notify_one();
        }
        if !changes.work.is_empty() {
            self.work.notify_one();
        }
    }

    fn lock(&self, service: &ServiceName) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() > 4096 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(locks.entry(service.clone()).or_default())
    }

    async fn answer_into(
        &self,
        view: &View,
        input: &mut Input,
        questions: Vec<Question>,
        patient: bool,
    ) -> Result<()> {
        let Input::Decide { answers, rounds, .. } = input else {
            return Err(Error::internal("step", "only a decision asks questions"));
        };
        let waits = questions.iter().any(asks_registry);
        let asking = async {
            for question in questions {
                answers.push(self.answer_or_wait(view.service.as_ref(), question, patient).await?);
            }
            Ok::<(), Error>(())
        };
        if waits {
            // They are asked again later, without end: a registry that says nothing must not hold the driver.
            let late = |_| Error::unavailable("find image", "the registry did not answer in time");
            tokio::time::timeout(IMAGE_WAIT, asking).await.map_err(late)??;
        } else {
            asking.await?;
        }
        *rounds += 1;
        Ok(())
    }
}

async fn notify(shared: Arc<Shared>) {
    let mut watching = Watching(shared.events.subscribe());
    while let Some(event) = watching.next().await {
        for notifier in &shared.adapters.notifiers {
            if let Err(error) = notifier.notify(&event, shared.clock.now()).await {
                tracing::warn!(%error, "a notification was lost");
            }
        }
    }
}

const fn asks_registry(question: &Question) -> bool {
    matches!(question, Question::Image { .. })
}

/// Lets go of what registries said, so that they are asked anew.
fn forget_images(input: &mut Input) {
    if let Input::Decide { answers, rounds, .. } = input {
        let before = answers.len();
        answers.retain(|answered| !asks_registry(&answered.question));
        if answers.len() < before {
            *rounds = 0;
        }
    }
}

/// How long registries are waited for while a delivery is decided.
const IMAGE_WAIT: Duration = Duration::from_secs(15);

/// How often an image that its registry told of and does not have yet is looked for: over some 13 seconds. Registries tell of a push before
/// everybody can read it, and of an index before its parts (E71).
const IMAGE_LOOKS: u32 = 6;

/// How long lines wait that could not be written to a log.
const LOG_WAIT: Duration = Duration::from_secs(1);

/// However long somebody asks us to wait: it is looked at again after this.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// 0.2 s, 0.4 s, 0.8 s ... up to a minute.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(200).saturating_mul(1 << failures.min(9)).min(Duration::from_secs(60))
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

fn until(now: Timestamp, due: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO)
}
