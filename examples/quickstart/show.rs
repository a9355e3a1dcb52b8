//! What the terminal shows: plain lines, and where it is a terminal a progress bar below them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use kiops_core::build::Trigger;
use kiops_core::engine::{Driver, Watching};
use kiops_core::log::Cursor;
use kiops_core::name::{BuildId, ReleaseId};
use kiops_core::notify::DomainEvent;
use kiops_core::release::VisibleState;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Standard output. A reader that went away stops nothing.
#[derive(Clone)]
pub(crate) struct Screen {
    bar: Option<Arc<ProgressBar>>,
    out: Arc<Mutex<()>>,
}

/// Something for people who look at standard error: the push prints it as `remote: ...`.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Screen {
    pub(crate) fn new() -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new(100);
            let style = ProgressStyle::with_template("  {bar:40} {pos:>3} % {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            Arc::new(bar)
        });
        Self { bar, out: Arc::default() }
    }

    /// A line that is for people: indented, so that it is never taken for one of [`Screen::keyed`].
    pub(crate) fn line(&self, text: impl Display) {
        self.write(&format!("  {text}"));
    }

    /// A `key: value` line for programs.
    pub(crate) fn keyed(&self, key: &str, value: impl Display) {
        self.write(&format!("{key}: {value}"));
    }

    pub(crate) fn ready(&self) {
        self.write("ready");
    }

    /// Shows what the library warns of on standard error, whatever `RUST_LOG` says instead of `warn`. Standard output is kept
    /// for what programs read.
    pub(crate) fn warnings(&self) {
        let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
        let bar = self.bar.clone();
        let writer = move || Beside(bar.clone());
        let subscriber =
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer);
        // There is a subscriber already only where somebody else set one.
        let _ = subscriber.try_init();
    }

    fn progress(&self, percent: u8, text: &str) {
        if let Some(bar) = &self.bar {
            if bar.is_finished() {
                bar.reset();
            }
            bar.set_position(u64::from(percent));
            bar.set_message(text.to_owned());
        }
    }

    /// Takes the bar away until there is progress again.
    pub(crate) fn rest(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn write(&self, text: &str) {
        let _one_at_a_time = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let print = || {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{text}").and_then(|()| out.flush());
        };
        match &self.bar {
            Some(bar) if !bar.is_finished() => bar.suspend(print),
            _ => print(),
        }
    }
}

/// Standard error beside a progress bar.
struct Beside(Option<Arc<ProgressBar>>);

impl std::io::Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let print = || std::io::stderr().write(bytes);
        match &self.0 {
            Some(bar) if !bar.is_finished() => bar.suspend(print),
            _ => print(),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Shows everything that happens.
pub(crate) struct Shown {
    /// How many builds' logs are still being shown.
    open: watch::Receiver<usize>,
}

impl Shown {
    /// Resolves when the log of every build that is over was shown.
    pub(crate) async fn caught_up(&mut self) {
        let all = self.open.wait_for(|open| *open == 0);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), all).await;
    }
}

/// What was shown of a build.
#[derive(Clone, Default)]
struct Known {
    label: &'static str,
    over: bool,
    log: Shared,
}

/// How far a build's log was shown. Whoever shows more of it holds the lock.
type Shared = Arc<tokio::sync::Mutex<Cursor>>;

/// `manifests` is the folder of the current ones, where there is one.
pub(crate) fn follow(screen: Screen, driver: Driver, manifests: Option<PathBuf>) -> Shown {
    let (count, open) = watch::channel(0);
    let count = Arc::new(count);
    let mut watching = driver.watch();
    let start = driver.now();
    tokio::spawn(async move {
        let mut builds: BTreeMap<BuildId, Known> = BTreeMap::new();
        let mut whole = true;
        while let Some(event) = watching.next().await {
            if let DomainEvent::Build { build, view, image, .. } = &event {
                let (label, over) = (view.state.label(), view.state.is_over());
                let before = builds.get(build).cloned();
                let known = Known { label, over, log: before.clone().unwrap_or_default().log };
                builds.insert(build.clone(), known.clone());
                let comes_up = !over && before.as_ref().is_none_or(|before| before.over);
                let reused = comes_up && image.is_some();
                if reused {
                    screen.line(format_args!("build {build}: built before, its image is reused"));
                }
                // The log of a build that was over is closed: what is added later is looked for as the build goes on.
                if comes_up || image.is_some() {
                    // What was written before this program started, its predecessor showed.
                    let since = if image.is_some() { start } else { Timestamp::MIN };
                    let (screen, driver, build) = (screen.clone(), driver.clone(), build.clone());
                    let count = Arc::clone(&count);
                    count.send_modify(|open| *open += 1);
                    tokio::spawn(async move {
                        log(&screen, &driver, &build, since, &known.log).await;
                        count.send_modify(|open| *open -= 1);
                    });
                }
                match over {
                    true => screen.rest(),
                    false => screen.progress(view.progress.percent(), label),
                }
                // A word is told when it changes; steps move the bar only.
                if before.is_some_and(|before| before.label == label) {
                    continue;
                }
            }
            let live = match &event {
                DomainEvent::Release { release, state, .. } if state == "live" => Some(release.clone()),
                _ => None,
            };
            show(&screen, event);
            if let (Some(release), Some(folder)) = (live, &manifests) {
                manifest(&screen, folder, &release, whole);
                whole = false;
            }
        }
    });
    Shown { open }
}

