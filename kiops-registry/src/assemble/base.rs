//! Base images: found in the registry, read only as far as COPY makes it necessary.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use kiops_core::error::Retry;
use kiops_core::image::Registry;
use kiops_core::name::{Digest, ImageName, ImageRef};
use kiops_core::stage::FailureKind;
use kiops_core::{Error, ErrorKind, stream};
use tar::Archive;

use super::archive::{EntryKind, Origin, Refused, walk};
use super::config::ImageConfig;
use super::outcome::{Stop, at_line, base_error, disk_error, unsupported};
use super::run::Run;
use super::tree::{Content, Kind, Meta, Node, Tree, join, split};
use crate::disk::io_error;
use crate::manifest::{Descriptor, Document, ImageIndex, ImageManifest, Platform};

/// The largest image configuration that is read.
const CONFIG_MAX: usize = 8 * 1024 * 1024;

/// How many files a base image may have.
const FILES_MAX: usize = 2_000_000;

/// A base image: its configuration and where its layers are.
#[derive(Debug)]
pub(super) struct BaseImage {
    pub(super) name: ImageName,
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<Descriptor>,
}

/// The digest that an image's name stands for now.
///
/// # Errors
/// `BaseImageUnavailable` with the line where it is not there.
pub(super) async fn resolve(registry: &dyn Registry, image: &ImageRef, line: usize) -> Result<Digest, Stop> {
    registry
        .resolve(image)
        .await
        .map_err(|error| read_error(&error, image, line))?
        .ok_or_else(|| unavailable(image, line, "the registry has no such image"))
}

/// Finds an image in the registry, at the digest that its name stands for. Of an index it takes the image for `platform`.
///
/// # Errors
/// `BaseImageUnavailable` with the line where it is not there, or not for this platform; a refusal where it has triggers (ONBUILD).
pub(super) async fn find(
    registry: &dyn Registry,
    image: &ImageRef,
    digest: &Digest,
    platform: &Platform,
    line: usize,
) -> Result<BaseImage, Stop> {
    let unavailable = |what: &str| unavailable(image, line, what);
    let error = |error: &Error| read_error(error, image, line);
    let name = &image.name;
    let mut manifest = registry.manifest(name, digest).await.map_err(|e| error(&e))?;
    let parse = |manifest: &kiops_core::image::Manifest| {
        Document::parse(&manifest.media_type, &manifest.bytes).map_err(|e| unavailable(e.message()))
    };
    let mut document = parse(&manifest)?;
    if let Document::Index(index) = &document {
        let fits = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_some_and(|found| platform.takes(found))
        };
        let child = index.manifests.iter().find(fits).ok_or_else(|| {
            let there = platforms(index);
            unavailable(&format!("it has no image for {platform}, but for {there}"))
                .with_remedy("choose a base that has this platform, or build for platforms that it has")
        })?;
        manifest = registry.manifest(name, &child.digest).await.map_err(|e| error(&e))?;
        document = parse(&manifest)?;
    }
    let Document::Manifest(ImageManifest { config: descriptor, layers, .. }) = document else {
        return Err(unavailable("its index leads to another index"));
    };
    let bytes = registry.blob(name, &descriptor.digest).await.map_err(|e| error(&e))?;
    let bytes = stream::collect(bytes, CONFIG_MAX).await.map_err(|e| error(&e))?;
    let config: ImageConfig = serde_json::from_slice(&bytes)
        .map_err(|e| unavailable(&format!("its configuration cannot be read: {e}")))?;
    if config.rootfs.diff_ids.len() != layers.len() {
        return Err(unavailable("its configuration and its manifest count different layers"));
    }
    if let Some(trigger) = config.config.on_build().first() {
        return Err(unsupported(line, format!("{image} has the trigger `ONBUILD {trigger}`"))
            .with_remedy("choose a base without triggers, or use an executor that runs commands (Kaniko, BuildKit, Docker)"));
    }
    Ok(BaseImage { name: name.clone(), config: config.into_base(), layers })
}

