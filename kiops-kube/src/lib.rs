//! Kubernetes for kiops.
//!
//! - [`render()`] turns a workload and its pinned images into typed Kubernetes objects. It is pure: the same release always
//!   gives the same objects, and no text is ever pasted into YAML.
//! - [`yaml`] writes objects as deterministic YAML.
//! - [`ManifestDirectory`] is a runtime that needs no cluster: a [`Deployer`](kiops_core::release::Deployer) that keeps the
//!   current manifests of every target in a directory, for `kubectl apply -f` or a GitOps tool to take from there, and the
//!   older revisions in another one.
//! - [`GitOps`] is a runtime whose releases are commits or merge requests: the digest is written to a file of a Git repository.
//!
//! Feature `cluster` (on by default) is what talks to a cluster, through the host's [`kube::Client`]:
//! - [`Cluster`] is a client with a name, deadlines, and errors that say what to do.
//! - [`KanikoExecutor`] builds images with Kaniko, each build a Job.
//! - [`BuildKitExecutor`] builds images with BuildKit, without root and without a daemon that stays, each build a Job.
//! - [`TektonExecutor`] builds images with Tekton, each build a PipelineRun.
//! - [`KubeChecks`] runs checks, each a Job.
//! - [`doctor`] says what a cluster lacks before a build or a rollout finds out.
//! - [`KubeDeployer`] deploys to a cluster: workloads that are ours whole, and single images of what the platform owns. It keeps revisions
//!   in the cluster, judges rollouts ([`deploy::rollout`]) and looks after pull Secrets.
//!
//! The types are those of [`k8s_openapi`], which wants the application, and never a library, to choose the Kubernetes
//! version: enable one of its `v1_*` features in the application (1.33 or later).

#[cfg(feature = "cluster")]
mod build;
#[cfg(feature = "cluster")]
pub mod buildkit;
#[cfg(feature = "cluster")]
pub mod checks;
#[cfg(feature = "cluster")]
pub mod cluster;
#[cfg(feature = "cluster")]
pub mod deploy;
pub mod directory;
#[cfg(feature = "cluster")]
pub mod doctor;
pub mod gitops;
#[cfg(feature = "cluster")]
pub mod kaniko;
pub mod render;
mod revisions;
#[cfg(feature = "cluster")]
pub mod run;
mod secrets;
#[cfg(feature = "cluster")]
pub mod tekton;
pub mod yaml;

#[cfg(feature = "cluster")]
pub use buildkit::{BuildKitConfig, BuildKitExecutor};
#[cfg(feature = "cluster")]
pub use checks::{ChecksConfig, KubeChecks};
#[cfg(feature = "cluster")]
pub use cluster::{Cluster, ClusterConfig};
#[cfg(feature = "cluster")]
pub use deploy::{KubeDeployer, KubeDeployerConfig};
pub use directory::{ManifestDirectory, ManifestDirectoryConfig};
pub use gitops::{GitOps, GitOpsConfig};
#[cfg(feature = "cluster")]
pub use kaniko::{KanikoConfig, KanikoExecutor};
pub use render::{Manifests, RenderConfig, render};
#[cfg(feature = "cluster")]
pub use run::{CaBundle, PodSettings, Runs, RunsConfig};
#[cfg(feature = "cluster")]
pub use tekton::{TektonConfig, TektonExecutor};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
