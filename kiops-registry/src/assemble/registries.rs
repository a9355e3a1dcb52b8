//! Which registry an image is in.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiops_core::image::Registry;
use kiops_core::name::ImageName;

/// The registries that an assembler works with.
#[derive(Debug, Clone)]
pub(super) struct Registries {
    /// The one for every host that is not named.
    main: Arc<dyn Registry>,
    by_host: BTreeMap<String, Arc<dyn Registry>>,
}

impl Registries {
    pub(super) fn new(main: Arc<dyn Registry>, by_host: BTreeMap<String, Arc<dyn Registry>>) -> Self {
        let by_host = by_host.into_iter().map(|(host, registry)| (host.to_ascii_lowercase(), registry));
        Self { main, by_host: by_host.collect() }
    }

    pub(super) fn of(&self, image: &ImageName) -> &Arc<dyn Registry> {
        self.by_host.get(&image.host().to_ascii_lowercase()).unwrap_or(&self.main)
    }

    /// Whether a blob of one may be had in the other without moving it.
    pub(super) fn are_one(&self, one: &ImageName, other: &ImageName) -> bool {
        Arc::ptr_eq(self.of(one), self.of(other))
    }
}
