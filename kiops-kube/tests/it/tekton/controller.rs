//! Plays Tekton in one namespace: makes TaskRuns and pods of PipelineRuns, tells how they go, and ends them, as its documentation says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const OF_RUN: &str = "tekton.dev/pipelineRun";
/// Where a step leaves the result.
const RESULT: &str = "/tekton/results/digest";

/// The controller of one namespace, until it is dropped.
pub(crate) struct Controller {
    task: JoinHandle<()>,
    asleep: Arc<AtomicBool>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Controller {
    pub(super) fn start(client: &Client, namespace: &str) -> Self {
        let asleep = Arc::new(AtomicBool::new(false));
        let player = Player {
            runs: resource(client, namespace, "PipelineRun"),
            tasks: resource(client, namespace, "TaskRun"),
            pods: Api::namespaced(client.clone(), namespace),
            asleep: Arc::clone(&asleep),
            told: HashMap::new(),
        };
        Self { task: tokio::spawn(player.play()), asleep }
    }

    /// Lets it do nothing, like one that is down.
    pub(super) fn sleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Relaxed);
    }
}

/// The objects of one kind.
pub(super) fn resource(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("tekton.dev", "v1", kind));
    Api::namespaced_with(client.clone(), namespace, &kind)
}

struct Player {
    runs: Api<DynamicObject>,
    tasks: Api<DynamicObject>,
    pods: Api<Pod>,
    asleep: Arc<AtomicBool>,
    /// What was last told of each TaskRun.
    told: HashMap<String, Value>,
}

