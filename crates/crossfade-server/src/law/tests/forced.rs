//! Forced rollbacks (R20, R26): the target is down, and what waits for it would wait for ever.

use super::world::{LATE, SOON, World, at_shadow, mark};
use crossfade_api::problem::Code;
use crossfade_api::wire::*;
use crossfade_core::{Phase, Side, Stage};

fn at_live() -> World {
    let mut world = at_shadow();
    world.join("b", InstanceKind::Application);
    world.ramp(Stage::Live, "100").unwrap();
    world.finish();
    world
}

/// Both instances have the plan in force, and each acknowledges only what it can: operations towards the target never
/// end, so that only forced plans are acknowledged.
fn while_the_target_is_down(world: &mut World) {
    for _ in 0..10 {
        world.go_on(LATE);
        if !world.here().plan.forced() {
            return;
        }
        for id in world.here().unacknowledged.clone() {
            world.ack(&id);
        }
    }
    panic!("it goes on for ever: {:?}", world.here().step);
}

fn everybody_writes_the_source(world: &World) -> bool {
    let here = world.here();
    let (earlier, later) = here.plan.position().occupied();
    !here.is_held() && [earlier, later].iter().all(|stage| stage.authority() == Side::Source)
}

#[test]
fn from_ramp_down_two_forced_rollbacks_reach_shadow() {
    let mut world = at_live();
    // The target dies; the revision is never acknowledged, since its operations do not end.
    world.ramp(Stage::RampDown, "100").unwrap();
    assert_eq!(world.here().unacknowledged.len(), 2);
    assert_eq!(world.rollback(false), Err(Code::StepUnderWay));
    world.rollback(true).unwrap();
    assert_eq!(world.here().plan.position(), &crossfade_core::Position::at(Stage::Live));
    assert_eq!(world.here().unacknowledged.len(), 2);
    world.rollback(true).unwrap();
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
    assert_eq!(world.here().plan.position().stage(), Stage::Shadow);
}

#[test]
fn dead_target_then_nobody_acknowledges_then_force_reaches_shadow() {
    let mut world = at_shadow();
    world.join("b", InstanceKind::Application);
    world.ramp(Stage::Live, "100").unwrap();
    for _ in 0..2 {
        for id in ["a", "b"] {
            world.ack(id);
        }
        world.go_on(SOON);
    }
    assert!(!world.here().is_held() && world.here().plan.position().stage() == Stage::Live);
    assert_eq!(world.here().unacknowledged.len(), 2, "the target is dead: nobody acknowledges the release");
    world.rollback(true).unwrap();
    let here = world.here();
    assert!(matches!(here.plan.phase(), Phase::Hold { .. }) && here.plan.forced());
    assert!(here.last_step.as_ref().unwrap().abandoned.as_ref().unwrap().contains("forced rollback"));
    assert_eq!(world.rollback(true), Err(Code::StepUnderWay), "once is enough");
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
    assert_eq!(world.here().plan.position().stage(), Stage::Shadow);
    world.finish();
    assert_eq!(world.here().last_step.as_ref().unwrap().abandoned, None);
    assert!(world.here().waived_since.is_some());
}

#[test]
fn options_that_nobody_acknowledges_give_way_to_a_forced_rollback() {
    let mut world = at_live();
    let options = crossfade_core::Options { secondary_in_flight: 7, ..crossfade_core::Options::default() };
    let request = OptionsRequest { options, if_revision: world.here().revision.into() };
    let decision = world.here().set_options(&world.state, &request, &world.presence);
    world.ask(decision).unwrap();
    assert_eq!(world.rollback(false), Err(Code::StepUnderWay));
    world.rollback(true).unwrap();
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
}

#[test]
fn a_step_that_waits_before_its_hold_gives_way_to_a_forced_rollback() {
    let mut world = at_live();
    world.ramp(Stage::Live, "50").unwrap();
    world.rollback(false).unwrap();
    assert!(!world.here().is_held(), "given up, and not acknowledged");
    assert!(!world.here().unacknowledged.is_empty());
    world.rollback(true).unwrap();
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
}

#[test]
fn a_rollback_that_hangs_in_its_hold_goes_on_by_force() {
    let mut world = at_live();
    world.rollback(false).unwrap();
    assert!(world.here().is_held() && !world.here().plan.forced());
    world.rollback(true).unwrap();
    assert!(world.here().is_held() && world.here().plan.forced(), "the same hold, by force");
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
}

