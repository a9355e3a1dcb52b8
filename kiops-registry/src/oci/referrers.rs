//! What is attached to images: by the registry's own list, or by the tag that stands for one.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, header};
use kiops_core::image::{Attachment, Manifest, Referrer, Referrers, referrers_tag};
use kiops_core::name::{Digest, ImageName, Tag};
use kiops_core::{Error, ErrorKind, Result, Retry};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::said::or_none;
use super::token::Scope;
use super::{Oci, next_page};
use crate::manifest::{MANIFEST_MAX, OCI_INDEX};

const ATTACH: &str = "attach to image";
const LIST: &str = "list what is attached";

/// How often what others change meanwhile is written again at most.
const TRIES: u32 = 6;

/// How much is attached to one manifest at most.
const ATTACHED_MAX: usize = 10_000;

/// A list of what is attached, as an image index.
#[derive(Deserialize)]
struct Listed {
    /// Some registries write an empty one as `null`.
    #[serde(default)]
    manifests: Option<Vec<Value>>,
}

#[async_trait]
impl Referrers for Oci {
    async fn attach(&self, image: &ImageName, subject: &Digest, attachment: &Attachment) -> Result<Digest> {
        self.config.own(image)?;
        // Only the registry itself says that the subject is there.
        let about = self.manifest_from(&self.wire, image, subject).await?;
        let manifest = attachment.manifest(&about)?;
        let (digest, headers) = self.put_attachment(image, attachment, &manifest).await?;
        let taken = headers.get("oci-subject").and_then(|said| said.to_str().ok());
        if taken == Some(subject.as_str()) || self.own_list(image, subject, None).await?.is_some() {
            return Ok(digest);
        }
        if let Some((_, referrer)) = Referrer::read(&manifest) {
            self.note(image, subject, &referrer).await?;
        }
        Ok(digest)
    }

    async fn list(
        &self,
        image: &ImageName,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>> {
        self.config.own(image)?;
        let entries = match self.own_list(image, subject, artifact_type).await? {
            Some(entries) => entries,
            None => match self.noted(image, &tag_of(subject)?).await? {
                Some(noted) => noted.entries().to_vec(),
                None => Vec::new(),
            },
        };
        // An entry that names no content of ours (another digest's algorithm) can be read by nobody here.
        let known = entries.into_iter().filter_map(|mut entry| {
            entry.as_object_mut()?.retain(|_, value| !value.is_null());
            serde_json::from_value::<Referrer>(entry).ok()
        });
        // A registry may leave the choice to us.
        let wanted = |one: &Referrer| artifact_type.is_none_or(|kind| one.artifact_type == kind);
        let mut found: Vec<Referrer> = known.filter(wanted).collect();
        found.sort_by(|a, b| a.digest.cmp(&b.digest));
        found.dedup_by(|a, b| a.digest == b.digest);
        Ok(found)
    }
}

/// The list that a tag stands for, and what it is known by.
struct Noted {
    document: Map<String, Value>,
    tag: Option<HeaderValue>,
}

impl Noted {
    fn entries(&self) -> &[Value] {
        self.document.get("manifests").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.entries().iter().any(|entry| entry["digest"].as_str() == Some(digest.as_str()))
    }

    /// The list with this in it too; whatever else it says stays.
    fn with(mut self, referrer: &Referrer) -> Result<Manifest> {
        let broken = |error: serde_json::Error| Error::internal(ATTACH, error.to_string());
        let entry = serde_json::to_value(referrer).map_err(broken)?;
        let entries = [self.entries(), &[entry]].concat();
        self.document.insert("manifests".into(), entries.into());
        let bytes = serde_json::to_vec(&self.document).map_err(broken)?;
        Ok(Manifest { media_type: OCI_INDEX.into(), bytes: bytes.into() })
    }
}

impl Oci {
    /// Pushes contents and manifest. While another one pushes the same content, which the empty configuration always is, distribution
    /// 2.8 does not find it for a moment, and refuses the manifest.
    async fn put_attachment(
        &self,
        image: &ImageName,
        attachment: &Attachment,
        manifest: &Manifest,
    ) -> Result<(Digest, HeaderMap)> {
        let mut tries = 0;
        loop {
            attachment.push_payloads(self, image).await?;
            match self.put_if(image, manifest.digest().as_str(), manifest, None).await {
                Err(error) if error.kind() == ErrorKind::Invalid && tries < TRIES => {
                    tries += 1;
                    self.wire.client().timer().sleep(Duration::from_millis(50) * tries).await;
                }
                done => return done,
            }
        }
    }

