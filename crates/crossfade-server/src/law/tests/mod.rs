//! The law of the plane, by stories and by random walks.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod forced;
mod stories;
mod tables;
mod walks;
mod world;
