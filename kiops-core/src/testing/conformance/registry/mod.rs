//! What [`Registry`] promises, as checks.
//!
//! An adapter's test opens a [`RegistryBench`] and calls [`all`]. Whatever a check pushes has a name and a content that nobody
//! used before, so that a registry which others use as well can be put through it. The checks need a tokio runtime with time;
//! one of several threads tells more.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by panicking, as a test does"
)]

mod blobs;
mod contention;
mod durability;
mod fixtures;
mod manifests;
mod referrers;
mod removal;
mod tags;

use std::fmt;
use std::sync::Arc;

use super::fresh::word;
use super::suite::checks;
use crate::image::Registry;
use crate::name::{Digest, ImageName};

checks! { RegistryBench:
    blobs {
        a_blob_comes_out_as_it_went_in,
        a_blob_is_stored_again_without_harm,
        content_with_another_digest_or_size_is_refused_and_leaves_nothing,
        a_push_that_is_let_go_of_leaves_nothing,
        a_blob_that_is_not_there_has_no_size_and_no_content,
        a_blob_is_mounted_whole_or_to_be_pushed,
        damaged_content_is_never_handed_out,
    }
    manifests {
        a_manifest_comes_out_byte_for_byte,
        an_index_comes_out_byte_for_byte,
        a_manifest_is_stored_again_without_harm,
        a_manifest_whose_blob_is_missing_is_refused_and_not_there,
        a_manifest_that_is_not_there_is_an_error,
        a_reference_resolves_by_its_digest_else_by_its_tag,
        the_registry_says_that_it_works,
    }
    tags {
        tags_come_in_byte_order_page_by_page,
        tags_are_found_by_a_text_in_them,
        a_tag_points_at_what_it_was_given_last,
        a_tag_is_only_given_to_a_manifest_that_is_there,
        tags_of_one_image_are_no_other_images,
    }
    removal {
        a_tag_that_is_deleted_leaves_the_manifest_and_its_other_tags,
        a_manifest_that_is_deleted_takes_all_its_tags_along,
        what_is_not_there_is_deleted_without_an_error,
    }
    referrers {
        what_is_attached_is_listed_and_reads_back,
        attaching_again_is_the_same_and_listed_once,
        what_is_attached_is_found_by_its_type,
        nothing_is_attached_to_what_is_not_there,
        attaching_moves_no_tag_and_leaves_the_subject_alone,
        what_is_attached_at_once_is_all_listed,
        what_is_attached_can_have_something_attached,
        what_was_attached_is_listed_after_a_kill,
    }
    contention {
        a_tag_that_moves_is_never_missing,
        one_blob_pushed_by_many_at_once_is_there_whole,
        images_pushed_at_once_are_all_there,
    }
    durability {
        what_was_pushed_is_there_after_a_kill,
        a_push_that_a_kill_cut_off_leaves_nothing,
    }
}

/// A registry to be put to the proof, and what the checks need with it.
pub struct RegistryBench {
    registry: Arc<dyn Registry>,
    image: Box<dyn Fn(&str) -> ImageName + Send + Sync>,
    damage: Option<Damage>,
    deletes: bool,
}

type Damage = Box<dyn Fn(&Digest) + Send + Sync>;

impl RegistryBench {
    /// A registry, and the name of an image in it that has this word in its path. The checks give a word that was drawn:
    /// 16 hexadecimal digits.
    pub fn new(
        registry: Arc<dyn Registry>,
        image: impl Fn(&str) -> ImageName + Send + Sync + 'static,
    ) -> Self {
        Self { registry, image: Box::new(image), damage: None, deletes: true }
    }

    /// The same with a way to change the stored bytes of a blob or manifest behind the registry's back, keeping their number.
    /// Without one, that damage is noticed goes unproved.
    #[must_use]
    pub fn with_damage(mut self, damage: impl Fn(&Digest) + Send + Sync + 'static) -> Self {
        self.damage = Some(Box::new(damage));
        self
    }

    /// The same for a registry that deletes nothing: then each of its deletions has to be an error of kind `Unsupported` which says what to
    /// do, and change nothing.
    #[must_use]
    pub const fn without_delete(mut self) -> Self {
        self.deletes = false;
        self
    }

    /// An image that nobody pushed to.
    fn image(&self) -> ImageName {
        (self.image)(&word())
    }
}

impl fmt::Debug for RegistryBench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBench").field("registry", &self.registry).finish_non_exhaustive()
    }
}
