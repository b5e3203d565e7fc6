//! The SQL of one opened table, and the values of its rows in both directions.

use std::fmt::Write as _;

use tokio_postgres::Row as SqlRow;

use super::{
    Postgres,
    binary::{self, Field, Parameter, Physical},
    schema::{Described, quote},
};
use crate::{ColumnType, ErrorKind, Fit, Row, RowKey, Store, StoreError, TableSpec, Value};

/// One column, as the caller wants it and as the table has it.
#[derive(Clone, Debug)]
pub(super) struct Col {
    pub(super) name: String,
    pub(super) quoted: String,
    pub(super) wanted: ColumnType,
    pub(super) physical: Physical,
    /// Whether `wanted` values are not the column's own.
    pub(super) converts: bool,
    pub(super) oid: u32,
    pub(super) access: Access,
}

/// What may be done with a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Written,
    /// The database computes it.
    Computed,
    /// Read in the database's text form.
    AsText,
}

impl Col {
    /// What it is read by.
    pub(super) fn read(&self, sql: &str) -> String {
        match self.access {
            // What psql prints. A cast to text is another function for some types: it adds `/32` to an inet.
            Access::AsText => format!("CASE WHEN {sql} IS DISTINCT FROM NULL THEN format('%s', {sql}) END"),
            Access::Written | Access::Computed => sql.to_owned(),
        }
    }

    /// A float that a double stands for is the same in its short and in its long form.
    fn as_wanted(&self, sql: &str) -> String {
        match (&self.wanted, &self.physical.ty) {
            (ColumnType::Float32, ColumnType::Float64) => format!("({sql})::real"),
            _ => sql.to_owned(),
        }
    }
}

/// The SQL of one opened table.
pub(super) struct Shape {
    pub(super) table: String,
    pub(super) shown: String,
    pub(super) columns: Vec<Col>,
    pub(super) key: Vec<usize>,
    pub(super) ordered: bool,
    /// What a row is read by.
    pub(super) list: String,
    /// The columns that may be written.
    pub(super) written: Vec<usize>,
    /// `"a", "c"`
    pub(super) write_list: String,
    pub(super) key_list: String,
    /// A name for temporary tables of this shape.
    pub(super) stage: String,
    /// Column, if compare-and-set goes by one.
    pub(super) version: Option<usize>,
}

impl Shape {
    pub(super) fn new(store: &Postgres, spec: &TableSpec, described: &Described) -> Result<Self, StoreError> {
        let shown = format!("table {} in {}", spec.name, store.location());
        let mut columns = Vec::with_capacity(spec.columns.len());
        for wanted in &spec.columns {
            let Some(at) = described.schema.columns.iter().position(|c| c.name == wanted.name) else {
                return Err(StoreError::new(
                    ErrorKind::SchemaChanged,
                    format!("{shown} has no column `{}`: add it, map it or ignore it", wanted.name),
                ));
            };
            let found = &described.schema.columns[at];
            if spec.options.as_text.contains(&wanted.name) && wanted.ty == ColumnType::TEXT {
                columns.push(Col {
                    name: wanted.name.clone(),
                    quoted: quote(&wanted.name),
                    wanted: ColumnType::TEXT,
                    physical: Physical { ty: ColumnType::TEXT, jsonb: false, element: 0, cast: "text".to_owned() },
                    converts: false,
                    oid: 25,
                    access: Access::AsText,
                });
                continue;
            }
            match store.fit(&wanted.ty, Some(found)) {
                Fit::Lossless => {}
                // A table opened as what it is needs no consent: nothing is converted.
                Fit::Lossy(_) if wanted.accept_loss || wanted.ty == found.ty => {}
                Fit::Lossy(why) => {
                    return Err(StoreError::new(
                        ErrorKind::Unrepresentable,
                        format!(
                            "{shown} keeps {} as {} with a loss ({why}) that is not accepted: `crossfade check` names the words of `lossy` that accept it",
                            wanted.ty, found.native
                        ),
                    )
                    .in_column(&wanted.name));
                }
                Fit::Refused(why) => {
                    return Err(StoreError::new(
                        ErrorKind::Unrepresentable,
                        format!("{shown} does not keep {} as {}: {why}", wanted.ty, found.native),
                    )
                    .in_column(&wanted.name));
                }
            }
            columns.push(Col {
                name: wanted.name.clone(),
                quoted: quote(&wanted.name),
                wanted: wanted.ty.clone(),
                physical: described.physical[at].clone(),
                converts: wanted.ty != described.physical[at].ty,
                oid: described.oids[at],
                access: if found.generated { Access::Computed } else { Access::Written },
            });
        }
        let own_key: Vec<&str> =
            described.schema.key.iter().map(|i| described.schema.columns[*i].name.as_str()).collect();
        let spec_key: Vec<&str> =
            spec.key.iter().filter_map(|i| spec.columns.get(*i)).map(|c| c.name.as_str()).collect();
        if own_key != spec_key {
            return Err(StoreError::new(
                ErrorKind::Config,
                format!(
                    "{shown} has the primary key ({}), not ({}): rows must have the same key on both sides",
                    own_key.join(", "),
                    spec_key.join(", ")
                ),
            ));
        }
        let version = match &spec.options.version_column {
            None => None,
            Some(name) => Some(spec.columns.iter().position(|c| c.name == *name).ok_or_else(|| {
                StoreError::new(
                    ErrorKind::Config,
                    format!("{shown}: the version column `{name}` is not among its mapped columns"),
                )
            })?),
        };
        let ordered = described.schema.key.iter().all(|i| described.bytewise[*i])
            && spec.key.iter().all(|i| !columns[*i].converts || same_order(&columns[*i]));
        let list = columns.iter().map(|c| c.read(&c.quoted)).collect::<Vec<_>>().join(", ");
        let written: Vec<usize> = (0..columns.len()).filter(|i| columns[*i].access == Access::Written).collect();
        let write_list = written.iter().map(|i| columns[*i].quoted.as_str()).collect::<Vec<_>>().join(", ");
        let key_list = spec.key.iter().map(|i| columns[*i].quoted.as_str()).collect::<Vec<_>>().join(", ");
        let stage = format!(
            "crossfade_stage_{:016x}",
            xxhash_rust::xxh3::xxh3_64(format!("{} {write_list}", described.quoted).as_bytes())
        );
        Ok(Shape {
            table: described.quoted.clone(),
            shown,
            columns,
            key: spec.key.clone(),
            ordered,
            list,
            written,
            write_list,
            key_list,
            stage,
            version,
        })
    }

