//! The simulated world: the real driver and ingest over fakes, in virtual time, with faults and crashes drawn from a seed. The
//! same seed plays the same world.
//!
//! ```text
//! kiops_core::testing::sim::play(&Plan::of_seed(7)).await;
//! ```
//! It must run on a current-thread runtime whose time is paused.

mod checks;
mod previews;
mod proposals;
mod store;

pub use store::ChaosStore;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use self::checks::{check_reports, check_script, check_verdict, live_check};
use self::previews::Requests;
use self::proposals::People;
use super::chaos::{Chaos, Draw, Rates};
use super::fakes::{
    FakeDeployer, FakeExecutor, FakeGit, FakeRegistry, FakeRunner, FakeSender, RunScript, Runs, VirtualClock,
};
use crate::access::{Role, Subject};
use crate::build::{Build, BuildState, Trigger};
use crate::engine::{
    Adapters, Clock as _, Command, Driver, DriverConfig, Ingest, IngestLimits, Keep, report,
};
use crate::event::{Actor, ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, Tip};
use crate::filter::RefFilter;
use crate::image::TagTemplate;
use crate::log::MemoryLogStore;
use crate::name::{
    BranchName, CommitId, EnvironmentName, GitRef, ImageName, MemberId, ProviderName, ServiceName,
};
use crate::policy::{Outcome, Rules};
use crate::provider::GitProvider;
use crate::queue::Limits;
use crate::release::{BuildView, Lane, ReleaseState};
use crate::run::RunOutcome;
use crate::secret::Secret;
use crate::service::{AutoDeploy, Environment, GitSource, ImageTarget, Service, Settings, Source, Supersede};
use crate::stage::{Failure, FailureKind, Stage};
use crate::store::{Accepted, Hook, MemoryStore, Page, Store};
use crate::webhook::SecretSet;

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where everything is drawn from.
    pub seed: u64,
    /// How many things happen.
    pub steps: u32,
    /// What goes wrong while they do. Afterwards nothing does, and the world must settle.
    pub rates: Rates,
    /// Whether runs end with the process, as an assembler's do, or go on, as those of a cluster.
    pub in_process: bool,
    /// Whether the Git host is told of builds.
    pub reports: bool,
    /// Whether what is live is looked at, and promoted by hand to a second environment.
    pub live_checks: bool,
    /// Whether merge requests come and go, each with a preview.
    pub previews: bool,
    /// Whether releases are proposed to people, who say yes or no. Never beside previews, which are workloads.
    pub proposals: bool,
    /// How many pieces of work the driver performs at once.
    pub parallel: usize,
}

impl Plan {
    /// A plan whose faults are drawn from its seed too: some worlds only crash, some have everything.
    pub fn of_seed(seed: u64) -> Self {
        let mut draw = Draw::new(seed ^ 0x5eed);
        let mut up_to = |n: u64| u32::try_from(draw.below(n)).unwrap_or(0);
        let crash = up_to(12);
        let rates = match up_to(4) {
            0 => Rates { crash, ..Rates::default() },
            1 => Rates { crash, slow: up_to(200), ..Rates::default() },
            _ => Rates { crash, slow: up_to(100), fail: up_to(60), lose: up_to(30), hang: up_to(3) },
        };
        let (in_process, reports) = (draw.below(2) == 0, draw.below(2) == 0);
        let parallel = [1, 4, 32][draw.below(3) as usize];
        // Drawn apart, so that the others' worlds stay what they were.
        let live_checks = Draw::new(seed ^ 0xda57).below(3) > 0;
        let previews = Draw::new(seed ^ 0x93e7).below(2) == 0;
        let proposals = !previews && Draw::new(seed ^ 0x9e0b).below(2) == 0;
        Self { seed, steps: 30, rates, in_process, reports, live_checks, previews, proposals, parallel }
    }

    /// Whether a build whose content builds must succeed: only crashes and slowness are drawn.
    const fn is_strict(&self) -> bool {
        self.rates.fail == 0 && self.rates.lose == 0 && self.rates.hang == 0
    }
}

