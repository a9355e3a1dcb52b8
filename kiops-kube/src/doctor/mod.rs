//! What is wrong with a cluster, before a build or a rollout finds out (K24, K48).
//!
//! [`examine`] asks the cluster and changes nothing; [`judge`] is the pure part that turns what was found into [`Finding`]s.

mod judge;
mod rights;

pub use judge::judge;
pub use rights::{DEPLOY_RIGHTS, NAMESPACE_RIGHTS, PREVIEW_RIGHTS, RUN_RIGHTS, Right, TEKTON_RIGHTS};

use std::fmt;

use http::header::DATE;
use http::{Request, Uri};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Container, Namespace};
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::version::Info;
use kiops_core::name::DnsLabel;
use kiops_core::stage::FailureKind;
use kiops_core::{Error, ErrorKind, Result};
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::client::Body;
use serde::Serialize;

use crate::cluster::{Access, Cluster};

/// Objects of one list that are looked at: there are never that many classes or kinds of daemons.
const LIST_MAX: u32 = 500;
/// What builds with Tekton are made of.
const TEKTON_RESOURCES: [&str; 2] = ["pipelineruns.tekton.dev", "taskruns.tekton.dev"];

/// What is to be looked at.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Examination {
    /// The namespaces that are to be worked in.
    pub namespaces: Vec<DnsLabel>,
    /// The rights that are needed, and where; `None`: in the whole cluster.
    pub rights: Vec<(Right, Option<DnsLabel>)>,
    /// How the newest builds ended, newest first: what failed, or `None` for one that did not.
    pub builds: Vec<Option<FailureKind>>,
    /// Whether builds are Tekton's.
    pub tekton: bool,
}

impl Examination {
    /// A look at these rights in each of these namespaces; without any namespace, in the whole cluster.
    pub fn of(
        namespaces: impl IntoIterator<Item = DnsLabel>,
        rights: impl IntoIterator<Item = Right>,
    ) -> Self {
        Self::default().and(namespaces, rights)
    }

    /// The same with these rights in each of these namespaces, too.
    #[must_use]
    pub fn and(
        mut self,
        namespaces: impl IntoIterator<Item = DnsLabel>,
        rights: impl IntoIterator<Item = Right>,
    ) -> Self {
        let namespaces: Vec<_> = namespaces.into_iter().collect();
        for right in rights {
            if right.cluster_wide || namespaces.is_empty() {
                self.rights.push((right, None));
            } else {
                self.rights.extend(namespaces.iter().map(|namespace| (right, Some(namespace.clone()))));
            }
        }
        self.namespaces.extend(namespaces);
        self
    }

    /// The same with a look whether the cluster has Tekton.
    #[must_use]
    pub const fn with_tekton(mut self) -> Self {
        self.tekton = true;
        self
    }

    /// The same with how the newest builds ended, newest first.
    #[must_use]
    pub fn with_builds(mut self, builds: impl IntoIterator<Item = Option<FailureKind>>) -> Self {
        self.builds = builds.into_iter().collect();
        self
    }
}

/// What a cluster said. `Err` is why it could not be asked.
#[derive(Debug)]
#[non_exhaustive]
pub struct Observations {
    /// Its version, as `1.33`.
    pub version: Result<Version>,
    /// How far this machine's clock is ahead of the API server's, in whole seconds; negative where it is behind.
    pub ahead: Result<i64>,
    /// Which of the namespaces are not there.
    pub missing_namespaces: Result<Vec<DnsLabel>>,
    /// Which of the rights are missing, and where.
    pub missing_rights: Result<Vec<MissingRight>>,
    /// Its storage classes, and whether each is the default.
    pub storage_classes: Result<Vec<Class>>,
    /// Its ingress classes, and whether each is the default.
    pub ingress_classes: Result<Vec<Class>>,
    /// What network plugins may be among: the DaemonSets of all namespaces. k3s, which enforces network policies by itself, counts as one.
    pub daemons: Result<Vec<Daemon>>,
    /// Which of Tekton's resources it does not know, where Tekton was asked for.
    pub missing_tekton: Result<Vec<&'static str>>,
}

