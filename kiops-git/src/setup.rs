//! How a person sets a webhook up at a host by hand: where to click, what to paste, what to tick.

use std::fmt;

use kiops_core::name::{HookId, ProviderName};
use kiops_core::provider::HookEvents;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use url::Url;

/// A server that webhooks can be sent to: one an environment (K25).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookServer {
    /// What it is called: `Local`, `Dev`, `Staging`, `Production`.
    pub environment: String,
    /// Where it is reached from outside: `https://dev.example.com`, with a path prefix where it has one.
    pub base: String,
}

impl WebhookServer {
    /// The address that a hook of this sender gets: `https://dev.example.com/api/v1/webhook/gitlab`, and the hook's own part behind it
    /// where it has one.
    ///
    /// # Errors
    /// `Invalid` for a base that is no `http` or `https` address, or has a query or user information.
    pub fn address(&self, provider: &ProviderName, hook: Option<&HookId>) -> Result<String> {
        let operation = "make webhook address";
        let refuse = |reason: &str| {
            Error::invalid(operation, format!("the address of environment `{}` {reason}", self.environment))
                .with_remedy("write it like `https://ci.example.com`")
        };
        let url = Url::parse(&self.base).map_err(|_| refuse("is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("is neither http nor https"));
        }
        let bare = url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("has more than host, port and path"));
        }
        let base = url.as_str().trim_end_matches('/');
        Ok(match hook {
            Some(hook) => format!("{base}/api/v1/webhook/{provider}/{hook}"),
            None => format!("{base}/api/v1/webhook/{provider}"),
        })
    }
}

/// What a person does at a host. Its `Display` is text to read and paste from; the secret is left to whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookSetup {
    /// The host's name for people.
    pub host: &'static str,
    /// Where to go, in the host's own words.
    pub place: &'static str,
    /// What to fill in: the field's name, and what belongs there. [`HookSetup::SECRET`] stands for the secret.
    pub fields: Vec<(&'static str, String)>,
    /// What to tick.
    pub events: Vec<&'static str>,
    /// How to see that it works.
    pub check: &'static str,
}

impl HookSetup {
    /// Stands where the secret belongs.
    pub const SECRET: &'static str = "<the service's webhook secret>";

    /// What to do at `provider` so that `events` come to `address`; `None` for a sender that nobody sets up by hand (`plain` writes its own
    /// hook) or that is not known here.
    pub fn new(provider: &ProviderName, address: &str, events: HookEvents) -> Option<Self> {
        let host = HOSTS.iter().find(|host| host.provider == provider.as_str())?;
        let mut fields = vec![(host.address, address.to_owned())];
        fields.extend(host.fields.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut ticks: Vec<&'static str> = Vec::new();
        for (wanted, names) in [
            (events.push, host.push),
            (events.tags, host.tags),
            (events.merge_requests, host.merge_requests),
            (events.pipelines, host.pipelines),
        ] {
            if wanted {
                ticks.extend(names.iter().filter(|name| !ticks.contains(name)).copied().collect::<Vec<_>>());
            }
        }
        Some(Self { host: host.name, place: host.place, fields, events: ticks, check: host.check })
    }
}

impl fmt::Display for HookSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.host, self.place)?;
        for (name, value) in &self.fields {
            writeln!(f, "  {name}: {value}")?;
        }
        if !self.events.is_empty() {
            writeln!(f, "  tick: {}", self.events.join("; "))?;
        }
        writeln!(f, "{}", self.check)
    }
}

/// A host's own words.
struct Host {
    provider: &'static str,
    name: &'static str,
    place: &'static str,
    address: &'static str,
    fields: &'static [(&'static str, &'static str)],
    push: &'static [&'static str],
    tags: &'static [&'static str],
    merge_requests: &'static [&'static str],
    pipelines: &'static [&'static str],
    check: &'static str,
}

const SECRET: &str = HookSetup::SECRET;

const GITEA: Host = Host {
    provider: "gitea",
    name: "Gitea",
    place: "Settings, Webhooks, Add Webhook, Gitea",
    address: "Target URL",
    fields: &[
        ("HTTP Method", "POST"),
        ("POST Content Type", "application/json"),
        ("Secret", SECRET),
        ("Trigger On", "Custom Events..."),
    ],
    push: &["Push"],
    // Tags come with pushes.
    tags: &["Push"],
    merge_requests: &["Pull Request", "Pull Request Synchronized"],
    pipelines: &[],
    check: "Save, open the webhook again and press Test Delivery: Recent Deliveries shows 200.",
};

