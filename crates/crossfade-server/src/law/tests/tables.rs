//! Tables: what is in doubt, who can check it, and who runs other operations on it (R23 to R25).

use super::super::*;
use super::world::{LATE, SOON, World, at_shadow, mark, table};
use crossfade_api::problem::Code;
use crossfade_api::wire::*;
use crossfade_core::{Phase, Stage, Verdict};

const VERIFIED: Outcome = Outcome::Verdict(Verdict::Verified);

fn doubt(table: &str) -> MarkChange {
    MarkChange { suspect: vec![TableDoubt { table: table.into(), count: 1 }], ..MarkChange::default() }
}

fn codes(world: &World) -> Vec<String> {
    world.blockers().into_iter().map(|(code, _)| code).collect()
}

/// A verification that is told apart from others by its name.
fn begin(world: &mut World, id: &str) {
    world.join(id, InstanceKind::Verify);
    let (events, verdict) = world.here().begin_run(&world.state, id, &world.presence);
    verdict.unwrap();
    world.note(events);
}

fn end(world: &mut World, id: &str, outcome: Outcome) {
    let end = RunEnd { outcome, marks: MarkChange::default(), progress: None };
    let decision = world.here().end_run_with(id, &end);
    world.ask(decision).unwrap();
    let decision = world.here().leave(id, &Departure::default());
    world.ask(decision).unwrap();
}

#[test]
fn a_doubt_reported_during_a_verification_outlives_it() {
    let mut world = at_shadow();
    world.tell("a", doubt("orders"));
    assert_eq!(codes(&world), ["table-suspect"]);
    begin(&mut world, "v");
    world.tell("a", doubt("orders"));
    world.tell("a", doubt("users"));
    end(&mut world, "v", VERIFIED);
    let said = world.blockers();
    assert!(said[0].1.contains("2 events") && said[0].1.contains("table orders"), "{said:?}");
    assert!(said[1].1.contains("table users"), "{said:?}");
    assert_eq!(world.ramp(Stage::Live, "1"), Err(Code::Gate));
    world.run(InstanceKind::Verify, VERIFIED).unwrap();
    assert_eq!(codes(&world), [""; 0]);
    world.ramp(Stage::Live, "1").unwrap();
}

#[test]
fn only_a_verification_that_found_everything_equal_clears_a_doubt() {
    let mut world = at_shadow();
    world.tell("a", doubt("orders"));
    for found in [Verdict::Diverged(1), Verdict::Unknown(1)] {
        world.run(InstanceKind::Verify, Outcome::Verdict(found)).unwrap();
        assert!(codes(&world).contains(&"table-suspect".to_owned()), "{found:?}");
    }
    world.run(InstanceKind::Repair, Outcome::Complete).unwrap();
    begin(&mut world, "interrupted");
    end(&mut world, "interrupted", Outcome::Interrupted);
    assert!(codes(&world).contains(&"table-suspect".to_owned()));
}

#[test]
fn a_doubt_in_the_acknowledgement_of_a_hold_stops_the_move() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    world.ack_with("a", doubt("orders"));
    let why = world.go_on(SOON);
    assert!(why[0].contains("table orders"), "{why:?}");
    assert!(matches!(world.here().plan.phase(), Phase::Hold { .. }));
    world.go_on(LATE);
    world.finish();
    assert_eq!(world.here().plan.position().stage(), Stage::Shadow);
}

#[test]
fn what_an_older_library_cannot_name_is_a_doubt_and_no_mark() {
    let mut world = at_shadow();
    world.tell("a", MarkChange { unlisted: 3, ..MarkChange::default() });
    assert_eq!(codes(&world), ["table-suspect"]);
    assert!(world.blockers()[0].1.contains("3 events"));
    assert_eq!(world.here().marks_moving_to(&crossfade_core::Position::at(Stage::Live)), 0);
}

