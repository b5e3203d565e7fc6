//! Tables, columns and types as crossfade sees them, whatever the engine calls them.

use std::fmt;

/// The name of a table, `schema.table` where the engine has schemas and the default one is not meant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TableName(String);

impl TableName {
    /// A name as a person writes it.
    pub fn new(name: impl Into<String>) -> Self {
        TableName(name.into())
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `(schema, table)` for engines with schemas.
    #[must_use]
    pub fn parts(&self) -> (Option<&str>, &str) {
        match self.0.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, &self.0),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a column holds. A [`crate::Value`] of a column is `Null` or the variant of its type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ColumnType {
    /// `Value::Bool`
    Bool,
    /// A signed integer of at most this many bits (16, 32 or 64): `Value::Int`
    Int {
        /// 16, 32 or 64
        bits: u8,
    },
    /// An unsigned 64-bit integer: `Value::Uint`
    Uint64,
    /// An exact decimal: `Value::Decimal`
    Decimal {
        /// Digits in all and after the point, where declared.
        precision: Option<(u32, i32)>,
    },
    /// `Value::Float32`
    Float32,
    /// `Value::Float64`
    Float64,
    /// Unicode text: `Value::Text`
    Text {
        /// In characters, where declared.
        max: Option<u32>,
    },
    /// `Value::Bytes`
    Bytes,
    /// `Value::Uuid`
    Uuid,
    /// `Value::Date`
    Date,
    /// Time of day, µs: `Value::Time`
    Time,
    /// Date and time without zone, µs: `Value::Timestamp`
    Timestamp,
    /// An instant, µs: `Value::TimestampTz`
    TimestampTz,
    /// A JSON text: `Value::Json`
    Json,
    /// One of some labels: `Value::Enum`
    Enum {
        /// In their order.
        labels: Vec<String>,
    },
    /// A list, possibly with nulls: `Value::Array`
    Array(Box<ColumnType>),
    /// A type only one engine knows, as that engine's bytes: `Value::Native`. Survives between two stores of that engine.
    Native {
        /// `postgres`, `mysql`, ...
        engine: String,
        /// What the engine calls it.
        name: String,
    },
}

impl ColumnType {
    /// 64-bit signed.
    pub const INT64: ColumnType = ColumnType::Int { bits: 64 };
    /// Any text.
    pub const TEXT: ColumnType = ColumnType::Text { max: None };
    /// Any decimal.
    pub const DECIMAL: ColumnType = ColumnType::Decimal { precision: None };

    /// Whether two types hold the same kind of value, whatever their declared widths.
    #[must_use]
    pub fn same_family(&self, other: &ColumnType) -> bool {
        match (self, other) {
            (ColumnType::Array(a), ColumnType::Array(b)) => a.same_family(b),
            (ColumnType::Native { engine: a, name: b }, ColumnType::Native { engine: c, name: d }) => a == c && b == d,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Bool => f.write_str("bool"),
            ColumnType::Int { bits } => write!(f, "int{bits}"),
            ColumnType::Uint64 => f.write_str("uint64"),
            ColumnType::Decimal { precision: None } => f.write_str("decimal"),
            ColumnType::Decimal { precision: Some((p, s)) } => write!(f, "decimal({p},{s})"),
            ColumnType::Float32 => f.write_str("float32"),
            ColumnType::Float64 => f.write_str("float64"),
            ColumnType::Text { max: None } => f.write_str("text"),
            ColumnType::Text { max: Some(n) } => write!(f, "text({n})"),
            ColumnType::Bytes => f.write_str("bytes"),
            ColumnType::Uuid => f.write_str("uuid"),
            ColumnType::Date => f.write_str("date"),
            ColumnType::Time => f.write_str("time"),
            ColumnType::Timestamp => f.write_str("timestamp"),
            ColumnType::TimestampTz => f.write_str("timestamptz"),
            ColumnType::Json => f.write_str("json"),
            ColumnType::Enum { .. } => f.write_str("enum"),
            ColumnType::Array(of) => write!(f, "{of}[]"),
            ColumnType::Native { engine, name } => write!(f, "{engine} {name}"),
        }
    }
}

/// A column as its store describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub ty: ColumnType,
    /// What the store itself calls the type, for messages and for DDL.
    pub native: String,
    /// Whether it takes nulls.
    pub nullable: bool,
    /// Whether the store computes it: it is read like any other column, and never written.
    pub generated: bool,
    /// Whether an insert without it works (default, identity, nullable).
    pub optional: bool,
    /// What the column keeps of a value, beyond what `ty` says.
    pub limits: Limits,
}

/// How much of a value a column or an attribute keeps, where its [`ColumnType`] does not say so. The default is all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Significant digits of a number.
    pub digits: Option<u32>,
    /// Digits after the second.
    pub fraction: Option<u32>,
    /// Whether a moment is rounded up: an expiry must not come early.
    pub upwards: bool,
    /// Bytes of a text.
    pub text_bytes: Option<u32>,
    /// Blanks at the end of a text.
    pub blanks: Blanks,
    /// The one length in bytes that a binary value can have.
    pub exact_bytes: Option<u32>,
}