/// A DaemonSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Its name.
    pub name: String,
    /// The arguments of all its containers.
    pub arguments: Vec<String>,
}

/// A Kubernetes version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version {
    /// 1.
    pub major: u32,
    /// 33.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingRight {
    /// Which.
    pub right: Right,
    /// Where; `None`: in the whole cluster.
    pub namespace: Option<DnsLabel>,
}

/// A storage or ingress class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Whether it is used where none is named.
    pub default: bool,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: Subject,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub message: String,
    /// What to do; empty where nothing is to do.
    pub remedy: String,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// Whether the cluster answers, and to us.
    Connection,
    /// Its version.
    Version,
    /// Its clock beside ours.
    Clock,
    /// A namespace.
    Namespace,
    /// A right.
    Right,
    /// Where volumes come from.
    Storage,
    /// How workloads are reached from outside.
    Ingress,
    /// Whether network policies have an effect.
    NetworkPolicy,
    /// Whether the cluster has Tekton.
    Tekton,
    /// How builds went lately.
    Builds,
}

/// How a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Something may not work.
    Warning,
    /// Something will not work.
    Problem,
}

/// `problem: right: ... (remedy)`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Good => "good",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
        };
        write!(f, "{verdict}: {}", self.message)?;
        if !self.remedy.is_empty() {
            write!(f, " ({})", self.remedy)?;
        }
        Ok(())
    }
}

/// Looks at a cluster and says what it found, in the order of [`Subject`]. It never fails: that the cluster cannot be reached is a finding.
///
/// It makes one call for each right and each namespace, and five more, six where Tekton is asked for. Rights are asked for as the account of the client, by SelfSubjectAccessReview,
/// which every account may do.
pub async fn examine(cluster: &Cluster, examination: &Examination) -> Vec<Finding> {
    let info =
        cluster.call(&Access::everywhere("get", "version"), || cluster.client().apiserver_version()).await;
    if let Err(error) = &info
        && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Unauthorized)
    {
        // Everything else would fail the same way, and each after its deadline.
        return vec![judge::unreachable(cluster.name(), error)];
    }
    // `v1.33.1+k3s1`
    let k3s = info.as_ref().is_ok_and(|info| info.git_version.contains("+k3s"));
    let observations = Observations {
        version: info.and_then(|info| version(&info)),
        ahead: ahead(cluster).await,
        missing_namespaces: missing_namespaces(cluster, &examination.namespaces).await,
        missing_rights: missing_rights(cluster, examination).await,
        storage_classes: storage_classes(cluster).await,
        ingress_classes: ingress_classes(cluster).await,
        daemons: daemons(cluster, k3s).await,
        missing_tekton: if examination.tekton { missing_tekton(cluster).await } else { Ok(Vec::new()) },
    };
    judge(cluster.name(), &observations, examination)
}

fn version(found: &Info) -> Result<Version> {
    // Some clusters add a plus: `20+`.
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>();
    match (number(&found.major), number(&found.minor)) {
        (Ok(major), Ok(minor)) => Ok(Version { major, minor }),
        _ => Err(Error::invalid(
            "get version",
            format!("`{}.{}` is no version of Kubernetes", found.major, found.minor),
        )),
    }
}

/// By the `Date` of an answer.
async fn ahead(cluster: &Cluster) -> Result<i64> {
    const OPERATION: &str = "compare clocks";
    let call = || async {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("/version");
        cluster.client().send(request).await
    };
    let answer = cluster.call(&Access::everywhere("get", "version"), call).await?;
    let now = Timestamp::now();
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok()).unwrap_or_default();
    match rfc2822::DateTimeParser::new().parse_timestamp(date) {
        Ok(theirs) => Ok(now.as_second() - theirs.as_second()),
        Err(_) => Err(Error::invalid(OPERATION, format!("`{}` is no date", date.escape_debug()))),
    }
}

async fn missing_namespaces(cluster: &Cluster, wanted: &[DnsLabel]) -> Result<Vec<DnsLabel>> {
    let api = Api::<Namespace>::all(cluster.client().clone());
    let mut missing = Vec::new();
    for namespace in wanted {
        let access = Access::everywhere("get", "namespaces");
        if cluster.call(&access, || api.get_opt(namespace.as_str())).await?.is_none() {
            missing.push(namespace.clone());
        }
    }
    Ok(missing)
}