impl Player {
    async fn play(mut self) {
        let mut run_events = std::pin::pin!(watcher(self.runs.clone(), Config::default()));
        let pods_of_runs = Config::default().labels(OF_RUN);
        let mut pod_events = std::pin::pin!(watcher(self.pods.clone(), pods_of_runs));
        let (mut runs, mut pods) = (HashMap::<String, DynamicObject>::new(), HashMap::<String, Pod>::new());
        let mut tick = tokio::time::interval(Duration::from_millis(300));
        loop {
            let touched: Vec<String> = tokio::select! {
                Some(event) = run_events.next() => match event {
                    Ok(Event::Apply(run) | Event::InitApply(run)) => {
                        let name = run.metadata.name.clone().unwrap();
                        runs.insert(name.clone(), run);
                        vec![name]
                    }
                    Ok(Event::Delete(run)) => {
                        runs.remove(run.metadata.name.as_deref().unwrap());
                        Vec::new()
                    }
                    _ => Vec::new(),
                },
                Some(event) = pod_events.next() => match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                        let run = run_of(&pod);
                        pods.insert(run.clone(), pod);
                        vec![run]
                    }
                    Ok(Event::Delete(pod)) => {
                        let run = run_of(&pod);
                        if pods.get(&run).is_some_and(|known| known.metadata.uid == pod.metadata.uid) {
                            pods.remove(&run);
                        }
                        vec![run]
                    }
                    _ => Vec::new(),
                },
                // For what nobody tells: time.
                _ = tick.tick() => runs.keys().cloned().collect(),
            };
            for name in touched {
                if self.asleep.load(Ordering::Relaxed) {
                    continue;
                }
                if let Some(run) = runs.get(&name)
                    && let Err(error) = self.reconcile(run, pods.get(&name)).await
                {
                    // A namespace that goes away, a run that is gone: looked at again with the next event.
                    println!("the played Tekton: {name}: {error}");
                }
            }
        }
    }

    async fn reconcile(&mut self, run: &DynamicObject, pod: Option<&Pod>) -> kube::Result<()> {
        let name = run.metadata.name.as_deref().unwrap();
        let status = &run.data["status"];
        let word = &status["conditions"][0];
        if run.metadata.deletion_timestamp.is_some()
            || matches!(word["status"].as_str(), Some("True" | "False"))
        {
            return Ok(());
        }
        match run.data["spec"]["status"].as_str() {
            Some("PipelineRunPending") if word.is_null() => {
                return self.say_of(run, &said("Unknown", "PipelineRunPending", "is pending")).await;
            }
            Some("PipelineRunPending") => return Ok(()),
            Some("Cancelled" | "CancelledRunFinally") => {
                return self.end(run, "Cancelled", "TaskRunCancelled").await;
            }
            _ => {}
        }
        let Some(started) = status["startTime"].as_str() else {
            let mut patch = said("Unknown", "Running", "Tasks Completed: 0, Incomplete: 1");
            patch["startTime"] = json!(now());
            return self.say_of(run, &patch).await;
        };
        let seconds = run.data["spec"]["timeouts"]["pipeline"].as_str().unwrap().trim_end_matches('s');
        let deadline =
            started.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds.parse().unwrap());
        if Timestamp::now() >= deadline {
            return self.end(run, "PipelineRunTimeout", "TaskRunTimeout").await;
        }
        let task = format!("{name}-build");
        match pod {
            None => {
                if let Some(variable) = unknown_variable(&run.data["spec"]["pipelineSpec"]) {
                    let text = format!("non-existent variable in {variable}");
                    let mut word = said("False", "PipelineValidationFailed", &text);
                    word["completionTime"] = json!(now());
                    return self.say_of(run, &word).await;
                }
                let made = self.tasks.create(&PostParams::default(), &task_run(run, &task)).await;
                let made = match known(made)? {
                    Some(made) => made,
                    None => self.tasks.get(&task).await?,
                };
                // Also in place of one that somebody deleted.
                known(self.pods.create(&PostParams::default(), &pod_of(run, &made)).await)?;
                Ok(())
            }
            Some(pod) => self.follow(run, &task, pod).await,
        }
    }

    async fn follow(&mut self, run: &DynamicObject, task: &str, pod: &Pod) -> kube::Result<()> {
        let name = run.metadata.name.as_deref().unwrap();
        let status = pod.status.clone().unwrap_or_default();
        let phase = status.phase.as_deref().unwrap_or_default();
        let steps = step_states(status.container_statuses.unwrap_or_default());
        let results: Vec<Value> = steps.iter().filter_map(results).flatten().collect();
        let mut told = match phase {
            "Succeeded" => said("True", "Succeeded", "All Steps have completed executing"),
            "Failed" => said("False", "Failed", "a step exited with another code than 0"),
            "Running" => said("Unknown", "Running", "Not all Steps in the Task have finished executing"),
            _ => said("Unknown", "Pending", "pod status \"Ready\":\"False\""),
        };
        told["podName"] = json!(pod.metadata.name);
        told["steps"] = json!(steps);
        let over = matches!(phase, "Succeeded" | "Failed");
        if over {
            told["results"] = json!(results);
        }
        if self.told.get(name) != Some(&told) {
            self.say(&self.tasks, task, &told).await?;
            self.told.insert(name.to_owned(), told);
        }
        if over {
            let mut word = match phase {
                "Succeeded" => {
                    said("True", "Succeeded", "Tasks Completed: 1 (Failed: 0, Cancelled 0), Skipped: 0")
                }
                _ => said("False", "Failed", "Tasks Completed: 1 (Failed: 1, Cancelled 0), Skipped: 0"),
            };
            let digest = results
                .iter()
                .find(|result| result["name"] == "digest")
                .map(|result| result["value"].clone());
            word["results"] = json!(
                digest.map(|value| vec![json!({ "name": "digest", "value": value })]).unwrap_or_default()
            );
            word["completionTime"] = json!(now());
            self.say_of(run, &word).await?;
        }
        Ok(())
    }

    /// Ends a run: its pod is deleted, and what it said is gone with it.
    async fn end(&self, run: &DynamicObject, reason: &str, task_reason: &str) -> kube::Result<()> {
        let name = run.metadata.name.as_deref().unwrap();
        let task = format!("{name}-build");
        let patch = Patch::Merge(json!({ "spec": { "status": "TaskRunCancelled" } }));
        if known(self.tasks.patch(&task, &PatchParams::default(), &patch).await)?.is_some() {
            known(self.pods.delete(&format!("{task}-pod"), &DeleteParams::default()).await)?;
            self.say(&self.tasks, &task, &said("False", task_reason, "TaskRun was ended")).await?;
        }
        let mut word = said("False", reason, "PipelineRun was ended");
        word["completionTime"] = json!(now());
        self.say_of(run, &word).await
    }

    /// Over exactly this state of it: what is behind looks again.
    async fn say_of(&self, run: &DynamicObject, status: &Value) -> kube::Result<()> {
        let name = run.metadata.name.as_deref().unwrap();
        let version = &run.metadata.resource_version;
        let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "status": status }));
        known(self.runs.patch_status(name, &PatchParams::default(), &patch).await).map(drop)
    }

    async fn say(&self, api: &Api<DynamicObject>, name: &str, status: &Value) -> kube::Result<()> {
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
    }
}

/// What was made or deleted; `None` where it was there, or gone, before.
fn known<T>(answer: kube::Result<T>) -> kube::Result<Option<T>> {
    match answer {
        Ok(made) => Ok(Some(made)),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => Err(error),
    }
}

fn run_of(pod: &Pod) -> String {
    pod.metadata.labels.as_ref().unwrap()[OF_RUN].clone()
}

/// Tekton's times are whole seconds.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

fn said(status: &str, reason: &str, message: &str) -> Value {
    json!({ "conditions": [{ "type": "Succeeded", "status": status, "reason": reason, "message": message }] })
}

