//! Containers that fetch the source of a run, one Git command each: no shell puts words together. Pure.
//!
//! They alone have the credential, and what runs after them has none of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, ResourceRequirements, SecurityContext, VolumeMount,
};
use kiops_core::name::CommitId;
use kiops_core::provider::CloneAccess;
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};

use super::clone::clone_address;
use super::object::{SecretItem, own_env, plain_env, verbatim};

const HEADER_KEY: &str = "git-header";

/// How a run's containers with Git look.
#[derive(Debug)]
pub(crate) struct Git<'a> {
    pub(crate) image: &'a str,
    /// Whom they run as, where it is not as the image says.
    pub(crate) user: Option<i64>,
    pub(crate) resources: ResourceRequirements,
    /// The folder in which every command runs: the repository's.
    pub(crate) folder: &'a str,
    pub(crate) mounts: Vec<VolumeMount>,
}

impl Git<'_> {
    /// One command.
    pub(crate) fn container(&self, name: &str, args: &[&str]) -> Container {
        // The folder is the volume's, whoever Git runs as.
        let safe = format!("safe.directory={}", self.folder);
        let words = ["git", "-c", &safe, "-C", self.folder];
        Container {
            name: name.to_owned(),
            image: Some(self.image.to_owned()),
            command: Some(words.iter().chain(args).map(|word| verbatim(word)).collect()),
            env: Some(vec![
                plain_env("HOME", "/tmp"),
                plain_env("GIT_CONFIG_NOSYSTEM", "1"),
                plain_env("GIT_CONFIG_GLOBAL", "/dev/null"),
                plain_env("GIT_TERMINAL_PROMPT", "0"),
            ]),
            volume_mounts: Some(self.mounts.clone()),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
                run_as_user: self.user,
                ..SecurityContext::default()
            }),
            // What Git says is all that is known of why it failed.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            // A quota may ask for them; what comes before the run itself costs nothing besides.
            resources: Some(self.resources.clone()),
            ..Container::default()
        }
    }

    /// The command that fetches one commit and nothing else, and what it needs of the run's Secret.
    ///
    /// # Errors
    /// For an address that no pod clones from (see [`clone_address`]).
    pub(crate) fn fetch(
        &self,
        access: &CloneAccess,
        commit: &CommitId,
        insecure: &[String],
    ) -> Result<(Container, Vec<SecretItem>)> {
        let address = clone_address(access, insecure)?;
        let scheme = if address.plain_http { "http" } else { "https" };
        let allow = format!("protocol.{scheme}.allow=always");
        let url = format!("{scheme}://{}", address.rest);
        let commit = commit.to_string();
        let args = [
            "-c",
            "http.followRedirects=false",
            "-c",
            "protocol.allow=never",
            "-c",
            &allow,
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--",
            &url,
            &commit,
        ];
        let mut container = self.container("source-fetch", &args);
        let Some(credential) = &access.credential else { return Ok((container, Vec::new())) };
        let mut pair = format!("{}:", credential.username).into_bytes();
        pair.extend_from_slice(credential.password.expose());
        let header = Secret::new(format!("Authorization: Basic {}", STANDARD.encode(pair)))
            .ok_or_else(|| Error::internal("prepare git clone", "an empty header"))?;
        let env: &mut Vec<EnvVar> = container.env.get_or_insert_default();
        env.push(plain_env("GIT_CONFIG_COUNT", "1"));
        env.push(plain_env("GIT_CONFIG_KEY_0", "http.extraHeader"));
        env.push(own_env("GIT_CONFIG_VALUE_0", HEADER_KEY));
        let secrets = [
            (HEADER_KEY, header),
            // Masked in its own form, too.
            ("git-password", credential.password.clone()),
        ];
        let secrets = secrets.map(|(key, value)| SecretItem { key: key.to_owned(), value, plain: false });
        Ok((container, secrets.into()))
    }
}
