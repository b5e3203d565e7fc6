//! Keeps the floors of the workspace: imports only go down, and the lower a crate stands the less it may drag in.
//!
//! - [`tree`] reads `cargo metadata` and the manifests;
//! - [`law`] says what stands on which floor, and which dependencies are banned, each with its reason;
//! - [`check`] compares the two and names every breach in a sentence that says what to do.
//!
//! The tests of this crate run the checks on doctored trees, which must be refused; `tests/workspace.rs` runs them on
//! the real one. What is not seen here: what code does with a lawful dependency (clippy's bans are for that).

pub mod check;
pub mod law;
pub mod tree;
