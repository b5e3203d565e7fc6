//! From a row of the source to a row of the target.

use std::collections::BTreeMap;

use crossfade_api::config::TemplatePart;
use crossfade_stores::{ColumnType, Limits, Row, RowKey, Value, value::Narrow};

use serde::de::IgnoredAny;

use super::losses;

/// How one column of the target is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Made {
    /// From a column of the source, as this type.
    Column {
        /// Index in the source's row.
        from: usize,
        /// The type, where it is not the source's own.
        convert: Option<ColumnType>,
    },
    /// From a column of the source, brought down to what the target's column keeps.
    Narrowed {
        /// Index in the source's row.
        from: usize,
        /// The type of the target's column.
        to: ColumnType,
        /// What it keeps beyond that.
        limits: Limits,
        /// What becomes of the rest.
        by: Narrow,
    },
    /// From the attributes of the source that have no column of their own.
    Rest {
        /// Index in the source's row.
        from: usize,
        /// Whether the target's column takes no null, so that it gets an empty object instead.
        or_empty: bool,
    },
    /// From a template.
    Template(Vec<Piece>),
}

impl Made {
    /// Whether the target's column holds the values of this column of the source as they are.
    pub(super) fn holds(&self, column: usize) -> bool {
        match self {
            Made::Column { from, convert } => *from == column && convert.is_none(),
            // What would be another value is refused. Another width of a float is another type.
            Made::Narrowed { from, to, by, .. } => {
                *from == column && *by == Narrow::Refuse && !matches!(to, ColumnType::Float32)
            }
            Made::Rest { .. } | Made::Template(_) => false,
        }
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The text form of a column of the source.
    Column(usize),
}

/// A row that cannot be mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// A value has no form of the wanted type.
    #[error("a value of column `{column}` cannot be {wanted}")]
    Value {
        /// In the target.
        column: String,
        /// The type.
        wanted: String,
    },
    /// A value is more than the target's column keeps.
    #[error("a value of column `{column}` is more than the {wanted} of the target keeps: {advice}")]
    TooMuch {
        /// In the target.
        column: String,
        /// The column's type.
        wanted: String,
        /// What would accept it.
        advice: String,
    },
    /// The row has attributes that no column of the target takes.
    #[error(
        "no column of the target takes the attributes {attributes}: add a column for each, leave them out with map.NAME = {{ ignore = \"why\" }}, or keep them in a JSON column of the target with rest = \"COLUMN\""
    )]
    Unmapped {
        /// Their names.
        attributes: String,
    },
    /// A column that makes a key is null.
    #[error("column `{column}` is null, and the key of the target is made from it")]
    NullInKey {
        /// In the target.
        column: String,
    },
}

/// From a row of the source to a row of the target, and from a row of the target to the source's key.
#[derive(Clone, Debug, PartialEq)]
pub struct RowMap {
    pub(super) made: Vec<Made>,
    /// Names of the target's columns.
    pub(super) names: Vec<String>,
    /// For each of them, the column of the source that it is, by whose name the file speaks of it; its own name where it is made of several.
    pub(super) own_names: Vec<String>,
    /// For each key column of the source, the target's column that holds it unchanged.
    pub(super) source_key: Vec<usize>,
    pub(super) source_key_columns: Vec<usize>,
    pub(super) target_key_columns: Vec<usize>,
    pub(super) source_width: usize,
    /// The column of the source with attributes that nothing takes; a row that has some is refused.
    pub(super) unmapped: Option<usize>,
}

