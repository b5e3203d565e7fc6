//! What a table looks like, and the SQL of one opened table.

use mysql_async::{Value as Sql, prelude::Queryable};

use super::{
    connect::Mysql,
    errors,
    values::{self, Physical},
};
use crate::{
    Blanks, Column, ColumnType, ErrorKind, Fit, Limits, Row, RowKey, Store, StoreError, TableName, TableSchema,
    TableSpec, Value,
};

pub(super) struct Described {
    pub(super) schema: TableSchema,
    pub(super) physical: Vec<Physical>,
    /// Whether a key of this column sorts as [`RowKey`] does.
    pub(super) bytewise: Vec<bool>,
    /// `` `db`.`table` ``
    pub(super) quoted: String,
    pub(super) mariadb: bool,
}

pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The labels of `enum('a','it''s')`.
fn labels(column_type: &str) -> Vec<String> {
    let Some(list) = column_type.strip_prefix("enum(").and_then(|t| t.strip_suffix(')')) else { return Vec::new() };
    let mut out = Vec::new();
    let mut chars = list.chars().peekable();
    while chars.next_if_eq(&'\'').is_some() {
        let mut label = String::new();
        while let Some(c) = chars.next() {
            if c == '\'' && chars.next_if_eq(&'\'').is_none() {
                break;
            }
            label.push(c);
        }
        out.push(label);
        chars.next_if_eq(&',');
    }
    out
}

/// The type of a column, by what the server says of it.
fn column_type(
    data_type: &str,
    full: &str,
    length: Option<u64>,
    precision: Option<u64>,
    scale: Option<u64>,
    fraction: Option<u64>,
    is_json: bool,
) -> (ColumnType, Physical) {
    let small = |n: Option<u64>| u32::try_from(n.unwrap_or(0)).unwrap_or(u32::MAX);
    let unsigned = full.contains("unsigned");
    let int = |bits| (ColumnType::Int { bits }, Physical::Integer);
    match data_type {
        "tinyint" if full.starts_with("tinyint(1)") && !unsigned => (ColumnType::Bool, Physical::Integer),
        "tinyint" | "year" => int(16),
        "smallint" => int(if unsigned { 32 } else { 16 }),
        "mediumint" => int(32),
        "int" | "integer" => int(if unsigned { 64 } else { 32 }),
        "bigint" if unsigned => (ColumnType::Uint64, Physical::Integer),
        "bigint" => int(64),
        "bit" if small(precision) == 1 => (ColumnType::Bool, Physical::Bit),
        "decimal" | "numeric" => {
            let (p, s) = (small(precision), small(scale));
            (ColumnType::Decimal { precision: Some((p, i32::try_from(s).unwrap_or(0))) }, Physical::Decimal(p, s))
        }
        "float" => (ColumnType::Float32, Physical::Float),
        "double" => (ColumnType::Float64, Physical::Double),
        "json" => (ColumnType::Json, Physical::Json),
        "longtext" if is_json => (ColumnType::Json, Physical::Json),
        "longtext" => (ColumnType::TEXT, Physical::Text),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" => {
            (ColumnType::Text { max: Some(small(length)) }, Physical::Text)
        }
        "uuid" => (ColumnType::Uuid, Physical::Text),
        "binary" if full == "binary(16)" => (ColumnType::Bytes, Physical::UuidBytes),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            (ColumnType::Bytes, Physical::Bytes)
        }
        "date" => (ColumnType::Date, Physical::Date),
        "time" => (ColumnType::Time, Physical::Time(small(fraction))),
        "datetime" => (ColumnType::Timestamp, Physical::Moment(small(fraction))),
        "timestamp" => (ColumnType::TimestampTz, Physical::Moment(small(fraction))),
        "enum" => (ColumnType::Enum { labels: labels(full) }, Physical::Text),
        "set" => (ColumnType::Native { engine: "mysql".to_owned(), name: full.to_owned() }, Physical::Text),
        _ => (ColumnType::Native { engine: "mysql".to_owned(), name: full.to_owned() }, Physical::Bytes),
    }
}

