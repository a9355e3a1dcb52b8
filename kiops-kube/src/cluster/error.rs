//! What an API server's refusal means, in the words that people know (K24, K44).

use std::fmt;

use kiops_core::{Error, ErrorKind, Retry};
use kube::core::Status;

/// What to do on a cluster without Tekton.
pub(crate) const INSTALL_TEKTON: &str = "install Tekton Pipelines (0.44 or newer, for tekton.dev/v1) with its CustomResourceDefinitions, or use another executor";

/// What a call does: the verb, the resource and where, in the words of RBAC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub(crate) verb: &'static str,
    /// The resource with its subresource, in the plural: `secrets`, `pods/log`.
    pub(crate) resource: &'static str,
    /// The namespace; `None`: the whole cluster.
    pub(crate) namespace: Option<&'a str>,
}

impl<'a> Access<'a> {
    /// To a resource of one namespace.
    pub(crate) const fn to(verb: &'static str, resource: &'static str, namespace: &'a str) -> Self {
        Self { verb, resource, namespace: Some(namespace) }
    }

    /// To a resource of the whole cluster.
    pub(crate) const fn everywhere(verb: &'static str, resource: &'static str) -> Self {
        Self { verb, resource, namespace: None }
    }

    fn operation(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }

    /// The error that a call's failure is.
    pub(crate) fn error(&self, cluster: &str, error: &kube::Error) -> Error {
        match error {
            kube::Error::Api(status) => self.refused(status),
            kube::Error::SerdeError(error) => Error::new(
                ErrorKind::Unavailable,
                self.operation(),
                format!("cluster `{cluster}` answered with something that is no {}: {error}", self.resource),
            )
            .with_retry(Retry::Maybe),
            kube::Error::Auth(error) => Error::new(
                ErrorKind::Unauthorized,
                self.operation(),
                format!("no credential for cluster `{cluster}`: {error}"),
            )
            .with_remedy("renew the credential in the kubeconfig"),
            kube::Error::BuildRequest(error) => Error::invalid(self.operation(), error.to_string()),
            other => Error::unavailable(
                self.operation(),
                format!("cluster `{cluster}` cannot be reached: {}", causes(other)),
            )
            .with_remedy("check that the cluster is up and its address reachable from here"),
        }
    }

    /// The error of a call for which there was no time left.
    pub(crate) fn late(&self, cluster: &str, seconds: u32) -> Error {
        Error::new(
            ErrorKind::Timeout,
            self.operation(),
            format!("cluster `{cluster}` did not answer within {seconds} s"),
        )
        .with_retry(Retry::Maybe)
        .with_remedy("check that the cluster is up and not overloaded")
    }

    fn refused(&self, status: &Status) -> Error {
        let what = self.operation();
        let message = &status.message;
        match status.code {
            401 => Error::new(
                ErrorKind::Unauthorized,
                what,
                format!("the cluster refused the credential: {message}"),
            )
            .with_remedy("renew the credential in the kubeconfig"),
            403 if message.contains("exceeded quota") => Error::new(ErrorKind::Full, what, message.clone())
                .with_retry(Retry::Maybe)
                .with_remedy("wait until something else is over, or raise the namespace's quota"),
            // Creating in a namespace that is going away.
            403 if message.contains("being terminated") => {
                Error::new(ErrorKind::Conflict, what, message.clone())
                    .with_retry(Retry::Maybe)
                    .with_remedy("wait until the namespace is gone, and create it again")
            }
            403 if self.is_rbac(message) => self.denied(message),
            // Applying what is not there yet is a create too: RBAC asks for both, and gives no reason for the second.
            403 if self.verb == "patch" && message.trim_end().ends_with("is forbidden:") => {
                Self { verb: "create", ..*self }.denied(message)
            }
            403 => Error::new(ErrorKind::Forbidden, what, message.clone())
                .with_remedy("look which admission rule of the cluster refuses it"),
            404 if message.starts_with("namespaces ") => {
                Error::not_found(what, format!("Namespace not found: {}", self.namespace.unwrap_or_default()))
                    .with_remedy("create the namespace, or let kiops create it")
            }
            // What is asked for is not named: nothing of its kind is known.
            404 if !message.contains("\" not found") => self.unknown(),
            404 => Error::not_found(what, message.clone()),
            // The time of a list or a watch is past: it is made anew from the start.
            410 => Error::conflict(what, message.clone()).with_retry(Retry::Never),
            409 => Error::conflict(what, message.clone()).with_retry(Retry::Never),
            413 => Error::new(ErrorKind::TooLarge, what, message.clone()),
            429 => Error::new(ErrorKind::RateLimited, what, "the cluster asks us to slow down").with_retry(
                Retry::After(status.details.as_ref().map_or(1, |details| details.retry_after_seconds)),
            ),
            // Something before the API server answered in JSON of its own, and the status is lost with it.
            0 => Error::unavailable(what, "an error came back that is none of Kubernetes' own")
                .with_remedy("look at the proxies and load balancers before the API server"),
            500.. => {
                Error::unavailable(what, format!("the cluster had a fault ({}): {message}", status.code))
            }
            _ => Error::invalid(what, message.clone()),
        }
    }

