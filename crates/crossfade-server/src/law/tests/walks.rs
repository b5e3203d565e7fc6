//! Random walks: whatever is asked in whatever order, no rule breaks, and the log tells it all again.

use super::super::*;
use super::world::{LATE, SOON, World, mark};
use crossfade_api::wire::*;
use crossfade_core::{Share, Stage, Verdict};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Act {
    Join(u8, InstanceKind),
    Ack(u8, Option<u8>),
    Leave(u8),
    Silent(u8),
    Evict,
    Ramp(usize, u32),
    Rollback(bool),
    Begin(u8),
    End(u8, Outcome),
    Clear(u8),
    Time(bool),
    Restart(bool),
}

fn acts() -> impl Strategy<Value = Act> {
    let kind = prop_oneof![
        4 => Just(InstanceKind::Application),
        1 => Just(InstanceKind::Backfill),
        1 => Just(InstanceKind::Verify),
        1 => Just(InstanceKind::Repair)
    ];
    let outcome = prop_oneof![
        2 => Just(Outcome::Complete),
        1 => Just(Outcome::Interrupted),
        3 => Just(Outcome::Verdict(Verdict::Verified)),
        1 => Just(Outcome::Verdict(Verdict::Diverged(1)))
    ];
    prop_oneof![
        2 => (0u8..4, kind).prop_map(|(who, kind)| Act::Join(who, kind)),
        8 => (0u8..4, prop::option::weighted(0.2, 0u8..3)).prop_map(|(who, row)| Act::Ack(who, row)),
        1 => (0u8..4).prop_map(Act::Leave),
        1 => (0u8..4).prop_map(Act::Silent),
        1 => Just(Act::Evict),
        6 => (1usize..6, prop_oneof![Just(100_000u32), 0u32..=100_000]).prop_map(|(stage, share)| Act::Ramp(stage, share)),
        2 => any::<bool>().prop_map(Act::Rollback),
        3 => (0u8..4).prop_map(Act::Begin),
        3 => (0u8..4, outcome).prop_map(|(who, outcome)| Act::End(who, outcome)),
        2 => (0u8..4).prop_map(Act::Clear),
        8 => prop::bool::weighted(0.2).prop_map(Act::Time),
        1 => prop::bool::weighted(0.2).prop_map(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_breaks_a_rule_and_every_log_replays(acts in prop::collection::vec(acts(), 1..120)) {
        let mut world = World::at(Stage::Off);
        for act in acts {
            let name = |who: u8| format!("i{who}");
            match act {
                Act::Join(who, kind) => {
                    if world.here().instances.get(&name(who)).is_none_or(|known| known.registers_again) {
                        world.join(&name(who), kind);
                    }
                }
                Act::Ack(who, row) => {
                    let marks = row.map(|row| mark(&row.to_string(), &format!("user-{row}"))).unwrap_or_default();
                    let ack = Acknowledgement { revision: world.here().revision.into(), marks, tables: None };
                    let decision = world.here().acknowledge(&name(who), &ack);
                    let _ = world.ask(decision);
                }
                Act::Leave(who) => {
                    let decision = world.here().leave(&name(who), &Departure::default());
                    let _ = world.ask(decision);
                }
                Act::Silent(who) => {
                    if !world.presence.silent.remove(&name(who)) {
                        world.presence.silent.insert(name(who));
                    }
                }
                Act::Evict => {
                    let known = |id: &&String| world.here().instances.contains_key(*id);
                    let silent: Vec<String> = world.presence.silent.iter().filter(known).cloned().collect();
                    let decision = world.here().evict(&silent, &world.presence);
                    let _ = world.ask(decision);
                }
                Act::Ramp(stage, share) => {
                    let percent = Share::from_buckets(share).unwrap().percent().to_string();
                    let _ = world.ramp(Stage::ALL[stage], &percent);
                }
                Act::Rollback(force) => {
                    let _ = world.rollback(force);
                }
                Act::Begin(who) => {
                    let (events, _) = world.here().begin_run(&world.state, &name(who), &world.presence);
                    world.note(events);
                }
                Act::End(who, outcome) => {
                    let end = RunEnd { outcome, marks: MarkChange::default(), progress: None };
                    let decision = world.here().end_run_with(&name(who), &end);
                    let _ = world.ask(decision);
                }
                Act::Clear(who) => {
                    let cleared = world.here().marks.keys().filter(|key| key.instance == name(who)).map(|key| MarkRef {
                        instance: None, table: key.table.clone(), row: key.row.clone(), generation: 9,
                    }).collect();
                    let decision = world.here().report_marks(&name(who), &MarkChange { cleared, ..MarkChange::default() });
                    let _ = world.ask(decision);
                }
                Act::Time(late) => drop(world.go_on(if late { LATE } else { SOON })),
                Act::Restart(restored) => world.note(vec![Event::Started { restored }]),
            }
            let here = world.here();
            prop_assert!(here.unacknowledged.iter().all(|id| here.instances.contains_key(id)));
            prop_assert!(here.step.is_some() || !here.is_held(), "held without a step that ends it");
        }
        let replayed = world.log.iter().fold(State::default(), |state, entry| {
            // As it comes back from the file.
            let json = serde_json::to_string(&entry).unwrap();
            state.after(&serde_json::from_str(&json).unwrap())
        });
        prop_assert_eq!(replayed, world.state);
    }
}
