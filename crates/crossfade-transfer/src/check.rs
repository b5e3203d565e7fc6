//! What would not survive the trip, before the first row travels.

use std::sync::Arc;

use crossfade_api::config::{MapConfig, TableConfig};
use crossfade_stores::{Column, ColumnType, ErrorKind, Store, StoreError, TableName};

use crate::pair::{self, Fits, OpenError};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Good to know.
    Note,
    /// A backfill would not begin.
    Refused,
    /// A database could not be asked.
    Unreachable,
}

/// Something found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// What, and what to do: a lowercase fragment.
    pub text: String,
}

fn note(text: impl Into<String>) -> Finding {
    Finding { level: Level::Note, text: text.into() }
}

fn refused(text: impl Into<String>) -> Finding {
    Finding { level: Level::Refused, text: text.into() }
}

fn trouble(e: &StoreError) -> Finding {
    match e.kind() {
        ErrorKind::Unreachable => Finding { level: Level::Unreachable, text: e.to_string() },
        _ => refused(e.to_string()),
    }
}

/// Looks at one table of both stores.
pub async fn table(source: &Arc<dyn Store>, target: &Arc<dyn Store>, name: &str, config: &TableConfig) -> Vec<Finding> {
    let mut out = Vec::new();
    let described = match source.describe(&TableName::new(name)).await {
        Ok(described) => described,
        Err(e) => return vec![trouble(&e)],
    };
    let target_name = TableName::new(config.target.clone().unwrap_or_else(|| name.to_owned()));
    let found = match target.describe(&target_name).await {
        Ok(found) => Some(found),
        Err(e) if e.kind() == ErrorKind::Unsupported => None,
        Err(e) => {
            out.push(trouble(&e));
            None
        }
    };
    for column in described.columns.iter().filter(|c| c.generated) {
        out.push(note(format!(
            "column `{}` is computed by the source: its values are copied like others",
            column.name
        )));
    }
    for column in found.iter().flat_map(|found| &found.columns).filter(|c| c.generated) {
        out.push(note(format!("column `{}` is computed by the target: it is compared, and not written", column.name)));
    }
    if !out.iter().any(|f| f.level == Level::Refused) {
        let fit = |ty: &ColumnType, column: Option<&Column>| target.fit(ty, column);
        match pair::specs_for(name, config, &described, &target_name, found.as_ref(), &fit) {
            Ok(specs) => {
                let same_engine = source.kind() == target.kind();
                for (column, fits) in pair::judge(config, &described, found.as_ref(), &specs, same_engine, &fit) {
                    match fits {
                        Fits::Whole => {}
                        Fits::WithLoss(why) => out.push(note(format!("column `{column}`: with a loss: {why}"))),
                        Fits::Refused(why) => out.push(refused(why)),
                    }
                }
                let map = &specs.2;
                if !out.iter().any(|f| f.level == Level::Refused) {
                    match pair::open(source, target, name, config).await {
                        Ok(pair) => {
                            let way = if pair.same_checksums() {
                                "checksums in both databases"
                            } else if pair.mergeable() {
                                "ordered streams"
                            } else {
                                "lookups both ways"
                            };
                            out.push(note(format!("verification goes by {way}")));
                            if map.target_key_needs_the_row() {
                                out.push(note("the target's key is made of more than the source's key: a row whose key columns change leaves its old copy behind"));
                            }
                        }
                        Err(OpenError::Store(e)) => out.push(trouble(&e)),
                        Err(e) => out.push(refused(e.to_string())),
                    }
                }
            }
            Err(OpenError::Store(e)) => out.push(trouble(&e)),
            Err(OpenError::Map { what, .. }) => out.push(refused(what)),
        }
    }
    for (column, entry) in &config.map {
        if let MapConfig::Ignore { reason } = entry {
            out.push(note(format!("column `{column}` is not copied and not compared: {reason}")));
        }
    }
    for (store, name) in [(source, TableName::new(name)), (target, target_name)] {
        match store.warnings(&name).await {
            Ok(warnings) => out.extend(warnings.into_iter().map(|w| note(format!("{}: {w}", store.kind())))),
            Err(e) if e.kind() == ErrorKind::NoSuchTable => {}
            Err(e) => out.push(trouble(&e)),
        }
    }
    out
}
