//! What every store must do, whatever it is made of: one function per rule, over an empty store.

pub(crate) mod accepting;
pub(crate) mod accounts;
pub(crate) mod advancing;
pub(crate) mod claiming;
pub(crate) mod fleet;
pub(crate) mod moving;
pub(crate) mod outbox;
pub(crate) mod outside;
pub(crate) mod reading;
pub(crate) mod retaining;
pub(crate) mod spending;
pub(crate) mod values;
pub(crate) mod views;

/// Makes a test of every rule, over what the crate's `fresh()` gives: a store, with what must outlive it.
macro_rules! every_rule {
    () => {
        $crate::contract::tests! {
            accepting:
                a_delivery_is_kept_with_its_jobs_and_payloads,
                words_from_outside_are_kept_to_the_letter,
                a_delivery_id_is_taken_once,
                a_delivery_id_with_another_body_conflicts,
                a_body_is_taken_once_per_event,
                a_semantic_key_names_one_job,
                an_ignored_delivery_is_looked_at_again,
                fifty_identical_posts_make_one_job,
                concurrent_deliveries_are_all_kept,
                a_bad_operation_fails_alone;
            claiming:
                every_job_is_claimed_once,
                jobs_start_in_order,
                a_delayed_job_waits_for_its_time,
                limits_hold_across_claims,
                a_blocked_work_item_starves_nobody,
                a_blocked_stage_starves_nobody,
                projects_take_turns,
                a_flood_of_one_project_delays_nobody_elses_first,
                a_pause_stops_all_starts,
                a_waiting_job_says_why,
                a_job_goes_on_where_its_conversation_lies,
                a_turn_for_the_form_alone_goes_on_with_what_it_asks_about,
                a_clock_that_steps_back_starts_nothing_early;
            advancing:
                an_end_teaches_names,
                an_end_and_what_follows_are_one_commit,
                a_webhook_and_an_advance_of_one_commit_are_one_job,
                a_test_result_and_an_advance_of_one_commit_are_one_job,
                a_test_result_joins_what_goes_on_and_is_not_lost_after_it,
                nobody_joins_what_was_asked_to_end,
                an_earlier_round_of_the_same_commit_is_no_repeat,
                an_item_that_moved_refuses_the_change,
                an_item_is_known_by_its_other_names,
                a_newer_commit_takes_the_place_of_a_queued_one,
                a_chain_of_events_is_stopped,
                a_person_decides_once;
            reading:
                nodes_are_kept,
                nodes_are_read_with_their_live_runs,
                the_overview_is_whole,
                runs_are_tallied_by_how_they_ended,
                the_reaper_is_noted,
                a_generation_is_noted,
                a_fault_of_the_configuration_is_kept,
                a_lost_runner_is_kept,
                the_backlog_is_counted_by_why_it_waits,
                jobs_are_read_in_pages,
                nothing_is_invented;
            moving:
                a_run_goes_its_way,
                a_lost_run_leaves_a_queued_job_that_owns_nothing,
                a_renewed_run_is_not_given_up,
                a_moved_row_is_left_alone,
                one_of_many_concurrent_changes_wins,
                holds_only_grow,
                a_late_outcome_changes_nothing,
                a_retried_job_keeps_its_history;
            fleet:
                one_session_speaks_for_a_node,
                a_term_is_written_over_what_was_seen_alone,
                one_of_many_candidates_leads;
            outbox:
                a_job_that_is_given_up_is_told_once,
                a_job_that_is_tried_again_tells_nothing,
                an_alert_waits_for_a_sink_and_finds_another,
                messages_are_leased_in_order,
                a_failure_is_shown_and_what_never_can_stands_aside,
                a_condition_is_told_once,
                a_long_backlog_is_folded,
                settled_messages_are_forgotten,
                a_destination_may_move,
                what_the_forges_are_told_is_written_with_its_fact_once,
                one_work_item_holds_back_no_other,
                sources_are_heard;
            retaining:
                what_is_over_is_forgotten_a_few_at_a_time,
                a_repeat_is_known_after_its_job_is_forgotten,
                what_is_needed_is_kept,
                figures_and_sums_outlive_what_they_count,
                work_items_go_with_their_names_and_sums,
                acts_deliveries_and_late_reports_are_forgotten_by_age;
            outside:
                a_late_webhook_confirms_what_was_found,
                a_late_webhook_of_the_same_key_is_a_duplicate,
                what_a_webhook_announced_is_not_found_again,
                two_reconcilers_are_harmless,
                sightings_and_cursors_are_kept,
                what_nobody_needs_is_forgotten_a_few_at_a_time,
                a_newer_commit_asks_a_running_review_to_end,
                items_that_wait_for_the_outside_are_found,
                an_outsider_joins_no_item_of_others;
            spending:
                what_a_run_uses_is_added_once_to_every_purse,
                a_lost_run_keeps_what_it_reported,
                windows_are_kept_while_a_run_lives,
                runs_side_by_side_do_not_overshoot_together,
                a_spent_budget_starts_nothing_until_it_is_raised,
                a_chain_of_causes_runs_out,
                a_stop_is_ordered_once,
                a_pass_begins_the_count_anew;
            views:
                counts_are_those_of_the_rows,
                ends_are_counted_by_their_hour,
                a_paused_part_starts_nothing_and_starves_nobody,
                what_was_given_up_is_found,
                what_follows_from_a_job_is_found,
                acts_are_kept;
            accounts:
                the_default_account_is_there_from_the_start,
                a_breaker_opens_lets_one_probe_through_and_closes,
                a_probe_that_vanishes_frees_its_place,
                the_earliest_put_off_job_is_the_probe,
                runs_of_before_an_opening_never_move_it,
                an_operator_resets_a_breaker,
                people_are_told_once_of_each_turn,
                windows_are_kept_and_a_rejected_one_holds,
                every_due_job_says_what_the_fleet_waits_for,
                a_half_open_breaker_admits_one_probe;
        }
    };
}

macro_rules! tests {
    ($($module:ident: $($rule:ident),+ $(,)?;)+) => {$(
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let (_keep, store) = crate::fresh().await;
                    crate::contract::$module::$rule(std::sync::Arc::clone(&store)).await;
                    assert_eq!(store.violations().await.unwrap(), vec![]);
                    store.close().await;
                }
            )+
        }
    )+};
}

pub(crate) use {every_rule, tests};
