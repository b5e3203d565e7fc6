//! `docs/guarantees.md` names tests and traces: they exist.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use crossfade_models::rules::Rule;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/guarantees.md")).unwrap()
}

/// Every function of every Rust file below `folder`.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                if let Some((_, rest)) = line.split_once("fn ") {
                    found.insert(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
                }
            }
        }
    }
}

#[test]
fn every_test_that_the_page_names_exists() {
    let mut known = BTreeSet::new();
    for folder in ["crates", "models", "tests", "examples"] {
        functions(&root().join(folder), &mut known);
    }
    let page = page();
    let test = |name: &&str| name.matches('_').count() >= 2 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(test).collect();
    assert!(named.len() > 50, "the page names only {} tests", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/guarantees.md names tests that are gone or renamed: {missing:#?}");
}

#[test]
fn every_rule_of_the_model_is_on_the_page() {
    let page = page();
    for rule in Rule::ALL {
        let link = format!("(guarantees/{}.md)", rule.file());
        assert!(page.contains(&link), "docs/guarantees.md says nothing of {rule}");
    }
}

/// The list of rules: each once, with the run of each of its clauses.
#[test]
fn the_protocol_lists_every_rule_and_links_to_its_runs() {
    let page = std::fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    for number in 1..=31 {
        assert_eq!(page.matches(&format!("### R{number}: ")).count(), 1, "R{number}");
    }
    let section = |number: u8| {
        let (_, rest) = page.split_once(&format!("### R{number}: ")).unwrap();
        rest.split("\n#").next().unwrap().to_owned()
    };
    for rule in Rule::ALL {
        let link = format!("(guarantees/{}.md)", rule.file());
        assert!(section(rule.number()).contains(&link), "R{} in docs/protocol.md has no link to {rule}", rule.number());
    }
    let links: Vec<&str> = page.split("](guarantees/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let missing: Vec<_> = links.iter().filter(|file| !root().join("docs/guarantees").join(file).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
