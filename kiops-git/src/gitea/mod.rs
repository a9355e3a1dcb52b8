//! Gitea, Forgejo and Gogs: one family of bodies, under three names.

mod decode;
mod payload;
mod pull_request;
mod redact;
mod webhook;

pub use webhook::GiteaWebhook;
