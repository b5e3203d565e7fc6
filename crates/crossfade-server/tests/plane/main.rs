//! The control plane as others meet it: over HTTP, and killed at any moment.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod board;
mod cache;
mod crash;
mod dao_runs;
mod fleet;
mod member;
mod sides;
mod steps;
mod support;
mod surface;
mod tables;
mod tls;
mod uses;
mod values;
