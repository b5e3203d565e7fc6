//! The rows of both sides as backfill, verification and repair see them: tables of stores, as `crossfade backfill` opens them from a configuration.

use super::inject::{TroubledTable, Troubles};
use super::sides::{Place, Sides};
use anyhow::{Context as _, anyhow};
use crossfade_api::config::TableConfig;
use crossfade_example_events::EventId;
use crossfade_stores::{Column, ColumnType, Limits, Store, StoreUrl, Table, TableName, TableSchema};
use crossfade_transfer::pair::{self, Engines};
use crossfade_transfer::{Pair, rows::StoreRows};
use std::sync::Arc;

/// Both tables, opened; the target's writes meet the troubles, if there are any.
pub(super) async fn open(sides: &Sides, troubles: Option<&Troubles>) -> anyhow::Result<Pair> {
    let (from, into) = (&sides.source.place, &sides.target.place);
    let (source, target) = (store(from).await?, store(into).await?);
    let described = source.describe(&TableName::new(&from.table)).await?;
    let target_name = TableName::new(&into.table);
    let found = target.describe(&target_name).await?;
    let config =
        TableConfig { cohort: vec!["line".to_owned()], target: Some(into.table.clone()), ..TableConfig::default() };
    let described = as_events(described)?;
    let (source_spec, target_spec, map) = pair::specs(&from.table, &config, &described, &target_name, Some(&found))
        .context("events do not fit from the source into the target")?;
    let engines = if source.kind() == target.kind() { Engines::Same } else { Engines::Different };
    let (source, mut target) = (source.table(&source_spec).await?, target.table(&target_spec).await?);
    if let Some(troubles) = troubles {
        target = Arc::new(TroubledTable::around(target, troubles.clone())?) as Arc<dyn Table>;
    }
    Ok(pair::opened(&from.table, source, target, map, false, engines))
}

async fn store(place: &Place) -> anyhow::Result<Arc<dyn Store>> {
    let url: StoreUrl = place.url.parse()?;
    Ok(crossfade_stores::open(&url).await?)
}

/// The columns of an event, whether the store has columns or only items.
fn as_events(described: TableSchema) -> anyhow::Result<TableSchema> {
    let (text, number) = (ColumnType::TEXT, ColumnType::Int { bits: 32 });
    let columns: Vec<Column> = [
        ("id", ColumnType::INT64, false),
        ("line", text.clone(), false),
        ("tail", text.clone(), true),
        ("origin", text.clone(), false),
        ("destination", text.clone(), false),
        ("scheduled", text, false),
        ("departure_delay", number.clone(), true),
        ("arrival_delay", number.clone(), true),
        ("air_time", number.clone(), true),
        ("distance", number, false),
    ]
    .into_iter()
    .map(|(name, ty, nullable)| Column {
        name: name.to_owned(),
        ty,
        native: String::new(),
        nullable,
        generated: false,
        optional: nullable,
        limits: Limits::default(),
    })
    .collect();
    let key = described
        .key
        .iter()
        .map(|at| columns.iter().position(|column| column.name == described.columns[*at].name))
        .collect::<Option<Vec<usize>>>()
        .ok_or_else(|| anyhow!("{} has another key than an event", described.name))?;
    Ok(TableSchema { columns, key, open: false, ..described })
}

/// What the library repairs and checks by.
pub(super) fn of(pair: &Pair) -> anyhow::Result<StoreRows<EventId>> {
    Ok(StoreRows::new(pair.clone(), &["line", "id"], |id: &EventId| vec![id.line.0.clone(), id.id.to_string()])?)
}
