//! Which plan may follow which.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::cohort::{Bucket, CohortKey};
use crate::options::Options;
use crate::plan::{PhaseSpec, PlanSpec, RampSpec};
use crate::position::{End, Pin, tests::positions};
use proptest::prelude::*;

fn plan(position: Position) -> Plan {
    Plan::new(PlanSpec::at("events", Stage::Off)).unwrap().settled_at(position).unwrap()
}

fn at(stage: Stage) -> Plan {
    plan(Position::at(stage))
}

fn ramping(stage: Stage, percent: &str) -> Position {
    Position::ramping(stage.edge().unwrap(), percent.parse().unwrap())
}

#[test]
fn the_whole_way_forward_and_back_is_lawful_edge_by_edge() {
    for edge in Edge::all() {
        let mut here = at(edge.earlier());
        for position in [ramping(edge.earlier(), "10"), ramping(edge.earlier(), "100"), Position::at(edge.later())] {
            for next in here.steps_to(position).unwrap() {
                here.admit(&next).unwrap();
                here = next;
            }
        }
        let back = here.steps_to(Position::at(edge.earlier()));
        if edge.leaves_source() {
            assert!(matches!(back, Err(StepError::NoReturn { .. })));
        } else {
            for next in back.unwrap() {
                here.admit(&next).unwrap();
                here = next;
            }
            assert_eq!(here.position(), &Position::at(edge.earlier()));
        }
    }
}

#[test]
fn a_jump_over_an_edge_is_refused() {
    let jump = at(Stage::Off).admit(&at(Stage::Shadow)).unwrap_err();
    assert_eq!(jump, StepError::TwoEdges { from: "off".into(), to: "shadow".into() });
    let half = plan(ramping(Stage::Off, "50"));
    assert!(half.admit(&plan(ramping(Stage::DualWrite, "50"))).is_err());
    assert!(matches!(half.steps_to(Position::at(Stage::Shadow)), Err(StepError::TwoEdges { .. })));
}

#[test]
fn authority_moves_by_hold_move_and_release_only() {
    let shadow = at(Stage::Shadow);
    let live = at(Stage::Live);
    assert!(matches!(shadow.admit(&live), Err(StepError::Unheld { .. })));
    let steps = shadow.steps_to(Position::at(Stage::Live)).unwrap();
    let [hold, moved, released] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(shadow.admit(hold), Ok(Step::Hold { forward: true }));
    assert_eq!(hold.admit(moved), Ok(Step::Move { forward: true }));
    assert_eq!(moved.admit(released), Ok(Step::Release));
    assert_eq!(released, &live);
    assert!(matches!(shadow.admit(moved), Err(StepError::Unheld { .. })));
    assert!(matches!(hold.admit(&live), Err(StepError::UnderWay { .. })));
    assert_eq!(hold.admit(hold), Ok(Step::Stay));
    assert!(matches!(hold.steps_to(Position::at(Stage::Live)), Err(StepError::UnderWay { .. })));
    // Whoever is still at move reads the new authority: nobody may write under the old one yet.
    assert!(matches!(moved.admit(&shadow), Err(StepError::UnderWay { .. })));
    assert_eq!(hold.abandoned().as_ref(), Some(&shadow));
    assert_eq!(hold.admit(&shadow), Ok(Step::Abandon));
    assert_eq!(moved.abandoned().as_ref(), Some(hold));
    assert_eq!(moved.admit(hold), Ok(Step::Abandon));
    assert_eq!(shadow.abandoned(), None);
    let back = live.steps_to(Position::at(Stage::Shadow)).unwrap();
    assert_eq!(live.admit(&back[0]), Ok(Step::Hold { forward: false }));
    assert_eq!(back[0].admit(&back[1]), Ok(Step::Move { forward: false }));
}

/// A plan in the middle of a move, made by somebody else than `steps_to`.
fn held(position: &Position, phase: PhaseSpec) -> Plan {
    Plan::new(PlanSpec { phase, ..plan(position.clone()).spec() }).unwrap()
}