#[test]
fn tables_in_doubt_are_bounded_and_none_of_them_is_forgotten() {
    let mut world = at_shadow();
    for n in 0..2 * super::super::migration::TABLES {
        world.tell("a", doubt(&format!("t{n}")));
    }
    let doubts = &world.here().doubts;
    assert!(doubts.len() <= super::super::migration::TABLES + 1);
    assert_eq!(doubts.values().map(|doubt| doubt.count).sum::<u64>(), 2_000);
    world.run(InstanceKind::Verify, VERIFIED).unwrap();
    assert!(world.here().doubts.is_empty());
}

#[test]
fn a_clear_in_one_table_leaves_the_same_row_of_another_marked() {
    let mut world = at_shadow();
    let mut both = mark("42", "user-1");
    both.set.push(MarkDoc { table: "orders".into(), ..both.set[0].clone() });
    world.tell("a", both);
    let cleared = MarkRef { instance: None, table: "record".into(), row: "42".into(), generation: 9 };
    world.tell("a", MarkChange { cleared: vec![cleared], ..MarkChange::default() });
    let left: Vec<&str> = world.here().marks.keys().map(|key| key.table.as_str()).collect();
    assert_eq!(left, ["orders"]);
    assert_eq!(codes(&world), ["marks"]);
}

#[test]
fn a_row_marked_again_after_its_repair_blocks_again() {
    let mut world = at_shadow();
    world.tell("a", mark("42", "user-1"));
    let cleared = MarkRef { instance: Some("a".into()), table: "record".into(), row: "42".into(), generation: 1 };
    world.run(InstanceKind::Repair, Outcome::Complete).unwrap();
    world.tell("a", MarkChange { cleared: vec![cleared.clone()], ..MarkChange::default() });
    world.run(InstanceKind::Verify, VERIFIED).unwrap();
    assert_eq!(codes(&world), [""; 0]);
    let mut again = mark("42", "user-1");
    again.set[0].generation = 2;
    world.tell("a", again);
    // The clear of the first generation, told twice, has nothing to do with the second.
    world.tell("a", MarkChange { cleared: vec![cleared], ..MarkChange::default() });
    assert_eq!(codes(&world), ["marks"]);
    assert_eq!(world.ramp(Stage::Live, "100"), Err(Code::Gate));
}

#[test]
fn a_forced_rollback_lists_marks_by_table_and_tables_in_doubt() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    world.finish();
    let mut both = mark("42", "user-1");
    both.set.push(MarkDoc { table: "orders".into(), ..both.set[0].clone() });
    world.tell("a", both);
    world.tell("a", doubt("events"));
    let waived = world.here().waived();
    assert_eq!(waived.rows, [("orders".into(), "42".into()), ("record".into(), "42".into())]);
    assert_eq!((waived.marks, waived.suspect), (2, doubt("events").suspect));
}

#[test]
fn an_instance_that_cannot_check_a_table_keeps_authority_where_it_is() {
    let mut world = at_shadow();
    world.join_with("b", InstanceKind::Application, Some(vec![table("orders", false, ""), table("record", true, "")]));
    let said = world.blockers();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].0, "cannot-check");
    assert!(said[0].1.contains("instance b ") && said[0].1.contains("table orders"), "{said:?}");
    assert_eq!(world.ramp(Stage::Live, "1"), Err(Code::Gate));
    // Everything but a move of authority goes on.
    world.run(InstanceKind::Backfill, Outcome::Complete).unwrap();
    world.run(InstanceKind::Verify, VERIFIED).unwrap();
    world.rollback(false).unwrap();
    world.finish();
    world.ramp(Stage::Shadow, "100").unwrap();
    world.finish();
    world.tell_tables("b", &[table("orders", true, ""), table("record", true, "")]);
    // What it wrote before was not checked.
    world.run(InstanceKind::Verify, VERIFIED).unwrap();
    world.ramp(Stage::Live, "1").unwrap();
}

