//! Conditional writes.

use std::sync::Arc;

use super::{Lab, open};
use crate::{Change, ChangeOutcome, ColumnType, Row, RowKey, Table, Value};

async fn notes(lab: &dyn Lab, name: &str) -> Arc<dyn Table> {
    open(lab, name, &[("id", ColumnType::INT64), ("note", ColumnType::TEXT)], &["id"]).await
}

fn note(id: i64, text: &str) -> Row {
    Row(vec![Value::Int(id), Value::Text(text.to_owned())])
}

async fn now(table: &dyn Table, id: i64) -> Option<Row> {
    table.read(&[RowKey(vec![Value::Int(id)])]).await.unwrap().remove(0)
}

pub(super) async fn insert_never_overwrites(lab: &dyn Lab) {
    let table = notes(lab, "insert_once").await;
    assert!(table.write(&[Change::Insert { row: note(1, "first") }]).await.unwrap()[0].is_applied());
    let again = table.write(&[Change::Insert { row: note(1, "second") }]).await.unwrap();
    assert!(matches!(again[0], ChangeOutcome::LostRace), "{again:?}");
    assert_eq!(now(&*table, 1).await, Some(note(1, "first")));
}

pub(super) async fn replace_and_delete_only_what_was_seen(lab: &dyn Lab) {
    let table = notes(lab, "replace_seen").await;
    assert!(table.write(&[Change::Insert { row: note(1, "a") }]).await.unwrap()[0].is_applied());
    let stale = table.write(&[Change::Replace { seen: note(1, "b"), row: note(1, "c") }]).await.unwrap();
    assert!(matches!(stale[0], ChangeOutcome::LostRace), "{stale:?}");
    let stale = table.write(&[Change::Delete { seen: note(1, "b") }]).await.unwrap();
    assert!(matches!(stale[0], ChangeOutcome::LostRace), "{stale:?}");
    assert_eq!(now(&*table, 1).await, Some(note(1, "a")));
    // Replacing by the same value is applied, not lost.
    let same = table.write(&[Change::Replace { seen: note(1, "a"), row: note(1, "a") }]).await.unwrap();
    assert!(same[0].is_applied(), "{same:?}");
    assert!(table.write(&[Change::Replace { seen: note(1, "a"), row: note(1, "b") }]).await.unwrap()[0].is_applied());
    assert!(table.write(&[Change::Delete { seen: note(1, "b") }]).await.unwrap()[0].is_applied());
    assert_eq!(now(&*table, 1).await, None);
    let gone = table
        .write(&[Change::Delete { seen: note(1, "b") }, Change::Replace { seen: note(2, "x"), row: note(2, "y") }])
        .await
        .unwrap();
    assert!(
        gone.iter().all(|o| matches!(o, ChangeOutcome::LostRace)),
        "what is gone cannot be deleted or replaced: {gone:?}"
    );
    assert_eq!((now(&*table, 1).await, now(&*table, 2).await), (None, None));
}

pub(super) async fn outcomes_are_per_row(lab: &dyn Lab) {
    let table = notes(lab, "per_row").await;
    assert!(
        table
            .write(&[Change::Insert { row: note(2, "there") }, Change::Insert { row: note(4, "there") }])
            .await
            .unwrap()[0]
            .is_applied()
    );
    let outcomes = table
        .write(&[
            Change::Insert { row: note(1, "new") },
            Change::Insert { row: note(2, "new") },
            Change::Replace { seen: note(4, "there"), row: note(4, "new") },
            Change::Delete { seen: note(3, "never") },
        ])
        .await
        .unwrap();
    let applied: Vec<bool> = outcomes.iter().map(ChangeOutcome::is_applied).collect();
    assert_eq!(applied, [true, false, true, false], "{outcomes:?}");
    assert_eq!(now(&*table, 2).await, Some(note(2, "there")));
    assert!(table.write(&[]).await.unwrap().is_empty());
    assert!(table.read(&[]).await.unwrap().is_empty());
}

pub(super) async fn numerically_equal_is_not_what_was_seen(lab: &dyn Lab) {
    if lab.keeps(&ColumnType::Float64) {
        let table = open(lab, "zeros", &[("id", ColumnType::INT64), ("v", ColumnType::Float64)], &["id"]).await;
        let row = |v: f64| Row(vec![Value::Int(1), Value::Float64(v)]);
        assert!(table.write(&[Change::Insert { row: row(-0.0) }]).await.unwrap()[0].is_applied());
        let stale = table.write(&[Change::Replace { seen: row(0.0), row: row(1.0) }]).await.unwrap();
        assert!(matches!(stale[0], ChangeOutcome::LostRace), "-0 is not 0: {stale:?}");
    }
    let table = notes(lab, "cases").await;
    assert!(table.write(&[Change::Insert { row: note(1, "Straße ") }]).await.unwrap()[0].is_applied());
    for near in ["strasse ", "STRASSE ", "Straße", "straße ", "Stra\u{df}e  "] {
        let stale = table.write(&[Change::Delete { seen: note(1, near) }]).await.unwrap();
        assert!(matches!(stale[0], ChangeOutcome::LostRace), "{near:?} is not what is there: {stale:?}");
    }
}

pub(super) async fn many_at_once(lab: &dyn Lab) {
    let table = notes(lab, "many").await;
    let changes: Vec<Change> = (0..1_500).map(|i| Change::Insert { row: note(i, "v1") }).collect();
    assert!(table.write(&changes).await.unwrap().iter().all(ChangeOutcome::is_applied));
    // A mix larger than any store's batch: every third is stale, the rest is replaced or deleted.
    let mix: Vec<Change> = (0..1_500)
        .map(|i| match i % 3 {
            0 => Change::Replace { seen: note(i, "never"), row: note(i, "wrong") },
            1 => Change::Replace { seen: note(i, "v1"), row: note(i, "v2") },
            _ => Change::Delete { seen: note(i, "v1") },
        })
        .collect();
    let outcomes = table.write(&mix).await.unwrap();
    assert_eq!(outcomes.len(), 1_500);
    for (i, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_applied(), i % 3 != 0, "{i}: {outcome:?}");
    }
    let keys: Vec<RowKey> = (0..1_500).map(|i| RowKey(vec![Value::Int(i)])).collect();
    for (i, row) in table.read(&keys).await.unwrap().into_iter().enumerate() {
        let wanted = match i % 3 {
            0 => Some(note(i as i64, "v1")),
            1 => Some(note(i as i64, "v2")),
            _ => None,
        };
        assert_eq!(row, wanted);
    }
}

pub(super) async fn racing_replacements_have_one_winner(lab: &dyn Lab) {
    let table = notes(lab, "race").await;
    for round in 0..10 {
        assert!(table.write(&[Change::Insert { row: note(round, "start") }]).await.unwrap()[0].is_applied());
        let racers = (0..4).map(|n| {
            let table = table.clone();
            async move {
                let mine = [Change::Replace { seen: note(round, "start"), row: note(round, &format!("racer {n}")) }];
                loop {
                    match table.write(&mine).await {
                        Ok(outcomes) => return outcomes[0].is_applied(),
                        Err(e) if e.recovery() == crate::Recovery::Slower => {}
                        Err(e) => panic!("{e:?}"),
                    }
                }
            }
        });
        let won = futures::future::join_all(racers).await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "round {round}");
    }
}
