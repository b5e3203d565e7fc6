//! Which plans are valid, and what they decide.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::options::{History, SampleValues};
use crate::position::{End, tests::positions};
use crate::switches::Side;
use proptest::prelude::*;

fn ramp(stage: Stage, to: Stage, percent: &str) -> PlanSpec {
    let mut spec = PlanSpec::at("events", stage);
    spec.position.ramp = Some(RampSpec { to, percent: percent.parse().unwrap() });
    spec
}

#[test]
fn ids_are_plain() {
    for bad in ["", "Events", "1st", "a b", "a/b", &"a".repeat(65)] {
        assert_eq!(Plan::new(PlanSpec::at(bad, Stage::Off)), Err(PlanError::Id(bad.to_owned())));
    }
    assert!(Plan::new(PlanSpec::at("a-1_b", Stage::Off)).is_ok());
}

#[test]
fn a_ramp_crosses_one_edge() {
    assert!(Plan::new(ramp(Stage::DualWrite, Stage::Shadow, "25")).is_ok());
    let across = Plan::new(ramp(Stage::DualWrite, Stage::Live, "25")).unwrap_err();
    assert_eq!(across, PlanError::Edge { stage: Stage::DualWrite, next: Stage::Shadow, to: Stage::Live });
    assert!(across.to_string().contains("from dual-write to shadow, not to live"));
    assert!(matches!(Plan::new(ramp(Stage::Shadow, Stage::DualWrite, "1")), Err(PlanError::Edge { .. })));
    assert_eq!(Plan::new(ramp(Stage::Complete, Stage::Complete, "1")), Err(PlanError::AfterComplete));
}

#[test]
fn salts_and_pins_are_sane() {
    let salt = PlanSpec { salt: Some("a\0b".into()), ..PlanSpec::at("events", Stage::Off) };
    assert_eq!(Plan::new(salt), Err(PlanError::Salt(3)));
    let long = PlanSpec { salt: Some("s".repeat(129)), ..PlanSpec::at("events", Stage::Off) };
    assert_eq!(Plan::new(long), Err(PlanError::Salt(129)));
    let mut pinned = PlanSpec::at("events", Stage::Off);
    pinned.position.pins = vec![Pin { key: String::new(), end: End::Later }];
    assert_eq!(Plan::new(pinned), Err(PlanError::EmptyPin));
    assert_eq!(Plan::new(PlanSpec::at("events", Stage::Off)).unwrap().salt().text(), "events");
}

#[test]
fn options_out_of_range_are_named() {
    type Spoil = fn(&mut Options);
    let cases: [(&str, Spoil); 6] = [
        ("secondary-timeout-ms", |o| o.secondary_timeout = Duration::from_millis(1)),
        ("secondary-in-flight", |o| o.secondary_in_flight = 0),
        ("hold-bound-ms", |o| o.hold_bound = Duration::ZERO),
        ("hold-bound-ms", |o| o.hold_bound = Duration::from_millis(60_001)),
        ("linger-ms", |o| o.linger = Duration::from_millis(3_600_001)),
        ("settle-ms", |o| o.settle = Duration::from_millis(3_600_001)),
    ];
    let plan = Plan::new(PlanSpec::at("events", Stage::Off)).unwrap();
    for (option, spoil) in cases {
        let mut options = Options::default();
        spoil(&mut options);
        let error = plan.with_options(options).unwrap_err();
        assert!(matches!(error, PlanError::Option { name, .. } if name == option), "{error}");
    }
    let edge = Options {
        hold_bound: Duration::from_secs(60),
        linger: Duration::from_secs(3_600),
        settle: Duration::from_secs(3_600),
        secondary_timeout: Duration::from_millis(50),
        secondary_in_flight: 1,
        ..Options::default()
    };
    assert_eq!(plan.with_options(edge.clone()).unwrap().options(), &edge);
    let mut none = Options { secondary_wait: Duration::ZERO, secondary_timeout: Duration::ZERO, ..edge };
    assert!(plan.with_options(none.clone()).is_err());
    none.secondary_timeout = Duration::from_millis(1);
    assert!(plan.with_options(none).is_ok());
}

#[test]
fn whole_operations_cross_the_cut_over_at_once() {
    for (percent, lawful) in [("0", true), ("50", false), ("100", true)] {
        let spec = PlanSpec { whole: true, ..ramp(Stage::Shadow, Stage::Live, percent) };
        assert_eq!(Plan::new(spec).is_ok(), lawful, "{percent}");
    }
    let mut pinned = PlanSpec { whole: true, ..ramp(Stage::Shadow, Stage::Live, "0") };
    pinned.position.pins = vec![Pin { key: "us".into(), end: End::Later }];
    assert_eq!(Plan::new(pinned), Err(PlanError::Whole));
    let partial = Plan::new(PlanSpec { whole: true, ..ramp(Stage::DualWrite, Stage::Shadow, "50") }).unwrap();
    let halfway = Position::ramping(Stage::Shadow.edge().unwrap(), "50".parse().unwrap());
    assert_eq!(partial.settled_at(halfway), Err(PlanError::Whole));
    assert!(partial.whole());
}

