//! The Deployment: its rollout, its pod, its containers.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, Container as KubeContainer, ContainerPort, EnvVar, EnvVarSource, LocalObjectReference,
    PersistentVolumeClaim, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    SeccompProfile, SecretKeySelector, SecurityContext, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kiops_core::name::SecretName;
use kiops_core::service::{Container, EnvValue, Fractions, Workload, check_quantity};
use kiops_core::{Error, Result};

use super::{AccessMode, OPERATION, PodSecurity, PullSecret, Resources, Scope, names, volume};

/// How long a rollout may stand still before the cluster calls it failed, in seconds. Longer than a slow start (see [`probes`]).
const PROGRESS_DEADLINE: i32 = 600;
/// The group that owns volumes where nobody is root.
const VOLUME_GROUP: i64 = 1000;
/// What of root's powers an image that starts as root needs to set up its files, become another user and listen below 1024.
const ROOTS_POWERS: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];

pub(super) fn deployment(
    scope: &Scope<'_>,
    workload: &Workload,
    claims: &[PersistentVolumeClaim],
) -> Result<Deployment> {
    let alone = !claims.is_empty() && scope.config.access_mode == AccessMode::ReadWriteOnce;
    if alone && workload.replicas > 1 {
        return Err(Error::invalid(
            OPERATION,
            format!("workload.replicas: {} copies cannot share ReadWriteOnce volumes", workload.replicas),
        )
        .with_remedy("run one replica, take the volumes out, or configure ReadWriteMany volumes"));
    }
    let replicas = i32::try_from(workload.replicas).map_err(|_| {
        Error::invalid(OPERATION, format!("workload.replicas: {} is too many", workload.replicas))
    })?;
    Ok(Deployment {
        metadata: scope.metadata(scope.object.as_str()),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            revision_history_limit: Some(i32::from(scope.config.revision_history_limit)),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE),
            selector: LabelSelector {
                match_labels: Some(names::selector_labels(scope.target)),
                match_expressions: None,
            },
            strategy: Some(strategy(alone)),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(names::stable_labels(scope.target)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(scope, workload, claims)?),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

fn strategy(alone: bool) -> DeploymentStrategy {
    if alone {
        return DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    }
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    }
}

fn pod(scope: &Scope<'_>, workload: &Workload, claims: &[PersistentVolumeClaim]) -> Result<PodSpec> {
    let pull = match scope.pull {
        PullSecret::Absent => None,
        PullSecret::Named => {
            Some(vec![LocalObjectReference { name: names::pull_secret_name(&scope.target.service) }])
        }
    };
    let volumes: Vec<_> = claims.iter().map(volume::volume).collect();
    Ok(PodSpec {
        automount_service_account_token: Some(false),
        // Otherwise every Service of the namespace would come in as environment variables.
        enable_service_links: Some(false),
        containers: workload.containers.iter().map(|c| container(scope, c)).collect::<Result<_>>()?,
        image_pull_secrets: pull,
        security_context: Some(pod_security(scope.config.security, !claims.is_empty())),
        volumes: (!volumes.is_empty()).then_some(volumes),
        ..PodSpec::default()
    })
}

fn container(scope: &Scope<'_>, container: &Container) -> Result<KubeContainer> {
    let Some(image) = scope.request.images.get(&container.name) else {
        return Err(Error::invalid(
            OPERATION,
            format!("the release pins no image for container `{}`", container.name),
        )
        .with_remedy("deploy a release that names an image for every container"));
    };
    let mounts = volume::mounts(&scope.object, container);
    let env = env(scope, container);
    let [startup, readiness, liveness] = probes(container.port);
    Ok(KubeContainer {
        name: container.name.to_string(),
        image: Some(image.to_string()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        env: (!env.is_empty()).then_some(env),
        ports: container.port.map(|port| {
            let protocol = Some("TCP".to_owned());
            vec![ContainerPort { container_port: i32::from(port), protocol, ..ContainerPort::default() }]
        }),
        startup_probe: startup,
        readiness_probe: readiness,
        liveness_probe: liveness,
        resources: Some(resources(&scope.config.resources)?),
        security_context: Some(container_security(scope.config.security)),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        ..KubeContainer::default()
    })
}

/// Startup, readiness and liveness: a TCP connection to the port. A container has five minutes to open it (a database's first
/// start is slow); after that it is out of the Service after 15 seconds without an answer, and restarted after a minute.
fn probes(port: Option<u16>) -> [Option<Probe>; 3] {
    [(5, 60), (5, 3), (10, 6)].map(|(period, failures)| {
        port.map(|port| Probe {
            tcp_socket: Some(TCPSocketAction { host: None, port: IntOrString::Int(i32::from(port)) }),
            period_seconds: Some(period),
            failure_threshold: Some(failures),
            timeout_seconds: Some(3),
            // The default, said: what an apply leaves to defaults stays behind when the probe goes, and half a probe is refused.
            success_threshold: Some(1),
            ..Probe::default()
        })
    })
}

fn env(scope: &Scope<'_>, container: &Container) -> Vec<EnvVar> {
    let secret = names::env_secret_name(&scope.object);
    container
        .env
        .iter()
        .map(|(name, value)| {
            match value {
                // Kubernetes replaces `$(NAME)` and reads `$$` as one `$`; doubled, every `$` arrives as it was written.
                EnvValue::Plain(text) => {
                    EnvVar { name: name.clone(), value: Some(text.replace('$', "$$")), value_from: None }
                }
                EnvValue::Secret { .. } => EnvVar {
                    name: name.clone(),
                    value: None,
                    value_from: Some(EnvVarSource {
                        secret_key_ref: Some(SecretKeySelector {
                            name: secret.clone(),
                            key: names::env_secret_key(&container.name, name),
                            optional: None,
                        }),
                        ..EnvVarSource::default()
                    }),
                },
            }
        })
        .collect()
}

/// Which secret each key of the target's env Secret holds.
pub(super) fn secret_keys(workload: &Workload) -> BTreeMap<String, SecretName> {
    let keys = workload.containers.iter().flat_map(|container| {
        container.env.iter().filter_map(|(name, value)| match value {
            EnvValue::Secret { secret } => {
                Some((names::env_secret_key(&container.name, name), secret.clone()))
            }
            EnvValue::Plain(_) => None,
        })
    });
    keys.collect()
}

pub(crate) fn resources(resources: &Resources) -> Result<ResourceRequirements> {
    let read = |setting: &str, value: &Option<String>| -> Result<Option<Quantity>> {
        let Some(text) = value else { return Ok(None) };
        check_quantity(text, Fractions::Yes).map_err(|reason| {
            Error::invalid(OPERATION, format!("resources.{setting}: `{}` {reason}", text.escape_debug()))
        })?;
        Ok(Some(Quantity(text.clone())))
    };
    let list = |cpu: Option<Quantity>, memory: Option<Quantity>| -> Option<BTreeMap<String, Quantity>> {
        let pairs = [("cpu", cpu), ("memory", memory)];
        let map: BTreeMap<_, _> =
            pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!map.is_empty()).then_some(map)
    };
    Ok(ResourceRequirements {
        requests: list(
            read("cpu_request", &resources.cpu_request)?,
            read("memory_request", &resources.memory_request)?,
        ),
        limits: list(
            read("cpu_limit", &resources.cpu_limit)?,
            read("memory_limit", &resources.memory_limit)?,
        ),
        claims: None,
    })
}

pub(crate) fn pod_security(security: PodSecurity, volumes: bool) -> PodSecurityContext {
    let seccomp = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    let restricted = security == PodSecurity::Restricted;
    PodSecurityContext {
        seccomp_profile: Some(seccomp),
        run_as_non_root: restricted.then_some(true),
        fs_group: (restricted && volumes).then_some(VOLUME_GROUP),
        fs_group_change_policy: (restricted && volumes).then(|| "OnRootMismatch".to_owned()),
        ..PodSecurityContext::default()
    }
}

pub(crate) fn container_security(security: PodSecurity) -> SecurityContext {
    let add: &[&str] = match security {
        PodSecurity::Baseline => &ROOTS_POWERS,
        PodSecurity::Restricted => &["NET_BIND_SERVICE"],
    };
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(add.iter().map(|&power| power.to_owned()).collect()),
        }),
        ..SecurityContext::default()
    }
}