/// What was played.
#[derive(Debug, Clone, Copy)]
pub struct Played {
    /// Calls that faults were drawn for.
    pub calls: u64,
    /// How many of them a crash cut.
    pub crashes: u64,
    /// Builds at the end.
    pub builds: usize,
    /// Releases at the end.
    pub releases: usize,
}

/// Plays a plan to its end and looks whether everything that was promised holds. Panics where it does not.
pub async fn play(plan: &Plan) -> Played {
    let mut world = World::new(plan).await;
    world.happen(plan).await;
    world.settle().await;
    world.check(plan).await
}

struct World {
    plan: Plan,
    draw: Draw,
    chaos: Chaos,
    store: Arc<MemoryStore>,
    logs: Arc<MemoryLogStore>,
    git: FakeGit,
    registry: FakeRegistry,
    deployer: FakeDeployer,
    runs: Runs,
    checks: Runs,
    sender: FakeSender,
    ingest: Ingest,
    secret: Secret,
    clock: VirtualClock,
    service: ServiceName,
    /// Heads of `main` in the order in which they were pushed, and whether each builds.
    pushed: Vec<(CommitId, bool)>,
    /// Deliveries that were answered 2xx.
    accepted: Vec<crate::name::DeliveryId>,
    /// Requests that come later than they should.
    late: Vec<http::Request<bytes::Bytes>>,
    by_hand: bool,
    lives: u32,
    requests: Requests,
    people: People,
}

const BROKEN: &str = "broken";

fn limits() -> Limits {
    Limits { total: 3, by_executor: BTreeMap::new() }
}

fn owner() -> Subject {
    Subject::new(MemberId::parse("owner").expect("a member"), Role::Owner)
}

impl World {
    async fn new(plan: &Plan) -> Self {
        let chaos = Chaos::none();
        let provider = ProviderName::parse("fake").expect("a provider");
        let repository = Repository { id: None, path: "team/site".into() };
        let service = ServiceName::parse("site").expect("a service");
        let environment = EnvironmentName::parse("dev").expect("an environment");
        let clock = VirtualClock::starting_at(Timestamp::from_second(1_700_000_000).expect("a time"));
        let store = Arc::new(MemoryStore::new());
        let mut draw = Draw::new(plan.seed);
        let mut settings = Settings::default();
        settings.auto_ci.push.branches = RefFilter::parse(["main", "feature/*"]).expect("patterns");
        settings.auto_ci.supersede =
            [Supersede::Queued, Supersede::Running, Supersede::Never][draw.below(3) as usize];
        settings.image = Some(ImageTarget {
            name: ImageName::parse("registry.local/site").expect("an image"),
            candidate: TagTemplate::short_commit(),
            tags: vec![TagTemplate::parse("latest").expect("a template")],
        });
        let previews = plan.previews.then(previews::settings);
        settings.deploy = AutoDeploy { auto: true, environment: Some(environment.clone()), previews };
        settings.auto_ci.merge_request.enabled = plan.previews;
        if plan.proposals {
            settings.components = vec![proposals::component()];
        }
        if plan.live_checks {
            settings.checks = ["zap", "load"].map(live_check).into();
        }
        let source = Source::Git(GitSource {
            provider: provider.clone(),
            repository: repository.clone(),
            branch: BranchName::parse("main").expect("a branch"),
        });
        for environment in [environment, prod(), previews::review()] {
            store.put_environment(&Environment::new(environment, "fake")).await.expect("stored");
        }
        store
            .put_service(&Service { name: service.clone(), source, settings }, None, clock.now())
            .await
            .expect("stored");
        let secret = Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").expect("a secret");
        let hook = Hook {
            service: service.clone(),
            provider: provider.clone(),
            repository: repository.clone(),
            hook: None,
            secrets: SecretSet::new([secret.clone()]),
        };
        store.put_hook(&hook).await.expect("stored");
        let sender = FakeSender::new(provider.clone());
        let ingest = Ingest::new([Arc::new(sender.clone()) as _], IngestLimits::default(), [7; 32]);
        Self {
            plan: *plan,
            draw,
            store,
            logs: Arc::new(MemoryLogStore::default()),
            git: git_host(plan, provider, repository, &chaos),
            registry: FakeRegistry::new(chaos.clone()),
            deployer: FakeDeployer::new("fake", chaos.clone()),
            runs: Runs::default(),
            checks: Runs::default(),
            sender,
            ingest,
            secret,
            clock,
            service,
            pushed: Vec::new(),
            accepted: Vec::new(),
            late: Vec::new(),
            by_hand: false,
            lives: 0,
            requests: Requests::of_seed(plan.seed),
            people: People::of_seed(plan.seed),
            chaos,
        }
    }

