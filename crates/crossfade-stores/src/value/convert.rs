//! From the type a source has to the type a target's column has, and back, without loss unless asked.

use super::{Decimal, Value};
use crate::{Column, ColumnType, Fit};

/// How values of `wanted` survive in a column of type `found`, where the store keeps each type of its own as it is.
/// Shared by the stores with typed columns.
#[must_use]
pub fn fit_between(wanted: &ColumnType, found: &Column) -> Fit {
    use ColumnType as T;
    match (wanted, &found.ty) {
        (T::Int { bits: a }, T::Int { bits: b }) if a <= b => Fit::Lossless,
        (T::Int { .. }, T::Int { .. }) => Fit::Refused("the integer column is narrower"),
        (T::Int { .. } | T::Uint64, T::Decimal { precision: None }) => Fit::Lossless,
        (T::Int { .. } | T::Uint64, T::Decimal { precision: Some((p, 0)) }) if *p >= 20 => Fit::Lossless,
        (T::Uint64, T::Int { .. }) => Fit::Refused("a signed column does not hold values above 2^63"),
        (T::Decimal { .. }, T::Decimal { precision: None }) => Fit::Lossless,
        (T::Decimal { precision: Some((p, s)) }, T::Decimal { precision: Some((q, t)) })
            if *t >= *s && i64::from(*q) - i64::from(*t) >= i64::from(*p) - i64::from(*s) =>
        {
            Fit::Lossless
        }
        (T::Decimal { .. }, T::Decimal { .. }) => {
            Fit::Lossy("digits beyond the column's precision are rounded or refused")
        }
        (T::Decimal { .. }, T::Float32 | T::Float64) => Fit::Lossy("decimal digits become a binary float"),
        (T::Float32, T::Float64) => Fit::Lossless,
        (T::Float64, T::Float32) => Fit::Lossy("half of the digits go"),
        (T::Text { max: Some(a) }, T::Text { max: Some(b) }) if a <= b => Fit::Lossless,
        (T::Text { .. }, T::Text { max: None }) => Fit::Lossless,
        (T::Text { .. }, T::Text { .. }) => Fit::Lossy("texts longer than the column are refused"),
        (T::Timestamp, T::TimestampTz) => Fit::Lossy("a time without zone is taken as UTC"),
        (T::TimestampTz, T::Timestamp) => Fit::Lossy("the zone is dropped, the time is UTC"),
        (T::Enum { labels: a }, T::Enum { labels: b }) if a.iter().all(|l| b.contains(l)) => Fit::Lossless,
        (T::Enum { .. }, T::Enum { .. }) => Fit::Refused("the column's enum lacks labels"),
        (T::Native { .. }, _) | (_, T::Native { .. }) if !wanted.same_family(&found.ty) => {
            Fit::Refused("a type that only one engine knows: ignore the column, or convert it in the source")
        }
        (T::Array(a), T::Array(b)) if a.same_family(b) => Fit::Lossless,
        (a, b) if a.same_family(b) => Fit::Lossless,
        // The text form gives every value back.
        (T::Json | T::Enum { .. } | T::Uuid, T::Text { max: None }) => Fit::Lossless,
        (T::Uuid, T::Text { max: Some(n) }) if *n >= 36 => Fit::Lossless,
        (
            T::Bool
            | T::Int { .. }
            | T::Uint64
            | T::Decimal { .. }
            | T::Date
            | T::Time
            | T::Timestamp
            | T::TimestampTz
            | T::Array(_)
            | T::Bytes,
            T::Text { max: None },
        ) => Fit::Lossless,
        _ => Fit::Refused("the column holds another kind of value"),
    }
}

/// The double that prints as the float does: 9.8 stays 9.8, and is not 9.800000190734863.
#[must_use]
pub(crate) fn long_float(f: f32) -> f64 {
    if f.is_finite() { format!("{f:?}").parse().unwrap_or(f64::from(f)) } else { f64::from(f) }
}