const HOSTS: &[Host] = &[
    Host {
        provider: "gitlab",
        name: "GitLab",
        place: "Settings, Webhooks, Add new webhook",
        address: "URL",
        fields: &[
            ("Signing token, or else Secret token", SECRET),
            ("SSL verification", "Enable SSL verification"),
        ],
        push: &["Push events (All branches)"],
        tags: &["Tag push events"],
        merge_requests: &["Merge request events"],
        pipelines: &["Pipeline events"],
        check: "Add the webhook, then Test, Push events: \"Hook executed successfully: HTTP 200\".",
    },
    Host {
        provider: "github",
        name: "GitHub",
        place: "Settings, Webhooks, Add webhook",
        address: "Payload URL",
        fields: &[
            ("Content type", "application/json"),
            ("Secret", SECRET),
            ("SSL verification", "Enable SSL verification"),
            ("Which events", "Let me select individual events"),
        ],
        push: &["Pushes"],
        // Tags come with pushes.
        tags: &["Pushes"],
        merge_requests: &["Pull requests"],
        pipelines: &["Workflow runs"],
        check: "Add the webhook: GitHub sends a ping, and Recent Deliveries shows 200.",
    },
    Host {
        provider: "bitbucket",
        name: "Bitbucket",
        place: "Repository settings, Webhooks, Add webhook",
        address: "URL",
        fields: &[
            ("Title", "kiops"),
            ("Secret", SECRET),
            ("Status", "Active"),
            ("Triggers", "Choose from a full list of triggers"),
        ],
        push: &["Repository: Push"],
        tags: &["Repository: Push"],
        merge_requests: &[
            "Pull request: Created",
            "Pull request: Updated",
            "Pull request: Merged",
            "Pull request: Declined",
        ],
        pipelines: &[],
        check: "Save, push something, and open View requests: the request shows 200.",
    },
    Host {
        provider: "bitbucket-dc",
        name: "Bitbucket Data Center",
        place: "Repository settings, Webhooks, Create webhook",
        address: "URL",
        fields: &[
            ("Title", "kiops"),
            ("Secret", SECRET),
            ("SSL/TLS", "leave certificate verification on"),
            ("Status", "Active"),
        ],
        push: &["Repository: Push"],
        tags: &["Repository: Push"],
        merge_requests: &[
            "Pull request: Opened",
            "Pull request: Source branch updated",
            "Pull request: Modified",
            "Pull request: Merged",
            "Pull request: Declined",
            "Pull request: Deleted",
        ],
        pipelines: &[],
        check: "Create it, push something, and open its event log: the last request shows 200.",
    },
    GITEA,
    Host {
        provider: "forgejo",
        name: "Forgejo",
        place: "Settings, Webhooks, Add webhook, Forgejo",
        address: "Target URL",
        fields: GITEA.fields,
        push: GITEA.push,
        tags: GITEA.tags,
        merge_requests: GITEA.merge_requests,
        pipelines: GITEA.pipelines,
        check: GITEA.check,
    },
    Host {
        provider: "gogs",
        name: "Gogs",
        place: "Settings, Webhooks, Add a new webhook, Gogs",
        address: "Payload URL",
        fields: &[
            ("Content Type", "application/json"),
            ("Secret", SECRET),
            ("Events", "Let me choose what I need"),
        ],
        push: &["Push"],
        tags: &["Push"],
        merge_requests: &["Pull Request"],
        pipelines: &[],
        check: "Add it, open it again and press Test Delivery: Recent Deliveries shows 200.",
    },
    Host {
        provider: "gitee",
        name: "Gitee",
        place: "Management (\u{7ba1}\u{7406}), WebHooks, Add webHook",
        address: "URL",
        fields: &[("Signature key (\u{7b7e}\u{540d}\u{5bc6}\u{94a5})", SECRET)],
        push: &["Push"],
        tags: &["Tag Push"],
        merge_requests: &["Pull Request"],
        pipelines: &[],
        check: "Add it with Active ticked, and press Test: the record shows 200.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ProviderName {
        ProviderName::parse(text).unwrap()
    }

    fn server(base: &str) -> WebhookServer {
        WebhookServer { environment: "Dev".into(), base: base.into() }
    }

    const ALL: HookEvents = HookEvents { push: true, tags: true, merge_requests: true, pipelines: true };

    #[test]
    fn every_environment_has_an_address_for_each_sender() {
        let address = |base: &str| server(base).address(&name("gitlab"), None);
        assert_eq!(
            address("https://dev.example.com").unwrap(),
            "https://dev.example.com/api/v1/webhook/gitlab"
        );
        assert_eq!(
            address("https://x.example.com/ci/").unwrap(),
            "https://x.example.com/ci/api/v1/webhook/gitlab"
        );
        let hook = HookId::parse("0123456789abcdef0123456789abcdef").unwrap();
        let own = server("https://dev.example.com").address(&name("gitee"), Some(&hook)).unwrap();
        assert!(own.ends_with("/api/v1/webhook/gitee/0123456789abcdef0123456789abcdef"));
        for bad in ["", "dev.example.com", "ftp://x", "https://u:p@x", "https://x?y", "https://x#y"] {
            address(bad).unwrap_err();
        }
    }

    #[test]
    fn every_sender_with_hooks_says_how_to_set_one_up() {
        for source in crate::sources() {
            let setup = HookSetup::new(&source.name(), "https://x/hook", ALL);
            assert_eq!(setup.is_none(), source.name().as_str() == "plain", "{}", source.name());
            let Some(setup) = setup else { continue };
            let text = setup.to_string();
            assert!(text.contains("https://x/hook") && text.contains(HookSetup::SECRET), "{text}");
            assert!(setup.events.iter().any(|event| event.contains("Push")), "{text}");
        }
    }

    #[test]
    fn only_what_is_wanted_is_ticked_and_once() {
        let github = |events| HookSetup::new(&name("github"), "https://x", events).unwrap().events;
        assert_eq!(github(HookEvents::PUSH), ["Pushes"]);
        assert_eq!(github(ALL), ["Pushes", "Pull requests", "Workflow runs"]);
    }
}
