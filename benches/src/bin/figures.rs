//! Prints every figure that kiops promises, and fails where one is not kept. What each means stands in docs/PERFORMANCE.md.
//!
//! ```text
//! cargo run --release -p kiops-benches --bin figures            # all
//! cargo run --release -p kiops-benches --bin figures -- push    # those whose name starts so
//! ```

use std::cell::RefCell;
use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use kiops_benches::accepts::Accepts;
use kiops_benches::assemble::Folder;
use kiops_benches::decide::Case;
use kiops_benches::masking::Masking;
use kiops_benches::push::Push;
use kiops_benches::ratio::{Promise, Ratio, each, median};
use kiops_benches::routing::{Kind, Routing};
use kiops_benches::stored::Stored;
use kiops_benches::{Outcome, builds, kube, quickstart, to_job};

/// A number, and what it was made of.
struct Measured {
    figure: f64,
    of: String,
}

struct Figure {
    name: &'static str,
    promise: Promise,
    measure: fn() -> Outcome<Measured>,
}

const fn figure(name: &'static str, promise: Promise, measure: fn() -> Outcome<Measured>) -> Figure {
    Figure { name, promise, measure }
}

const FIGURES: &[Figure] = &[
    figure("push/10KB", Promise::Nothing, || push(10 << 10)),
    figure("push/100KB", Promise::AtMost(1.25), || push(100 << 10)),
    figure("push/1MB", Promise::Nothing, || push(1 << 20)),
    figure("decide/900-files", Promise::Nothing, decide),
    figure("routing/sqlite", Promise::AtMost(1.5), || routing(Kind::Sqlite)),
    figure("routing/memory", Promise::AtMost(1.5), || routing(Kind::Memory)),
    figure("masking/5-secrets", Promise::Nothing, || masking(5)),
    figure("masking/1000-secrets", Promise::Nothing, || masking(1000)),
    figure("accepts/10KB-one-at-a-time", Promise::AtLeast(0.7), || accepts(10 << 10, 1, 20)),
    figure("accepts/10KB-64-waiting", Promise::AtLeast(3.0), || accepts(10 << 10, 64, 640)),
    figure("accepts/2KB-64-waiting", Promise::AtLeast(8.0), || accepts(2 << 10, 64, 1280)),
    figure("accepts/2KB-64-waiting-and-moved", Promise::Nothing, accepts_and_moved),
    figure("assemble/time", Promise::AtMost(0.35), assembled),
    figure("assemble/peak", Promise::AtMost(1.0), assemble_peak),
    figure("assemble/450-mib-more-add-mib", Promise::AtMost(10.0), assemble_flat),
    figure("stored/1000-secrets", Promise::AtMost(2.0), stored),
    figure("kube/requests", Promise::AtMost(6.0), kube_requests),
    figure("kube/1000-builds-peak-mib", Promise::AtMost(150.0), kube_memory),
    figure("kube/1000-builds-idle-percent", Promise::AtMost(10.0), kube_idle),
    figure("kube/webhook-to-job-p99-ms", Promise::AtMost(100.0), kube_job),
    figure("quickstart/seconds", Promise::AtMost(3.0), quickstart_seconds),
    figure("quickstart/peak-mib", Promise::AtMost(60.0), quickstart_memory),
];

/// How long subject and reference run in each round, where they are quick.
const SLICE: Duration = Duration::from_millis(5);

