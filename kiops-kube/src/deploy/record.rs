//! What is kept of a revision: one ConfigMap, whose name and metadata alone say revision and release.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::name::{DnsLabel, PinnedImage, ReleaseId};
use kiops_core::release::{DeployRequest, DeployTarget, Revision, RevisionInfo};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::objects::held;
use crate::render::{Manifests, names};
use crate::revisions::Owner;

/// The format that this version writes. A reader refuses a newer one.
const FORMAT: u32 = 1;
const KEY: &str = "revision.json";

/// A revision as it is stored. It holds no secret value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    #[serde(flatten)]
    pub(super) info: RevisionInfo,
    pub(super) owner: Owner,
    pub(super) content: Content,
}

/// What a revision brings to the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// The objects of a workload.
    Workload(Box<Manifests>),
    /// The image of one container of something that the platform owns.
    Existing {
        /// What it is set to.
        image: PinnedImage,
        /// What it was when this revision was made.
        before: Option<String>,
    },
}

impl Record {
    pub(super) fn new(
        revision: Revision,
        target: &DeployTarget,
        request: DeployRequest,
        content: Content,
    ) -> Self {
        Self {
            format: FORMAT,
            info: request.revision(revision, Timestamp::now()),
            owner: Owner::of(target),
            content,
        }
    }

    /// The ConfigMap that keeps it. It can be deleted and not changed.
    pub(super) fn config_map(
        &self,
        of: &DnsLabel,
        target: &DeployTarget,
        namespace: &str,
    ) -> Result<ConfigMap> {
        let text = serde_json::to_string(self).map_err(|error| {
            Error::internal("write revision", "the revision cannot be written as JSON").with_source(error)
        })?;
        let mut labels = names::stable_labels(target);
        labels.insert(names::REVISION_OF.to_owned(), of.to_string());
        let annotations = BTreeMap::from([
            (names::REVISION.to_owned(), self.info.revision.to_string()),
            (names::RELEASE.to_owned(), self.info.release.to_string()),
        ]);
        Ok(ConfigMap {
            metadata: ObjectMeta {
                name: Some(names::revision_name(of, self.info.revision.0)),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            data: Some(BTreeMap::from([(KEY.to_owned(), text)])),
            ..ConfigMap::default()
        })
    }

    /// Reads a record, and checks that it is the one that its ConfigMap announces.
    pub(super) fn read(map: &ConfigMap) -> Result<Self> {
        let name = map.metadata.name.as_deref().unwrap_or_default();
        Self::parse(map).map_err(|reason| {
            Error::corrupt("read revision", format!("ConfigMap `{name}` does not read back: {reason}"))
                .with_remedy("delete that ConfigMap; the other revisions are not touched by it")
        })
    }

    fn parse(map: &ConfigMap) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let text =
            map.data.as_ref().and_then(|data| data.get(KEY)).ok_or_else(|| format!("it has no `{KEY}`"))?;
        let Format { format } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if format > FORMAT {
            return Err(format!("its format is {format}, and this version knows {FORMAT} at most"));
        }
        let record: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let RevisionInfo { revision, release, .. } = &record.info;
        let head = Head::of(&map.metadata);
        if head.is_none_or(|head| (head.revision, &head.release) != (*revision, release)) {
            return Err(format!("it holds revision {revision} of release {release}"));
        }
        Ok(record)
    }
}

/// What a record's metadata alone says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) release: ReleaseId,
    pub(super) environment: String,
}

impl Head {
    pub(super) fn of(metadata: &ObjectMeta) -> Option<Self> {
        let release = metadata.annotations.as_ref()?.get(names::RELEASE)?;
        Some(Self {
            revision: Revision(held(metadata)?),
            release: ReleaseId::parse(release).ok()?,
            environment: metadata.labels.as_ref()?.get(names::ENVIRONMENT)?.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::ErrorKind;
    use kiops_core::name::{ComponentName, EnvironmentName, ServiceName};
    use kiops_core::service::{Target, Workload};
    use proptest::prelude::*;

    fn target() -> DeployTarget {
        DeployTarget {
            service: ServiceName::parse("shop").unwrap(),
            component: ComponentName::default(),
            environment: EnvironmentName::parse("dev").unwrap(),
            namespace: DnsLabel::parse("shop").unwrap(),
            target: Target::Workload(Workload { replicas: 1, containers: Vec::new() }),
            preview: None,
        }
    }

    fn map() -> ConfigMap {
        let request = DeployRequest {
            release: ReleaseId::derive(["x"]),
            images: BTreeMap::new(),
            commit: None,
            requested_by: "Ada Größe".into(),
        };
        let image = format!("registry.local/web:1@sha256:{}", "0".repeat(64));
        let image = kiops_core::name::ImageRef::parse_familiar(&image).unwrap().pinned().unwrap();
        let content = Content::Existing { image, before: Some("nginx:1".into()) };
        let record = Record::new(Revision(7), &target(), request, content);
        record.config_map(&DnsLabel::parse("shop").unwrap(), &target(), "shop").unwrap()
    }

    #[test]
    fn a_record_reads_back_and_its_metadata_says_the_same() {
        let map = map();
        assert_eq!(map.metadata.name.as_deref(), Some("shop-revision-7"));
        let record = Record::read(&map).unwrap();
        assert_eq!(record.config_map(&DnsLabel::parse("shop").unwrap(), &target(), "shop").unwrap(), map);
        let head = Head::of(&map.metadata).unwrap();
        assert_eq!((head.revision, head.release), (Revision(7), record.info.release));
        assert_eq!(head.environment, "dev");
    }

    #[test]
    fn what_does_not_read_back_is_named_by_its_config_map() {
        for text in ["", "{", "{\"format\":1}", "{\"format\":99}", "null", "\u{0}"] {
            let mut map = map();
            map.data = Some([(KEY.to_owned(), text.to_owned())].into());
            let error = Record::read(&map).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.message().contains("`shop-revision-7`") && error.remedy().is_some(), "{error}");
        }
        let mut other = map();
        other.metadata.annotations.as_mut().unwrap().insert(names::REVISION.to_owned(), "8".to_owned());
        assert!(Record::read(&other).unwrap_err().message().contains("it holds revision 7"));
    }

    proptest! {
        #[test]
        fn nothing_that_stands_in_a_config_map_makes_reading_panic(
            text in ".{0,200}",
            labels in prop::collection::btree_map("kiops.dev/(environment|revision)", ".{0,20}", 0..3),
        ) {
            let mut map = map();
            map.data = Some([(KEY.to_owned(), text)].into());
            map.metadata.labels = Some(labels.clone());
            map.metadata.annotations = Some(labels);
            prop_assert!(Record::read(&map).is_err());
        }
    }
}