#[test]
fn no_report_of_tables_blocks_and_a_report_of_none_does_not() {
    let mut world = at_shadow();
    world.join_with("older", InstanceKind::Application, None);
    let said = world.blockers();
    assert!(said[0].0 == "cannot-check" && said[0].1.contains("instance older does not report"), "{said:?}");
    let decision = world.here().leave("older", &Departure::default());
    world.ask(decision).unwrap();
    world.run(InstanceKind::Verify, VERIFIED).unwrap();
    world.join_with("reader", InstanceKind::Application, Some(Vec::new()));
    world.join_with("r", InstanceKind::Verify, None);
    assert_eq!(codes(&world), [""; 0]);
}

#[test]
fn an_unchecked_table_reported_during_a_hold_stops_the_move() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    let tables = Some(vec![table("orders", false, ""), table("record", true, "")]);
    let ack = Acknowledgement { revision: world.here().revision.into(), marks: MarkChange::default(), tables };
    let decision = world.here().acknowledge("a", &ack);
    world.ask(decision).unwrap();
    let why = world.go_on(SOON);
    assert!(why[0].contains("table orders"), "{why:?}");
    assert!(matches!(world.here().plan.phase(), Phase::Hold { .. }));
}

#[test]
fn tables_are_logged_when_they_change_and_only_then() {
    let mut world = at_shadow();
    let before = world.log.len();
    world.tell_tables("a", &[table("record", true, "")]);
    assert_eq!(world.log.len(), before);
    world.tell_tables("a", &[table("record", true, ""), table("orders", true, "")]);
    world.tell_tables("a", &[table("orders", true, ""), table("record", true, "")]);
    assert_eq!(world.log.len(), before + 1, "the same in another order is no change");
    let replayed = world.log.iter().fold(State::default(), |state, entry| state.after(entry));
    assert_eq!(replayed, world.state);
}

#[test]
fn a_table_with_too_long_a_name_counts_as_unchecked() {
    let mut world = at_shadow();
    let long = "é".repeat(100);
    world.tell_tables("a", &[table(&long, true, &"f".repeat(100))]);
    let kept = world.here().instances["a"].tables.clone().unwrap();
    assert_eq!((kept[0].table.len(), kept[0].can_check, kept[0].operations.len()), (128, false, 64));
    let many: Vec<TableDoc> = (0..2_000).map(|n| table(&format!("t{n}"), true, "")).collect();
    world.tell_tables("a", &many);
    let kept = world.here().instances["a"].tables.clone().unwrap();
    assert_eq!(kept.len(), 1_001);
    assert!(world.blockers()[0].1.contains("table (others)"));
}

#[test]
fn a_restored_plane_asks_every_instance_for_its_tables_again() {
    let mut world = at_shadow();
    world.note(vec![Event::Started { restored: true }]);
    assert!(codes(&world).contains(&"cannot-check".to_owned()));
    let decision = world.here().report_marks("a", &MarkChange::default());
    assert_eq!(world.ask(decision), Err(Code::UnknownInstance));
    let holding = Publication { revision: world.here().revision.into(), plan: world.here().plan.spec() };
    let registration = Registration {
        instance: "a".into(),
        kind: InstanceKind::Application,
        host: String::new(),
        version: String::new(),
        holding: Some(holding),
        seen: None,
        tables: Some(vec![table("orders", false, "")]),
        sides: Vec::new(),
    };
    let decision = world.here().register(&world.state, &registration);
    world.ask(decision).unwrap();
    world.ack("a");
    assert!(world.blockers().iter().any(|(_, detail)| detail.contains("table orders")));
}

