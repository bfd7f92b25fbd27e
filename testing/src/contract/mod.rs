//! The contracts of the stores as tests: one for each promise, the same for every implementation.
//!
//! [`store_contract!`](crate::store_contract) turns them all into `#[tokio::test]`s. They share nothing, draw
//! their ids at random and lie far in the future, so they can run at once on the tables of one live service,
//! and nothing of theirs expires by anybody's clock.

#![allow(missing_docs, reason = "a function is named after the promise that it puts to the test")]
#![allow(clippy::expect_used, reason = "a test stops where its premise fails")]

mod audit;
mod decisions;
mod endorsements;
mod keyrings;
mod listing;
mod operator;
mod selection;
mod tokens;
mod workloads;

use std::{future::poll_fn, task::Poll};

use keybroker_common::{
    audit::AuditRecord,
    store::{DecisionStore, OperatorStore, RegistrationStore, ReleaseStore, StoreError},
};

pub use self::{
    audit::*, decisions::*, endorsements::*, keyrings::*, listing::*, operator::*, selection::*, tokens::*,
    workloads::*,
};

use crate::sample;

/// The stores that the suite runs on, of every role.
pub trait Subject: RegistrationStore + ReleaseStore + DecisionStore + OperatorStore {}

impl<S: RegistrationStore + ReleaseStore + DecisionStore + OperatorStore> Subject for S {}

/// `Conflict`, as most refusals end.
const CONFLICT: Result<(), StoreError> = Err(StoreError::Conflict);

async fn assert_recorded(store: &impl Subject, audit: &AuditRecord) {
    assert_eq!(store.audit_record(audit.id).await, Ok(Some(audit.clone())));
}

async fn assert_not_recorded(store: &impl Subject, audit: &AuditRecord) {
    assert_eq!(store.audit_record(audit.id).await, Ok(None));
}

/// The outcome of each of `attempts`, with all of them under way together.
async fn all_at_once<T>(attempts: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut attempts: Vec<_> = attempts.map(|attempt| (Box::pin(attempt), None)).collect();
    poll_fn(|context| {
        for (attempt, outcome) in attempts.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            if let Poll::Ready(value) = attempt.as_mut().poll(context) {
                *outcome = Some(value);
            }
        }
        if attempts.iter().all(|(_, outcome)| outcome.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    attempts.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

/// Makes a `#[tokio::test]` of every promise. `$subject` is an expression, evaluated anew for each test in an
/// `async` context, whose value is a [`Subject`] or derefs to one.
#[macro_export]
macro_rules! store_contract {
    ($subject:expr) => {
        $crate::store_contract! { $subject =>
            a_new_workload_is_read_back
            an_id_is_registered_once
            a_failed_create_leaves_no_audit_record
            a_taken_audit_id_undoes_a_create
            a_replacement_takes_the_whole_row
            a_replacement_names_the_registration_it_replaces
            an_absent_row_is_not_replaced
            a_revoked_row_is_not_replaced
            a_released_row_is_not_replaced
            a_released_row_gives_way_to_a_new_build
            a_failed_replacement_changes_nothing
            a_release_is_noted_once
            a_release_under_another_registration_is_not_noted
            a_release_of_nothing_is_not_noted
            a_revoked_row_can_still_be_marked_released
            a_release_that_stands_is_recorded
            a_release_that_does_not_stand_is_found_out
            a_taken_audit_id_undoes_the_record_of_a_release
            the_first_revocation_counts
            an_absent_row_is_not_revoked
            a_workload_is_selected_by_its_host_data
            host_data_selects_one_workload
            a_conflict_comes_before_a_selection
            a_failed_create_selects_nothing
            a_replacement_with_the_same_init_data_is_selected_still
            a_replacement_moves_what_selects_it
            a_replacement_begins_and_ends_a_selection
            a_replacement_by_anothers_host_data_changes_nothing
            a_failed_replacement_moves_no_selection
            a_revocation_leaves_its_selection
            a_deletion_frees_what_selected_the_row
            a_failed_deletion_frees_nothing
            of_many_registrations_by_one_host_data_one_wins
            of_many_that_move_to_one_host_data_one_wins
            a_deletion_and_a_registration_at_once_agree
            a_selection_is_no_workload
            a_token_is_read_back
            the_first_revocation_of_a_token_counts
            an_absent_token_is_not_revoked
            a_token_is_bound_by_its_first_use
            a_token_begins_a_new_build_of_what_it_was_made_for
            a_token_that_does_not_count_writes_nothing
            an_unbound_token_is_of_no_build_yet
            a_failed_registration_leaves_its_token_unused
            of_many_uses_of_a_token_one_wins
            a_decision_is_read_back
            a_session_of_any_kind_of_key_is_read_back
            the_first_decision_is_the_only_one
            of_many_decisions_one_wins
            a_record_beside_decisions_is_no_decision
            a_record_beside_decisions_takes_no_others_id
            decisions_are_listed_with_all_other_records
            a_ring_is_read_back
            a_ring_of_signing_keys_is_read_back
            a_ring_gives_way_to_one_that_knows_it
            an_absent_ring_has_no_edition
            of_many_rings_one_is_written
            a_turn_is_on_record
            a_turn_that_does_not_know_the_ring_writes_nothing
            a_taken_audit_id_undoes_a_turn
            an_endorsement_is_read_back
            an_older_edition_never_replaces_a_newer
            the_same_edition_replaces
            a_newer_edition_replaces
            a_lease_keeps_others_away
            a_lease_is_taken_over_when_it_is_over
            a_lease_is_renewed_by_its_holder
            a_lease_from_the_far_future_is_not_believed
            a_lease_is_ended_by_its_holder_alone
            a_lease_leaves_the_row_alone
            of_many_leases_one_is_given
            an_audit_record_is_read_back
            an_audit_record_is_never_replaced
            a_revocation_is_taken_back
            no_restoration_brings_an_earlier_standing_back
            a_revocation_that_was_left_behind_is_no_later_ones
            a_row_that_is_not_revoked_is_restored_as_it_is
            an_absent_row_is_not_restored
            a_taken_audit_id_undoes_a_restoration
            an_amendment_changes_registration_and_secrets_alone
            an_amendment_names_the_registration_it_replaces
            an_amendment_names_the_secrets_it_replaces
            an_absent_row_is_not_amended
            a_taken_audit_id_undoes_an_amendment
            of_many_amendments_one_wins
            an_amendment_leaves_what_selects_it
            an_amended_row_releases_under_its_new_registration_alone
            a_row_is_deleted_as_it_was_seen
            a_row_that_changed_meanwhile_is_not_deleted
            an_absent_row_is_not_deleted
            a_taken_audit_id_undoes_a_deletion
            of_many_deletions_one_wins
            a_deleted_id_can_be_registered_anew
            a_registration_that_nobody_looked_at_is_not_restored
            every_workload_is_listed_once
            every_endorsement_is_listed_and_no_lease
            an_endorsement_is_deleted_and_its_lease_stays
            audit_records_are_listed_by_workload_oldest_first
            audit_records_are_listed_by_time
            a_listing_goes_on_from_page_to_page
            records_of_a_workload_are_listed_forwards_and_backwards
            all_records_are_listed_backwards_once
            a_lead_leaves_out_nothing_near
        }
    };
    ($subject:expr => $($promise:ident)*) => {$(
        #[tokio::test]
        async fn $promise() {
            $crate::contract::$promise(&$subject).await;
        }
    )*};
}