/// The float that a double stands for: by its shortest digits, or bit by bit. `None` for a double that is no float.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "what is lost is looked at")]
pub(crate) fn short_float(f: f64) -> Option<f32> {
    if f.is_nan() {
        return Some(f32::NAN);
    }
    let by_digits = format!("{f:?}").parse::<f32>().ok().filter(|short| long_float(*short).to_bits() == f.to_bits());
    by_digits.or_else(|| Some(f as f32).filter(|short| f64::from(*short).to_bits() == f.to_bits()))
}

impl Value {
    /// This value as one of type `to`; `None` where it cannot be. Loses only what [`fit_between`] declares as lossy.
    #[must_use]
    pub fn convert(self, to: &ColumnType) -> Option<Value> {
        use ColumnType as T;
        Some(match (self, to) {
            (Value::Null, _) => Value::Null,
            (Value::Int(n), T::Int { bits }) => {
                let fits = match bits {
                    16 => i16::try_from(n).is_ok(),
                    32 => i32::try_from(n).is_ok(),
                    _ => true,
                };
                return fits.then_some(Value::Int(n));
            }
            (Value::Int(n), T::Uint64) => Value::Uint(u64::try_from(n).ok()?),
            (Value::Uint(n), T::Int { .. }) => return Value::Int(i64::try_from(n).ok()?).convert(to),
            (Value::Int(n), T::Decimal { .. }) => Value::Decimal(Decimal::from(n)),
            (Value::Uint(n), T::Decimal { .. }) => Value::Decimal(n.to_string().parse().ok()?),
            (Value::Decimal(d), T::Int { .. }) => return Value::Int(d.trimmed().as_text().parse().ok()?).convert(to),
            (Value::Decimal(d), T::Uint64) => Value::Uint(d.trimmed().as_text().parse().ok()?),
            (Value::Int(n), T::Bool) if n == 0 || n == 1 => Value::Bool(n == 1),
            (Value::Bool(b), T::Int { .. }) => Value::Int(i64::from(b)),
            (Value::Decimal(d), T::Float64) => Value::Float64(d.as_text().parse().ok()?),
            (Value::Decimal(d), T::Float32) => Value::Float32(d.as_text().parse().ok()?),
            (Value::Float64(f), T::Float32) => Value::Float32(short_float(f)?),
            (Value::Float32(f), T::Float64) => Value::Float64(long_float(f)),
            (Value::Timestamp(n), T::TimestampTz) => Value::TimestampTz(n),
            (Value::TimestampTz(n), T::Timestamp) => Value::Timestamp(n),
            (v @ Value::Bool(_), T::Bool)
            | (v @ Value::Uint(_), T::Uint64)
            | (v @ Value::Decimal(_), T::Decimal { .. })
            | (v @ Value::Float32(_), T::Float32)
            | (v @ Value::Float64(_), T::Float64)
            | (v @ Value::Text(_), T::Text { .. })
            | (v @ Value::Bytes(_), T::Bytes)
            | (v @ Value::Uuid(_), T::Uuid)
            | (v @ Value::Date(_), T::Date)
            | (v @ Value::Time(_), T::Time)
            | (v @ Value::Timestamp(_), T::Timestamp)
            | (v @ Value::TimestampTz(_), T::TimestampTz)
            | (v @ Value::Json(_), T::Json)
            | (v @ Value::Enum(_), T::Enum { .. })
            | (v @ Value::Native(_), T::Native { .. }) => v,
            (Value::Array(items), T::Array(of)) => {
                Value::Array(items.into_iter().map(|v| v.convert(of)).collect::<Option<_>>()?)
            }
            (v, T::Text { .. }) => Value::Text(v.to_text()?),
            (Value::Text(t), to) => Value::from_text(to, &t)?,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_survives_as_a_double_that_prints_the_same() {
        let mut bits: u32 = 1;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            let f = f32::from_bits(bits);
            if !f.is_finite() {
                continue;
            }
            let long = long_float(f);
            assert_eq!(format!("{f:?}").parse::<f64>().ok(), Some(long));
            assert_eq!(short_float(long).map(f32::to_bits), Some(f.to_bits()), "{f:?}");
            assert_eq!(short_float(f64::from(f)).map(f32::to_bits), Some(f.to_bits()), "{f:?}");
        }
        assert_eq!(short_float(0.123_456_789_012), None);
        assert_eq!(short_float(1e300), None);
    }
}
