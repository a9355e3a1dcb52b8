//! The one watch over all runs: their Jobs, their pods, and what keeps a Job from having a pod.
//!
//! Every run has a channel of its own, so that a change wakes only those who follow that run.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kiops_core::name::RunId;
use kiops_core::{Error, ErrorKind, Result, Retry};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::phase::Seen;
use super::{RunsConfig, names};
use crate::cluster::{Access, Cluster};

/// What is known of all runs, kept up to date.
#[derive(Debug)]
pub(crate) struct Watch {
    table: Arc<Table>,
    tasks: [AbortHandle; 3],
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
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

/// What was listed whole at least once, and why it is not.
#[derive(Debug, Clone, Default)]
struct Synced {
    jobs: bool,
    pods: bool,
    refused: Option<Arc<Error>>,
}

impl Watch {
    /// Starts watching. Needs a tokio runtime.
    pub(crate) fn start(cluster: &Cluster, config: &RunsConfig) -> Self {
        let table = Arc::new(Table { rows: Mutex::default(), synced: watch::Sender::default() });
        let (client, namespace) = (cluster.client(), config.namespace.as_str());
        let ours = watcher::Config::default().labels(&names::selector(config));
        let refusals = watcher::Config::default().fields("involvedObject.kind=Job,reason=FailedCreate");
        let jobs = Kind { api: Api::<Job>::namespaced(client.clone(), namespace), config: ours.clone() };
        let pods = Kind { api: Api::<Pod>::namespaced(client.clone(), namespace), config: ours };
        let events = Kind { api: Api::<KubeEvent>::namespaced(client.clone(), namespace), config: refusals };
        let place = |resource| Place { cluster: cluster.clone(), namespace: namespace.to_owned(), resource };
        let tasks = [
            tokio::spawn(follow(jobs, Arc::clone(&table), place("jobs"))),
            tokio::spawn(follow(pods, Arc::clone(&table), place("pods"))),
            tokio::spawn(follow(events, Arc::clone(&table), place("events"))),
        ];
        Self { table, tasks: tasks.map(|task| task.abort_handle()) }
    }

    /// Resolves when all Jobs and pods were listed once. What may pass is waited for.
    ///
    /// # Errors
    /// What the cluster refuses for good, and after `patience` what it answered last, or `Timeout`.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<()> {
        let mut synced = self.table.synced.subscribe();
        let settled = synced.wait_for(|now| {
            (now.jobs && now.pods) || now.refused.as_ref().is_some_and(|error| error.retry() == Retry::Never)
        });
        let settled = tokio::time::timeout(patience, settled).await;
        let settled = settled.ok().and_then(std::result::Result::ok).map(|found| found.clone());
        let found = settled.unwrap_or_else(|| self.table.synced.borrow().clone());
        match found.refused {
            _ if found.jobs && found.pods => Ok(()),
            Some(error) => Err(error.told_again()),
            None => {
                let text = "the runs of the cluster were not listed in time";
                Err(Error::new(ErrorKind::Timeout, "watch jobs", text).with_retry(Retry::Maybe))
            }
        }
    }

    /// What is seen of a run, now and from now on.
    pub(crate) fn subscribe(&self, run: &RunId) -> watch::Receiver<Seen> {
        let mut rows = self.table.rows();
        // Those that nobody asks for any more, and of which nothing is left.
        rows.runs.retain(|_, row| row.receiver_count() > 0 || *row.borrow() != Seen::default());
        rows.row(run.as_str()).subscribe()
    }

