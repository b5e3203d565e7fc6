//! What is on the wire stays on the wire: golden JSON, read back as the same value.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use crossfade_api::problem::{Code, Problem};
use crossfade_api::wire::*;
use crossfade_core::{Blocker, MarkReason, PlanSpec, Revision, Stage, Verdict};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let written = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("CROSSFADE_BLESS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, kept, "the wire changed: {path}; if on purpose, CROSSFADE_BLESS=1");
    assert_eq!(&serde_json::from_str::<T>(&kept).unwrap(), value);
}

fn publication() -> Publication {
    Publication {
        revision: Revision { incarnation: 1, number: 12, hash: 0x00f3_a4b5_c6d7_e8f9 }.into(),
        plan: PlanSpec::at("events", Stage::Shadow),
    }
}

fn tables() -> Vec<TableDoc> {
    let record = TableDoc { table: "record".into(), can_check: true, operations: "00f3a4b5c6d7e8f9".into() };
    vec![record, TableDoc { table: "audit".into(), can_check: false, operations: String::new() }]
}

fn marks() -> MarkChange {
    MarkChange {
        set: vec![MarkDoc {
            table: "record".into(),
            row: "42".into(),
            cohort: "user-1".into(),
            reason: MarkReason::SecondaryUnknown,
            generation: 3,
        }],
        cleared: vec![MarkRef { instance: None, table: "record".into(), row: "41".into(), generation: 2 }],
        unlisted: 0,
        suspect: vec![TableDoubt { table: "record".into(), count: 2 }],
    }
}

#[test]
fn what_instances_say() {
    golden(
        "registration",
        &Registration {
            instance: "app-7f9c-1".into(),
            kind: InstanceKind::Application,
            host: "app-7f9c".into(),
            version: "0.1.0".into(),
            holding: Some(publication()),
            seen: Some(publication().revision),
            tables: Some(tables()),
            sides: vec![SidesDoc {
                table: "record".into(),
                source: "postgres 7 16384 public.record".into(),
                target: "mysql 3 app.record".into(),
            }],
        },
    );
    golden(
        "registered",
        &Registered {
            publication: publication(),
            heartbeat_ms: 5_000,
            silent_after_ms: 20_000,
            other_databases: vec!["record".into()],
        },
    );
    golden("acknowledgement", &Acknowledgement { revision: publication().revision, marks: marks(), tables: None });
    let mut observations = Observations::default();
    let seen = observations.operations.entry("record".into()).or_default();
    seen.source.latency_us.record(750);
    seen.target.errors.insert("timeout".into(), 2);
    seen.comparisons = Comparisons { compared: 3, matched: 1, mismatched: 1, unknown: 1 };
    observations.mismatches.push(MismatchSample {
        at_ms: 1_700_000_000_000,
        operation: "events_of".into(),
        key_digest: "9f86d081".into(),
        fields: vec!["amount".into()],
        values: None,
    });
    golden(
        "heartbeat",
        &Heartbeat {
            revision: publication().revision,
            sequence: 9,
            observations,
            marks: MarkChange::default(),
            progress: Some(Progress { done: 10, total: Some(100), rate: 5, note: "events".into() }),
            tables: None,
        },
    );
    golden("run-end", &RunEnd { outcome: Outcome::Verdict(Verdict::Diverged(2)), marks: marks(), progress: None });
    golden("run-complete", &RunEnd { outcome: Outcome::Complete, marks: MarkChange::default(), progress: None });
}

#[test]
fn what_operators_ask() {
    let if_revision = publication().revision;
    golden(
        "ramp",
        &RampRequest { stage: Stage::Live, percent: "12.5".parse().unwrap(), pins: None, if_revision, confirm: None },
    );
    golden("rollback", &RollbackRequest { if_revision, force: true, confirm: Some("events".into()) });
    golden("writer", &WriterRequest { writer: "cron".into(), paused: false, confirm: Some("events".into()) });
    let operations = vec!["00f3a4b5c6d7e8f9".into(), "10f3a4b5c6d7e8f9".into()];
    golden("confirm-operations", &ConfirmOperationsRequest { table: "record".into(), operations });
    golden("evict", &EvictRequest { instances: vec!["app-1".into()], dead: true });
    let least: RampRequest =
        serde_json::from_str("{\"stage\":\"dualwrite\",\"if-revision\":\"1.1.0000000000000001\"}").unwrap();
    assert_eq!((least.stage, least.percent.buckets()), (Stage::DualWrite, 100_000));
    let unknown =
        serde_json::from_str::<RampRequest>("{\"stage\":\"off\",\"if-revision\":\"1.1.0000000000000001\",\"x\":1}");
    assert!(unknown.is_err(), "a misspelt wish must not be ignored");
}

#[test]
fn why_it_was_refused() {
    golden(
        "problem",
        &Problem::new(Code::Gate, "the gate before `live` refuses: 2 reasons")
            .with_blockers([Blocker::NotVerified, Blocker::Marks(3)].iter().map(BlockerDoc::from).collect()),
    );
    golden("waiting", &Problem::new(Code::Silent, "one is silent").waiting_for(vec!["app-1".into()]));
}

#[test]
fn readers_ignore_what_they_do_not_know() {
    let json = "{\"revision\":\"1.1.0000000000000001\",\"later\":true}";
    assert!(serde_json::from_str::<HeartbeatAnswer>(json).is_ok());
}

#[test]
fn each_code_and_each_blocker_has_a_runbook() {
    let page = |code: &str| {
        let path = format!("{}/../../docs/runbooks/{code}.md", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    for code in Code::ALL {
        assert!(page(code.name()).contains(code.title()), "{}", code.name());
    }
    for code in ["marks", "suspect", "repair-running", "backfill-not-started", "backfill-unfinished", "not-verified"] {
        assert!(page(code).contains("What to do"));
    }
    for code in ["table-suspect", "cannot-check", "operations-differ"] {
        assert!(page(code).contains("What to do") && page(code).contains("If you do nothing"));
    }
    for code in ["verification-too-old", "diverged", "verification-unknown", "checks-not-full", "bypassing-writer"] {
        assert!(page(code).contains("What to do"));
    }
}
