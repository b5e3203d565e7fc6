//! The law of the plane, by stories and by random walks.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod stories;
mod walks;
mod world;
