//! The one order of keys: numbers by size, text and bytes by their bytes, time by time.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
};

use super::{RowKey, Value};

fn rank(v: &Value) -> u8 {
    match v {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) => 2,
        Value::Uint(_) => 3,
        Value::Decimal(_) => 4,
        Value::Float32(_) => 5,
        Value::Float64(_) => 6,
        Value::Text(_) => 7,
        Value::Bytes(_) => 8,
        Value::Uuid(_) => 9,
        Value::Date(_) => 10,
        Value::Time(_) => 11,
        Value::Timestamp(_) => 12,
        Value::TimestampTz(_) => 13,
        Value::Json(_) => 14,
        Value::Enum(_) => 15,
        Value::Array(_) => 16,
        Value::Native(_) => 17,
    }
}

/// NaN above everything and equal to itself, -0 equal to 0: as PostgreSQL orders floats.
fn float(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

impl Value {
    /// The order of key values. Values of different types (which no key column has) are ordered by type.
    #[must_use]
    pub fn key_order(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b))
            | (Value::Time(a), Value::Time(b))
            | (Value::Timestamp(a), Value::Timestamp(b))
            | (Value::TimestampTz(a), Value::TimestampTz(b)) => a.cmp(b),
            (Value::Uint(a), Value::Uint(b)) => a.cmp(b),
            (Value::Decimal(a), Value::Decimal(b)) => a.order(b),
            (Value::Float32(a), Value::Float32(b)) => float(f64::from(*a), f64::from(*b)),
            (Value::Float64(a), Value::Float64(b)) => float(*a, *b),
            (Value::Text(a), Value::Text(b)) | (Value::Json(a), Value::Json(b)) | (Value::Enum(a), Value::Enum(b)) => {
                a.as_bytes().cmp(b.as_bytes())
            }
            (Value::Bytes(a), Value::Bytes(b)) | (Value::Native(a), Value::Native(b)) => a.cmp(b),
            (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Array(a), Value::Array(b)) => a
                .iter()
                .zip(b)
                .map(|(a, b)| a.key_order(b))
                .find(|o| o.is_ne())
                .unwrap_or_else(|| a.len().cmp(&b.len())),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl PartialEq for RowKey {
    /// As keys: `1.0` and `1.00`, and `0.0` and `-0.0`, are one key, as they are in a unique index.
    fn eq(&self, other: &RowKey) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for RowKey {}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &RowKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RowKey {
    fn cmp(&self, other: &RowKey) -> Ordering {
        self.0
            .iter()
            .zip(&other.0)
            .map(|(a, b)| a.key_order(b))
            .find(|o| o.is_ne())
            .unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }
}

impl Hash for RowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for v in &self.0 {
            rank(v).hash(state);
            match v {
                Value::Int(a) | Value::Time(a) | Value::Timestamp(a) | Value::TimestampTz(a) => a.hash(state),
                Value::Uint(a) => a.hash(state),
                Value::Text(a) | Value::Enum(a) | Value::Json(a) => a.hash(state),
                Value::Bytes(a) | Value::Native(a) => a.hash(state),
                Value::Uuid(a) => a.hash(state),
                Value::Date(a) => a.hash(state),
                Value::Bool(a) => a.hash(state),
                // Rare as keys, and equal values may have several forms: the rank alone is a correct hash.
                Value::Decimal(_) | Value::Float32(_) | Value::Float64(_) | Value::Array(_) | Value::Null => {}
            }
        }
    }
}
