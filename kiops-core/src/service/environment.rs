//! Places that releases go to.

use serde::{Deserialize, Serialize};

use crate::access::Protection;
use crate::name::{ComponentName, DnsLabel, EnvironmentName, ServiceName};

/// A place that releases go to, shared by all services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// Which runtime (the name of a deployer) it lives on.
    pub runtime: String,
    /// Which namespace a service's workload gets.
    #[serde(default)]
    pub namespace: NamespaceRule,
    /// Who may deploy here.
    #[serde(default)]
    pub protection: Protection,
    /// Whether everybody below Admin waits for an approval (T18).
    #[serde(default)]
    pub approval_required: bool,
    /// Whether a failed rollout goes back to what was live before. On by default.
    #[serde(default = "yes")]
    pub rollback_on_failure: bool,
    /// Where what is live here is reached, with `{service}`, `{component}`, `{environment}` and `{namespace}` in the places of the names
    /// (`https://{service}.dev.example.com`): what `{url}` stands for in the commands of checks of phase `deployed`.
    #[serde(default)]
    pub url: Option<String>,
    /// The merge request that this is the preview of; `None` for every environment that is registered.
    #[serde(skip)]
    pub preview: Option<u64>,
}

/// Whether an address or a host name, as it is written for all services, is another one for each preview: with `{namespace}` in it, or with
/// `{environment}` and `{service}`. Two services may have merge requests of the same number.
pub fn is_previews_own(pattern: &str) -> bool {
    let has = |place: &str| pattern.contains(place);
    has("{namespace}") || (has("{environment}") && has("{service}"))
}

const fn yes() -> bool {
    true
}

impl Environment {
    /// An open environment on this runtime.
    pub fn new(name: EnvironmentName, runtime: impl Into<String>) -> Self {
        Self {
            name,
            runtime: runtime.into(),
            namespace: NamespaceRule::default(),
            protection: Protection::default(),
            approval_required: false,
            rollback_on_failure: true,
            url: None,
            preview: None,
        }
    }

    /// The environment of this name, as a service's releases see it: the one that is registered, or else the preview that is made after one
    /// of them. Whether there may be such a preview is another question.
    pub fn find(environments: &[Self], service: &ServiceName, name: &EnvironmentName) -> Option<Self> {
        let of_name = |name: &EnvironmentName| environments.iter().find(|one| one.name == *name);
        if let Some(registered) = of_name(name) {
            return Some(registered.clone());
        }
        let (pattern, number) = name.preview()?;
        of_name(&pattern)?.preview_of(service, number)
    }

    /// The preview of a service's merge request that is made after this environment: the same runtime, protection and approvals, a
    /// namespace of its own, and an address only where `url` has the namespace in it, or the environment and the service: any other is not its
    /// alone. `None`: its name would be too long.
    fn preview_of(&self, service: &ServiceName, number: u64) -> Option<Self> {
        let name = self.name.preview_of(number)?;
        Some(Self {
            namespace: NamespaceRule::Fixed(crate::name::dns_label([service.as_str(), name.as_str()])),
            url: self.url.clone().filter(|url| is_previews_own(url)),
            preview: Some(number),
            name,
            ..self.clone()
        })
    }

    /// Where this component of a service is reached; `None`: nobody said.
    pub fn url_of(&self, service: &ServiceName, component: &ComponentName) -> Option<String> {
        let url = self.url.as_ref()?;
        let namespace = self.namespace.namespace(service);
        let names = [
            ("{service}", service.as_str()),
            ("{component}", component.as_str()),
            ("{environment}", self.name.as_str()),
            ("{namespace}", namespace.as_str()),
        ];
        Some(names.into_iter().fold(url.clone(), |url, (place, name)| url.replace(place, name)))
    }
}

/// Which namespace a service's workload gets (settled 14).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceRule {
    /// The service's name (S17).
    #[default]
    Service,
    /// One for all.
    Fixed(DnsLabel),
}

impl NamespaceRule {
    /// The namespace of a service.
    pub fn namespace(&self, service: &ServiceName) -> DnsLabel {
        match self {
            Self::Service => crate::name::dns_label([service.as_str()]),
            Self::Fixed(namespace) => namespace.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EnvironmentName {
        EnvironmentName::parse(text).unwrap()
    }

    fn found(environments: &[Environment], wanted: &str) -> Option<Environment> {
        Environment::find(environments, &ServiceName::parse("shop").unwrap(), &name(wanted))
    }

    fn review() -> Environment {
        let url = Some("https://{namespace}.example.com/{component}".to_owned());
        Environment { approval_required: true, url, ..Environment::new(name("review"), "cluster") }
    }

    #[test]
    fn a_preview_is_its_pattern_in_a_namespace_of_its_own() {
        let preview = found(&[review()], "review-mr-7").unwrap();
        assert_eq!((preview.name.as_str(), preview.preview), ("review-mr-7", Some(7)));
        assert_eq!((preview.runtime.as_str(), preview.approval_required), ("cluster", true));
        let service = ServiceName::parse("shop").unwrap();
        let namespace = preview.namespace.namespace(&service);
        assert!(namespace.as_str().starts_with("shop-review-mr-7-"), "{namespace}");
        let url = preview.url_of(&service, &ComponentName::default()).unwrap();
        assert_eq!(url, format!("https://{namespace}.example.com/main"));
    }

    #[test]
    fn previews_of_two_services_and_of_two_requests_share_no_namespace() {
        let (shop, blog) = (ServiceName::parse("shop").unwrap(), ServiceName::parse("blog").unwrap());
        let namespace = |service: &ServiceName, wanted: &str| {
            let review =
                Environment { namespace: NamespaceRule::Fixed(crate::name::dns_label(["all"])), ..review() };
            Environment::find(&[review], service, &name(wanted)).unwrap().namespace.namespace(service)
        };
        let all = [
            namespace(&shop, "review-mr-7"),
            namespace(&blog, "review-mr-7"),
            namespace(&shop, "review-mr-8"),
            namespace(&shop, "review"),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
    }

    #[test]
    fn an_address_that_names_no_place_is_not_a_previews() {
        for shared in ["https://{service}.dev.example.com", "https://{environment}.example.com"] {
            let dev = Environment { url: Some(shared.into()), ..review() };
            assert_eq!(found(&[dev], "review-mr-7").unwrap().url, None, "{shared}");
        }
    }

    #[test]
    fn what_is_registered_under_a_previews_name_is_no_preview() {
        let own = Environment::new(name("review-mr-7"), "elsewhere");
        let found = found(&[review(), own], "review-mr-7").unwrap();
        assert_eq!((found.runtime.as_str(), found.preview), ("elsewhere", None));
    }

    #[test]
    fn a_preview_of_nothing_is_not_found() {
        for wanted in ["live-mr-7", "review-mr-", "review-mr-07", "review-mr-x", "review7"] {
            assert_eq!(
                EnvironmentName::parse(wanted).ok().and_then(|_| found(&[review()], wanted)),
                None,
                "{wanted}"
            );
        }
    }
}