    /// Every run of this runner that has a Job, and what is seen of it.
    pub(crate) fn all(&self, runner: &str) -> Vec<(RunId, Seen)> {
        let rows = self.table.rows();
        let of_runner = |job: &Job| label(job, names::RUNNER) == Some(runner);
        let known = rows.runs.iter().filter_map(|(run, row)| {
            let seen = row.borrow().clone();
            let job = seen.job.as_deref().filter(|job| job.metadata.deletion_timestamp.is_none())?;
            if !of_runner(job) {
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
}

/// What is kept of one kind of object.
trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {
    /// The object is there, like this.
    fn applied(self, rows: &mut Rows);
    /// The object is gone.
    fn deleted(&self, rows: &mut Rows);
    /// Every object of this kind that is kept is gone, but those with these uids.
    fn only(rows: &mut Rows, uids: &HashSet<String>);
    fn synced(_: &mut Synced) {}
    /// Whether runs can be followed without this kind.
    const NEEDED: bool = true;
}

impl Watched for Job {
    fn applied(self, rows: &mut Rows) {
        let Some(run) = label(&self, names::RUN).map(str::to_owned) else { return };
        let name = self.metadata.name.clone().unwrap_or_default();
        rows.by_job.insert(name, run.clone());
        rows.change(&run, |seen| seen.job = Some(Arc::new(self)));
    }

    fn deleted(&self, rows: &mut Rows) {
        let Some(run) = label(self, names::RUN) else { return };
        rows.by_job.remove(self.metadata.name.as_deref().unwrap_or_default());
        rows.change(run, |seen| {
            if seen.job.as_ref().is_some_and(|job| job.metadata.uid == self.metadata.uid) {
                (seen.job, seen.refusal) = (None, None);
            }
        });
    }

    fn only(rows: &mut Rows, uids: &HashSet<String>) {
        for row in rows.runs.values() {
            row.send_if_modified(|seen| {
                let gone = seen.job.as_ref().is_some_and(|job| !kept(job.as_ref(), uids));
                if gone {
                    (seen.job, seen.refusal) = (None, None);
                }
                gone
            });
        }
    }

    fn synced(synced: &mut Synced) {
        synced.jobs = true;
    }
}

impl Watched for Pod {
    fn applied(self, rows: &mut Rows) {
        let Some(run) = label(&self, names::RUN).map(str::to_owned) else { return };
        rows.change(&run, |seen| {
            seen.pods.retain(|pod| pod.metadata.uid != self.metadata.uid);
            seen.pods.push(Arc::new(self));
        });
    }

    fn deleted(&self, rows: &mut Rows) {
        let Some(run) = label(self, names::RUN) else { return };
        rows.change(run, |seen| seen.pods.retain(|pod| pod.metadata.uid != self.metadata.uid));
    }

    fn only(rows: &mut Rows, uids: &HashSet<String>) {
        for row in rows.runs.values() {
            row.send_if_modified(|seen| {
                let before = seen.pods.len();
                seen.pods.retain(|pod| kept(pod.as_ref(), uids));
                seen.pods.len() != before
            });
        }
    }

    fn synced(synced: &mut Synced) {
        synced.pods = true;
    }
}

impl Watched for KubeEvent {
    fn applied(self, rows: &mut Rows) {
        let job = self.involved_object.name.as_deref().unwrap_or_default();
        let Some(run) = rows.by_job.get(job).cloned() else { return };
        let message = self.message.unwrap_or_default();
        rows.change(&run, |seen| seen.refusal = Some(message));
    }

    // Events go after an hour; what they said is true until there is a pod.
    fn deleted(&self, _: &mut Rows) {}
    fn only(_: &mut Rows, _: &HashSet<String>) {}
    const NEEDED: bool = false;
}

/// What is watched of one kind.
struct Kind<K> {
    api: Api<K>,
    config: watcher::Config,
}

/// Where it is watched.
struct Place {
    cluster: Cluster,
    namespace: String,
    resource: &'static str,
}

/// Takes in what a watch says for as long as the process lives; the watch itself reconnects, and lists anew when its stream says 410.
async fn follow<K: Watched>(kind: Kind<K>, table: Arc<Table>, place: Place) {
    let mut listed = HashSet::new();
    let mut pauses = Pauses::default();
    loop {
        let watch = watcher(kind.api.clone(), kind.config.clone()).backoff(pauses.clone());
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
    let error = in_words(error, place);
    tracing::warn!(%error, resource = place.resource, "the watch over runs is interrupted");
    // A watch whose time is past is listed anew.
    if K::NEEDED && error.kind() != ErrorKind::Conflict {
        table.synced.send_modify(|synced| synced.refused = Some(Arc::new(error)));
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
                K::synced(synced);
                synced.refused = None;
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
    object.meta().labels.as_ref()?.get(key).map(String::as_str)
}

fn kept<K: Resource>(object: &K, uids: &HashSet<String>) -> bool {
    object.meta().uid.as_ref().is_some_and(|uid| uids.contains(uid))
}

fn in_words(error: &watcher::Error, place: &Place) -> Error {
    let of =
        |verb, error| Access::to(verb, place.resource, &place.namespace).error(place.cluster.name(), error);
    match error {
        watcher::Error::InitialListFailed(error) => of("list", error),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => of("watch", error),
        watcher::Error::WatchError(status) => of("watch", &kube::Error::Api(status.clone())),
        other => Error::unavailable("watch", other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

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
        (seen.job.is_some(), seen.pods.len(), seen.refusal)
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
        assert!(synced.jobs && synced.pods);
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
