//! The only errors that crossfade itself puts before a caller.

use crossfade_core::MissingKey;
use std::time::Duration;

/// Why an operation was not begun. Nothing was read or written: it may be tried again.
///
/// With `#[dao(refused = …)]` it becomes an error of the user's own type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The operation came without its cohort key or row key (R13).
    #[error(transparent)]
    MissingKey(#[from] MissingKey),
    /// Authority is moving for this key, and the stated bound passed before it had moved (R4).
    #[error("writes of this key were held for {waited:?} while authority moves: try again")]
    Held {
        /// How long the write waited.
        waited: Duration,
    },
    /// The operation cannot be split by key, and the plan has keys on both sides of the cut-over (R18).
    #[error(
        "some keys are past the cut-over and some are not, and this operation cannot be split by key: take the ramp back to 0 or on to 100 %, and set `whole = true` in the plan"
    )]
    Straddling,
    /// This process has said goodbye to the control plane, or is about to: it no longer hears of plans, and an operation
    /// under a plan that the fleet has left could write the wrong side (R30).
    #[error(
        "this process has left the migration's fleet, and begins no operation any more: send the request to another instance"
    )]
    Left,
    /// Rows of two migrations cannot be prepared together: they have no plan in common.
    #[error("a row of another migration cannot be prepared with this one's: prepare the rows of each migration apart")]
    OtherMigration,
    /// `#[snapshot]`, `#[restore]` and `#[scan]` see one side: on both at once they have no meaning.
    #[error("`{method}` belongs to one side: call it on the source or the target, or give a snapshot its key")]
    OneSide {
        /// The method that was called.
        method: &'static str,
    },
}