fn main() -> Outcome<ExitCode> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    match wanted.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [kube::ARGUMENT, pace] => return kube::serve(pace).map(|()| ExitCode::SUCCESS),
        [builds::ARGUMENT, address, count] => {
            let followed = builds::as_process(address, count)?;
            write!(stdout(), "{}", serde_json::to_string(&followed)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let is_wanted =
        |figure: &&Figure| wanted.is_empty() || wanted.iter().any(|name| figure.name.starts_with(name));
    let mut out = stdout();
    let (mut measured, mut broken) = (0, 0);
    for figure in FIGURES.iter().filter(is_wanted) {
        let Measured { figure: value, of } = (figure.measure)()?;
        let kept = figure.promise.is_kept_by(value);
        let verdict = if kept { "" } else { " BROKEN" };
        writeln!(out, "{}: {value:.2} ({}){verdict}  {of}", figure.name, figure.promise)?;
        measured += 1;
        broken += usize::from(!kept);
    }
    if measured == 0 {
        let names: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
        return Err(format!("there is no such figure: there are {}", names.join(", ")).into());
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(ratio: Ratio) -> Measured {
    let Ratio { median, low, high, subject, reference } = ratio;
    let of = format!("half of the rounds within {low:.2} to {high:.2}; {subject:.1?} beside {reference:.1?}");
    Measured { figure: median, of }
}

/// Verify, decode and decide ÷ HMAC and typed parse.
fn push(bytes: usize) -> Outcome<Measured> {
    let push = Push::of(bytes)?;
    Ok(told(Ratio::measure(51, || each(SLICE, || push.handle()), || each(SLICE, || push.bare()))?))
}

/// `decide` ÷ all of a push with as many files.
fn decide() -> Outcome<Measured> {
    let (case, push) = (Case::new()?, Push::of(Case::BYTES)?);
    Ok(told(Ratio::measure(51, || each(SLICE, || Ok(case.decide())), || each(SLICE, || push.handle()))?))
}

/// Among 10,000 services ÷ among 10.
fn routing(kind: Kind) -> Outcome<Measured> {
    let (mut many, mut few) = (Routing::among(10_000, kind)?, Routing::among(10, kind)?);
    Ok(told(Ratio::measure(101, || each(SLICE, || many.find(10)), || each(SLICE, || few.find(10)))?))
}

/// A log through the masker ÷ the same log through bare aho-corasick.
fn masking(secrets: usize) -> Outcome<Measured> {
    let masking = Masking::of(secrets)?;
    Ok(told(Ratio::measure(31, || each(SLICE, || Ok(masking.mask())), || each(SLICE, || masking.bare()))?))
}

/// How many deliveries are accepted in the time in which one is appended and synced.
fn accepts(bytes: usize, callers: usize, n: usize) -> Outcome<Measured> {
    let accepts = RefCell::new(Accepts::of(bytes)?);
    let ratio =
        Ratio::measure(21, || accepts.borrow_mut().accept(n, callers), || accepts.borrow_mut().append(20))?;
    Ok(told(ratio.inverse()))
}

fn accepts_and_moved() -> Outcome<Measured> {
    let accepts = RefCell::new(Accepts::of(2 << 10)?);
    let ratio = Ratio::measure(
        21,
        || accepts.borrow_mut().accept_and_move(1280, 64),
        || accepts.borrow_mut().append(20),
    )?;
    Ok(told(ratio.inverse()))
}

/// A log masked and stored ÷ the same log through bare aho-corasick into a file.
fn stored() -> Outcome<Measured> {
    let stored = Stored::of(1000, 200_000)?;
    Ok(told(Ratio::measure(11, || stored.store(), || stored.bare())?))
}

/// The assembler's time ÷ that of `buildah bud` and `buildah push`.
fn assembled() -> Outcome<Measured> {
    let folder = RefCell::new(Folder::beside_buildah(50)?);
    let (subject, reference) =
        (|| Ok(folder.borrow_mut().assemble()?.time), || Ok(folder.borrow_mut().buildah()?.time));
    Ok(told(Ratio::measure(7, subject, reference)?))
}

/// The same of the most memory that either took in three runs.
fn assemble_peak() -> Outcome<Measured> {
    let mut folder = Folder::beside_buildah(50)?;
    let (mut ours, mut theirs) = (0.0_f64, 0.0_f64);
    for _ in 0..3 {
        ours = ours.max(folder.assemble()?.memory);
        theirs = theirs.max(folder.buildah()?.memory);
    }
    Ok(Measured { figure: ours / theirs, of: format!("{ours:.0} MiB beside {theirs:.0} MiB") })
}

/// The most memory with 500 MiB of context less that with 50 MiB.
fn assemble_flat() -> Outcome<Measured> {
    let (small, large) = (Folder::of(50)?.assemble()?, Folder::of(500)?.assemble()?);
    let of = format!("{:.0} MiB with 50 MiB, {:.0} MiB with 500 MiB", small.memory, large.memory);
    Ok(Measured { figure: large.memory - small.memory, of })
}

fn kube_requests() -> Outcome<Measured> {
    Ok(Measured { figure: builds::requests(200)?, of: "the mean of 200 builds".into() })
}

/// Both figures of 1,000 builds that are followed at once, measured once.
fn kube_followed() -> Outcome<builds::Followed> {
    static FOLLOWED: OnceLock<builds::Followed> = OnceLock::new();
    match FOLLOWED.get() {
        Some(followed) => Ok(*followed),
        None => builds::follow(1000).map(|followed| *FOLLOWED.get_or_init(|| followed)),
    }
}

fn kube_memory() -> Outcome<Measured> {
    Ok(Measured { figure: kube_followed()?.peak_mib, of: "the most of one process".into() })
}

fn kube_idle() -> Outcome<Measured> {
    Ok(Measured { figure: kube_followed()?.idle_percent, of: "of one core, over 65 s".into() })
}

fn kube_job() -> Outcome<Measured> {
    let times = to_job::times(400)?;
    let of = format!("of 400 pushes; the median is {:.1?}", median(times.iter().copied()));
    Ok(Measured { figure: to_job::p99(&times).as_secs_f64() * 1e3, of })
}

fn quickstart_seconds() -> Outcome<Measured> {
    let program = quickstart::program()?;
    let starts = (0..5).map(|_| quickstart::start(&program)).collect::<Outcome<Vec<_>>>()?;
    let took = median(starts.iter().map(|start| start.took));
    Ok(Measured { figure: took.as_secs_f64(), of: "the median of 5 starts".into() })
}

fn quickstart_memory() -> Outcome<Measured> {
    let program = quickstart::program()?;
    let starts = (0..3).map(|_| quickstart::start(&program)).collect::<Outcome<Vec<_>>>()?;
    let peaks: Option<Vec<f64>> = starts.iter().map(|start| start.memory).collect();
    let peaks = peaks.ok_or("this system does not tell how much memory a process had (VmHWM)")?;
    Ok(Measured { figure: peaks.iter().copied().fold(0.0, f64::max), of: "the most of 3 starts".into() })
}