#[test]
fn two_sets_of_operations_wait_for_a_confirmation_of_both() {
    let mut world = at_shadow();
    world.tell_tables("a", &[table("record", true, "aaaa")]);
    world.join_with("b", InstanceKind::Application, Some(vec![table("record", true, "bbbb")]));
    world.join_with("c", InstanceKind::Application, Some(vec![table("record", true, "")]));
    let said = world.blockers();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].0 == "operations-differ" && said[0].1.contains("instances a and b"), "{said:?}");
    assert_eq!(world.ramp(Stage::Live, "1"), Err(Code::Gate));
    let confirm = |world: &mut World, operations: &[&str]| {
        let operations = operations.iter().map(|hash| (*hash).to_owned()).collect();
        let decision =
            world.here().confirm_operations(&ConfirmOperationsRequest { table: "record".into(), operations });
        world.ask(decision)
    };
    assert_eq!(confirm(&mut world, &["aaaa"]), Err(Code::NotReady));
    assert_eq!(confirm(&mut world, &["aaaa", "bbbb", "cccc"]), Err(Code::NotReady));
    confirm(&mut world, &["bbbb", "aaaa"]).unwrap();
    assert_eq!(codes(&world), [""; 0]);
    world.join_with("d", InstanceKind::Application, Some(vec![table("record", true, "dddd")]));
    let said = world.blockers();
    assert!(said[0].0 == "operations-differ" && said[0].1.contains(" d "), "a third one blocks again: {said:?}");
    let decision = world.here().leave("d", &Departure::default());
    world.ask(decision).unwrap();
    world.ramp(Stage::Live, "1").unwrap();
    world.finish();
    assert_eq!(world.here().plan.position().occupied().1, Stage::Live);
}

#[test]
fn other_operations_do_not_keep_the_source_from_being_left() {
    let mut world = at_shadow();
    for stage in [Stage::Live, Stage::RampDown] {
        world.ramp(stage, "100").unwrap();
        world.finish();
    }
    world.tell_tables("a", &[table("record", true, "aaaa")]);
    world.join_with("b", InstanceKind::Application, Some(vec![table("record", true, "bbbb")]));
    world.ramp(Stage::Complete, "100").unwrap();
}

#[test]
fn a_mark_with_too_long_a_key_blocks_no_acknowledgement() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    let mut marks = mark(&"r".repeat(LONGEST_MARK_KEY), &"c".repeat(LONGEST_MARK_KEY));
    marks.set.push(MarkDoc { row: "r".repeat(LONGEST_MARK_KEY + 1), ..marks.set[0].clone() });
    marks.set.push(MarkDoc {
        cohort: "c".repeat(LONGEST_MARK_KEY + 1),
        table: "orders".into(),
        ..marks.set[0].clone()
    });
    marks.set.push(MarkDoc { table: "t".repeat(129), ..marks.set[0].clone() });
    let row = "r".repeat(LONGEST_MARK_KEY + 1);
    marks.cleared.push(MarkRef { instance: None, table: "record".into(), row, generation: 1 });
    world.ack_with("a", marks);
    assert!(world.here().unacknowledged.is_empty());
    assert_eq!(world.here().marks.len(), 1, "what fits is a mark");
    let doubts: Vec<(&str, u64)> =
        world.here().doubts.iter().map(|(table, doubt)| (table.as_str(), doubt.count)).collect();
    assert_eq!(doubts, [("", 1), ("orders", 1), ("record", 1)]);
}

#[test]
fn what_an_instance_wrote_unchecked_needs_a_verification_after_it_has_left() {
    let mut world = at_shadow();
    world.join("b", InstanceKind::Application);
    world.tell_tables("b", &[table("orders", false, "")]);
    world.ack("b");
    assert_eq!(codes(&world), ["cannot-check"]);
    let decision = world.here().leave("b", &Departure::default());
    world.ask(decision).unwrap();
    assert_eq!(codes(&world), ["verification-too-old"], "its last write was never checked");
    world.run(InstanceKind::Verify, VERIFIED).unwrap();
    assert_eq!(codes(&world), [""; 0]);
}

#[test]
fn an_instance_that_learns_to_check_needs_a_verification_of_what_it_wrote_before() {
    let mut world = at_shadow();
    world.tell_tables("a", &[table("orders", false, "")]);
    world.tell_tables("a", &[table("orders", true, "")]);
    assert_eq!(codes(&world), ["verification-too-old"]);
}

#[test]
fn an_instance_that_joins_and_can_check_closes_no_gate_for_long() {
    let mut world = at_shadow();
    world.join_with("b", InstanceKind::Application, None);
    assert_eq!(codes(&world), ["cannot-check"], "it has not reported its tables yet");
    world.tell_tables("b", &[table("orders", true, "")]);
    assert_eq!(codes(&world), [""; 0]);
}