impl Limits {
    /// An attribute of DynamoDB.
    pub const DYNAMODB: Limits = Limits {
        digits: Some(38),
        fraction: None,
        upwards: false,
        text_bytes: None,
        blanks: Blanks::Kept,
        exact_bytes: None,
    };
}

/// What becomes of blanks at the end of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Blanks {
    /// They stay.
    #[default]
    Kept,
    /// They are dropped (`char(n)` of MySQL).
    Dropped,
    /// They are added up to this many characters (`character(n)` of PostgreSQL).
    Padded(u32),
}

/// A table as its store describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableSchema {
    /// Its name, as asked for.
    pub name: TableName,
    /// All columns, in the store's order.
    pub columns: Vec<Column>,
    /// The primary key: indexes into `columns`, in key order.
    pub key: Vec<usize>,
    /// Whether rows may have attributes that are not in `columns` (DynamoDB, Redis).
    pub open: bool,
}

impl TableSchema {
    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The spec that opens this table with all columns, as they are.
    #[must_use]
    pub fn as_spec(&self) -> TableSpec {
        let mut columns = Vec::new();
        let mut key = vec![0; self.key.len()];
        for (i, c) in self.columns.iter().enumerate() {
            if let Some(at) = self.key.iter().position(|k| *k == i) {
                key[at] = columns.len();
            }
            columns.push(WantedColumn { name: c.name.clone(), ty: c.ty.clone(), accept_loss: false });
        }
        TableSpec { name: self.name.clone(), columns, key, options: TableOptions::default() }
    }
}

/// A column as the caller wants to see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WantedColumn {
    /// Its name in this store.
    pub name: String,
    /// The type of its values on the wire between two stores: the source's.
    pub ty: ColumnType,
    /// Whether the config accepted a declared loss for it.
    pub accept_loss: bool,
}

/// Which table to open, and as what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableSpec {
    /// Its name in this store.
    pub name: TableName,
    /// The columns of every [`crate::Row`], in this order.
    pub columns: Vec<WantedColumn>,
    /// The row key: indexes into `columns`. Must be the store's own primary key, in its order.
    pub key: Vec<usize>,
    /// What only some stores know.
    pub options: TableOptions,
}

/// Settings that only some stores know; the others refuse them with `Config`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableOptions {
    /// A column that every write of a row changes; compare-and-set goes by it.
    pub version_column: Option<String>,
    /// The column that holds the expiry as an instant (`kind = "cache"`); Redis maps it to the key's TTL.
    pub ttl_column: Option<String>,
    /// Redis: how a row's key is made, as in `session:{id}`; default `TABLE:{key columns joined by :}`.
    pub key_pattern: Option<String>,
    /// Redis: a JSON string per row instead of a hash.
    pub layout: Layout,
    /// DynamoDB: JSON columns that are kept as documents (maps and lists) instead of as JSON texts.
    pub documents: Vec<String>,
    /// DynamoDB: text attributes and how they begin in every row of this table, where other entities share it (single-table designs).
    pub only_prefixes: Vec<(String, String)>,
    /// DynamoDB: the column that gets every attribute without a column of its own, as a JSON object (see `dynamodb::rest`); null without one. Only read.
    pub rest: Option<String>,
    /// DynamoDB: attributes that are left out of `rest`.
    pub ignored: Vec<String>,
    /// Columns that are read in the database's own text form; their type in the spec is text. A table with such columns is only read.
    pub as_text: Vec<String>,
    /// How long an ambiguous write may still land, where the operator knows better than the default.
    pub linger: Option<std::time::Duration>,
}

/// How Redis keeps a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Layout {
    /// A hash with a field per column.
    #[default]
    Hash,
    /// A string with a JSON object.
    Json,
}

/// How a type survives in a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fit {
    /// Every value comes back as it was put.
    Lossless,
    /// Some values change; only when the config says `lossy`. The text says what is lost.
    Lossy(&'static str),
    /// Not at all, with the reason.
    Refused(&'static str),
}

impl Fit {
    /// The word of the generated table.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Fit::Lossless => "lossless",
            Fit::Lossy(_) => "lossy",
            Fit::Refused(_) => "refused",
        }
    }
}
