//! What only Docker Hub can: images and tags to choose from, and its limits.

use clap::Subcommand;
use kiops_core::image::{Catalog, Listing, Registry as _};
use kiops_core::name::ImageName;
use kiops_core::{Error, ErrorKind, Result};
use kiops_registry::dockerhub::{DockerHub, RateLimit};
use serde_json::{Value, json};

use crate::connect::Connection;
use crate::listing::{Page, page};

/// What is asked of Docker Hub.
#[derive(Debug, Subcommand)]
pub(crate) enum HubCall {
    /// The images of a namespace to choose from, by name: of a user or an organisation, or the official ones (`library`).
    Images {
        namespace: String,
        #[command(flatten)]
        page: Page,
    },
    /// The tags of an image to choose from, newest first, each with its digest, platforms, size and time.
    AvailableTags {
        image: ImageName,
        #[command(flatten)]
        page: Page,
    },
    /// How many pulls and how many calls of its interface Docker Hub still gives this account or address. Asking is no pull, and one call.
    Limits,
}

impl HubCall {
    pub(crate) async fn make(self, connection: &Connection) -> Result<Value> {
        let hub = connection.hub()?;
        Ok(match self {
            Self::Images { namespace, page: wanted } => {
                let listed = catalog(&hub)?.images(&namespace, &wanted.listing()).await?;
                page("images", &listed)
            }
            Self::AvailableTags { image, page: wanted } => {
                let listed = catalog(&hub)?.available_tags(&image, &wanted.listing()).await?;
                page("tags", &listed)
            }
            Self::Limits => {
                // It tells its limit beside every answer, also beside the one that there were too many calls.
                match catalog(&hub)?.images("library", &Listing::all().limit(1)).await {
                    Err(error) if error.kind() == ErrorKind::RateLimited => {}
                    asked => drop(asked?),
                }
                let pulls = hub.pull_limit().await?;
                json!({"pulls": pulls.as_ref().map(shown), "calls": hub.rate_limit().as_ref().map(shown)})
            }
        })
    }
}

fn shown(limit: &RateLimit) -> Value {
    json!({
        "limit": limit.limit, "remaining": limit.remaining, "resets_at": limit.resets_at,
        "window_seconds": limit.window.map(|window| window.as_secs()), "counted": limit.counted,
    })
}

fn catalog(hub: &DockerHub) -> Result<&dyn Catalog> {
    hub.catalog().ok_or_else(|| Error::unsupported("choose image", "Docker Hub shows no images"))
}
