//! The library's repair through the stores: both ways, by compare-and-set, and refused where it could not be.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::time::Duration;

use common::{Lab, To};
use crossfade::{
    Side,
    repair::{Repaired, reconcile},
    rows::RowPair as _,
};
use crossfade_transfer::{TransferError, rows::StoreRows};

const SOURCE: &str =
    "CREATE TABLE t (id bigint PRIMARY KEY, amount numeric NOT NULL, note text, at timestamptz NOT NULL);
    INSERT INTO t VALUES (1, 1.50, 'one', '2026-01-01 00:00:00.000001+00'), (2, 2, NULL, '2026-01-02 00:00+00')";
const TARGET: &str =
    "CREATE TABLE t (pk TEXT PRIMARY KEY, id INTEGER NOT NULL, amount TEXT NOT NULL, words TEXT, at TEXT NOT NULL)";
/// The target's key is a template, and a column has another name there.
const CONFIG: &str = "cohort = [\"id\"]\nmap.pk = \"ROW#{id}\"\nmap.note = { to = \"words\" }";
const PATIENCE: Duration = Duration::from_secs(10);

fn by_id(id: &u64) -> Vec<String> {
    vec![id.to_string()]
}

async fn lab(name: &str) -> (Lab, StoreRows<u64>) {
    let lab = Lab::new(name, To::Sqlite, SOURCE, TARGET).await;
    let (pair, _, _) = lab.pair(CONFIG, |_| {}).await;
    let rows = StoreRows::new(pair, &["id"], by_id).unwrap();
    (lab, rows)
}

#[tokio::test]
async fn a_row_is_copied_to_the_target_and_taken_out_of_it_again() {
    let (lab, rows) = lab("rows_there").await;
    for id in [1, 2] {
        assert_eq!(reconcile(&rows, Side::Source, &id, PATIENCE).await.unwrap(), Repaired::Copied);
        assert_eq!(reconcile(&rows, Side::Source, &id, PATIENCE).await.unwrap(), Repaired::Unchanged);
    }
    let found = rusqlite::Connection::open(&lab.file)
        .unwrap()
        .query_row("SELECT pk || ' ' || amount || ' ' || words FROM t WHERE id = 1", (), |row| row.get::<_, String>(0))
        .unwrap();
    assert_eq!(found, "ROW#1 1.50 one");
    lab.at_source("DELETE FROM t WHERE id = 1").await;
    assert_eq!(reconcile(&rows, Side::Source, &1, PATIENCE).await.unwrap(), Repaired::Copied);
    assert!(rows.snapshot(Side::Target, &1).await.unwrap().is_none());
    assert!(rows.snapshot(Side::Target, &2).await.unwrap().is_some(), "the other one stays");
    lab.end().await;
}

/// At live the target is the authority.
#[tokio::test]
async fn a_row_is_brought_back_to_the_source() {
    let (lab, rows) = lab("rows_back").await;
    for id in [1, 2] {
        reconcile(&rows, Side::Source, &id, PATIENCE).await.unwrap();
    }
    lab.at_target("UPDATE t SET words = 'changed', amount = '7.25' WHERE id = 1; DELETE FROM t WHERE id = 2").await;
    lab.at_target("INSERT INTO t VALUES ('ROW#3', 3, '3', NULL, '2026-01-03 00:00:00+00')").await;
    for id in [1, 2, 3] {
        assert_eq!(reconcile(&rows, Side::Target, &id, PATIENCE).await.unwrap(), Repaired::Copied, "row {id}");
        assert_eq!(reconcile(&rows, Side::Target, &id, PATIENCE).await.unwrap(), Repaired::Unchanged, "row {id}");
    }
    lab.at_source("DO $$ BEGIN ASSERT (SELECT string_agg(id || ':' || amount || ':' || coalesce(note, '-'), ' ' ORDER BY id) FROM t) = '1:7.25:changed 3:3:-'; END $$").await;
    lab.end().await;
}

#[tokio::test]
async fn what_is_no_longer_as_it_was_seen_is_left_alone() {
    let (lab, rows) = lab("rows_cas").await;
    reconcile(&rows, Side::Source, &1, PATIENCE).await.unwrap();
    let seen = rows.snapshot(Side::Target, &1).await.unwrap();
    let truth = rows.snapshot(Side::Source, &1).await.unwrap();
    assert!(seen.is_some() && seen == truth, "equal, though one is of PostgreSQL and one of SQLite");
    lab.at_target("UPDATE t SET words = 'newer' WHERE id = 1").await;
    assert!(!rows.restore(Side::Target, &1, seen.as_ref(), truth.as_ref()).await.unwrap());
    assert!(!rows.restore(Side::Target, &1, None, truth.as_ref()).await.unwrap(), "an insert overwrites nothing");
    assert!(!rows.restore(Side::Target, &1, seen.as_ref(), None).await.unwrap());
    let now = rows.snapshot(Side::Target, &1).await.unwrap();
    assert!(now.is_some() && now != truth, "the newer row is still there");
    lab.end().await;
}

#[tokio::test]
async fn rows_that_could_not_be_repaired_are_refused_when_they_are_made() {
    let lab = Lab::new("rows_refused", To::Sqlite, SOURCE, TARGET).await;
    let says = |made: Result<StoreRows<u64>, TransferError>, what: &str| {
        let e = made.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(e.contains(what), "{what}: {e}");
    };
    let (pair, _, _) = lab.pair(CONFIG, |_| {}).await;
    says(StoreRows::new(pair.clone(), &["number"], by_id), "no column `number`");
    says(StoreRows::new(pair.clone(), &["note"], by_id), "made of `id`");
    let lossy = format!("{CONFIG}\nmap.at = {{ lossy = \"text\" }}");
    let (lossy, _, _) = lab.pair(&lossy, |_| {}).await;
    says(StoreRows::new(lossy, &["id"], by_id), "`at`");
    // An id that is none: an error, and never another row.
    let wrong = StoreRows::new(pair, &["id"], |_: &u64| vec!["one".to_owned()]).unwrap();
    assert!(wrong.snapshot(Side::Source, &1).await.is_err() && wrong.snapshot(Side::Target, &1).await.is_err());
    lab.end().await;
}
