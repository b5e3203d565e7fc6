//! With every rule on, no run of any scope breaks a promise, and what should be reachable is.

use crossfade_models::check::check;
use crossfade_models::model::Protocol;
use crossfade_models::rules::Dropped;
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
}
