//! Opening both sides of a table by its configuration.

use std::sync::Arc;

use crossfade_api::config::{Loss, MapConfig, TableConfig, TableKind, TemplatePart};
use crossfade_stores::{
    Column, ColumnType, ErrorKind, Fit, Limits, Store, StoreError, TableName, TableOptions, TableSchema, TableSpec,
    WantedColumn,
    value::{Closeness, Narrow},
};

use super::{
    Pair, RowMap,
    losses::{self, Place},
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
    let fit = |ty: &ColumnType, column: Option<&Column>| target.fit(ty, column);
    let specs = specs_for(name, config, &described, &target_name, found.as_ref(), &fit)?;
    let same_engine = source.kind() == target.kind();
    let refused: Vec<String> = judge(config, &described, found.as_ref(), &specs, same_engine, &fit)
        .into_iter()
        .filter_map(|(_, fits)| match fits {
            Fits::Refused(why) => Some(why),
            Fits::Whole | Fits::WithLoss(_) => None,
        })
        .collect();
    if !refused.is_empty() {
        return Err(OpenError::Map { table: name.to_owned(), what: refused.join("; ") });
    }
    let (source_spec, target_spec, map) = specs;
    let source_table = source.table(&source_spec).await?;
    let target_table = target.table(&target_spec).await?;
    if let (Some(a), Some(b)) = (source_table.identity().await?, target_table.identity().await?)
        && a.live == b.live
    {
        let what = "the source and the target are the same table of the same database: correct `source` or `target`";
        return Err(OpenError::Map { table: name.to_owned(), what: what.to_owned() });
    }
    // Two engines write the same number and the same JSON differently, and so do the application's two implementations.
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
    specs_for(name, config, described, target_name, found, &|_, _| Fit::Lossless)
}

/// Both specs, and the map between their rows.
pub(crate) type Specs = (TableSpec, TableSpec, RowMap);

/// What a store says of a type in one of its columns.
pub(crate) type FitOf<'a> = &'a dyn Fn(&ColumnType, Option<&Column>) -> Fit;

/// The name of the source's column that stands for all attributes without one.
const OTHERS: &str = "(attributes without a column)";

/// How a column of the source fares in the target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fits {
    /// Every value comes back.
    Whole,
    /// Not every value does, as the file allows, or because the row is refused.
    WithLoss(&'static str),
    /// Not as the file has it, and what to write instead.
    Refused(String),
}