    fn driver(&self) -> Driver {
        let git = self.git.clone();
        let script = move |spec: &crate::build::BuildSpec| {
            let message = spec.metadata.git_commit_message.as_str();
            let failure = || Failure::new(Stage::Build, FailureKind::RunFailed, "exit code 1");
            RunScript {
                end: (message == BROKEN).then(|| RunOutcome::Failed(failure())),
                ..RunScript::default()
            }
        };
        let executor =
            FakeExecutor::new("fake", self.runs.clone(), self.registry.clone(), self.chaos.clone(), script);
        let adapters = Adapters::builder()
            .provider(Arc::new(git))
            .registry("registry.local", Arc::new(self.registry.clone()))
            .executor(Arc::new(executor))
            .runner(Arc::new(FakeRunner::new(self.checks.clone(), self.chaos.clone(), check_script)))
            .deployer(Arc::new(self.deployer.clone()))
            .build();
        let store = ChaosStore::new(Arc::clone(&self.store), self.chaos.clone(), limits());
        let mut config = DriverConfig::new("sim");
        config.limits = limits();
        config.parallel = self.plan.parallel;
        config.keep = Keep::EVERYTHING;
        let logs = Arc::<MemoryLogStore>::clone(&self.logs);
        Driver::new(Arc::new(store), logs, adapters, Rules::none(), Arc::new(self.clock), config)
    }

    /// Plays the steps, each while a driver works; a crash ends its life, and the next one begins.
    async fn happen(&mut self, plan: &Plan) {
        self.chaos = Chaos::new(plan.seed, Rates::default());
        let (name, repository) = (GitProvider::name(&self.git), self.git.repository().clone());
        self.git = git_host(plan, name, repository, &self.chaos);
        self.registry = FakeRegistry::new(self.chaos.clone());
        self.deployer = FakeDeployer::new("fake", self.chaos.clone());
        self.chaos.set(plan.rates);
        let mut left = plan.steps;
        while left > 0 {
            self.lives += 1;
            let driver = self.driver();
            let chaos = self.chaos.clone();
            let crashed = {
                let working = driver.run(std::future::pending(), Duration::ZERO);
                let happening = async {
                    while left > 0 {
                        left -= 1;
                        self.step(&driver).await;
                        if plan.previews {
                            self.step_of_requests(&driver).await;
                        }
                        self.some_answer();
                        let pause = Duration::from_millis(self.draw.below(20_000));
                        tokio::time::sleep(pause).await;
                    }
                };
                tokio::select! {
                    biased;
                    () = chaos.crashed() => true,
                    () = working => true,
                    () = happening => false,
                }
            };
            if crashed {
                self.crash();
            }
        }
    }

    fn crash(&self) {
        if self.plan.in_process {
            self.runs.forget_all();
            self.checks.forget_all();
        }
    }

