//! A registry of images from the command line: every call of `Registry` and of its capabilities that a person would make.
//!
//! ```text
//! cargo run --example registry -- --username ci --password-env PASSWORD check harbor.example.com/team/api
//! cargo run --example registry -- --url http://127.0.0.1:5000 tags 127.0.0.1:5000/team/api --contains 1.
//! cargo run --example registry -- --harbor --username ci --password-env PASSWORD projects harbor.example.com
//! cargo run --example registry -- --dockerhub available-tags docker.io/library/nginx --search alpine
//! cargo run --example registry -- --acr --username ci --password-env PASSWORD check registry.cn-hangzhou.aliyuncs.com/team/api
//! cargo run --example registry -- --layout kiops-quickstart/layout resolve quickstart.local/site:latest
//! cargo run --example registry -- attach harbor.example.com/team/api@sha256:... sbom.spdx.json
//! cargo run --example registry -- attach harbor.example.com/team/api@sha256:... b-0123-provenance.json
//! cargo run --example registry -- retention harbor.example.com/team/api --keep 10 --tags 'semver:*' --dry-run
//! ```
//!
//! Prints JSON and ends with 0; with 1 and a message where something is wrong, with 2 where the arguments are. The password is named by an
//! environment variable, never given as an argument: those are visible to every process. `ensure-robot` and `docker-config` print
//! secrets, which is what they are for; nothing else does.

#[path = "registry/connect.rs"]
mod connect;
#[path = "registry/harbor.rs"]
mod harbor;
#[path = "registry/hub.rs"]
mod hub;
#[path = "registry/listing.rs"]
mod listing;
#[path = "registry/retention.rs"]
mod retention;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kiops_core::image::{Attachment, Referrers, Registry, TagPage, docker_config_json};
use kiops_core::name::{Digest, ImageName, ImageRef, Tag};
use kiops_core::{Error, Result};
use kiops_registry::acr::{self, Network};
use serde_json::{Value, json};

use self::connect::Connection;
use self::harbor::{Access, HarborCall};
use self::hub::HubCall;
use self::retention::Retention;

/// A registry of images from the command line.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    call: Call,
}

