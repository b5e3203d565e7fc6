//! The suite that every store passes on a real server: the port's contract as checks.
//!
//! A store's test gives a [`Lab`] and calls [`run`]. A check panics with what it expected; that is what tests do.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a conformance check is a test")]

mod samples;
mod scans;
mod values;
mod writes;

use std::sync::Arc;

use async_trait::async_trait;

use crate::{ColumnType, Store, Table, TableSpec};

pub use samples::{all_types, samples};

/// A real server (or file) with room for new tables.
#[async_trait]
pub trait Lab: Send + Sync {
    /// The store under test.
    fn store(&self) -> Arc<dyn Store>;

    /// Makes a new, empty table with these columns (nullable, but for the key) and this primary key, and gives the spec that opens it
    /// with exactly these types. Only types that the store [`Store::fit`]s losslessly without a column, or with the column it would make, are asked for.
    async fn make(&self, name: &str, columns: &[(&str, ColumnType)], key: &[&str]) -> TableSpec;

    /// The types that a column made by [`Lab::make`] keeps losslessly, among [`all_types`].
    fn keeps(&self, ty: &ColumnType) -> bool;
}

/// Runs every check.
pub async fn run(lab: &dyn Lab) {
    values::every_sample_comes_back(lab).await;
    values::nulls_come_back(lab).await;
    values::composite_keys_of_each_kind(lab).await;
    writes::insert_never_overwrites(lab).await;
    writes::replace_and_delete_only_what_was_seen(lab).await;
    writes::outcomes_are_per_row(lab).await;
    writes::numerically_equal_is_not_what_was_seen(lab).await;
    writes::many_at_once(lab).await;
    writes::racing_replacements_have_one_winner(lab).await;
    scans::pages_give_every_row_and_end(lab).await;
    scans::split_covers_the_table_once(lab).await;
    scans::an_ordered_scan_is_in_key_order(lab).await;
    scans::load_then_read(lab).await;
    scans::checksums_see_one_bit(lab).await;
    values::a_missing_table_is_named(lab).await;
    a_table_is_known_by_its_identity(lab).await;
}

/// Opened twice, a table is the same; another one of the same store is not.
async fn a_table_is_known_by_its_identity(lab: &dyn Lab) {
    let columns = [("id", ColumnType::INT64), ("note", ColumnType::TEXT)];
    let mut found = Vec::new();
    for name in ["identity_a", "identity_b"] {
        let spec = lab.make(name, &columns, &["id"]).await;
        for _ in 0..2 {
            let table = lab.store().table(&spec).await.unwrap();
            let Some(identity) = table.identity().await.unwrap() else { panic!("{name} has no identity") };
            found.push(identity);
        }
    }
    assert_eq!((&found[0], &found[2]), (&found[1], &found[3]), "a table opened twice is the same");
    assert!(found[0].live != found[2].live && found[0].lasting != found[2].lasting, "two tables are not: {found:?}");
}

async fn open(lab: &dyn Lab, name: &str, columns: &[(&str, ColumnType)], key: &[&str]) -> Arc<dyn Table> {
    let spec = lab.make(name, columns, key).await;
    match lab.store().table(&spec).await {
        Ok(table) => table,
        Err(e) => panic!("{name} does not open: {e:?}"),
    }
}
