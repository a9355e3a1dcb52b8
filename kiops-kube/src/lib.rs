//! Kubernetes for kiops.
//!
//! - [`render()`] turns a workload and its pinned images into typed Kubernetes objects. It is pure: the same release always
//!   gives the same objects, and no text is ever pasted into YAML.
//! - [`yaml`] writes objects as deterministic YAML.
//! - [`ManifestDirectory`] is a runtime that needs no cluster: a [`Deployer`](kiops_core::release::Deployer) that keeps the
//!   current manifests of every target in a directory, for `kubectl apply -f` or a GitOps tool to take from there, and the
//!   older revisions in another one.
//!
//! Nothing here talks to a cluster.
//!
//! The types are those of [`k8s_openapi`], which wants the application, and never a library, to choose the Kubernetes
//! version: enable one of its `v1_*` features in the application (1.33 or later).

pub mod directory;
pub mod render;
pub mod yaml;

pub use directory::{ManifestDirectory, ManifestDirectoryConfig};
pub use render::{Manifests, RenderConfig, render};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