    async fn step(&mut self, driver: &Driver) {
        match self.draw.below(12) {
            0..=5 => self.push("refs/heads/main").await,
            6 => self.push("refs/heads/feature/a/b").await,
            7 => {
                if !self.late.is_empty() {
                    let at = usize::try_from(self.draw.below(self.late.len() as u64)).unwrap_or(0);
                    let request = self.late.remove(at);
                    let _ = self.deliver(request).await;
                }
            }
            8 => {
                self.by_hand = true;
                let nonce = format!("n{}", self.draw.next());
                let _ = driver.build_newest(&self.service, None, Trigger::Manual, nonce, owner()).await;
            }
            9 => {
                if let Some(build) = self.some_build().await {
                    let _ = driver
                        .command(&self.service, Command::CancelBuild { build: build.id }, owner())
                        .await;
                    self.by_hand = true;
                }
            }
            10 => {
                if let Some((commit, _)) = self.pushed.last().filter(|_| self.draw.hits(300)) {
                    self.deployer.make_unhealthy(commit);
                    self.by_hand = true;
                }
            }
            _ => {
                if let Some(build) = self.some_build().await {
                    self.by_hand = true;
                    let nonce = format!("d{}", self.draw.next());
                    let environment = (self.plan.live_checks && self.draw.below(2) == 0).then(prod);
                    let command = Command::DeployBuild { build: build.id, environment, nonce };
                    let _ = driver.command(&self.service, command, owner()).await;
                }
            }
        }
        driver.wake();
    }

    async fn some_build(&mut self) -> Option<Build> {
        let mut builds =
            self.store.builds(None, Page::first(1000)).await.expect("the memory store reads").items;
        let at = usize::try_from(self.draw.below(builds.len() as u64)).unwrap_or(0);
        (!builds.is_empty()).then(|| builds.swap_remove(at))
    }

    /// A push: its delivery comes, comes twice, comes late, or is lost.
    async fn push(&mut self, git_ref: &str) {
        let git_ref = GitRef::parse(git_ref).expect("a ref");
        let builds = !self.draw.hits(150);
        let label = format!("{}-{}", self.plan.seed, self.draw.next());
        let parent = self.git.at(&git_ref);
        let message = if builds { "change" } else { BROKEN };
        let files = [("Dockerfile", "FROM scratch"), ("content", label.as_str())];
        let head = self.git.commit(&label, parent.as_ref(), message, &files);
        let before = self.git.point(&git_ref, Some(&head));
        if git_ref.branch().is_some_and(|branch| branch.as_str() == "main") {
            self.pushed.push((head.clone(), builds));
        }
        let push = Push {
            action: None,
            git_ref,
            before: Tip::from(before),
            head: Tip::At(head),
            files: ChangedFiles::Unknown,
            message: self.draw.hits(500).then(|| message.to_owned()),
            commit: CommitFacts::default(),
        };
        let event = Event {
            repository: self.git.repository().clone(),
            actor: Some(Actor { id: None, name: "ada".into() }),
            kind: EventKind::Push(push),
        };
        let now = self.clock.now();
        let request = |id: &str| {
            self.sender.request(id, std::slice::from_ref(&event), &self.secret, now).expect("a request")
        };
        match self.draw.below(10) {
            0 => {}
            1 => self.late.push(request(&label)),
            2 => {
                let (first, second) = (request(&label), request(&label));
                let _ = self.deliver(first).await;
                let _ = self.deliver(second).await;
            }
            _ => {
                let request = request(&label);
                let _ = self.deliver(request).await;
            }
        }
    }

    /// Says whether it was answered 2xx.
    async fn deliver(&mut self, request: http::Request<bytes::Bytes>) -> bool {
        let store = ChaosStore::new(Arc::clone(&self.store), self.chaos.clone(), limits());
        let taken = self.ingest.handle(request, &store, self.clock.now()).await;
        let success = taken.response.status().is_success();
        if success {
            self.accepted.extend(taken.accepted.into_iter().map(|accepted| match accepted {
                Accepted::New(id) | Accepted::Duplicate(id) => id,
            }));
        }
        success
    }

