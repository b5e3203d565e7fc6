//! Keys of rows as JSON, in files that people and scripts read: numbers as numbers, everything else as its text form.

use crossfade_stores::{ColumnType, RowKey, Table, Value};
use serde_json::Value as Json;

/// A key as a JSON array.
#[must_use]
pub fn to_json(key: &RowKey) -> Json {
    Json::Array(
        key.0
            .iter()
            .map(|v| match v {
                Value::Int(n) => Json::from(*n),
                Value::Uint(n) => Json::from(*n),
                Value::Bool(b) => Json::from(*b),
                other => other.to_text().map_or(Json::Null, Json::from),
            })
            .collect(),
    )
}

/// Reads a key of this table; a single value stands for a key of one column.
///
/// # Errors
/// What is wrong, and what a key of this table looks like.
pub fn from_json(table: &dyn Table, json: &Json) -> Result<RowKey, String> {
    let spec = table.spec();
    let columns: Vec<_> = spec.key.iter().map(|i| &spec.columns[*i]).collect();
    let alone = [json.clone()];
    let items = match json {
        Json::Array(items) => &items[..],
        _ => &alone[..],
    };
    let names = || columns.iter().map(|c| format!("{} {}", c.name, c.ty)).collect::<Vec<_>>().join(", ");
    if items.len() != columns.len() {
        return Err(format!("a key of table {} has {} values: [{}]", spec.name, columns.len(), names()));
    }
    let values: Option<Vec<Value>> = columns.iter().zip(items).map(|(c, item)| value(&c.ty, item)).collect();
    values.map(RowKey).ok_or_else(|| format!("a key of table {} is [{}]", spec.name, names()))
}

fn value(ty: &ColumnType, json: &Json) -> Option<Value> {
    match json {
        Json::String(text) => Value::from_text(ty, text),
        Json::Number(number) => Value::from_text(ty, &number.to_string()),
        Json::Bool(b) => Value::from_text(ty, &b.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
