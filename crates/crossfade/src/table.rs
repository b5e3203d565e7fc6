//! The tables of a migration (R23): a row is known by its table and its row key, never by the row key alone.
//!
//! Each table has its own rows, its own order of writes, and its own doubt. Tables never share any of these: the repair
//! of order 42 must not look at user 42.

use crate::migration::Migration;
use crate::operation::Operation;
use crate::repair::ErasedRows;
use crate::rows::RowPair;
use crate::write::{RowOrder, Unnamed};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// One table of a migration, as its DAO uses it. Cloning it is cheap.
///
/// A generated DAO takes its table by itself. In the closure interface, ask [`Migration::table`].
#[derive(Clone)]
pub struct Table {
    migration: Migration,
    state: Arc<TableState>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({}.{})", self.migration.id(), self.state.name)
    }
}

/// The table has a DAO already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "table `{table}` of migration `{migration}` has a DAO already: make the DAO once and clone it, or give the second DAO the name of its own table with `#[crossfade::dao(table = \"…\")]`"
)]
pub struct TableTaken {
    /// The id of the migration.
    pub migration: String,
    /// The name of the table.
    pub table: String,
}

/// What a generated DAO says about its table.
#[derive(Debug, Clone, Copy)]
pub struct TableSpec<'a> {
    /// Its name; `None` is the migration's id.
    pub table: Option<&'a str>,
    /// The operations in a canonical text: names, key and row expressions, mirrors. Two instances with different texts
    /// run different traits.
    pub operations: &'a str,
}

/// Whether rows of a table may differ that have no mark (R24). A count, so that a verification clears only what was
/// raised before it began.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    raised: AtomicU64,
    /// Everything up to this count was cleared.
    cleared: AtomicU64,
}

impl Doubt {
    pub(crate) fn raise(&self) {
        self.raised.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it was raised so far.
    pub(crate) fn raised(&self) -> u64 {
        self.raised.load(Ordering::SeqCst)
    }

    /// What was raised up to this count no longer counts.
    pub(crate) fn clear(&self, until: u64) {
        self.cleared.fetch_max(until, Ordering::SeqCst);
    }

    /// How much of it is cleared.
    pub(crate) fn cleared(&self) -> u64 {
        self.cleared.load(Ordering::SeqCst)
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised() > self.cleared()
    }
}

/// What a migration knows of one table.
pub(crate) struct TableState {
    /// Its place among the tables of the migration: what marks are kept by.
    pub(crate) place: u32,
    pub(crate) name: Arc<str>,
    pub(crate) order: RowOrder,
    /// Writes whose rows are not known beforehand.
    pub(crate) unnamed: Unnamed,
    pub(crate) doubt: Doubt,
    /// Set once, by the DAO with `#[snapshot]` and `#[restore]` or by the application.
    pub(crate) rows: OnceLock<Arc<dyn ErasedRows>>,
    /// The canonical text of the DAO's operations, once a DAO has claimed the table.
    claimed: Mutex<Option<Box<str>>>,
    /// Operations were made on it.
    used: std::sync::atomic::AtomicBool,
}

impl fmt::Debug for TableState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableState({})", self.name)
    }
}

impl TableState {
    fn new(place: u32, name: &str) -> TableState {
        TableState {
            place,
            name: name.into(),
            order: RowOrder::new(),
            unnamed: Unnamed::default(),
            doubt: Doubt::default(),
            rows: OnceLock::new(),
            claimed: Mutex::default(),
            used: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Hash of the DAO's operations, 16 hex digits; empty without a DAO.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only a control plane asks"))]
    pub(crate) fn operations_hash(&self) -> String {
        let claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed
            .as_ref()
            .map_or_else(String::new, |text| format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes())))
    }

    /// Something of the application works on it: a DAO, an operation, or rows.
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Ordering::SeqCst) || self.rows.get().is_some()
    }
}

/// The tables of a migration, by name. There are few: a DAO each.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    all: Mutex<Vec<Arc<TableState>>>,
    /// Counts what changed: a new table, rows attached, a DAO made.
    changes: AtomicU64,
}

impl Tables {
    /// The table of this name, made at its first use.
    pub(crate) fn named(&self, name: &str) -> Arc<TableState> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|table| &*table.name == name) {
            return Arc::clone(known);
        }
        let table = Arc::new(TableState::new(u32::try_from(all.len()).unwrap_or(u32::MAX), name));
        all.push(Arc::clone(&table));
        table
    }

    /// The table at this place.
    pub(crate) fn at(&self, place: u32) -> Option<Arc<TableState>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).get(place as usize).cloned()
    }

    /// Every table, in the order of their first use.
    pub(crate) fn all(&self) -> Vec<Arc<TableState>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Rows without a name may differ in some table.
    pub(crate) fn any_doubt(&self) -> bool {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|table| table.doubt.is_raised())
    }

    /// The tables and what they can do changed.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// How often they changed so far.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only a control plane asks"))]
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// The names of the tables that the application has named or used in this process so far.
    pub(crate) fn names(&self) -> Vec<String> {
        // The first is the one without a name: it is there whether it is used or not.
        let named = self.all().into_iter().filter(|table| table.place > 0 || table.is_used());
        named.map(|table| table.name.to_string()).collect()
    }
}

