//! Registries for kiops.
//!
//! [`layout`] keeps images in one directory on disk, in the OCI image layout, as a [`kiops_core::image::Registry`]; any
//! OCI client reads that directory, and [`layout::ImageLayout::serve`] answers the pull side of the distribution API from it.
//! [`oci`] is any registry that speaks the distribution protocol, over HTTP.
//! [`harbor`] is Harbor: the same, with its projects, robot accounts, scans and webhooks.
//! [`dockerhub`] is Docker Hub: the same, with what there is to choose from, and its limits. [`acr`] says where Alibaba Cloud's registries are.
//! With the default feature `oci-distribution`, `distribution_client` is the same by somebody else's client.
//! [`webhook`] takes the image pushes that registries report.
//! With the feature `assemble`, `assemble` builds Dockerfiles that execute nothing into any registry, in this process.

pub mod acr;
#[cfg(feature = "assemble")]
pub mod assemble;
mod disk;
#[cfg(feature = "oci-distribution")]
pub mod distribution_client;
pub mod dockerhub;
pub mod harbor;
mod interface;
pub mod layout;
mod manifest;
pub mod oci;
pub mod webhook;
