//! Writes inside a transaction of the caller's (R19): prepared before, mirrored after commit; between them lies a
//! mark, not a hope.

use super::settle::{Ending, Mirroring};
use super::{Mirror, Rows};
use crate::epoch::Epoch;
use crate::operation::Operation;
use crossfade_core::{Effect, Side, WriteRoute};
use std::future::Future;
use std::sync::Arc;

/// A write whose authoritative part is in a transaction that has yet to end.
///
/// Dropped without [`mirror`](Prepared::mirror) or [`rolled_back`](Prepared::rolled_back) it leaves its row marked:
/// nobody knows whether the transaction was committed.
#[must_use = "end it with `mirror` after commit or `rolled_back` after rollback; dropped, its row stays marked"]
pub struct Prepared {
    route: WriteRoute,
    operation: Operation,
    state: Option<State>,
}

enum State {
    Single(Arc<Epoch>),
    Mirrored(Mirroring),
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({:?})", self.route)
    }
}

impl Prepared {
    pub(crate) fn new(operation: &Operation, epoch: Arc<Epoch>, route: WriteRoute, rows: Rows) -> Prepared {
        let state = match route.secondary {
            None => State::Single(epoch),
            Some(_) => {
                let mut mirroring = Mirroring::begin(operation, epoch, rows, route.authority);
                mirroring.prepared();
                State::Mirrored(mirroring)
            }
        };
        Prepared { route, operation: operation.clone(), state: Some(state) }
    }

    /// The side on which the transaction has to run. Begin the transaction after preparing, not before.
    #[must_use]
    pub fn authority(&self) -> Side {
        self.route.authority
    }

    /// After commit: writes the secondary, where the stage mirrors, as a dual write does.
    pub async fn mirror<E, S>(mut self, effect_of: fn(&E) -> Effect, mirror: impl FnOnce(Side) -> S)
    where
        E: 'static,
        S: Future<Output = Result<(), E>> + Send + 'static,
    {
        match (self.state.take(), self.route.secondary) {
            (Some(State::Mirrored(mirroring)), Some(secondary)) => {
                match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mirror(secondary))) {
                    Ok(call) => {
                        let running = mirroring.mirror(&self.operation, Mirror::State, effect_of, call);
                        running.within(&self.operation).await;
                    }
                    Err(_panic) => mirroring.not_begun(),
                }
            }
            (Some(State::Single(epoch)), _) => Ending::new(self.operation.inner(), epoch).known(),
            (Some(State::Mirrored(_)) | None, _) => {}
        }
    }

    /// After rollback: nothing was written.
    pub fn rolled_back(mut self) {
        match self.state.take() {
            Some(State::Mirrored(mirroring)) => mirroring.nothing_written(),
            Some(State::Single(epoch)) => Ending::new(self.operation.inner(), epoch).known(),
            None => {}
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(State::Single(epoch)) = self.state.take() {
            drop(Ending::new(self.operation.inner(), epoch));
        }
    }
}
