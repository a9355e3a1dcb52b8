//! Webhooks of registries.

mod corpus;
mod decode;
pub(crate) mod deliveries;
mod intake;
mod notifications;
mod robust;
mod verify;
