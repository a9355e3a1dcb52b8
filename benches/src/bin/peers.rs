//! Compares receiving a GitHub push with libraries of other languages, each a process of its own. `benches/peers/run` installs them
//! and starts this program; docs/PERFORMANCE.md says what is compared.
//!
//! ```text
//! peers NAME=COMMAND...
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write, stdout};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use kiops_benches::github::{GitHubPush, SECRET, seen};
use kiops_benches::ratio::{Promise, Ratio};
use kiops_benches::{Outcome, scratch};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A payload, how often it is received in a round, and what is promised beside octokit.
struct Size {
    name: &'static str,
    bytes: usize,
    times: u32,
    promise: Promise,
}

const SIZES: [Size; 3] = [
    Size { name: "10 KB", bytes: 10 << 10, times: 2000, promise: Promise::AtMost(0.5) },
    Size { name: "100 KB", bytes: 100 << 10, times: 200, promise: Promise::AtMost(0.7) },
    Size { name: "1 MB", bytes: 1 << 20, times: 20, promise: Promise::Nothing },
];

/// Rounds that do not count: until the others have compiled what they run often.
const WARM_UP: usize = 4;
const ROUNDS: usize = 21;

fn main() -> Outcome<ExitCode> {
    let mut peers = std::env::args().skip(1).map(|arg| Peer::start(&arg)).collect::<Outcome<Vec<_>>>()?;
    let folder = scratch()?;
    let mut out = stdout();
    writeln!(out, "payload      kiops  peer           peer  ratio  half of the rounds within")?;
    let mut broken = false;
    for size in &SIZES {
        let push = GitHubPush::of(size.bytes)?;
        let given = Given::new(&push, folder.path().join("push.json"), size.times)?;
        let forged = push.forged();
        let forged = Given::new(&forged, folder.path().join("forged.json"), 1)?;
        for peer in &mut peers {
            peer.check(&push, &given, &forged)?;
        }

        let (mut ours, mut theirs) = (Vec::new(), vec![Vec::new(); peers.len()]);
        for round in 0..WARM_UP + ROUNDS {
            let own = kiops(&push, size.times)?;
            let times = peers.iter_mut().map(|peer| peer.receive(&given)).collect::<Outcome<Vec<_>>>()?;
            if round >= WARM_UP {
                ours.push(own);
                theirs.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
            }
        }

        for (peer, theirs) in peers.iter().zip(&theirs) {
            let promise = if peer.name == "octokit" { size.promise } else { Promise::Nothing };
            let line = Line::of(&ours, theirs).ok_or("a round took no time")?;
            broken |= !promise.is_kept_by(line.ratio);
            line.print(&mut out, size, peer, promise)?;
        }
    }
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The processor time of one delivery, by so many.
fn kiops(push: &GitHubPush, times: u32) -> Outcome<Duration> {
    let before = processor_time()?;
    for _ in 0..times {
        black_box(push.handle()?);
    }
    Ok((processor_time()? - before) / times)
}

/// What this process has used so far, in user mode and in the system.
fn processor_time() -> Outcome<Duration> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

/// What a peer is asked: to receive a delivery so many times.
#[derive(Serialize)]
struct Given<'a> {
    headers: BTreeMap<&'a str, &'a str>,
    /// The file that holds it.
    body: PathBuf,
    secret: &'a str,
    times: u32,
}

impl<'a> Given<'a> {
    fn new(push: &'a GitHubPush, body: PathBuf, times: u32) -> Outcome<Self> {
        let delivery = push.delivery();
        fs::write(&body, &delivery.body)?;
        let headers = delivery.headers.iter().map(|(name, value)| Ok((name.as_str(), value.to_str()?)));
        Ok(Self { headers: headers.collect::<Outcome<_>>()?, body, secret: SECRET, times })
    }
}

/// What a peer answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", untagged)]
enum Answer {
    Received { seen: String, nanos: u64 },
    Refused { refused: String },
}

/// A process that receives deliveries, and says what that took.
struct Peer {
    name: String,
    _child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts what `NAME=COMMAND` says.
    fn start(arg: &str) -> Outcome<Self> {
        let (name, command) = arg.split_once('=').ok_or("a peer is NAME=COMMAND")?;
        let mut words = command.split_whitespace();
        let program = words.next().ok_or("a peer is NAME=COMMAND")?;
        let mut child =
            Command::new(program).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let asked = child.stdin.take().ok_or("it has no input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("it has no output")?);
        Ok(Self { name: name.to_owned(), _child: child, asked, answers })
    }

    fn ask(&mut self, given: &Given<'_>) -> Outcome<Answer> {
        writeln!(self.asked, "{}", serde_json::to_string(given)?)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|_| format!("{} answered `{line}`", self.name).into())
    }

    /// The processor time of one delivery.
    fn receive(&mut self, given: &Given<'_>) -> Outcome<Duration> {
        match self.ask(given)? {
            Answer::Received { nanos, .. } => Ok(Duration::from_nanos(nanos) / given.times),
            Answer::Refused { refused } => Err(format!("{} refused a push: {refused}", self.name).into()),
        }
    }

    /// That it does the work: it reads the same as kiops, and refuses what was changed on the way.
    fn check(&mut self, push: &GitHubPush, given: &Given<'_>, forged: &Given<'_>) -> Outcome<()> {
        let ours = seen(&push.handle()?).ok_or("kiops read no push")?;
        match self.ask(given)? {
            Answer::Received { seen, .. } if seen == ours => {}
            other => return Err(format!("{} read {other:?} where kiops read {ours}", self.name).into()),
        }
        match self.ask(forged)? {
            Answer::Refused { .. } => Ok(()),
            Answer::Received { .. } => Err(format!("{} took a forged push", self.name).into()),
        }
    }
}

/// How kiops and a peer compare.
struct Line {
    /// The least of each, since whatever disturbs only adds.
    ours: Duration,
    theirs: Duration,
    ratio: f64,
    rounds: Ratio,
}

impl Line {
    fn of(ours: &[Duration], theirs: &[Duration]) -> Option<Self> {
        let pairs: Vec<_> = ours.iter().copied().zip(theirs.iter().copied()).collect();
        let rounds = Ratio::of(&pairs)?;
        let (ours, theirs) = (*ours.iter().min()?, *theirs.iter().min()?);
        Some(Self { ours, theirs, ratio: ours.as_secs_f64() / theirs.as_secs_f64(), rounds })
    }

    fn print(&self, out: &mut impl Write, size: &Size, peer: &Peer, promise: Promise) -> Outcome<()> {
        let micros = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
        let verdict = if promise.is_kept_by(self.ratio) { "" } else { " BROKEN" };
        writeln!(
            out,
            "{:<7} {:>10}  {:<9} {:>10}  {:>5.2}  {:.2} to {:.2}  ({promise}){verdict}",
            size.name,
            micros(self.ours),
            peer.name,
            micros(self.theirs),
            self.ratio,
            self.rounds.low,
            self.rounds.high,
        )?;
        Ok(())
    }
}
