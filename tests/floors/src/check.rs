//! The checks. Each returns its breaches as sentences, none when all is well.

use std::collections::BTreeSet;

use crate::law::{BANNED, BANNED_BELOW_COMMAND, CLOSED, FLOORS};
use crate::tree::Tree;

/// Imports only go down, and every member has a floor.
pub fn imports_go_down(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for member in tree.members() {
        let Some(own) = floor(&member.name) else {
            breaches.push(format!("{} has no floor: give it one in tests/floors/src/law.rs", member.name));
            continue;
        };
        for needed in tree.needs(member).filter(|needed| needed.member) {
            if let Some(theirs) = floor(&needed.name)
                && theirs >= own
            {
                breaches.push(format!(
                    "{} (floor {own}) imports {} (floor {theirs}): imports only go down; move the shared part lower",
                    member.name, needed.name
                ));
            }
        }
    }
    for (name, _) in FLOORS {
        if tree.member(name).is_none() {
            breaches.push(format!("{name} has a floor and is no member: strike it from tests/floors/src/law.rs"));
        }
    }
    breaches
}

/// The trees of the lowest floor hold what is listed and nothing else.
pub fn closed_trees(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for closed in CLOSED {
        let Some(member) = tree.member(closed.name) else {
            breaches.push(format!("{} is no member of the workspace", closed.name));
            continue;
        };
        for (name, asking) in tree.below(member) {
            if !closed.may.contains(&name) {
                breaches.push(format!("{} pulls in {name} (by {asking}): {}", closed.name, closed.reason));
            }
        }
    }
    breaches
}

/// Nothing banned is in a tree, at any depth.
pub fn bans(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for ban in BANNED {
        let Some(member) = tree.member(ban.below) else {
            breaches.push(format!("{} is no member of the workspace", ban.below));
            continue;
        };
        let below = tree.below(member);
        for name in ban.names {
            if let Some(asking) = below.get(name) {
                breaches.push(format!("{} pulls in {name} (by {asking}): {}", ban.below, ban.reason));
            }
        }
    }
    let (names, reason) = BANNED_BELOW_COMMAND;
    let command = floor("crossfade-cli").unwrap_or(u8::MAX);
    for member in tree.members().filter(|member| floor(&member.name).is_some_and(|own| own < command)) {
        for needed in tree.needs(member).filter(|needed| names.contains(&needed.name.as_str())) {
            breaches.push(format!("{} depends on {}: {reason}", member.name, needed.name));
        }
    }
    breaches
}

/// Every member takes its lints, edition and licence from the workspace.
pub fn inherits(name: &str, manifest: &toml::Table) -> Vec<String> {
    let from_workspace = |table: &str, key: Option<&str>| {
        let value = manifest.get(table);
        let value = key.map_or(value, |key| value.and_then(|value| value.get(key)));
        value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
    };
    let mut breaches = Vec::new();
    if !from_workspace("lints", None) {
        breaches.push(format!("{name} has lints of its own or none: write `[lints]` with `workspace = true`"));
    }
    for key in ["version", "edition", "rust-version", "license"] {
        if !from_workspace("package", Some(key)) {
            breaches.push(format!("{name} states its own {key}: write `{key}.workspace = true`"));
        }
    }
    breaches
}

/// Every package, whoever asks for it, can be had under an allowed licence. `deny` is the content of `deny.toml`.
pub fn licences(tree: &Tree, deny: &toml::Table) -> Vec<String> {
    let allowed = allowed_licences(deny);
    if allowed.is_empty() {
        return vec!["deny.toml allows no licence: list them under [licenses] allow".to_owned()];
    }
    let mut breaches = Vec::new();
    for package in tree.packages.values() {
        let (name, version) = (&package.name, &package.version);
        let Some(license) = &package.license else {
            breaches.push(format!("{name} {version} states no licence: replace it, or clarify it in deny.toml"));
            continue;
        };
        match spdx::Expression::parse_mode(license, spdx::ParseMode::LAX) {
            Ok(expression) if expression.evaluate(|wanted| allowed.contains(&wanted.to_string())) => {}
            Ok(_) => breaches.push(format!("{name} {version} is under {license}, which deny.toml does not allow")),
            Err(_) => breaches.push(format!("{name} {version} states a licence that is no SPDX expression: {license}")),
        }
    }
    breaches
}

