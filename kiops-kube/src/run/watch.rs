//! The one watch over all runs: their Jobs or PipelineRuns, their pods, and what keeps a Job from having a pod.
//!
//! Every run has a channel of its own, so that a change wakes only those who follow that run.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kiops_core::name::RunId;
use kiops_core::{Error, ErrorKind, Result, Retry};
use kube::api::ObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::carrier::{Carrier, Kind};
use super::phase::Seen;
use super::pipeline::{PipelineRun, TaskRun, pipeline_run};
use super::{RunsConfig, names};
use crate::cluster::{Access, Cluster};

mod kinds;

/// What is known of all runs, kept up to date.
#[derive(Debug)]
pub(crate) struct Watch {
    table: Arc<Table>,
    cluster: Cluster,
    config: RunsConfig,
    _pods: Task,
    /// Begun by the first run of their kind: a cluster need not have Tekton, nor kiops a right to Jobs.
    jobs: OnceLock<[Task; 2]>,
    pipelines: OnceLock<[Task; 2]>,
}

/// A task that ends with its handle.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Table {
    rows: Mutex<Rows>,
    synced: watch::Sender<Synced>,
}

#[derive(Debug, Default)]
struct Rows {
    runs: HashMap<String, watch::Sender<Seen>>,
    /// Run by the name of its Job.
    by_job: HashMap<String, String>,
}

/// Which resources were listed whole at least once, and why others are not.
#[derive(Debug, Clone, Default)]
struct Synced {
    listed: HashSet<&'static str>,
    refused: HashMap<&'static str, Arc<Error>>,
}

impl Kind {
    /// What must be known of its runs.
    const fn watched(self) -> &'static [&'static str] {
        match self {
            Self::Job => &["jobs", "pods"],
            Self::PipelineRun => &[pipeline_run::RESOURCE, pipeline_run::TASK_RUNS, "pods"],
        }
    }
}

impl Watch {
    /// Starts watching. Needs a tokio runtime.
    pub(crate) fn start(cluster: &Cluster, config: &RunsConfig) -> Self {
        let table = Arc::new(Table { rows: Mutex::default(), synced: watch::Sender::default() });
        let _pods = follow_all::<Pod>(cluster, config, &table);
        let (cluster, config) = (cluster.clone(), config.clone());
        Self { table, cluster, config, _pods, jobs: OnceLock::new(), pipelines: OnceLock::new() }
    }

    /// Resolves when everything of the runs of this kind was listed once. What may pass is waited for.
    ///
    /// # Errors
    /// What the cluster refuses for good, and after `patience` what it answered last, or `Timeout`.
    pub(crate) async fn ready(&self, kind: Kind, patience: Duration) -> Result<()> {
        self.begin(kind);
        let is_listed = |now: &Synced| kind.watched().iter().all(|resource| now.listed.contains(resource));
        let refusal = |now: &Synced| {
            let mut refused = kind.watched().iter().filter_map(|resource| now.refused.get(resource));
            refused.next().cloned()
        };
        let mut synced = self.table.synced.subscribe();
        let settled = synced.wait_for(|now| {
            is_listed(now) || refusal(now).is_some_and(|error| error.retry() == Retry::Never)
        });
        let settled = tokio::time::timeout(patience, settled).await;
        let settled = settled.ok().and_then(std::result::Result::ok).map(|found| found.clone());
        let found = settled.unwrap_or_else(|| self.table.synced.borrow().clone());
        match refusal(&found) {
            _ if is_listed(&found) => Ok(()),
            Some(error) => Err(error.told_again()),
            None => {
                let text = "the runs of the cluster were not listed in time";
                Err(Error::new(ErrorKind::Timeout, format!("watch {}", kind.resource()), text)
                    .with_retry(Retry::Maybe))
            }
        }
    }

    fn begin(&self, kind: Kind) {
        let (cluster, config, table) = (&self.cluster, &self.config, &self.table);
        match kind {
            Kind::Job => self.jobs.get_or_init(|| {
                [follow_all::<Job>(cluster, config, table), follow_all::<KubeEvent>(cluster, config, table)]
            }),
            Kind::PipelineRun => self.pipelines.get_or_init(|| {
                [
                    follow_all::<PipelineRun>(cluster, config, table),
                    follow_all::<TaskRun>(cluster, config, table),
                ]
            }),
        };
    }

    /// What is seen of a run, now and from now on.
    pub(crate) fn subscribe(&self, run: &RunId) -> watch::Receiver<Seen> {
        let mut rows = self.table.rows();
        // Those that nobody asks for any more, and of which nothing is left.
        rows.runs.retain(|_, row| row.receiver_count() > 0 || *row.borrow() != Seen::default());
        rows.row(run.as_str()).subscribe()
    }

