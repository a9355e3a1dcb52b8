//! The end of a build: an image becomes a manifest, and goes to the registry.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream as streams;
use kiops_core::error::Retry;
use kiops_core::image::Manifest;
use kiops_core::name::{Digest, ImageName, Tag};
use kiops_core::stage::FailureKind;
use kiops_core::stream::{self, ByteStream};
use kiops_core::{Error, ErrorKind};
use serde::Serialize;

use super::build::{Builder, Image, Layer};
use super::outcome::{Stop, push_error};
use super::run::Run;
use crate::disk::{blocking, io_error};
use crate::manifest::{Descriptor, OCI_INDEX, OCI_MANIFEST, Platform};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// How many layers are pushed at once.
const AT_ONCE: usize = 4;

/// How often a layer is sent at most.
const TRIES: u32 = 3;

/// The pause before a layer is sent again, and as much more with each further try.
const PAUSE: Duration = Duration::from_secs(1);

/// However long a registry asks us to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many bytes of a layer are read at once.
const CHUNK: usize = 256 * 1024;

/// What is pushed by itself.
enum Part<'a> {
    Layer(&'a Layer),
    Config(&'a Bytes),
    Manifest(&'a Manifest),
    /// What the tag points at from then on.
    Tag(&'a Tag, &'a Digest),
}

impl Part<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Layer(_) => "a layer",
            Self::Config(_) => "the configuration",
            Self::Manifest(_) => "the manifest",
            Self::Tag(..) => "the tag",
        }
    }
}

/// What a build came to: nothing of it can change any more.
#[derive(Debug)]
pub(super) struct Sealed {
    /// The layers of all images, each once.
    layers: Vec<Layer>,
    configs: Vec<Bytes>,
    /// What is pushed in this order.
    manifests: Vec<Manifest>,
    /// The digest of the last manifest: the image's, or the index' where there are several.
    pub(super) digest: Digest,
}

/// Writes configurations and manifests, and for several images the index that names them in this order.
pub(super) fn seal(images: Vec<(Platform, Image)>) -> Result<Sealed, Stop> {
    let internal = |error: serde_json::Error| Stop::failed(FailureKind::Internal, error.to_string());
    let several = images.len() > 1;
    let (mut layers, mut known) = (Vec::new(), BTreeSet::new());
    let (mut configs, mut manifests, mut named) = (Vec::new(), Vec::new(), Vec::new());
    for (wanted, image) in images {
        let found = image.config.platform();
        let platform = Platform { variant: wanted.variant.or(found.variant), ..found };
        let config = serde_json::to_vec(&image.config).map_err(internal)?;
        let manifest = image_manifest(&config, &image.layers).map_err(internal)?;
        let descriptor = Descriptor::new(OCI_MANIFEST, manifest.digest(), manifest.bytes.len() as u64);
        named.push(Descriptor { platform: Some(platform), ..descriptor });
        layers.extend(image.layers.into_iter().filter(|layer| known.insert(self::descriptor(layer).digest)));
        configs.push(config.into());
        manifests.push(manifest);
    }
    if several {
        manifests.push(index(named).map_err(internal)?);
    }
    let digest = manifests.last().map(Manifest::digest);
    let digest = digest.ok_or_else(|| Stop::failed(FailureKind::Internal, "there is no image"))?;
    Ok(Sealed { layers, configs, manifests, digest })
}

fn image_manifest(config: &[u8], layers: &[Layer]) -> serde_json::Result<Manifest> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Form {
        schema_version: u32,
        media_type: &'static str,
        config: Descriptor,
        layers: Vec<Descriptor>,
    }
    let form = Form {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        config: Descriptor::new(CONFIG, Digest::of(config), config.len() as u64),
        layers: layers.iter().map(descriptor).collect(),
    };
    Ok(Manifest { media_type: OCI_MANIFEST.to_owned(), bytes: serde_json::to_vec(&form)?.into() })
}

fn index(manifests: Vec<Descriptor>) -> serde_json::Result<Manifest> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Form {
        schema_version: u32,
        media_type: &'static str,
        manifests: Vec<Descriptor>,
    }
    let form = Form { schema_version: 2, media_type: OCI_INDEX, manifests };
    Ok(Manifest { media_type: OCI_INDEX.to_owned(), bytes: serde_json::to_vec(&form)?.into() })
}

fn descriptor(layer: &Layer) -> Descriptor {
    match layer {
        Layer::Base { descriptor, .. } => descriptor.clone(),
        Layer::Own(file) => Descriptor::new(file.media_type, file.digest.clone(), file.size),
    }
}