type Described11 = (
    String,
    String,
    String,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    String,
    String,
    Option<String>,
    Option<String>,
);

pub(super) async fn describe(store: &Mysql, table: &TableName) -> Result<Described, StoreError> {
    let what = format!("cannot describe table {table}");
    let fail = |e| errors::of(&what, e);
    let mut session = store.session().await?;
    let (schema, name) = table.parts();
    let place: Option<(String, String)> = session.query_first("SELECT DATABASE(), VERSION()").await.map_err(fail)?;
    let (database, version) = place
        .ok_or_else(|| StoreError::new(ErrorKind::Protocol, format!("{what}: the server does not say its version")))?;
    let mariadb = version.contains("MariaDB");
    let schema = schema.unwrap_or(&database).to_owned();
    let rows: Vec<Described11> = session
        .exec(
            "SELECT COLUMN_NAME, LOWER(DATA_TYPE), COLUMN_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, IS_NULLABLE, EXTRA, \
             COLUMN_DEFAULT, COLLATION_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            (&schema, name),
        )
        .await
        .map_err(fail)?;
    if rows.is_empty() {
        return Err(StoreError::new(
            ErrorKind::NoSuchTable,
            format!("there is no table {table} in {}: check its name and the login's rights", store.shown()),
        ));
    }
    let key_names: Vec<(String, Option<u64>)> = session
        .exec(
            "SELECT COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX",
            (&schema, name),
        )
        .await
        .map_err(fail)?;
    let checks: Vec<String> = if mariadb {
        session.exec("SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ?", (&schema, name)).await.map_err(fail)?
    } else {
        Vec::new()
    };
    let (mut columns, mut physical, mut bytewise) = (Vec::new(), Vec::new(), Vec::new());
    for (column, data_type, full, length, precision, scale, fraction, nullable, extra, default, collation) in rows {
        let is_json = checks.iter().any(|c| c.contains(&format!("json_valid({})", quote(&column))));
        let (ty, how) = column_type(&data_type, &full, length, precision, scale, fraction, is_json);
        let extra = extra.to_ascii_lowercase();
        let collation = collation.unwrap_or_default();
        let charset = collation.split('_').next().unwrap_or_default();
        let native = if matches!(how, Physical::Text | Physical::Json) && !matches!(charset, "" | "utf8mb4" | "binary")
        {
            format!("{full} charset {charset}")
        } else {
            full
        };
        // A collation that pads compares `a` with `a\x01` as if a blank followed.
        bytewise.push(match how {
            Physical::Text => {
                ty != ColumnType::Uuid
                    && matches!(ty, ColumnType::Text { .. })
                    && matches!(collation.as_str(), "utf8mb4_nopad_bin" | "utf8mb4_0900_bin")
            }
            Physical::Bit | Physical::Json => false,
            _ => true,
        });
        let optional = nullable == "YES"
            || default.is_some()
            || extra.contains("auto_increment")
            || extra.contains("default_generated");
        let text_bytes = matches!(data_type.as_str(), "tinytext" | "text" | "mediumtext").then_some(length).flatten();
        columns.push(Column {
            name: column,
            limits: Limits {
                fraction: match how {
                    Physical::Time(digits) | Physical::Moment(digits) if digits < 6 => Some(digits),
                    _ => None,
                },
                blanks: if data_type == "char" { Blanks::Dropped } else { Blanks::Kept },
                text_bytes: text_bytes.and_then(|bytes| u32::try_from(bytes).ok()),
                exact_bytes: length.filter(|_| data_type == "binary").and_then(|bytes| u32::try_from(bytes).ok()),
                ..Limits::default()
            },
            ty,
            native,
            nullable: nullable == "YES",
            generated: extra.contains("generated") && !extra.contains("default_generated"),
            optional,
        });
        physical.push(how);
    }
    if key_names.is_empty() {
        return Err(StoreError::new(
            ErrorKind::NoSuchTable,
            format!("table {table} in {} has no primary key: rows need one to be found again, add it", store.shown()),
        ));
    }
    if let Some((part, _)) = key_names.iter().find(|(_, part)| part.is_some()) {
        return Err(StoreError::new(
            ErrorKind::Config,
            format!(
                "table {table} in {}: its primary key holds only the beginning of `{part}`: make it the whole column",
                store.shown()
            ),
        ));
    }
    let key =
        key_names.iter().filter_map(|(k, _)| columns.iter().position(|c| c.name.eq_ignore_ascii_case(k))).collect();
    Ok(Described {
        schema: TableSchema { name: table.clone(), columns, key, open: false },
        physical,
        bytewise,
        quoted: format!("{}.{}", quote(&schema), quote(name)),
        mariadb,
    })
}