    /// Nothing goes wrong any more: within six virtual hours everything must be over.
    async fn settle(&mut self) {
        self.chaos.set(Rates::default());
        self.lives += 1;
        self.crash();
        let driver = self.driver();
        let working = driver.run(std::future::pending(), Duration::ZERO);
        let settled = async {
            for _ in 0..2160 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                self.all_say_yes();
                if self.is_settled().await {
                    return;
                }
            }
            let builds =
                self.store.builds(None, Page::first(1000)).await.expect("the memory store reads").items;
            let open: Vec<_> = builds
                .iter()
                .filter(|build| !build.is_at_rest())
                .map(|build| (&build.id, build.state.name()))
                .collect();
            panic!("seed {}: something hangs or was not told: {open:?}", self.plan.seed);
        };
        tokio::select! {
            biased;
            () = working => {}
            () = settled => {}
        }
    }

    async fn is_settled(&self) -> bool {
        let store = &self.store;
        let builds = store.builds(None, Page::first(1000)).await.expect("the memory store reads").items;
        let releases = store.releases(None, Page::first(1000)).await.expect("the memory store reads").items;
        let undecided = store.has_undecided(&self.service).await.expect("the memory store reads");
        let (_, slots) = store.queue().await.expect("the memory store reads");
        let known = self.heads_are_decided().await;
        builds.iter().all(Build::is_at_rest)
            && releases.iter().all(|release| release.is_over())
            && !undecided
            && slots.is_empty()
            && known
            && self.deployer.proposed().is_empty()
            && self.previews_are_settled().await
            && self.host_shows_how_builds_stand(&builds).await
    }

    /// Whether the Git host was told last of each commit how the newest build of it ended.
    async fn host_shows_how_builds_stand(&self, builds: &[Build]) -> bool {
        let told = self.git.told();
        for build in builds.iter().filter(|_| self.plan.reports) {
            let of_commit = || builds.iter().filter(|other| other.commit() == build.commit());
            if of_commit().any(|other| other.order > build.order) {
                continue;
            }
            let release = match &build.release {
                Some(release) => self.store.release(release).await.expect("the memory store reads"),
                None => None,
            };
            let view = BuildView::of(build, release.as_ref());
            let last = told.iter().rev().find(|(subject, _)| subject.commit == *build.commit());
            if last.map(|(_, status)| status) != Some(&report::status(build, &view, None)) {
                return false;
            }
        }
        true
    }

    async fn heads_are_decided(&self) -> bool {
        let heads =
            ["refs/heads/main", "refs/heads/feature/a/b"].map(|name| GitRef::parse(name).expect("a ref"));
        let asked: Vec<_> = heads
            .iter()
            .filter_map(|git_ref| Some((crate::policy::RefKey::of_ref(git_ref)?, self.git.at(git_ref)?)))
            .collect();
        let standings = self.store.decided(&self.service, &asked).await.expect("the memory store reads");
        standings.iter().all(|standing| *standing == crate::store::HeadStanding::Decided)
    }

    async fn check(&self, plan: &Plan) -> Played {
        let seed = plan.seed;
        let builds = self.store.builds(None, Page::first(1000)).await.expect("the memory store reads").items;
        let releases =
            self.store.releases(None, Page::first(1000)).await.expect("the memory store reads").items;
        let deliveries =
            self.store.deliveries(None, Page::first(1000)).await.expect("the memory store reads").items;
        for id in &self.accepted {
            assert!(
                deliveries.iter().any(|delivery| delivery.id == *id),
                "seed {seed}: {id} was answered 2xx and is not there"
            );
        }
        let quarantined =
            self.store.quarantined(Page::first(1000)).await.expect("the memory store reads").items;
        assert!(quarantined.is_empty(), "seed {seed}: set aside: {quarantined:?}");
        for delivery in &deliveries {
            for event in &delivery.events {
                let Some(decision) = &event.decision else {
                    panic!("seed {seed}: {} was never decided", delivery.id)
                };
                if let Outcome::Build(planned) = &decision.outcome {
                    self.check_builds(plan, &builds, planned);
                }
            }
        }
        // What somebody deployed by hand in between may be replaced by the head again.
        for build in builds.iter().filter(|_| !self.by_hand) {
            let of_build = |release: &&crate::release::Release| {
                release.origin.build() == Some(&build.id) && release.target.preview.is_none()
            };
            let made = releases.iter().filter(of_build).count();
            assert!(made <= 1, "seed {seed}: {} was released {made} times", build.id);
        }
        self.check_live(seed, &builds, &releases).await;
        self.check_previews(seed, &builds, &releases).await;
        if plan.proposals {
            self.check_proposals(seed, &releases);
        }
        for build in &builds {
            check_reports(seed, self.logs.as_ref(), build).await;
        }
        let running = self.runs.running() + self.checks.running();
        assert_eq!(running, 0, "seed {seed}: a run goes on that nobody stands behind");
        let (calls, crashes) = self.chaos.counts();
        Played { calls, crashes, builds: builds.len(), releases: releases.len() }
    }

    fn check_builds(&self, plan: &Plan, builds: &[Build], planned: &[crate::policy::Planned]) {
        let seed = plan.seed;
        for planned in planned {
            let of_commit: Vec<&Build> =
                builds.iter().filter(|build| *build.commit() == planned.commit).collect();
            let automatic = of_commit.iter().filter(|build| !matches!(build.trigger, Trigger::Manual));
            let succeeded = automatic.filter(|build| build.state == BuildState::Succeeded).count();
            assert!(succeeded <= 1, "seed {seed}: {} succeeded twice", planned.commit);
            assert!(!of_commit.is_empty(), "seed {seed}: {} has no build", planned.commit);
            let fine = |build: &&Build| match &build.state {
                BuildState::Succeeded | BuildState::Superseded { .. } | BuildState::Canceled { .. } => true,
                BuildState::Failed(failure) => failure.kind == FailureKind::RunFailed || !plan.is_strict(),
                BuildState::Error(_) => !plan.is_strict(),
                _ => false,
            };
            let ends: Vec<_> = of_commit.iter().map(|build| &build.state).collect();
            assert!(of_commit.iter().any(fine), "seed {seed}: {} ended {ends:?}", planned.commit);
        }
    }

    /// What is live is the newest that was to be, and the runtime agrees with the store.
    async fn check_live(&self, seed: u64, builds: &[Build], releases: &[crate::release::Release]) {
        let dev = |release: &&crate::release::Release| {
            release.target.environment != prod() && release.target.preview.is_none()
        };
        let Some(release) = releases.iter().find(dev) else { return };
        let lane = Lane {
            environment: release.target.environment.clone(),
            component: release.target.component.clone(),
        };
        let Some(live) = self.store.lane(&self.service, &lane).await.expect("the memory store reads") else {
            return;
        };
        let running = self.deployer.live(&release.target).expect("something is live");
        // What people accepted and then failed stays: only they take it back.
        if !(self.plan.proposals && live.unsure) {
            assert_eq!(
                running.images, live.images,
                "seed {seed}: the runtime runs something else than is noted"
            );
        }
        if self.by_hand || self.people.said_no {
            return;
        }
        let newest = builds
            .iter()
            .filter(|build| build.state == BuildState::Succeeded && build.wants_release().is_some())
            .max_by_key(|build| build.order);
        let failed = releases
            .iter()
            .filter(dev)
            .any(|release| matches!(release.state, ReleaseState::Failed(_) | ReleaseState::RolledBack(_)));
        if let Some(newest) = newest.filter(|_| !failed) {
            let image = newest.image().expect("an image");
            assert!(
                live.images.values().any(|live| *live == image),
                "seed {seed}: the newest build {} is not live",
                newest.id
            );
            if self.plan.live_checks && self.plan.is_strict() {
                check_verdict(seed, newest);
            }
        }
    }
}

fn prod() -> EnvironmentName {
    EnvironmentName::parse("prod").expect("an environment")
}

fn git_host(plan: &Plan, provider: ProviderName, repository: Repository, chaos: &Chaos) -> FakeGit {
    let git = FakeGit::new(provider, repository, chaos.clone());
    if plan.reports { git.with_statuses() } else { git }
}
