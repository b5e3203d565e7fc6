//! Repair copies the truth (R6): never an old payload, always the authority's present value, by compare-and-set.

mod repairer;

pub(crate) use repairer::{Repairs, run as run_repairer};

use crate::rows::RowPair;
use crate::secondary::{Outcome, guarded};
use crossfade_core::Side;
use futures::future::BoxFuture;
use std::time::Duration;

/// What a repair found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repaired {
    /// Both sides were equal.
    Unchanged,
    /// The secondary now holds the authority's value.
    Copied,
}

/// Why a repair came to no end. The row stays marked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// The text of the row key is not one of its type.
    #[error("the row key `{digest}` (digest) cannot be read back: check `parse_key` of its type")]
    Key {
        /// Digest of the text.
        digest: String,
    },
    /// A side answered with an error. The store's own words are kept.
    #[error("{call} on the {side} failed: {message}")]
    Store {
        /// `snapshot` or `restore`.
        call: &'static str,
        /// Where.
        side: Side,
        /// What the store said.
        message: String,
    },
    /// A call was given up or panicked: its effect may still land.
    #[error("{call} on the {side} gave no answer: its effect may still land")]
    Unanswered {
        /// `snapshot` or `restore`.
        call: &'static str,
        /// Where.
        side: Side,
    },
    /// The row changed under every attempt.
    #[error("the row changed under {0} attempts: it is tried again later")]
    Contended(u32),
    /// Every put was taken and the authority stood still, yet the row reads back otherwise: a mistake in the DAO.
    #[error("the {0} took the row and reads back another one: compare its `restore` with its `snapshot`")]
    NotKept(Side),
}

impl RepairError {
    /// The effect of a put may still land: the next read has to wait for the linger.
    pub(crate) fn lingers(&self) -> bool {
        match self {
            RepairError::Store { call, .. } | RepairError::Unanswered { call, .. } => *call == "restore",
            RepairError::Key { .. } | RepairError::Contended(_) | RepairError::NotKept(_) => false,
        }
    }
}

/// Attempts in a row before a contended row is left for later.
const ATTEMPTS: u32 = 16;
/// So many puts of the same row, taken and not found again one after the other, are no race.
const UNKEPT: u32 = 8;

/// Copies the authority's present value of one row to the other side (R6).
///
/// Reads the secondary, then the authority; where they differ, puts the authority's value by compare-and-set on what
/// it saw, reads both again, and ends only when they agree. Not cancel safe in one respect: a dropped put may
/// still land, so that the caller keeps the row marked for its linger.
///
/// # Errors
/// When a store fails or the row keeps changing; the row is then to stay marked.
pub async fn reconcile<P: RowPair>(
    pair: &P,
    authority: Side,
    id: &P::Id,
    timeout: Duration,
) -> Result<Repaired, RepairError> {
    let secondary = authority.other();
    let mut done = Repaired::Unchanged;
    // What was put last; none when the authority moved on since, or somebody else was there first.
    let mut put: Option<Option<P::Row>> = None;
    let mut refused_to_keep = 0;
    for _ in 0..ATTEMPTS {
        // The secondary first: then a put that lands late finds another copy than the one it was made from.
        let copy = snapshot(pair, secondary, id, timeout).await?;
        let truth = snapshot(pair, authority, id, timeout).await?;
        if truth == copy {
            return Ok(done);
        }
        refused_to_keep = if put.as_ref() == Some(&truth) { refused_to_keep + 1 } else { 0 };
        if refused_to_keep == UNKEPT {
            return Err(RepairError::NotKept(secondary));
        }
        match guarded(pair.restore(secondary, id, copy.as_ref(), truth.as_ref()), timeout).await {
            Outcome::Answered(Ok(true)) => (done, put) = (Repaired::Copied, Some(truth)),
            // Somebody else was there first: look again.
            Outcome::Answered(Ok(false)) => put = None,
            Outcome::Answered(Err(error)) => return Err(store("restore", secondary, &error)),
            Outcome::TimedOut | Outcome::Panicked => {
                return Err(RepairError::Unanswered { call: "restore", side: secondary });
            }
        }
    }
    Err(RepairError::Contended(ATTEMPTS))
}

/// Whether both sides hold the same row now: the check after a dual write (R5).
pub(crate) async fn equal<P: RowPair>(
    pair: &P,
    authority: Side,
    id: &P::Id,
    timeout: Duration,
) -> Result<bool, RepairError> {
    let truth = snapshot(pair, authority, id, timeout).await?;
    Ok(truth == snapshot(pair, authority.other(), id, timeout).await?)
}

async fn snapshot<P: RowPair>(
    pair: &P,
    side: Side,
    id: &P::Id,
    timeout: Duration,
) -> Result<Option<P::Row>, RepairError> {
    match guarded(pair.snapshot(side, id), timeout).await {
        Outcome::Answered(Ok(row)) => Ok(row),
        Outcome::Answered(Err(error)) => Err(store("snapshot", side, &error)),
        Outcome::TimedOut | Outcome::Panicked => Err(RepairError::Unanswered { call: "snapshot", side }),
    }
}

fn store(call: &'static str, side: Side, error: &impl std::fmt::Display) -> RepairError {
    RepairError::Store { call, side, message: error.to_string() }
}

/// A [`RowPair`] whose types are forgotten: what a migration holds.
pub(crate) trait ErasedRows: Send + Sync {
    fn reconcile<'a>(
        &'a self,
        row: &'a str,
        authority: Side,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Repaired, RepairError>>;
    fn equal<'a>(
        &'a self,
        row: &'a str,
        authority: Side,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<bool, RepairError>>;
}

impl<P: RowPair> ErasedRows for P {
    fn reconcile<'a>(
        &'a self,
        row: &'a str,
        authority: Side,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Repaired, RepairError>> {
        Box::pin(async move { reconcile(self, authority, &parse::<P>(row)?, timeout).await })
    }

    fn equal<'a>(
        &'a self,
        row: &'a str,
        authority: Side,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<bool, RepairError>> {
        Box::pin(async move { equal(self, authority, &parse::<P>(row)?, timeout).await })
    }
}

fn parse<P: RowPair>(row: &str) -> Result<P::Id, RepairError> {
    crate::key::ParseKey::parse_key(row).ok_or_else(|| RepairError::Key { digest: crate::key::digest(row) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_put_may_still_land() {
        let store = |call| RepairError::Store { call, side: Side::Target, message: String::new() };
        let unanswered = |call| RepairError::Unanswered { call, side: Side::Target };
        assert!(store("restore").lingers() && unanswered("restore").lingers());
        assert!(!store("snapshot").lingers() && !unanswered("snapshot").lingers());
        assert!(!RepairError::Contended(16).lingers() && !RepairError::NotKept(Side::Target).lingers());
    }
}
