//! What executors and check runners on Kubernetes share: a run is one Job, or one PipelineRun of Tekton's, with one Secret of its own.
//!
//! - A run's names are derived from its id, so that starting it twice finds it, and nothing of ours has to be kept: after a restart the
//!   Job or PipelineRun, its pod and the log that the node keeps tell everything.
//! - One watch follows all runs of one kiops in one namespace. Nothing is polled.
//! - A canceled Job's pod is told to end, not deleted: its log can be read until the run is forgotten. A PipelineRun's is Tekton's to end.

mod cancel;
mod carrier;
mod clone;
mod end;
mod follow;
mod log;
mod mask;
mod names;
mod network;
mod notes;
mod number;
mod object;
mod phase;
mod pipeline;
mod pod;
mod reader;
mod source;
mod stop;
mod watch;

pub use network::{Cidr, Network, Restrictions, network_policy};

pub(crate) use carrier::{Carrier, Kind};
pub(crate) use clone::{CloneAddress, clone_address, not_fetched};
#[cfg(test)]
pub(crate) use object::RunObjects;
pub(crate) use object::{DOCKER_CONFIG_JSON, Draft, SecretItem, objects, own_env, plain_env, verbatim};
pub(crate) use pipeline::pipeline_run::RESULT_PATH;
pub(crate) use reader::{KILLED, NewReader, Reader, Reading, killed};
pub(crate) use source::Git;

pub use pod::{CaBundle, PodSettings};

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod, Secret as SecretObject};
use kiops_core::log::Masker;
use kiops_core::name::{DnsLabel, RunId};
use kiops_core::run::{Observed, ObservedState, RunReports};
use kiops_core::{Error, ErrorKind, Result, Retry};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PostParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use self::log::Records;
use self::phase::{Phase, Seen, is_stale, phase, the_pod};
use self::pipeline::PipelineRun;
use self::stop::{Stop, Why};
use self::watch::Watch;
use crate::cluster::{Access, Cluster};

/// How long the end of a log is waited for.
const END_MAX: Duration = Duration::from_secs(6);
/// Events of one pod that are looked at.
const EVENTS_MAX: u32 = 100;
/// Where runs live, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RunsConfig {
    /// The namespace of all Jobs. Best one of their own, with a quota.
    pub namespace: String,
    /// Which kiops this is. Several in one cluster need several names; a DNS label. `kiops` by default.
    #[serde(default = "default_instance")]
    pub instance: String,
    /// What runs may reach. [`Network::Restricted`] by default.
    #[serde(default)]
    pub network: Network,
}

fn default_instance() -> String {
    "kiops".to_owned()
}

impl RunsConfig {
    /// In this namespace, for this kiops, with a restricted network.
    pub fn new(namespace: impl Into<String>, instance: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), instance: instance.into(), network: Network::default() }
    }
}

/// The runs of one kiops in one namespace of a cluster. Cheap to clone; all executors and check runners on it share one watch.
#[derive(Debug, Clone)]
pub struct Runs {
    inner: Arc<Inner>,
    /// What carries those of this executor.
    kind: Kind,
}

#[derive(Debug)]
struct Inner {
    cluster: Cluster,
    config: RunsConfig,
    watch: OnceLock<Watch>,
    /// Whether the cluster has what the settings say of the network.
    network: OnceCell<()>,
}

impl Runs {
    /// The runs in this namespace. Nothing is asked of the cluster before the first run.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a namespace or an instance that is no DNS label, and for a port that is none.
    pub fn new(cluster: Cluster, config: RunsConfig) -> Result<Self> {
        for (setting, value) in [("namespace", &config.namespace), ("instance", &config.instance)] {
            DnsLabel::parse(value)
                .map_err(|error| Error::invalid("set up runs", format!("{setting}: {error}")))?;
        }
        config.network.validate()?;
        let (watch, network) = (OnceLock::new(), OnceCell::new());
        Ok(Self { inner: Arc::new(Inner { cluster, config, watch, network }), kind: Kind::Job })
    }

    /// The same runs, for an executor whose runs are carried by this.
    pub(crate) fn carried_by(&self, kind: Kind) -> Self {
        Self { inner: Arc::clone(&self.inner), kind }
    }

    /// Where they live, and whose they are.
    pub fn config(&self) -> &RunsConfig {
        &self.inner.config
    }

