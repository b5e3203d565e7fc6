//! How each type is kept in a file that only knows integers, reals, texts and blobs.

use rusqlite::types::{ToSqlOutput, Value as Sql, ValueRef};

use crate::{Column, ColumnType, Fit, Value};

/// SQLite's rule from a declared type to what it does to values (<https://www.sqlite.org/datatype3.html>, 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

pub(super) fn affinity(declared: &str) -> Affinity {
    let d = declared.to_ascii_uppercase();
    if d.contains("INT") {
        Affinity::Integer
    } else if d.contains("CHAR") || d.contains("CLOB") || d.contains("TEXT") {
        Affinity::Text
    } else if d.contains("BLOB") || d.is_empty() || d == "ANY" {
        Affinity::Blob
    } else if d.contains("REAL") || d.contains("FLOA") || d.contains("DOUB") {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// What a declared type means to a person, as ours.
pub(super) fn column_type(declared: &str) -> ColumnType {
    let d = declared.to_ascii_uppercase();
    let word = d.split('(').next().unwrap_or_default().trim();
    match word {
        "BOOL" | "BOOLEAN" => ColumnType::Bool,
        "UUID" => ColumnType::Uuid,
        "JSON" | "JSONB" => ColumnType::Json,
        "DATE" => ColumnType::Date,
        "TIME" => ColumnType::Time,
        "DATETIME" | "TIMESTAMP" => ColumnType::Timestamp,
        "TIMESTAMPTZ" => ColumnType::TimestampTz,
        "DECIMAL" | "NUMERIC" => ColumnType::DECIMAL,
        _ => match affinity(declared) {
            Affinity::Integer => ColumnType::INT64,
            Affinity::Text => ColumnType::TEXT,
            Affinity::Blob => ColumnType::Bytes,
            Affinity::Real => ColumnType::Float64,
            Affinity::Numeric => ColumnType::DECIMAL,
        },
    }
}

pub(super) fn fit(wanted: &ColumnType, found: Option<&Column>) -> Fit {
    use Affinity as A;
    let of = found.map_or(
        match wanted {
            ColumnType::Bool | ColumnType::Int { .. } => A::Integer,
            ColumnType::Float32 | ColumnType::Float64 => A::Real,
            ColumnType::Bytes => A::Blob,
            _ => A::Text,
        },
        |c| affinity(&c.native),
    );
    match (wanted, of) {
        (ColumnType::Native { .. }, _) => {
            Fit::Refused("a type that only one engine knows: ignore the column, or convert it in the source")
        }
        (ColumnType::Array(of), _) if matches!(**of, ColumnType::Native { .. }) => {
            Fit::Refused("a list of a type that only one engine knows")
        }
        (ColumnType::Bool | ColumnType::Int { .. }, A::Integer | A::Numeric | A::Blob) => Fit::Lossless,
        (ColumnType::Bool | ColumnType::Int { .. }, A::Text | A::Real) => {
            Fit::Refused("the column turns integers into something else: declare it INTEGER")
        }
        (ColumnType::Float32 | ColumnType::Float64, A::Real | A::Blob) => {
            Fit::Lossy("NaN and -0 are refused, row by row")
        }
        (ColumnType::Float32 | ColumnType::Float64, _) => {
            Fit::Refused("the column turns reals into something else: declare it REAL")
        }
        (ColumnType::Decimal { .. }, A::Real | A::Numeric | A::Integer) => Fit::Refused(
            "sqlite turns decimals into floats there: declare the column TEXT (or REAL, for floats that are near)",
        ),
        (
            ColumnType::Date | ColumnType::Time | ColumnType::Timestamp | ColumnType::TimestampTz | ColumnType::Uuid,
            A::Numeric,
        ) => Fit::Lossless,
        (ColumnType::Bytes, A::Blob | A::Numeric | A::Text) => Fit::Lossless,
        (ColumnType::Bytes, _) => Fit::Refused("declare the column BLOB"),
        (_, A::Text | A::Blob) => Fit::Lossless,
        (_, A::Integer | A::Real | A::Numeric) => {
            Fit::Refused("sqlite turns texts that look like numbers into numbers there: declare the column TEXT")
        }
    }
}

/// Whether a uuid is kept as its 16 bytes.
fn uuid_as_blob(affinity: Affinity) -> bool {
    affinity == Affinity::Blob
}

/// `None` if the value cannot be kept.
pub(super) fn encode<'a>(value: &'a Value, affinity: Affinity) -> Option<ToSqlOutput<'a>> {
    let owned = |v: Sql| ToSqlOutput::Owned(v);
    let text = |s: &'a str| ToSqlOutput::Borrowed(ValueRef::Text(s.as_bytes()));
    Some(match value {
        Value::Null => owned(Sql::Null),
        Value::Bool(b) => owned(Sql::Integer(i64::from(*b))),
        Value::Int(n) => owned(Sql::Integer(*n)),
        Value::Float64(f) if f.is_nan() || (*f == 0.0 && f.is_sign_negative()) => return None,
        Value::Float64(f) => owned(Sql::Real(*f)),
        Value::Float32(f) if f.is_nan() || (*f == 0.0 && f.is_sign_negative()) => return None,
        Value::Float32(f) => owned(Sql::Real(crate::value::long_float(*f))),
        Value::Text(s) | Value::Json(s) | Value::Enum(s) => text(s),
        Value::Bytes(b) => ToSqlOutput::Borrowed(ValueRef::Blob(b)),
        Value::Uuid(u) if uuid_as_blob(affinity) => ToSqlOutput::Borrowed(ValueRef::Blob(u)),
        Value::Native(_) => return None,
        other => owned(Sql::Text(other.to_text()?)),
    })
}

/// What is stored as a text: texts as they are, numbers by their shortest digits, bytes as hex.
pub(super) fn as_text(stored: ValueRef<'_>) -> Option<Value> {
    Some(match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Text(n.to_string()),
        ValueRef::Real(f) => Value::Text(Value::Float64(f).to_text()?),
        ValueRef::Text(t) => Value::Text(std::str::from_utf8(t).ok()?.to_owned()),
        ValueRef::Blob(b) => Value::Text(Value::Bytes(b.to_vec()).to_text()?),
    })
}

/// `None` if what is stored is no value of that type.
pub(super) fn decode(ty: &ColumnType, stored: ValueRef<'_>) -> Option<Value> {
    Some(match (stored, ty) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(n @ (0 | 1)), ColumnType::Bool) => Value::Bool(n == 1),
        (ValueRef::Integer(n), ColumnType::Int { .. } | ColumnType::Uint64 | ColumnType::Decimal { .. }) => {
            return Value::Int(n).convert(ty);
        }
        (ValueRef::Real(f), ColumnType::Float64) => Value::Float64(f),
        // An integral real in a column of numeric affinity is kept as an integer.
        #[expect(clippy::cast_precision_loss, reason = "checked below")]
        (ValueRef::Integer(n), ColumnType::Float64) if (n as f64) as i128 == i128::from(n) => Value::Float64(n as f64),
        (ValueRef::Real(f), ColumnType::Float32) => Value::Float32(crate::value::short_float(f)?),
        (ValueRef::Blob(b), ColumnType::Bytes) => Value::Bytes(b.to_vec()),
        (ValueRef::Blob(b), ColumnType::Uuid) => Value::Uuid(b.try_into().ok()?),
        (ValueRef::Text(_), ColumnType::Bytes | ColumnType::Native { .. }) => return None,
        (ValueRef::Text(t), ty) => Value::from_text(ty, std::str::from_utf8(t).ok()?)?,
        _ => return None,
    })
}
