//! From an image push to releases.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::enqueue::Source;
use super::lanes::NewRelease;
use crate::error::{Error, Result};
use crate::name::{ComponentName, ContainerName, PinnedImage, ReleaseId};
use crate::policy::PlannedRelease;
use crate::release::{Lane, Origin, ReleaseState};
use crate::store::EventRecord;

impl Draft<'_> {
    /// Makes the releases that an image push planned. The same event finds its releases again.
    pub(super) fn redeploy(
        &mut self,
        planned: &[PlannedRelease],
        source: &Source<'_>,
        record: &EventRecord,
    ) -> Result<Vec<ReleaseId>> {
        let deploy = &self.service().settings.deploy;
        let environment = deploy.environment.clone().filter(|_| deploy.auto).ok_or_else(|| {
            Error::conflict("make release", "auto deploy is off, or names no environment")
                .with_remedy("switch it on, or deploy by hand")
        })?;
        let actor = record.event.actor.as_ref();
        let label = actor.map_or_else(|| source.subject.label().to_owned(), |actor| actor.name.clone());
        let mut releases = Vec::new();
        for plan in planned {
            let pins = plan.images.iter().map(|(container, image)| format!("{container}={image}"));
            let pins: Vec<String> = pins.collect();
            let id = ReleaseId::derive(
                [source.delivery.as_str(), plan.component.as_str(), environment.as_str()]
                    .into_iter()
                    .chain(pins.iter().map(String::as_str)),
            );
            if self.release(&id).is_none() {
                let order = self.next_order();
                self.add_release(NewRelease {
                    id: id.clone(),
                    environment: environment.clone(),
                    component: plan.component.clone(),
                    origin: Origin::ImagePush(source.delivery.clone()),
                    order,
                    images: plan.images.clone(),
                    commit: None,
                    subject: source.subject.clone(),
                    requested_by: label.clone(),
                })?;
            }
            releases.push(id);
        }
        Ok(releases)
    }

    /// Of each component, the images that are live in the environment of automatic releases; where another release is on its way
    /// there, that one's.
    pub(super) fn live_images(&self) -> BTreeMap<ComponentName, BTreeMap<ContainerName, PinnedImage>> {
        let settings = &self.service().settings;
        let Some(environment) = &settings.deploy.environment else { return BTreeMap::new() };
        let images = |component: &ComponentName| {
            let lane = Lane { environment: environment.clone(), component: component.clone() };
            let coming = self
                .releases()
                .filter(|release| release.lane() == lane && !release.is_over())
                .filter(|release| !matches!(release.state, ReleaseState::RollingBack(_)))
                .max_by_key(|release| release.order);
            coming
                .map(|release| release.images.clone())
                .or_else(|| self.lane(&lane).map(|live| live.images.clone()))
        };
        settings
            .components
            .iter()
            .filter_map(|component| Some((component.name.clone(), images(&component.name)?)))
            .collect()
    }
}
