//! Scans, ranges, bulk loads and checksums.

use std::collections::BTreeMap;

use super::{Lab, open};
use crate::{Change, ColumnType, Position, Range, Rest, Row, RowKey, Table, Value};

fn row(i: i64) -> Row {
    Row(vec![Value::Text(format!("tenant-{}", i % 3)), Value::Int(i), Value::Text(format!("note {i}"))])
}

const COLUMNS: [(&str, ColumnType); 3] =
    [("tenant", ColumnType::Text { max: Some(40) }), ("id", ColumnType::INT64), ("note", ColumnType::TEXT)];

async fn all_of(table: &dyn Table, range: &Range, limit: usize) -> (Vec<Row>, usize) {
    let (mut rows, mut pages, mut position) = (Vec::new(), 0, Position::Start);
    loop {
        let page = table.scan(range, &position, limit).await.unwrap();
        rows.extend(page.rows);
        pages += 1;
        match page.rest {
            Rest::More(next) => position = next,
            Rest::End => return (rows, pages),
        }
        assert!(pages < 100_000, "a scan that does not end");
    }
}

fn by_key(rows: Vec<Row>) -> BTreeMap<RowKey, Row> {
    rows.into_iter().map(|r| (r.key(&[0, 1]), r)).collect()
}

pub(super) async fn pages_give_every_row_and_end(lab: &dyn Lab) {
    let table = open(lab, "pages", &COLUMNS, &["tenant", "id"]).await;
    let (none, _) = all_of(&*table, &Range::ALL, 10).await;
    assert!(none.is_empty(), "an empty table has no rows");
    let rows: Vec<Row> = (0..257).map(row).collect();
    let changes: Vec<Change> = rows.iter().cloned().map(|row| Change::Insert { row }).collect();
    table.write(&changes).await.unwrap();
    for limit in [1, 16, 257, 258, 1_000] {
        let (seen, _) = all_of(&*table, &Range::ALL, limit).await;
        assert_eq!(by_key(seen), by_key(rows.clone()), "limit {limit}");
    }
}

pub(super) async fn split_covers_the_table_once(lab: &dyn Lab) {
    let table = open(lab, "splits", &COLUMNS, &["tenant", "id"]).await;
    for (have, per_range) in [(0_i64, 10_u64), (1, 10), (500, 50), (500, 5_000)] {
        let changes: Vec<Change> = (0..have).map(|i| Change::Insert { row: row(i) }).collect();
        table.write(&changes).await.unwrap();
        let ranges = table.split(per_range).await.unwrap();
        assert!(!ranges.is_empty());
        // Rows that come after the split belong to a range, too.
        let late = [row(-1_000_000), row(1_000_000)];
        table.write(&late.clone().map(|row| Change::Insert { row })).await.unwrap();
        let mut seen = Vec::new();
        for range in &ranges {
            seen.extend(all_of(&*table, range, 64).await.0);
        }
        let wanted: Vec<Row> = (0..have).map(row).chain(late.clone()).collect();
        assert_eq!(seen.len(), wanted.len(), "{have} rows in ranges of {per_range}: none twice, none left out");
        assert_eq!(by_key(seen), by_key(wanted));
        table.write(&late.map(|seen| Change::Delete { seen })).await.unwrap();
    }
    // Sorted, disjoint, without gaps, where the ranges are of keys.
    let ranges = table.split(50).await.unwrap();
    let mut until = None;
    for (i, range) in ranges.iter().enumerate() {
        if let Range::Keys { from, to } = range {
            assert_eq!(from, &until, "range {i} begins where the one before ends");
            until.clone_from(to);
        }
    }
    assert_eq!(until, None, "the last range has no end");
}

pub(super) async fn an_ordered_scan_is_in_key_order(lab: &dyn Lab) {
    let table = open(lab, "ordered", &COLUMNS, &["tenant", "id"]).await;
    if !table.capabilities().ordered {
        return;
    }
    let tenants = ["", "B", "a", "ä", "b b", "b-b", "bb", "😀", "A"];
    let changes: Vec<Change> = tenants
        .iter()
        .flat_map(|t| {
            [-5, 10, 9, i64::MAX]
                .map(|i| Change::Insert { row: Row(vec![Value::Text((*t).to_owned()), Value::Int(i), Value::Null]) })
        })
        .collect();
    table.write(&changes).await.unwrap();
    for limit in [1, 7, 100] {
        let (rows, _) = all_of(&*table, &Range::ALL, limit).await;
        let keys: Vec<RowKey> = rows.iter().map(|r| r.key(&[0, 1])).collect();
        assert_eq!(keys.len(), changes.len());
        assert!(keys.windows(2).all(|k| k[0] < k[1]), "in the order of RowKey, limit {limit}: {keys:?}");
    }
    // Any keys make a range, also ones that are not there.
    let key = |t: &str, i: i64| RowKey(vec![Value::Text(t.to_owned()), Value::Int(i)]);
    let (rows, _) = all_of(&*table, &Range::Keys { from: Some(key("b", 0)), to: Some(key("bb", 9)) }, 2).await;
    let got: Vec<RowKey> = rows.iter().map(|r| r.key(&[0, 1])).collect();
    let mut wanted: Vec<RowKey> =
        changes.iter().map(|c| c.key(&[0, 1])).filter(|k| *k >= key("b", 0) && *k < key("bb", 9)).collect();
    wanted.sort();
    assert_eq!(got, wanted);
}

pub(super) async fn load_then_read(lab: &dyn Lab) {
    let table = open(lab, "loads", &COLUMNS, &["tenant", "id"]).await;
    let rows: Vec<Row> = (0..1_200).map(row).collect();
    table.load(rows.clone()).await.unwrap();
    table.load(Vec::new()).await.unwrap();
    assert_eq!(by_key(all_of(&*table, &Range::ALL, 500).await.0), by_key(rows));
}

pub(super) async fn checksums_see_one_bit(lab: &dyn Lab) {
    let table = open(lab, "sums", &COLUMNS, &["tenant", "id"]).await;
    if table.capabilities().checksum.is_none() {
        return;
    }
    let changes: Vec<Change> = (0..300).map(|i| Change::Insert { row: row(i) }).collect();
    table.write(&changes).await.unwrap();
    let fences: Vec<RowKey> = [(0, 150), (1, 0), (1, 151)]
        .map(|(t, i)| RowKey(vec![Value::Text(format!("tenant-{t}")), Value::Int(i)]))
        .to_vec();
    let before = table.checksums(&fences).await.unwrap();
    assert_eq!(before.iter().map(|c| c.rows).collect::<Vec<_>>(), [50, 50, 50, 150]);
    assert_eq!(table.checksums(&[]).await.unwrap()[0].rows, 300);
    let seen = row(151);
    let mut changed = seen.clone();
    changed.0[2] = Value::Text("note 150".to_owned());
    table.write(&[Change::Replace { seen, row: changed }]).await.unwrap();
    let after = table.checksums(&fences).await.unwrap();
    let differs: Vec<usize> = (0..4).filter(|i| before[*i] != after[*i]).collect();
    assert_eq!(differs, [3], "tenant-1, id 151 is in the last part and nowhere else");
}
