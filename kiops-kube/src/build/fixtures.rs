//! A build, for tests of what is rendered.

use std::collections::BTreeMap;

use kiops_core::build::{BuildMetadata, BuildOutput, BuildSpec};
use kiops_core::event::Repository;
use kiops_core::image::RegistryCredential;
use kiops_core::name::{
    BranchName, BuildId, CommitId, ComponentName, GitRef, ImageRef, ProviderName, ServiceName,
};
use kiops_core::provider::{CloneAccess, CloneCredential};
use kiops_core::secret::Secret;

use crate::yaml;

pub(crate) fn spec() -> BuildSpec {
    let image = ImageRef::parse("harbor.example.com/team/site:abc123d").unwrap();
    BuildSpec {
        build: BuildId::derive(["x"]),
        service: ServiceName::parse("site").unwrap(),
        component: ComponentName::default(),
        provider: ProviderName::parse("gitlab").unwrap(),
        repository: Repository { id: None, path: "team/site".into() },
        commit: CommitId::parse("abc123def0".repeat(4)).unwrap(),
        git_ref: GitRef::Branch(BranchName::parse("main").unwrap()),
        context: "web".into(),
        dockerfile: "web/Dockerfile".into(),
        target: Some("runtime".into()),
        build_args: [("V".to_owned(), "1 $(GIT_PASSWORD) --no-push".to_owned())].into(),
        secrets: BTreeMap::new(),
        labels: [("org.opencontainers.image.revision".to_owned(), "abc123def0".repeat(4))].into(),
        metadata: BuildMetadata {
            git_repo: "team/site".into(),
            git_commit_message: "Say \"hello\"\n\nand $$ more".into(),
            ..BuildMetadata::default()
        },
        output: BuildOutput::Push { image: image.name, tag: image.tag.unwrap() },
    }
}

pub(crate) fn access(url: &str) -> CloneAccess {
    let password = Secret::new("glpat-hidden").unwrap();
    let credential = Some(CloneCredential { username: "oauth2".into(), password });
    CloneAccess { url: url.into(), credential, expires_at: None }
}

pub(crate) fn credential() -> RegistryCredential {
    RegistryCredential {
        host: "docker.io".into(),
        username: "robot$team+ci".into(),
        password: Secret::new("dckr-hidden").unwrap(),
    }
}

pub(crate) fn yaml_of(object: &impl serde::Serialize) -> String {
    let mut text = String::new();
    yaml::push_document(&mut text, object).unwrap();
    text
}
