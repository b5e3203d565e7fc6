//! Each rule is needed: without it a run breaks a promise, and the shortest one is the page in `docs/guarantees`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use crossfade_models::check::check;
use crossfade_models::model::Protocol;
use crossfade_models::rules::{Dropped, Rule};
use crossfade_models::{scopes, trace};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn pages() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/guarantees")
}

/// What is wrong with what is kept of this rule; none when it is shown to be needed.
fn wrong(rule: Rule) -> Option<String> {
    let (scope, dropped) = (scopes::of(rule), Dropped::only(rule));
    let Some(broken) = check(&scope, dropped).broken else {
        return Some(format!("{rule}: nothing breaks without it in `{}`", scope.name));
    };
    let found = trace::page(rule, &Protocol::new(scope, dropped), &broken);
    let path = pages().join(rule.file()).with_extension("md");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    (kept != found).then(|| {
        format!("{}: another run is the shortest now; look at it, then `cargo run --release -p crossfade-models -- --write-traces`\n{found}", path.display())
    })
}

fn needed(numbers: std::ops::RangeInclusive<u8>) {
    let wrong: Vec<_> =
        Rule::ALL.iter().filter(|rule| numbers.contains(&rule.number())).filter_map(|rule| wrong(*rule)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_edge_one_decision_and_the_barrier_are_needed() {
    needed(1..=3);
}

#[test]
fn hold_move_release_is_needed() {
    needed(4..=4);
}

#[test]
fn marks_and_checks_are_needed() {
    needed(5..=5);
}

#[test]
fn repairs_need_their_rules() {
    needed(6..=6);
}

#[test]
fn gates_and_suspicion_are_needed() {
    needed(7..=8);
}

#[test]
fn the_backfill_needs_its_rules() {
    needed(9..=10);
}

#[test]
fn the_other_rules_are_needed() {
    needed(11..=22);
}

#[test]
fn tables_writes_of_unknown_rows_and_checks_need_their_rules() {
    needed(23..=25);
}

#[test]
fn what_may_still_land_is_waited_for_where_it_can_land() {
    needed(26..=26);
}

#[test]
fn long_nothing_is_begun_after_goodbye() {
    needed(30..=30);
}

/// Each rule is looked at by one of the tests above.
#[test]
fn no_rule_is_left_out() {
    assert!(Rule::ALL.iter().all(|rule| matches!(rule.number(), 1..=26 | 30)));
}

#[test]
fn the_pages_are_those_of_the_rules() {
    let kept: BTreeSet<_> = std::fs::read_dir(pages())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('R'))
        .collect();
    let rules: BTreeSet<_> = Rule::ALL.iter().map(|rule| format!("{}.md", rule.file())).collect();
    assert_eq!(kept, rules);
    assert!(Rule::ALL.len() <= 128, "the set of dropped rules has 128 places");
}