#[test]
fn a_whole_operation_mirrors_when_any_key_does() {
    let routes = |spec| Plan::new(PlanSpec { whole: true, ..spec }).unwrap().decide_whole();
    let (read, write, held) = routes(ramp(Stage::Off, Stage::DualWrite, "1"));
    assert_eq!((write.secondary, read.compare, held), (Some(Side::Target), None, false));
    let (read, write, _) = routes(ramp(Stage::DualWrite, Stage::Shadow, "50"));
    assert_eq!((write.secondary, read.compare), (Some(Side::Target), None));
    let (read, write, _) = routes(ramp(Stage::Shadow, Stage::Live, "100"));
    assert_eq!((read.authority, read.compare), (Side::Target, Some(Side::Source)));
    assert_eq!((write.authority, write.secondary), (Side::Target, Some(Side::Source)));
    let (read, write, _) = routes(ramp(Stage::Shadow, Stage::Live, "0"));
    assert_eq!((read.authority, write.secondary), (Side::Source, Some(Side::Target)));
    let (read, write, _) = routes(ramp(Stage::RampDown, Stage::Complete, "50"));
    assert_eq!((read.authority, write.authority, write.secondary), (Side::Target, Side::Target, Some(Side::Source)));
    for stage in Stage::ALL {
        let (read, write, _) = routes(PlanSpec::at("events", stage));
        assert_eq!((read, write), (stage.read_route(), stage.write_route()), "{stage}");
    }
}

#[test]
fn held_phases_join_two_ends_of_the_cut_over() {
    let hold = |spec: PlanSpec, stage| {
        Plan::new(PlanSpec { phase: PhaseSpec::Hold(PlanSpec::at("x", stage).position), ..spec })
    };
    assert!(matches!(hold(PlanSpec::at("events", Stage::Off), Stage::Live), Err(PlanError::HeldAcross { .. })));
    assert!(matches!(
        hold(PlanSpec::at("events", Stage::Off), Stage::DualWrite),
        Err(PlanError::HeldForNothing { .. })
    ));
    let plan = hold(PlanSpec::at("events", Stage::Shadow), Stage::Live).unwrap();
    let decision = plan.decide(CohortKey::new("u1").unwrap());
    assert_eq!((decision.stage, decision.held), (Stage::Shadow, true));
    assert!(plan.decide_whole().2);
}

#[test]
fn only_moving_keys_are_held() {
    let quarter = ramp(Stage::Shadow, Stage::Live, "25");
    let half = ramp(Stage::Shadow, Stage::Live, "50").position;
    let plan = Plan::new(PlanSpec { phase: PhaseSpec::Hold(half.clone()), ..quarter.clone() }).unwrap();
    let moved = Plan::new(PlanSpec {
        phase: PhaseSpec::Move(quarter.position),
        position: half,
        ..PlanSpec::at("events", Stage::Shadow)
    })
    .unwrap();
    let mut seen = [0; 2];
    for n in 0..2_000 {
        let key = format!("user-{n}");
        let key = CohortKey::new(&key).unwrap();
        let (before, after) = (plan.decide(key), moved.decide(key));
        let moving = (25_000..50_000).contains(&before.bucket.number());
        assert_eq!((before.held, after.held), (moving, moving));
        assert_eq!(before.stage != after.stage, moving);
        seen[usize::from(moving)] += 1;
    }
    assert!(seen[0] > 1_000 && seen[1] > 300, "{seen:?}");
}

proptest! {
    #[test]
    fn a_plan_survives_its_spec(position in positions(), full: bool) {
        let options = if full { Options { checks: Checks::Full, ..Options::default() } } else { Options::default() };
        let plan = Plan::new(PlanSpec::at("events", Stage::Off)).unwrap().settled_at(position).unwrap().with_options(options).unwrap();
        let json = serde_json::to_string(&plan.spec()).unwrap();
        let back = Plan::new(serde_json::from_str(&json).unwrap()).unwrap();
        prop_assert_eq!(back.fingerprint(), plan.fingerprint());
        prop_assert_eq!(back, plan);
    }
}

