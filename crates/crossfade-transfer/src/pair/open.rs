//! Opening both sides of a table by its configuration.

use std::sync::Arc;

use crossfade_api::config::{Loss, MapConfig, TableConfig, TableKind, TemplatePart};
use crossfade_stores::{
    ColumnType, ErrorKind, Store, StoreError, TableName, TableOptions, TableSchema, TableSpec, WantedColumn,
    value::Closeness,
};

use super::{
    Pair, RowMap,
    map::{Made, Piece},
};

/// The configuration does not fit the databases.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A database said so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The map does not fit the tables.
    #[error("table {table}: {what}")]
    Map {
        /// In the source.
        table: String,
        /// What is wrong, and what to write.
        what: String,
    },
}

impl From<OpenError> for crate::TransferError {
    fn from(e: OpenError) -> Self {
        match e {
            OpenError::Store(e) => crate::TransferError::Store(e),
            e @ OpenError::Map { .. } => crate::TransferError::Config(e.to_string()),
        }
    }
}

/// Describes both tables, makes the map and opens both.
///
/// # Errors
/// What does not fit, and what to write.
pub async fn open(
    source: &Arc<dyn Store>,
    target: &Arc<dyn Store>,
    name: &str,
    config: &TableConfig,
) -> Result<Pair, OpenError> {
    let described = source.describe(&TableName::new(name)).await?;
    let target_name = TableName::new(config.target.clone().unwrap_or_else(|| name.to_owned()));
    let found = match target.describe(&target_name).await {
        Ok(found) => Some(found),
        // A store that makes its tables by writing (Redis) has nothing to describe yet.
        Err(e) if e.kind() == ErrorKind::Unsupported => None,
        Err(e) => return Err(e.into()),
    };
    let (source_spec, target_spec, map) = specs(name, config, &described, &target_name, found.as_ref())?;
    let source_table = source.table(&source_spec).await?;
    let target_table = target.table(&target_spec).await?;
    // Two engines write the same number and the same JSON differently, and so do the application's two implementations.
    let same_engine = source.kind() == target.kind();
    Ok(opened(
        name,
        source_table,
        target_table,
        map,
        config.kind == TableKind::Cache,
        if same_engine { Engines::Same } else { Engines::Different },
    ))
}

/// Whether both sides are of one engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engines {
    /// What one writes, the other writes the same way.
    Same,
    /// Decimals are compared by number, JSON by value.
    Different,
}

/// Joins two opened tables.
#[must_use]
pub fn opened(
    name: &str,
    source: Arc<dyn crossfade_stores::Table>,
    target: Arc<dyn crossfade_stores::Table>,
    map: RowMap,
    cache: bool,
    engines: Engines,
) -> Pair {
    let (a, b) = (source.capabilities(), target.capabilities());
    let keep = a.keeps_decimal_scale && b.keeps_decimal_scale && a.keeps_json_text && b.keeps_json_text;
    let mut pair =
        Pair { name: name.to_owned(), source, target, map: Arc::new(map), closeness: Closeness::ByValue, cache };
    if engines == Engines::Same && (keep || pair.same_bytes()) {
        pair.closeness = Closeness::Exact;
    }
    pair
}