fn allowed_licences(deny: &toml::Table) -> BTreeSet<String> {
    let allow = deny.get("licenses").and_then(|licenses| licenses.get("allow")).and_then(toml::Value::as_array);
    allow.into_iter().flatten().filter_map(toml::Value::as_str).map(str::to_owned).collect()
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Package;

    /// The members as the law wants them, and these edges.
    fn tree(edges: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        let package = |name: &str, member| Package { name: name.to_owned(), member, ..Package::default() };
        for (name, _) in FLOORS {
            tree.packages.insert((*name).to_owned(), package(name, true));
        }
        for (from, to) in edges {
            for name in [from, to] {
                tree.packages.entry((*name).to_owned()).or_insert_with(|| package(name, false));
            }
            if let Some(package) = tree.packages.get_mut(*from) {
                package.needs.insert((*to).to_owned());
            }
        }
        tree
    }

    fn manifest(text: &str) -> toml::Table {
        text.parse().unwrap_or_default()
    }

    #[test]
    fn an_import_downwards_is_lawful() {
        assert_eq!(imports_go_down(&tree(&[("crossfade", "crossfade-core")])), Vec::<String>::new());
    }

    #[test]
    fn an_import_upwards_or_sideways_is_named() {
        let breaches =
            imports_go_down(&tree(&[("crossfade-core", "crossfade-api"), ("crossfade-core", "crossfade-macros")]));
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        assert!(breaches.iter().all(|breach| breach.starts_with("crossfade-core (floor 0) imports")), "{breaches:?}");
    }

    #[test]
    fn a_member_without_a_floor_is_named() {
        let mut tree = tree(&[]);
        tree.packages.insert("new".into(), Package { name: "new".into(), member: true, ..Package::default() });
        assert_eq!(imports_go_down(&tree), ["new has no floor: give it one in tests/floors/src/law.rs"]);
    }

    #[test]
    fn a_runtime_deep_below_the_law_is_named_with_who_asks_for_it() {
        let breaches = closed_trees(&tree(&[("crossfade-core", "serde"), ("serde", "tokio")]));
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        assert!(breaches[0].starts_with("crossfade-core pulls in tokio (by serde)"), "{breaches:?}");
    }

    #[test]
    fn a_driver_below_the_library_is_named_and_below_the_stores_is_lawful() {
        assert_eq!(bans(&tree(&[("crossfade-stores", "rusqlite")])), Vec::<String>::new());
        assert_eq!(bans(&tree(&[("crossfade", "pool"), ("pool", "tokio-postgres")])).len(), 1);
    }

    #[test]
    fn anyhow_is_for_the_command_and_for_tests() {
        assert_eq!(bans(&tree(&[("crossfade-cli", "anyhow"), ("crossfade-torture", "anyhow")])), Vec::<String>::new());
        assert_eq!(bans(&tree(&[("crossfade-server", "anyhow")])).len(), 1);
    }

    #[test]
    fn a_crate_with_lints_of_its_own_is_named() {
        let good = "[package]\nversion.workspace=true\nedition.workspace=true\nrust-version.workspace=true\nlicense.workspace=true\n";
        assert_eq!(inherits("a", &manifest(&format!("{good}[lints]\nworkspace=true"))), Vec::<String>::new());
        assert_eq!(inherits("a", &manifest(good)).len(), 1);
        assert_eq!(inherits("a", &manifest(&format!("{good}[lints.rust]\nunsafe_code='allow'"))).len(), 1);
        assert_eq!(inherits("a", &manifest("[lints]\nworkspace=true")).len(), 4);
    }

    #[test]
    fn a_licence_outside_the_list_is_named_and_a_choice_within_it_is_lawful() {
        let deny = manifest("[licenses]\nallow = ['MIT', 'Apache-2.0']");
        let with = |license: Option<&str>| {
            let mut tree = Tree::default();
            let license = license.map(str::to_owned);
            tree.packages.insert("a".into(), Package { name: "a".into(), license, ..Package::default() });
            tree
        };
        for lawful in ["MIT", "MIT/Apache-2.0", "GPL-3.0-only OR MIT", "MIT AND Apache-2.0"] {
            assert_eq!(licences(&with(Some(lawful)), &deny), Vec::<String>::new(), "{lawful}");
        }
        for refused in [Some("GPL-3.0-only"), Some("MIT AND GPL-3.0-only"), Some("nonsense"), None] {
            assert_eq!(licences(&with(refused), &deny).len(), 1, "{refused:?}");
        }
        assert_eq!(licences(&with(Some("MIT")), &manifest("")).len(), 1);
    }
}