#[test]
fn a_held_plan_survives_its_spec_and_is_another_plan() {
    let settled = PlanSpec::at("events", Stage::Shadow);
    let hold =
        Plan::new(PlanSpec { phase: PhaseSpec::Hold(PlanSpec::at("x", Stage::Live).position), ..settled.clone() })
            .unwrap();
    let moved =
        Plan::new(PlanSpec { phase: PhaseSpec::Move(settled.position.clone()), ..PlanSpec::at("events", Stage::Live) })
            .unwrap();
    let settled = Plan::new(settled).unwrap();
    for plan in [&hold, &moved] {
        assert_eq!(&Plan::new(plan.spec()).unwrap(), plan);
    }
    assert_ne!(hold.fingerprint(), settled.fingerprint());
    // Whoever settles a plan holds nobody any more.
    assert_eq!(hold.settled_at(settled.position().clone()).as_ref(), Ok(&settled));
    assert_eq!(settled.migration(), "events");
}

/// A plan with everything set: an open ramp, pins, a held move, other options.
fn rich() -> PlanSpec {
    let at = |percent: &str, end| PositionSpec {
        pins: vec![Pin { key: "user 1\n".into(), end }, Pin { key: "anna".into(), end: End::Later }],
        ..ramp(Stage::Shadow, Stage::Live, percent).position
    };
    PlanSpec {
        salt: Some("pepper".into()),
        position: at("12.5", End::Earlier),
        phase: PhaseSpec::Hold(at("50", End::Later)),
        options: Options {
            compare: "3".parse().unwrap(),
            checks: Checks::Full,
            history: History::Pending,
            secondary_wait: Duration::from_millis(20),
            secondary_timeout: Duration::from_millis(700),
            secondary_in_flight: 9,
            linger: Duration::from_millis(1_234),
            hold_bound: Duration::from_millis(4_321),
            settle: Duration::from_millis(77),
            sample_values: SampleValues::Shared,
        },
        ..PlanSpec::at("events", Stage::Shadow)
    }
}

#[test]
fn the_hash_of_a_plan_is_the_same_in_every_version() {
    // An instance compares the hash in its cache with that of the plan beside it, and a control plane tells apart by it
    // two plans of one number. Another number here takes both away from everybody who upgrades.
    assert_eq!(Plan::new(PlanSpec::at("events", Stage::Off)).unwrap().fingerprint(), 9_204_894_891_078_932_879);
    assert_eq!(Plan::new(rich()).unwrap().fingerprint(), 11_061_820_257_253_230_320);
}

#[test]
fn a_plan_has_the_same_hash_before_and_after_it_travelled() {
    let mut spec = rich();
    spec.options.linger = Duration::from_micros(1_500);
    let plan = Plan::new(spec).unwrap();
    let there = serde_json::to_string(&plan.spec()).unwrap();
    let back = Plan::new(serde_json::from_str(&there).unwrap()).unwrap();
    assert_eq!(back.fingerprint(), plan.fingerprint());
}

#[test]
fn two_plans_that_say_different_things_have_different_hashes() {
    type Spoil = fn(&mut PlanSpec);
    let cases: [Spoil; 21] = [
        |_| {},
        |p| p.migration = "event".into(),
        |p| p.salt = None,
        |p| p.position.pins[0].end = End::Later,
        |p| p.position.pins[0].key = "user 2".into(),
        |p| drop(p.position.pins.pop()),
        |p| p.position.ramp.as_mut().unwrap().percent = "12.501".parse().unwrap(),
        |p| p.phase = PhaseSpec::Move(at_phase(p)),
        |p| p.phase = PhaseSpec::Settled,
        |p| p.forced = true,
        |p| p.options.compare = "3.001".parse().unwrap(),
        |p| p.options.checks = Checks::Sample(Share::ALL),
        |p| p.options.checks = Checks::Sample("3".parse().unwrap()),
        |p| p.options.history = History::Moved,
        |p| p.options.secondary_wait = Duration::from_millis(21),
        |p| p.options.secondary_timeout = Duration::from_millis(701),
        |p| p.options.secondary_in_flight = 10,
        |p| p.options.linger = Duration::from_millis(1_235),
        |p| p.options.hold_bound = Duration::from_millis(4_320),
        |p| p.options.settle = Duration::from_millis(78),
        |p| p.options.sample_values = SampleValues::Withheld,
    ];
    let hashes: std::collections::BTreeSet<u64> = cases
        .iter()
        .map(|spoil| {
            let mut spec = rich();
            spoil(&mut spec);
            Plan::new(spec).unwrap().fingerprint()
        })
        .collect();
    assert_eq!(hashes.len(), cases.len());
}

fn at_phase(spec: &PlanSpec) -> PositionSpec {
    match &spec.phase {
        PhaseSpec::Hold(other) | PhaseSpec::Move(other) => other.clone(),
        PhaseSpec::Settled => panic!("not held"),
    }
}