/// The specs that open both sides, and the map between their rows. Pure.
///
/// # Errors
/// [`OpenError::Map`] says what does not fit.
pub fn specs(
    name: &str,
    config: &TableConfig,
    described: &TableSchema,
    target_name: &TableName,
    found: Option<&TableSchema>,
) -> Result<(TableSpec, TableSpec, RowMap), OpenError> {
    let wrong = |what: String| OpenError::Map { table: name.to_owned(), what };
    let completed;
    let described = if described.open {
        completed = super::complete::complete(described, found, config).map_err(wrong)?;
        &completed
    } else {
        described
    };
    let has = |column: &str| described.column(column).is_some();
    for column in &config.cohort {
        if !has(column) {
            return Err(wrong(format!(
                "the cohort column `{column}` is not in the source: it has {}",
                super::column_names(described).join(", ")
            )));
        }
    }
    let mut source_spec = described.as_spec();
    // What an attribute cannot hold is a loss of writing: this side is read.
    source_spec.columns.iter_mut().for_each(|c| c.accept_loss = described.open);
    // Ignored columns are not even read.
    for (column, entry) in &config.map {
        match entry {
            MapConfig::Ignore { .. } | MapConfig::Lossy(_) | MapConfig::Rename { .. } if !has(column) => {
                return Err(wrong(format!(
                    "map.{column} names no column of the source: only templates name columns of the target"
                )));
            }
            MapConfig::Ignore { .. } => {
                let Some(at) = source_spec.columns.iter().position(|c| c.name == *column) else { continue };
                if source_spec.key.contains(&at) {
                    return Err(wrong(format!("map.{column}: a key column cannot be ignored")));
                }
                source_spec.columns.remove(at);
                for k in &mut source_spec.key {
                    *k -= usize::from(*k > at);
                }
            }
            MapConfig::Template(template) => {
                for part in &template.parts {
                    if let TemplatePart::Column(c) = part
                        && !has(c)
                    {
                        return Err(wrong(format!("map.{column}: `{{{c}}}` is no column of the source")));
                    }
                }
            }
            MapConfig::Lossy(_) | MapConfig::Rename { .. } => {}
        }
    }
    let columns: Vec<String> = source_spec.columns.iter().map(|c| c.name.clone()).collect();
    let mut made = Vec::new();
    let mut wanted: Vec<WantedColumn> = Vec::new();
    for (from, column) in source_spec.columns.iter().enumerate() {
        let mut out = WantedColumn { name: column.name.clone(), ty: column.ty.clone(), accept_loss: false };
        let mut convert = None;
        match config.map.get(&column.name) {
            Some(MapConfig::Lossy(loss)) => {
                let ty = match (loss, &column.ty) {
                    (Loss::Float, ColumnType::Decimal { .. }) => ColumnType::Float64,
                    (Loss::Float, ColumnType::Float32 | ColumnType::Float64) => column.ty.clone(),
                    (Loss::Utc, ColumnType::Timestamp) => ColumnType::TimestampTz,
                    (Loss::Utc, ColumnType::TimestampTz) => ColumnType::Timestamp,
                    (Loss::Text, _) => ColumnType::TEXT,
                    (loss, ty) => {
                        return Err(wrong(format!(
                            "map.{}: a column of type {ty} has no loss `{}`",
                            column.name,
                            format!("{loss:?}").to_lowercase()
                        )));
                    }
                };
                if ty != column.ty {
                    convert = Some(ty.clone());
                }
                out.ty = ty;
                out.accept_loss = true;
            }
            Some(MapConfig::Rename { to }) => out.name.clone_from(to),
            Some(MapConfig::Template(_)) => {
                // The template below makes the attribute of this name.
                continue;
            }
            Some(MapConfig::Ignore { .. }) | None => {}
        }
        made.push(Made::Column { from, convert });
        wanted.push(out);
    }
    for (attribute, entry) in &config.map {
        let MapConfig::Template(template) = entry else { continue };
        let pieces: Option<Vec<Piece>> = template.parts.iter().map(|p| RowMap::piece(p, &columns)).collect();
        let pieces =
            pieces.ok_or_else(|| wrong(format!("map.{attribute}: a template may not use an ignored column")))?;
        match &pieces[..] {
            [Piece::Column(from)] => {
                wanted.push(WantedColumn {
                    name: attribute.clone(),
                    ty: source_spec.columns[*from].ty.clone(),
                    accept_loss: false,
                });
                made.push(Made::Column { from: *from, convert: None });
            }
            _ => {
                wanted.push(WantedColumn { name: attribute.clone(), ty: ColumnType::TEXT, accept_loss: false });
                made.push(Made::Template(pieces));
            }
        }
    }
    if let Some(twice) =
        wanted.iter().enumerate().find(|(i, c)| wanted[..*i].iter().any(|o| o.name == c.name)).map(|(_, c)| &c.name)
    {
        return Err(wrong(format!(
            "two columns would be `{twice}` in the target: rename one with {{ to = \"name\" }}"
        )));
    }
    // Without a description, the target's key is the source's.
    let key_names: Vec<String> = match found {
        Some(found) => found.key.iter().map(|i| found.columns[*i].name.clone()).collect(),
        None => source_spec
            .key
            .iter()
            .filter_map(|k| made.iter().position(|m| matches!(m, Made::Column { from, convert: None } if from == k)))
            .map(|i| wanted[i].name.clone())
            .collect(),
    };
    let mut key = Vec::new();
    for column in &key_names {
        let at = wanted.iter().position(|c| c.name == *column).ok_or_else(|| {
            wrong(format!(
                "the target's key column `{column}` is not made from anything: write map.{column} = \"TEXT{{column}}\""
            ))
        })?;
        key.push(at);
    }
    if let Some(found) = found.filter(|f| !f.open) {
        for column in &wanted {
            if found.column(&column.name).is_none() {
                return Err(wrong(format!(
                    "the target has no column `{0}`: add it there, rename it with map.{0} = {{ to = \"name\" }}, or leave it out with {{ ignore = \"why\" }}",
                    column.name
                )));
            }
        }
        for column in &found.columns {
            if !column.optional && !column.generated && !wanted.iter().any(|w| w.name == column.name) {
                return Err(wrong(format!(
                    "the target's column `{}` wants a value and has no default: map something to it",
                    column.name
                )));
            }
        }
    }
    let mut source_key = Vec::new();
    for k in &source_spec.key {
        let at = made.iter().position(|m| matches!(m, Made::Column { from, convert: None } if from == k)).ok_or_else(|| {
            wrong(format!("the key column `{}` must be kept as it is in the target, so that a row there can be found in the source", source_spec.columns[*k].name))
        })?;
        source_key.push(at);
    }
    // Where the key is the same column on both sides, prefer that one.
    for (n, k) in source_spec.key.iter().enumerate() {
        if let Some(t) = key.get(n)
            && matches!(&made[*t], Made::Column { from, convert: None } if from == k)
        {
            source_key[n] = *t;
        }
    }
    let map = RowMap {
        names: wanted.iter().map(|c| c.name.clone()).collect(),
        made,
        source_key,
        source_key_columns: source_spec.key.clone(),
        target_key_columns: key.clone(),
        source_width: source_spec.columns.len(),
    };
    // A template that begins with a text tells this table's rows from the others of a shared table.
    let only_prefixes = map
        .made
        .iter()
        .zip(&wanted)
        .filter_map(|(made, column)| match made {
            Made::Template(pieces) => match pieces.first() {
                Some(Piece::Text(prefix)) => Some((column.name.clone(), prefix.clone())),
                _ => None,
            },
            Made::Column { .. } => None,
        })
        .collect();
    let options = TableOptions {
        only_prefixes,
        version_column: config.version.clone(),
        ttl_column: config.ttl.clone(),
        key_pattern: config.key.clone(),
        layout: match config.layout {
            crossfade_api::config::Layout::Hash => crossfade_stores::schema::Layout::Hash,
            crossfade_api::config::Layout::Json => crossfade_stores::schema::Layout::Json,
        },
        ..TableOptions::default()
    };
    let target_spec = TableSpec { name: target_name.clone(), columns: wanted, key, options };
    Ok((source_spec, target_spec, map))
}