/// The names of an object's members.
fn names_in(object: &str) -> String {
    let members: BTreeMap<String, IgnoredAny> = serde_json::from_str(object).unwrap_or_default();
    members.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl RowMap {
    pub(super) fn piece(part: &TemplatePart, columns: &[String]) -> Option<Piece> {
        Some(match part {
            TemplatePart::Text(t) => Piece::Text(t.clone()),
            TemplatePart::Column(c) => Piece::Column(columns.iter().position(|n| n == c)?),
        })
    }

    /// The target's row.
    ///
    /// # Errors
    /// A value that cannot be what the target wants.
    pub fn forward(&self, row: &Row) -> Result<Row, MapError> {
        if self.is_identity() {
            return Ok(row.clone());
        }
        if let Some(Value::Json(object)) = self.unmapped.and_then(|column| row.0.get(column)) {
            return Err(MapError::Unmapped { attributes: names_in(object) });
        }
        let mut out = Vec::with_capacity(self.made.len());
        for (i, made) in self.made.iter().enumerate() {
            out.push(match made {
                Made::Column { from, convert: None } => row.0[*from].clone(),
                Made::Column { from, convert: Some(ty) } => row.0[*from]
                    .clone()
                    .convert(ty)
                    .ok_or_else(|| MapError::Value { column: self.names[i].clone(), wanted: ty.to_string() })?,
                Made::Narrowed { from, to, limits, by } => row.0[*from]
                    .clone()
                    .narrow(to, limits, *by)
                    .ok_or_else(|| self.too_much(i, &row.0[*from], to, limits))?,
                Made::Rest { from, or_empty } => match &row.0[*from] {
                    Value::Null if *or_empty => Value::Json("{}".to_owned()),
                    value => value.clone(),
                },
                Made::Template(pieces) => {
                    let mut text = String::new();
                    for piece in pieces {
                        match piece {
                            Piece::Text(t) => text.push_str(t),
                            Piece::Column(c) => match row.0[*c].to_text() {
                                Some(t) => text.push_str(&t),
                                None => return Err(MapError::NullInKey { column: self.names[i].clone() }),
                            },
                        }
                    }
                    Value::Text(text)
                }
            });
        }
        Ok(Row(out))
    }

    /// Names the words that would accept this very value.
    fn too_much(&self, column: usize, value: &Value, to: &ColumnType, limits: &Limits) -> MapError {
        let accepts = |by| value.clone().narrow(to, limits, by).is_some();
        let words: Vec<&str> = [(Narrow::Round, "round"), (Narrow::Truncate, "truncate")]
            .into_iter()
            .filter(|(by, _)| accepts(*by))
            .map(|(_, word)| word)
            .collect();
        let name = &self.names[column];
        let own = &self.own_names[column];
        let advice = match losses::lossy(own, (own != name).then_some(name.as_str()), &words) {
            Some(write) => format!("widen the column, or {write}"),
            None => "widen the column".to_owned(),
        };
        MapError::TooMuch { column: name.clone(), wanted: to.to_string(), advice }
    }

    /// The key that this row of the target has in the source.
    #[must_use]
    pub fn source_key_of(&self, target: &Row) -> RowKey {
        target.key(&self.source_key)
    }

    /// The key in the target, for a key of the source; `None` where the target's key is made of other columns too.
    #[must_use]
    pub fn target_key_of(&self, source: &RowKey) -> Option<RowKey> {
        let mut row = Row(vec![Value::Null; self.source_width]);
        for (at, value) in self.source_key_columns.iter().zip(&source.0) {
            row.0[*at] = value.clone();
        }
        if self.target_key_needs_the_row() { None } else { self.target_key_made_of(&row) }
    }

    /// The key in the target, made of a row of the source of which other columns may be null.
    #[must_use]
    pub fn target_key_made_of(&self, row: &Row) -> Option<RowKey> {
        // Only the key's columns are looked at: the others are null and may not convert.
        let mut key = Vec::with_capacity(self.target_key_columns.len());
        for t in &self.target_key_columns {
            let one = RowMap {
                made: vec![self.made[*t].clone()],
                names: vec![self.names[*t].clone()],
                own_names: vec![self.own_names[*t].clone()],
                source_width: usize::MAX,
                unmapped: None,
                ..self.clone()
            };
            key.push(one.forward(row).ok()?.0.pop()?);
        }
        Some(RowKey(key))
    }

    /// The columns of the source that the target's key is made of.
    #[must_use]
    pub fn target_key_sources(&self) -> Vec<usize> {
        let mut out: Vec<usize> = self
            .target_key_columns
            .iter()
            .flat_map(|t| match &self.made[*t] {
                Made::Column { from, .. } | Made::Narrowed { from, .. } | Made::Rest { from, .. } => vec![*from],
                Made::Template(pieces) => pieces
                    .iter()
                    .filter_map(|piece| match piece {
                        Piece::Column(from) => Some(*from),
                        Piece::Text(_) => None,
                    })
                    .collect(),
            })
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// For each column of the source, the target's column that holds it unchanged; `Err` is a column that no column of the target holds so: no row of the target
    /// can be brought back then. A column that stands for attributes without one has no place in the target: its place is `usize::MAX`.
    ///
    /// # Errors
    /// The index of the first such column.
    pub fn way_back(&self) -> Result<Vec<usize>, usize> {
        (0..self.source_width)
            .map(|column| match self.unmapped {
                Some(unmapped) if unmapped == column => Ok(usize::MAX),
                _ => self.made.iter().position(|made| made.holds(column)).ok_or(column),
            })
            .collect()
    }

    /// Whether the target's key is made of more than the source's key.
    #[must_use]
    pub fn target_key_needs_the_row(&self) -> bool {
        !self.target_key_sources().iter().all(|column| self.source_key_columns.contains(column))
    }

    /// Whether rows are the same on both sides, column by column.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.made.len() == self.source_width
            && self
                .made
                .iter()
                .enumerate()
                .all(|(i, m)| matches!(m, Made::Column { from, convert: None } if *from == i))
    }

    /// Whether keys are the same on both sides.
    #[must_use]
    pub fn keys_are_equal(&self) -> bool {
        self.source_key == self.target_key_columns
    }

    /// How each column of the target is made, in the order of its rows.
    #[must_use]
    pub fn made(&self) -> &[Made] {
        &self.made
    }

    /// Names of the target's columns, in the order of its rows.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}