#[test]
fn a_step_of_a_move_follows_only_from_the_step_before_it() {
    let [a, b, c] = ["10", "20", "30"].map(|percent| ramping(Stage::Shadow, percent));
    let hold = |here: &Position, goal: &Position| held(here, PhaseSpec::Hold(plan(goal.clone()).spec().position));
    let moved =
        |here: &Position, previous: &Position| held(here, PhaseSpec::Move(plan(previous.clone()).spec().position));
    // The hold is of where the plan stands.
    assert_eq!(plan(a.clone()).admit(&hold(&a, &b)), Ok(Step::Hold { forward: true }));
    assert!(matches!(plan(a.clone()).admit(&hold(&b, &c)), Err(StepError::Unheld { .. })));
    // The move leads from where the hold stands to where it leads.
    let under_way = |from: Plan, to: Plan| matches!(from.admit(&to), Err(StepError::UnderWay { .. }));
    assert_eq!(hold(&a, &b).admit(&moved(&b, &a)), Ok(Step::Move { forward: true }));
    assert!(under_way(hold(&a, &b), moved(&c, &a)));
    assert!(under_way(hold(&a, &b), moved(&b, &c)));
    assert!(under_way(hold(&a, &b), moved(&c, &b)));
    // The way back leads by the very hold that was left.
    assert_eq!(moved(&b, &a).admit(&hold(&a, &b)), Ok(Step::Abandon));
    assert!(under_way(moved(&b, &a), hold(&c, &b)));
    assert!(under_way(moved(&b, &a), hold(&a, &c)));
    assert!(under_way(moved(&b, &a), hold(&c, &a)));
    // And the end of either is where it stands.
    assert!(under_way(hold(&a, &b), plan(b.clone())));
    assert!(under_way(moved(&b, &a), plan(a)));
}

#[test]
fn only_hold_and_move_of_a_forced_rollback_are_forced() {
    let live = at(Stage::Live);
    let plans = live.forced_steps_to(Position::at(Stage::Shadow)).unwrap();
    assert_eq!(plans.iter().map(Plan::forced).collect::<Vec<_>>(), [true, true, false]);
    let steps: Vec<_> = [&live].into_iter().chain(&plans).zip(&plans).map(|(a, b)| a.admit(b).unwrap()).collect();
    assert_eq!(steps, [Step::Hold { forward: false }, Step::Move { forward: false }, Step::Release]);
    assert_eq!(plans[2], at(Stage::Shadow));
    // A plan says so on the wire, and only when it is forced.
    let json = serde_json::to_string(&plans[0].spec()).unwrap();
    assert!(json.contains("\"forced\":true"), "{json}");
    assert_eq!(Plan::new(serde_json::from_str(&json).unwrap()).as_ref(), Ok(&plans[0]));
    assert!(!serde_json::to_string(&plans[2].spec()).unwrap().contains("forced"));
    let settled = PlanSpec { forced: true, ..live.spec() };
    assert_eq!(Plan::new(settled), Err(PlanError::ForcedSettled));
    // Where no authority moves there is nothing to force.
    let ramped = at(Stage::RampDown).forced_steps_to(Position::at(Stage::Live)).unwrap();
    assert!(ramped.len() == 1 && !ramped[0].forced());
    assert!(!plans[0].settled_at(Position::at(Stage::Live)).unwrap().forced());
}

#[test]
fn a_forced_hold_and_a_move_that_is_not_forced_do_not_mix() {
    let live = at(Stage::Live);
    let calm = live.steps_to(Position::at(Stage::Shadow)).unwrap();
    let forced = live.forced_steps_to(Position::at(Stage::Shadow)).unwrap();
    assert!(matches!(calm[0].admit(&forced[1]), Err(StepError::UnderWay { .. })));
    assert!(matches!(forced[0].admit(&calm[1]), Err(StepError::UnderWay { .. })));
    // Force is added to a move that is under way, and never taken back.
    for held in 0..2 {
        assert_eq!(calm[held].admit(&forced[held]), Ok(Step::Stay));
        assert!(matches!(forced[held].admit(&calm[held]), Err(StepError::UnderWay { .. })));
    }
    // What is given up is waited for, unless that is forced in turn.
    assert_eq!(forced[0].abandoned(), Some(live.clone()));
    assert_eq!(forced[1].abandoned().as_ref(), Some(&calm[0]));
    assert_eq!(forced[1].admit(&calm[0]), Ok(Step::Abandon));
    assert_eq!(calm[1].admit(&forced[0]), Ok(Step::Abandon));
}

