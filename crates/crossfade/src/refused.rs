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
    /// `#[snapshot]`, `#[restore]` and `#[scan]` see one side: on both at once they have no meaning.
    #[error("`{method}` belongs to one side: call it on the source or the target, or give a snapshot its key")]
    OneSide {
        /// The method that was called.
        method: &'static str,
    },
}
