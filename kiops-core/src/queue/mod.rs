//! Which build starts next: slots, fairness, and what a waiting build waits for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::{BuildId, ServiceName};

/// How many builds run at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Of all services together.
    pub total: u32,
    /// On one executor; executors that are not named have no limit of their own.
    pub by_executor: BTreeMap<String, u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: 4, by_executor: BTreeMap::new() }
    }
}

/// A place among those that a limit gives: unique by (limit, n), which is how a limit holds under any number of replicas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// Which limit.
    pub limit: LimitName,
    /// Which of its places, from 0.
    pub n: u32,
    /// Who has it.
    pub build: BuildId,
}

/// Which limit a slot belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitName {
    /// All builds.
    Total,
    /// Builds of a service.
    Service(ServiceName),
    /// Builds on an executor.
    Executor(String),
}

impl std::fmt::Display for LimitName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Total => f.write_str("total"),
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Executor(name) => write!(f, "executor:{name}"),
        }
    }
}

/// A build that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The build.
    pub build: BuildId,
    /// Its service.
    pub service: ServiceName,
    /// How many builds of that service run at once.
    pub service_limit: u32,
    /// Executors that refused it.
    pub refused_by: Vec<String>,
    /// When it was made.
    pub since: Timestamp,
    /// Its place among the service's builds.
    pub order: u64,
    /// Not before this.
    pub not_before: Option<Timestamp>,
}

/// A build that may start, and with which slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// The build.
    pub build: BuildId,
    /// Its service.
    pub service: ServiceName,
    /// The executor that takes it.
    pub executor: String,
    /// The slots to take.
    pub slots: Vec<Slot>,
}

/// What a waiting build waits for (K46).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// The total limit is reached.
    Total {
        /// The limit.
        limit: u32,
    },
    /// The service's limit is reached.
    Service {
        /// The limit.
        limit: u32,
    },
    /// The limit of every executor that could take it is reached.
    Executor,
    /// Every executor refused it.
    NoExecutor,
    /// Its next try is due then.
    Until(Timestamp),
    /// Nothing: it starts in a moment.
    Nothing,
}

impl std::fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Total { limit } => {
                write!(
                    f,
                    "the limit of {limit} builds at once is reached: wait, or cancel builds that are not needed"
                )
            }
            Self::Service { limit } => {
                write!(
                    f,
                    "the service's limit of {limit} builds at once is reached: wait, or cancel builds that are not needed"
                )
            }
            Self::Executor => {
                f.write_str("the executor's limit is reached: wait, or cancel builds that are not needed")
            }
            Self::NoExecutor => f.write_str("no executor is there that has not refused it"),
            Self::Until(at) => write!(f, "the next try at {at}"),
            Self::Nothing => f.write_str("it starts in a moment"),
        }
    }
}

/// The builds that may start now, with their slots, in the order in which to start them.
///
/// Fair: of the services that have something waiting, the one with the fewest running builds comes first, then who has
/// waited longest; within a service the order of decisions counts.
pub fn pick(
    waiting: &[Waiting],
    taken: &BTreeSet<Slot>,
    executors: &[String],
    limits: &Limits,
    now: Timestamp,
) -> Vec<Pick> {
    let mut used = Used::of(taken);
    let mut rest: Vec<&Waiting> =
        waiting.iter().filter(|build| build.not_before.is_none_or(|at| at <= now)).collect();
    rest.sort_by(|a, b| (a.order, a.since, &a.build).cmp(&(b.order, b.since, &b.build)));
    let mut picks = Vec::new();
    loop {
        let mut services: Vec<(u32, Timestamp, &ServiceName)> = Vec::new();
        for build in &rest {
            if !services.iter().any(|(_, _, name)| **name == build.service) {
                let running = used.count(&LimitName::Service(build.service.clone()));
                services.push((running, build.since, &build.service));
            }
        }
        services.sort();
        let next = services.iter().find_map(|(_, _, service)| {
            let at = rest.iter().position(|build| {
                build.service == **service && used.fits(build, executors, limits).is_ok()
            })?;
            Some(rest.remove(at))
        });
        let Some(build) = next else { return picks };
        let Ok(executor) = used.fits(build, executors, limits) else { return picks };
        picks.push(used.take(build, executor));
    }
}

