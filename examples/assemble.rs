//! Builds a folder's Dockerfile in this process, straight into a registry or an image layout.
//!
//! ```text
//! cargo run --release --example assemble -- site harbor.example.com/team/site:1.0 --username ci --password-env PASSWORD
//! cargo run --release --example assemble -- site registry.local/site:1.0 --layout images --compression zstd:19
//! ```
//!
//! `--platform` more than once makes an index with an image for each. The Dockerfile must execute nothing (no RUN). Bases of other hosts are read without an account. A layout belongs outside of the folder. Prints what happens, and last the image
//! with its digest; ends with 1 and what to do where it fails. The same folder gives the same digest everywhere: times are
//! `SOURCE_DATE_EPOCH`, or 1970.

#[path = "registry/connect.rs"]
mod connect;
#[path = "assemble/folder.rs"]
mod folder;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use futures_util::StreamExt as _;
use kiops_core::build::{BuildExecutor as _, BuildMetadata, BuildOutput, BuildSpec};
use kiops_core::event::Repository;
use kiops_core::http::{ReqwestConfig, ReqwestService, SystemTimer};
use kiops_core::image::Registry;
use kiops_core::name::{
    BranchName, BuildId, ComponentName, GitRef, ImageRef, ProviderName, RunId, ServiceName, Tag,
};
use kiops_core::run::{RunEvent, RunInputs, RunOutcome};
use kiops_core::{Error, ErrorKind, Result};
use kiops_registry::assemble::{Assembler, AssemblerConfig, Compression};
use kiops_registry::oci::{Oci, OciConfig};

use self::connect::Connection;
use self::folder::Folder;

/// Builds a folder's Dockerfile straight into a registry or an image layout.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder: the build context.
    folder: PathBuf,
    /// The image with its host and tag.
    image: String,
    /// The Dockerfile within the folder.
    #[arg(long, default_value = "Dockerfile")]
    dockerfile: String,
    /// The stage to build.
    #[arg(long)]
    target: Option<String>,
    /// A build argument, `NAME=VALUE`.
    #[arg(long, value_parser = pair)]
    build_arg: Vec<(String, String)>,
    /// A host from which bases are read, besides the image's own and those that FROM lines name.
    #[arg(long)]
    base_host: Vec<String>,
    /// How layers are compressed: gzip or zstd, with a level behind a colon (zstd:19).
    #[arg(long, default_value = "gzip")]
    compression: Compression,
    /// A platform to build for; several make an index. linux/amd64 alone where none is named.
    #[arg(long)]
    platform: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

async fn build(arguments: Arguments) -> Result<()> {
    let image = ImageRef::parse(&arguments.image)?;
    let tag = image.tag.clone().map_or_else(|| Tag::parse("latest"), Ok)?;
    let folder = Folder::open(&arguments.folder)?;
    let work = tempfile::tempdir()
        .map_err(|error| Error::new(ErrorKind::Unavailable, "make working folder", error.to_string()))?;
    let registry = arguments.connection.open(image.name.host())?;
    let own = image.name.host();
    let hosts = arguments.base_host.iter().cloned().chain(base_hosts(&arguments)).filter(|host| *host != own);
    let by_host = hosts.map(|host| Ok((host.clone(), open_to_all(&host)?))).collect::<Result<_>>()?;
    let mut config = AssemblerConfig::new(work.path());
    config.compression = arguments.compression;
    if !arguments.platform.is_empty() {
        config.platforms.clone_from(&arguments.platform);
    }
    let assembler = Assembler::with_registries(config, registry, by_host)?;
    let spec = spec(&arguments, &image, &tag, &folder)?;
    let run = RunId::parse("run")?;
    let inputs =
        RunInputs { source: Arc::new(folder), pull: Vec::new(), push: None, secrets: BTreeMap::new() };
    assembler.start(&run, &spec, inputs).await?;
    let mut reports = assembler.reports(&run, 0).await?;
    while let Some(report) = reports.next().await {
        match report?.event {
            RunEvent::Lines(lines) => {
                for line in lines {
                    say(&format!("[{}] {}", line.stage.name(), line.text))?;
                }
            }
            RunEvent::Finished(RunOutcome::Succeeded(result)) => {
                let digest = result.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
                return say(&format!("{}:{tag}{digest}", image.name));
            }
            RunEvent::Finished(RunOutcome::Failed(failure) | RunOutcome::Refused(failure)) => {
                return Err(Error::invalid("build", failure.message).with_remedy(failure.remedy));
            }
            RunEvent::Finished(other) => {
                return Err(Error::internal("build", format!("it ended as {other:?}")));
            }
            _ => {}
        }
    }
    Err(Error::internal("build", "its reports ended before it did"))
}

/// The hosts that the Dockerfile's FROM lines name; whatever is wrong with it, the build says.
fn base_hosts(arguments: &Arguments) -> Vec<String> {
    let text = std::fs::read_to_string(arguments.folder.join(&arguments.dockerfile)).unwrap_or_default();
    let bases = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let first = words.next().filter(|word| word.eq_ignore_ascii_case("from"));
        first.and_then(|_| words.find(|word| !word.starts_with("--")))
    });
    let images = bases.filter_map(|base| ImageRef::parse_familiar(base).ok());
    images.map(|image| image.name.host().to_owned()).collect()
}

fn open_to_all(host: &str) -> Result<Arc<dyn Registry>> {
    let mut config = OciConfig::new(host);
    // Public registries keep their layers wherever they like.
    config.redirects.push("https://*/".parse()?);
    let service = Arc::new(ReqwestService::new(&ReqwestConfig::default(), config.egress()?)?);
    Ok(Arc::new(Oci::new(config, None, service, Arc::new(SystemTimer))?))
}

fn spec(arguments: &Arguments, image: &ImageRef, tag: &Tag, folder: &Folder) -> Result<BuildSpec> {
    Ok(BuildSpec {
        build: BuildId::derive([arguments.image.as_str()]),
        service: ServiceName::parse("folder")?,
        component: ComponentName::default(),
        provider: ProviderName::parse("folder")?,
        repository: Repository { id: None, path: "folder".into() },
        commit: folder.commit_id().clone(),
        git_ref: GitRef::Branch(BranchName::parse("folder")?),
        context: String::new(),
        dockerfile: arguments.dockerfile.clone(),
        target: arguments.target.clone(),
        build_args: arguments.build_arg.iter().cloned().collect(),
        secrets: BTreeMap::new(),
        labels: BTreeMap::new(),
        metadata: BuildMetadata { git_commit_timestamp: folder.time(), ..BuildMetadata::default() },
        output: BuildOutput::Push { image: image.name.clone(), tag: tag.clone() },
    })
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| Error::unavailable("print", error.to_string()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match build(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading any more.
            drop(writeln!(std::io::stderr(), "error: {error}"));
            ExitCode::FAILURE
        }
    }
}
