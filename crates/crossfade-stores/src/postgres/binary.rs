//! The binary form of values, for parameters, results and `COPY`.

use std::error::Error;

use bytes::BytesMut;
use postgres_types::{FromSql, IsNull, ToSql, Type};

use super::numeric;
use crate::{ColumnType, Value};

/// Days and µs from 1970 to 2000.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// How the database itself keeps a column.
#[derive(Clone, Debug)]
pub(super) struct Physical {
    /// Its own type, as ours: decides the bytes.
    pub(super) ty: ColumnType,
    /// `jsonb` has a version byte.
    pub(super) jsonb: bool,
    /// The element's type number, for arrays.
    pub(super) element: u32,
    /// `char(n)`, `int2`, ...: what a parameter is cast to.
    pub(super) cast: String,
}

/// A parameter in its binary form already.
#[derive(Debug)]
pub(super) struct Parameter(pub(super) Option<Vec<u8>>);

impl ToSql for Parameter {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match &self.0 {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres_types::to_sql_checked!();
}

/// A result in its binary form still.
pub(super) struct Field<'a>(pub(super) Option<&'a [u8]>);

impl<'a> FromSql<'a> for Field<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Field(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Field(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Reads a value of the column's own type; `None` if the bytes are not one.
pub(super) fn decode(physical: &Physical, bytes: &[u8]) -> Option<Value> {
    let int8 = || bytes.try_into().ok().map(i64::from_be_bytes);
    let text = || std::str::from_utf8(bytes).ok().map(str::to_owned);
    Some(match &physical.ty {
        ColumnType::Bool => Value::Bool(*bytes.first()? != 0),
        ColumnType::Int { .. } => Value::Int(match bytes.len() {
            2 => i64::from(i16::from_be_bytes(bytes.try_into().ok()?)),
            4 => i64::from(i32::from_be_bytes(bytes.try_into().ok()?)),
            _ => int8()?,
        }),
        ColumnType::Uint64 => return None,
        ColumnType::Decimal { .. } => Value::Decimal(numeric::decode(bytes)?),
        ColumnType::Float32 => Value::Float32(f32::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Float64 => Value::Float64(f64::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Text { .. } => Value::Text(text()?),
        ColumnType::Enum { .. } => Value::Enum(text()?),
        ColumnType::Json if physical.jsonb => match bytes.split_first()? {
            (1, text) => Value::Json(std::str::from_utf8(text).ok()?.to_owned()),
            _ => return None,
        },
        ColumnType::Json => Value::Json(text()?),
        ColumnType::Bytes => Value::Bytes(bytes.to_vec()),
        ColumnType::Native { .. } => Value::Native(bytes.to_vec()),
        ColumnType::Uuid => Value::Uuid(bytes.try_into().ok()?),
        ColumnType::Date => Value::Date(match i32::from_be_bytes(bytes.try_into().ok()?) {
            infinite @ (i32::MAX | i32::MIN) => infinite,
            // No finite day may become what stands for infinity; PostgreSQL has none so late.
            days => days.checked_add(EPOCH_DAYS).filter(|days| *days != i32::MAX)?,
        }),
        ColumnType::Time => Value::Time(int8()?),
        ColumnType::Timestamp => Value::Timestamp(from_epoch(int8()?)?),
        ColumnType::TimestampTz => Value::TimestampTz(from_epoch(int8()?)?),
        ColumnType::Array(of) => return array(physical, of, bytes),
    })
}

fn from_epoch(micros: i64) -> Option<i64> {
    match micros {
        i64::MAX | i64::MIN => Some(micros),
        _ => micros.checked_add(EPOCH_MICROS).filter(|micros| *micros != i64::MAX),
    }
}

fn array(physical: &Physical, of: &ColumnType, bytes: &[u8]) -> Option<Value> {
    let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes);
    match word(0)? {
        0 => return Some(Value::Array(Vec::new())),
        1 => {}
        // More dimensions, or a list that does not begin at 1, have no form elsewhere.
        _ => return None,
    }
    if word(16)? != 1 {
        return None;
    }
    let element = Physical { ty: of.clone(), ..physical.clone() };
    let mut items = Vec::new();
    let mut at = 20;
    for _ in 0..word(12)? {
        let len = word(at)?;
        at += 4;
        match usize::try_from(len) {
            Err(_) => items.push(Value::Null),
            Ok(len) => {
                items.push(decode(&element, bytes.get(at..at + len)?)?);
                at += len;
            }
        }
    }
    Some(Value::Array(items))
}

/// Writes a value as the column's own type; `None` if it cannot be one (NUL in a text, a number out of range).
pub(super) fn encode(physical: &Physical, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match (value, &physical.ty) {
        (Value::Bool(b), ColumnType::Bool) => out.push(u8::from(*b)),
        (Value::Int(n), ColumnType::Int { bits: 16 }) => out.extend_from_slice(&i16::try_from(*n).ok()?.to_be_bytes()),
        (Value::Int(n), ColumnType::Int { bits: 32 }) => out.extend_from_slice(&i32::try_from(*n).ok()?.to_be_bytes()),
        (Value::Int(n), ColumnType::Int { .. }) | (Value::Time(n), ColumnType::Time) => {
            out.extend_from_slice(&n.to_be_bytes())
        }
        (Value::Decimal(d), ColumnType::Decimal { .. }) => numeric::encode(d, out)?,
        (Value::Float32(f), ColumnType::Float32) => out.extend_from_slice(&f.to_be_bytes()),
        (Value::Float64(f), ColumnType::Float64) => out.extend_from_slice(&f.to_be_bytes()),
        (Value::Text(s), ColumnType::Text { .. }) | (Value::Enum(s), ColumnType::Enum { .. }) => {
            if s.as_bytes().contains(&0) {
                return None;
            }
            out.extend_from_slice(s.as_bytes());
        }
        (Value::Json(s), ColumnType::Json) => {
            if physical.jsonb {
                out.push(1);
            }
            out.extend_from_slice(s.as_bytes());
        }
        (Value::Bytes(b), ColumnType::Bytes) | (Value::Native(b), ColumnType::Native { .. }) => {
            out.extend_from_slice(b)
        }
        (Value::Uuid(u), ColumnType::Uuid) => out.extend_from_slice(u),
        (Value::Date(n), ColumnType::Date) => {
            let days = if matches!(*n, i32::MAX | i32::MIN) { *n } else { n.checked_sub(EPOCH_DAYS)? };
            out.extend_from_slice(&days.to_be_bytes());
        }
        (Value::Timestamp(n), ColumnType::Timestamp) | (Value::TimestampTz(n), ColumnType::TimestampTz) => {
            let micros = if matches!(*n, i64::MAX | i64::MIN) { *n } else { n.checked_sub(EPOCH_MICROS)? };
            out.extend_from_slice(&micros.to_be_bytes());
        }
        (Value::Array(items), ColumnType::Array(of)) => {
            let element = Physical { ty: (**of).clone(), ..physical.clone() };
            list(&element, physical.element, items, out)?;
        }
        _ => return None,
    }
    Some(())
}

/// The binary form of a one-dimensional array.
pub(super) fn list(element: &Physical, element_oid: u32, items: &[Value], out: &mut Vec<u8>) -> Option<()> {
    let word = |n: i32, out: &mut Vec<u8>| out.extend_from_slice(&n.to_be_bytes());
    word(i32::from(!items.is_empty()), out);
    word(i32::from(items.iter().any(Value::is_null)), out);
    out.extend_from_slice(&element_oid.to_be_bytes());
    if items.is_empty() {
        return Some(());
    }
    word(i32::try_from(items.len()).ok()?, out);
    word(1, out);
    for item in items {
        if item.is_null() {
            word(-1, out);
            continue;
        }
        let at = out.len();
        word(0, out);
        encode(element, item, out)?;
        let len = i32::try_from(out.len() - at - 4).ok()?;
        out[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
    Some(())
}