/// What a build waits for.
pub fn waits_for(
    build: &Waiting,
    taken: &BTreeSet<Slot>,
    executors: &[String],
    limits: &Limits,
    now: Timestamp,
) -> WaitsFor {
    match build.not_before {
        Some(at) if at > now => WaitsFor::Until(at),
        _ => Used::of(taken).fits(build, executors, limits).err().unwrap_or(WaitsFor::Nothing),
    }
}

/// The places that are taken, by limit.
struct Used(BTreeMap<LimitName, BTreeSet<u32>>);

impl Used {
    fn of(taken: &BTreeSet<Slot>) -> Self {
        let mut used = BTreeMap::<_, BTreeSet<u32>>::new();
        for slot in taken {
            used.entry(slot.limit.clone()).or_default().insert(slot.n);
        }
        Self(used)
    }

    fn count(&self, limit: &LimitName) -> u32 {
        self.0.get(limit).map_or(0, |places| u32::try_from(places.len()).unwrap_or(u32::MAX))
    }

    /// The lowest free place, if fewer than `size` are taken: after a limit was lowered some may lie above it.
    fn free(&self, limit: &LimitName, size: u32) -> Option<u32> {
        let places = self.0.get(limit);
        if self.count(limit) >= size {
            return None;
        }
        (0..size).find(|n| !places.is_some_and(|places| places.contains(n)))
    }

    fn fits(&self, build: &Waiting, executors: &[String], limits: &Limits) -> Result<String, WaitsFor> {
        if self.free(&LimitName::Total, limits.total).is_none() {
            return Err(WaitsFor::Total { limit: limits.total });
        }
        if self.free(&LimitName::Service(build.service.clone()), build.service_limit).is_none() {
            return Err(WaitsFor::Service { limit: build.service_limit });
        }
        let mut willing = executors.iter().filter(|name| !build.refused_by.contains(name)).peekable();
        if willing.peek().is_none() {
            return Err(WaitsFor::NoExecutor);
        }
        let free = |name: &&String| match limits.by_executor.get(*name) {
            Some(size) => self.free(&LimitName::Executor((*name).clone()), *size).is_some(),
            None => true,
        };
        willing.find(free).cloned().ok_or(WaitsFor::Executor)
    }

