//! Values, rows and keys: what travels between two stores.
//!
//! A value is exact: floats by their bits, decimals by their digits, text by its bytes. Two stores that keep a type keep all of it.

mod convert;
mod decimal;
mod json;
mod narrow;
mod order;
mod show;
pub(crate) mod text;

pub use convert::fit_between;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use convert::long_float;
#[cfg(feature = "sqlite")]
pub(crate) use convert::short_float;
pub use decimal::{Decimal, DecimalError};
pub use json::{JsonError, canonical_json};
pub use narrow::Narrow;
pub use show::{uuid_from_text, uuid_text};

/// One value of one column; its variant is that of the column's [`crate::ColumnType`], or `Null`.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// SQL null, or an attribute that is not there. (A store that tells the two apart declares which it means.)
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// Any signed integer up to 64 bits.
    Int(i64),
    /// An unsigned 64-bit integer.
    Uint(u64),
    /// Any precision.
    Decimal(Decimal),
    /// By its bits; all NaN count as one.
    Float32(f32),
    /// By its bits; all NaN count as one.
    Float64(f64),
    /// Valid UTF-8, NUL included where the store takes it.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Big-endian, as printed.
    Uuid([u8; 16]),
    /// Days since 1970-01-01; `i32::MAX` and `i32::MIN` are PostgreSQL's infinities.
    Date(i32),
    /// µs since midnight, 24:00 included.
    Time(i64),
    /// µs since 1970-01-01 00:00 of no zone; `i64::MAX` and `i64::MIN` are the infinities.
    Timestamp(i64),
    /// µs since 1970-01-01 00:00 UTC; `i64::MAX` and `i64::MIN` are the infinities.
    TimestampTz(i64),
    /// A JSON text.
    Json(String),
    /// A label.
    Enum(String),
    /// A one-dimensional list; its elements are of one type, or `Null`.
    Array(Vec<Value>),
    /// One engine's own bytes, see [`crate::ColumnType::Native`].
    Native(Vec<u8>),
}

/// How closely two values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closeness {
    /// Byte by byte: `1.0` is not `1.00`.
    Exact,
    /// By value: decimals numerically, JSON without regard to spaces and key order.
    ByValue,
}

impl Value {
    /// Whether the two are the same, by `closeness`.
    #[must_use]
    pub fn same(&self, other: &Value, closeness: Closeness) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b))
            | (Value::Time(a), Value::Time(b))
            | (Value::Timestamp(a), Value::Timestamp(b))
            | (Value::TimestampTz(a), Value::TimestampTz(b)) => a == b,
            (Value::Uint(a), Value::Uint(b)) => a == b,
            (Value::Float32(a), Value::Float32(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Value::Float64(a), Value::Float64(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Value::Text(a), Value::Text(b)) | (Value::Enum(a), Value::Enum(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) | (Value::Native(a), Value::Native(b)) => a == b,
            (Value::Uuid(a), Value::Uuid(b)) => a == b,
            (Value::Date(a), Value::Date(b)) => a == b,
            (Value::Decimal(a), Value::Decimal(b)) => match closeness {
                Closeness::Exact => a.as_text() == b.as_text(),
                Closeness::ByValue => a.same_number(b),
            },
            (Value::Json(a), Value::Json(b)) => {
                a == b
                    || closeness == Closeness::ByValue
                        && matches!((canonical_json(a), canonical_json(b)), (Ok(a), Ok(b)) if a == b)
            }
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b, closeness))
            }
            _ => false,
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
}

impl PartialEq for Value {
    /// [`Closeness::Exact`].
    fn eq(&self, other: &Value) -> bool {
        self.same(other, Closeness::Exact)
    }
}

/// The values of a row, in the order of its [`crate::TableSpec`]'s columns.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// The values at the key's columns.
    #[must_use]
    pub fn key(&self, key_columns: &[usize]) -> RowKey {
        RowKey(key_columns.iter().map(|i| self.0[*i].clone()).collect())
    }

    /// The indexes of the columns that differ.
    #[must_use]
    pub fn differing(&self, other: &Row, closeness: Closeness) -> Vec<usize> {
        (0..self.0.len().max(other.0.len()))
            .filter(|i| match (self.0.get(*i), other.0.get(*i)) {
                (Some(a), Some(b)) => !a.same(b, closeness),
                _ => true,
            })
            .collect()
    }

    /// Whether no column differs.
    #[must_use]
    pub fn same(&self, other: &Row, closeness: Closeness) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.same(b, closeness))
    }
}

/// What identifies one row: the values of the key columns. Ordered as [`crate::Capabilities::ordered`] scans are.
#[derive(Clone, Debug, Default)]
pub struct RowKey(pub Vec<Value>);
