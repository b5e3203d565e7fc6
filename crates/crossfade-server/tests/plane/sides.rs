//! Between which tables runs may write, over HTTP.

use crate::support::{Client, bench};
use crossfade_api::problem::{Code, Problem};
use crossfade_api::wire::*;
use crossfade_core::Stage;

const RUNS: &str = "/v1/migrations/events/instances";

async fn register(client: &Client, run: &str, kind: InstanceKind, sides: &[[&str; 3]]) -> Result<Registered, Problem> {
    let sides = sides.iter().map(|[table, source, target]| SidesDoc {
        table: (*table).into(),
        source: (*source).into(),
        target: (*target).into(),
    });
    let request = Registration {
        instance: run.into(),
        kind,
        host: "here".into(),
        version: "0".into(),
        holding: None,
        seen: None,
        tables: None,
        sides: sides.collect(),
    };
    client.post(RUNS, &request).await
}

async fn begin(client: &Client, run: &str) -> Result<RunTicket, Problem> {
    client.post(&format!("{RUNS}/{run}/begin"), &()).await
}

async fn end(client: &Client, run: &str) {
    let end = RunEnd { outcome: Outcome::Interrupted, marks: MarkChange::default(), progress: None };
    client.post::<()>(&format!("{RUNS}/{run}/end"), &end).await.unwrap();
    client.post::<()>(&format!("{RUNS}/{run}/goodbye"), &Departure::default()).await.unwrap();
}

#[tokio::test]
async fn a_run_with_the_sides_of_an_earlier_one_the_other_way_round_is_refused() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::DualWrite).await;
    // Who has only registered, and a verification, have written nothing.
    register(admin, "wrong", InstanceKind::Backfill, &[["events", "b", "a"]]).await.unwrap();
    register(admin, "right", InstanceKind::Backfill, &[["events", "a", "b"]]).await.unwrap();
    begin(admin, "right").await.unwrap();
    let refused = begin(admin, "wrong").await.unwrap_err();
    assert_eq!((refused.code, refused.status), (Code::SwappedSides, 409));
    end(admin, "right").await;

    for (n, sides) in [
        ["events", "b", "a"],
        ["events", "b", "c"],
        ["events", "c", "a"],
        // Under the name that the table has in the target.
        ["events_v2", "b", "a"],
    ]
    .into_iter()
    .enumerate()
    {
        for kind in [InstanceKind::Backfill, InstanceKind::Verify, InstanceKind::Repair] {
            let refused = register(admin, &format!("run-{n}-{}", kind.name()), kind, &[sides]).await.unwrap_err();
            assert_eq!(refused.code, Code::SwappedSides, "{sides:?}: {}", refused.detail);
            assert!(refused.detail.contains("crossfade.toml"), "{}", refused.detail);
        }
    }
    // Nothing is known of these: a chain of tables, another table, and a server that cannot tell.
    for (n, sides) in [&[["more", "b", "c"]][..], &[["other", "x", "y"]], &[]].into_iter().enumerate() {
        let registered = register(admin, &format!("fine-{n}"), InstanceKind::Repair, sides).await.unwrap();
        assert_eq!(registered.other_databases, [""; 0], "{sides:?}");
    }
}

#[tokio::test]
async fn another_database_is_said_once_and_the_first_is_not_forgotten() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::DualWrite).await;
    for (run, sides, said) in [
        ("first", ["events", "a", "b"], false),
        ("restored", ["events", "a", "b2"], true),
        ("again", ["events", "a", "b2"], false),
        ("renamed", ["events", "a2", "b2"], true),
    ] {
        let registered = register(admin, run, InstanceKind::Repair, &[sides]).await.unwrap();
        assert_eq!(registered.other_databases == ["events"], said, "{run}");
        begin(admin, run).await.unwrap();
        end(admin, run).await;
    }
    for sides in [["events", "b2", "a2"], ["events", "b", "a"]] {
        let refused = register(admin, "swapped", InstanceKind::Repair, &[sides]).await.unwrap_err();
        assert_eq!(refused.code, Code::SwappedSides, "{sides:?}");
    }
}
