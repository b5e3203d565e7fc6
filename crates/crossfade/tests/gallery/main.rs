//! Real-looking traits: each compiles as its user would write it, and runs against DAOs in memory through every stage.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod counters;
mod documents;
mod errors;
mod events;
mod generic;
mod hygiene;
mod lists;
mod sessions;
mod stages;
mod tickets;
