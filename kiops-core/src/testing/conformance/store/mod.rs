//! What [`Store`] promises, as checks. An adapter's test is one call:
//!
//! ```no_run
//! # use std::sync::Arc;
//! use kiops_core::store::{MemoryStore, Store};
//! use kiops_core::testing::conformance::{self, Subject};
//!
//! struct InMemory;
//!
//! #[async_trait::async_trait]
//! impl Subject<dyn Store> for InMemory {
//!     async fn open(&self) -> Arc<dyn Store> {
//!         Arc::new(MemoryStore::new())
//!     }
//!     async fn reopen(&self) -> Option<Arc<dyn Store>> {
//!         None
//!     }
//! }
//!
//! # async fn run() {
//! conformance::store::all(&InMemory).await;
//! # }
//! ```
//!
//! The checks that start tasks need a tokio runtime; one of several threads tells more.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by panicking, as a test does"
)]

mod claims;
mod contention;
mod durability;
mod fixtures;
mod heads;
mod intake;
mod reading;
mod registration;
mod saving;

use super::suite::checks;
use crate::store::Store;

checks! { dyn Store:
    registration {
        a_service_is_kept_with_its_version_and_its_first_time,
        a_service_is_replaced_only_from_the_version_that_was_read,
        services_come_in_name_order_page_by_page,
        an_environment_is_replaced_by_its_name,
        a_hook_is_kept_whole_and_replaced,
        a_secret_is_kept_replaced_and_removed,
        a_services_trigger_keys_are_kept_replaced_and_removed,
        the_store_says_that_it_works,
    }
    intake {
        a_delivery_is_kept_with_its_body_and_the_work_of_deciding_it,
        a_delivery_that_comes_again_within_thirty_days_is_a_duplicate,
        a_replay_key_counts_for_one_service_and_one_sender,
        a_delivery_that_stands_twice_in_a_call_goes_in_once,
        the_same_body_under_another_key_is_a_repeat,
        a_delivery_is_undecided_until_it_is_saved_with_decisions,
        what_has_expired_is_let_go_of_and_records_stay,
        a_hook_is_found_by_its_own_path,
        hooks_are_found_by_repository_id_or_else_by_path,
        every_delivery_costs_what_the_repository_with_the_most_secrets_does,
    }
    heads {
        a_head_is_new_then_decided_then_known,
        noted_heads_count_as_decided_and_leave_known_refs_alone,
        a_branch_that_is_back_at_an_older_head_is_not_decided_there,
        a_skipped_head_of_unknown_place_is_decided_until_the_branch_moves,
        a_deleted_branch_is_new_at_every_head,
    }
    saving {
        what_is_saved_is_seen_by_the_next_view,
        a_lane_that_is_gone_is_not_there_and_the_others_are,
        a_save_from_another_version_than_the_ledgers_changes_nothing,
        a_slot_that_is_taken_is_a_conflict_and_nothing_is_saved,
        slots_are_freed_before_they_are_taken,
        a_view_shows_what_goes_on_and_what_is_wanted,
        a_view_shows_a_build_whose_checks_of_what_is_live_go_on,
        a_view_shows_nothing_of_another_service,
        the_queue_shows_every_build_that_waits_and_every_slot,
        a_lane_is_replaced_whole,
    }
    claims {
        due_work_is_claimed_oldest_first,
        work_that_is_due_together_is_claimed_in_the_order_in_which_it_was_stored,
        claimed_work_is_free_again_when_its_lease_has_run_out,
        a_claim_that_another_followed_cannot_save,
        a_driver_takes_over_what_its_earlier_life_held,
        a_claim_is_renewed_as_long_as_it_is_held,
        work_that_is_given_back_counts_its_failures,
        work_that_is_let_go_of_without_an_error_counts_no_failure,
        finished_work_is_gone,
        quarantined_work_is_kept_and_never_claimed_again,
        a_quarantined_delivery_says_why,
        a_save_finishes_the_work_that_it_was_made_for,
        a_save_may_add_the_work_that_it_was_made_for_anew,
        work_that_is_stored_again_is_lost_to_whoever_held_it,
        canceled_work_is_lost_to_whoever_held_it,
        a_claim_on_work_that_was_made_anew_has_a_higher_number,
        a_claim_says_when_to_look_again,
    }
    contention {
        of_savers_from_one_version_one_wins,
        of_concurrent_copies_of_a_delivery_one_is_new,
        concurrent_claimers_never_share_work,
        a_limit_holds_under_sixteen_that_start_builds_at_once,
    }
    reading {
        builds_come_newest_first_page_by_page,
        releases_come_newest_first_page_by_page,
        deliveries_come_newest_first_page_by_page,
        a_page_beyond_the_end_is_empty_and_still_says_the_total,
        what_is_not_there_is_no_error,
    }
    durability {
        everything_is_there_after_a_kill,
        a_claim_outlives_a_kill_and_is_taken_over_by_name,
        a_replay_is_known_after_a_kill,
    }
}
