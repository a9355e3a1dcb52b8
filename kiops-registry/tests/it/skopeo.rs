//! An independent client reads what we write.

use std::path::Path;
use std::process::{Command, Output};

use crate::fixtures::open;

/// Skopeo on the PATH. Without it the test is skipped, visibly; on CI that is a failure.
pub(crate) fn skopeo(arguments: &[&str]) -> Option<Output> {
    match Command::new("skopeo").args(["--insecure-policy", "--tmpdir", "/tmp"]).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "skopeo is needed on CI: {error}");
            eprintln!("skipped: no skopeo on the PATH ({error})");
            None
        }
    }
}

pub(crate) fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Copies an image out of a layout into a folder, and says the digest that skopeo finds there.
pub(crate) fn copy_out(layout: &Path, reference: &str, target: &Path) -> Option<String> {
    let source = format!("oci:{}:{reference}", layout.display());
    let target = format!("dir:{}", target.display());
    succeeded(skopeo(&["copy", &source, &target])?);
    let digest = succeeded(skopeo(&["inspect", "--format", "{{.Digest}}", &source])?);
    assert_eq!(
        succeeded(skopeo(&["manifest-digest", &format!("{}/manifest.json", &target["dir:".len()..])])?),
        digest
    );
    Some(digest)
}

#[tokio::test]
async fn skopeo_copies_each_of_several_images_out_of_one_layout() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(&dir.path().join("layout"));
    for name in ["site", "api"] {
        // Skopeo reads configurations, so these are real ones.
        let image = crate::fixtures::image(&format!("quickstart.local/{name}"));
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Labels":{{"n":"{name}"}}}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        let mut config = crate::fixtures::put(&layout, &image, config).await;
        config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        use kiops_core::image::Registry as _;
        let digest = layout.put_manifest(&image, &crate::fixtures::manifest_of(&config, &[])).await.unwrap();
        layout.tag(&image, &crate::fixtures::tag("abc1234"), &digest).await.unwrap();
        let reference = format!("quickstart.local/{name}:abc1234");
        let Some(found) = copy_out(layout.path(), &reference, &dir.path().join(name)) else { return };
        assert_eq!(found, digest.as_str());
    }
}
