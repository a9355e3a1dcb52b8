//! CustomResourceDefinitions of `tekton.dev/v1` for the tests, written from Tekton's public documentation: what kiops sets is there with its
//! type, and everything else is dropped by the API server.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Marks those that tests made: another's, a real Tekton's, are left as they are.
const MARK: &str = "kiops.dev/tests";

/// Sees to it that the cluster knows them. They stay: other tests may be at work with them.
pub(super) async fn install(client: &Client) {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(|| async {
        for (singular, spec, status) in
            [("PipelineRun", pipeline_run(), status()), ("TaskRun", task_run(), status())]
        {
            one(client, singular, &spec, &status).await;
        }
    })
    .await;
}

async fn one(client: &Client, kind: &str, spec: &Value, status: &Value) {
    let singular = kind.to_lowercase();
    let name = format!("{singular}s.tekton.dev");
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let found = crds.get_opt(&name).await.unwrap();
    let marked = |crd: &CustomResourceDefinition| {
        crd.metadata.labels.as_ref().is_some_and(|all| all.contains_key(MARK))
    };
    if found.is_none_or(|found| marked(&found)) {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": name, "labels": { MARK: "yes" } },
            "spec": {
                "group": "tekton.dev",
                "scope": "Namespaced",
                "names": { "kind": kind, "singular": singular, "plural": format!("{singular}s") },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": {
                        "type": "object", "required": ["spec"], "properties": { "spec": spec, "status": status } } },
                }],
            },
        });
        // The same from every test process, so that none disturbs another.
        let params = PatchParams::apply("kiops-tests").force();
        crds.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap();
    }
    for _ in 0..200 {
        let crd = crds.get(&name).await.unwrap();
        let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|one| one.type_ == "Established" && one.status == "True") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} was not established");
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// What is Kubernetes' own: Tekton's schema takes it as the pod's has it.
fn own() -> Value {
    json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

fn list(item: Value) -> Value {
    json!({ "type": "array", "items": item })
}

fn task_spec() -> Value {
    let step = json!({
        "type": "object",
        "required": ["name", "image"],
        "properties": {
            "name": { "type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 58 },
            "image": { "type": "string", "minLength": 1 },
            "command": list(text()),
            "args": list(text()),
            "env": list(own()),
            "volumeMounts": list(own()),
            "computeResources": own(),
            "securityContext": own(),
        },
    });
    let result = json!({
        "type": "object", "required": ["name"],
        "properties": { "name": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$" }, "type": text() },
    });
    json!({
        "type": "object",
        "required": ["steps"],
        "properties": { "steps": list(step), "volumes": list(own()), "results": list(result) },
    })
}

fn pipeline_run() -> Value {
    let duration = json!({ "type": "string", "pattern": "^([0-9]+(ns|us|ms|s|m|h))+$" });
    let task = json!({
        "type": "object",
        "required": ["name", "taskSpec"],
        "properties": {
            "name": { "type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" },
            "taskSpec": task_spec(),
        },
    });
    let result = json!({
        "type": "object", "required": ["name", "value"],
        "properties": { "name": text(), "value": { "x-kubernetes-preserve-unknown-fields": true } },
    });
    let template = json!({
        "type": "object",
        "properties": {
            "automountServiceAccountToken": { "type": "boolean" },
            "enableServiceLinks": { "type": "boolean" },
            "imagePullSecrets": list(own()),
            "nodeSelector": { "type": "object", "additionalProperties": text() },
            "tolerations": list(own()),
            "priorityClassName": text(),
        },
    });
    json!({
        "type": "object",
        "required": ["pipelineSpec"],
        "properties": {
            "status": {
                "type": "string",
                "enum": ["", "Cancelled", "CancelledRunFinally", "StoppedRunFinally", "PipelineRunPending"],
            },
            "timeouts": { "type": "object", "properties": { "pipeline": duration, "tasks": duration, "finally": duration } },
            "taskRunTemplate": {
                "type": "object",
                "properties": { "serviceAccountName": text(), "podTemplate": template },
            },
            "pipelineSpec": {
                "type": "object",
                "required": ["tasks"],
                "properties": { "tasks": list(task), "results": list(result) },
            },
        },
    })
}

fn task_run() -> Value {
    json!({
        "type": "object",
        "properties": {
            "status": { "type": "string", "enum": ["", "TaskRunCancelled"] },
            "serviceAccountName": text(),
            "podTemplate": own(),
            "timeout": text(),
            "taskSpec": task_spec(),
        },
    })
}

fn status() -> Value {
    let condition = json!({
        "type": "object",
        "required": ["type", "status"],
        "properties": {
            "type": text(), "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
            "reason": text(), "message": text(), "lastTransitionTime": text(),
        },
    });
    let result = json!({
        "type": "object", "required": ["name"],
        "properties": { "name": text(), "type": text(), "value": { "x-kubernetes-preserve-unknown-fields": true } },
    });
    let step = json!({
        "type": "object",
        "properties": {
            "name": text(), "container": text(), "terminationReason": text(),
            "running": own(), "waiting": own(), "terminated": own(),
        },
    });
    json!({
        "type": "object",
        "properties": {
            "conditions": list(condition),
            "startTime": { "type": "string", "format": "date-time" },
            "completionTime": { "type": "string", "format": "date-time" },
            "results": list(result),
            "podName": text(),
            "steps": list(step),
            "childReferences": list(own()),
        },
    })
}
