//! Images that the tests' node has by digest: small shells that serve, crash, or do nothing.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use kiops_core::name::{Digest, ImageRef, PinnedImage};
use kiops_core::testing::skipped;

use crate::node_image::{busybox, make, put, run, scripts};

/// What an image does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// Answers on port 8080.
    Serves,
    /// Runs and answers nowhere.
    Deaf,
    /// Ends with exit code 3 as soon as it starts.
    Crashes,
    /// Takes memory until it is killed.
    Greedy,
    /// Nobody has it.
    Missing,
}

impl Image {
    const MADE: [Self; 4] = [Self::Serves, Self::Deaf, Self::Crashes, Self::Greedy];

    const fn name(self) -> &'static str {
        match self {
            Self::Serves => "registry.local/kiops-serves",
            Self::Deaf => "registry.local/kiops-deaf",
            Self::Crashes => "registry.local/kiops-crashes",
            Self::Greedy => "registry.local/kiops-greedy",
            Self::Missing => "registry.local/kiops-missing",
        }
    }

    /// Process 1 gets no signal that it has no handler for, and a pod that ends takes half a minute.
    const fn script(self) -> &'static str {
        match self {
            Self::Serves => "trap 'exit 0' TERM; httpd -p 8080 -h /; while :; do sleep 1 & wait $!; done",
            Self::Deaf => "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done",
            Self::Greedy => "a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done",
            Self::Crashes | Self::Missing => "exit 3",
        }
    }

    /// The image under a tag of one's own; the node looks at the digest only.
    pub(crate) fn pinned(self, tag: &str) -> PinnedImage {
        let image = ImageRef::parse_familiar(&format!("{}:{tag}", self.name())).unwrap();
        let digest = Self::MADE.iter().position(|made| *made == self).map(|n| digests()[n].clone());
        PinnedImage {
            name: image.name,
            tag: image.tag,
            digest: digest.unwrap_or_else(|| Digest::of(b"missing")),
        }
    }
}

/// Makes and loads the images, once a process: the same bytes each time, so the same digests.
fn digests() -> &'static [Digest] {
    static DIGESTS: OnceLock<Vec<Digest>> = OnceLock::new();
    DIGESTS.get_or_init(|| {
        let work = tempfile::tempdir().unwrap();
        assert!(busybox(&work.path().join("root"), &["sh", "sleep", "httpd"]));
        let scripts = scripts().unwrap();
        Image::MADE.iter().map(|image| made(*image, &scripts, work.path())).collect()
    })
}

fn made(image: Image, scripts: &Path, work: &Path) -> Digest {
    let (root, tar) = (work.join("root"), work.join("image.tar"));
    let entrypoint = serde_json::json!(["/bin/sh", "-c", image.script()]).to_string();
    let build = |reference: &str| make(scripts, &tar, reference, &root, &["--entrypoint", &entrypoint]);
    build(&format!("{}:1", image.name()));
    let index = run(Command::new("tar").arg("-xOf").arg(&tar).arg("index.json"));
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    // The name is no part of the image, so it can be its own digest.
    build(&format!("{}@{digest}", image.name()));
    put(scripts, &tar);
    Digest::parse(digest).unwrap()
}

/// Whether the node is one that images can be loaded into.
pub(crate) fn can_run() -> bool {
    let can = std::env::var_os("KIOPS_KUBE_DIR").is_some();
    if !can {
        skipped("no node of the tests' own (KIOPS_KUBE_DIR)");
    }
    can && scripts().is_some()
}