#[test]
fn a_rollback_that_hangs_in_its_move_goes_on_by_force() {
    let mut world = at_live();
    world.rollback(false).unwrap();
    for id in ["a", "b"] {
        world.ack(id);
    }
    world.go_on(SOON);
    assert!(matches!(world.here().plan.phase(), Phase::Move { .. }));
    world.rollback(true).unwrap();
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
    assert_eq!(world.here().plan.position().stage(), Stage::Shadow);
}

#[test]
fn a_move_forward_that_hangs_is_taken_back_by_force() {
    let mut world = at_shadow();
    world.join("b", InstanceKind::Application);
    world.ramp(Stage::Live, "100").unwrap();
    for id in ["a", "b"] {
        world.ack(id);
    }
    world.go_on(SOON);
    assert!(matches!(world.here().plan.phase(), Phase::Move { .. }));
    world.rollback(true).unwrap();
    assert!(matches!(world.here().plan.phase(), Phase::Hold { .. }) && world.here().plan.forced());
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
    assert_eq!(world.here().plan.position().stage(), Stage::Shadow);
}

#[test]
fn the_hold_of_a_move_that_was_given_up_ends_by_force() {
    let mut world = at_shadow();
    world.join("b", InstanceKind::Application);
    world.ramp(Stage::Live, "100").unwrap();
    for id in ["a", "b"] {
        world.ack(id);
    }
    world.go_on(SOON);
    world.go_on(LATE);
    assert!(world.here().is_held() && world.here().step.as_ref().unwrap().abandoned.is_some());
    world.go_on(LATE);
    assert!(world.here().is_held(), "it waits for whoever still reads the target");
    world.rollback(true).unwrap();
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
}

#[test]
fn a_hold_forward_with_keys_at_live_gives_way_to_force() {
    let mut world = at_shadow();
    world.join("b", InstanceKind::Application);
    world.ramp(Stage::Live, "50").unwrap();
    world.finish();
    world.ramp(Stage::Live, "100").unwrap();
    assert!(world.here().is_held());
    world.rollback(true).unwrap();
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
}

#[test]
fn a_hold_forward_without_keys_at_live_waives_nothing() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    world.rollback(true).unwrap();
    assert!(everybody_writes_the_source(&world));
    assert_eq!(world.here().waived_since, None);
}

#[test]
fn a_forced_rollback_is_not_given_up_at_the_bound_of_its_hold() {
    let mut world = at_live();
    world.tell("a", mark("1", "u"));
    world.rollback(true).unwrap();
    world.ack("a");
    for _ in 0..3 {
        world.go_on(LATE);
        assert!(matches!(world.here().plan.phase(), Phase::Hold { .. }), "`b` has not the plan in force");
    }
    world.ack("b");
    world.go_on(LATE);
    assert!(matches!(world.here().plan.phase(), Phase::Move { .. }));
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
}

#[test]
fn a_silent_instance_blocks_force_until_it_is_evicted_by_name() {
    let mut world = at_live();
    world.presence.silent.insert("b".into());
    let request =
        RollbackRequest { if_revision: world.here().revision.into(), force: true, confirm: Some("events".into()) };
    let refused = world.here().rollback(&world.state, &request, &world.presence).unwrap_err();
    assert_eq!(refused.code, Code::Silent);
    assert!(refused.detail.contains("evict b --dead"), "{}", refused.detail);
    let decision = world.here().evict(&["b".into()], &world.presence);
    world.ask(decision).unwrap();
    world.rollback(true).unwrap();
    while_the_target_is_down(&mut world);
    assert!(everybody_writes_the_source(&world));
}

#[test]
fn a_hold_that_does_not_outlast_the_linger_is_cautioned_against() {
    let mut world = at_shadow();
    assert!(world.here().cautions(&world.presence).is_empty());
    let options = crossfade_core::Options {
        hold_bound: std::time::Duration::from_secs(2),
        ..world.here().plan.options().clone()
    };
    let request = OptionsRequest { options, if_revision: world.here().revision.into() };
    let decision = world.here().set_options(&world.state, &request, &world.presence);
    world.ask(decision).unwrap();
    world.finish();
    let cautions = world.here().cautions(&world.presence);
    assert!(cautions[0].contains("hold-bound-ms is 2000 and linger-ms is 5000"), "{cautions:?}");
    assert_eq!(world.here().preview(None, &world.presence).unwrap().gate.cautions, cautions);
}
