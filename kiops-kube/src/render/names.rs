//! Every object name and every label, each from one function.
//!
//! Names are stable: they depend on service, component and container alone, never on a release.

use std::collections::BTreeMap;

use kiops_core::name::{ComponentName, ContainerName, DnsLabel, ServiceName, dns_label, dns_name};
use kiops_core::release::{DeployRequest, DeployTarget};
use kiops_core::service::normal_path;

/// The environment that an object belongs to, as a label.
pub const ENVIRONMENT: &str = "kiops.dev/environment";
/// The release that wrote an object, as an annotation.
pub const RELEASE: &str = "kiops.dev/release";
/// The full id of the commit that the images were built from, as an annotation.
pub const COMMIT: &str = "kiops.dev/commit";
/// Who asked for the release, as an annotation of at most [`REQUESTER_MAX`] bytes.
pub const REQUESTED_BY: &str = "kiops.dev/requested-by";
/// The revision that an object holds, as an annotation.
pub const REVISION: &str = "kiops.dev/revision";
/// What a kept revision is of, as a label.
pub const REVISION_OF: &str = "kiops.dev/revision-of";
/// All annotations of an object together may hold 256 KiB; a requester gets no more than this much of it, in bytes.
pub const REQUESTER_MAX: usize = 1024;

/// The label that says whose an object is, and its value for ours.
pub(crate) const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
pub(crate) const MANAGED_BY: &str = "kiops";
const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

/// The name of a target's Deployment, Ingress and files: the service's name for the component `main`; for any other
/// component both names and ten digits of a hash, so that service `a-b` never meets component `b` of service `a`.
pub fn object_name(service: &ServiceName, component: &ComponentName) -> DnsLabel {
    if *component == ComponentName::default() {
        dns_label([service.as_str()])
    } else {
        // A slash is in neither name and so forces the hashed form, which no plain service name can have.
        dns_label([format!("{service}/{component}").as_str()])
    }
}

/// What the revisions of something that the platform owns go by: one name for each container of each object.
pub fn existing_name(object: &DnsLabel, kind: &str, name: &DnsLabel, container: &ContainerName) -> DnsLabel {
    // Slashes force the hashed form, which no workload's name can have.
    dns_label([format!("{object}/{kind}/{name}/{container}").as_str()])
}

/// The name of the ConfigMap that keeps a revision: `{object}-revision-{number}`.
pub fn revision_name(of: &DnsLabel, revision: u64) -> String {
    dns_name(of.as_str(), &format!("revision-{revision}"), SUBDOMAIN_MAX)
}

/// The name of a target's Service: the object's name, except where that starts with a digit, which Services (DNS-1035) may not.
pub fn service_object_name(object: &DnsLabel) -> DnsLabel {
    if object.as_str().starts_with(|c: char| c.is_ascii_digit()) {
        dns_label([format!("svc/{object}").as_str()])
    } else {
        object.clone()
    }
}

/// The name of a service's pull Secret: `{service}-registry-cred` (K22).
pub fn pull_secret_name(service: &ServiceName) -> String {
    dns_name(service.as_str(), "registry-cred", SUBDOMAIN_MAX)
}

/// The name of the Secret that holds a target's secret environment variables: `{object}-env`.
pub fn env_secret_name(object: &DnsLabel) -> String {
    dns_name(object.as_str(), "env", SUBDOMAIN_MAX)
}

/// The key of a secret variable in the target's env Secret: `{container}.{variable}`, at most 253 characters.
pub fn env_secret_key(container: &ContainerName, variable: &str) -> String {
    let key = format!("{container}.{variable}");
    if key.len() <= SUBDOMAIN_MAX {
        return key;
    }
    // No variable starts with a digit, so no other one has this key.
    format!("{container}.0-{}", dns_label([format!("var/{variable}").as_str()]))
}

/// The name of a volume's claim: stable as long as container and mount path are, whatever the size.
///
/// The path counts without empty and `.` parts: `/data/` and `/data` are one volume.
pub fn claim_name(object: &DnsLabel, container: &ContainerName, mount_path: &str) -> DnsLabel {
    dns_label([format!("{object}/{container}{}", normal_path(mount_path)).as_str()])
}