    /// Starts a run. A run of this id that exists already is found, and what a start that was cut off left out is added.
    pub(crate) async fn start(&self, run: &RunId, draft: Draft) -> Result<()> {
        // What cannot be masked is not run.
        Masker::new(draft.secrets.iter().filter(|item| !item.plain).map(|item| &item.value))?;
        let watch = self.watch().await?;
        self.restrict().await?;
        let objects = objects(&self.inner.config, self.kind, run, draft);
        let created = self.create_carrier(&objects.carrier).await;
        let (carrier, new) = match created {
            Ok(carrier) => (carrier, true),
            Err(error) if error.kind() == ErrorKind::Conflict => match self.found(run).await? {
                Some(carrier) => (carrier, false),
                None => return Err(error.with_retry(Retry::Maybe)),
            },
            Err(error) => return Err(error),
        };
        if Stop::of(carrier.metadata()).is_none() && !carrier.is_finished() {
            match self.create("secrets", &objects.secret_of(&carrier)).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Conflict && error.retry() == Retry::Never => {}
                Err(error) => {
                    // What has no Secret never runs; it goes at once where that is possible. One that was found may have it, and run.
                    let starts = async || new || matches!(self.secret(run).await, Ok(None));
                    if starts().await
                        && let Err(error) = self.delete_carrier(run).await
                    {
                        tracing::warn!(%run, %error, "what carries a run that was not started stays until its deadline");
                    }
                    return Err(error);
                }
            }
            if let Err(error) = self.release(run, &carrier).await {
                // Held, it never runs.
                if new && let Err(error) = self.delete_carrier(run).await {
                    tracing::warn!(%run, %error, "what carries a run that was not started stays");
                }
                return Err(error);
            }
        }
        let uid = &carrier.metadata().uid;
        let seen = self.seen_until(watch, run, |seen| {
            seen.carrier.as_ref().is_some_and(|seen| seen.metadata().uid == *uid)
        });
        // It has started, whatever the watch knows of it yet.
        if let Err(error) = seen.await {
            tracing::warn!(%run, %error, "a run was started, and the watch has not seen it yet");
        }
        Ok(())
    }

    /// Lets a run begin that was held until its Secret was there; one that was stopped meanwhile stays so.
    async fn release(&self, run: &RunId, carrier: &Carrier) -> Result<()> {
        let mut found = Some(carrier.clone());
        while let Some(held) = found.filter(Carrier::is_held) {
            let patch = serde_json::json!({
                "metadata": { "resourceVersion": held.metadata().resource_version },
                "spec": { "status": null },
            });
            found = match self.patch_carrier(run, &patch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => self.found(run).await?,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                done => return done.map(drop),
            };
        }
        Ok(())
    }

    /// The reports of a run above `after`, read by readers that `reader` makes.
    pub(crate) async fn reports(&self, run: &RunId, reader: NewReader, after: u64) -> Result<RunReports> {
        if self.find(run).await?.is_none() {
            let reason = format!("the cluster has no {} of run {run}", self.kind.word());
            return Ok(Box::pin(stream::iter([Ok(follow::lost(after, reason))])));
        }
        let seen = self.watch().await?.subscribe(run);
        Ok(follow::reports(self.clone(), run.clone(), reader, seen, after))
    }

    /// Every run of this runner.
    pub(crate) async fn observed(&self, runner: &str) -> Result<Vec<Observed>> {
        let state = |seen: &Seen| match phase(seen) {
            Phase::Over(_) => ObservedState::Finished,
            Phase::Waiting(_) | Phase::Running => ObservedState::Running,
        };
        let all = self.watch().await?.all(runner);
        Ok(all.into_iter().map(|(run, seen)| Observed { run, state: state(&seen) }).collect())
    }

    /// Marks a run as stopped, and says with which mark: one that is there already stays. `None`: nothing carries the run any more.
    pub(crate) async fn stop(&self, run: &RunId, why: Why, no_pods: bool) -> Result<Option<Stop>> {
        let is_stopped = |carrier: &Carrier| Stop::of(carrier.metadata()).is_some();
        let patch = |now: &Carrier| {
            // Tekton lets nobody change what it is done with.
            let no_pods = no_pods && (self.kind == Kind::Job || !now.is_finished());
            Stop { at: Timestamp::now(), why: why.clone() }.patch(self.kind, no_pods)
        };
        let marked = self.mark(run, is_stopped, patch).await?;
        Ok(marked.and_then(|carrier| Stop::of(carrier.metadata())))
    }

    /// Puts a mark at what carries a run, over exactly the state of it that has none: of two marks the first one stays. Says what
    /// carries it, marked.
    async fn mark(
        &self,
        run: &RunId,
        is_marked: impl Fn(&Carrier) -> bool + Send + Sync,
        patch: impl Fn(&Carrier) -> serde_json::Value + Send + Sync,
    ) -> Result<Option<Carrier>> {
        let seen = self.watch().await?.subscribe(run).borrow().clone();
        let mut carrier = seen.carrier.as_deref().cloned();
        loop {
            let now = match carrier {
                Some(now) if !is_marked(&now) => now,
                marked => return Ok(marked),
            };
            let mut patch = patch(&now);
            patch["metadata"]["resourceVersion"] = serde_json::json!(now.metadata().resource_version);
            match self.patch_carrier(run, &patch).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Conflict => carrier = self.found(run).await?,
                done => return done.map(Some),
            }
        }
    }

    /// Waits for the end of a log whose container's end is told by nothing else, and writes it down. `false` where it does not come in time.
    pub(crate) async fn confirm_end(&self, run: &RunId, pod: &str) -> Result<bool> {
        let reading = async {
            let mut records = self.log(pod, names::CONTAINER, true, Some(Timestamp::now())).await?;
            loop {
                match records.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok::<bool, Error>(true),
                    Err(_) => return Ok(false),
                }
            }
        };
        let ended = match timeout(END_MAX, reading).await {
            Ok(Err(error)) if error.kind() == ErrorKind::Forbidden => return Err(error),
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) | Err(_) => false,
        };
        // A node that is slow to say so may have done it meanwhile.
        if ended && the_pod(&self.watch().await?.subscribe(run).borrow()).is_some_and(is_stale) {
            self.note_end(run).await;
        }
        Ok(ended)
    }

    /// Writes down that everything of a run has ended.
    async fn note_end(&self, run: &RunId) {
        let has_end = |carrier: &Carrier| carrier.has_end();
        let patch = |_: &Carrier| {
            serde_json::json!({
                "metadata": { "annotations": { names::ENDED: Timestamp::now().to_string() } }
            })
        };
        if let Err(error) = self.mark(run, has_end, patch).await {
            tracing::debug!(%run, %error, "the end of a run was not written down");
        }
    }

    /// Writes down what a run waits for. Whoever comes too late looks again.
    pub(crate) async fn note(&self, run: &RunId, patch: &serde_json::Value) {
        if let Err(error) = self.patch_carrier(run, patch).await {
            tracing::debug!(%run, %error, "what a run waits for was not written down");
        }
    }

    /// What the newest of a pod's events says, where it is a warning.
    pub(crate) async fn warning(&self, pod: &Pod) -> Result<Option<String>> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid}")).limit(EVENTS_MAX);
        let api = &self.api::<KubeEvent>();
        let found = self.cluster().call(&self.access("list", "events"), || api.list(&params)).await?;
        let at = |event: &KubeEvent| {
            let last = event.last_timestamp.as_ref().map(|at| at.0);
            last.or_else(|| event.event_time.as_ref().map(|at| at.0))
        };
        let newest = found.items.into_iter().max_by_key(at);
        let warning = newest.filter(|event| event.type_.as_deref() == Some("Warning"));
        Ok(warning.map(|event| {
            let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
            format!("{reason}: {message}")
        }))
    }

    /// The run's Secret; `None` also where there is one in its place.
    pub(crate) async fn secret(&self, run: &RunId) -> Result<Option<SecretObject>> {
        let name = run_name(self, run);
        let (api, name) = (&self.api::<SecretObject>(), name.as_str());
        let found = self.cluster().call(&self.access("get", "secrets"), || api.get_opt(name)).await?;
        Ok(found.filter(|secret| !object::is_in_place(secret)))
    }

    /// The log of a container of a run's pod from its beginning, or from `since` on; followed while the container runs.
    pub(crate) async fn log(
        &self,
        pod: &str,
        container: &str,
        follow: bool,
        since: Option<Timestamp>,
    ) -> Result<Records> {
        let params = LogParams {
            container: Some(container.to_owned()),
            follow,
            since_time: since,
            timestamps: true,
            ..LogParams::default()
        };
        let api = &self.api::<Pod>();
        let access = self.access("get", "pods/log");
        match timeout(self.patience(), api.log_stream(pod, &params)).await {
            Ok(Ok(source)) => Ok(Records::new(source)),
            Ok(Err(error)) => Err(access.error(self.cluster().name(), &error)),
            Err(_) => Err(access.late(self.cluster().name(), self.cluster().config().deadline_secs)),
        }
    }

    /// What is seen of a run, asked of the cluster where the watch knows nothing of it.
    async fn find(&self, run: &RunId) -> Result<Option<Seen>> {
        let watch = self.watch().await?;
        let known = |seen: &Seen| {
            seen.carrier.as_ref().is_some_and(|found| found.metadata().deletion_timestamp.is_none())
        };
        let seen = watch.subscribe(run).borrow().clone();
        if known(&seen) {
            return Ok(Some(seen));
        }
        let Some(carrier) = self.found(run).await? else { return Ok(None) };
        let uid = &carrier.metadata().uid;
        let same = |seen: &Seen| seen.carrier.as_ref().is_some_and(|seen| seen.metadata().uid == *uid);
        self.seen_until(watch, run, same).await?;
        let seen = watch.subscribe(run).borrow().clone();
        Ok(known(&seen).then_some(seen))
    }

    /// The run's Job or PipelineRun as the cluster has it; `None` for one that is going away.
    async fn found(&self, run: &RunId) -> Result<Option<Carrier>> {
        let name = &run_name(self, run);
        let found = match self.kind {
            Kind::Job => self.get::<Job>(name).await?.map(Carrier::from),
            Kind::PipelineRun => self.get::<PipelineRun>(name).await?.map(Carrier::from),
        };
        let there = |found: &Carrier| found.metadata().deletion_timestamp.is_none();
        let Some(found) = found.filter(there) else { return Ok(None) };
        let label =
            |key: &str| found.metadata().labels.as_ref().and_then(|all| all.get(key)).map(String::as_str);
        let ours = label(names::RUN) == Some(run.as_str())
            && label(names::INSTANCE) == Some(&self.inner.config.instance);
        if ours {
            return Ok(Some(found));
        }
        let word = self.kind.word();
        Err(Error::conflict("find run", format!("the {word} {name} is not run {run} of this kiops"))
            .with_remedy(format!("remove or rename that {word}, or give this kiops another instance name")))
    }

    async fn get<K>(&self, name: &str) -> Result<Option<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api = &self.api::<K>();
        self.cluster().call(&self.access("get", self.kind.resource()), || api.get_opt(name)).await
    }

    async fn seen_until(
        &self,
        watch: &Watch,
        run: &RunId,
        is: impl Fn(&Seen) -> bool + Send + Sync,
    ) -> Result<()> {
        let mut seen = watch.subscribe(run);
        let patience = self.patience();
        match timeout(patience, seen.wait_for(|seen| is(seen))).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Timeout,
                format!("watch {}", self.kind.resource()),
                format!("the watch is behind by {patience:?}"),
            )
            .with_retry(Retry::Maybe)),
        }
    }

    async fn watch(&self) -> Result<&Watch> {
        let watch = self.inner.watch.get_or_init(|| Watch::start(self.cluster(), &self.inner.config));
        watch.ready(self.kind, self.patience()).await?;
        Ok(watch)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.cluster().config().deadline_secs))
    }

    async fn create_carrier(&self, carrier: &Carrier) -> Result<Carrier> {
        let resource = carrier.kind().resource();
        match carrier {
            Carrier::Job(job) => self.create(resource, &**job).await.map(Carrier::from),
            Carrier::PipelineRun(run) => self.create(resource, &**run).await.map(Carrier::from),
        }
    }

    async fn patch_carrier(&self, run: &RunId, patch: &serde_json::Value) -> Result<Carrier> {
        let (name, resource) = (run_name(self, run), self.kind.resource());
        match self.kind {
            Kind::Job => self.patch::<Job>(resource, &name, patch).await.map(Carrier::from),
            Kind::PipelineRun => self.patch::<PipelineRun>(resource, &name, patch).await.map(Carrier::from),
        }
    }

    async fn delete_carrier(&self, run: &RunId) -> Result<()> {
        // It stays until its pod and its Secret are gone.
        let (name, resource, params) =
            (run_name(self, run), self.kind.resource(), DeleteParams::foreground());
        match self.kind {
            Kind::Job => self.delete::<Job>(resource, name, &params).await,
            Kind::PipelineRun => self.delete::<PipelineRun>(resource, name, &params).await,
        }
    }

    fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    fn access(&self, verb: &'static str, resource: &'static str) -> Access<'_> {
        Access::to(verb, resource, &self.inner.config.namespace)
    }

    fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.cluster().client().clone(), &self.inner.config.namespace)
    }

    async fn create<K>(&self, resource: &'static str, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + Debug,
    {
        let (api, params) = (&self.api::<K>(), &PostParams::default());
        self.cluster().call(&self.access("create", resource), || api.create(params, object)).await
    }

    async fn patch<K>(&self, resource: &'static str, name: &str, patch: &serde_json::Value) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let (api, params, patch) = (&self.api::<K>(), &Default::default(), &Patch::Merge(patch));
        self.cluster().call(&self.access("patch", resource), || api.patch(name, params, patch)).await
    }

    async fn delete<K>(&self, resource: &'static str, name: String, params: &DeleteParams) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let (api, name) = (&self.api::<K>(), name.as_str());
        let deleted =
            self.cluster().call(&self.access("delete", resource), || api.delete(name, params)).await;
        match deleted {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            deleted => deleted.map(drop),
        }
    }
}

fn run_name(runs: &Runs, run: &RunId) -> String {
    names::object_name(&runs.inner.config, run).to_string()
}
