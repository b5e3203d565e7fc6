//! The walk itself: a sound pair comes through; pairs that are wrong in one way each do not.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use crossfade::Migration;
use crossfade::testing::{Violation, Visit, Walked, walk};
use std::sync::Arc;
use support::Pair;

struct Dao {
    pair: Pair,
    migration: Migration,
}

async fn writes_and_reads(dao: Arc<Dao>, visit: Visit) -> Result<(), String> {
    let id = visit.number % 5;
    let value = format!("{id}:{}", visit.number);
    dao.pair.write(&dao.migration, id, &value).await.map_err(|error| error.to_string())?;
    let read = dao.pair.read(&dao.migration, id).await.map_err(|error| error.to_string())?;
    if visit.number.is_multiple_of(3) {
        dao.pair.remove(&dao.migration, id).await.map_err(|error| error.to_string())?;
    }
    if read.as_ref() == Some(&value) { Ok(()) } else { Err(format!("wrote {value}, read {read:?}")) }
}

async fn run(attach: bool, scenario: impl AsyncFn(Arc<Dao>, Visit) -> Result<(), String>) -> Result<Walked, Violation> {
    let pair = Pair::default();
    let make = |migration: Migration| {
        if attach {
            migration.attach_rows(pair.clone());
        }
        Dao { pair: pair.clone(), migration }
    };
    walk("events", make, |dao| dao.pair.clone(), |dao, visit| scenario(dao, visit)).await
}

#[tokio::test(start_paused = true)]
async fn a_sound_pair_comes_through_every_stage_edge_and_fault() {
    let walked = run(true, writes_and_reads).await.unwrap();
    assert!(walked.visits > 200 && walked.verifications > 20 && walked.repaired > 50, "{walked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_beside_the_library_is_found() {
    let found = run(true, async |dao: Arc<Dao>, visit: Visit| {
        dao.pair.source.set(999, &format!("999:{}", visit.number));
        writes_and_reads(dao, visit).await
    });
    assert!(matches!(found.await, Err(Violation::NotEqual { .. })));
}

#[tokio::test(start_paused = true)]
async fn without_repair_a_failed_secondary_is_found() {
    let found = run(false, writes_and_reads).await;
    assert!(matches!(found, Err(Violation::StillMarked { .. })), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_scenario_says_is_handed_on() {
    let found = run(true, async |_, visit: Visit| if visit.number == 7 { Err("seven".to_owned()) } else { Ok(()) });
    assert!(matches!(found.await, Err(Violation::Scenario { what, .. }) if what == "seven"));
}