async fn missing_rights(cluster: &Cluster, examination: &Examination) -> Result<Vec<MissingRight>> {
    let api = Api::<SelfSubjectAccessReview>::all(cluster.client().clone());
    let access = Access::everywhere("create", "selfsubjectaccessreviews");
    let mut missing = Vec::new();
    for (right, namespace) in &examination.rights {
        let review = review(right, namespace.as_ref());
        let answer = cluster.call(&access, || async { api.create(&PostParams::default(), &review).await });
        if !answer.await?.status.is_some_and(|status| status.allowed) {
            missing.push(MissingRight { right: *right, namespace: namespace.clone() });
        }
    }
    Ok(missing)
}

fn review(right: &Right, namespace: Option<&DnsLabel>) -> SelfSubjectAccessReview {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (right.resource, None),
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(right.verb.to_owned()),
                group: Some(right.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                namespace: namespace.map(ToString::to_string),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

/// The resources of `tekton.dev/v1` that are needed and not served.
async fn missing_tekton(cluster: &Cluster) -> Result<Vec<&'static str>> {
    let access = Access::everywhere("get", TEKTON_RESOURCES[0]);
    let served =
        cluster.call(&access, || async { cluster.client().list_api_group_resources("tekton.dev/v1").await });
    let served = match served.await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Vec::new(),
        served => served?.resources,
    };
    let is_missing = |name: &&str| !served.iter().any(|known| name.split('.').next() == Some(&known.name));
    Ok(TEKTON_RESOURCES.into_iter().filter(is_missing).collect())
}

async fn storage_classes(cluster: &Cluster) -> Result<Vec<Class>> {
    let api = Api::<StorageClass>::all(cluster.client().clone());
    let access = Access::everywhere("list", "storageclasses");
    let list = cluster.call(&access, || async { api.list(&ListParams::default().limit(LIST_MAX)).await });
    let class = |found: StorageClass| class(found.metadata, "storageclass.kubernetes.io/is-default-class");
    Ok(list.await?.items.into_iter().map(class).collect())
}

async fn ingress_classes(cluster: &Cluster) -> Result<Vec<Class>> {
    let api = Api::<IngressClass>::all(cluster.client().clone());
    let access = Access::everywhere("list", "ingressclasses");
    let list = cluster.call(&access, || async { api.list(&ListParams::default().limit(LIST_MAX)).await });
    let class = |found: IngressClass| class(found.metadata, "ingressclass.kubernetes.io/is-default-class");
    Ok(list.await?.items.into_iter().map(class).collect())
}

fn class(metadata: kube::api::ObjectMeta, default: &str) -> Class {
    let annotations = metadata.annotations.unwrap_or_default();
    Class {
        name: metadata.name.unwrap_or_default(),
        default: annotations.get(default).is_some_and(|value| value == "true"),
    }
}

async fn daemons(cluster: &Cluster, k3s: bool) -> Result<Vec<Daemon>> {
    let itself = k3s.then(|| Daemon { name: "k3s".to_owned(), arguments: Vec::new() });
    let api = Api::<DaemonSet>::all(cluster.client().clone());
    let access = Access::everywhere("list", "daemonsets");
    let list = cluster.call(&access, || async { api.list(&ListParams::default().limit(LIST_MAX)).await });
    match list.await {
        Ok(list) => Ok(list.items.into_iter().map(daemon).chain(itself).collect()),
        Err(_) if itself.is_some() => Ok(itself.into_iter().collect()),
        Err(error) => Err(error),
    }
}

fn daemon(found: DaemonSet) -> Daemon {
    let pod = found.spec.and_then(|spec| spec.template.spec);
    let containers = pod.map_or_else(Vec::new, |pod| pod.containers);
    let arguments = |one: Container| one.command.into_iter().chain(one.args).flatten();
    Daemon {
        name: found.metadata.name.unwrap_or_default(),
        arguments: containers.into_iter().flat_map(arguments).collect(),
    }
}
