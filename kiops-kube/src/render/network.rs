//! How a workload is reached: one ClusterIP Service, and an Ingress for the containers that have a path.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kiops_core::service::{Workload, is_previews_own};
use kiops_core::{Error, Result};

use super::{OPERATION, Scope, names};

/// The Service of the containers that have a port, one port each, named after its container. Always ClusterIP: nothing is
/// reachable from outside the cluster but through the Ingress.
pub(super) fn service(scope: &Scope<'_>, workload: &Workload) -> Option<Service> {
    let ports: Vec<ServicePort> = workload
        .containers
        .iter()
        .filter_map(|container| {
            let port = i32::from(container.port?);
            Some(ServicePort {
                name: Some(container.name.to_string()),
                port,
                target_port: Some(IntOrString::Int(port)),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            })
        })
        .collect();
    if ports.is_empty() {
        return None;
    }
    Some(Service {
        metadata: scope.metadata(names::service_object_name(&scope.object).as_str()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(names::selector_labels(scope.target)),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// The Ingress of the containers that have a path, or `None` where none has.
pub(super) fn ingress(scope: &Scope<'_>, workload: &Workload) -> Result<Option<Ingress>> {
    let service = names::service_object_name(&scope.object);
    let mut paths: BTreeMap<&str, HTTPIngressPath> = BTreeMap::new();
    for container in workload.containers.iter().filter(|container| !container.internal) {
        let (Some(path), Some(port)) = (container.ingress_path.as_deref(), container.port) else { continue };
        let backend = IngressBackend {
            service: Some(IngressServiceBackend {
                name: service.to_string(),
                port: Some(ServiceBackendPort { name: None, number: Some(i32::from(port)) }),
            }),
            resource: None,
        };
        let rule = HTTPIngressPath { path: Some(path.to_owned()), path_type: "Prefix".to_owned(), backend };
        paths.insert(path.trim_end_matches('/'), rule);
    }
    if paths.is_empty() {
        return Ok(None);
    }
    refuse_a_shared_host(scope)?;
    let host = scope.config.ingress_host.as_deref().map(|host| host_name(scope, host)).transpose()?;
    Ok(Some(Ingress {
        metadata: scope.metadata(scope.object.as_str()),
        spec: Some(IngressSpec {
            ingress_class_name: scope.config.ingress_class.clone(),
            rules: Some(vec![IngressRule {
                host,
                http: Some(HTTPIngressRuleValue { paths: paths.into_values().collect() }),
            }]),
            ..IngressSpec::default()
        }),
        status: None,
    }))
}

/// A preview under the host of others would take their traffic, or they its.
fn refuse_a_shared_host(scope: &Scope<'_>) -> Result<()> {
    let pattern = scope.config.ingress_host.as_deref().unwrap_or_default();
    if scope.target.preview.is_none() || is_previews_own(pattern) {
        return Ok(());
    }
    let message = match pattern {
        "" => "ingress_host: none is set, and a preview would answer for every host".to_owned(),
        pattern => format!("ingress_host: `{pattern}` is not the preview's alone"),
    };
    Err(Error::invalid(OPERATION, message)
        .with_remedy("put `{namespace}` into it, or `{environment}` and `{service}`: `{environment}.{service}.example.com`"))
}

fn host_name(scope: &Scope<'_>, pattern: &str) -> Result<String> {
    let target = scope.target;
    let host = pattern
        .replace("{service}", target.service.as_str())
        .replace("{component}", target.component.as_str())
        .replace("{environment}", target.environment.as_str())
        .replace("{namespace}", target.namespace.as_str());
    let fine =
        host.len() <= 253 && host.split('.').all(|part| kiops_core::name::DnsLabel::parse(part).is_ok());
    if fine {
        return Ok(host);
    }
    Err(Error::invalid(OPERATION, format!("ingress_host: `{}` is no host name", host.escape_debug())).with_remedy(
        "a host is lower-case labels of at most 63 characters parted by dots; shorten the pattern or the service's name",
    ))
}
