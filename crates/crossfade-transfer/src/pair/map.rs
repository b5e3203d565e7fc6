//! From a row of the source to a row of the target.

use crossfade_api::config::TemplatePart;
use crossfade_stores::{ColumnType, Row, RowKey, Value};

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
    /// From a template.
    Template(Vec<Piece>),
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
    /// For each key column of the source, the target's column that holds it unchanged.
    pub(super) source_key: Vec<usize>,
    pub(super) source_key_columns: Vec<usize>,
    pub(super) target_key_columns: Vec<usize>,
    pub(super) source_width: usize,
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
        let mut out = Vec::with_capacity(self.made.len());
        for (i, made) in self.made.iter().enumerate() {
            out.push(match made {
                Made::Column { from, convert: None } => row.0[*from].clone(),
                Made::Column { from, convert: Some(ty) } => row.0[*from]
                    .clone()
                    .convert(ty)
                    .ok_or_else(|| MapError::Value { column: self.names[i].clone(), wanted: ty.to_string() })?,
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
                source_width: usize::MAX,
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
                Made::Column { from, .. } => vec![*from],
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
    /// can be brought back then.
    ///
    /// # Errors
    /// The index of the first such column.
    pub fn way_back(&self) -> Result<Vec<usize>, usize> {
        (0..self.source_width)
            .map(|column| {
                let holds = |made: &Made| matches!(made, Made::Column { from, convert: None } if *from == column);
                self.made.iter().position(holds).ok_or(column)
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

    /// Names of the target's columns, in the order of its rows.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}
