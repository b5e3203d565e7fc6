//! From the file to opened pairs of tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossfade_api::{
    config::{Config, ConfigError, MigrationConfig, TableConfig},
    exit::Exit,
};
use crossfade_stores::{ErrorKind, Store, StoreError, StoreUrl};
use crossfade_transfer::{Pair, TransferError, pair};

use super::{Context, output};

/// Reads the file.
pub(super) fn config(context: &Context) -> Result<Config, Exit> {
    let path = context.config.display();
    let text = match std::fs::read_to_string(&context.config) {
        Ok(text) => text,
        Err(e) => {
            output::fail(
                context,
                &format!("cannot read {path}: {e}: name it with --config, or write one with `crossfade init`"),
            );
            return Err(Exit::Usage);
        }
    };
    Config::parse(&text).map_err(|e| {
        match e {
            ConfigError::Parse(e) => output::fail(context, &format!("{path}: {e}")),
            e => output::fail(context, &format!("{path}: {e}")),
        }
        Exit::Usage
    })
}

/// The migration of that id.
pub(super) fn migration<'a>(context: &Context, config: &'a Config, id: &str) -> Result<&'a MigrationConfig, Exit> {
    config.migration(id).map_err(|e| {
        output::fail(context, &format!("{}: {e}", context.config.display()));
        Exit::Usage
    })
}

/// The exit code of a store's error.
pub(super) fn exit_of(e: &StoreError) -> Exit {
    match e.kind() {
        ErrorKind::Unreachable => Exit::Unreachable,
        ErrorKind::Config | ErrorKind::NoSuchTable | ErrorKind::Unrepresentable => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// Opens one side.
pub(super) async fn store(context: &Context, name: &str, url: &str) -> Result<Arc<dyn Store>, Exit> {
    let opened = async {
        let store = crossfade_stores::open(&StoreUrl::from_config(url)?).await?;
        store.ping().await?;
        Ok::<_, StoreError>(store)
    };
    opened.await.map_err(|e| {
        output::fail(context, &format!("the {name}: {e}"));
        exit_of(&e)
    })
}

/// A table that is open on both sides, and what the file says of it.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) pair: Pair,
    pub(super) config: TableConfig,
}

/// Where backfills of this migration keep their progress.
pub(super) fn state_folder(context: &Context, given: Option<&Path>) -> PathBuf {
    let beside = || context.config.parent().unwrap_or(Path::new("")).join(".crossfade");
    given.map_or_else(beside, Path::to_owned)
}

/// The progress of one table's backfill, under a claim of the target if a control plane knows of one.
pub(super) fn checkpoint(folder: &Path, id: &str, table: &str, claim: Option<u64>) -> PathBuf {
    let table = table.replace(['/', '\\'], "_");
    // Another claim of the target begins anew (R10): progress of an earlier one is of no use to it.
    let claim = claim.map(|claim| format!(".{claim}")).unwrap_or_default();
    folder.join(format!("{id}.{table}{claim}.backfill"))
}

/// Opens all tables of a migration, or one.
pub(super) async fn pairs(context: &Context, id: &str, only: Option<&str>) -> Result<Vec<Opened>, Exit> {
    let config = config(context)?;
    let migration = migration(context, &config, id)?;
    if let Some(only) = only
        && !migration.table.contains_key(only)
    {
        let known: Vec<&str> = migration.table.keys().map(String::as_str).collect();
        output::fail(context, &format!("migration {id} has no table `{only}`: it has {}", known.join(", ")));
        return Err(Exit::Usage);
    }
    let source = store(context, "source", &migration.source).await?;
    let target = store(context, "target", &migration.target).await?;
    let mut pairs = Vec::new();
    for (name, table) in migration.table.iter().filter(|(name, _)| only.is_none_or(|o| o == *name)) {
        match pair::open(&source, &target, name, table).await {
            Ok(pair) => pairs.push(Opened { pair, config: table.clone() }),
            Err(pair::OpenError::Store(e)) => {
                output::fail(context, &format!("table {name}: {e}"));
                return Err(exit_of(&e));
            }
            Err(e) => return Err(output::ended(context, &TransferError::from(e))),
        }
    }
    Ok(pairs)
}

/// Names a number of rows for a progress bar.
pub(super) async fn expect(pair: &Pair, counters: &crossfade_transfer::progress::Counters) {
    // Only for the bar: an error shows itself when rows are read.
    if let Ok(rows) = pair.source.estimate().await {
        counters.expected.store(rows, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Whether these are all tables of the migration, or one of several.
pub(super) fn is_whole(context: &Context, id: &str, only: Option<&str>) -> bool {
    only.is_none() || has_one_table(context, id)
}

/// Whether the migration has exactly one table.
pub(super) fn has_one_table(context: &Context, id: &str) -> bool {
    config(context).is_ok_and(|config| config.migration(id).is_ok_and(|migration| migration.table.len() == 1))
}
