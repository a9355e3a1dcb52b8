//! Provenance of a build: a pure function of its record.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use url::Url;

use super::record::Build;
use super::state::BuildState;
use crate::error::{Error, Result};
use crate::image::{
    BuildDefinition, Builder, Provenance, ProvenanceMetadata, Resource, RunDetails, Statement,
};
use crate::name::PinnedImage;

/// How the parameters of our provenance are to be read: docs/PROVENANCE.md at this version.
pub const BUILD_TYPE: &str = "https://github.com/kiops/kiops/blob/main/docs/PROVENANCE.md#build-v1";

/// What a host knows of a build and the record does not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProvenanceFacts {
    /// The URI of the platform that built, which those who check provenance are to trust: `https://ci.example.com/builders/main`.
    pub builder: String,
    /// Versions of its parts: `{"kiops": "0.1.0"}`.
    pub versions: BTreeMap<String, String>,
    /// Where the repository can be cloned from, where that is not its path: `https://git.example.com/team/app.git`. Accounts in it
    /// are left out.
    pub repository: Option<String>,
    /// The images that the Dockerfile stands on, as far as the executor tells.
    pub bases: Vec<PinnedImage>,
    /// Build arguments whose values everybody who can pull may read. Of the others the names are told: a token for one stage is in no
    /// image's history, and would be here.
    pub public_args: BTreeSet<String>,
}

impl ProvenanceFacts {
    /// The facts of a platform that knows nothing else.
    pub fn new(builder: impl Into<String>) -> Self {
        Self {
            builder: builder.into(),
            versions: BTreeMap::new(),
            repository: None,
            bases: Vec::new(),
            public_args: BTreeSet::new(),
        }
    }
}

impl Build {
    /// What this build made, from what, by whom and when: SLSA v1 provenance in an in-toto statement. Pure: the same record and facts
    /// give the same statement.
    ///
    /// No value of a secret is in it: records have none. Of build secrets only the ids are there, which the Dockerfile shows as well,
    /// and not where the values are kept. Build arguments are there by name, and those that the facts call public with their values.
    ///
    /// # Errors
    /// `Conflict` for a build that has not succeeded or whose image was thrown away, `Invalid` where `builder` is no URI.
    pub fn provenance(&self, facts: &ProvenanceFacts) -> Result<Statement> {
        const OPERATION: &str = "make provenance";
        let (BuildState::Succeeded, Some(image)) = (&self.state, self.image()) else {
            let message = format!("build {} is {} and has no image", self.id, self.state.name());
            return Err(Error::conflict(OPERATION, message)
                .with_remedy("take a build that has succeeded and pushed its image"));
        };
        if Url::parse(&facts.builder).is_err() {
            return Err(Error::invalid(OPERATION, "the builder's id is no URI")
                .with_remedy("give an address of your platform: `https://ci.example.com/builders/main`"));
        }
        let spec = &self.spec;
        let repository = public(facts.repository.as_deref().unwrap_or(&spec.repository.path));
        let secrets: Vec<&String> = spec.secrets.keys().collect();
        let (args, hidden_args): (BTreeMap<_, _>, BTreeMap<_, _>) =
            spec.build_args.iter().partition(|(name, _)| facts.public_args.contains(*name));
        let external = [
            ("provider", json!(spec.provider)),
            ("repository", json!(repository)),
            ("ref", json!(spec.git_ref)),
            ("commit", json!(spec.commit)),
            ("context", json!(spec.context)),
            ("dockerfile", json!(spec.dockerfile)),
            ("target", json!(spec.target)),
            ("buildArgs", json!(args)),
            ("otherBuildArgs", json!(hidden_args.keys().collect::<Vec<_>>())),
            ("secrets", json!(secrets)),
        ];
        let internal = [
            ("service", json!(spec.service)),
            ("component", json!(spec.component)),
            ("executor", json!(self.executor)),
            ("trigger", json!(self.trigger)),
        ];
        let is_address = Url::parse(&repository).is_ok_and(|url| url.has_host());
        let commit = Resource {
            name: (!is_address).then(|| repository.clone()),
            uri: is_address.then(|| format!("git+{repository}@{}", spec.git_ref)),
            digest: [("gitCommit", spec.commit.to_string())].into(),
        };
        let bases = facts.bases.iter().map(|base| {
            let tag = base.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            let uri = Some(format!("docker://{}{tag}", base.name));
            Resource { uri, ..of_image(base) }
        });
        let definition = BuildDefinition {
            build_type: BUILD_TYPE.into(),
            external_parameters: stated(external),
            internal_parameters: stated(internal),
            resolved_dependencies: [commit].into_iter().chain(bases).collect(),
        };
        let run = RunDetails {
            builder: Builder { id: facts.builder.clone(), version: facts.versions.clone() },
            metadata: ProvenanceMetadata {
                invocation_id: self.id.to_string(),
                started_on: self.started_at,
                finished_on: self.finished_at,
            },
        };
        let subject = Resource { name: Some(image.name.to_string()), ..of_image(&image) };
        Ok(Statement::new(vec![subject], Provenance { build_definition: definition, run_details: run }))
    }
}

