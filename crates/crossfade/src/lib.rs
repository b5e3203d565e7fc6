//! # crossfade
//!
//! Moves a live service from one database to another behind feature flags. The application keeps one DAO interface
//! with two implementations; a plan decides, per key, which of them are written and read. Both are written; both are
//! read and compared; every step is ramped and watched; at every step before the last the way back is as safe as the
//! way forward.
//!
//! ```
//! use crossfade::{Migration, Stage, plan};
//! # #[derive(Debug, Clone)] pub enum EventError { Refused(crossfade::Refused) }
//! # #[derive(Clone)] pub struct Event { id: u64, user_id: u64 }
//!
//! #[crossfade::dao(refused = EventError::Refused)]
//! pub trait EventDao {
//!     #[write(key = event.user_id, row = event.id, mirror = replay)]
//!     async fn record(&self, event: &Event) -> Result<(), EventError>;
//!     #[read(key = user_id)]
//!     async fn count_of(&self, user_id: u64) -> Result<usize, EventError>;
//! }
//! # struct Db;
//! # impl EventDao for Db {
//! #     async fn record(&self, _: &Event) -> Result<(), EventError> { Ok(()) }
//! #     async fn count_of(&self, _: u64) -> Result<usize, EventError> { Ok(0) }
//! # }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (postgres, dynamo) = (Db, Db);
//! let migration = Migration::builder("events").plan(plan::fixed(Stage::Shadow)).build().await?;
//! let dao = MigratingEventDao::new(postgres, dynamo, migration); // is an EventDao
//! # dao.record(&Event { id: 1, user_id: 2 }).await.unwrap();
//! # assert_eq!(dao.count_of(2).await.unwrap(), 0);
//! # Ok(()) }
//! ```
//!
//! | to | see |
//! |---|---|
//! | write `#[crossfade::dao]` | [`dao`] |
//! | do without a macro | [`Migration::read`], [`Migration::write`], [`Migration::prepare`] |
//! | give it a plan | [`plan`] |
//! | say when two answers are the same | [`compare`] |
//! | see what happened | [`Migration::observe`] |
//! | repair, backfill and verify through a DAO | [`rows`], [`repair`] |
//! | test your own pair | `testing`, with the feature of that name |

mod blocking;
mod broken;
mod closures;
mod conduct;
#[cfg_attr(not(any(feature = "server", test)), expect(dead_code, reason = "only a fleet can be left"))]
mod epoch;
pub mod key;
mod lingering;
#[cfg_attr(not(any(feature = "server", test)), expect(dead_code, reason = "a control plane alone is told of marks"))]
mod marks;
mod migration;
pub mod observe;
mod operation;
pub mod plan;
mod read;
mod refused;
pub mod repair;
pub mod rows;
mod secondary;
mod sync;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod write;

#[doc(hidden)]
pub mod __private;

pub use closures::{Given, Read, Replay, Unset, Write};
pub use conduct::{AdvanceError, Advanced};
pub use crossfade_core as core;
pub use crossfade_core::{
    Checks, Edge, Effect, End, History, MarkReason, MissingKey, Options, Pin, Plan, PlanError, PlanSpec, Position,
    Revision, SampleValues, Share, Side, Stage, Switches,
};
pub use crossfade_macros::{Key, dao};
pub use key::{Key, ParseKey};
pub use marks::{Marked, RowId};
pub use migration::{BuildError, Builder, Migration, Standing};
pub use operation::{GroupRow, Operation, Part};
pub use read::{ReadTicket, compare};
pub use refused::Refused;
pub use table::{Table, TableTaken, VerificationToken};
pub use write::{Mirror, Prepared, PreparedGroup, WriteTicket, unknown_effect};

/// The examples of the reference compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/reference/dao.md")]
struct DaoReference;
