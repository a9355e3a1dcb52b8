//! What executors that run as Jobs share: what a build is given, its labels, its files, and words for what went wrong. Pure.

mod dockerfile;
mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod last;
mod words;

pub(crate) use dockerfile::{directive, instruction, instructions};
pub(crate) use files::{Files, empty};
pub(crate) use last::LastLines;
pub(crate) use words::{
    base_image_unavailable, clone_failed, first_line, has, is_unreachable, push_failed, push_refused,
    run_failed,
};

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kiops_core::build::{BuildOutput, BuildSpec};
use kiops_core::image::RegistryCredential;
use kiops_core::provider::CloneAccess;
use kiops_core::run::RunInputs;
use kiops_core::secret::Secret;
use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::{Error, ErrorKind, Result};

use crate::run::{Network, clone_address};

const OPERATION: &str = "prepare build";
/// Both the annotations' and the arguments' share of what a cluster's store takes in one object (1.5 MiB).
const ARGS_MAX: usize = 512 * 1024;

/// What a build is given besides its spec.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) access: &'a CloneAccess,
    pub(crate) registries: Vec<&'a RegistryCredential>,
    /// Of these, the ones for pulling.
    pub(crate) pull: Vec<&'a RegistryCredential>,
    /// Build secrets by their ids.
    pub(crate) secrets: BTreeMap<&'a str, &'a Secret>,
}

impl<'a> Given<'a> {
    /// Of these inputs, what the build may have. What is thrown away may be a stranger's: it has nothing that could be taken along,
    /// whatever was passed.
    pub(crate) fn of(spec: &BuildSpec, access: &'a CloneAccess, inputs: &'a RunInputs) -> Self {
        if spec.output == BuildOutput::Discard {
            return Self { access, registries: Vec::new(), pull: Vec::new(), secrets: BTreeMap::new() };
        }
        Self {
            access,
            registries: inputs.pull.iter().chain(&inputs.push).collect(),
            pull: inputs.pull.iter().collect(),
            secrets: inputs.secrets.iter().map(|(id, value)| (id.as_str(), value)).collect(),
        }
    }
}

/// What an executor's settings say of the hosts that builds need.
#[derive(Debug)]
pub(crate) struct Hosts<'a> {
    /// The repository for layers of earlier builds.
    pub(crate) cache: Option<&'a str>,
    /// Git hosts over plain HTTP.
    pub(crate) insecure_git: &'a [String],
    /// Registries over plain HTTP.
    pub(crate) insecure_registries: &'a [String],
}

/// That a build reaches the hosts that it needs for certain: else it would wait for them until its end.
pub(crate) fn is_admitted(
    network: &Network,
    spec: &BuildSpec,
    access: &CloneAccess,
    hosts: &Hosts<'_>,
) -> Result<()> {
    clone_address(access, hosts.insecure_git)?.is_admitted(network)?;
    let BuildOutput::Push { image, .. } = &spec.output else { return Ok(()) };
    let cache = hosts.cache.and_then(|name| name.split('/').next());
    for host in [Some(image.host()), cache].into_iter().flatten() {
        let plain = hosts.insecure_registries.iter().any(|insecure| insecure == host);
        network.admits(host, if plain { 80 } else { 443 })?;
    }
    Ok(())
}

/// The image's labels, the metadata of the commit among them: names and values.
pub(crate) fn labels(spec: &BuildSpec) -> Result<Vec<(&str, &str)>> {
    let metadata = spec.metadata.entries().into_iter().filter(|(_, value)| !value.is_empty());
    let labels = spec.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    labels.chain(metadata).map(|(name, value)| Ok((key(name)?, value))).collect()
}

/// The name of a build argument or a label. Without its `=` an executor would take the value of a build argument from its own
/// environment, where the Git credential may be.
pub(crate) fn key(name: &str) -> Result<&str> {
    if name.is_empty() || name.contains('=') || name.chars().any(char::is_control) {
        let text = format!("{name:?} is no name of a build argument or a label");
        return Err(Error::invalid(OPERATION, text));
    }
    Ok(name)
}

/// The name of a stage, to stop at. Executors part lists of stages at commas.
pub(crate) fn stage_name(target: &str) -> Result<&str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if target.is_empty() || !target.chars().all(fine) {
        return Err(Error::invalid(OPERATION, format!("{target:?} is no name of a stage")));
    }
    Ok(target)
}

/// Refuses a stage to stop at that is none, before the start.
pub(crate) fn accepts_target(spec: &BuildSpec) -> Result<(), Failure> {
    let target = spec.target.as_deref().map(stage_name).transpose();
    target
        .map(drop)
        .map_err(|error| Failure::from_error(Stage::Setup, FailureKind::UnsupportedInstruction, &error))
}

/// The parts of a path within the repository.
///
/// # Errors
/// `Invalid` for a path that leaves it.
pub(crate) fn parts(path: &str) -> Result<Vec<&str>> {
    if path.split('/').any(|part| part == "..") || path.chars().any(char::is_control) {
        return Err(Error::invalid(OPERATION, format!("the path {path:?} leaves the repository")));
    }
    Ok(path.split('/').filter(|part| !part.is_empty() && *part != ".").collect())
}

/// Refuses arguments that no object holds.
pub(crate) fn fits(args: &[String]) -> Result<()> {
    let total: usize = args.iter().map(String::len).sum();
    if total > ARGS_MAX {
        let text = format!("build arguments and labels have {total} bytes, and {ARGS_MAX} are allowed");
        return Err(Error::new(ErrorKind::TooLarge, OPERATION, text));
    }
    Ok(())
}

/// What a container asks of its node, and what it may take.
pub(crate) fn amounts(
    requests: &BTreeMap<String, String>,
    limits: &BTreeMap<String, String>,
) -> ResourceRequirements {
    let amounts = |all: &BTreeMap<String, String>| {
        let all: BTreeMap<String, Quantity> =
            all.iter().map(|(name, amount)| (name.clone(), Quantity(amount.clone()))).collect();
        (!all.is_empty()).then_some(all)
    };
    ResourceRequirements {
        requests: amounts(requests),
        limits: amounts(limits),
        ..ResourceRequirements::default()
    }
}

/// Amounts by their names, as settings have them.
pub(crate) fn quantities(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())).collect()
}