pub(super) async fn warnings(store: &Mysql, table: &TableName) -> Result<Vec<String>, StoreError> {
    let what = format!("cannot look at table {table}");
    let fail = |e| errors::of(&what, e);
    let mut session = store.session().await?;
    let (schema, name) = table.parts();
    let mut out = Vec::new();
    let triggers: Vec<String> = session
        .exec("SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = COALESCE(?, DATABASE()) AND EVENT_OBJECT_TABLE = ? ORDER BY 1", (schema, name))
        .await
        .map_err(fail)?;
    out.extend(
        triggers.into_iter().map(|t| format!("table {table}: trigger `{t}` writes by itself, unseen by the flags")),
    );
    let extras: Vec<(String, String)> = session
        .exec("SELECT COLUMN_NAME, LOWER(EXTRA) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? AND EXTRA <> '' ORDER BY ORDINAL_POSITION", (schema, name))
        .await
        .map_err(fail)?;
    for (column, extra) in extras {
        if extra.contains("auto_increment") {
            out.push(format!("table {table}: column `{column}` takes its ids from this server: decide who makes ids after the cut-over"));
        }
        if extra.contains("on update") {
            out.push(format!("table {table}: column `{column}` changes by itself with every update: map it, so that its value is copied"));
        }
    }
    let cascades: Vec<String> = session
        .exec(
            "SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? \
             AND (DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL')) ORDER BY 1",
            (schema, name),
        )
        .await
        .map_err(fail)?;
    out.extend(
        cascades
            .into_iter()
            .map(|c| format!("table {table}: foreign key `{c}` changes rows by itself, unseen by the flags")),
    );
    let engine: Option<Option<String>> =
        session.exec_first("SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?", (schema, name)).await.map_err(fail)?;
    if let Some(Some(engine)) = engine
        && !engine.eq_ignore_ascii_case("innodb")
    {
        out.push(format!("table {table}: its engine {engine} has no transactions: a write that is cut short may stay half-done; make it innodb"));
    }
    Ok(out)
}

/// One column, as the caller wants it and as the table has it.
#[derive(Clone, Debug)]
pub(super) struct Col {
    pub(super) name: String,
    pub(super) quoted: String,
    pub(super) wanted: ColumnType,
    /// The type of the values that the column itself takes.
    pub(super) own: ColumnType,
    pub(super) physical: Physical,
    pub(super) rounded: bool,
    pub(super) access: Access,
}

/// What may be done with a column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Written,
    /// The server computes it.
    Computed,
    /// Read in the server's text form, by this expression.
    AsText(String),
}

