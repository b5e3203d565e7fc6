//! Backfill, verify and repair between any two stores.
//!
//! | subject | where |
//! |---|---|
//! | two tables, and how rows of one become rows of the other | [`pair`] |
//! | making rows equal beside live writes: R6 and R9 | [`reconcile`] |
//! | copying history: ranges, checkpoint, pace | [`backfill`] |
//! | proving equality: R14 | [`verify`] |
//! | what would not survive the trip | [`check`] |
//! | keys of rows in files | [`keys`] |
//! | copying the truth for some rows | [`repair`] |
//! | both tables as the rows of a migration: the library's repair and checks by the stores | [`rows`] |
//! | stop, pause, rows per second, latency | [`pace`] |
//! | what happens while it runs | [`progress`] |
//! | asking again | [`retry`] |
//!
//! Absent here: plans, stages and gates. Whoever starts a backfill has seen to it that dual-write is acknowledged everywhere (R9).

pub mod backfill;
pub mod check;
mod crew;
pub mod error;
pub mod keys;
pub mod pace;
pub mod pair;
pub mod progress;
pub mod reconcile;
pub mod repair;
pub mod retry;
pub mod rows;
pub mod verify;

pub use error::TransferError;
pub use pair::{Pair, RowMap};