#[test]
fn from_within_a_move_a_forced_rollback_leads_to_either_end_of_it() {
    let (shadow, live) = (Position::at(Stage::Shadow), Position::at(Stage::Live));
    for (from, to) in [(&shadow, &live), (&live, &shadow)] {
        let steps = plan(from.clone()).steps_to(to.clone()).unwrap();
        for held in &steps[..2] {
            for goal in [&shadow, &live] {
                let plans = held.forced_steps_to(goal.clone()).unwrap();
                let mut here = held.clone();
                for next in &plans {
                    here.admit(next).unwrap();
                    here = next.clone();
                }
                assert_eq!(here, plan(goal.clone()));
                assert!(plans[0].forced(), "the first is not waited for by what may hang");
            }
            let elsewhere = held.forced_steps_to(Position::at(Stage::DualWrite));
            assert!(matches!(elsewhere, Err(StepError::UnderWay { .. })));
        }
    }
}

#[test]
fn what_is_fixed_for_the_whole_migration_stays() {
    let here = at(Stage::Off);
    let other = Plan::new(PlanSpec::at("orders", Stage::Off)).unwrap();
    assert!(matches!(here.admit(&other), Err(StepError::OtherMigration { .. })));
    let salted = Plan::new(PlanSpec { salt: Some("new".into()), ..PlanSpec::at("events", Stage::Off) }).unwrap();
    assert_eq!(here.admit(&salted), Err(StepError::Salt));
    let whole = Plan::new(PlanSpec { whole: true, ..PlanSpec::at("events", Stage::Off) }).unwrap();
    assert_eq!(here.admit(&whole), Err(StepError::Whole));
    assert!(matches!(
        Plan::new(PlanSpec { whole: true, ..PlanSpec::at("events", Stage::Shadow) })
            .unwrap()
            .steps_to(ramping(Stage::Shadow, "5")),
        Err(StepError::Plan(PlanError::Whole))
    ));
}

#[test]
fn options_change_while_nobody_moves() {
    let here = at(Stage::Shadow);
    let full = here.with_options(Options { checks: crate::options::Checks::Full, ..Options::default() }).unwrap();
    assert_eq!(here.admit(&full), Ok(Step::Stay));
}

#[test]
fn leaving_dual_write_backwards_ends_the_targets_claim() {
    let back = at(Stage::DualWrite).admit(&plan(ramping(Stage::Off, "40"))).unwrap();
    assert_eq!(back, Step::Ramp { edge: Stage::Off.edge().unwrap(), forward: false });
    assert!(back.ends_target_claim());
    let forward = at(Stage::Off).admit(&at(Stage::DualWrite)).unwrap();
    assert!(!forward.ends_target_claim() && !forward.leaves_source());
    assert!(!at(Stage::Shadow).admit(&at(Stage::DualWrite)).unwrap().ends_target_claim());
    assert!(at(Stage::RampDown).admit(&plan(ramping(Stage::RampDown, "1"))).unwrap().leaves_source());
}

#[test]
fn a_key_that_goes_back_by_its_pin_alone_ends_the_targets_claim_too() {
    let pin = |end| Pin { key: "us".into(), end };
    let with = |percent, pins: Vec<Pin>| plan(ramping(Stage::Off, percent).with_pins(pins));
    let step = |forward| Ok(Step::Ramp { edge: Stage::Off.edge().unwrap(), forward });
    let [none, first, last] = [vec![], vec![pin(End::Later)], vec![pin(End::Earlier)]];
    assert_eq!(with("50", none.clone()).admit(&with("50", first.clone())), step(true));
    assert_eq!(with("50", last.clone()).admit(&with("50", none.clone())), step(true));
    // Its bucket may be anywhere: whoever was written to both sides may be written to one alone from now on.
    assert_eq!(with("50", first.clone()).admit(&with("50", last.clone())), step(false));
    assert_eq!(with("50", first.clone()).admit(&with("60", none.clone())), step(false));
    assert_eq!(with("50", none.clone()).admit(&with("60", last.clone())), step(false));
    assert_eq!(at(Stage::DualWrite).admit(&with("100", last.clone())), step(false));
    // Where nobody was, and where everybody is, nobody goes back.
    assert_eq!(with("0", none.clone()).admit(&with("10", last.clone())), step(true));
    assert_eq!(with("50", first.clone()).admit(&with("100", none.clone())), step(true));
    assert_eq!(with("50", first.clone()).admit(&at(Stage::DualWrite)), step(true));
    assert_eq!(at(Stage::Off).admit(&with("10", last)), step(true));
    assert!(with("50", first).admit(&with("50", none)).unwrap().ends_target_claim());
}