/// The expression of a column's text form; `None` where the server's is not exact, or is none: floats and bytes have crossfade's own.
fn text_form(found: &Column, physical: Physical) -> Option<String> {
    let name = quote(&found.name);
    let word = found.native.split(['(', ' ']).next().unwrap_or_default();
    match (physical, word) {
        (Physical::Float | Physical::Double | Physical::UuidBytes, _) => None,
        (_, "bit") => {
            let bits = found.native.trim_start_matches("bit(").trim_end_matches(')');
            Some(format!("LPAD(BIN({name} + 0), {}, '0')", bits.parse::<u8>().unwrap_or(1)))
        }
        (
            _,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geometrycollection" | "geomcollection",
        ) => Some(format!("ST_AsText({name})")),
        (Physical::Bytes, _) if !matches!(found.ty, ColumnType::Native { .. }) => None,
        _ => Some(format!("CAST({name} AS CHAR)")),
    }
}

/// The SQL of one opened table.
pub(super) struct Shape {
    pub(super) table: String,
    pub(super) shown: String,
    pub(super) columns: Vec<Col>,
    pub(super) key: Vec<usize>,
    pub(super) rest: Vec<usize>,
    pub(super) ordered: bool,
    pub(super) mariadb: bool,
    /// What a row is read by.
    pub(super) list: String,
    /// The columns that may be written.
    pub(super) written: Vec<usize>,
    pub(super) write_list: String,
    pub(super) key_list: String,
    /// What a condition compares, with its order of parameters.
    pub(super) compared: Vec<usize>,
    pub(super) update: String,
    pub(super) delete: String,
    pub(super) exists: String,
}

