//! The suites notice an engine that breaks a rule: each flaw is caught by the suites named beside it.
#![cfg(feature = "conformance")]

mod support;

use leasehold::conformance::SUITES;
use leasehold::conformance::differential::differential;
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::broken::{self, Flaw};

const DIFFERENTIAL: &str = "differential::random_commands_are_answered_as_by_the_reference";

macro_rules! caught {
    ($($name:ident: $flaw:ident by [$($suite:expr),+ $(,)?],)+) => {
        $(#[test]
        fn $name() {
            for suite in [$($suite),+] {
                assert!(panics(Flaw::$flaw, suite), "{suite} must notice {:?}", Flaw::$flaw);
                // So it is the flaw that is caught.
                assert!(!panics(Flaw::None, suite), "{suite} must pass the wrapper without a flaw");
            }
        })+
    };
}

caught! {
    everybody_is_granted: GrantsEverybody by [
        "exclusion::a_held_resource_is_busy_to_those_who_do_not_wait",
        "exclusion::claims_of_one_client_exclude_each_other",
        "exclusion::never_two_hold_at_once_under_contention",
        DIFFERENTIAL,
    ],
    a_busy_claim_takes_a_place: BusyTakesAPlace by ["exclusion::a_held_resource_is_busy_to_those_who_do_not_wait", DIFFERENTIAL],
    a_release_by_anybody_frees: ReleasesWithoutOwnerCheck by [
        "idempotence::a_strangers_release_takes_nothing",
        "idempotence::a_second_release_changes_nothing",
        "leases::a_late_release_takes_nothing",
        DIFFERENTIAL,
    ],
    a_renewal_by_anybody_succeeds: RenewsWithoutOwnerCheck by [
        "leases::a_strangers_renewal_is_lost",
        "leases::a_late_renewal_is_lost_and_revives_nothing",
        "exclusion::a_held_resource_queues_those_who_wait",
        DIFFERENTIAL,
    ],
    a_renewal_revives_what_ended: RenewalRevives by ["leases::a_late_renewal_is_lost_and_revives_nothing"],
    a_renewal_shortens_the_lease: RenewalShortens by ["leases::a_renewal_never_shortens_the_lease", "idempotence::an_owners_repeat_never_shortens_the_lease"],
    a_repeat_keeps_its_token: RepeatKeepsItsToken by [
        "idempotence::an_owners_repeat_is_granted_again_with_a_new_token",
        "tokens::tokens_rise_across_clients_and_resources",
        DIFFERENTIAL,
    ],
    tokens_are_counted_per_resource: TokensPerResource by ["tokens::tokens_rise_across_clients_and_resources", DIFFERENTIAL],
    tokens_are_counted_per_client: TokensPerClient by [
        "tokens::a_new_client_starts_above_all_earlier_tokens",
        "tokens::tokens_rise_across_clients_and_resources",
        DIFFERENTIAL,
    ],
    an_answer_is_bound_like_a_push: AnswersTheRestOfThePlace by ["exclusion::a_free_resource_is_granted", DIFFERENTIAL],
    a_lease_ends_early: ExpiresEarly by ["leases::an_expired_hold_goes_to_the_waiter"],
    a_lease_never_ends: NeverExpires by [
        "leases::an_expired_hold_goes_to_the_waiter",
        "leases::a_late_renewal_is_lost_and_revives_nothing",
        "tokens::tokens_rise_after_an_expiry",
        "revocation::a_revoked_hold_ends_with_its_old_lease",
    ],
    a_place_never_ends: PlacesNeverEnd by ["hand_off::a_dead_waiter_is_passed_over"],
    the_margin_is_ignored: MarginIsIgnored by [
        "hand_off::a_waiter_short_of_its_margin_is_passed_over_and_keeps_its_rank",
        "hand_off::a_waiter_that_was_passed_over_is_granted_by_its_next_ask",
    ],
    a_hand_off_lasts_longer_than_its_place: HandOffLastsTheFullTtl by ["hand_off::a_hand_off_ends_with_the_place"],
    a_beat_loses_its_place: BeatLosesItsPlace by [
        "hand_off::waiters_are_served_in_order_of_arrival",
        "idempotence::a_waiters_repeat_keeps_its_place",
        DIFFERENTIAL,
    ],
    a_withdrawal_is_forgotten: WithdrawalIsForgotten by [
        "hand_off::a_withdrawn_waiter_is_passed_over",
        "permits::a_withdrawn_writer_lets_readers_in",
        "revocation::a_revoked_waiter_is_withdrawn",
        DIFFERENTIAL,
    ],
    a_push_names_the_first_ask: PushNamesTheFirstAsk by ["hand_off::a_release_grants_the_waiter_and_names_its_last_ask"],
    a_push_counts_from_its_receipt: PushCountsFromItsReceipt by [
        "hand_off::a_release_grants_the_waiter_and_names_its_last_ask",
        DIFFERENTIAL,
    ],
    a_push_is_lost: PushIsLost by ["hand_off::a_release_grants_the_waiter_and_names_its_last_ask", DIFFERENTIAL],
    min_hold_is_ignored: MinHoldIsIgnored by [
        "ghosts::a_release_that_keeps_others_out_is_final_for_its_owner",
        "ghosts::a_ghost_ends_by_itself",
        "ghosts::a_ghost_is_not_handed_off",
        DIFFERENTIAL,
    ],
    the_lock_delay_is_ignored: LockDelayIsIgnored by [
        "ghosts::a_lost_hold_keeps_others_out_for_its_lock_delay",
        "ghosts::a_lock_delay_ends_by_itself",
        "ghosts::a_hand_off_carries_the_waiters_lock_delay",
    ],
    a_late_release_makes_a_ghost: LateReleaseMakesAGhost by ["ghosts::a_late_release_keeps_nobody_out"],
    a_released_claim_is_granted_again: ReleasedClaimIsGrantedAgain by [
        "ghosts::a_release_that_keeps_others_out_is_final_for_its_owner",
        "revocation::a_revoked_hold_ends_with_its_release",
        DIFFERENTIAL,
    ],
    a_revocation_is_at_once: RevokeIsAtOnce by [
        "revocation::a_revoked_hold_ends_with_its_release",
        "revocation::a_revoked_hold_ends_with_its_old_lease",
        DIFFERENTIAL,
    ],
    a_revocation_is_not_told: RevokeIsNotTold by ["revocation::a_revoked_hold_ends_with_its_release", DIFFERENTIAL],
    a_revocation_at_once_waits: RevokeNowWaits by ["revocation::revoking_now_lets_the_next_in_at_once", DIFFERENTIAL],
    a_late_release_hides_who_holds: SecondReleaseIsAbsent by [
        "idempotence::a_second_release_changes_nothing",
        "idempotence::a_strangers_release_takes_nothing",
        "leases::a_late_release_takes_nothing",
        "revocation::revoking_a_stranger_takes_nothing",
        DIFFERENTIAL,
    ],
    waiters_are_hidden: HidesWaiters by [
        "inspection::holders_and_waiters_are_shown_with_their_clients",
        "inspection::the_list_shows_waiters",
        DIFFERENTIAL,
    ],
    the_list_is_empty: ListIsEmpty by ["inspection::the_list_shows_what_is_in_use_sorted_by_name", "inspection::the_list_shows_waiters"],
    the_list_is_unsorted: ListIsUnsorted by ["inspection::the_list_shows_what_is_in_use_sorted_by_name"],
    a_detached_hold_is_not_marked: DetachIsForgotten by ["inspection::a_detached_hold_outlives_its_client"],
    a_goodbye_ends_holds: GoodbyeReleases by [
        "inspection::a_goodbye_touches_no_hold",
        "inspection::a_detached_hold_outlives_its_client",
    ],
    names_fold_case: NamesFoldCase by ["names::strange_names_are_resources_of_their_own"],
    names_are_trimmed: NamesAreTrimmed by ["names::strange_names_are_resources_of_their_own"],
    long_names_are_cut: NamesAreCut by ["names::the_longest_names_are_told_apart"],
    the_same_tokens_are_set_aside_twice: SetsTheSameTokensAside by ["tokens::tokens_set_aside_are_between_the_grants_around_them"],
    a_renewal_says_that_nobody_waits: NeverSaysThatOthersWait by ["hand_off::a_renewal_says_whether_others_wait", DIFFERENTIAL],
    another_capacity_is_just_busy: CapacityIsIgnored by ["permits::another_capacity_is_refused_while_in_use"],
}

/// True if the suite panics on a store with this flaw.
fn panics(flaw: Flaw, name: &str) -> bool {
    let (_, suite) = SUITES.iter().find(|(suite, _)| *suite == name).unwrap_or_else(|| panic!("there is no suite {name}"));
    let store = broken::open(flaw);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = || match name {
        // What is caught by chance is caught by a seed that is known to do it.
        DIFFERENTIAL => runtime.block_on(differential(&store, 1, 900)),
        _ => runtime.block_on(suite(&store)),
    };
    catch_unwind(AssertUnwindSafe(run)).is_err()
}
