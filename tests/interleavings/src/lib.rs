//! The concurrent parts of the library, with somebody else deciding who runs next.
//!
//! `crates/crossfade` names what these parts are made of in its module `sync`. Here the same files are compiled over
//! [shuttle](https://docs.rs/shuttle)'s mutexes and atomics, so that every lock and every atomic step is a point at
//! which any other task may run first. Each scenario of this crate is run thousands of times, and says what must hold
//! whatever the order.
//!
//! What this does not see: orders that only weak memory shows (shuttle runs one step after the other), and the insides
//! of `arc-swap` and tokio's channels, which have loom tests of their own: their calls count as one step each, and
//! `ArcSwap` is a mutex around an `Arc`, which is its contract.

#![expect(dead_code, reason = "no scenario asks everything of the library's files")]

#[path = "../../../crates/crossfade/src/epoch.rs"]
mod epoch;
#[path = "../../../crates/crossfade/src/write/in_flight.rs"]
mod in_flight;
#[path = "../../../crates/crossfade/src/marks.rs"]
#[expect(unreachable_pub, reason = "the library hands it out, this crate does not")]
mod marks;
#[path = "../../../crates/crossfade/src/write/order.rs"]
mod order;
#[path = "../../../crates/crossfade/src/secondary.rs"]
mod secondary;
mod sync;

pub mod budgets;
pub mod explore;
pub mod holds;
pub mod plans;
pub mod repairs;
pub mod turns;
