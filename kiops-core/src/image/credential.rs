//! Registry credentials, and the file in which Docker, Kaniko and kubelets expect them.

use serde::Serialize;

use crate::name::is_docker_hub;
use crate::secret::Secret;

/// What a registry wants to know before it lets somebody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryCredential {
    /// The registry host, with its port.
    pub host: String,
    /// The user name, verbatim: Harbor's robots have a `$` in theirs (E77).
    pub username: String,
    /// Password or token.
    pub password: Secret,
}

impl RegistryCredential {
    /// Whether it is for images of this host, with its port. Docker Hub goes by three names.
    pub fn is_for(&self, host: &str) -> bool {
        config_key(&self.host) == config_key(host)
    }
}

/// The text of a `config.json` with these credentials (`kubernetes.io/dockerconfigjson`, K22).
///
/// Docker Hub's key is `https://index.docker.io/v1/`, whatever name the host goes by (E76). Of two credentials for one host the last counts.
pub fn docker_config_json<'a>(credentials: impl IntoIterator<Item = &'a RegistryCredential>) -> Secret {
    use base64::Engine as _;

    #[derive(Serialize)]
    struct Config {
        auths: std::collections::BTreeMap<String, Auth>,
    }
    #[derive(Serialize)]
    struct Auth {
        username: String,
        password: String,
        auth: String,
    }
    let auths = credentials
        .into_iter()
        .map(|credential| {
            let password = String::from_utf8_lossy(credential.password.expose()).into_owned();
            let pair = [credential.username.as_bytes(), b":", credential.password.expose()].concat();
            let auth = base64::engine::general_purpose::STANDARD.encode(pair);
            (config_key(&credential.host), Auth { username: credential.username.clone(), password, auth })
        })
        .collect();
    let text = serde_json::to_vec(&Config { auths }).unwrap_or_default();
    Secret::new(text).unwrap_or_else(empty_config)
}

/// `Secret` cannot be empty; a config without entries is still a valid file.
fn empty_config() -> Secret {
    Secret::filled(*b"{\"auths\":{}}")
}

fn config_key(host: &str) -> String {
    if is_docker_hub(host) { "https://index.docker.io/v1/".to_owned() } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(host: &str, username: &str) -> RegistryCredential {
        RegistryCredential {
            host: host.into(),
            username: username.into(),
            password: Secret::new("p$w\"d").unwrap(),
        }
    }

    #[test]
    fn a_robot_name_with_a_dollar_sign_passes_untouched() {
        let config = docker_config_json([&credential("harbor.example.com", "robot$team+ci")]);
        let value: serde_json::Value = serde_json::from_slice(config.expose()).unwrap();
        let auth = &value["auths"]["harbor.example.com"];
        assert_eq!(auth["username"], "robot$team+ci");
        assert_eq!(auth["password"], "p$w\"d");
        assert_eq!(auth["auth"], "cm9ib3QkdGVhbStjaTpwJHciZA==");
    }

    #[test]
    fn docker_hub_has_its_historical_key() {
        let config = docker_config_json([&credential("docker.io", "me")]);
        let value: serde_json::Value = serde_json::from_slice(config.expose()).unwrap();
        assert!(value["auths"]["https://index.docker.io/v1/"].is_object());
    }

    #[test]
    fn no_credential_is_still_a_config() {
        assert_eq!(docker_config_json([]).expose(), b"{\"auths\":{}}");
    }
}
