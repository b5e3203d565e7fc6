//! The checks on this very workspace.

use crossfade_floors::check;
use crossfade_floors::tree::{ReadError, Tree, toml_file};

fn none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn imports_only_go_down() -> Result<(), ReadError> {
    none(&check::imports_go_down(&Tree::read()?));
    Ok(())
}

#[test]
fn the_lowest_floor_stands_on_listed_crates_only() -> Result<(), ReadError> {
    none(&check::closed_trees(&Tree::read()?));
    Ok(())
}

#[test]
fn nothing_banned_is_pulled_in() -> Result<(), ReadError> {
    none(&check::bans(&Tree::read()?));
    Ok(())
}

#[test]
fn every_crate_takes_its_lints_from_the_workspace() -> Result<(), ReadError> {
    let tree = Tree::read()?;
    assert!(tree.members().count() > 10, "cargo metadata lists too few members to be this workspace");
    for member in tree.members() {
        none(&check::inherits(&member.name, &toml_file(&member.manifest)?));
    }
    Ok(())
}

#[test]
fn every_dependency_has_an_allowed_licence() -> Result<(), ReadError> {
    let tree = Tree::read()?;
    let deny = toml_file(&tree.root.join("deny.toml"))?;
    none(&check::licences(&tree, &deny));
    Ok(())
}
