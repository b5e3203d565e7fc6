//! Texts that people and other programs write: plan files, plans on the wire, revisions, shares, configurations.

use crossfade::plan::PlanFile;
use crossfade_api::config::Config;
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::Publication;
use crossfade_core::{CohortKey, Plan, PlanSpec, Position, Share, Stage};

pub(crate) fn plan(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match PlanFile::parse(&text, "events") {
        Ok(plan) => lawful(&plan),
        Err((line, reason)) => {
            assert!(line >= 1 && line <= text.matches('\n').count() + 1, "line {line}: {reason}");
            assert!(!reason.is_empty());
        }
    }
    let specs = serde_json::from_slice::<Publication>(input).map(|publication| publication.plan);
    if let Ok(spec) = specs.or_else(|_| serde_json::from_slice::<PlanSpec>(input))
        && let Ok(plan) = Plan::new(spec)
    {
        lawful(&plan);
    }
    for word in text.split_whitespace().take(20) {
        if let Ok(revision) = word.parse::<RevisionText>() {
            assert_eq!(revision.to_string().parse(), Ok(revision));
        }
        if let Ok(share) = word.parse::<Share>() {
            assert_eq!(Share::from_percent(share.percent()).ok(), Some(share), "{word}");
            assert_eq!(share.percent().to_string().parse().ok(), Some(share), "{word}");
        }
        if let Ok(stage) = word.parse::<Stage>() {
            assert_eq!(stage.name().parse(), Ok(stage));
        }
    }
}

/// What holds for every plan that was taken.
fn lawful(plan: &Plan) {
    let json = serde_json::to_string(&plan.spec()).unwrap();
    let again = Plan::new(serde_json::from_str(&json).unwrap()).unwrap();
    assert_eq!(again.fingerprint(), plan.fingerprint(), "{json}");
    let (earlier, later) = plan.position().stages();
    for key in ["u1", "é", "\0"] {
        let key = CohortKey::new(key).unwrap();
        let stage = plan.decide(key).stage;
        assert!(stage == earlier || stage == later, "{stage:?} is not on the edge of {}", plan.position());
    }
    for stage in Stage::ALL {
        // Lawful or refused; every step of what is lawful is admitted.
        if let Ok(plans) = plan.steps_to(Position::at(stage)) {
            plans.iter().fold(plan.clone(), |here, next| {
                here.admit(next).unwrap();
                next.clone()
            });
        }
    }
}

pub(crate) fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Config::parse(&text) {
        Ok(config) => {
            for id in config.migration.keys() {
                assert!(config.migration(id).is_ok());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
