//! From an image push to releases.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::draft::Draft;
use super::enqueue::Source;
use super::lanes::NewRelease;
use crate::error::{Error, Result};
use crate::name::{ComponentName, ReleaseId};
use crate::policy::{LiveImages, PlannedRelease};
use crate::release::{Lane, Origin};
use crate::store::EventRecord;

impl Draft<'_> {
    /// Makes the releases that an image push planned. The same event finds its releases again.
    pub(super) fn redeploy(
        &mut self,
        planned: &[PlannedRelease],
        source: &Source<'_>,
        record: &EventRecord,
        received_at: Timestamp,
    ) -> Result<Vec<ReleaseId>> {
        let deploy = &self.service().settings.deploy;
        let environment = deploy.environment.clone().filter(|_| deploy.auto).ok_or_else(|| {
            Error::invalid("make release", "auto deploy is off, or names no environment")
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
                    told: received_at,
                    subject: source.subject.clone(),
                    requested_by: label.clone(),
                })?;
            }
            releases.push(id);
        }
        Ok(releases)
    }

    /// Of each component, what runs in the environment of automatic releases.
    pub(super) fn live_images(&self) -> BTreeMap<ComponentName, LiveImages> {
        let settings = &self.service().settings;
        let Some(environment) = &settings.deploy.environment else { return BTreeMap::new() };
        let images = |component: &ComponentName| {
            self.lane_images(&Lane { environment: environment.clone(), component: component.clone() })
        };
        let components = settings.components.iter().map(|component| &component.name);
        components.filter_map(|name| Some((name.clone(), images(name)?))).collect()
    }

    /// What runs in a lane: the images of the newest release on its way, else what is live. What waits for a yes runs nowhere.
    pub(super) fn lane_images(&self, lane: &Lane) -> Option<LiveImages> {
        let newest = |waiting: bool| {
            self.coming(lane)
                .filter(|release| release.state.awaits_a_yes() == waiting)
                .max_by_key(|release| release.order)
        };
        let runs = match (newest(false), self.lane(lane)) {
            (Some(coming), _) => {
                let (images, told) = (coming.images.clone(), coming.told.clone());
                Some(LiveImages { images, told, ..LiveImages::default() })
            }
            (None, Some(live)) => {
                let (images, told) = (live.images.clone(), live.told.clone());
                Some(LiveImages { images, told, unsure: live.unsure, waiting: None })
            }
            (None, None) => None,
        };
        let waiting = newest(true).map(|release| release.images.clone());
        (runs.is_some() || waiting.is_some()).then(|| LiveImages { waiting, ..runs.unwrap_or_default() })
    }
}
