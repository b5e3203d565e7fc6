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
