//! What is in a repository.

use http::Method;
use kiops_core::Result;
use kiops_core::image::{Artifact, ArtifactTag, Listed, Listing};
use kiops_core::name::{Digest, Tag};
use serde::Deserialize;

use super::{Harbor, Place};
use crate::interface::moment;

#[derive(Deserialize)]
struct ArtifactBody {
    digest: String,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default)]
    push_time: Option<String>,
    #[serde(default)]
    pull_time: Option<String>,
    #[serde(default)]
    tags: Option<Vec<TagBody>>,
}

#[derive(Deserialize)]
struct TagBody {
    name: String,
    #[serde(default)]
    push_time: Option<String>,
    #[serde(default)]
    immutable: bool,
}

impl ArtifactBody {
    /// `None` for what goes by another digest than ours.
    fn into_artifact(self) -> Option<Artifact> {
        let tag = |body: TagBody| {
            let pushed_at = moment(body.push_time.as_deref());
            Some(ArtifactTag { tag: Tag::parse(body.name).ok()?, pushed_at, immutable: body.immutable })
        };
        let mut tags: Vec<ArtifactTag> = self.tags.into_iter().flatten().filter_map(tag).collect();
        tags.sort_unstable_by(|one, other| one.tag.cmp(&other.tag));
        Some(Artifact {
            digest: Digest::parse(self.digest).ok()?,
            tags,
            size: self.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            pushed_at: moment(self.push_time.as_deref()),
            pulled_at: moment(self.pull_time.as_deref()),
        })
    }
}

impl Harbor {
    pub(super) async fn listed_artifacts(
        &self,
        place: &Place<'_>,
        text: &str,
        wanted: &Listing,
    ) -> Result<Listed<Artifact>> {
        let call = self.below("list artifacts", Method::GET, place, &["artifacts"]);
        let mut call =
            call.query("with_tag", "true").query("with_immutable_status", "true").query("sort", "-push_time");
        if !text.is_empty() {
            call = call.query("q", &format!("tags=~{text}"));
        }
        let call = call.needs("a part in the project, or for a robot List of Artifact");
        let page: Listed<ArtifactBody> = self.api.page(call, wanted).await?;
        let items = page.items.into_iter().filter_map(ArtifactBody::into_artifact).collect();
        Ok(Listed { items, next: page.next, total: page.total })
    }
}