#[test]
fn nobody_comes_back_from_complete_by_losing_a_pin() {
    let us = Pin { key: "us".into(), end: End::Later };
    let pinned = plan(ramping(Stage::RampDown, "0").with_pins(vec![us.clone()]));
    assert!(matches!(pinned.admit(&plan(ramping(Stage::RampDown, "0"))), Err(StepError::NoReturn { .. })));
    assert!(pinned.admit(&plan(ramping(Stage::RampDown, "5").with_pins(vec![us]))).is_ok());
    assert!(pinned.admit(&at(Stage::Complete)).is_ok());
    let late = Pin { key: "bank".into(), end: End::Earlier };
    let open = plan(ramping(Stage::RampDown, "50"));
    assert!(matches!(
        open.admit(&plan(ramping(Stage::RampDown, "60").with_pins(vec![late.clone()]))),
        Err(StepError::NoReturn { .. })
    ));
    let with = |percent, pins: &[&Pin]| {
        plan(ramping(Stage::RampDown, percent).with_pins(pins.iter().map(|pin| (*pin).clone()).collect()))
    };
    assert!(at(Stage::RampDown).admit(&with("60", &[&late])).is_ok());
    assert!(matches!(at(Stage::Complete).admit(&with("100", &[&late])), Err(StepError::NoReturn { .. })));
    // Another key's pin does not stand for the one that was lost, nor does its own at the other end.
    let them = Pin { key: "them".into(), end: End::Later };
    assert!(matches!(pinned.admit(&with("5", &[&them])), Err(StepError::NoReturn { .. })));
    assert!(matches!(
        pinned.admit(&with("5", &[&Pin { key: "us".into(), end: End::Earlier }])),
        Err(StepError::NoReturn { .. })
    ));
    // Who was held back before stays so, and who is pinned forward loses nothing.
    assert!(with("50", &[&late]).admit(&with("60", &[&late])).is_ok());
    assert!(with("50", &[&late]).admit(&with("60", &[&late, &them])).is_ok());
    assert!(open.admit(&with("60", &[&them])).is_ok());
}

proptest! {
    #[test]
    fn every_admitted_step_keeps_each_key_on_one_edge(a in positions(), b in positions(), bucket in 0u32..100_000, key in "[a-h]") {
        let (bucket, key) = (Bucket::new(bucket).unwrap(), CohortKey::new(&key).unwrap());
        if let Ok(steps) = plan(a.clone()).steps_to(b.clone()) {
            let (from, to) = (a.stage_of(bucket, key) as i8, b.stage_of(bucket, key) as i8);
            prop_assert!((from - to).abs() <= 1);
            prop_assert!(!(from == Stage::Complete as i8 && to < from), "came back from complete");
            let mut here = plan(a);
            let mut ended = false;
            for next in steps {
                ended |= here.admit(&next).unwrap().ends_target_claim();
                here = next;
            }
            prop_assert!(ended || from != Stage::DualWrite as i8 || to != Stage::Off as i8, "back at off with a claim");
            prop_assert_eq!(here, plan(b));
        }
    }

    #[test]
    fn a_held_key_has_one_authority_from_hold_to_release(a in positions(), b in positions(), bucket in 0u32..100_000, key in "[a-h]") {
        let (bucket, key) = (Bucket::new(bucket).unwrap(), CohortKey::new(&key).unwrap());
        if let Ok(steps) = plan(a.clone()).steps_to(b.clone()) && steps.len() == 3 {
            let held = |p: &Plan| match p.phase() {
                Phase::Hold { next: other } | Phase::Move { previous: other } => p.position().moves(other, bucket, key).is_some(),
                Phase::Settled => false,
            };
            let moves = a.moves(&b, bucket, key).is_some();
            prop_assert_eq!([held(&steps[0]), held(&steps[1]), held(&steps[2])], [moves, moves, false]);
        }
    }
}

#[test]
fn a_ramp_spec_reads_back() {
    let spec: RampSpec = serde_json::from_str("{\"to\":\"shadow\",\"percent\":12.5}").unwrap();
    assert_eq!(spec.percent.buckets(), 12_500);
}