    /// Every run of this runner that has a Job or PipelineRun, and what is seen of it.
    pub(crate) fn all(&self, runner: &str) -> Vec<(RunId, Seen)> {
        let rows = self.table.rows();
        let of_runner = |metadata: &ObjectMeta| label_of(metadata, names::RUNNER) == Some(runner);
        let known = rows.runs.iter().filter_map(|(run, row)| {
            let seen = row.borrow().clone();
            let metadata = seen.carrier.as_deref()?.metadata();
            if metadata.deletion_timestamp.is_some() || !of_runner(metadata) {
                return None;
            }
            Some((RunId::parse(run).ok()?, seen))
        });
        known.collect()
    }
}

impl Table {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn row(&mut self, run: &str) -> &watch::Sender<Seen> {
        self.runs.entry(run.to_owned()).or_default()
    }

    fn change(&mut self, run: &str, change: impl FnOnce(&mut Seen)) {
        self.row(run).send_modify(change);
    }

    fn carrier_deleted(&mut self, metadata: &ObjectMeta) {
        let Some(run) = label_of(metadata, names::RUN) else { return };
        self.change(run, |seen| {
            if seen.carrier.as_ref().is_some_and(|carrier| carrier.metadata().uid == metadata.uid) {
                (seen.carrier, seen.refusal) = (None, None);
            }
        });
    }

    fn only_carriers(&mut self, kind: Kind, uids: &HashSet<String>) {
        let gone = |carrier: &Arc<Carrier>| carrier.kind() == kind && !kept(carrier.metadata(), uids);
        for row in self.runs.values() {
            row.send_if_modified(|seen| {
                let gone = seen.carrier.as_ref().is_some_and(gone);
                if gone {
                    (seen.carrier, seen.refusal) = (None, None);
                }
                gone
            });
        }
    }
}

/// What is kept of one kind of object.
trait Watched:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// What it is called, in the words of RBAC.
    const RESOURCE: &'static str;
    /// The object is there, like this.
    fn applied(self, rows: &mut Rows);
    /// The object is gone.
    fn deleted(&self, rows: &mut Rows);
    /// Every object of this kind that is kept is gone, but those with these uids.
    fn only(rows: &mut Rows, uids: &HashSet<String>);
    /// Which objects are asked for.
    fn wanted(config: &RunsConfig) -> watcher::Config {
        watcher::Config::default().labels(&names::selector(config))
    }
}

/// Where something is watched.
struct Place {
    cluster: Cluster,
    namespace: String,
}

fn follow_all<K: Watched>(cluster: &Cluster, config: &RunsConfig, table: &Arc<Table>) -> Task {
    let api = Api::<K>::namespaced(cluster.client().clone(), &config.namespace);
    let place = Place { cluster: cluster.clone(), namespace: config.namespace.clone() };
    Task(tokio::spawn(follow(api, K::wanted(config), Arc::clone(table), place)).abort_handle())
}

/// Takes in what a watch says for as long as the process lives; the watch itself reconnects, and lists anew when its stream says 410.
async fn follow<K: Watched>(api: Api<K>, wanted: watcher::Config, table: Arc<Table>, place: Place) {
    let mut listed = HashSet::new();
    let mut pauses = Pauses::default();
    loop {
        let watch = watcher(api.clone(), wanted.clone()).backoff(pauses.clone());
        let mut events = std::pin::pin!(watch);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if matches!(event, Event::Apply(_) | Event::Delete(_)) {
                        pauses.reset();
                    }
                    take(&table, event, &mut listed);
                }
                // Answered so instead of a stream, the watch would ask for the same time again, and for ever.
                Err(error) if is_too_old(&error) => break,
                Err(error) => interrupted::<K>(&error, &table, &place),
            }
        }
        if let Some(pause) = pauses.next() {
            tokio::time::sleep(pause).await;
        }
    }
}

fn is_too_old(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

fn interrupted<K: Watched>(error: &watcher::Error, table: &Table, place: &Place) {
    let error = in_words::<K>(error, place);
    tracing::warn!(%error, resource = K::RESOURCE, "the watch over runs is interrupted");
    // A watch whose time is past is listed anew.
    if error.kind() != ErrorKind::Conflict {
        table.synced.send_modify(|synced| {
            synced.refused.insert(K::RESOURCE, Arc::new(error));
        });
    }
}

/// How long a watch pauses after errors in a row: 0.2 s and up to [`PAUSE_MAX`], since builds wait for what it would say meanwhile.
#[derive(Debug, Clone, Default)]
struct Pauses(u32);

const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = PAUSE.saturating_mul(1 << self.0.min(10)).min(PAUSE_MAX);
        self.0 = self.0.saturating_add(1);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

fn take<K: Watched>(table: &Table, event: Event<K>, listed: &mut HashSet<String>) {
    let mut rows = table.rows();
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.extend(object.meta().uid.clone());
            trimmed(object).applied(&mut rows);
        }
        Event::InitDone => {
            K::only(&mut rows, listed);
            drop(rows);
            listed.clear();
            table.synced.send_modify(|synced| {
                synced.listed.insert(K::RESOURCE);
                synced.refused.remove(K::RESOURCE);
            });
        }
        Event::Apply(object) => trimmed(object).applied(&mut rows),
        Event::Delete(object) => object.deleted(&mut rows),
    }
}