/// What has a value.
fn stated<const N: usize>(all: [(&'static str, Value); N]) -> BTreeMap<&'static str, Value> {
    all.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

fn of_image(image: &PinnedImage) -> Resource {
    Resource { digest: [("sha256", image.digest.hex().to_owned())].into(), ..Resource::default() }
}

/// A repository as anybody may read it: without the account and the parameters that a URL can carry.
fn public(repository: &str) -> String {
    match Url::parse(repository) {
        Ok(mut url) if url.has_host() => {
            // Only addresses that cannot have an account refuse this.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.into()
        }
        // What git takes without a scheme (`user:token@host:path`) may have an account too.
        _ => {
            let path = repository.split(['?', '#']).next().unwrap_or_default();
            path.rsplit_once('@').map_or(path, |(_, rest)| rest).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tests::{digest, finish, queued, started, success};
    use crate::image::Attachment;
    use crate::name::{Digest, ImageRef, SecretName};

    const REAL: &str = "s3cret-in-a-store";

    fn built() -> Build {
        let mut build = queued();
        build.spec.repository.path =
            "https://ada:hunter22@git.example.com/team/app.git?token=hunter22".into();
        build.spec.context = "web".into();
        build.spec.build_args =
            [("VERSION".to_owned(), "1.2".to_owned()), ("KEY".to_owned(), "hunter22".to_owned())].into();
        build.spec.secrets = [("npm".to_owned(), SecretName::parse(REAL).unwrap())].into();
        let mut build = started(build);
        finish(&mut build, success(), 65);
        assert_eq!(build.state, BuildState::Succeeded);
        build
    }

    fn facts() -> ProvenanceFacts {
        let mut facts = ProvenanceFacts::new("https://ci.example.com/builders/main");
        facts.versions.insert("kiops".into(), "0.1.0".into());
        facts.public_args.insert("VERSION".into());
        let base = format!("docker.io/library/nginx:alpine@{}", Digest::of(b"base"));
        facts.bases.push(ImageRef::parse(&base).unwrap().pinned().unwrap());
        facts
    }

    #[test]
    fn a_statement_has_the_shape_that_slsa_gives_it() {
        let build = built();
        let statement = build.provenance(&facts()).unwrap();
        let json: Value = serde_json::from_slice(&statement.to_json().unwrap()).unwrap();
        let at = |seconds| crate::build::tests::at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        assert_eq!(
            json,
            json!({
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": "h.io/team/app", "digest": {"sha256": digest().hex()}}],
                "predicateType": "https://slsa.dev/provenance/v1",
                "predicate": {
                    "buildDefinition": {
                        "buildType": BUILD_TYPE,
                        "externalParameters": {
                            "provider": "plain",
                            "repository": "https://git.example.com/team/app.git",
                            "ref": "refs/heads/main",
                            "commit": "ab".repeat(20),
                            "context": "web",
                            "dockerfile": "Dockerfile",
                            "buildArgs": {"VERSION": "1.2"},
                            "otherBuildArgs": ["KEY"],
                            "secrets": ["npm"],
                        },
                        "internalParameters": {
                            "service": "app", "component": "main", "executor": "assembler", "trigger": "webhook",
                        },
                        "resolvedDependencies": [
                            {
                                "uri": "git+https://git.example.com/team/app.git@refs/heads/main",
                                "digest": {"gitCommit": "ab".repeat(20)},
                            },
                            {
                                "uri": "docker://docker.io/library/nginx:alpine",
                                "digest": {"sha256": Digest::of(b"base").hex()},
                            },
                        ],
                    },
                    "runDetails": {
                        "builder": {"id": "https://ci.example.com/builders/main", "version": {"kiops": "0.1.0"}},
                        "metadata": {"invocationId": build.id, "startedOn": at(0), "finishedOn": at(65)},
                    },
                },
            })
        );
        assert_eq!(statement.to_json().unwrap(), built().provenance(&facts()).unwrap().to_json().unwrap());
        let read = Attachment::statement(statement.to_json().unwrap(), &digest()).unwrap();
        assert_eq!(read, statement.attachment().unwrap(), "what was written down is attached as the same");
    }

    #[test]
    fn no_secret_and_no_account_is_in_a_statement() {
        let text = String::from_utf8(built().provenance(&facts()).unwrap().to_json().unwrap()).unwrap();
        assert!(!text.contains("hunter22") && !text.contains(REAL) && !text.contains("ada:"), "{text}");
        let mut build = built();
        build.spec.repository.path = "oauth2:glpat-x@git.example.com/team/app.git?token=glpat-x".into();
        let text = String::from_utf8(build.provenance(&facts()).unwrap().to_json().unwrap()).unwrap();
        assert!(!text.contains("glpat-x") && text.contains("git.example.com/team/app.git"), "{text}");
    }

    #[test]
    fn a_repository_that_is_no_address_is_named_and_the_host_may_say_where_it_is() {
        let mut build = built();
        build.spec.repository.path = "team/app".into();
        let dependency = |facts: &ProvenanceFacts| {
            let statement = build.provenance(facts).unwrap();
            serde_json::to_value(&statement.predicate.build_definition.resolved_dependencies[0]).unwrap()
        };
        let digest = json!({"gitCommit": "ab".repeat(20)});
        let mut facts = ProvenanceFacts::new("urn:builder");
        assert_eq!(dependency(&facts), json!({"name": "team/app", "digest": digest}));
        facts.repository = Some("https://x:y@git.example.com/team/app.git".into());
        let uri = "git+https://git.example.com/team/app.git@refs/heads/main";
        assert_eq!(dependency(&facts), json!({"uri": uri, "digest": digest}));
    }

    #[test]
    fn only_what_made_an_image_has_provenance_and_the_builder_is_a_uri() {
        assert!(queued().provenance(&facts()).unwrap_err().message().contains("queued"));
        let mut thrown_away = built();
        thrown_away.spec.output = crate::build::BuildOutput::Discard;
        assert!(thrown_away.provenance(&facts()).is_err());
        assert!(built().provenance(&ProvenanceFacts::new("our ci")).unwrap_err().remedy().is_some());
    }

    #[test]
    fn a_statement_is_attached_as_what_others_look_for() {
        let statement = built().provenance(&facts()).unwrap();
        let attachment = statement.attachment().unwrap();
        assert_eq!(attachment.artifact_type, "application/vnd.in-toto+json");
        let mark = Some(&"https://slsa.dev/provenance/v1".to_owned());
        assert_eq!(attachment.annotations.get("in-toto.io/predicate-type"), mark);
        assert_eq!(attachment.payloads[0].annotations.get("in-toto.io/predicate-type"), mark);
    }
}
