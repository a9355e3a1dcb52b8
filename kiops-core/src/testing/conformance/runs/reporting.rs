//! Reports: their numbers, their order, what stands in them and what never does.

use futures_util::StreamExt as _;

use super::{JobKind, RunBench, SECRET, fresh_run, read, read_until, reports_after};
use crate::image::RegistryCredential;
use crate::log::LINE_MAX;
use crate::run::{RunEvent, RunOutcome, RunReport};
use crate::secret::Secret;
use crate::testing::conformance::Subject;

const ENDING: [JobKind; 2] = [JobKind::Passes, JobKind::Fails];

/// The lines of a report, too.
pub async fn numbers_rise_from_above_zero<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    for kind in ENDING {
        let run = fresh_run();
        bench.start(&run, kind).await.unwrap();
        let numbers: Vec<u64> = read(bench.as_ref(), &run).await.iter().map(|report| report.n).collect();
        assert!(numbers[0] > 0 && numbers.is_sorted_by(|one, next| one < next), "{kind:?}: {numbers:?}");
    }
}

/// The stream ends there, also for who has the outcome already.
pub async fn nothing_comes_after_the_outcome<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    for kind in ENDING {
        let run = fresh_run();
        bench.start(&run, kind).await.unwrap();
        let known = read(bench, &run).await;
        let last = known.last().expect("a run has an outcome");
        for (after, comes) in [(0, Some(last)), (last.n, None)] {
            let whole = async { bench.reports(&run, after).await.unwrap().collect::<Vec<_>>().await };
            let whole = tokio::time::timeout(bench.pace().patience, whole).await;
            let whole =
                whole.unwrap_or_else(|_| panic!("{kind:?}: the stream after report {after} never ends"));
            let whole: Vec<RunReport> = whole.into_iter().map(Result::unwrap).collect();
            assert_eq!(whole.last(), comes, "{kind:?} after {after}");
        }
        let outcomes = known.iter().filter(|report| matches!(report.event, RunEvent::Finished(_))).count();
        assert_eq!(outcomes, 1, "{kind:?}");
    }
}

/// Whatever it has seen, it misses nothing and sees nothing twice.
pub async fn a_reader_goes_on_after_any_report<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    for kind in ENDING {
        let run = fresh_run();
        bench.start(&run, kind).await.unwrap();
        // While it runs: a new stream for each report.
        let mut live: Vec<RunReport> = Vec::new();
        while !matches!(live.last(), Some(RunReport { event: RunEvent::Finished(_), .. })) {
            let after = live.last().map_or(0, |report| report.n);
            let next = read_until(bench, &run, after, |_| true).await.into_iter().next();
            live.push(next.expect("a run that is not over reports more"));
        }
        // And when it is over.
        assert_eq!(read(bench, &run).await, live, "{kind:?}");
        for (seen, report) in (1..live.len()).zip(&live) {
            assert_eq!(
                reports_after(bench, &run, report.n).await,
                live[seen..],
                "{kind:?} after {}",
                report.n
            );
        }
    }
}

/// A driver that takes over while the one before still reads.
pub async fn several_readers_see_the_same<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    let run = fresh_run();
    bench.start(&run, JobKind::Passes).await.unwrap();
    let (one, two, three) = tokio::join!(read(bench, &run), read(bench, &run), async {
        let mut seen = read_until(bench, &run, 0, |_| true).await;
        let last = seen.last().expect("there is a report").n;
        seen.extend(reports_after(bench, &run, last).await);
        seen
    });
    assert_eq!(one, two);
    assert_eq!(one, three);
}

/// Read as often as anybody likes.
pub async fn reports_are_kept_until_the_run_is_forgotten<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    let run = fresh_run();
    bench.start(&run, JobKind::Passes).await.unwrap();
    let first = read(bench, &run).await;
    tokio::time::sleep(bench.pace().settle).await;
    assert_eq!(read(bench, &run).await, first);
    bench.forget(&run).await.unwrap();
    let after: Vec<RunReport> = read(bench, &run).await;
    let [RunReport { event: RunEvent::Finished(RunOutcome::Lost { .. }), .. }] = &after[..] else {
        panic!("a forgotten run still has reports: {after:?}")
    };
}

/// No stage comes again after a later one; every step has its place in a stage that began.
pub async fn stages_come_in_order<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    for kind in ENDING {
        let run = fresh_run();
        bench.start(&run, kind).await.unwrap();
        let mut current = None;
        for report in read(bench.as_ref(), &run).await {
            match report.event {
                RunEvent::Stage(stage) => {
                    assert!(current <= Some(stage), "{kind:?}: {stage} after {current:?}");
                    current = Some(stage);
                }
                RunEvent::Step { n, of } => {
                    assert!(current.is_some(), "{kind:?}: a step of no stage");
                    assert!((1..=of).contains(&n), "{kind:?}: step {n} of {of}");
                }
                _ => {}
            }
        }
    }
}

/// No line break, no control character, none too long.
pub async fn lines_are_clean<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    for kind in [JobKind::Passes, JobKind::Fails, JobKind::Tells] {
        if !bench.has(kind) {
            continue;
        }
        let run = fresh_run();
        bench.start(&run, kind).await.unwrap();
        for report in read(bench.as_ref(), &run).await {
            let RunEvent::Lines(lines) = report.event else { continue };
            for line in lines {
                assert!(line.text.len() <= LINE_MAX, "{kind:?}: a line of {} bytes", line.text.len());
                assert!(!line.text.contains(char::is_control), "{kind:?}: {:?}", line.text);
            }
        }
    }
}

/// Build secrets, and the credentials for pulling and pushing.
pub async fn secrets_appear_in_no_report<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    let secret = || Secret::new(SECRET).expect("it is not empty");
    let credential =
        |host: &str| RegistryCredential { host: host.into(), username: "robot".into(), password: secret() };
    for kind in [JobKind::Passes, JobKind::Fails, JobKind::Tells] {
        if !bench.has(kind) {
            continue;
        }
        let run = fresh_run();
        bench.start(&run, kind).await.unwrap();
        let told = text_of(&read(bench, &run).await).contains(SECRET);
        assert_eq!(told, kind == JobKind::Tells, "{kind:?}: the job shows the word where it is no secret");
        let plain = || bench.inputs(kind);
        let mut as_secret = plain();
        as_secret.secrets.insert("token".into(), secret());
        let mut as_pull = plain();
        as_pull.pull.push(credential("pull.invalid"));
        let mut as_push = plain();
        as_push.push.get_or_insert_with(|| credential("push.invalid"));
        for inputs in [as_secret, as_pull, as_push] {
            // What the job came with is as secret as what was added.
            let passwords = inputs.pull.iter().chain(&inputs.push).map(|credential| &credential.password);
            let secrets: Vec<Secret> = inputs.secrets.values().chain(passwords).cloned().collect();
            let run = fresh_run();
            bench.start_with(&run, kind, inputs).await.unwrap();
            let text = text_of(&read(bench, &run).await);
            for secret in &secrets {
                let secret = secret.expose_str().expect("secrets of a bench are text");
                assert!(!text.contains(secret), "{kind:?}: a secret stands in a report");
            }
        }
    }
}

/// The reports as a driver would store them.
fn text_of(reports: &[RunReport]) -> String {
    serde_json::to_string(reports).expect("reports are written as JSON")
}