    fn take(&mut self, build: &Waiting, executor: String) -> Pick {
        let mut slots = Vec::new();
        // Every build counts against its executor, limited or not: a limit may be set later.
        for limit in [
            LimitName::Total,
            LimitName::Service(build.service.clone()),
            LimitName::Executor(executor.clone()),
        ] {
            let n = self.free(&limit, u32::MAX).unwrap_or(u32::MAX);
            self.0.entry(limit.clone()).or_default().insert(n);
            slots.push(Slot { limit, n, build: build.build.clone() });
        }
        Pick { build: build.build.clone(), service: build.service.clone(), executor, slots }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(name: &str, service: &str, order: u64) -> Waiting {
        Waiting {
            build: BuildId::derive([name]),
            service: ServiceName::parse(service).unwrap(),
            service_limit: 2,
            refused_by: Vec::new(),
            since: Timestamp::from_second(i64::try_from(order).unwrap()).unwrap(),
            order,
            not_before: None,
        }
    }

    fn run(waiting: &[Waiting], taken: &BTreeSet<Slot>, limits: &Limits) -> Vec<Pick> {
        pick(waiting, taken, &["assembler".to_owned()], limits, Timestamp::from_second(1_000_000).unwrap())
    }

    #[test]
    fn a_busy_service_does_not_starve_a_quiet_one() {
        let builds: Vec<_> =
            (0..5).map(|n| waiting(&format!("a{n}"), "busy", n)).chain([waiting("b", "quiet", 99)]).collect();
        let picks = run(&builds, &BTreeSet::new(), &Limits { total: 2, ..Limits::default() });
        assert_eq!(picks.iter().map(|pick| pick.service.as_str()).collect::<Vec<_>>(), ["busy", "quiet"]);
    }

    #[test]
    fn limits_hold_and_places_are_unique() {
        let builds: Vec<_> = (0..9).map(|n| waiting(&format!("a{n}"), &format!("s{}", n % 3), n)).collect();
        let limits = Limits { total: 5, by_executor: [("assembler".to_owned(), 4)].into() };
        let picks = run(&builds, &BTreeSet::new(), &limits);
        assert_eq!(picks.len(), 4);
        let slots: Vec<_> = picks.iter().flat_map(|pick| &pick.slots).collect();
        let places: BTreeSet<_> = slots.iter().map(|slot| (&slot.limit, slot.n)).collect();
        assert_eq!(places.len(), slots.len());
        let taken: BTreeSet<Slot> = slots.into_iter().cloned().collect();
        assert_eq!(run(&builds[4..], &taken, &limits), []);
        let waits = waits_for(&builds[8], &taken, &["assembler".to_owned()], &limits, Timestamp::UNIX_EPOCH);
        assert_eq!(waits, WaitsFor::Executor);
    }

    #[test]
    fn a_build_that_every_executor_refused_says_so() {
        let mut build = waiting("a", "s", 1);
        build.refused_by.push("assembler".into());
        assert_eq!(run(&[build.clone()], &BTreeSet::new(), &Limits::default()), []);
        let waits = waits_for(
            &build,
            &BTreeSet::new(),
            &["assembler".to_owned()],
            &Limits::default(),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(waits, WaitsFor::NoExecutor);
    }

    fn taken(slots: &[(LimitName, u32)]) -> BTreeSet<Slot> {
        let held = |(n, (limit, place)): (usize, &(LimitName, u32))| Slot {
            limit: limit.clone(),
            n: *place,
            build: BuildId::derive(["held", &n.to_string()]),
        };
        slots.iter().enumerate().map(held).collect()
    }

    #[test]
    fn a_lowered_limit_counts_builds_that_hold_places_above_it() {
        let taken = taken(&[(LimitName::Total, 2), (LimitName::Total, 3)]);
        let limits = |total| Limits { total, ..Limits::default() };
        assert_eq!(run(&[waiting("a", "s", 1)], &taken, &limits(2)), []);
        assert_eq!(run(&[waiting("a", "s", 1)], &taken, &limits(3)).len(), 1);
    }

    #[test]
    fn a_monorepos_components_run_in_parallel_up_to_the_services_limit() {
        let builds: Vec<_> = (0..5).map(|n| waiting(&format!("c{n}"), "mono", n)).collect();
        let picks = run(&builds, &BTreeSet::new(), &Limits { total: 9, ..Limits::default() });
        let first: Vec<_> = builds.iter().take(2).map(|build| build.build.clone()).collect();
        assert_eq!(picks.iter().map(|pick| pick.build.clone()).collect::<Vec<_>>(), first);
        let taken: BTreeSet<Slot> = picks.into_iter().flat_map(|pick| pick.slots).collect();
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(1);
        let limits = Limits { total: 9, ..Limits::default() };
        let waits = waits_for(&builds[4], &taken, &["assembler".to_owned()], &limits, now);
        assert_eq!(waits, WaitsFor::Service { limit: 2 });
        assert!(waits.to_string().contains("the service's limit of 2 builds at once is reached"));
    }

    #[test]
    fn a_build_whose_next_try_is_later_stands_in_nobodys_way() {
        let later = Timestamp::from_second(2_000_000).unwrap();
        let first = Waiting { not_before: Some(later), ..waiting("a", "s", 1) };
        let picks = run(&[first.clone(), waiting("b", "s", 2)], &BTreeSet::new(), &Limits::default());
        assert_eq!(picks.iter().map(|pick| pick.build.clone()).collect::<Vec<_>>(), [BuildId::derive(["b"])]);
        let now = Timestamp::UNIX_EPOCH;
        let waits = waits_for(&first, &BTreeSet::new(), &["assembler".to_owned()], &Limits::default(), now);
        assert_eq!(waits, WaitsFor::Until(later));
    }

    #[test]
    fn a_full_executor_leaves_its_builds_to_another() {
        let limits = Limits { total: 9, by_executor: [("first".to_owned(), 1)].into() };
        let executors = ["first".to_owned(), "second".to_owned()];
        let builds = [waiting("a", "s", 1), waiting("b", "t", 2)];
        let picks = pick(&builds, &BTreeSet::new(), &executors, &limits, Timestamp::MAX);
        assert_eq!(picks.iter().map(|pick| pick.executor.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    }

    /// Starts and ends in all.
    const TRANSITIONS: usize = 200_000;

    #[test]
    fn limits_hold_and_nobody_waits_in_vain_whatever_comes_and_goes() {
        use crate::build::tests::Rng;
        let mut rng = Rng(7);
        let executors = ["a".to_owned(), "b".to_owned()];
        let (mut queue, mut slots, mut done) = (Vec::<Waiting>::new(), BTreeSet::<Slot>::new(), 0);
        let mut limits = Limits::default();
        for n in 0.. {
            if done >= TRANSITIONS {
                break;
            }
            let name = format!("s{}", rng.below(4));
            let mut build = waiting(&n.to_string(), &name, n);
            build.service_limit = 1 + u32::from(name == "s0");
            if rng.one_in(4) {
                build.refused_by.push(rng.pick(&executors).clone());
            }
            queue.push(build);
            if rng.one_in(50) {
                let total = u32::try_from(rng.below(6)).unwrap();
                limits = Limits { total, by_executor: [("a".to_owned(), total / 2)].into() };
            }
            let before = slots.len();
            let picks = pick(&queue, &slots, &executors, &limits, Timestamp::MAX);
            for pick in &picks {
                let at = queue.iter().position(|build| build.build == pick.build).expect("it waited, once");
                let build = queue.swap_remove(at);
                assert!(!build.refused_by.contains(&pick.executor));
                for slot in &pick.slots {
                    let free = !slots.iter().any(|held| (&held.limit, held.n) == (&slot.limit, slot.n));
                    assert!(free, "a place was given twice: {slot:?}");
                    slots.insert(slot.clone());
                }
                let held = |limit: LimitName| slots.iter().filter(|slot| slot.limit == limit).count() as u32;
                assert!(held(LimitName::Total) <= limits.total);
                assert!(held(LimitName::Service(build.service.clone())) <= build.service_limit);
                if let Some(limit) = limits.by_executor.get(&pick.executor) {
                    assert!(held(LimitName::Executor(pick.executor.clone())) <= *limit);
                }
                done += 1;
            }
            assert!(slots.len() == before + 3 * picks.len());
            // Whoever still waits has a reason, and the reason says which.
            for build in &queue {
                let waits = waits_for(build, &slots, &executors, &limits, Timestamp::MAX);
                assert_ne!(waits, WaitsFor::Nothing, "{build:?}");
            }
            // Some end; the queue never grows without bound.
            let running: BTreeSet<BuildId> = slots.iter().map(|slot| slot.build.clone()).collect();
            let over: Vec<BuildId> = running.into_iter().filter(|_| rng.one_in(2)).collect();
            done += over.len();
            slots.retain(|slot| !over.contains(&slot.build));
            if queue.len() > 12 {
                queue.drain(..6);
            }
        }
    }
}
