//! What instances say of tables and marks, over HTTP.

use crate::support::{Client, bench};
use crossfade_api::problem::{Code, Problem};
use crossfade_api::wire::*;
use crossfade_core::{MarkReason, Stage};

/// As many marks as one message carries, with as much text of keys, of characters that JSON writes in six bytes each.
fn as_much_as_lawful() -> MarkChange {
    let each = MARK_BYTES_AT_ONCE / MARKS_AT_ONCE;
    let key = |n: usize, len: usize| format!("{n:05}{}", "\u{1}".repeat(len - 5));
    let set = (0..MARKS_AT_ONCE).map(|n| MarkDoc {
        table: "t".into(),
        row: key(n, each / 2),
        cohort: key(n, each / 2 - 1),
        reason: MarkReason::SecondaryUnknown,
        generation: u64::MAX,
    });
    MarkChange { set: set.collect(), ..MarkChange::default() }
}

async fn tell(client: &Client, marks: &MarkChange) -> Result<(), Problem> {
    client.post("/v1/migrations/events/instances/a/marks", marks).await
}

#[tokio::test]
async fn as_many_marks_as_a_message_carries_fit_into_a_body() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::Shadow).await;
    admin.join("a", InstanceKind::Application).await;
    let marks = as_much_as_lawful();
    let text: usize = marks.set.iter().map(|mark| mark.table.len() + mark.row.len() + mark.cohort.len()).sum();
    assert!(text > MARK_BYTES_AT_ONCE - 2 * MARKS_AT_ONCE, "{text}");
    tell(admin, &marks).await.unwrap();
    let page: MarksPage = admin.get("/v1/migrations/events/marks").await.unwrap();
    assert_eq!((page.total, page.marks.len(), page.unlisted), (10_000, 10_000, 0));
    let mut more = marks;
    more.cleared.push(MarkRef { instance: None, table: "t".into(), row: "1".into(), generation: 1 });
    let refused = tell(admin, &more).await.unwrap_err();
    assert_eq!(refused.code, Code::Invalid, "{}", refused.detail);
    assert!(refused.detail.contains("10000 marks"), "{}", refused.detail);
}

#[tokio::test]
async fn instances_show_their_tables_and_an_operator_confirms_what_differs() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::Shadow).await;
    let revision = admin.join("a", InstanceKind::Application).await.publication.revision;
    admin.join("b", InstanceKind::Application).await;
    for (instance, operations) in [("a", "aaaa"), ("b", "bbbb")] {
        let table = TableDoc { table: "events".into(), can_check: instance == "a", operations: operations.into() };
        let (observations, marks) = (Observations::default(), MarkChange::default());
        let beat = Heartbeat { revision, sequence: 1, observations, marks, progress: None, tables: Some(vec![table]) };
        let path = format!("/v1/migrations/events/instances/{instance}/heartbeat");
        let _: HeartbeatAnswer = admin.post(&path, &beat).await.unwrap();
    }
    let all: Instances = admin.get("/v1/migrations/events/instances").await.unwrap();
    let checks: Vec<bool> =
        all.instances.iter().flat_map(|doc| doc.tables.iter().flatten()).map(|t| t.can_check).collect();
    assert_eq!(checks, [true, false]);
    let status = admin.status().await;
    let blind = CannotCheckDoc { instance: "b".into(), table: Some("events".into()) };
    assert_eq!(status.evidence.cannot_check, [blind]);
    let codes = |status: &Status| status.gate.blockers.iter().map(|blocker| blocker.code.clone()).collect::<Vec<_>>();
    assert_eq!(codes(&status)[..2], ["cannot-check", "operations-differ"]);
    assert!(!status.evidence.operations[0].confirmed);
    let confirm = |operations: &[&str]| {
        let operations = operations.iter().map(|hash| (*hash).to_owned()).collect();
        let request = ConfirmOperationsRequest { table: "events".into(), operations };
        let admin = admin.clone();
        async move { admin.post::<Status>("/v1/migrations/events/operations", &request).await }
    };
    assert_eq!(confirm(&["aaaa"]).await.unwrap_err().code, Code::NotReady);
    let status = confirm(&["aaaa", "bbbb"]).await.unwrap();
    assert!(status.evidence.operations[0].confirmed);
    assert!(!codes(&status).contains(&"operations-differ".to_owned()));
    let history: HistoryPage = admin.get("/v1/migrations/events/history").await.unwrap();
    let kinds: Vec<&str> = history.entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds[..3], ["operations-confirmed", "tables", "tables"]);
    assert_eq!(history.entries[0].by, "first-admin");
}