impl Table {
    /// The name of the table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// A named operation on this table, whose observations are kept apart. Make it once and keep it: a call finds it by
    /// name.
    #[must_use]
    pub fn operation(&self, name: &str) -> Operation {
        if !self.state.used.swap(true, Ordering::SeqCst) {
            self.migration.inner.tables.changed();
        }
        self.migration.operation_on(&self.state, name)
    }

    /// Gives repair and checks access to the rows of this table on both sides. A generated DAO with `#[snapshot]` and
    /// `#[restore]` does it itself. Rows that were attached first stay; another call changes nothing, and says so in the
    /// log.
    pub fn attach_rows(&self, rows: impl RowPair) {
        if self.state.rows.set(Arc::new(rows)).is_err() {
            tracing::info!(
                migration = %self.migration.id(), table = %self.state.name,
                "the rows of this table were attached before, and the first ones stay"
            );
            return;
        }
        self.migration.inner.tables.changed();
        self.migration.inner.marks.unpark();
    }
}

impl Migration {
    /// A table of this migration, by its name in `crossfade.toml`. The same name is the same table. A migration with a
    /// single table may leave the name out: the table that [`Migration::operation`], [`Migration::attach_rows`] and a DAO
    /// without `table = …` use has the id of the migration as its name.
    ///
    /// ```
    /// # use crossfade::{Migration, Stage, plan};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let migration = Migration::builder("shop").plan(plan::fixed(Stage::Off)).build().await?;
    /// let (users, orders) = (migration.table("users"), migration.table("orders"));
    /// assert_ne!(users.name(), orders.name());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn table(&self, name: &str) -> Table {
        Table { migration: self.clone(), state: self.inner.tables.named(name) }
    }

    /// Takes a table for one DAO.
    ///
    /// # Errors
    /// [`TableTaken`] when another DAO of this migration has it.
    pub(crate) fn claim(&self, spec: TableSpec<'_>) -> Result<Table, TableTaken> {
        let table = self.table(spec.table.unwrap_or_else(|| self.id()));
        let mut claimed = table.state.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.is_some() {
            return Err(TableTaken { migration: self.id().to_owned(), table: table.name().to_owned() });
        }
        *claimed = Some(spec.operations.into());
        drop(claimed);
        self.inner.tables.changed();
        Ok(table)
    }

    /// Begins a verification of every row, whoever makes it. Hand it back when every row of every table was compared and
    /// found equal: [`VerificationToken::passed`].
    pub fn begin_verification(&self) -> VerificationToken {
        let raised = |table: Arc<TableState>| {
            let count = table.doubt.raised();
            (table, count)
        };
        VerificationToken { migration: self.clone(), seen: self.inner.tables.all().into_iter().map(raised).collect() }
    }
}

/// A verification that has begun. Dropped, it changes nothing.
#[must_use = "hand it back with `passed` when every row was equal"]
pub struct VerificationToken {
    migration: Migration,
    seen: Vec<(Arc<TableState>, u64)>,
}

impl fmt::Debug for VerificationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerificationToken({})", self.migration.id())
    }
}

impl VerificationToken {
    /// Every row of every table was compared after the verification began, and the sides were equal. Clears the doubts
    /// that were raised before it began, and no later one (R24). Returns whether the migration is free of doubt now.
    pub fn passed(self) -> bool {
        for (table, raised) in &self.seen {
            table.doubt.clear(*raised);
        }
        self.migration.inner.marks.nudge();
        !self.migration.inner.tables.any_doubt()
    }

    /// As [`VerificationToken::passed`], for a verification of one table.
    pub fn passed_for(self, table: &str) -> bool {
        for (state, raised) in self.seen.iter().filter(|(state, _)| &*state.name == table) {
            state.doubt.clear(*raised);
        }
        self.migration.inner.marks.nudge();
        !self.migration.inner.tables.any_doubt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_that_was_raised_after_the_count_was_taken_stays() {
        let doubt = Doubt::default();
        doubt.raise();
        let before = doubt.raised();
        doubt.raise();
        doubt.clear(before);
        assert!(doubt.is_raised());
        doubt.clear(doubt.raised());
        assert!(!doubt.is_raised());
        doubt.clear(before);
        assert!(!doubt.is_raised(), "an older verification brings nothing back");
    }
}
