//! For a user's own tests: takes a DAO pair through every stage and edge, forward, back and forward again, with faults
//! in the secondary's writes.
//!
//! ```
//! # use crossfade::{rows::ScanRows, testing::walk, Migration};
//! # async fn example<D, P: ScanRows>(make: impl Fn(Migration) -> D, rows: impl Fn(&D) -> P) {
//! let walked = walk("events", make, rows, |dao, visit| async move {
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
