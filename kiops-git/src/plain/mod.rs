//! Any Git repository, on disk or behind a URL, without a host's software around it.
//!
//! [`PlainWebhook`] decodes deliveries anywhere. The rest runs the `git` command and is for Unix: [`Plain`] is the provider,
//! [`install_hook`], [`parse_post_receive`] and [`deliver`] are the sending side, [`LocalGit`] makes and fills repositories.

#[cfg(unix)]
mod address;
#[cfg(unix)]
mod archive;
#[cfg(unix)]
mod bare;
#[cfg(unix)]
mod config;
#[cfg(unix)]
mod deliver;
#[cfg(unix)]
mod failure;
#[cfg(unix)]
mod git;
#[cfg(unix)]
mod hook;
#[cfg(unix)]
mod mirror;
#[cfg(unix)]
mod parse;
#[cfg(unix)]
mod provider;
#[cfg(unix)]
mod reach;
#[cfg(unix)]
mod repositories;
mod webhook;
#[cfg(unix)]
mod workspace;

#[cfg(unix)]
pub use bare::ObjectFormat;
#[cfg(unix)]
pub use config::{PlainConfig, PlainCredential};
#[cfg(unix)]
pub use deliver::{DELIVERY_PATH, Delivered, deliver};
#[cfg(unix)]
pub use hook::{HOOK_INPUT_MAX, HookCommand, install_hook, parse_post_receive};
#[cfg(unix)]
pub use provider::Plain;
#[cfg(unix)]
pub use workspace::{LocalGit, Workspace};

pub use webhook::{Change, Notice, PlainWebhook};