impl Builder {
    /// Pushes layers, several at once, then configurations and manifests, and last the tag. Whether to go on is asked before every call that
    /// writes, and within every content that is sent, so that a canceled run sends no more; calls that are under way are waited for.
    pub(super) async fn push(&self, sealed: &Sealed, image: &ImageName, tag: &Tag) -> Result<(), Stop> {
        let Sealed { layers, configs, manifests, digest } = sealed;
        let of = u32::try_from(layers.len() + configs.len() + manifests.len()).unwrap_or(u32::MAX);
        let pushes: Vec<_> = layers.iter().map(|layer| self.push_part(Part::Layer(layer), image)).collect();
        let mut pushes = streams::iter(pushes).buffer_unordered(AT_ONCE);
        let mut n = 1;
        self.run.step(n, of);
        while let Some(pushed) = pushes.next().await {
            if let Err(stop) = pushed {
                // Nothing may arrive after a cancel: those under way see it too, and end. After an error they are let go of.
                while matches!(stop, Stop::Canceled) && pushes.next().await.is_some() {}
                return Err(stop);
            }
            n += 1;
            self.run.step(n.min(of), of);
        }
        let rest = configs.iter().map(Part::Config).chain(manifests.iter().map(Part::Manifest));
        for part in rest {
            self.run.step(n.min(of), of);
            self.push_part(part, image).await?;
            n += 1;
        }
        self.push_part(Part::Tag(tag, digest), image).await
    }

    /// Pushes a part of an image, again where that failed in passing: what is there already is not sent twice.
    async fn push_part(&self, part: Part<'_>, image: &ImageName) -> Result<(), Stop> {
        let mut tries = 1;
        loop {
            self.run.tick()?;
            let error = match self.try_part(&part, image).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if error.retry() == Retry::Never || tries >= TRIES {
                return Err(push_error(&error));
            }
            let what = part.name();
            self.run.line(&format!("The registry did not take {what}, which is sent again: {error}"));
            let pause = match error.retry() {
                Retry::After(seconds) => Duration::from_secs(seconds.into()).min(LONGEST_PAUSE),
                _ => PAUSE * tries,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.run.canceled() => return Err(Stop::Canceled),
            }
            tries += 1;
        }
    }

    async fn try_part(&self, part: &Part<'_>, image: &ImageName) -> Result<(), Error> {
        let registry = self.registries.of(image);
        match part {
            Part::Layer(layer) => self.try_layer(layer, image).await,
            Part::Config(config) => {
                let content = stream::once((*config).clone());
                registry.put_blob(image, &Digest::of(config), config.len() as u64, content).await
            }
            Part::Manifest(manifest) => registry.put_manifest(image, manifest).await.map(drop),
            Part::Tag(tag, digest) => registry.tag(image, tag, digest).await,
        }
    }

    async fn try_layer(&self, layer: &Layer, image: &ImageName) -> Result<(), Error> {
        let registry = self.registries.of(image);
        let Descriptor { digest, size, .. } = descriptor(layer);
        if registry.blob_size(image, &digest).await? == Some(size) {
            return Ok(());
        }
        let content = match layer {
            Layer::Own(file) => self.file(&file.path).await?,
            Layer::Base { from, .. } => {
                if self.registries.are_one(from, image) && registry.mount_blob(image, from, &digest).await? {
                    return Ok(());
                }
                match self.fetched.get(&digest) {
                    Some(path) => self.file(path).await?,
                    None => self.registries.of(from).blob(from, &digest).await?,
                }
            }
        };
        let content = watched(content, Arc::clone(&self.run));
        registry.put_blob(image, &digest, size, content).await
    }

    /// A file of the working directory as a stream.
    async fn file(&self, path: &Path) -> Result<ByteStream, Error> {
        let path = path.to_owned();
        let open = move || {
            std::fs::File::open(&path)
                .map(|file| (file, path.clone()))
                .map_err(|error| io_error("read layer", &path, error))
        };
        let state = blocking(open).await?;
        Ok(Box::pin(streams::try_unfold(state, |(mut file, path)| {
            blocking(move || {
                use std::io::Read as _;
                let mut bytes = Vec::with_capacity(CHUNK);
                file.by_ref()
                    .take(CHUNK as u64)
                    .read_to_end(&mut bytes)
                    .map_err(|error| io_error("read layer", &path, error))?;
                Ok((!bytes.is_empty()).then(|| (bytes.into(), (file, path))))
            })
        })))
    }
}

/// A stream that ends in an error once the run is canceled.
fn watched(content: ByteStream, run: Arc<Run>) -> ByteStream {
    Box::pin(streams::unfold(Some((content, run)), |state| async move {
        let (mut content, run) = state?;
        if run.tick().is_err() {
            let canceled = Error::new(ErrorKind::Canceled, "push layer", "the run was canceled");
            return Some((Err(canceled), None));
        }
        let chunk = stream::next(&mut content).await?;
        let next = chunk.is_ok().then_some((content, run));
        Some((chunk, next))
    }))
}