    /// The registry's own list; `None`: it keeps none.
    async fn own_list(
        &self,
        image: &ImageName,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Value>>> {
        let path = format!("referrers/{subject}");
        let first = || {
            let ask = self.wire.ask(LIST, Method::GET, image, &path, Scope::pull(image));
            ask.header(header::ACCEPT, OCI_INDEX)
        };
        let mut ask = match artifact_type {
            Some(kind) => Some(first()?.query("artifactType", kind)),
            None => Some(first()?),
        };
        let (mut all, mut known) = (Vec::<Value>::new(), BTreeSet::new());
        while let Some(next) = ask.take() {
            let reply = self.wire.send(next).await?;
            match reply.status() {
                200..=299 => {}
                404 | 405 | 501 if all.is_empty() => return Ok(None),
                _ => return Err(self.wire.error(reply).await),
            }
            let more = next_page(&reply.parts.headers);
            let listed: Listed = serde_json::from_slice(&reply.bytes(MANIFEST_MAX).await?).map_err(|_| {
                Error::unavailable(LIST, "the registry did not answer as documented")
                    .with_remedy("check that no proxy answers in its place")
            })?;
            let entries = listed.manifests.unwrap_or_default();
            let before = known.len();
            known.extend(entries.iter().map(|entry| entry["digest"].as_str().unwrap_or_default().to_owned()));
            all.extend(entries);
            if all.len() > ATTACHED_MAX {
                let message = format!("more than {ATTACHED_MAX} things are attached to {subject}");
                return Err(Error::new(ErrorKind::TooLarge, LIST, message));
            }
            if let Some(query) = more {
                if known.len() == before {
                    return Err(Error::unavailable(LIST, "the registry's list never ends"));
                }
                ask = Some(first()?.queries(&query));
            }
        }
        Ok(Some(all))
    }

    /// The list that a tag stands for; `None`: there is none yet.
    async fn noted(&self, image: &ImageName, tag: &Tag) -> Result<Option<Noted>> {
        let ask = self.manifest_ask(&self.wire, Method::GET, image, tag.as_str())?;
        let Some(reply) = or_none(self.wire.good(ask).await)? else { return Ok(None) };
        let strong = |value: &&HeaderValue| !value.as_bytes().starts_with(b"W/");
        let known_by = reply.parts.headers.get(header::ETAG).filter(strong).cloned();
        let bytes = reply.bytes(MANIFEST_MAX).await?;
        let document: Option<Map<String, Value>> = serde_json::from_slice(&bytes).ok();
        // A list has entries; what has layers is an image that somebody gave this tag.
        let is_list = |document: &Map<String, Value>| {
            document.get("manifests").is_some_and(|entries| entries.is_array() || entries.is_null())
        };
        match document.filter(is_list) {
            Some(document) => Ok(Some(Noted { document, tag: known_by })),
            None => {
                let message = format!("{image}:{tag} is no list of what is attached");
                Err(Error::conflict(LIST, message)
                    .with_remedy("give what it points at another tag, and remove this one"))
            }
        }
    }

    /// Notes something in the list that a tag stands for, and looks whether it stayed there: registries put what they are given.
    async fn note(&self, image: &ImageName, subject: &Digest, referrer: &Referrer) -> Result<()> {
        let tag = tag_of(subject)?;
        // Ours do not get in each other's way.
        let _turn = self.noting.lock().await;
        for attempt in 0..=TRIES {
            if attempt > 0 {
                let wait = Duration::from_millis(50) * 2_u32.pow(attempt);
                self.wire.client().timer().sleep(wait).await;
            }
            let noted = self.noted(image, &tag).await?;
            if noted.as_ref().is_some_and(|noted| noted.has(&referrer.digest)) {
                return Ok(());
            }
            let condition = match &noted {
                Some(noted) => noted.tag.clone().map(|known_by| (header::IF_MATCH, known_by)),
                None => Some((header::IF_NONE_MATCH, HeaderValue::from_static("*"))),
            };
            let noted = noted.unwrap_or_else(|| Noted { document: empty_list(), tag: None });
            match self.put_if(image, tag.as_str(), &noted.with(referrer)?, condition).await {
                Ok(_) => {}
                // Somebody else was first.
                Err(error) if error.kind() == ErrorKind::Conflict => continue,
                Err(error) => return Err(error),
            }
            if self.noted(image, &tag).await?.is_some_and(|noted| noted.has(&referrer.digest)) {
                return Ok(());
            }
        }
        let message = format!("others change the list of what is attached to {subject} all the time");
        Err(Error::conflict(ATTACH, message).with_retry(Retry::Maybe).with_remedy("attach it again"))
    }
}

fn empty_list() -> Map<String, Value> {
    let fields = [("schemaVersion", json!(2)), ("mediaType", json!(OCI_INDEX)), ("manifests", json!([]))];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn tag_of(subject: &Digest) -> Result<Tag> {
    referrers_tag(subject).ok_or_else(|| Error::internal(LIST, format!("{subject} makes no tag")))
}