/// Any text as a label's value: the text itself where Kubernetes takes it (63 characters of letters, digits, `-`, `_` and `.`, the
/// ends a letter or digit), else a readable start and ten digits of a hash of the whole. No two texts give one value.
pub fn label_value(text: &str) -> String {
    let alnum = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let fits = text.len() <= LABEL_MAX
        && alnum(text.chars().next())
        && alnum(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    // What looks like a shortened text is shortened too, so that nothing can imitate one.
    let imitates = text.rsplit_once('-').is_some_and(|(_, end)| {
        end.len() == 10 && end.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    if fits && !imitates { text.to_owned() } else { dns_label([text]).to_string() }
}

/// The labels by which Deployment and Service find the target's pods. They never change from one release to the next.
pub fn selector_labels(target: &DeployTarget) -> BTreeMap<String, String> {
    let object = object_name(&target.service, &target.component);
    labels_of([
        ("app.kubernetes.io/name", target.service.as_str()),
        ("app.kubernetes.io/instance", object.as_str()),
    ])
}

/// The labels of the target's pods and claims: the selector's, component, environment and `managed-by`.
/// None of them depends on the release, so that a release which changes nothing restarts nothing.
pub fn stable_labels(target: &DeployTarget) -> BTreeMap<String, String> {
    let mut labels = selector_labels(target);
    labels.extend(labels_of([
        ("app.kubernetes.io/component", target.component.as_str()),
        (MANAGED_BY_LABEL, MANAGED_BY),
        (ENVIRONMENT, target.environment.as_str()),
    ]));
    labels
}

/// The labels of a preview's namespace: the service, the environment and `managed-by`.
pub fn preview_labels(target: &DeployTarget) -> BTreeMap<String, String> {
    labels_of([
        ("app.kubernetes.io/name", target.service.as_str()),
        (MANAGED_BY_LABEL, MANAGED_BY),
        (ENVIRONMENT, target.environment.as_str()),
    ])
}

/// The labels of the objects of one release: the stable ones and `version`, which is the first seven digits of the commit
/// or, where there is none, the tag of the only image.
pub fn release_labels(target: &DeployTarget, request: &DeployRequest) -> BTreeMap<String, String> {
    let mut labels = stable_labels(target);
    let mut images = request.images.values();
    let version = match (&request.commit, images.next(), images.next()) {
        (Some(commit), _, _) => Some(commit.short()),
        (None, Some(only), None) => only.tag.as_ref().map(|tag| tag.as_str()),
        _ => None,
    };
    labels.extend(version.map(|version| ("app.kubernetes.io/version".to_owned(), label_value(version))));
    labels
}

/// Labels whose values are DNS labels, which are label values as they are.
fn labels_of<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What an object says about the release that wrote it.
pub fn annotations(request: &DeployRequest) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([(RELEASE.to_owned(), request.release.to_string())]);
    if let Some(commit) = &request.commit {
        annotations.insert(COMMIT.to_owned(), commit.to_string());
    }
    if !request.requested_by.is_empty() {
        annotations.insert(REQUESTED_BY.to_owned(), capped(&request.requested_by));
    }
    annotations
}

fn capped(text: &str) -> String {
    const MORE: &str = "...";
    if text.len() <= REQUESTER_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(REQUESTER_MAX - MORE.len());
    format!("{}{MORE}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(service: &str, component: &str) -> String {
        object_name(&ServiceName::parse(service).unwrap(), &ComponentName::parse(component).unwrap())
            .to_string()
    }

    fn is_label_value(value: &str) -> bool {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        value.len() <= 63
            && ends(value.chars().next())
            && ends(value.chars().next_back())
            && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    }

    #[test]
    fn the_main_component_has_the_services_own_name() {
        assert_eq!(object("my-site", "main"), "my-site");
        assert_eq!(pull_secret_name(&ServiceName::parse("my-site").unwrap()), "my-site-registry-cred");
        assert_eq!(env_secret_name(&DnsLabel::parse("my-site").unwrap()), "my-site-env");
    }

    #[test]
    fn a_component_never_meets_a_service_whose_name_contains_it() {
        assert_ne!(object("a", "b"), object("a-b", "main"));
        assert_ne!(object("a", "b-c"), object("a-b", "c"));
        let hashed = object("a", "b");
        assert_ne!(object(&hashed, "main"), hashed);
    }

    #[test]
    fn a_service_that_starts_with_a_digit_still_gets_a_service_object() {
        let name = service_object_name(&DnsLabel::parse("0x-app").unwrap());
        assert!(name.as_str().starts_with("svc-0x-app-"), "{name}");
        assert_eq!(service_object_name(&DnsLabel::parse("x0").unwrap()).as_str(), "x0");
    }

    #[test]
    fn one_volume_has_one_name_however_its_path_is_written() {
        let name =
            |path| claim_name(&DnsLabel::parse("shop").unwrap(), &ContainerName::parse("db").unwrap(), path);
        assert_eq!(name("/var/lib/mysql"), name("/var//lib/./mysql/"));
        assert_ne!(name("/var/lib/mysql"), name("/var/lib-mysql"));
        assert!(name("/var/lib/mysql").as_str().starts_with("shop-db-var-lib-mysql-"));
    }

    #[test]
    fn a_long_requester_is_cut_between_characters() {
        let cut = capped(&"ü".repeat(REQUESTER_MAX));
        assert!(cut.len() <= REQUESTER_MAX && cut.ends_with("ü..."));
    }

    proptest! {
        #[test]
        fn any_text_gives_a_label_value_that_kubernetes_takes(text in "\\PC{0,80}") {
            prop_assert!(is_label_value(&label_value(&text)), "{}", label_value(&text));
        }

        #[test]
        fn different_texts_give_different_label_values(a in "[aA._ -]{0,5}", b in "[aA._ -]{0,5}") {
            if a != b {
                prop_assert_ne!(label_value(&a), label_value(&b));
            }
        }

        #[test]
        fn a_label_value_is_not_taken_for_the_text_it_stands_for(text in "\\PC{0,80}") {
            let value = label_value(&text);
            if value != text {
                prop_assert_ne!(label_value(&value), value);
            }
        }
    }
}
