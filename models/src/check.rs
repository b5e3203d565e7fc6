//! Walks through a scope in every order.

use crate::action::Action;
use crate::model::Protocol;
use crate::properties::PROMISES;
use crate::rules::Dropped;
use crate::scopes::Scope;
use crate::state::State;
use stateright::{Checker, HasDiscoveries, Model};
use std::time::Duration;

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// How many states there are, or were looked at before the first violation.
    pub states: usize,
    /// The longest way into the scope.
    pub depth: usize,
    /// The promise that broke first, and the shortest run that breaks it.
    pub broken: Option<Broken>,
    /// What should be reachable and is not.
    pub unreached: Vec<&'static str>,
}

/// A run that breaks a promise.
#[derive(Debug)]
pub struct Broken {
    /// The promise.
    pub promise: &'static str,
    /// Every state, with what happened then.
    pub run: Vec<(State, Option<Action>)>,
}

/// Walks through a scope without these rules, to its end or to the first violation. Always in the same order, so that
/// the shortest run is always the same one.
#[must_use]
pub fn check(scope: &Scope, dropped: Dropped) -> Findings {
    let protocol = Protocol::new(scope.clone(), dropped);
    findings(scope, protocol.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join())
}

/// Walks through a scope with every rule, by as many threads as the machine has. `progress` is told now and then how
/// many states have been found.
#[must_use]
pub fn check_big(scope: &Scope, progress: impl Fn(usize)) -> Findings {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let protocol = Protocol::new(scope.clone(), Dropped::NOTHING);
    let checker = protocol.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs();
    while !checker.is_done() {
        #[expect(
            clippy::disallowed_methods,
            reason = "no runtime here, and nothing to be told of: the checker is asked now and then"
        )]
        std::thread::sleep(Duration::from_millis(200));
        progress(checker.unique_state_count());
    }
    findings(scope, checker.join())
}

fn findings(scope: &Scope, checker: impl Checker<Protocol>) -> Findings {
    let mut found = checker.discoveries();
    let promise = PROMISES.into_iter().find(|promise| found.contains_key(promise));
    let broken = promise.and_then(|promise| found.remove(promise).map(|path| Broken { promise, run: path.into_vec() }));
    let unreached = scope.reach.iter().map(|reach| reach.name()).filter(|name| !found.contains_key(name)).collect();
    Findings { states: checker.unique_state_count(), depth: checker.max_depth(), broken, unreached }
}
