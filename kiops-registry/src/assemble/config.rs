//! The configuration of an image, and what each instruction changes in it.

use std::collections::BTreeMap;

use kiops_core::name::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dockerfile::Command;
use super::health::Health;
use crate::manifest::Platform;

/// The search path that an image from scratch begins with, as Docker's builders set it.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image configuration. Fields that are not named here stay as the base has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) author: Option<String>,
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(default)]
    pub(super) config: Settings,
    pub(super) rootfs: RootFs,
    #[serde(default)]
    pub(super) history: Vec<History>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// What a container of the image starts with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<BTreeMap<String, Empty>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volumes: Option<BTreeMap<String, Empty>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shell: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_build: Option<Vec<String>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// The `{}` behind every port and volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Empty {}

/// The uncompressed layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    pub(super) diff_ids: Vec<Digest>,
}

/// One line of an image's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl ImageConfig {
    /// The configuration of an image with nothing in it.
    pub(super) fn scratch(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self {
            created: None,
            author: None,
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            config: Settings {
                env: Some(vec![DEFAULT_PATH.to_owned()]),
                working_dir: Some("/".to_owned()),
                ..Settings::default()
            },
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
            history: Vec::new(),
            rest: variant.map(|variant| ("variant".to_owned(), variant.into())).into_iter().collect(),
        }
    }

    /// What the image runs on.
    pub(super) fn platform(&self) -> Platform {
        let variant = self.rest.get("variant").and_then(Value::as_str).filter(|variant| !variant.is_empty());
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: variant.map(str::to_owned),
        }
    }

    /// What a base hands on: without what only told how it was made.
    pub(super) fn into_base(mut self) -> Self {
        for old in ["container", "container_config", "docker_version", "id", "parent"] {
            self.rest.remove(old);
        }
        self
    }

    /// Adds a line to the history.
    pub(super) fn record(&mut self, created: &str, instruction: &str, layer: Option<&Digest>) {
        self.rootfs.diff_ids.extend(layer.cloned());
        self.history.push(History {
            created: Some(created.to_owned()),
            created_by: Some(instruction.to_owned()),
            empty_layer: layer.is_none(),
            rest: [("comment".to_owned(), "kiops".into())].into(),
        });
    }
}

