//! What a build made its image from: asked of the server, and attached to the image by a person (the `registry` example).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiops_core::name::Digest;
use kiops_registry::assemble::{Assembler, AssemblerConfig};
use serde_json::{Value, json};

use crate::house::{House, SITE, refused, refused_with_remedy};
use crate::images::client;
use crate::registry::{daemon, printed, refused as program_refused, registry};
use crate::support::Answer;

const IN_TOTO: &str = "application/vnd.in-toto+json";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";

fn built(house: &House) -> Value {
    let build = house.built(SITE, &house.push("ada", "something"));
    assert_eq!(build["state"], "succeeded", "{build:#}");
    build
}

fn provenance(house: &House, who: &str, build: &Value) -> Answer {
    house.call(who, "GET", &format!("/api/v1/builds/{}/provenance", build["id"].as_str().unwrap()), b"")
}

/// The statement in a file, as somebody who downloads it has it.
fn downloaded(house: &House, build: &Value, folder: &Path) -> PathBuf {
    let answer = provenance(house, "eve", build);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let file = format!("{}-provenance.json", build["id"].as_str().unwrap());
    let named = format!("attachment; filename=\"{file}\"");
    for (header, value) in [("content-type", IN_TOTO), ("content-disposition", &named)] {
        assert_eq!(answer.header(header), Some(value), "{}", answer.head);
    }
    std::fs::write(folder.join(&file), &answer.body).unwrap();
    folder.join(file)
}

/// Attaches the statement twice, and checks what the registry lists then and that it is what the server said.
fn attached(connection: &[&str], build: &Value, file: &Path) {
    let image = build["image"].as_str().unwrap();
    let digest = build["digest"].as_str().unwrap();
    let call = |call: &[&str]| registry(connection, call);
    let one = printed(&call(&["attach", image, file.to_str().unwrap()]));
    let again = printed(&call(&["attach", image, file.to_str().unwrap()]));
    assert_eq!((&one["type"], &again), (&json!(IN_TOTO), &one));
    let listed = printed(&call(&["referrers", image, "--type", IN_TOTO]))["referrers"].clone();
    let [referrer] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!(referrer["digest"], one["digest"]);
    assert_eq!(referrer["annotations"]["in-toto.io/predicate-type"], PREDICATE);
    let name = image.rsplit_once(':').unwrap().0;
    let manifest = printed(&call(&["manifest", &format!("{name}@{}", one["digest"].as_str().unwrap())]));
    assert_eq!(manifest["subject"]["digest"], digest);
    let statement = std::fs::read(file).unwrap();
    assert_eq!(manifest["layers"][0]["digest"], Digest::of(&statement).to_string());
    let statement: Value = serde_json::from_slice(&statement).unwrap();
    let subject = json!([{"name": name, "digest": {"sha256": digest.strip_prefix("sha256:").unwrap()}}]);
    assert_eq!((&statement["subject"], &statement["predicateType"]), (&subject, &json!(PREDICATE)));
}

#[test]
fn the_statement_of_a_build_is_attached_to_its_image_in_a_layout_and_to_no_other() {
    let house = House::open();
    let (first, folder) = (built(&house), tempfile::tempdir().unwrap());
    let layout = house.layout();
    let connection = ["--layout", layout.to_str().unwrap()];
    let file = downloaded(&house, &first, folder.path());
    attached(&connection, &first, &file);
    let statement = provenance(&house, "root", &first).json();
    let predicate = &statement["predicate"];
    assert_eq!(predicate["runDetails"]["metadata"]["invocationId"], first["id"]);
    assert_eq!(predicate["runDetails"]["builder"]["id"], "http://localhost/");
    let commit = json!({"gitCommit": first["commit"]});
    assert_eq!(predicate["buildDefinition"]["resolvedDependencies"][0]["digest"], commit);

    let other = house.built(SITE, &house.push("ada", "something else"));
    let error = program_refused(&registry(
        &connection,
        &["attach", other["image"].as_str().unwrap(), file.to_str().unwrap()],
    ));
    assert!(error.contains("it is not about sha256:") && error.contains("/provenance"), "{error}");
}

#[test]
fn the_statement_of_a_build_is_attached_to_its_image_in_a_real_registry() {
    let Some(daemon) = daemon() else { return };
    let host = daemon.2.clone();
    let house = House::with(Default::default(), Default::default(), async move |folder, _, adapters| {
        let registry = Arc::new(client(&host, "kiops/0"));
        let config = AssemblerConfig::new(folder.join("work-of-another"));
        let assembler = Assembler::new(config, registry.clone()).unwrap();
        adapters.registry(&host, registry).executor(Arc::new(assembler))
    });
    let name = format!("{}/team/site", daemon.2);
    house.change_settings(SITE, |settings| settings["image"]["name"] = json!(name));
    let (build, folder) = (built(&house), tempfile::tempdir().unwrap());
    let url = format!("http://{}", daemon.2);
    attached(&["--url", &url], &build, &downloaded(&house, &build, folder.path()));
}

#[test]
fn provenance_is_for_those_who_may_read_the_build_and_only_of_one_that_succeeded() {
    let house = House::open();
    let build = built(&house);
    let path = format!("/api/v1/builds/{}", build["id"].as_str().unwrap());
    for who in ["", "stranger", "eve", "ada", "root"] {
        assert_eq!(
            provenance(&house, who, &build).status,
            house.call(who, "GET", &path, b"").status,
            "{who}"
        );
    }
    refused(&provenance(&house, "", &build), 401, "");
    house.clone.write("Dockerfile", "FROM scratch\nRUN make\n");
    let failed = house.built(SITE, &house.push("ada", "broken"));
    assert_eq!(failed["state"], "failed", "{failed:#}");
    refused_with_remedy(&provenance(&house, "eve", &failed), 409, "is failed and has no image");
}