/// What is asked. Images are written with their host: `harbor.example.com/team/api:1.2`.
#[derive(Debug, Subcommand)]
enum Call {
    /// Whether the registry can be reached, takes the account, and lets it push to this image.
    Check { image: ImageName },
    /// The tags of an image, in byte order.
    Tags {
        image: ImageName,
        /// Only tags with this text in them.
        #[arg(long)]
        contains: Option<String>,
        /// Only tags after this one.
        #[arg(long)]
        after: Option<Tag>,
        /// At most this many; 0 is all.
        #[arg(long, default_value_t = 0)]
        limit: usize,
    },
    /// The digest that a tag stands for.
    Resolve { image: String },
    /// The manifest or index that a tag or digest stands for, as it is.
    Manifest { image: String },
    /// The size of a blob.
    Blob { image: ImageName, digest: Digest },
    /// Points another tag at what a tag or digest stands for. No layer moves.
    Retag { image: String, tag: Tag },
    /// Removes a tag, or what a digest stands for with all its tags. What is not there is no error.
    Delete { image: String },
    /// Attaches a file to what a tag or digest stands for: a bill of materials, a provenance statement. Again is the same.
    Attach {
        image: String,
        /// The file's media type, which is what it is attached as, whatever it says. Without it, SPDX, CycloneDX and in-toto statements
        /// are known by what they say, and a statement has to be about this image.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        file: PathBuf,
    },
    /// What is attached to what a tag or digest stands for.
    Referrers {
        image: String,
        /// Only what has this media type.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
    /// PRINTS A PASSWORD: the account that an image is pulled or pushed by, as `config.json` for Docker, Kaniko or a Secret of the type
    /// `kubernetes.io/dockerconfigjson`.
    DockerConfig {
        image: ImageName,
        /// What it is for.
        #[arg(long, value_enum, default_value_t)]
        access: Access,
    },
    /// How Alibaba Cloud's registry of a region or an instance is called, and where it sends for tokens and layers. Nobody is asked.
    AcrHost {
        /// `cn-hangzhou`.
        region: String,
        /// The name of an instance of Enterprise Edition; without it Personal Edition.
        #[arg(long)]
        instance: Option<String>,
        /// As it is called within a VPC of the region.
        #[arg(long)]
        vpc: bool,
    },
    #[command(flatten)]
    Harbor(HarborCall),
    #[command(flatten)]
    Hub(HubCall),
    /// Removes the tags that no rule keeps: without --keep and --younger-than nothing. Ends with 1 where something stayed that
    /// was to go.
    Retention(Retention),
}

impl Call {
    async fn make(self, connection: &Connection) -> Result<()> {
        let printed = match self {
            Self::Check { image } => {
                connection.open(image.host())?.check(&image).await?;
                json!({"image": image, "ok": true})
            }
            Self::Tags { image, contains, after, limit } => {
                let mut page = TagPage::default();
                (page.contains, page.after, page.limit) = (contains, after, limit);
                json!({"image": image, "tags": connection.open(image.host())?.tags(&image, &page).await?})
            }
            Self::Resolve { image } => {
                let (image, digest) = resolved(connection, &image).await?;
                json!({"image": image, "digest": digest})
            }
            Self::Manifest { image } => {
                let (image, digest) = resolved(connection, &image).await?;
                let manifest = connection.open(image.name.host())?.manifest(&image.name, &digest).await?;
                return write(&manifest.bytes);
            }
            Self::Blob { image, digest } => {
                let size = connection.open(image.host())?.blob_size(&image, &digest).await?;
                let size =
                    size.ok_or_else(|| Error::not_found("find blob", format!("{image} has no {digest}")))?;
                json!({"image": image, "digest": digest, "size": size})
            }
            Self::Retag { image, tag } => {
                let (image, digest) = resolved(connection, &image).await?;
                connection.open(image.name.host())?.tag(&image.name, &tag, &digest).await?;
                json!({"image": image.name.tagged(tag), "digest": digest})
            }
            Self::Delete { image } => {
                let image = ImageRef::parse_familiar(&image)?;
                connection.open(image.name.host())?.delete(&image).await?;
                json!({"image": image, "deleted": true})
            }
            Self::Attach { image, kind, file } => {
                let (image, subject) = resolved(connection, &image).await?;
                let bytes = std::fs::read(&file)
                    .map_err(|error| Error::invalid("read file", format!("`{}`: {error}", file.display())))?;
                let attachment = match kind {
                    Some(kind) => Attachment::new(kind, bytes),
                    None => Attachment::known(bytes, &subject)?,
                };
                let registry = connection.open(image.name.host())?;
                let digest = referrers(registry.as_ref())?.attach(&image.name, &subject, &attachment).await?;
                json!({"image": image.name.at(subject), "digest": digest, "type": attachment.artifact_type})
            }
            Self::Referrers { image, kind } => {
                let (image, subject) = resolved(connection, &image).await?;
                let registry = connection.open(image.name.host())?;
                let list = referrers(registry.as_ref())?.list(&image.name, &subject, kind.as_deref()).await?;
                json!({"image": image.name.at(subject), "referrers": list})
            }
            Self::DockerConfig { image, access } => {
                if connection.layout.is_some() {
                    return Err(Error::unsupported("write docker config", "a layout has no accounts"));
                }
                let credential = connection.open(image.host())?.credential(&image, access.into()).await?;
                let credential = credential.ok_or_else(|| {
                    Error::invalid("write docker config", "no account is given")
                        .with_remedy("name it by `--username` and `--password-env`")
                })?;
                return write(docker_config_json([&credential]).expose());
            }
            Self::AcrHost { region, instance, vpc } => {
                let network = if vpc { Network::Vpc } else { Network::Public };
                let config = match instance {
                    Some(instance) => acr::instance(&instance, &region, network)?,
                    None => acr::region(&region, network)?,
                };
                json!({"host": config.host, "realms": config.realms, "redirects": config.redirects})
            }
            Self::Harbor(call) => call.make(connection).await?,
            Self::Hub(call) => call.make(connection).await?,
            Self::Retention(retention) => {
                let (printed, done) = retention.make(connection).await?;
                print(&printed)?;
                let failed = || Error::unavailable("delete tags", "not everything that was to go is gone");
                return if done { Ok(()) } else { Err(failed()) };
            }
        };
        print(&printed)
    }
}

fn referrers(registry: &dyn Registry) -> Result<&dyn Referrers> {
    registry
        .referrers()
        .ok_or_else(|| Error::unsupported("attach to image", "the registry has no such thing"))
}

/// An image as it was written, and what it stands for now.
async fn resolved(connection: &Connection, image: &str) -> Result<(ImageRef, Digest)> {
    let mut image = ImageRef::parse_familiar(image)?;
    if image.digest.is_none() {
        image.tag = Some(image.tag_or_latest());
    }
    let digest = connection.open(image.name.host())?.resolve(&image).await?;
    let digest = digest.ok_or_else(|| {
        Error::not_found("resolve image", format!("there is no {image}")).with_remedy("look at its tags")
    })?;
    Ok((image, digest))
}

fn print(value: &Value) -> Result<()> {
    write(format!("{value:#}\n").as_bytes())
}

fn write(bytes: &[u8]) -> Result<()> {
    let result = std::io::stdout().lock().write_all(bytes);
    result.map_err(|error| Error::unavailable("print", error.to_string()))
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { connection, call } = Arguments::parse();
    match call.make(&connection).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading any more.
            drop(writeln!(std::io::stderr(), "error: {error}"));
            ExitCode::FAILURE
        }
    }
}
