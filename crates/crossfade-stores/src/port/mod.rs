//! The port: what crossfade asks of a database, as a contract.
//!
//! Everything here is `dyn`: a store is chosen by configuration, and every call carries many rows, so that the indirection is never hot.

mod change;
mod error;
mod range;
mod table;

pub use change::{Change, ChangeOutcome};
pub use error::{ErrorKind, Recovery, StoreError};
pub use range::{Page, Position, Range, Rest};
pub use table::{
    Capabilities, Checksum, ChecksumDialect, Moment, OpenWrites, RawDump, RawFormat, RawRows, Since, Store, Table,
    TableIdentity,
};