/// A variable that Tekton does not know: it takes no such run.
fn unknown_variable(spec: &Value) -> Option<String> {
    let text = spec.to_string();
    let ours = ["results.digest.path)", "tasks.build.results.digest)", "KIOPS_"];
    let unknown = text.split("$(").skip(1).find(|rest| !ours.iter().any(|known| rest.starts_with(known)))?;
    Some(unknown.chars().take(20).collect())
}

fn owner(kind: &str, of: &DynamicObject) -> Value {
    json!([{
        "apiVersion": "tekton.dev/v1", "kind": kind, "name": of.metadata.name, "uid": of.metadata.uid,
        "controller": true, "blockOwnerDeletion": true,
    }])
}

fn labels(run: &DynamicObject) -> Value {
    let mut labels = json!(run.metadata.labels);
    labels[OF_RUN] = json!(run.metadata.name);
    labels
}

fn task_run(run: &DynamicObject, name: &str) -> DynamicObject {
    let spec = &run.data["spec"];
    let task = json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {
            "name": name, "labels": labels(run), "annotations": run.metadata.annotations,
            "ownerReferences": owner("PipelineRun", run),
        },
        "spec": {
            "taskSpec": spec["pipelineSpec"]["tasks"][0]["taskSpec"],
            "podTemplate": spec["taskRunTemplate"]["podTemplate"],
        },
    });
    serde_json::from_value(task).unwrap()
}

/// The pod of a task: every step is a container, and all of them start at once.
fn pod_of(run: &DynamicObject, task: &DynamicObject) -> Pod {
    let spec = &task.data["spec"]["taskSpec"];
    let template = &task.data["spec"]["podTemplate"];
    let steps = spec["steps"].as_array().unwrap();
    let containers = steps.iter().enumerate().map(|(n, step)| {
        let before = n.checked_sub(1).map_or_else(|| "-".to_owned(), |before| before.to_string());
        let mut words = vec![before, n.to_string()];
        let all = [&step["command"], &step["args"]].into_iter().filter_map(Value::as_array).flatten();
        words.extend(all.map(|word| word.as_str().unwrap().replace("$(results.digest.path)", RESULT)));
        let mut mounts = step["volumeMounts"].as_array().cloned().unwrap_or_default();
        mounts.push(json!({ "name": "tekton-run", "mountPath": "/tekton/run" }));
        mounts.push(json!({ "name": "tekton-results", "mountPath": "/tekton/results" }));
        json!({
            "name": format!("step-{}", step["name"].as_str().unwrap()),
            "image": step["image"],
            "command": ["/tekton/bin/entrypoint"],
            "args": words,
            "env": step["env"],
            "volumeMounts": mounts,
            "resources": step["computeResources"],
            "securityContext": step["securityContext"],
            "terminationMessagePath": "/tekton/termination",
        })
    });
    let mut volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    volumes.extend(["tekton-run", "tekton-results"].map(|name| json!({ "name": name, "emptyDir": {} })));
    let mut pod = json!({
        "metadata": {
            "name": format!("{}-pod", task.metadata.name.as_deref().unwrap()),
            "labels": labels(run),
            "annotations": task.metadata.annotations,
            "ownerReferences": owner("TaskRun", task),
        },
        "spec": { "restartPolicy": "Never", "containers": containers.collect::<Vec<_>>(), "volumes": volumes },
    });
    for (field, value) in template.as_object().unwrap() {
        pod["spec"][field] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

/// The steps of a pod's containers, in the order of the pod; what comes after one that failed was skipped.
fn step_states(containers: Vec<ContainerStatus>) -> Vec<Value> {
    let order = |name: &str| {
        ["setup-init", "setup-fetch", "setup-tree", "build", "push"].iter().position(|one| *one == name)
    };
    let mut states: Vec<Value> = containers
        .into_iter()
        .map(|container| {
            let name = container.name.trim_start_matches("step-");
            let mut state = json!(container.state.unwrap_or_default());
            (state["name"], state["container"]) = (json!(name), json!(container.name));
            state
        })
        .collect();
    states.sort_by_key(|state| order(state["name"].as_str().unwrap()));
    let mut failed = false;
    for state in &mut states {
        let Some(exit) = state["terminated"]["exitCode"].as_i64() else { continue };
        let word = if exit == 0 {
            "Completed"
        } else if failed {
            "Skipped"
        } else {
            "Error"
        };
        failed |= exit != 0;
        state["terminationReason"] = json!(word);
    }
    states
}

/// The results in a step's last message.
fn results(step: &Value) -> Option<Vec<Value>> {
    let all: Vec<Value> = serde_json::from_str(step["terminated"]["message"].as_str()?).ok()?;
    Some(
        all.into_iter()
            .map(|one| json!({ "name": one["key"], "type": "string", "value": one["value"] }))
            .collect(),
    )
}
