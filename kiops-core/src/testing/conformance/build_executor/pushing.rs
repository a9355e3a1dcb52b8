//! What reaches the registry, and what never does.

use super::{ExecutorBench, ExecutorJob};
use crate::build::BuildOutput;
use crate::image::TagPage;
use crate::name::{RunId, Tag};
use crate::run::{RunEvent, RunOutcome};
use crate::stage::Stage;
use crate::testing::conformance::Subject;
use crate::testing::conformance::fresh::word;
use crate::testing::conformance::runs::{fresh_run, outcome_of, read, read_until};

/// The tag that it was given stands for what it says that it built.
pub async fn an_image_that_was_built_is_in_the_registry_under_its_tag_and_no_other(
    subject: &dyn Subject<ExecutorBench>,
) {
    let bench = subject.open().await;
    let before = tags(&bench).await;
    let (run, tag) = start(&bench, &bench.passes).await;
    let RunOutcome::Succeeded(result) = outcome_of(bench.as_ref(), &run).await else {
        panic!("a build that succeeds did not")
    };
    let digest = result.digest.expect("a build that was pushed has a digest");
    let found = bench.registry.resolve(&bench.image.tagged(tag.clone())).await.unwrap();
    assert_eq!(found.as_ref(), Some(&digest));
    let manifest = bench.registry.manifest(&bench.image, &digest).await.expect("the manifest is there");
    assert_eq!(manifest.digest(), digest);
    let mut expected = before;
    expected.push(tag);
    expected.sort();
    assert_eq!(tags(&bench).await, expected, "it is pushed under its tag, and no other");
}

/// A fork's build is looked at and thrown away.
pub async fn a_build_that_is_discarded_pushes_nothing(subject: &dyn Subject<ExecutorBench>) {
    let bench = subject.open().await;
    let before = tags(&bench).await;
    let run = fresh_run();
    let mut spec = bench.passes.spec.clone();
    spec.output = BuildOutput::Discard;
    bench.executor.start(&run, &spec, bench.passes.inputs.clone()).await.unwrap();
    let reports = read(bench.as_ref(), &run).await;
    let RunEvent::Finished(RunOutcome::Succeeded(result)) = &reports.last().unwrap().event else {
        panic!("a build that is discarded succeeds: {reports:?}")
    };
    assert_eq!(tags(&bench).await, before);
    if let Some(digest) = &result.digest {
        let found = bench.registry.resolve(&bench.image.at(digest.clone())).await.unwrap();
        assert_eq!(found, None, "also its manifest is not there");
    }
}

/// The candidate tag is only for what was built.
pub async fn a_build_that_fails_pushes_nothing(subject: &dyn Subject<ExecutorBench>) {
    let bench = subject.open().await;
    let before = tags(&bench).await;
    let (run, _) = start(&bench, &bench.fails).await;
    let outcome = outcome_of(bench.as_ref(), &run).await;
    assert!(matches!(outcome, RunOutcome::Failed(_)), "{outcome:?}");
    assert_eq!(tags(&bench).await, before);
}

/// Whenever it comes. Where the push was done already, the outcome says so.
pub async fn after_a_cancel_nothing_more_reaches_the_registry(subject: &dyn Subject<ExecutorBench>) {
    let bench = subject.open().await;
    let at_once = None;
    for moment in [at_once, Some(Stage::Setup), Some(Stage::Build), Some(Stage::Push)] {
        let before = tags(&bench).await;
        let (run, tag) = start(&bench, &bench.passes).await;
        if let Some(stage) = moment {
            read_until(bench.as_ref(), &run, 0, |event| *event == RunEvent::Stage(stage)).await;
        }
        bench.executor.cancel(&run).await.unwrap();
        let at_cancel = tags(&bench).await;
        let outcome = outcome_of(bench.as_ref(), &run).await;
        let found = bench.registry.resolve(&bench.image.tagged(tag.clone())).await.unwrap();
        match &outcome {
            RunOutcome::Succeeded(result) => assert_eq!(found, result.digest, "canceled at {moment:?}"),
            RunOutcome::Canceled => {
                assert_eq!((found, &at_cancel), (None, &before), "canceled at {moment:?}")
            }
            other => panic!("canceled at {moment:?}, it ended with {other:?}"),
        }
        tokio::time::sleep(bench.pace.settle).await;
        assert_eq!(tags(&bench).await, at_cancel, "canceled at {moment:?}, something came later");
        assert_eq!(outcome_of(bench.as_ref(), &run).await, outcome, "canceled at {moment:?}");
    }
}

/// Setup, build, push, and none of those that others do.
pub async fn a_run_goes_through_the_stages_of_a_build(subject: &dyn Subject<ExecutorBench>) {
    let bench = subject.open().await;
    let (run, _) = start(&bench, &bench.passes).await;
    let stages = read(bench.as_ref(), &run).await.into_iter().filter_map(|report| match report.event {
        RunEvent::Stage(stage) => Some(stage),
        _ => None,
    });
    let mut stages: Vec<Stage> = stages.collect();
    stages.dedup();
    assert_eq!(stages, [Stage::Setup, Stage::Build, Stage::Push]);
}

/// Starts a build that is pushed under a tag which was drawn.
async fn start(bench: &ExecutorBench, job: &ExecutorJob) -> (RunId, Tag) {
    let (run, tag) = (fresh_run(), Tag::parse(word()).expect("a drawn tag"));
    let mut spec = job.spec.clone();
    spec.output = BuildOutput::Push { image: bench.image.clone(), tag: tag.clone() };
    bench.executor.start(&run, &spec, job.inputs.clone()).await.unwrap();
    (run, tag)
}

async fn tags(bench: &ExecutorBench) -> Vec<Tag> {
    bench.registry.tags(&bench.image, &TagPage::default()).await.unwrap()
}
