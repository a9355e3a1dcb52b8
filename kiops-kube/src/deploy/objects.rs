//! Objects of one namespace: found, applied under our name, deleted. Every call says in its error what it could not do.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::{Error, ErrorKind, Result, Retry};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::{Access, Cluster};
use crate::render::names;

/// How often something is done over that somebody else changed at the same moment. Controllers write status often while pods roll.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(20);

/// The objects of one namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Objects<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'a str,
    /// Whether fields of other managers are taken over.
    pub(super) force: bool,
}

/// A kind of object that lives in a namespace.
pub(super) trait Kind:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + k8s_openapi::Resource<Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + Sync
{
}

impl<T> Kind for T where
    T: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + k8s_openapi::Resource<Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
{
}

/// Whether an apply is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is.
    Real,
    /// The cluster only says what it would say.
    DryRun,
}

/// What became of a write that must not undo somebody else's.
#[derive(Debug)]
pub(super) enum Written<T> {
    /// It was done.
    Done(T),
    /// The object is not the one that it was made for any more.
    Stale,
}

impl<'a> Objects<'a> {
    pub(super) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client().clone(), self.namespace)
    }

    pub(super) const fn access(&self, verb: &'static str, resource: &'static str) -> Access<'a> {
        Access::to(verb, resource, self.namespace)
    }

    /// The object of a name; `None`: there is none, or no such namespace.
    pub(super) async fn get<K: Kind>(&self, name: &str) -> Result<Option<K>> {
        let api = self.api::<K>();
        self.cluster.call(&self.access("get", K::URL_PATH_SEGMENT), || api.get_opt(name)).await
    }

    /// Creates an object; `None`: there is one of that name.
    pub(super) async fn create<K: Kind>(&self, object: &K) -> Result<Option<K>> {
        let api = self.api::<K>();
        let params = PostParams { field_manager: Some(self.manager().to_owned()), dry_run: false };
        let access = self.access("create", K::URL_PATH_SEGMENT);
        self.cluster
            .call(&access, || async {
                match api.create(&params, object).await {
                    Err(kube::Error::Api(status))
                        if status.code == 409 && status.reason == "AlreadyExists" =>
                    {
                        Ok(None)
                    }
                    other => other.map(Some),
                }
            })
            .await
    }

    /// Applies an object under our field manager: its fields are ours, those that we do not name stay whose they are. Where it says its
    /// `resourceVersion`, only over that version.
    ///
    /// A field that another manager owns and has another value in is an error that names both, unless `force` takes it over. Our own
    /// older writes are no conflict.
    pub(super) async fn apply<K: Kind>(&self, object: &K, mode: Mode) -> Result<Written<K>> {
        let (api, name) = (self.api::<K>(), object.name_any());
        let access = self.access("patch", K::URL_PATH_SEGMENT);
        let (mut object, mut force, mut mended) = (object.clone(), self.force, false);
        loop {
            let params = PatchParams {
                dry_run: mode == Mode::DryRun,
                force,
                field_manager: Some(self.manager().to_owned()),
                field_validation: None,
            };
            let patch = Patch::Apply(&object);
            let answer =
                self.cluster.call(&access, || conflict_aside(api.patch(&name, &params, &patch))).await;
            let status = match answer {
                Ok(Ok(applied)) => return Ok(Written::Done(applied)),
                Ok(Err(status)) => status,
                Err(error) if error.kind() == ErrorKind::Invalid && !mended => {
                    match (self.replace_pod(&object, mode).await, mode) {
                        (Ok(Written::Stale), _) => return Ok(Written::Stale),
                        (Ok(done), Mode::DryRun) => return Ok(done),
                        // Applied once more, so that the fields are ours as ever.
                        (Ok(Written::Done(done)), Mode::Real) => {
                            object.meta_mut().resource_version = done.meta().resource_version.clone();
                            mended = true;
                            continue;
                        }
                        (Err(_), _) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            };
            let conflicts = Conflict::all(&status);
            if conflicts.is_empty() {
                return Ok(Written::Stale);
            }
            if force || conflicts.iter().any(|conflict| conflict.manager != self.manager()) {
                return Err(self.owned_by_others(K::KIND, &name, &conflicts));
            }
            force = true;
        }
    }

    /// Writes a Deployment's pod as a whole, which takes every container's leftovers away.
    ///
    /// Older API servers leave an empty `livenessProbe` or `valueFrom` behind when an apply does not name it any more, and then find
    /// the object invalid. Containers that others added to our Deployment go with it.
    async fn replace_pod<K: Kind>(&self, object: &K, mode: Mode) -> Result<Written<K>> {
        let (api, name) = (self.api::<K>(), object.name_any());
        let body = pod_patch(object).ok_or_else(|| Error::unsupported("apply release", "it has no pod"))?;
        let params = PatchParams {
            dry_run: mode == Mode::DryRun,
            field_manager: Some(self.manager().to_owned()),
            ..PatchParams::default()
        };
        let (access, patch) = (self.access("patch", K::URL_PATH_SEGMENT), Patch::Merge(body));
        let written =
            self.cluster.call(&access, || conflict_aside(api.patch(&name, &params, &patch))).await?;
        Ok(written.map_or(Written::Stale, Written::Done))
    }

    /// Applies what `make` makes of the object that is there, over exactly that one, until nobody changed it meanwhile, and says what was
    /// applied. `None` from `make`: it is to stay as it is.
    pub(super) async fn update<K: Kind>(
        &self,
        name: &str,
        make: impl Fn(Option<&K>) -> Result<Option<K>>,
    ) -> Result<Option<K>> {
        for _ in 0..TRIES {
            let found = self.get::<K>(name).await?;
            let Some(mut object) = make(found.as_ref())? else { return Ok(None) };
            object.meta_mut().resource_version =
                found.as_ref().and_then(|found| found.meta().resource_version.clone());
            if let Written::Done(applied) = self.apply(&object, Mode::Real).await? {
                return Ok(Some(applied));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(restless(K::KIND, name))
    }

    /// Changes these fields whoever owns them. `false`: it is not there.
    pub(super) async fn merge<K: Kind>(&self, name: &str, patch: &Value) -> Result<bool> {
        let (api, patch) = (&self.api::<K>(), &Patch::Merge(patch));
        let params =
            &PatchParams { field_manager: Some(self.manager().to_owned()), ..PatchParams::default() };
        let access = self.access("patch", K::URL_PATH_SEGMENT);
        match self.cluster.call(&access, || api.patch(name, params, patch)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object where `wanted` says so of it, and only the one that was looked at. One that is not there is no error.
    pub(super) async fn delete_if<K: Kind>(&self, name: &str, wanted: impl Fn(&K) -> bool) -> Result<()> {
        for _ in 0..TRIES {
            let Some(found) = self.get::<K>(name).await?.filter(&wanted) else { return Ok(()) };
            let condition = Preconditions {
                resource_version: found.meta().resource_version.clone(),
                uid: found.meta().uid.clone(),
            };
            let params = DeleteParams::default().preconditions(condition);
            if let Written::Done(()) = self.delete_with::<K>(name, &params).await? {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(restless(K::KIND, name))
    }

    /// Asks the cluster what it would say of that, and keeps the object.
    pub(super) async fn check_delete_if<K: Kind>(
        &self,
        name: &str,
        wanted: impl Fn(&K) -> bool,
    ) -> Result<()> {
        if self.get::<K>(name).await?.filter(wanted).is_some() {
            self.delete_with::<K>(name, &DeleteParams::default().dry_run()).await?;
        }
        Ok(())
    }

    /// Deletes an object, whatever it is. One that is not there is no error.
    pub(super) async fn delete<K: Kind>(&self, name: &str) -> Result<()> {
        self.delete_with::<K>(name, &DeleteParams::default()).await.map(|_| ())
    }

    async fn delete_with<K: Kind>(&self, name: &str, params: &DeleteParams) -> Result<Written<()>> {
        let api = self.api::<K>();
        let access = self.access("delete", K::URL_PATH_SEGMENT);
        self.cluster
            .call(&access, || async {
                match api.delete(name, params).await {
                    Ok(_) => Ok(Written::Done(())),
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(Written::Done(())),
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(Written::Stale),
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// The objects with these labels.
    pub(super) async fn list<K: Kind>(&self, labels: &str) -> Result<Vec<K>> {
        let api = self.api::<K>();
        let params = ListParams::default().labels(labels);
        let list = self.cluster.call(&self.access("list", K::URL_PATH_SEGMENT), || api.list(&params)).await?;
        Ok(list.items)
    }

    /// What the objects with these labels are called and say of themselves, without their content.
    pub(super) async fn list_metadata<K: Kind>(&self, labels: &str) -> Result<Vec<ObjectMeta>> {
        let api = self.api::<K>();
        let params = ListParams::default().labels(labels);
        let access = self.access("list", K::URL_PATH_SEGMENT);
        let list = self.cluster.call(&access, || api.list_metadata(&params)).await?;
        Ok(list.items.into_iter().map(|item| item.metadata).collect())
    }

    /// Makes the namespace where it is not there.
    pub(super) async fn make_namespace(&self, namespace: &Namespace) -> Result<()> {
        let api = Api::<Namespace>::all(self.cluster.client().clone());
        let get = Access::everywhere("get", "namespaces");
        if self.cluster.call(&get, || api.get_opt(self.namespace)).await?.is_some() {
            return Ok(());
        }
        let params = PostParams { field_manager: Some(self.manager().to_owned()), dry_run: false };
        self.cluster
            .call(&Access::everywhere("create", "namespaces"), || async {
                match api.create(&params, namespace).await {
                    Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
                    other => other.map(|_| ()),
                }
            })
            .await
    }

    pub(super) fn manager(&self) -> &'a str {
        &self.cluster.config().field_manager
    }

    fn owned_by_others(&self, kind: &str, name: &str, conflicts: &[Conflict]) -> Error {
        let fields: Vec<_> = conflicts
            .iter()
            .map(|conflict| format!("`{}` by `{}`", conflict.field, conflict.manager))
            .collect();
        Error::conflict(
            "apply release",
            format!(
                "fields of {kind} `{name}` in namespace `{}` are owned by others: {}",
                self.namespace,
                fields.join(", ")
            ),
        )
        .with_remedy(
            "let that manager give the fields up, take them out of the workload, or take them over with the runtime's setting `force`",
        )
    }
}

/// A merge patch that makes strategy, containers and volumes what they are in this object; `None`: it has no pods.
fn pod_patch(object: &impl Serialize) -> Option<Value> {
    let object = serde_json::to_value(object).ok()?;
    let metadata = object.get("metadata")?;
    let mut spec = object.get("spec")?.clone();
    let absent = |of: &mut Value, keys: &[&str]| {
        for key in keys {
            of.as_object_mut()?.entry(*key).or_insert(Value::Null);
        }
        Some(())
    };
    absent(spec.get_mut("strategy")?, &["rollingUpdate"])?;
    absent(spec.pointer_mut("/template/spec")?, &["volumes", "imagePullSecrets"])?;
    let kept = json!({
        "resourceVersion": metadata.get("resourceVersion"),
        "annotations": metadata.get("annotations"),
    });
    Some(json!({"metadata": kept, "spec": spec}))
}

/// Lets a 409 through as an answer: whoever wrote decides what it means.
pub(super) async fn conflict_aside<K>(
    call: impl Future<Output = kube::Result<K>>,
) -> kube::Result<std::result::Result<K, Box<Status>>> {
    match call.await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Err(status)),
        other => other.map(Ok),
    }
}

/// Somebody writes again and again to what we want to write.
pub(super) fn restless(kind: &str, name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "apply release",
        format!("{kind} `{name}` was changed {TRIES} times while it was to be written"),
    )
    .with_retry(Retry::Maybe)
    .with_remedy("find out what else writes to the object all the time")
}

/// Runs a write over the newest version until it is done or has been tried often enough.
pub(super) async fn persist<T, F>(kind: &str, name: &str, mut write: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Written<T>>>,
{
    for _ in 0..TRIES {
        if let Written::Done(done) = write().await? {
            return Ok(done);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(restless(kind, name))
}

/// A field that another manager owns.
#[derive(Debug, PartialEq, Eq)]
struct Conflict {
    manager: String,
    field: String,
}

impl Conflict {
    /// The conflicts of a refusal; none: the object was changed meanwhile.
    fn all(status: &Status) -> Vec<Self> {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let conflicts = causes.filter(|cause| cause.reason == "FieldManagerConflict").map(|cause| Self {
            // `conflict with "helm" using apps/v1`
            manager: cause.message.split('"').nth(1).unwrap_or(&cause.message).to_owned(),
            field: cause.field.clone(),
        });
        conflicts.collect()
    }
}

/// Which revision an object says it holds.
pub(super) fn held(metadata: &ObjectMeta) -> Option<u64> {
    metadata.annotations.as_ref()?.get(names::REVISION)?.parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_names_manager_and_field() {
        let status: Status = serde_json::from_value(json!({
            "code": 409, "reason": "Conflict",
            "details": {"causes": [
                {"reason": "FieldManagerConflict", "message": "conflict with \"helm\" using apps/v1", "field": ".spec.replicas"},
                {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" with subresource \"scale\" using apps/v1", "field": ".spec.x"},
            ]},
        }))
        .unwrap();
        let found = Conflict::all(&status);
        assert_eq!((found[0].manager.as_str(), found[0].field.as_str()), ("helm", ".spec.replicas"));
        assert_eq!(found[1].manager, "kubectl");
        assert_eq!(Conflict::all(&Status { code: 409, ..Status::default() }), []);
    }

    #[test]
    fn only_a_number_is_a_held_revision() {
        let held_of = |value: &str| {
            held(&ObjectMeta {
                annotations: Some([(names::REVISION.to_owned(), value.to_owned())].into()),
                ..ObjectMeta::default()
            })
        };
        assert_eq!(held_of("12"), Some(12));
        for other in ["", "0", "-1", "x", "99999999999999999999"] {
            assert_eq!(held_of(other), None, "{other}");
        }
    }
}
