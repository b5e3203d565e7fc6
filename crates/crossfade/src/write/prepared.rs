//! Writes inside a transaction of the caller's (R19): prepared before, mirrored after commit; between them lies a
//! mark, not a hope.

use super::settle::{Ending, Mirroring, Running};
use super::{Mirror, Rows};
use crate::epoch::Epoch;
use crate::operation::Operation;
use crossfade_core::{Bucket, Effect, Side, WriteRoute};
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
    Single(Arc<Epoch>, Option<Bucket>),
    Mirrored(Mirroring),
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({:?})", self.route)
    }
}

impl Prepared {
    pub(crate) fn new(
        operation: &Operation,
        epoch: Arc<Epoch>,
        route: WriteRoute,
        rows: Rows,
        bucket: Option<Bucket>,
    ) -> Prepared {
        let state = match route.secondary {
            None => State::Single(epoch, bucket),
            Some(_) => {
                let mut mirroring = Mirroring::begin(operation, epoch, rows, route);
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
    pub async fn mirror<E, S>(self, effect_of: fn(&E) -> Effect, mirror: impl FnOnce(Side) -> S)
    where
        E: 'static,
        S: Future<Output = Result<(), E>> + Send + 'static,
    {
        if let Some((running, operation)) = self.start(effect_of, mirror) {
            running.within(&operation).await;
        }
    }

    /// Begins the secondary's write, where there is one.
    fn start<E, S>(
        mut self,
        effect_of: fn(&E) -> Effect,
        mirror: impl FnOnce(Side) -> S,
    ) -> Option<(Running, Operation)>
    where
        E: 'static,
        S: Future<Output = Result<(), E>> + Send + 'static,
    {
        match (self.state.take(), self.route.secondary) {
            (Some(State::Mirrored(mirroring)), Some(secondary)) => {
                match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mirror(secondary))) {
                    Ok(call) => {
                        let running = mirroring.mirror(&self.operation, Mirror::State, effect_of, call);
                        return Some((running, self.operation.clone()));
                    }
                    Err(_panic) => mirroring.not_begun(),
                }
            }
            (Some(State::Single(epoch, bucket)), _) => Ending::new(&self.operation, epoch, self.route, bucket).known(),
            (Some(State::Mirrored(_)) | None, _) => {}
        }
        None
    }

    /// After rollback: nothing was written.
    pub fn rolled_back(mut self) {
        match self.state.take() {
            Some(State::Mirrored(mirroring)) => mirroring.nothing_written(),
            Some(State::Single(epoch, bucket)) => Ending::new(&self.operation, epoch, self.route, bucket).known(),
            None => {}
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(State::Single(epoch, bucket)) = self.state.take() {
            drop(Ending::new(&self.operation, epoch, self.route, bucket));
        }
    }
}

/// The writes of one transaction over several rows: see [`Migration::prepare_all`](crate::Migration::prepare_all).
///
/// Dropped without [`mirror`](PreparedGroup::mirror) or [`rolled_back`](PreparedGroup::rolled_back) it leaves all its rows
/// marked: whether the transaction was committed is not known.
#[must_use = "end it with `mirror` after commit or `rolled_back` after rollback; dropped, its rows stay marked"]
#[derive(Debug)]
pub struct PreparedGroup {
    authority: Side,
    rows: Vec<Prepared>,
}

impl PreparedGroup {
    pub(crate) fn new(authority: Side, rows: Vec<Prepared>) -> PreparedGroup {
        PreparedGroup { authority, rows }
    }

    /// The side on which the transaction has to run. Begin the transaction after preparing, not before.
    #[must_use]
    pub fn authority(&self) -> Side {
        self.authority
    }

    /// After commit: writes each row to the secondary, where its stage mirrors, as a dual write does. `mirror` gets the
    /// place of the row in the group, from 0, and the side. All rows are on their way at once; this returns when each was
    /// waited for as a dual write is.
    pub async fn mirror<E, S>(self, effect_of: fn(&E) -> Effect, mut mirror: impl FnMut(usize, Side) -> S)
    where
        E: 'static,
        S: Future<Output = Result<(), E>> + Send + 'static,
    {
        let rows = self.rows.into_iter().enumerate();
        let running: Vec<_> =
            rows.filter_map(|(place, row)| row.start(effect_of, |side| mirror(place, side))).collect();
        for (running, operation) in running {
            running.within(&operation).await;
        }
    }

    /// After rollback: nothing was written.
    pub fn rolled_back(self) {
        self.rows.into_iter().for_each(Prepared::rolled_back);
    }
}