/// How each of the target's columns takes its values. `fit` is the target's own answer.
pub(crate) fn judge(
    config: &TableConfig,
    described: &TableSchema,
    found: Option<&TableSchema>,
    (source, target, map): &Specs,
    same_engine: bool,
    fit: FitOf<'_>,
) -> Vec<(String, Fits)> {
    let mut out = Vec::with_capacity(target.columns.len());
    for (column, made) in target.columns.iter().zip(&map.made) {
        let from = match made {
            Made::Column { from, .. } | Made::Narrowed { from, .. } => Some(*from),
            Made::Rest { .. } | Made::Template(_) => None,
        };
        let place = place(config, found, &column.name, from.is_some_and(|from| source.key.contains(&from)));
        let own = from.map(|from| &source.columns[from]);
        let native = own.and_then(|own| described.column(&own.name)).map(|column| &column.native);
        // A column that is read as text has its own type still.
        let ty = |own: &WantedColumn| -> ColumnType {
            let described = described.column(&own.name).filter(|_| source.options.as_text.contains(&own.name));
            described.map_or_else(|| own.ty.clone(), |column| column.ty.clone())
        };
        // A template of one column makes another copy of it, which the entry of that column does not speak of.
        let entry = own.and_then(|own| config.map.get(&own.name));
        let to = entry.and_then(MapConfig::renamed);
        let is_own = own.is_some_and(|own| column.name == to.unwrap_or(&own.name));
        let word = entry.filter(|_| is_own).and_then(MapConfig::loss);
        let words = || match (own, entry) {
            (Some(own), None | Some(MapConfig::Lossy(_) | MapConfig::Rename { .. })) if is_own => {
                losses::words(&ty(own), &place, fit)
            }
            _ => Vec::new(),
        };
        let refused = |why: &str| {
            let held = place.found.map_or("an attribute", |column| column.native.as_str());
            let ty = own.map_or_else(|| column.ty.clone(), ty);
            let from = own.filter(|_| is_own).map_or(&column.name, |own| &own.name);
            let may_ignore = is_own
                && !place.is_key
                && !config.cohort.contains(from)
                && place.found.is_none_or(|column| column.optional);
            let advice = losses::advice(from, to, &words(), may_ignore);
            Fits::Refused(format!("column `{}`: {ty} does not go into {held} as it is ({why}): {advice}", column.name))
        };
        let fits = match fit(&column.ty, place.found) {
            Fit::Lossless => Fits::Whole,
            Fit::Lossy(_) if same_engine && native == place.found.map(|column| &column.native) => Fits::Whole,
            Fit::Lossy(why) => match word {
                Some(word) if words().contains(&word.word()) => Fits::WithLoss(why),
                // What a column of this very type cannot hold is refused, row by row.
                _ if place.found.is_some_and(|there| there.ty == column.ty && there.limits == Limits::default()) => {
                    Fits::WithLoss(why)
                }
                _ => refused(why),
            },
            Fit::Refused(why) => refused(why),
        };
        out.push((column.name.clone(), fits));
    }
    out
}

/// Where a column of the source goes.
fn place<'a>(config: &TableConfig, found: Option<&'a TableSchema>, column: &str, is_key: bool) -> Place<'a> {
    let open = found.is_none_or(|found| found.open);
    let there = found.and_then(|found| found.column(column));
    let mut limits = match (there, found) {
        (Some(there), _) => there.limits,
        (None, Some(found)) if found.open => Limits::DYNAMODB,
        _ => Limits::default(),
    };
    if open && config.ttl.as_deref() == Some(column) {
        // An expiry is of whole seconds in DynamoDB, of milliseconds in Redis.
        limits.fraction = Some(if found.is_some() { 0 } else { 3 });
        limits.upwards = true;
    }
    Place { found: there, limits, open, is_key }
}

