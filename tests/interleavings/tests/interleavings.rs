//! Every scenario, under random schedules and schedules of few preemptions; the smallest ones under every schedule.

use crossfade_interleavings::explore::{exhaust, explore};
use crossfade_interleavings::{budgets, holds, plans, repairs, turns};

#[test]
fn no_epoch_ends_before_its_operations_whoever_runs_first() {
    explore(plans::no_epoch_ends_before_its_operations);
}

#[test]
fn an_operation_races_with_a_new_plan_in_every_order() {
    exhaust(200_000, plans::an_operation_races_with_a_new_plan);
}

#[test]
fn turns_are_passed_on_in_order_whoever_runs_first() {
    explore(turns::turns_are_passed_on_in_order);
}

#[test]
fn a_turn_given_up_while_it_is_handed_over_goes_to_the_next_in_every_order() {
    exhaust(200_000, turns::a_turn_that_is_given_up_goes_to_the_next);
}

#[test]
fn a_mark_set_during_a_repair_is_never_cleared_whoever_runs_first() {
    explore(repairs::a_mark_set_during_a_repair_is_never_cleared);
}

#[test]
fn a_repairer_sleeps_through_no_mark() {
    explore(repairs::a_repairer_sleeps_through_no_mark);
}

#[test]
fn a_write_half_done_is_never_taken_for_a_difference() {
    explore(repairs::a_quiet_row_without_a_mark_is_equal);
}

#[test]
fn a_budget_is_kept_and_given_back_whoever_runs_first() {
    explore(budgets::a_budget_is_kept_and_given_back);
}

#[test]
fn a_held_write_is_released_or_refused_whoever_runs_first() {
    explore(holds::a_held_write_is_released_or_refused);
}
