//! For a user's own tests: takes a DAO pair through every stage and edge, forward, back and forward again, with faults
//! in the secondary's writes.
//!
//! ```
//! # use crossfade::{testing::walk, Migration};
//! # async fn example<P: crossfade::rows::ScanRows>(make: impl Fn(Migration) -> P) {
//! let walked = walk("events", make, |dao| dao, |dao, visit| async move {
//!     // write through the DAO, read back, and say what is wrong
//!     # let _ = (dao, visit);
//!     Ok(())
//! });
//! assert!(walked.await.unwrap().visits > 100);
//! # }
//! ```

mod faults;
mod walk;

pub use faults::{Fault, Faults};
pub use walk::{Violation, Visit, Walked, walk};
