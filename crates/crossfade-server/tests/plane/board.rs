//! The Grafana board and the alert rules of `deploy/`: every name that they use is one that is exported, with its
//! labels, and every name that is exported is documented.

use crate::support::bench;
use crossfade_api::wire::*;
use crossfade_core::Stage;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

fn file(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of metrics with the labels that stand beside them in braces.
fn used(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let word = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crossfade_") {
        let name: String = text[at..].chars().take_while(|c| word(*c)).collect();
        let rest = &text[at + name.len()..];
        let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let labels = braces.split(',').filter_map(|pair| pair.split(['=', '!']).next()).map(|label| label.trim());
        found.push((name, labels.filter(|label| !label.is_empty()).map(str::to_owned).collect()));
    }
    found
}

/// First cells of the table under a heading.
fn table(text: &str, heading: &str) -> BTreeSet<String> {
    let section = text.split("\n## ").find(|section| section.starts_with(heading));
    let rows = section.unwrap_or_else(|| panic!("no section `{heading}`")).lines();
    rows.filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name.to_owned()).collect()
}

/// What a real plane exports after an instance spoke: families with their labels.
async fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::Shadow).await;
    let joined = admin.join("a", InstanceKind::Application).await;
    let beat = json!({
        "revision": joined.publication.revision, "sequence": 1,
        "observations": { "operations": { "events_of": {
            "source": { "latency-us": [[300, 5]], "errors": { "timeout": 1 } },
            "target": { "latency-us": [[310, 5]] },
            "comparisons": { "compared": 5, "matched": 4, "mismatched": 1, "unknown": 0 },
        } } },
    });
    admin.post::<Value>("/v1/migrations/events/instances/a/heartbeat", &beat).await.unwrap();
    let text = admin.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            families.insert(family.split(' ').next().unwrap().to_owned(), BTreeSet::new());
        } else if let Some((name, labels)) = used(line).into_iter().next().filter(|_| !line.starts_with('#')) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            families.get_mut(family).unwrap_or_else(|| panic!("{line}")).extend(labels);
        }
    }
    families
}

#[tokio::test]
async fn the_reference_names_what_the_plane_exports_and_nothing_else() {
    let exported: BTreeSet<String> = exported().await.into_keys().collect();
    assert_eq!(table(&file("docs/reference/metrics.md"), "The control plane"), exported);
}

#[tokio::test]
async fn board_and_alarms_use_names_and_labels_that_exist() {
    let exported = exported().await;
    let of_the_library = table(&file("docs/reference/metrics.md"), "The application");
    let board = file("deploy/grafana/crossfade.json");
    let parsed: Value = serde_json::from_str(&board).unwrap();
    let panels = parsed["panels"].as_array().unwrap();
    let asked: Vec<&str> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|t| t["expr"].as_str().unwrap())
        .collect();
    assert!(asked.len() >= panels.len() && panels.len() >= 10);
    let rules = file("deploy/prometheus/crossfade.rules.yml");
    let mut seen = 0;
    for (name, labels) in asked.iter().flat_map(|expression| used(expression)).chain(used(&rules)) {
        seen += 1;
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = exported.get(&name).or_else(|| exported.get(family?));
        match known {
            Some(known) => assert!(labels.is_subset(known), "{name}{{{labels:?}}}: exported with {known:?}"),
            None => assert!(of_the_library.contains(&name), "nobody exports {name}"),
        }
    }
    assert!(seen > 20, "{seen} names");
    for (at, _) in rules.match_indices("runbook: ") {
        let path = rules[at..].lines().next().unwrap().trim_start_matches("runbook: ");
        assert!(file(path).contains("## What to do"), "{path}");
    }
    let (alarms, runbooks) = (rules.matches("- alert: ").count(), rules.matches("runbook: ").count());
    assert!(alarms > 5 && alarms == runbooks, "{alarms} alarms, {runbooks} runbooks");
}
