//! The events service of the story: flights that are scheduled, land, and are sometimes cancelled.
//!
//! One DAO trait, three databases. This is what a team writes; everything else is crossfade's.

mod dao;
mod dynamo;
mod flights;
mod postgres;
mod sqlite;

pub use dao::{Event, EventDao, EventError, EventId, Line, MigratingEventDao, MigratingEventDaoRows};
pub use dynamo::DynamoEvents;
pub use flights::{Flight, FlightsError, embedded, flights};
pub use postgres::PostgresEvents;
pub use sqlite::SqliteEvents;