/// The platforms of an index as a list. What has none to run on, such as an attestation, is left out.
fn platforms(index: &ImageIndex) -> String {
    let found = index.manifests.iter().filter_map(|descriptor| descriptor.platform.as_ref());
    let names: Vec<String> =
        found.filter(|platform| platform.os != "unknown").map(ToString::to_string).collect();
    if names.is_empty() { "none that it names".to_owned() } else { names.join(", ") }
}

fn unavailable(image: &ImageRef, line: usize, what: &str) -> Stop {
    Stop::failed(FailureKind::BaseImageUnavailable, at_line(line, format!("{image}: {what}"))).with_remedy(
        "check the name and tag; an image of a registry that this executor was not given has to be copied into one that it was (skopeo copy does it)",
    )
}

fn read_error(error: &Error, image: &ImageRef, line: usize) -> Stop {
    match error.kind() {
        ErrorKind::NotFound => unavailable(image, line, error.message()),
        ErrorKind::RateLimited => limited(error, &at_line(line, image.to_string())),
        _ => base_error(error),
    }
}

/// A registry lets nobody pull more than so much in a while. It is no fault of the build, nor of the image's name.
fn limited(error: &Error, what: &str) -> Stop {
    let (said, again) = match error.retry() {
        Retry::After(seconds) => {
            let wait = in_words(seconds);
            (format!("; it can be asked again in {wait}"), format!("; or build again in {wait}"))
        }
        _ => (String::new(), "; or build again later".to_owned()),
    };
    let message =
        format!("{what}: its registry limits pulls, and this one came after ({}){said}", error.message());
    let remedy = error.remedy().unwrap_or("give an account for this registry, or a mirror of it");
    Stop::failed(FailureKind::BaseImageUnavailable, message).with_remedy(format!("{remedy}{again}"))
}

/// A wait, rounded up.
fn in_words(seconds: u32) -> String {
    match seconds {
        1 => "a second".to_owned(),
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3600)),
    }
}

/// Copies a layer into the working directory, checked against its digest on the way by the registry.
pub(super) async fn fetch(
    registry: &dyn Registry,
    name: &ImageName,
    layer: &Descriptor,
    target: &Path,
    run: &Run,
) -> Result<(), Stop> {
    let io = |error| disk_error(&io_error("write base layer", target, error));
    let failed = |error: Error| match error.kind() {
        ErrorKind::RateLimited => limited(&error, &format!("layer {} of {name}", layer.digest)),
        _ => base_error(&error),
    };
    let mut content = registry.blob(name, &layer.digest).await.map_err(failed)?;
    let mut file = super::spool::Spool::create(target.to_owned()).map_err(io)?;
    while let Some(chunk) = stream::next(&mut content).await {
        run.tick()?;
        file.write(&chunk.map_err(failed)?).await?;
        if file.written() > layer.size {
            break;
        }
    }
    let written = file.finish().await?;
    if written != layer.size {
        return Err(Stop::failed(
            FailureKind::BaseImageUnavailable,
            format!("layer {} of {name} has {written} bytes instead of {}", layer.digest, layer.size),
        ));
    }
    Ok(())
}

/// Applies a fetched layer to the tree of the layers below it.
pub(super) fn apply(
    tree: &mut Tree,
    path: &Path,
    layer: &Digest,
    max_bytes: u64,
    run: &Run,
) -> Result<(), Stop> {
    let mut new: BTreeMap<String, Node> = BTreeMap::new();
    let (mut removed, mut emptied) = (Vec::new(), Vec::new());
    read_layer(path, layer, max_bytes, |entry, _| {
        run.tick()?;
        let (folder, name) = split(entry.path);
        if name == ".wh..wh..opq" {
            emptied.push(folder.to_owned());
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            removed.push(join(folder, hidden));
            return Ok(());
        }
        let kind = match entry.kind {
            EntryKind::Dir => Kind::Dir,
            EntryKind::Link(target) => Kind::Link(target),
            EntryKind::Special => Kind::Special,
            EntryKind::File(size) => {
                Kind::File(Content::Layer { layer: layer.clone(), path: entry.path.into(), size })
            }
            EntryKind::HardLink(target) => {
                // The other name is as good as the first one: it leads to the same content.
                if let Some(node) = new.get(&target).or_else(|| tree.get(&target)).cloned() {
                    new.insert(entry.path.to_owned(), node);
                }
                return Ok(());
            }
        };
        let meta = Meta {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs,
        };
        new.insert(entry.path.to_owned(), Node { kind, meta });
        if tree.len() + new.len() > FILES_MAX {
            return Err(Stop::failed(
                FailureKind::BaseImageUnavailable,
                format!("the base image has more than {FILES_MAX} files"),
            ));
        }
        Ok(())
    })?;
    removed.iter().for_each(|path| tree.remove(path));
    emptied.iter().for_each(|folder| tree.remove_below(folder));
    for (path, node) in new {
        if node.kind != Kind::Dir {
            tree.remove_below(&path);
        }
        tree.insert(path, node);
    }
    Ok(())
}

