//! Every call that a read, a dual write, a repair, a backfill and a move of authority make to a store meets every fault
//! once: before the effect, after it, late, twice, never answered. The promises hold each time.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

#[path = "../support/mod.rs"]
mod support;
mod world;

use crossfade::rows::{Pace, Progress, backfill};
use crossfade::{Checks, Position, Share, Side, Stage};
use std::collections::BTreeMap;
use std::time::Duration;
use support::Error;
use world::{Fault, LONG, World, migration};

/// Runs a scenario with each fault at its first call, at its second and so on, until there is none to meet it. Says
/// how many runs met one, by the name of the call.
async fn at_every_call(run: impl AsyncFn(usize, Fault) -> Option<(Side, &'static str)>) -> BTreeMap<&'static str, u32> {
    let mut met = BTreeMap::new();
    for fault in Fault::ALL {
        let mut nth = 0;
        while let Some((_, name)) = run(nth, fault).await {
            *met.entry(name).or_default() += 1;
            nth += 1;
            assert!(nth < 500, "a scenario without an end");
        }
    }
    met
}

const MIRRORED: [Stage; 4] = [Stage::DualWrite, Stage::Shadow, Stage::Live, Stage::RampDown];
const NO_CHECKS: Checks = Checks::Sample(Share::NONE);

#[tokio::test(start_paused = true)]
async fn a_read_gives_the_authoritys_answer_whatever_any_call_meets() {
    for stage in [Stage::Shadow, Stage::Live] {
        let met = at_every_call(async |nth, fault| {
            let world = World::of(&[(1, 10)]);
            let (migration, _control) = migration(&world, stage, NO_CHECKS).await;
            world.arm(nth, fault);
            let answer = world.read(&migration, 1).await;
            // The comparison goes on without the caller.
            tokio::time::sleep(LONG).await;
            let met = world.met();
            match met {
                Some((side, _)) if side == stage.authority() && fault != Fault::Twice => {
                    assert!(answer.is_err(), "{fault:?} at call {nth}: {answer:?}");
                }
                _ => assert_eq!(answer, Ok(Some(10)), "{fault:?} at call {nth}"),
            }
            assert_eq!(migration.observe().operations[0].mismatched, 0, "{fault:?} at call {nth}");
            met
        })
        .await;
        assert_eq!(met, BTreeMap::from([("read", 18)]), "{stage}");
    }
}

/// One dual write meets a fault; its answer is the authority's, and both sides end equal and lawful.
async fn write_once(
    stage: Stage,
    checks: Checks,
    wanted: Option<u64>,
    nth: usize,
    fault: Fault,
) -> Option<(Side, &'static str)> {
    let authority = stage.authority();
    let world = World::of(&[(1, 10), (2, 20)]);
    let (migration, _control) = migration(&world, stage, checks).await;
    world.arm(nth, fault);
    let answer = world.write(&migration, 1, wanted).await;
    let what = format!("{fault:?} at call {nth} of a write of {wanted:?} at {stage}");
    let at_once = world.rows(authority).get(&1).copied();
    if answer.is_ok() {
        assert_eq!(at_once, wanted, "P4: acknowledged, {what}");
        // Whatever goes on behind it, the next read sees it.
        if let Ok(read) = world.read(&migration, 1).await {
            assert_eq!(read, wanted, "P2: {what}");
        }
    }
    assert!(migration.drain(LONG).await.is_empty(), "still marked: {what}");
    let met = world.met();
    let of_authority = met == Some((authority, "write"));
    match (&answer, of_authority, fault) {
        (Ok(()), false, _) | (Ok(()), true, Fault::Twice) => {}
        (Err(Error::Definite), true, Fault::Refused) => assert_eq!(at_once, Some(10), "{what}"),
        (Err(Error::Lost), true, _) => {}
        _ => panic!("P1: {answer:?}, {what}"),
    }
    assert!(world.equal(), "P3: {what}: {world:?}");
    let end = world.rows(authority).get(&1).copied();
    match answer {
        Ok(()) => assert_eq!(end, wanted, "P4: {what}"),
        Err(Error::Definite) => assert_eq!(end, Some(10), "P4: {what}"),
        Err(_) => assert!(end == wanted || end == Some(10), "P4: {what}"),
    }
    assert_eq!(world.rows(authority).get(&2), Some(&20), "another row was touched: {what}");
    met
}

#[tokio::test(start_paused = true)]
async fn a_write_keeps_its_promises_whatever_any_call_meets() {
    for stage in MIRRORED {
        for wanted in [Some(11), None] {
            for checks in [NO_CHECKS, Checks::Full] {
                let met = at_every_call(async |nth, fault| write_once(stage, checks, wanted, nth, fault).await).await;
                // The repair of a write that met a fault is met too, with a fault on top only where the write went well.
                assert!(met["write"] >= 18, "{stage}: {met:?}");
                assert!(checks == NO_CHECKS || met["snapshot"] >= 18, "{stage}: {met:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_write_ends_before_the_next_step_whatever_it_meets() {
    let met = at_every_call(async |nth, fault| {
        let world = World::of(&[(1, 10)]);
        let (migration, control) = migration(&world, Stage::Off, NO_CHECKS).await;
        world.arm(nth, fault);
        let answer = world.write(&migration, 1, Some(11)).await;
        let met = world.met();
        // An effect that may still land holds up the step until its linger has passed.
        control.advance(Position::at(Stage::DualWrite)).await.unwrap();
        let end = world.rows(Side::Source).get(&1).copied();
        tokio::time::sleep(LONG).await;
        assert_eq!(world.rows(Side::Source).get(&1).copied(), end, "it landed after the step: {fault:?}");
        assert!(answer.is_err() || end == Some(11));
        met
    })
    .await;
    assert_eq!(met, BTreeMap::from([("write", 9)]));
}

#[tokio::test(start_paused = true)]
async fn a_repair_copies_the_truth_whatever_any_call_meets() {
    for stage in [Stage::DualWrite, Stage::Live] {
        for (before, truth) in [(&[][..], Some(11)), (&[(1, 10)], None)] {
            let met = at_every_call(async |nth, fault| {
                let world = World::of(before);
                let (migration, _control) = world::unrepaired(stage, NO_CHECKS).await;
                world.arm(1, Fault::Refused);
                world.write(&migration, 1, truth).await.unwrap();
                assert!(!world.equal());
                world.arm(nth, fault);
                // The mark is due: its repair begins.
                migration.attach_rows(world.clone());
                assert!(migration.drain(LONG).await.is_empty(), "still marked: {fault:?} at call {nth}");
                assert!(world.equal(), "P3: {fault:?} at call {nth} at {stage}: {world:?}");
                assert_eq!(world.rows(stage.authority()).get(&1).copied(), truth, "P4: {fault:?} at call {nth}");
                // What lands late was waited for: it does not bring back what is deleted now.
                world.delete_everything();
                tokio::time::sleep(LONG).await;
                assert!(world.is_empty(), "P4, later: {fault:?} at call {nth} at {stage}: {world:?}");
                world.met()
            })
            .await;
            assert!(met["snapshot"] >= 36 && met["restore"] >= 9, "{met:?}");
        }
    }
}

fn pace() -> Pace {
    let (timeout, linger) = (Duration::from_millis(100), Duration::from_millis(300));
    Pace { page: 2, at_once: 1, timeout, linger, attempts: 5 }
}

#[tokio::test(start_paused = true)]
async fn a_backfill_moves_history_whatever_any_call_meets() {
    let met = at_every_call(async |nth, fault| {
        if fault == Fault::Panics {
            // A panic in a DAO called by `backfill` is the caller's: nobody stands between.
            return None;
        }
        let world = World::of(&[(1, 10), (2, 20), (3, 30)]);
        *world.rows(Side::Target) = [(2, 5), (9, 90)].into_iter().collect();
        world.arm(nth, fault);
        let done = backfill(&world, Side::Source, &pace(), &Progress::default()).await;
        assert!(done.is_ok(), "{fault:?} at call {nth}: {done:?}");
        assert!(world.equal(), "P3: {fault:?} at call {nth}: {world:?}");
        assert_eq!(world.rows(Side::Source).len(), 3);
        // What lands late was waited for: it does not bring back what is deleted now.
        world.delete_everything();
        tokio::time::sleep(LONG).await;
        assert!(world.is_empty(), "P4, later: {fault:?} at call {nth}: {world:?}");
        world.met()
    })
    .await;
    assert!(met["scan"] >= 24 && met["restore"] >= 24 && met["snapshot"] >= 24, "{met:?}");
}

/// Authority moves there and back while somebody writes one value after the other, and reads each back.
async fn move_under_writes(nth: usize, fault: Fault) -> Option<(Side, &'static str)> {
    let world = World::of(&[(1, 0)]);
    let (migration, control) = migration(&world, Stage::Shadow, NO_CHECKS).await;
    world.arm(nth, fault);
    let what = format!("{fault:?} at call {nth} of a move");
    let writing = async {
        let (mut acknowledged, mut maybe) = (0, Vec::new());
        for value in 1..=6 {
            match world.write(&migration, 1, Some(value)).await {
                Ok(()) => acknowledged = value,
                Err(Error::Lost) => maybe.push(value),
                Err(Error::Definite | Error::Refused(_)) => {}
            }
            tokio::time::sleep(Duration::from_millis(7)).await;
            if let Ok(read) = world.read(&migration, 1).await {
                let read = read.unwrap();
                assert!(read == acknowledged || maybe.contains(&read), "P2: read {read} after {acknowledged}, {what}");
            }
        }
        (acknowledged, maybe)
    };
    let moving = async {
        for stage in [Stage::Live, Stage::Shadow] {
            // Abandoned in time is lawful too; what was begun is then undone.
            let _taken_or_not = control.advance(Position::at(stage)).await;
        }
    };
    let ((acknowledged, maybe), ()) = futures::future::join(writing, moving).await;
    assert!(migration.drain(LONG).await.is_empty(), "still marked: {what}");
    tokio::time::sleep(LONG).await;
    assert!(world.equal(), "P3: {what}: {world:?}");
    let end = world.rows(Side::Source)[&1];
    assert!(end == acknowledged || maybe.contains(&end), "P4: ends at {end} after {acknowledged}, {what}");
    world.met()
}

#[tokio::test(start_paused = true)]
async fn a_move_of_authority_keeps_every_promise_whatever_any_call_meets() {
    let met = at_every_call(move_under_writes).await;
    assert!(met["write"] >= 9 * 12 && met["read"] >= 9 * 6, "{met:?}");
}
