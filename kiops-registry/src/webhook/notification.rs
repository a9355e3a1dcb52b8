//! The event of CNCF's distribution, which Azure's registry sends, too.

use kiops_core::event::Event;
use serde::{Deserialize, Serialize};

use super::WebhookConfig;
use super::body::{List, Maybe, Moment, Word};
use super::push::{Said, image_path, is_manifest, no_image};

/// Something that happened in a registry.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Notification<'a> {
    #[serde(borrow)]
    pub id: Word<'a>,
    #[serde(borrow)]
    pub timestamp: Moment<'a>,
    #[serde(borrow)]
    pub action: Word<'a>,
    #[serde(borrow)]
    target: Maybe<Target<'a>>,
    #[serde(borrow)]
    request: Maybe<Request<'a>>,
    #[serde(borrow)]
    actor: Maybe<Agent<'a>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Target<'a> {
    #[serde(borrow, rename = "mediaType")]
    media_type: Word<'a>,
    #[serde(borrow)]
    digest: Word<'a>,
    #[serde(borrow)]
    repository: Word<'a>,
    #[serde(borrow)]
    tag: Word<'a>,
    /// What the manifest consists of, where the registry is told to say so (`includereferences`).
    #[serde(borrow)]
    references: List<Maybe<Part<'a>>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow, rename = "mediaType")]
    media_type: Word<'a>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Request<'a> {
    /// What the client asked for: the registry's name as the client knows it.
    #[serde(borrow)]
    host: Word<'a>,
    #[serde(borrow)]
    useragent: Word<'a>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Agent<'a> {
    #[serde(borrow)]
    name: Word<'a>,
}

impl Notification<'_> {
    pub(super) fn image(&self) -> Option<&str> {
        self.target.get().and_then(|target| image_path(target.repository.get()?))
    }

    /// What the sender calls this one, if it has no id: no two pushes read the same.
    pub(super) fn parts(&self) -> Option<[&str; 5]> {
        if let Some(id) = self.id.get() {
            return Some(["id", id, "", "", ""]);
        }
        let (time, target) = (self.timestamp.get()?, self.target.get()?);
        Some([self.action.or_empty(), self.image()?, target.digest.or_empty(), target.tag.or_empty(), time])
    }

    /// The one event that it is.
    pub(super) fn event(&self, config: &WebhookConfig) -> Event {
        let (target, request) = (self.target.get(), self.request.get());
        let media_type = target.and_then(|target| target.media_type.get());
        let said = Said {
            name: self.action.get().unwrap_or("notification"),
            action: self.action.get(),
            image: self.image(),
            host: request.and_then(|request| request.host.get()),
            tag: target.and_then(|target| target.tag.get()),
            digest: target.and_then(|target| target.digest.get()),
            actor: self.actor.get().and_then(|actor| actor.name.get()),
            actor_id: None,
            agent: request.and_then(|request| request.useragent.get()),
        };
        if self.action.get() != Some("push") {
            return said.ignored(Some(other(said.name).into()));
        }
        if media_type.is_some_and(|media_type| !is_manifest(media_type) && no_image(media_type).is_none()) {
            return said.ignored(Some("is a layer or another part, not a manifest".into()));
        }
        let parts = target.map(|target| target.references.items.as_slice()).unwrap_or_default();
        let parts = parts.iter().filter_map(|part| part.get()?.media_type.get());
        match media_type.into_iter().chain(parts).find_map(no_image) {
            Some(what) => said.ignored(Some(format!("is {what}, not an image"))),
            None => said.pushed(config),
        }
    }
}

/// Why anything but a push starts nothing.
fn other(action: &str) -> &'static str {
    match action {
        "pull" => "is a pull: nothing changed",
        "delete" | "chart_delete" => "is a deletion: what runs stays as it is",
        "mount" => "is a layer that was mounted from another repository",
        "quarantine" => "is an image that is not released yet: its push follows",
        "chart_push" => "is a Helm chart, not an image",
        _ => "is no push",
    }
}
