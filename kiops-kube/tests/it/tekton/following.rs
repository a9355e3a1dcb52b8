//! Following builds: steps, logs, secrets, restarts of ours, and what Tekton is given.

use kiops_core::build::{BuildExecutor as _, BuildOutput};
use kiops_core::image::RegistryCredential;
use kiops_core::run::{ObservedState, RunEvent, RunOutcome};
use kiops_core::secret::Secret;
use kiops_core::stage::{FailureKind, Stage};
use kube::api::ListParams;
use serde_json::Value;

use super::support::ground;
use crate::builds::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_with_tekton_is_told_step_by_step_and_the_same_to_the_next_process() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    let job = site.job("passes");
    executor.accepts(&job.spec, &job.dockerfile).unwrap();
    let run = start(&executor, &job).await;
    let reports = read(&executor, &run, 0).await;
    let events: Vec<&RunEvent> = reports
        .iter()
        .map(|report| &report.event)
        .filter(|event| !matches!(event, RunEvent::Lines(_) | RunEvent::Alive))
        .collect();
    let RunEvent::Finished(RunOutcome::Succeeded(result)) = events.last().unwrap() else {
        panic!("{events:?}")
    };
    assert_eq!(
        events[..events.len() - 1],
        [
            &RunEvent::Stage(Stage::Setup),
            &RunEvent::Stage(Stage::Build),
            &RunEvent::Step { n: 1, of: 2 },
            &RunEvent::Step { n: 2, of: 2 },
            &RunEvent::Stage(Stage::Push),
        ]
    );
    assert_eq!(result.digest, site.pushed(&job));
    assert!(result.digest.is_some());
    let log = texts(&reports);
    for line in [
        "Checked out commit abc123def\n",
        "Step 1/2: FROM registry.local/base:1\n",
        "Step 2/2: RUN make\n",
        "making \n",
        "Pushing registry.local/",
        "Successfully pushed image ",
    ] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    assert_eq!(lines(&read(&site.executor(), &run, 0).await), lines(&reports));
    executor.forget(&run).await.unwrap();
    ground.gone(&run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_ours_neither_loses_nor_repeats_a_line_of_any_step() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let before = site.executor();
    let run = start(&before, &site.job("counts")).await;
    let has = |event: &RunEvent, text: &str| matches!(event, RunEvent::Lines(lines) if lines.iter().any(|line| line.text.starts_with(text)));
    let mut all = read_until(&before, &run, 0, |event| has(event, "line 10")).await;
    drop(before);
    // Three more processes, each cut off in its turn: in the step, at the change of steps, and never.
    for cut in ["line 40", "Skipping push", "never"] {
        let executor = site.executor();
        let known = executor.observed().await.unwrap();
        assert!(known.iter().any(|one| one.run == run && one.state == ObservedState::Running), "{known:?}");
        let after = all.last().unwrap().n;
        all.extend(read_until(&executor, &run, after, |event| has(event, cut)).await);
    }
    assert!(matches!(all.last().unwrap().event, RunEvent::Finished(RunOutcome::Succeeded(_))), "{all:?}");
    let found: Vec<String> =
        lines(&all).into_iter().map(|(_, text)| text).filter(|text| text.starts_with("line ")).collect();
    let expected: Vec<String> = (1..=60).map(|n| format!("line {n}")).collect();
    assert_eq!(found, expected);
    assert_eq!(lines(&read(&site.executor(), &run, 0).await), lines(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_log_of_steps_that_print_them_nor_in_an_object_and_the_build_has_its_own_alone() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    let mut job = site.job("tells-files");
    let credential = |host: &str, username: &str, password: &str| RegistryCredential {
        host: host.into(),
        username: username.into(),
        password: Secret::new(password).unwrap(),
    };
    job.inputs.pull = vec![credential("docker.io", "puller", "pull-password-1")];
    job.inputs.push = Some(credential("registry.local", "pusher", "push-\"password\"-2"));
    job.inputs.secrets = [("npm-token".to_owned(), Secret::new("npm-token-value-3").unwrap())].into();
    let hidden = ["pull-password-1", "push-\"password\"-2", "npm-token-value-3", GIT_TOKEN];
    let run = start(&executor, &job).await;
    // The next process was given none of them.
    for executor in [executor, site.executor()] {
        let reports = read(&executor, &run, 0).await;
        assert!(
            matches!(reports.last().unwrap().event, RunEvent::Finished(RunOutcome::Succeeded(_))),
            "{reports:?}"
        );
        let log = texts(&reports);
        assert!(log.contains("https://index.docker.io/v1/") && log.contains("puller"), "{log}");
        assert!(log.contains("asked with ***"), "{log}");
        assert!(hidden.iter().all(|secret| !log.contains(secret)), "{log}");
        // The step that runs commands cannot push.
        assert!(!log.contains("pusher"), "{log}");
    }
    let all = ListParams::default();
    let mut texts = vec![
        serde_json::to_string(&ground.pipeline_runs().list(&all).await.unwrap().items).unwrap(),
        serde_json::to_string(&ground.task_runs().list(&all).await.unwrap().items).unwrap(),
    ];
    texts.push(serde_json::to_string(&ground.place.pods().list(&of(&run)).await.unwrap().items).unwrap());
    for secret in hidden {
        assert!(texts.iter().all(|text| !text.contains(secret)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_each_step_have_the_names_that_people_know() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    let mut runs = Vec::new();
    let refuses = site.job_of("passes", Source::at("https://git.example.com/team/refuses.git"));
    for (job, expected) in [
        (refuses, FailureKind::GitCloneFailed),
        (site.job("no-dockerfile"), FailureKind::DockerfileNotFound),
        (site.job("fails"), FailureKind::RunFailed),
        (site.job("no-push"), FailureKind::RegistryAuthenticationFailed),
    ] {
        runs.push((start(&executor, &job).await, expected));
    }
    for (run, expected) in runs {
        match outcome(&executor, &run).await {
            RunOutcome::Failed(failure) => assert_eq!(failure.kind, expected, "{failure}"),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_builds_with_tekton_without_a_push() {
    let Some(ground) = ground().await else { return };
    let site = ground.site().await;
    let executor = site.executor();
    let mut job = site.job("passes");
    job.spec.output = BuildOutput::Discard;
    let run = start(&executor, &job).await;
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Succeeded(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tekton_takes_texts_that_look_like_its_own_variables_and_the_schema_drops_nothing() {
    let Some(ground) = ground().await else { return };
    let mut site = ground.site().await;
    site.config.kaniko.pod.node_selector = [("kubernetes.io/os".to_owned(), "linux".to_owned())].into();
    let executor = site.executor();
    let mut job = site.job("tells");
    job.spec
        .build_args
        .insert("WORD".into(), "$(params.nothing) $(context.taskRun.name) $HOME $$ `id`".into());
    job.spec.metadata.git_commit_message = "$(workspaces.x.path)\n\"'\u{1b}[31m".into();
    let run = fresh_run();
    let access = job.inputs.source.clone_access().await.unwrap();
    let rendered = executor.pipeline_run(&run, &job.spec, &access, &job.inputs).unwrap();
    start_as(&executor, &run, &job.spec, &job.inputs).await;
    let mut found = ground.pipeline_runs().list(&of(&run)).await.unwrap().items.pop().unwrap();
    // It was released by then.
    found.data["spec"]["status"] = Value::from("PipelineRunPending");
    assert_eq!(found.data["spec"], rendered.data["spec"]);
    let reports = read(&executor, &run, 0).await;
    assert!(
        matches!(reports.last().unwrap().event, RunEvent::Finished(RunOutcome::Succeeded(_))),
        "{reports:?}"
    );
    let log = texts(&reports);
    assert!(log.contains("making $(params.nothing) $(context.taskRun.name) $HOME $$ `id`\n"), "{log}");
}
