//! Rows of real databases, behind one port.
//!
//! | subject | where |
//! |---|---|
//! | the contract every store keeps | [`port`] |
//! | values, rows, keys, and when two of them are the same | [`value`] |
//! | columns, types, and what survives a trip between two stores | [`schema`] |
//! | store URLs | [`url`] |
//! | opening a store by its URL | [`open`] |
//! | one folder per store, all of the same shape | `postgres`, `sqlite`, `dynamodb`, `mysql`, `redis` |
//! | the suite that every store passes, and faults around a real store | `conformance`, `faults` (feature `testing`) |
//!
//! Absent here: flags, stages, cohorts, plans. A store knows rows and their keys, nothing about who may see them.

#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod faults;
mod opening;
pub mod port;
pub mod schema;
pub mod url;
pub mod value;

#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use opening::open;
pub use port::{
    Capabilities, Change, ChangeOutcome, Checksum, ErrorKind, OpenWrites, Page, Position, Range, Recovery, Rest, Store,
    StoreError, Table,
};
pub use schema::{
    Blanks, Column, ColumnType, Fit, Limits, TableName, TableOptions, TableSchema, TableSpec, WantedColumn,
};
pub use url::{StoreKind, StoreUrl};
pub use value::{Decimal, Row, RowKey, Value};