/// Appends the content of the files named to `spool`, and says where each one is. A name that stands twice counts as its last.
pub(super) fn extract(
    path: &Path,
    layer: &Digest,
    wanted: &BTreeSet<Arc<str>>,
    spool: &Arc<PathBuf>,
    max_bytes: u64,
    run: &Run,
) -> Result<BTreeMap<Arc<str>, Content>, Stop> {
    let io = |error| disk_error(&io_error("copy out of base layer", spool, error));
    let mut file = File::options().create(true).append(true).open(&**spool).map_err(io)?;
    let mut offset = file.seek(io::SeekFrom::End(0)).map_err(io)?;
    let mut out = BufWriter::with_capacity(128 * 1024, file);
    let mut found = BTreeMap::new();
    read_layer(path, layer, max_bytes, |entry, content| {
        run.tick()?;
        let (EntryKind::File(size), Some(name)) = (&entry.kind, wanted.get(entry.path)) else {
            return Ok(());
        };
        let mut buffer = vec![0; 128 * 1024];
        let mut left = *size;
        while left > 0 {
            run.tick()?;
            let want = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
            let chunk = buffer.get_mut(..want).unwrap_or_default();
            content.read_exact(chunk).map_err(io)?;
            out.write_all(chunk).map_err(io)?;
            left -= want as u64;
        }
        found.insert(Arc::clone(name), Content::Spooled { file: Arc::clone(spool), offset, size: *size });
        offset += *size;
        Ok(())
    })?;
    out.flush().map_err(io)?;
    Ok(found)
}

/// Shows the entries of a layer, which is plain or compressed by gzip or zstd: its bytes say so, whatever its media type is.
fn read_layer(
    path: &Path,
    layer: &Digest,
    max_bytes: u64,
    visit: impl FnMut(super::archive::Entry<'_>, &mut dyn Read) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let io = |error| disk_error(&io_error("read base layer", path, error));
    let unreadable = |what: &str| {
        Stop::failed(
            FailureKind::BaseImageUnavailable,
            format!("layer {layer} of the base image cannot be read: {what}"),
        )
    };
    let mut file = File::open(path).map_err(io)?;
    let mut magic = [0; 4];
    let length = file.read(&mut magic).map_err(io)?;
    file.rewind().map_err(io)?;
    let buffered = BufReader::with_capacity(128 * 1024, file);
    let reader: Box<dyn Read> = match magic {
        [0x1f, 0x8b, ..] if length >= 2 => Box::new(MultiGzDecoder::new(buffered)),
        // A frame, or one that is to be skipped and stands before it.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            Box::new(zstd::stream::read::Decoder::with_buffer(buffered).map_err(io)?)
        }
        _ => Box::new(buffered),
    };
    let mut archive = Archive::new(Bounded { inner: reader, left: max_bytes });
    let entries = archive.entries().map_err(|error| unreadable(&error.to_string()))?;
    walk(entries, Origin::Layer, visit).map_err(|error| match error {
        Refused::Visitor(stop) => stop,
        Refused::Bad(what) => unreadable(&what),
        Refused::Io(error) => unreadable(&error.to_string()),
    })
}

/// A reader that fails, instead of going on, after a number of bytes.
struct Bounded {
    inner: Box<dyn Read>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other("unpacked it is larger than the limit for base images (limits.max_base_bytes)")
        })?;
        Ok(read)
    }
}
