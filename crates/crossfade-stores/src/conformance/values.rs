//! What is put comes back.

use super::{Lab, open, samples};
use crate::{Change, ColumnType, ErrorKind, Row, TableName, Value, value::Closeness};

/// How this table compares: exactly, unless it declares that it keeps values only.
pub(super) fn closeness(table: &dyn crate::Table) -> Closeness {
    let c = table.capabilities();
    if c.keeps_decimal_scale && c.keeps_json_text { Closeness::Exact } else { Closeness::ByValue }
}

pub(super) async fn every_sample_comes_back(lab: &dyn Lab) {
    for (n, ty) in super::all_types().into_iter().filter(|ty| lab.keeps(ty)).enumerate() {
        let table = open(lab, &format!("kept_{n}"), &[("id", ColumnType::INT64), ("v", ty.clone())], &["id"]).await;
        let rows: Vec<Row> =
            samples(&ty).into_iter().enumerate().map(|(i, v)| Row(vec![Value::Int(i as i64), v])).collect();
        let changes: Vec<Change> = rows.iter().cloned().map(|row| Change::Insert { row }).collect();
        for (outcome, row) in table.write(&changes).await.unwrap().iter().zip(&rows) {
            assert!(outcome.is_applied(), "{ty}: {:?} was not put: {outcome:?}", row.0[1]);
        }
        let keys: Vec<_> = rows.iter().map(|r| r.key(&[0])).collect();
        for (back, row) in table.read(&keys).await.unwrap().iter().zip(&rows) {
            let back = back.as_ref().unwrap_or_else(|| panic!("{ty}: {:?} is gone", row.0[1]));
            assert!(back.same(row, closeness(&*table)), "{ty}: put {:?}, got {:?}", row.0[1], back.0[1]);
        }
        // What was read can be compared with and set, for every value of the type.
        let seen: Vec<Row> = table.read(&keys).await.unwrap().into_iter().flatten().collect();
        let changes: Vec<Change> = seen
            .iter()
            .map(|r| Change::Replace { seen: r.clone(), row: Row(vec![r.0[0].clone(), Value::Null]) })
            .collect();
        for (outcome, row) in table.write(&changes).await.unwrap().iter().zip(&rows) {
            assert!(outcome.is_applied(), "{ty}: {:?} was seen but not replaced: {outcome:?}", row.0[1]);
        }
        assert!(
            table.read(&keys).await.unwrap().iter().all(|r| r.as_ref().is_some_and(|r| r.0[1].is_null())),
            "{ty}: not all are null now"
        );
    }
}

pub(super) async fn nulls_come_back(lab: &dyn Lab) {
    let table =
        open(lab, "nulls", &[("id", ColumnType::INT64), ("a", ColumnType::TEXT), ("b", ColumnType::INT64)], &["id"])
            .await;
    let row = Row(vec![Value::Int(1), Value::Null, Value::Null]);
    assert!(table.write(&[Change::Insert { row: row.clone() }]).await.unwrap()[0].is_applied());
    assert_eq!(table.read(&[row.key(&[0])]).await.unwrap(), [Some(row.clone())]);
    let full = Row(vec![Value::Int(1), Value::Text(String::new()), Value::Int(0)]);
    let replaced = table.write(&[Change::Replace { seen: row.clone(), row: full.clone() }]).await.unwrap();
    assert!(replaced[0].is_applied(), "nulls are comparable: {replaced:?}");
    let stale = table.write(&[Change::Delete { seen: row }]).await.unwrap();
    assert!(!stale[0].is_applied(), "an empty text is not null");
    assert_eq!(table.read(&[full.key(&[0])]).await.unwrap(), [Some(full)]);
}

pub(super) async fn composite_keys_of_each_kind(lab: &dyn Lab) {
    for (n, ty) in [ColumnType::INT64, ColumnType::Text { max: Some(40) }, ColumnType::Uuid, ColumnType::Bytes]
        .into_iter()
        .enumerate()
    {
        let ty = if ty == ColumnType::Bytes && !lab.keeps(&ColumnType::Bytes) {
            ColumnType::Text { max: Some(40) }
        } else {
            ty
        };
        let table = open(
            lab,
            &format!("composite_{n}"),
            &[("tenant", ColumnType::Text { max: Some(40) }), ("v", ColumnType::TEXT), ("id", ty.clone())],
            &["tenant", "id"],
        )
        .await;
        // Some stores refuse empty keys and long binary keys; these are the samples in between.
        let ids: Vec<Value> = samples(&ty)
            .into_iter()
            .filter(|v| {
                !matches!(v, Value::Text(t) if t.is_empty())
                    && !matches!(v, Value::Bytes(b) if b.is_empty() || b.len() > 16)
            })
            .collect();
        let rows: Vec<Row> = ["a", "A", "ä"]
            .iter()
            .flat_map(|t| {
                ids.iter().map(move |id| {
                    Row(vec![Value::Text((*t).to_owned()), Value::Text(format!("{t}{id:?}")), id.clone()])
                })
            })
            .collect();
        let changes: Vec<Change> = rows.iter().cloned().map(|row| Change::Insert { row }).collect();
        assert!(
            table.write(&changes).await.unwrap().iter().all(crate::ChangeOutcome::is_applied),
            "keys are distinct by their bytes, also `a` and `A`"
        );
        let keys: Vec<_> = rows.iter().map(|r| r.key(&[0, 2])).collect();
        let back: Vec<Row> = table.read(&keys).await.unwrap().into_iter().flatten().collect();
        assert_eq!(back, rows);
    }
}

pub(super) async fn a_missing_table_is_named(lab: &dyn Lab) {
    let name = TableName::new("no_such_table_here");
    // A store without tables has nothing to describe.
    if let Err(e) = lab.store().describe(&name).await
        && e.kind() != ErrorKind::Unsupported
    {
        assert_eq!(e.kind(), ErrorKind::NoSuchTable, "{e:?}");
        assert!(e.to_string().contains("no_such_table_here"), "the table is named: {e}");
    }
}