/// As [`specs`], with words of `lossy` that the target takes.
pub(crate) fn specs_for(
    name: &str,
    config: &TableConfig,
    described: &TableSchema,
    target_name: &TableName,
    found: Option<&TableSchema>,
    fit: FitOf<'_>,
) -> Result<Specs, OpenError> {
    let wrong = |what: String| OpenError::Map { table: name.to_owned(), what };
    let open = described.open;
    if let Some(rest) = config.rest.as_ref().filter(|_| !open) {
        return Err(wrong(format!(
            "rest = \"{rest}\" is for a source whose rows have attributes without columns (DynamoDB): this one has columns"
        )));
    }
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
            // An attribute that the target has no column for.
            MapConfig::Ignore { .. } if open && !has(column) => {}
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
    let others = open.then_some(source_spec.columns.len());
    if open {
        let ignored = config.map.iter().filter(|(_, entry)| matches!(entry, MapConfig::Ignore { .. }));
        source_spec.options.ignored = ignored.map(|(attribute, _)| attribute.clone()).collect();
        source_spec.options.rest = Some(OTHERS.to_owned());
        source_spec.columns.push(WantedColumn { name: OTHERS.to_owned(), ty: ColumnType::Json, accept_loss: true });
    }
    let columns: Vec<String> = source_spec.columns.iter().map(|c| c.name.clone()).collect();
    let mut made = Vec::new();
    let mut wanted: Vec<WantedColumn> = Vec::new();
    let mut as_text = Vec::new();
    for (from, column) in source_spec.columns.iter().enumerate() {
        if others == Some(from) {
            if let Some(name) = &config.rest {
                let nullable = found.and_then(|found| found.column(name)).is_none_or(|column| column.nullable);
                made.push(Made::Rest { from, or_empty: !nullable });
                wanted.push(WantedColumn { name: name.clone(), ty: ColumnType::Json, accept_loss: true });
            }
            continue;
        }
        let mut out = WantedColumn { name: column.name.clone(), ty: column.ty.clone(), accept_loss: false };
        let mut one = Made::Column { from, convert: None };
        let entry = config.map.get(&column.name);
        let to = entry.and_then(MapConfig::renamed);
        if let Some(to) = to {
            to.clone_into(&mut out.name);
        }
        match entry {
            Some(MapConfig::Lossy(loss) | MapConfig::Rename { lossy: Some(loss), .. }) => {
                let place = place(config, found, &out.name, source_spec.key.contains(&from));
                let Some(kept) = losses::kept(*loss, &column.ty, &place) else {
                    let may_ignore = !place.is_key && place.found.is_none_or(|column| column.optional);
                    return Err(wrong(format!(
                        "map.{}: a column of type {} has no loss \"{}\" there: {}",
                        column.name,
                        column.ty,
                        loss.word(),
                        losses::advice(&column.name, to, &losses::words(&column.ty, &place, fit), may_ignore)
                    )));
                };
                one = match kept.narrow {
                    Some((to, by)) => Made::Narrowed { from, to, limits: place.limits, by },
                    None => Made::Column { from, convert: (kept.ty != column.ty).then(|| kept.ty.clone()) },
                };
                if *loss == Loss::Text {
                    // The source's own text; a row of the target cannot be brought back from it.
                    one = Made::Column { from, convert: Some(ColumnType::TEXT) };
                    as_text.push(from);
                }
                out.ty = kept.ty;
                out.accept_loss = true;
            }
            Some(MapConfig::Template(_)) => {
                // The template below makes the attribute of this name.
                continue;
            }
            Some(MapConfig::Ignore { .. } | MapConfig::Rename { lossy: None, .. }) | None => {}
        }
        let place = place(config, found, &out.name, false);
        if one == (Made::Column { from, convert: None })
            && described.column(&column.name).is_some_and(|column| losses::is_finer(column, &place))
        {
            one = Made::Narrowed { from, to: column.ty.clone(), limits: place.limits, by: Narrow::Refuse };
        }
        made.push(one);
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
            .filter_map(|k| made.iter().position(|made| made.holds(*k)))
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
        let at = made.iter().position(|made| made.holds(*k)).ok_or_else(|| {
            wrong(format!("the key column `{}` must be kept as it is in the target, so that a row there can be found in the source", source_spec.columns[*k].name))
        })?;
        source_key.push(at);
    }
    // Where the key is the same column on both sides, prefer that one.
    for (n, k) in source_spec.key.iter().enumerate() {
        if let Some(t) = key.get(n)
            && made[*t].holds(*k)
        {
            source_key[n] = *t;
        }
    }
    for from in as_text {
        let column = &mut source_spec.columns[from];
        column.ty = ColumnType::TEXT;
        source_spec.options.as_text.push(column.name.clone());
    }
    let map = RowMap {
        names: wanted.iter().map(|c| c.name.clone()).collect(),
        own_names: made
            .iter()
            .zip(&wanted)
            .map(|(made, wanted)| match made {
                Made::Column { from, .. } | Made::Narrowed { from, .. } => columns[*from].clone(),
                Made::Rest { .. } | Made::Template(_) => wanted.name.clone(),
            })
            .collect(),
        made,
        source_key,
        source_key_columns: source_spec.key.clone(),
        target_key_columns: key.clone(),
        source_width: source_spec.columns.len(),
        unmapped: others.filter(|_| config.rest.is_none()),
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
            Made::Column { .. } | Made::Narrowed { .. } | Made::Rest { .. } => None,
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
