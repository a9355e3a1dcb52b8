//! How GitHub's interface is spoken, and where it is.

use kiops_core::http::HostRule;
use kiops_core::{Error, Result};
use serde::Deserialize;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::rest::{Answer, Dialect, HostConfig};

pub(super) static DIALECT: Dialect = Dialect {
    host: "GitHub",
    // The second for those that stand in for GitHub and know no media types of vendors.
    accept: "application/vnd.github+json, application/json;q=0.9",
    headers: &[("x-github-api-version", "2022-11-28")],
    authorization: |token| Zeroizing::new(format!("Bearer {token}")),
    said,
    remedy,
};

/// The configuration with what follows from `url` at GitHub: where the interface is, and where archives come from.
pub(super) fn complete(mut config: HostConfig) -> Result<HostConfig> {
    let web = Url::parse(&config.web()?)
        .map_err(|_| Error::invalid("read Git host settings", "the address is no URL"))?;
    let Some(Host::Domain(host)) = web.host() else { return Ok(config) };
    if config.api_url.is_none() {
        if host == "github.com" {
            config.api_url = Some("https://api.github.com".into());
        } else if host.ends_with(".ghe.com") {
            config.api_url = Some(format!("https://api.{host}"));
        }
    }
    let port = web.port().map(|port| format!(":{port}")).unwrap_or_default();
    let archives = HostRule::parse(&format!("{}://codeload.{host}{port}/", web.scheme()))?;
    let archives = if config.private { archives.private() } else { archives };
    if !config.redirects.contains(&archives) {
        config.redirects.push(archives);
    }
    Ok(config)
}

/// What GitHub says about an error: the message, and what it says of single fields.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        message: String,
        #[serde(default)]
        errors: serde_json::Value,
    }
    let said: Said = serde_json::from_slice(body).ok()?;
    let mut text = said.message;
    for error in said.errors.as_array().into_iter().flatten() {
        let word = |name: &str| error.get(name).and_then(serde_json::Value::as_str);
        let detail = error.as_str().or_else(|| word("message")).map(str::to_owned);
        let detail = detail.or_else(|| Some(format!("{} {}", word("field")?, word("code")?)));
        if let Some(detail) = detail {
            text.push_str("; ");
            text.push_str(&detail);
        }
    }
    Some(text)
}

fn remedy(answer: &Answer) -> Option<String> {
    if !matches!(answer.status, 403 | 404) || is_rate_limit(answer) {
        return None;
    }
    if answer.header("x-github-sso").is_some() {
        return Some("authorise the token for the organisation's single sign-on: at GitHub, Settings, Developer settings, the token, Configure SSO".into());
    }
    if let (Some(held), Some(accepted)) = (answer.header(SCOPES), answer.header("x-accepted-oauth-scopes"))
        && list(accepted).next().is_some()
        && !list(accepted).any(|scope| list(held).any(|held| held == scope))
    {
        let held = if list(held).next().is_some() { shown(held) } else { "none".into() };
        return Some(format!(
            "the token lacks scope {}: give it one of these at GitHub; it has {held}",
            shown(accepted)
        ));
    }
    if let Some(permissions) = answer.header("x-accepted-github-permissions").filter(|_| answer.status == 403)
    {
        return Some(format!(
            "the token lacks a permission: give it, or its App, {} for this repository",
            shown(permissions)
        ));
    }
    (answer.status == 404).then(|| {
        "check the name (owner/repository); GitHub answers the same where the token may not see it: that needs scope `repo`, or Metadata and Contents for this repository"
            .into()
    })
}

/// What a classic token may do, in the headers of every answer.
pub(super) const SCOPES: &str = "x-oauth-scopes";

/// The words of a header that lists some.
pub(super) fn list(header: &str) -> impl Iterator<Item = &str> {
    header.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn shown(header: &str) -> String {
    header.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn is_rate_limit(answer: &Answer) -> bool {
    answer.header("retry-after").is_some() || answer.header("x-ratelimit-remaining") == Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(url: &str) -> HostConfig {
        complete(HostConfig::new(url)).unwrap()
    }

    #[test]
    fn the_interface_is_where_github_has_it() {
        for (url, api) in [
            ("https://github.com", "https://api.github.com/"),
            ("https://github.com/", "https://api.github.com/"),
            ("https://octo.ghe.com", "https://api.octo.ghe.com/"),
            ("https://ghe.example.com/prefix/", "https://ghe.example.com/prefix/api/v3/"),
            ("http://10.0.0.7:8080", "http://10.0.0.7:8080/api/v3/"),
        ] {
            assert_eq!(completed(url).api("api/v3/").unwrap(), api, "{url}");
        }
        let mut config = HostConfig::new("https://github.com");
        config.api_url = Some("https://proxy.example.com/github".into());
        let config = complete(config).unwrap();
        assert_eq!(config.api("api/v3/").unwrap(), "https://proxy.example.com/github/");
    }

    #[test]
    fn archives_may_come_from_githubs_own_place_for_them_and_no_other() {
        let egress = completed("https://github.com").egress().unwrap();
        for good in ["https://codeload.github.com/o/r/legacy.tar.gz/1", "https://api.github.com/repos/o/r"] {
            egress.check(good).unwrap();
        }
        for bad in
            ["https://codeload.github.com.evil.io/x", "http://codeload.github.com/x", "https://x.github.com/"]
        {
            egress.check(bad).unwrap_err();
        }
        let egress = completed("https://ghe.example.com").egress().unwrap();
        egress.check("https://codeload.ghe.example.com/o/r").unwrap();
        let twice = complete(completed("https://github.com")).unwrap();
        assert_eq!(twice, completed("https://github.com"), "completing twice changes nothing");
    }

    #[test]
    fn what_github_says_of_fields_is_told_too() {
        let body = br#"{"message":"Validation Failed","errors":[{"resource":"Hook","code":"custom","message":"Hook already exists"},{"field":"name","code":"missing"},"plain"]}"#;
        assert_eq!(said(body).unwrap(), "Validation Failed; Hook already exists; name missing; plain");
        assert_eq!(said(b"<html>"), None);
    }
}
