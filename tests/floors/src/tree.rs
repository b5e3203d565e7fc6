//! The workspace as cargo resolves it for this machine, with all features, without dev-dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Why the workspace could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// `cargo metadata` did not run or refused.
    #[error("cargo metadata failed, run it by hand to see why: {0}")]
    Cargo(String),
    /// A file could not be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no TOML.
    #[error("{} is no valid TOML", .path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The output of cargo is not what its documentation says.
    #[error("cargo metadata has no `{0}` where this test expects one: cargo's format changed, adapt the test")]
    Shape(&'static str),
}

/// One package of the resolved graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its SPDX licence expression, if it states one.
    pub license: Option<String>,
    /// Whether it is a member of this workspace.
    pub member: bool,
    /// Its manifest.
    pub manifest: PathBuf,
    /// Ids of the packages that it builds with; dev-dependencies are not among them.
    pub needs: BTreeSet<String>,
}

/// The resolved graph, by package id.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// All packages that a build on this machine can need.
    pub packages: BTreeMap<String, Package>,
    /// The folder of the workspace.
    pub root: PathBuf,
}

impl Tree {
    /// Reads the workspace that holds this crate.
    pub fn read() -> Result<Self, ReadError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // Without a platform, cargo would download the packages of every other system first.
        let version = run(Command::new("rustc").arg("-vV"))?;
        let version = String::from_utf8_lossy(&version);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or(ReadError::Shape("host"))?;
        let output = run(Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--all-features", "--filter-platform", host, "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")))?;
        let value: Value = serde_json::from_slice(&output).map_err(|error| ReadError::Cargo(error.to_string()))?;
        Self::from_metadata(&value)
    }

    /// Builds the tree from the JSON of `cargo metadata --format-version 1`.
    pub fn from_metadata(value: &Value) -> Result<Self, ReadError> {
        let members: BTreeSet<&str> = list(value, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        let mut packages = BTreeMap::new();
        for package in list(value, "packages")? {
            let id = text(package, "id")?;
            packages.insert(
                id.to_owned(),
                Package {
                    name: text(package, "name")?.to_owned(),
                    version: text(package, "version")?.to_owned(),
                    license: package["license"].as_str().map(str::to_owned),
                    member: members.contains(id),
                    manifest: text(package, "manifest_path")?.into(),
                    needs: BTreeSet::new(),
                },
            );
        }
        for node in list(&value["resolve"], "nodes")? {
            let package = packages.get_mut(text(node, "id")?).ok_or(ReadError::Shape("package of a node"))?;
            for dependency in list(node, "deps")? {
                let builds_with =
                    list(dependency, "dep_kinds")?.iter().any(|kind| kind["kind"].as_str() != Some("dev"));
                if builds_with {
                    package.needs.insert(text(dependency, "pkg")?.to_owned());
                }
            }
        }
        let root = text(value, "workspace_root")?.into();
        Ok(Self { packages, root })
    }

    /// The members of the workspace.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.member)
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Package> {
        self.members().find(|package| package.name == name)
    }

    /// What a package builds with, directly.
    pub fn needs<'a>(&'a self, package: &'a Package) -> impl Iterator<Item = &'a Package> {
        package.needs.iter().filter_map(|id| self.packages.get(id))
    }

    /// For everything below a package, the name of one package that asks for it.
    pub fn below<'a>(&'a self, package: &'a Package) -> BTreeMap<&'a str, &'a str> {
        let mut found = BTreeMap::new();
        let mut open = vec![package];
        while let Some(asking) = open.pop() {
            for needed in self.needs(asking) {
                if !found.contains_key(needed.name.as_str()) {
                    found.insert(needed.name.as_str(), asking.name.as_str());
                    open.push(needed);
                }
            }
        }
        found
    }
}

/// Reads a TOML file.
pub fn toml_file(path: &Path) -> Result<toml::Table, ReadError> {
    let text = std::fs::read_to_string(path).map_err(|source| ReadError::File { path: path.to_owned(), source })?;
    text.parse().map_err(|source| ReadError::Toml { path: path.to_owned(), source: Box::new(source) })
}

fn run(command: &mut Command) -> Result<Vec<u8>, ReadError> {
    let output = command.output().map_err(|error| ReadError::Cargo(error.to_string()))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(ReadError::Cargo(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

fn list<'a>(value: &'a Value, name: &'static str) -> Result<&'a [Value], ReadError> {
    value[name].as_array().map(Vec::as_slice).ok_or(ReadError::Shape(name))
}

fn text<'a>(value: &'a Value, name: &'static str) -> Result<&'a str, ReadError> {
    value[name].as_str().ok_or(ReadError::Shape(name))
}
