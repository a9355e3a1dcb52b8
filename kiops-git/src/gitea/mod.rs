//! Gitea, Forgejo and Gogs: one family of webhook bodies, under three names; and the API of Gitea and Forgejo as a provider.

mod admin;
mod compare;
mod decode;
mod dialect;
mod hooks;
mod payload;
mod provider;
mod pull_request;
mod redact;
mod refs;
mod repositories;
mod statuses;
mod tree;
mod webhook;
mod writes;

pub use provider::Gitea;
pub use webhook::GiteaWebhook;
