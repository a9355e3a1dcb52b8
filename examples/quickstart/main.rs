//! Push-to-deploy on a machine with Rust and git alone: `cargo run --release --example quickstart`.

mod hook;
mod runtime;
mod show;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use kiops_core::build::{Build, BuildState};
use kiops_core::engine::Driver;
use kiops_core::name::PinnedImage;
use kiops_core::store::Page;
use kiops_core::{Error, ErrorKind, Result};
use kiops_examples::local::{Local, LocalConfig, Place, push_site};
use kiops_git::plain::HookCommand;

use show::Screen;

/// A git push becomes a pinned image and a rollout.
#[derive(Parser)]
struct Args {
    /// The folder that everything is kept in.
    #[arg(long, default_value = "./kiops-quickstart")]
    dir: PathBuf,
    /// The port on 127.0.0.1; 0 is any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// End once everything is ready.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    runtime: runtime::Arguments,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Subcommand)]
enum Sub {
    /// What the repository's hook runs.
    #[command(hide = true)]
    PostReceive,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Sub::PostReceive) = args.command {
        hook::deliver(&args.dir);
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(error: &str) -> ExitCode {
    show::error(error);
    ExitCode::FAILURE
}

async fn run(args: Args) -> Result<()> {
    survive_file_size_limits();
    let screen = Screen::new();
    screen.warnings();
    let place = Place::lock(&args.dir)?;
    let program = std::env::current_exe()
        .map_err(|error| Error::unavailable("find this program", error.to_string()))?;
    let arguments =
        vec![OsString::from("--dir"), OsString::from(place.root()), OsString::from("post-receive")];
    let hook = HookCommand { program, args: arguments };
    let mut config = LocalConfig::new(args.port, hook);
    config.runtime = args.runtime.open().await?;
    let (dockerfile, deployed, manifests) =
        (config.runtime.dockerfile(), config.runtime.place(&place), config.runtime.manifests(&place));
    let local = Local::open(place, config).await?;
    let (driver, place, git, address) =
        (local.driver.clone(), Arc::clone(&local.place), local.git.clone(), local.address);
    let new = local.is_new().await?;

    let mut shown = show::follow(screen.clone(), driver.clone(), manifests);
    let watching = driver.watch();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut running = tokio::spawn(local.run(async {
        tokio::select! {
            Ok(()) = stopped => {}
            () = signal() => {}
        }
    }));
    if new {
        screen.line("pushing a small site to the repository");
        let first = async {
            push_site(&git, &place, &dockerfile).await?;
            show::until_over(watching).await;
            shown.caught_up().await;
            Ok::<(), Error>(())
        };
        tokio::select! {
            done = first => done?,
            // Somebody asked it to end: no build goes on, so nothing is left to wait for.
            _ = &mut running => {
                return Err(Error::new(ErrorKind::Canceled, "first push", "asked to end before it was ready")
                    .with_remedy("start again: it goes on where it was"));
            }
        }
    }
    let image = newest_image(&driver).await?;
    screen.rest();
    screen.keyed("repo", place.repository().display());
    screen.keyed("server", format_args!("http://{address}"));
    if let Some(image) = image {
        screen.keyed("image", image);
    }
    screen.keyed("layout", place.layout().display());
    screen.keyed("deploy", deployed);
    screen.ready();
    if args.once {
        let _ = stop.send(());
    }
    let _ = running.await;
    Ok(())
}

/// The image of the newest build that succeeded.
async fn newest_image(driver: &Driver) -> Result<Option<PinnedImage>> {
    let mut offset = 0;
    loop {
        let page = driver.store().builds(None, Page { limit: 50, offset }).await?;
        let mut succeeded = page.items.iter().filter(|build| build.state == BuildState::Succeeded);
        if let Some(image) = succeeded.find_map(Build::image) {
            return Ok(Some(image));
        }
        offset += page.items.len() as u64;
        if page.items.is_empty() || offset >= page.total {
            return Ok(None);
        }
    }
}

/// A write beyond `RLIMIT_FSIZE` ends a program that does not listen to `SIGXFSZ`; whoever listens gets an error instead, which
/// is a full disk to us. Once registered, the handler stays.
fn survive_file_size_limits() {
    use tokio::signal::unix::{SignalKind, signal};
    if let Err(error) = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())) {
        show::error(&format!("a limit of file sizes would end this program: {error}"));
    }
}

/// Resolves when somebody asks the program to end.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut hang_up)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}