    /// Makes the temporary table of this session, emptied by every commit.
    pub(super) fn create_stage(&self) -> String {
        format!(
            "CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA",
            self.stage, self.write_list, self.table
        )
    }

    /// Puts the staged rows whose keys are not there.
    pub(super) fn insert_staged(&self) -> String {
        format!(
            "INSERT INTO {table} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM pg_temp.{stage} ON CONFLICT ({keys}) DO NOTHING",
            table = self.table,
            list = self.write_list,
            stage = self.stage,
            keys = self.key_list
        )
    }

    /// The columns' own types: equal signatures mean equal bytes.
    pub(super) fn signature(&self) -> String {
        let types: Vec<&str> = self.columns.iter().map(|c| c.physical.cast.as_str()).collect();
        format!("{} key {:?}", types.join(", "), self.key)
    }

    /// Whether the bytes of its rows may go into another table as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.written.len() == self.columns.len()
    }

    /// # Errors
    /// A column is only read.
    pub(super) fn may_write(&self) -> Result<(), StoreError> {
        match self.columns.iter().find(|column| column.access == Access::AsText) {
            Some(column) => Err(StoreError::read_as_text(&self.shown, &column.name)),
            None => Ok(()),
        }
    }

    pub(super) fn keeps_decimal_scale(&self) -> bool {
        self.columns.iter().all(|c| {
            !matches!(c.wanted, ColumnType::Decimal { .. })
                || c.physical.ty == ColumnType::DECIMAL
                || c.wanted == c.physical.ty
        })
    }

    pub(super) fn keeps_json_text(&self) -> bool {
        self.columns.iter().all(|c| c.wanted != ColumnType::Json || !c.physical.jsonb)
    }

    fn unrepresentable(&self, column: &Col, row: Option<&Row>) -> StoreError {
        let error = StoreError::new(
            ErrorKind::Unrepresentable,
            format!("{}: a value cannot be {} here", self.shown, column.physical.cast),
        )
        .in_column(&column.name);
        match row {
            Some(row) => error.at_key(&row.key(&self.key)),
            None => error,
        }
    }

    /// One value as a parameter of its column.
    pub(super) fn parameter(&self, column: usize, value: &Value, row: Option<&Row>) -> Result<Parameter, StoreError> {
        if value.is_null() {
            return Ok(Parameter(None));
        }
        let mut out = Vec::new();
        self.encode(column, value, &mut out, row)?;
        Ok(Parameter(Some(out)))
    }

    /// Appends the bytes of a value that is not null.
    pub(super) fn encode(
        &self,
        column: usize,
        value: &Value,
        out: &mut Vec<u8>,
        row: Option<&Row>,
    ) -> Result<(), StoreError> {
        let col = &self.columns[column];
        let done = if col.converts {
            value.clone().convert(&col.physical.ty).and_then(|v| binary::encode(&col.physical, &v, out))
        } else {
            binary::encode(&col.physical, value, out)
        };
        done.ok_or_else(|| self.unrepresentable(col, row))
    }

    /// One field of a result.
    pub(super) fn value(&self, column: usize, bytes: Option<&[u8]>) -> Result<Value, StoreError> {
        let Some(bytes) = bytes else { return Ok(Value::Null) };
        let col = &self.columns[column];
        let natural = binary::decode(&col.physical, bytes);
        let value = if col.converts { natural.and_then(|v| v.convert(&col.wanted)) } else { natural };
        value.ok_or_else(|| {
            StoreError::new(
                ErrorKind::Unrepresentable,
                format!("{}: a stored {} cannot be read as {}", self.shown, col.physical.cast, col.wanted),
            )
            .in_column(&col.name)
        })
    }

    /// All columns of a result whose fields are this shape's columns.
    pub(super) fn row(&self, sql: &SqlRow) -> Result<Row, StoreError> {
        let mut values = Vec::with_capacity(self.columns.len());
        for i in 0..self.columns.len() {
            match self.value(i, field(sql, i)?) {
                Ok(value) => values.push(value),
                Err(e) => {
                    // Name the row, if its key can be read.
                    let key: Result<Vec<Value>, StoreError> =
                        self.key.iter().map(|k| self.value(*k, field(sql, *k)?)).collect();
                    return Err(match key {
                        Ok(key) => e.at_key(&RowKey(key)),
                        Err(_) => e,
                    });
                }
            }
        }
        Ok(Row(values))
    }

    pub(super) fn key_parameters(&self, key: &RowKey) -> Result<Vec<Parameter>, StoreError> {
        self.key.iter().zip(&key.0).map(|(i, v)| self.parameter(*i, v, None)).collect()
    }

    /// `($1::int8, $2::text)`, from `first` on.
    pub(super) fn key_slots(&self, first: usize) -> String {
        let slots: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(n, i)| format!("${}::{}", first + n, self.columns[*i].physical.cast))
            .collect();
        format!("({})", slots.join(", "))
    }

    /// A value as an SQL literal of its column, for statements without parameters (`COPY`).
    pub(super) fn literal(&self, column: usize, value: &Value) -> Result<String, StoreError> {
        let col = &self.columns[column];
        let value = if col.converts {
            value.clone().convert(&col.physical.ty).ok_or_else(|| self.unrepresentable(col, None))?
        } else {
            value.clone()
        };
        let text = match &value {
            Value::Bytes(b) => format!("\\x{}", crate::value::text::hex(b)),
            Value::Native(_) | Value::Array(_) => return Err(self.unrepresentable(col, None)),
            other => other.to_text().ok_or_else(|| self.unrepresentable(col, None))?,
        };
        if text.contains('\0') {
            return Err(self.unrepresentable(col, None));
        }
        Ok(format!("E'{}'::{}", text.replace('\\', "\\\\").replace('\'', "''"), col.physical.cast))
    }

    pub(super) fn key_literal(&self, key: &RowKey) -> Result<String, StoreError> {
        let parts: Result<Vec<String>, StoreError> =
            self.key.iter().zip(&key.0).map(|(i, v)| self.literal(*i, v)).collect();
        Ok(format!("({})", parts?.join(", ")))
    }

    /// The condition that the row is what was seen, with parameters from `first` on; which columns they are.
    pub(super) fn seen(&self, first: usize) -> (String, Vec<usize>) {
        let compared: Vec<usize> = match self.version {
            Some(v) => self.key.iter().copied().chain([v]).collect(),
            None => (0..self.columns.len()).collect(),
        };
        let slots: Vec<String> = compared
            .iter()
            .enumerate()
            .map(|(n, i)| format!("${}::{}", first + n, self.columns[*i].physical.cast))
            .collect();
        let names: Vec<String> =
            compared.iter().map(|i| self.columns[*i].as_wanted(&self.columns[*i].quoted)).collect();
        let values: Vec<String> =
            compared.iter().zip(&slots).map(|(i, slot)| self.columns[*i].as_wanted(slot)).collect();
        let mut sql = String::new();
        for (n, i) in self.key.iter().enumerate() {
            // The key by its index first; the text comparison makes it exact.
            let at = compared.iter().position(|c| c == i).unwrap_or(n);
            let _ = write!(sql, "{} = {} AND ", self.columns[*i].quoted, slots[at]);
        }
        let _ = write!(
            sql,
            "ROW({})::text COLLATE \"C\" = ROW({})::text COLLATE \"C\"",
            names.join(", "),
            values.join(", ")
        );
        (sql, compared)
    }
}

/// Whether a converted key column sorts as its own type does.
fn same_order(col: &Col) -> bool {
    matches!(
        (&col.wanted, &col.physical.ty),
        (ColumnType::Int { .. } | ColumnType::Uint64, ColumnType::Int { .. } | ColumnType::Decimal { .. })
            | (ColumnType::Text { .. }, ColumnType::Text { .. })
            | (ColumnType::Decimal { .. }, ColumnType::Decimal { .. })
            | (ColumnType::Uuid | ColumnType::Json, ColumnType::Text { .. })
    )
}

pub(super) fn field(sql: &SqlRow, i: usize) -> Result<Option<&[u8]>, StoreError> {
    sql.try_get::<_, Field<'_>>(i)
        .map(|f| f.0)
        .map_err(|e| StoreError::new(ErrorKind::Protocol, "a result has not the columns asked for").caused_by(e))
}
