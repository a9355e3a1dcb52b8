//! The file that BuildKit's daemon is set up with, `buildkitd.toml`. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::config::BuildKitConfig;

/// What is said of one registry.
#[derive(Default)]
struct Registry<'a> {
    mirrors: &'a [String],
    http: bool,
    insecure: bool,
}

/// The daemon's settings. All names in it are plain (see [`BuildKitConfig::validate`]), so that quotes hold them.
pub(super) fn daemon_settings(config: &BuildKitConfig) -> String {
    let mut registries: BTreeMap<&str, Registry<'_>> = BTreeMap::new();
    if !config.registry_mirrors.is_empty() {
        registries.entry("docker.io").or_default().mirrors = &config.registry_mirrors;
    }
    for host in &config.insecure_registries {
        registries.entry(host).or_default().http = true;
    }
    for host in &config.unverified_registries {
        registries.entry(host).or_default().insecure = true;
    }
    // An empty list of repositories would mean every one.
    let mut text = format!("[frontend.\"gateway.v0\"]\nenabled = {}\n", !config.frontends.is_empty());
    list(&mut text, "allowedRepositories", &config.frontends);
    for (host, registry) in registries {
        let _ = writeln!(text, "\n[registry.\"{host}\"]");
        list(&mut text, "mirrors", registry.mirrors);
        for (name, set) in [("http", registry.http), ("insecure", registry.insecure && !registry.http)] {
            if set {
                let _ = writeln!(text, "{name} = true");
            }
        }
    }
    text
}

fn list(text: &mut String, name: &str, all: &[String]) {
    if !all.is_empty() {
        let all: Vec<String> = all.iter().map(|one| format!("\"{one}\"")).collect();
        let _ = writeln!(text, "{name} = [{}]", all.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_and_registries_without_certificates_are_named_each_by_its_host() {
        let config = BuildKitConfig {
            registry_mirrors: vec!["mirror.example.com/hub".into()],
            insecure_registries: vec!["registry.local:5000".into()],
            unverified_registries: vec!["harbor.local".into(), "registry.local:5000".into()],
            ..BuildKitConfig::default()
        };
        insta::assert_snapshot!(daemon_settings(&config), @r#"
        [frontend."gateway.v0"]
        enabled = true
        allowedRepositories = ["docker.io/docker/dockerfile"]

        [registry."docker.io"]
        mirrors = ["mirror.example.com/hub"]

        [registry."harbor.local"]
        insecure = true

        [registry."registry.local:5000"]
        http = true
        "#);
    }

    #[test]
    fn without_frontends_none_is_taken_from_anywhere() {
        let config = BuildKitConfig { frontends: Vec::new(), ..BuildKitConfig::default() };
        assert_eq!(daemon_settings(&config), "[frontend.\"gateway.v0\"]\nenabled = false\n");
    }
}
