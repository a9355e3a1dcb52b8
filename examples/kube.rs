//! Kubernetes from the command line: every call that a person would make of what kiops-kube does by itself.
//!
//! ```text
//! cargo run --example kube -- --context dev doctor shop
//! cargo run --example kube -- build spec.json --clone https://git.example.com/team/shop.git --dockerfile Dockerfile --follow
//! cargo run --example kube -- build spec.json --clone https://git.example.com/team/shop.git --executor buildkit --settings buildkit.json
//! cargo run --example kube -- build spec.json --clone https://git.example.com/team/shop.git --executor tekton --follow
//! cargo run --example kube -- logs b-0123-1 --follow
//! cargo run --example kube -- render-network --builds kiops-builds
//! cargo run --example kube -- create-secret --service shop --host harbor.example.com --username 'robot$ci' --password-env PASSWORD
//! cargo run --example kube -- deploy --service shop --workload shop.json --image web=nginx:alpine@sha256:... --wait
//! cargo run --example kube -- rollback --service shop --workload shop.json 3
//! cargo run --example kube -- render --service shop --workload shop.json --image web=nginx:alpine@sha256:...
//! ```
//!
//! Ends with 0; with 1 and a message where something is wrong, with 2 where the arguments are. Passwords are named by environment variables,
//! never given as arguments: those are visible to every process.

#[path = "kube/build.rs"]
mod build;
#[path = "kube/connect.rs"]
mod connect;
#[path = "kube/deploy.rs"]
mod deploy;
#[path = "kube/doctor.rs"]
mod doctor;
#[path = "kube/secret.rs"]
mod secret;
#[path = "kube/target.rs"]
mod target;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kiops_core::name::RunId;
use kiops_core::release::Revision;
use kiops_core::{Error, Result};
use kiops_kube::render::PullSecret;
use kiops_kube::{RenderConfig, render};

use self::build::{Builds, Source};
use self::connect::Connection;
use self::doctor::Doctor;
use self::secret::PullSecretOf;
use self::target::{Images, Place};

/// Kubernetes from the command line.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    builds: Builds,
    #[command(subcommand)]
    call: Call,
}

#[derive(Debug, Subcommand)]
enum Call {
    /// Prints a workload as Kubernetes manifests. Needs no cluster.
    Render {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        images: Images,
    },
    /// Prints the Job or PipelineRun that would build, without its Secret.
    RenderBuild {
        #[command(flatten)]
        source: Source,
    },
    /// Prints the NetworkPolicy that the first build applies.
    RenderNetwork,
    /// Starts a build and prints its run's id. The same specification again is the same run.
    Build {
        #[command(flatten)]
        source: Source,
        /// Shows the log to the end; ends with 1 where the build fails.
        #[arg(long)]
        follow: bool,
    },
    /// Shows a run's log.
    Logs {
        run: RunId,
        /// To the end of the run.
        #[arg(short, long)]
        follow: bool,
    },
    /// Stops a run.
    Cancel { run: RunId },
    /// Removes a run that is over.
    Forget { run: RunId },
    /// Every run there is.
    Runs,
    /// Whether a service has its pull Secret.
    CheckSecret {
        #[command(flatten)]
        of: PullSecretOf,
    },
    /// Makes a service's pull Secret, unless there is one.
    CreateSecret {
        #[command(flatten)]
        of: PullSecretOf,
    },
    /// Puts another credential in a service's pull Secret, after a password change.
    RotateSecret {
        #[command(flatten)]
        of: PullSecretOf,
    },
    /// Brings images to a target and prints the revision.
    Deploy {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        images: Images,
        /// Until the rollout is over; ends with 1 where it fails.
        #[arg(long)]
        wait: bool,
    },
    /// How the newest revision stands, and those before it.
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Brings an older revision back as a new one.
    Rollback {
        #[command(flatten)]
        place: Place,
        /// Which.
        revision: u64,
        /// Until the rollout is over; ends with 1 where it fails.
        #[arg(long)]
        wait: bool,
    },
    /// Removes a target and its history. Volumes stay.
    Remove {
        #[command(flatten)]
        place: Place,
    },
    /// Says what the cluster lacks: rights, classes, namespaces. Ends with 1 where something will not work.
    Doctor(Doctor),
}

impl Call {
    async fn make(self, connection: &Connection, builds: &Builds) -> Result<()> {
        match self {
            Self::Render { place, images } => {
                let (target, request) = (place.target()?, images.request("")?);
                write(&render(&target, &request, &RenderConfig::default(), PullSecret::Absent)?.to_yaml()?)
            }
            Self::RenderBuild { source } => builds.render(connection, source).await,
            Self::RenderNetwork => builds.render_network(connection).await,
            Self::Build { source, follow } => builds.start(connection, source, follow).await,
            Self::Logs { run, follow } => builds.logs(connection, &run, follow).await,
            Self::Cancel { run } => builds.cancel(connection, &run).await,
            Self::Forget { run } => builds.forget(connection, &run).await,
            Self::Runs => builds.list(connection).await,
            Self::CheckSecret { of } => of.check(connection).await,
            Self::CreateSecret { of } => of.create(connection).await,
            Self::RotateSecret { of } => of.rotate(connection).await,
            Self::Deploy { place, images, wait } => {
                deploy::apply(connection, &place.target()?, &images, wait).await
            }
            Self::Status { place } => deploy::status(connection, &place.target()?).await,
            Self::Rollback { place, revision, wait } => {
                deploy::rollback(connection, &place.target()?, Revision(revision), wait).await
            }
            Self::Remove { place } => deploy::remove(connection, &place.target()?).await,
            Self::Doctor(doctor) => doctor.make(connection, builds).await,
        }
    }
}

/// A text to the standard output.
fn write(text: &str) -> Result<()> {
    let result = std::io::stdout().lock().write_all(text.as_bytes());
    result.map_err(|error| Error::unavailable("print", error.to_string()))
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { connection, builds, call } = Arguments::parse();
    match call.make(&connection, &builds).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading any more.
            drop(writeln!(std::io::stderr(), "error: {error}"));
            ExitCode::FAILURE
        }
    }
}