    /// The cluster does not know the resource at all.
    fn unknown(&self) -> Error {
        let resource = self.resource.split('/').next().unwrap_or_default();
        if resource.ends_with(".tekton.dev") {
            let text =
                format!("Tekton is not installed: the cluster does not know {resource} of tekton.dev/v1");
            return Error::unsupported(self.operation(), text).with_remedy(INSTALL_TEKTON);
        }
        Error::not_found(self.operation(), format!("the cluster does not know {resource}"))
    }

    fn denied(&self, message: &str) -> Error {
        Error::new(
            ErrorKind::Forbidden,
            self.operation(),
            format!("Permission denied: {} {self}", who(message)),
        )
        .with_remedy(format!(
            "grant the verb `{}` on `{}` to that account, by the role in docs/adapters/{}",
            self.verb,
            self.resource,
            if self.resource.ends_with(".tekton.dev") { "tekton.md" } else { "kubernetes.md" }
        ))
    }

    /// RBAC's refusals name the user and what the user cannot do; those of admission are in other words.
    fn is_rbac(&self, message: &str) -> bool {
        message.contains("User \"") && message.contains(&format!(" cannot {} ", self.verb))
    }
}

/// `cannot create secrets in namespace shop`.
impl fmt::Display for Access<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.verb, self.resource)?;
        match self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => write!(f, " in the whole cluster"),
        }
    }
}

/// The account that RBAC's message names.
fn who(message: &str) -> &str {
    let named = message.split_once("User \"").and_then(|(_, rest)| rest.split_once('"'));
    named.map_or("this account", |(user, _)| user)
}

/// An error with its causes: kube's own say only "ServiceError".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str) -> Error {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        Access::to("create", "secrets", "shop").error("dev", &kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_missing_right_names_the_account_the_verb_the_resource_and_the_namespace() {
        let error = refused(
            403,
            r#"secrets is forbidden: User "system:serviceaccount:ops:kiops" cannot create resource "secrets" in API group "" in the namespace "shop""#,
        );
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert_eq!(
            error.message(),
            "Permission denied: system:serviceaccount:ops:kiops cannot create secrets in namespace shop"
        );
        assert!(error.remedy().unwrap().contains("`create` on `secrets`"));
    }

    #[test]
    fn an_apply_that_may_change_and_not_create_names_the_verb_create() {
        let status = Status {
            code: 403,
            message: r#"deployments.apps "web" is forbidden: "#.to_owned(),
            ..Status::default()
        };
        let access = Access::to("patch", "deployments", "shop");
        let error = access.error("dev", &kube::Error::Api(Box::new(status)));
        assert_eq!(
            error.message(),
            "Permission denied: this account cannot create deployments in namespace shop"
        );
        assert!(error.remedy().unwrap().contains("`create` on `deployments`"));
    }

    #[test]
    fn a_missing_namespace_is_called_that() {
        let error = refused(404, r#"namespaces "shop" not found"#);
        assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "Namespace not found: shop"));
    }

    #[test]
    fn a_cluster_without_tekton_is_told_from_one_without_a_run() {
        let answered = |message: &str| {
            let status = Status { code: 404, message: message.to_owned(), ..Status::default() };
            let access = Access::to("create", "pipelineruns.tekton.dev", "builds");
            access.error("dev", &kube::Error::Api(Box::new(status)))
        };
        for message in ["404 page not found", "the server could not find the requested resource"] {
            let error = answered(message);
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Unsupported, Retry::Never), "{message}");
            assert_eq!(
                error.message(),
                "Tekton is not installed: the cluster does not know pipelineruns.tekton.dev of tekton.dev/v1"
            );
            assert!(error.remedy().unwrap().contains("install Tekton Pipelines"), "{error}");
        }
        let error = answered(r#"pipelineruns.tekton.dev "x" not found"#);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.message().contains("installed"), "{error}");
    }

    #[test]
    fn a_quota_that_is_used_up_is_no_missing_right() {
        let error = refused(
            403,
            r#"pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1"#,
        );
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Full, Retry::Maybe));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for code in [400, 401, 403, 404, 405, 409, 410, 413, 415, 422] {
            assert_eq!(refused(code, "no").retry(), Retry::Never, "{code}");
        }
        for code in [0, 429, 500, 502, 503, 504] {
            assert_ne!(refused(code, "no").retry(), Retry::Never, "{code}");
        }
    }
}