impl Shape {
    pub(super) fn new(store: &Mysql, spec: &TableSpec, described: &Described) -> Result<Self, StoreError> {
        let shown = format!("table {} in {}", spec.name, store.location());
        let mut columns = Vec::with_capacity(spec.columns.len());
        let mut ordered = true;
        for (n, wanted) in spec.columns.iter().enumerate() {
            let Some(at) = described.schema.columns.iter().position(|c| c.name == wanted.name) else {
                return Err(StoreError::new(
                    ErrorKind::SchemaChanged,
                    format!("{shown} has no column `{}`: add it, map it or ignore it", wanted.name),
                ));
            };
            let found = &described.schema.columns[at];
            if spec.options.as_text.contains(&wanted.name) && wanted.ty == ColumnType::TEXT {
                let form = text_form(found, described.physical[at]);
                let natural = form.is_none();
                columns.push(Col {
                    name: wanted.name.clone(),
                    quoted: quote(&wanted.name),
                    wanted: ColumnType::TEXT,
                    own: if natural { found.ty.clone() } else { ColumnType::TEXT },
                    physical: if natural { described.physical[at] } else { Physical::Text },
                    rounded: false,
                    access: Access::AsText(form.unwrap_or_else(|| quote(&wanted.name))),
                });
                continue;
            }
            let why = match store.fit(&wanted.ty, Some(found)) {
                Fit::Lossless => None,
                // What a column holds itself is read as it is; a float that it cannot take is refused, row by row.
                Fit::Lossy(_) if wanted.accept_loss || wanted.ty == found.ty => None,
                Fit::Lossy(why) => Some(format!(
                    "{why}, a loss that is not accepted: `crossfade check` names the words of `lossy` that accept it"
                )),
                Fit::Refused(why) => Some(why.to_owned()),
            };
            if let Some(why) = why {
                return Err(StoreError::new(
                    ErrorKind::Unrepresentable,
                    format!("{shown} does not keep {} as {}: {why}", wanted.ty, found.native),
                )
                .in_column(&wanted.name));
            }
            let uuid_bytes = described.physical[at] == Physical::UuidBytes && wanted.ty == ColumnType::Uuid;
            let own = if uuid_bytes { ColumnType::Uuid } else { found.ty.clone() };
            let physical = if described.physical[at] == Physical::UuidBytes && !uuid_bytes {
                Physical::Bytes
            } else {
                described.physical[at]
            };
            if spec.key.contains(&n) {
                ordered &= described.bytewise[at] && (own == wanted.ty || same_order(&wanted.ty, &own));
            }
            columns.push(Col {
                name: wanted.name.clone(),
                quoted: quote(&wanted.name),
                wanted: wanted.ty.clone(),
                own,
                physical,
                rounded: wanted.accept_loss,
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
        let written: Vec<usize> = (0..columns.len()).filter(|i| columns[*i].access == Access::Written).collect();
        let rest: Vec<usize> = written.iter().copied().filter(|i| !spec.key.contains(i)).collect();
        let compared: Vec<usize> = match version {
            Some(v) => spec.key.iter().copied().chain([v]).collect(),
            None => (0..columns.len()).collect(),
        };
        let names = |which: &[usize]| which.iter().map(|i| columns[*i].quoted.as_str()).collect::<Vec<_>>().join(", ");
        let read = |column: &Col| match &column.access {
            Access::AsText(form) => form.clone(),
            Access::Written | Access::Computed => column.quoted.clone(),
        };
        let table = described.quoted.clone();
        let by_key: String = spec.key.iter().map(|i| format!("{} AND ", columns[*i].equals())).collect();
        let seen = compared.iter().map(|i| columns[*i].is_exactly()).collect::<Vec<_>>().join(" AND ");
        let sets = match rest.as_slice() {
            // A row that is all key is replaced by itself.
            [] => spec.key.iter().map(|i| format!("{0} = {0}", columns[*i].quoted)).collect::<Vec<_>>(),
            rest => rest.iter().map(|i| format!("{} = ?", columns[*i].quoted)).collect(),
        };
        let exact_key = spec.key.iter().map(|i| columns[*i].is_exactly()).collect::<Vec<_>>().join(" AND ");
        Ok(Shape {
            update: format!("UPDATE {table} SET {} WHERE {by_key}{seen}", sets.join(", ")),
            delete: format!("DELETE FROM {table} WHERE {by_key}{seen}"),
            exists: format!("SELECT 1 FROM {table} WHERE {by_key}{exact_key}"),
            list: columns.iter().map(read).collect::<Vec<_>>().join(", "),
            write_list: names(&written),
            written,
            key_list: names(&spec.key),
            table,
            shown,
            key: spec.key.clone(),
            rest,
            ordered,
            mariadb: described.mariadb,
            compared,
            columns,
        })
    }

    /// # Errors
    /// A column is only read.
    pub(super) fn may_write(&self) -> Result<(), StoreError> {
        match self.columns.iter().find(|column| matches!(column.access, Access::AsText(_))) {
            Some(column) => Err(StoreError::read_as_text(&self.shown, &column.name)),
            None => Ok(()),
        }
    }

    pub(super) fn keeps_decimal_scale(&self) -> bool {
        self.columns.iter().all(|c| {
            !matches!(c.wanted, ColumnType::Decimal { .. })
                || c.wanted == c.own
                || matches!(c.own, ColumnType::Text { .. })
        })
    }

    pub(super) fn keeps_json_text(&self) -> bool {
        // MariaDB keeps JSON as text; MySQL has its own form.
        self.mariadb || self.columns.iter().all(|c| c.physical != Physical::Json)
    }

    fn unrepresentable(&self, column: usize, why: &str) -> StoreError {
        StoreError::new(ErrorKind::Unrepresentable, format!("{}: {why}", self.shown))
            .in_column(&self.columns[column].name)
    }

    /// One value as a parameter of its column.
    pub(super) fn parameter(&self, column: usize, value: &Value) -> Result<Sql, StoreError> {
        let col = &self.columns[column];
        let made = if value.is_null() {
            Ok(Sql::NULL)
        } else if col.wanted == col.own {
            values::parameter(value, col.physical, col.rounded)
        } else {
            match value.clone().convert(&col.own) {
                Some(v) => values::parameter(&v, col.physical, col.rounded),
                None => Err("the value is none of the column's type"),
            }
        };
        made.map_err(|why| self.unrepresentable(column, why))
    }

    pub(super) fn parameters(&self, row: &Row, which: &[usize]) -> Result<Vec<Sql>, StoreError> {
        which.iter().map(|i| self.parameter(*i, &row.0[*i])).collect()
    }

    pub(super) fn key_parameters(&self, key: &RowKey) -> Result<Vec<Sql>, StoreError> {
        self.key.iter().zip(&key.0).map(|(i, v)| self.parameter(*i, v)).collect()
    }

    fn value(&self, column: usize, sql: Sql) -> Option<Value> {
        let col = &self.columns[column];
        let natural = values::value(sql, &col.own)?;
        if col.wanted == col.own { Some(natural) } else { natural.convert(&col.wanted) }
    }

    /// A result whose fields are `which` columns.
    pub(super) fn values(&self, sql: mysql_async::Row, which: &[usize]) -> Result<Vec<Value>, StoreError> {
        let mut fields = sql.unwrap();
        let mut out = Vec::with_capacity(which.len());
        for n in 0..which.len().min(fields.len()) {
            // Key fields stay, to name the row if a later one cannot be read.
            let field = if self.key.contains(&which[n]) {
                fields[n].clone()
            } else {
                std::mem::replace(&mut fields[n], Sql::NULL)
            };
            match self.value(which[n], field) {
                Some(value) => out.push(value),
                None => {
                    let error = self.unrepresentable(
                        which[n],
                        &format!("a stored value cannot be read as {}", self.columns[which[n]].wanted),
                    );
                    let key: Option<Vec<Value>> = self
                        .key
                        .iter()
                        .map(|k| {
                            which
                                .iter()
                                .position(|w| w == k)
                                .and_then(|at| fields.get(at))
                                .and_then(|f| self.value(*k, f.clone()))
                        })
                        .collect();
                    return Err(match key {
                        Some(key) => error.at_key(&RowKey(key)),
                        None => error,
                    });
                }
            }
        }
        Ok(out)
    }
}

impl Col {
    /// By the index: equal under the column's collation.
    pub(super) fn equals(&self) -> String {
        format!("{} = {}", self.quoted, self.slot())
    }

    /// A parameter of the column's type, also where the driver sends digits as text.
    pub(super) fn slot(&self) -> String {
        match self.physical {
            Physical::Decimal(p, s) => format!("CAST(? AS DECIMAL({p},{s}))"),
            _ => "?".to_owned(),
        }
    }

    /// Equal byte by byte, null included.
    fn is_exactly(&self) -> String {
        let name = &self.quoted;
        match self.physical {
            Physical::Text | Physical::Json if matches!(self.own, ColumnType::Native { .. }) => {
                format!("CAST({name} AS BINARY) <=> CAST(? AS BINARY)")
            }
            Physical::Text | Physical::Json => {
                format!("CAST(CONVERT({name} USING utf8mb4) AS BINARY) <=> CAST(? AS BINARY)")
            }
            Physical::Bytes | Physical::UuidBytes => format!("CAST({name} AS BINARY) <=> CAST(? AS BINARY)"),
            // A float that a double stands for is the same in its short and in its long form.
            Physical::Double if self.wanted == ColumnType::Float32 => {
                format!("CAST({name} AS FLOAT) <=> CAST(? AS FLOAT)")
            }
            _ => format!("{name} <=> {}", self.slot()),
        }
    }
}

/// Whether values of `wanted` sort in a column of type `own` as they do themselves.
fn same_order(wanted: &ColumnType, own: &ColumnType) -> bool {
    matches!(
        (wanted, own),
        (ColumnType::Int { .. } | ColumnType::Uint64, ColumnType::Int { .. } | ColumnType::Decimal { .. })
            | (ColumnType::Text { .. }, ColumnType::Text { .. })
            | (ColumnType::Decimal { .. }, ColumnType::Decimal { .. })
            | (ColumnType::Uuid, ColumnType::Text { .. })
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_quotes_and_commas() {
        assert_eq!(labels("enum('free','paid, up','it''s','')"), ["free", "paid, up", "it's", ""]);
    }
}
