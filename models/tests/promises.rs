//! With every rule on, no run of any scope breaks a promise, and what should be reachable is.

use crossfade_models::check::check;
use crossfade_models::model::Protocol;
use crossfade_models::rules::{Dropped, Rule};
use crossfade_models::scopes::{self, Scope};
use crossfade_models::trace;

fn holds(scope: &Scope) {
    let found = check(scope, Dropped::NOTHING);
    if let Some(broken) = &found.broken {
        panic!("{}\n{}", scope.name, trace::run(&Protocol::new(scope.clone(), Dropped::NOTHING), broken));
    }
    assert_eq!(found.unreached, Vec::<&str>::new(), "in {}", scope.name);
    // A scope in which nothing can happen would keep every promise.
    assert!(found.states > 1, "{} is empty", scope.name);
}

macro_rules! scopes {
    ($($scope:ident)*) => {
        $(#[test] fn $scope() { holds(&scopes::$scope()); })*

        #[test]
        fn every_scope_is_walked_through() {
            let walked = [$(scopes::$scope().name),*];
            let all: Vec<_> = scopes::small().iter().map(|scope| scope.name).collect();
            assert_eq!(walked.as_slice(), all);
        }
    };
}

scopes! {
    cut_over counters late_calls marks equal_values replay repair_beside_a_move backfill overstaying into_dual_write
    again newcomers comeback crashes gates unseen_overlaps half_ramped ramp edges lost_flags transactions restore forced_rollback whole_way
    skipped_turns two_tables tables_half_open predicates predicates_again predicates_elsewhere predicates_beside_keyed made_ids
    cannot_check failing_checks lingering_beside_a_move off_and_again goodbyes
}

/// The stronger rule: a repair begins only while no write of its row is under way.
#[test]
fn a_repair_that_waits_for_every_write_of_its_row_needs_no_record_of_them() {
    let without = Dropped::only(Rule::EffectsUnderWay).and(Rule::LateOverlap);
    let found = check(&scopes::quiet_repairs(), without);
    assert!(found.broken.is_none(), "{:?}", found.broken.map(|broken| broken.promise));
    assert!(check(&scopes::skipped_turns(), without).broken.is_some());
}