/// Without what nobody reads here and what is half of an object's size.
fn trimmed<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

fn label<'a, K: Resource>(object: &'a K, key: &str) -> Option<&'a str> {
    label_of(object.meta(), key)
}

fn label_of<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn kept(metadata: &ObjectMeta, uids: &HashSet<String>) -> bool {
    metadata.uid.as_ref().is_some_and(|uid| uids.contains(uid))
}

fn in_words<K: Watched>(error: &watcher::Error, place: &Place) -> Error {
    let of = |verb, error| Access::to(verb, K::RESOURCE, &place.namespace).error(place.cluster.name(), error);
    match error {
        watcher::Error::InitialListFailed(error) => of("list", error),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => of("watch", error),
        watcher::Error::WatchError(status) => of("watch", &kube::Error::Api(status.clone())),
        other => Error::unavailable("watch", other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(run: &str, name: &str) -> ObjectMeta {
        let labels =
            [(names::RUN.to_owned(), run.to_owned()), (names::RUNNER.to_owned(), "kaniko".to_owned())];
        ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}")),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        }
    }

    fn job(run: &str) -> Job {
        Job { metadata: metadata(run, run), ..Job::default() }
    }

    fn pod(run: &str, name: &str) -> Pod {
        Pod { metadata: metadata(run, name), ..Pod::default() }
    }

    fn table() -> Table {
        Table { rows: Mutex::default(), synced: watch::Sender::default() }
    }

    fn seen(table: &Table, run: &str) -> (bool, usize, Option<String>) {
        let seen = table.rows().row(run).borrow().clone();
        (seen.carrier.is_some(), seen.pods.len(), seen.refusal)
    }

    fn list<K: Watched>(table: &Table, objects: Vec<K>) {
        let mut listed = HashSet::new();
        take::<K>(table, Event::Init, &mut listed);
        objects.into_iter().for_each(|object| take(table, Event::InitApply(object), &mut listed));
        take::<K>(table, Event::InitDone, &mut listed);
    }

    #[test]
    fn what_is_not_listed_again_after_a_break_is_gone() {
        let table = table();
        list(&table, vec![job("a"), job("b")]);
        list(&table, vec![pod("a", "a-1"), pod("b", "b-1")]);
        assert_eq!((seen(&table, "a"), seen(&table, "b")), ((true, 1, None), (true, 1, None)));
        list(&table, vec![job("b")]);
        list(&table, vec![pod("a", "a-2")]);
        assert_eq!((seen(&table, "a"), seen(&table, "b")), ((false, 1, None), (true, 0, None)));
        let synced = table.synced.borrow().clone();
        assert_eq!(synced.listed, ["jobs", "pods"].into());
    }

    #[test]
    fn a_change_wakes_those_alone_who_follow_that_run() {
        let table = table();
        let mut of_a = table.rows().row("a").subscribe();
        let mut of_b = table.rows().row("b").subscribe();
        take(&table, Event::Apply(job("a")), &mut HashSet::new());
        assert!(of_a.has_changed().unwrap() && !of_b.has_changed().unwrap());
        of_a.borrow_and_update();
        take(&table, Event::Apply(pod("b", "b-1")), &mut HashSet::new());
        assert!(!of_a.has_changed().unwrap() && of_b.has_changed().unwrap());
        of_b.borrow_and_update();
        take(&table, Event::Delete(pod("b", "b-1")), &mut HashSet::new());
        assert_eq!(seen(&table, "b"), (false, 0, None));
    }

    #[test]
    fn an_event_about_a_job_reaches_its_run() {
        let table = table();
        list(&table, vec![job("a")]);
        let event = serde_json::json!({
            "metadata": { "name": "a.1" }, "involvedObject": { "name": "a" }, "message": "exceeded quota: q" });
        let event: KubeEvent = serde_json::from_value(event).unwrap();
        take(&table, Event::Apply(event), &mut HashSet::new());
        assert_eq!(seen(&table, "a"), (true, 0, Some("exceeded quota: q".into())));
        take(&table, Event::Delete(job("a")), &mut HashSet::new());
        assert_eq!(seen(&table, "a"), (false, 0, None));
    }
}