fn show(screen: &Screen, event: DomainEvent) {
    match event {
        DomainEvent::Decided { trigger, event, outcome, reason, findings, .. } => {
            let how = match trigger {
                Trigger::Webhook => "delivery verified",
                _ => "found without a delivery",
            };
            screen.line(format_args!("{event} by {}: {how}", trigger.title().to_lowercase()));
            for finding in findings {
                screen.line(format_args!("  {finding}"));
            }
            screen.line(format_args!("decision: {outcome}, {reason}"));
        }
        DomainEvent::Build { build, view, image, .. } => {
            screen.line(format_args!("build {build}: {}", view.state.label().to_lowercase()));
            if let Some(failure) = view.failure {
                screen.line(format_args!("  {failure}"));
            }
            if let Some(image) = image.filter(|_| view.state == VisibleState::Succeeded) {
                screen.line(format_args!("image {image}"));
            }
        }
        DomainEvent::Release { release, environment, state, images, .. } => {
            screen.line(format_args!("release {release} to {environment}: {state} ({})", images.join(", ")));
        }
        DomainEvent::Check { check, release, environment, state, failure, .. } => {
            screen.line(format_args!("check {check} of release {release} in {environment}: {state}"));
            if let Some(failure) = failure {
                screen.line(format_args!("  {failure}"));
            }
        }
        DomainEvent::Quarantined { record, reason } => {
            screen.line(format_args!("{record} was set aside: {reason}"));
        }
        _ => {}
    }
}

/// Where the manifest of a release is, and the first time what is in it.
fn manifest(screen: &Screen, deploy: &Path, release: &ReleaseId, whole: bool) {
    let below = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    for path in below(deploy).iter().flat_map(|folder| below(folder)) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if text.contains(release.as_str()) {
            screen.line(format_args!("manifest {}", path.display()));
            for line in text.lines().filter(|_| whole) {
                screen.line(format_args!("  {line}"));
            }
        }
    }
}

/// What a build's log has beyond what was shown of it, line by line, until it is closed. Lines from before `since` are not
/// shown.
async fn log(screen: &Screen, driver: &Driver, build: &BuildId, since: Timestamp, shown: &Shared) {
    let mut cursor = shown.lock().await;
    loop {
        let Ok(page) = driver.logs().read(build, *cursor, 500).await else { return };
        for line in &page.lines {
            if line.at >= since {
                screen.line(format_args!("[{}] {}", line.stage, line.text));
            }
            *cursor = Cursor(line.n);
        }
        if page.ended || (page.lines.is_empty() && is_gone(driver, build).await) {
            return;
        }
        if page.lines.is_empty()
            && driver.logs().changed(build, *cursor, SignedDuration::from_secs(5)).await.is_err()
        {
            return;
        }
    }
}

async fn is_gone(driver: &Driver, build: &BuildId) -> bool {
    matches!(driver.store().build(build).await, Ok(None) | Err(_))
}

/// Resolves when the first build that is seen is over, or when it was decided that there is none to wait for.
pub(crate) async fn until_over(mut watching: Watching) {
    let mut building = false;
    while let Some(event) = watching.next().await {
        match event {
            DomainEvent::Decided { builds, .. } => {
                building |= !builds.is_empty();
                if !building {
                    return;
                }
            }
            DomainEvent::Build { view, .. } if view.state.is_over() => return,
            _ => {}
        }
    }
}
