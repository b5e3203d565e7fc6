//! Real-looking traits: each compiles as its user would write it, and runs against DAOs in memory through every stage.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod absence;
mod accounts;
mod alike;
mod batches;
mod counters;
mod defaults;
mod documents;
mod errors;
mod events;
mod generic;
mod hygiene;
mod large;
mod lists;
mod pages;
mod sessions;
mod shop;
mod stages;
mod tickets;
mod transactions;