impl Settings {
    /// A variable's value.
    pub(super) fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().flatten().rev().find_map(|pair| match pair.split_once('=') {
            Some((key, value)) if key == name => Some(value),
            _ => None,
        })
    }

    /// ENV: a known variable keeps its place.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        let env = self.env.get_or_insert_default();
        let pair = format!("{name}={value}");
        match env.iter_mut().find(|old| old.split('=').next() == Some(name)) {
            Some(old) => *old = pair,
            None => env.push(pair),
        }
    }

    /// LABEL.
    pub(super) fn set_label(&mut self, name: &str, value: &str) {
        self.labels.get_or_insert_default().insert(name.to_owned(), value.to_owned());
    }

    /// The folder that relative paths start from, absolute.
    pub(super) fn working_dir(&self) -> &str {
        self.working_dir.as_deref().filter(|dir| !dir.is_empty()).unwrap_or("/")
    }

    /// WORKDIR, already absolute.
    pub(super) fn set_working_dir(&mut self, path: String) {
        self.working_dir = Some(path);
    }

    /// USER.
    pub(super) fn set_user(&mut self, user: String) {
        self.user = Some(user);
    }

    /// EXPOSE of one word: a port or a range, with or without a protocol. The error says what is wrong with it.
    pub(super) fn expose(&mut self, word: &str) -> Result<(), String> {
        let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let port = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        match (port(first), port(last)) {
            (Some(first), Some(last))
                if first <= last && matches!(protocol.as_str(), "tcp" | "udp" | "sctp") =>
            {
                let ports = self.exposed_ports.get_or_insert_default();
                ports.extend((first..=last).map(|port| (format!("{port}/{protocol}"), Empty {})));
                Ok(())
            }
            _ => Err(format!("`{word}` is no port such as 8080, 8080/udp or 8000-8010")),
        }
    }

    /// VOLUME.
    pub(super) fn add_volume(&mut self, path: String) {
        self.volumes.get_or_insert_default().insert(path, Empty {});
    }

    /// STOPSIGNAL.
    pub(super) fn set_stop_signal(&mut self, signal: String) {
        self.stop_signal = Some(signal);
    }

    /// SHELL.
    pub(super) fn set_shell(&mut self, shell: Vec<String>) {
        self.shell = Some(shell);
    }

    /// ENTRYPOINT. The command that the base gave it goes, unless this stage has set its own.
    pub(super) fn set_entrypoint(&mut self, command: &Command, cmd_is_own: bool) {
        self.entrypoint = Some(self.words(command));
        if !cmd_is_own {
            self.cmd = None;
        }
    }

    /// CMD.
    pub(super) fn set_cmd(&mut self, command: &Command) {
        self.cmd = Some(self.words(command));
    }

    /// HEALTHCHECK, in Docker's form: OCI has no field for it, and Docker reads this one.
    pub(super) fn set_healthcheck(&mut self, health: &Health) {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Form {
            test: Vec<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            interval: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            timeout: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            start_period: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            start_interval: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            retries: Option<u32>,
        }
        let test = match &health.test {
            None => vec!["NONE".to_owned()],
            Some(Command::Exec(words)) => {
                std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
            }
            Some(Command::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
        };
        let form = Form {
            test,
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        };
        self.healthcheck = serde_json::to_value(form).ok();
    }

    /// What the image wants done when somebody builds on it.
    pub(super) fn on_build(&self) -> &[String] {
        self.on_build.as_deref().unwrap_or_default()
    }

    /// A command as words; the shell form is handed to the shell that the image names.
    fn words(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) => {
                let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
                let mut words = self.shell.clone().unwrap_or_else(default);
                words.push(text.clone());
                words
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        ImageConfig::scratch("linux", "amd64", None).config
    }

    #[test]
    fn a_variable_set_again_keeps_its_place() {
        let mut settings = settings();
        settings.set_env("A", "1");
        settings.set_env("PATH", "/x");
        settings.set_env("A", "2");
        assert_eq!(settings.env.as_deref().unwrap(), ["PATH=/x", "A=2"]);
        assert_eq!(settings.env("A"), Some("2"));
        assert_eq!(settings.env("B"), None);
    }

    #[test]
    fn an_entrypoint_takes_the_bases_command_away_and_not_its_own() {
        let exec = |word: &str| Command::Exec(vec![word.to_owned()]);
        let mut inherited = settings();
        inherited.set_cmd(&exec("base"));
        inherited.set_entrypoint(&exec("e"), false);
        assert_eq!(inherited.cmd, None);
        let mut own = settings();
        own.set_cmd(&exec("own"));
        own.set_entrypoint(&exec("e"), true);
        assert_eq!(own.cmd.unwrap(), ["own"]);
    }

    #[test]
    fn the_shell_form_is_data_for_the_images_shell() {
        let mut settings = settings();
        settings.set_cmd(&Command::Shell("echo $HOME".into()));
        assert_eq!(settings.cmd.as_deref().unwrap(), ["/bin/sh", "-c", "echo $HOME"]);
        settings.set_shell(vec!["/bin/bash".into(), "-lc".into()]);
        settings.set_cmd(&Command::Shell("x".into()));
        assert_eq!(settings.cmd.as_deref().unwrap(), ["/bin/bash", "-lc", "x"]);
    }

    #[test]
    fn ports_have_a_protocol_and_ranges_are_written_out() {
        let mut settings = settings();
        for word in ["80", "53/UDP", "8000-8002"] {
            settings.expose(word).unwrap();
        }
        let ports: Vec<_> = settings.exposed_ports.iter().flatten().map(|(port, _)| port.as_str()).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        for bad in ["", "x", "80/ftp", "9-8", "70000", "+80", "80:80"] {
            assert!(settings.expose(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_of_the_base_that_nobody_knows_are_kept() {
        let text = r#"{"architecture":"arm64","os":"linux","os.version":"1","docker_version":"x",
            "config":{"ArgsEscaped":true,"OnBuild":null},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        let again = serde_json::to_value(config.into_base()).unwrap();
        assert_eq!(again["os.version"], "1");
        assert_eq!(again["config"]["ArgsEscaped"], true);
        assert!(again.get("docker_version").is_none());
    }
}
