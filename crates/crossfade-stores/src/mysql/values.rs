//! How values are kept in columns, as parameters of the binary protocol and as fields of `LOAD DATA`.
//!
//! MySQL has no NaN, no infinities and no -0 that can be told from 0, and rounds without a word where a decimal or a time has more
//! digits than the column: such values are refused here, before the server sees them, unless the config accepted the loss.

use mysql_async::Value as Sql;

use crate::{
    Column, ColumnType, Fit, Value,
    value::{fit_between, text},
};

/// What a column physically is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Physical {
    /// Any integer type, also `tinyint(1)` as a bool.
    Integer,
    /// `bit(1)`
    Bit,
    /// Digits in all, and after the point.
    Decimal(u32, u32),
    Float,
    Double,
    /// Characters: text, enum, and what reads as text (`uuid` of MariaDB).
    Text,
    /// `json`: MySQL's own, or MariaDB's text with a check.
    Json,
    Bytes,
    /// 16 bytes that hold a uuid.
    UuidBytes,
    Date,
    /// Digits after the second.
    Time(u32),
    Moment(u32),
}

const DAY_MICROS: i64 = 86_400_000_000;

const FLOATS: Fit = Fit::Lossy("NaN, infinities and -0 are refused, row by row");

pub(super) fn fit(wanted: &ColumnType, found: Option<&Column>) -> Fit {
    use ColumnType as T;
    let Some(found) = found else {
        return match wanted {
            T::Float32 | T::Float64 => FLOATS,
            T::Native { engine, .. } if engine != "mysql" => {
                Fit::Refused("a type that only one engine knows: ignore the column, or convert it in the source")
            }
            T::Decimal { precision: Some((p, s)) } if *p <= 65 && (0..=30).contains(s) => Fit::Lossless,
            T::Decimal { .. } => {
                Fit::Lossy("at most 65 digits, 30 of them after the point: others are refused, row by row")
            }
            T::TimestampTz => Fit::Lossy("`timestamp` ends in 2038, and `datetime` has no zone"),
            T::Array(of) => match fit(of, None) {
                Fit::Refused(why) => Fit::Refused(why),
                // As a JSON list of texts.
                _ => Fit::Lossless,
            },
            _ => Fit::Lossless,
        };
    };
    let native = found.native.as_str();
    match (wanted, &found.ty) {
        (T::Uuid, T::Bytes) if native == "binary(16)" => Fit::Lossless,
        (T::Text { .. } | T::Json | T::Enum { .. }, T::Text { .. } | T::Enum { .. }) if !is_unicode(native) => {
            Fit::Lossy("the column's character set holds only a part of unicode: make it utf8mb4")
        }
        (T::Text { .. }, T::Text { .. }) if native.starts_with("char(") => {
            Fit::Lossy("`char(n)` drops trailing blanks: use `varchar`")
        }
        (T::Bytes, T::Bytes) if native.starts_with("binary(") => {
            Fit::Lossy("`binary(n)` pads with zeros: use `varbinary`")
        }
        (T::Float32 | T::Float64, T::Float32 | T::Float64) => match fit_between(wanted, found) {
            Fit::Lossless => FLOATS,
            other => other,
        },
        (T::Json, T::Json) => Fit::Lossless,
        (T::Decimal { precision: None }, T::Decimal { .. }) => {
            Fit::Lossy("numbers with more digits than the column are refused, row by row")
        }
        _ => fit_between(wanted, found),
    }
}

/// The describing query puts the character set behind the type, where it is not all of unicode.
fn is_unicode(native: &str) -> bool {
    !native.contains(" charset ")
}

/// The parameter of a value of the column's own type.
pub(super) fn parameter(value: &Value, physical: Physical, rounded: bool) -> Result<Sql, &'static str> {
    use Physical as P;
    Ok(match (value, physical) {
        (Value::Null, _) => Sql::NULL,
        (Value::Bool(b), P::Integer | P::Bit) => Sql::Int(i64::from(*b)),
        (Value::Int(n), P::Integer) => Sql::Int(*n),
        (Value::Uint(n), P::Integer) => Sql::UInt(*n),
        (Value::Decimal(d), P::Decimal(precision, scale)) => {
            if !d.is_finite() {
                return Err("mysql decimals have no NaN and no infinity");
            }
            let short = d.trimmed();
            let integer = short
                .as_text()
                .trim_start_matches('-')
                .split('.')
                .next()
                .unwrap_or_default()
                .trim_start_matches('0')
                .len();
            if integer > (precision - scale) as usize {
                return Err("the number has more digits before the point than the column: widen it");
            }
            if short.scale() > scale as usize && !rounded {
                return Err(
                    "the number has more digits after the point than the column: widen it, or map it with `lossy = \"round\"` or \"truncate\"",
                );
            }
            Sql::Bytes(d.as_text().as_bytes().to_vec())
        }
        (Value::Float32(f), P::Float) => {
            real(f64::from(*f))?;
            Sql::Float(*f)
        }
        (Value::Float32(f), P::Double) => real(crate::value::long_float(*f))?,
        (Value::Float64(f), P::Double) => real(*f)?,
        (Value::Text(s) | Value::Enum(s) | Value::Json(s), P::Text | P::Json) => Sql::Bytes(s.as_bytes().to_vec()),
        (Value::Uuid(u), P::UuidBytes) => Sql::Bytes(u.to_vec()),
        (Value::Uuid(u), P::Text) => Sql::Bytes(crate::value::uuid_text(u).into_bytes()),
        (Value::Bytes(b) | Value::Native(b), P::Bytes | P::Text) => Sql::Bytes(b.clone()),
        (Value::Date(n), P::Date) => {
            let (year, month, day) = civil(i64::from(*n))?;
            Sql::Date(year, month, day, 0, 0, 0, 0)
        }
        (Value::Time(n), P::Time(digits)) => {
            precise(*n, digits, rounded)?;
            let (hours, minutes, seconds, micros) = clock(*n);
            Sql::Time(false, hours / 24, (hours % 24) as u8, minutes, seconds, micros)
        }
        (Value::Timestamp(n) | Value::TimestampTz(n), P::Moment(digits)) => {
            precise(*n, digits, rounded)?;
            let (year, month, day) = civil(n.div_euclid(DAY_MICROS))?;
            let (hours, minutes, seconds, micros) = clock(n.rem_euclid(DAY_MICROS));
            Sql::Date(year, month, day, hours as u8, minutes, seconds, micros)
        }
        _ => return Err("the column holds another kind of value"),
    })
}

fn real(f: f64) -> Result<Sql, &'static str> {
    if !f.is_finite() || f == 0.0 && f.is_sign_negative() {
        return Err("mysql has no NaN, infinity or -0");
    }
    Ok(Sql::Double(f))
}

fn civil(days: i64) -> Result<(u16, u8, u8), &'static str> {
    let (year, month, day) = text::civil(days);
    match u16::try_from(year) {
        Ok(y) if (1..=9999).contains(&y) => Ok((y, month as u8, day as u8)),
        _ => Err("mysql dates are of the years 1 to 9999"),
    }
}

fn clock(micros: i64) -> (u32, u8, u8, u32) {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    // Of one day: all of them fit.
    ((seconds / 3_600) as u32, (seconds / 60 % 60) as u8, (seconds % 60) as u8, micros as u32)
}

fn precise(micros: i64, digits: u32, rounded: bool) -> Result<(), &'static str> {
    if !rounded && micros % 10_i64.pow(6 - digits.min(6)) != 0 {
        return Err(
            "the time has more digits after the second than the column: make it (6), or map it with `lossy = \"round\"` or \"truncate\"",
        );
    }
    Ok(())
}

/// The value of a field of the binary protocol; `None` if it is none of that type.
pub(super) fn value(sql: Sql, ty: &ColumnType) -> Option<Value> {
    use ColumnType as T;
    Some(match (sql, ty) {
        (Sql::NULL, _) => Value::Null,
        (Sql::Int(n @ (0 | 1)), T::Bool) => Value::Bool(n == 1),
        (Sql::Bytes(b), T::Bool) => match b.as_slice() {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return None,
        },
        (Sql::Int(n), T::Int { .. }) => Value::Int(n),
        (Sql::UInt(n), T::Int { .. }) => Value::Int(i64::try_from(n).ok()?),
        (Sql::UInt(n), T::Uint64) => Value::Uint(n),
        (Sql::Int(n), T::Uint64) => Value::Uint(u64::try_from(n).ok()?),
        (Sql::Float(f), T::Float32) => Value::Float32(f),
        (Sql::Double(f), T::Float64) => Value::Float64(f),
        (Sql::Bytes(b), T::Bytes) => Value::Bytes(b),
        (Sql::Bytes(b), T::Native { .. }) => Value::Native(b),
        // A uuid in `binary(16)`.
        (Sql::Bytes(b), T::Uuid) if b.len() == 16 => Value::Uuid(b.try_into().ok()?),
        (Sql::Bytes(b), T::Decimal { .. } | T::Text { .. } | T::Enum { .. } | T::Json | T::Uuid) => {
            let text = String::from_utf8(b).ok()?;
            match ty {
                T::Text { .. } => Value::Text(text),
                T::Json => Value::Json(text),
                _ => Value::from_text(ty, &text)?,
            }
        }
        (Sql::Date(y, m, d, 0, 0, 0, 0), T::Date) => Value::Date(i32::try_from(days(y, m, d)?).ok()?),
        (Sql::Date(y, m, d, h, min, s, us), T::Timestamp | T::TimestampTz) => {
            let clock = (i64::from(h) * 3_600 + i64::from(min) * 60 + i64::from(s)) * 1_000_000 + i64::from(us);
            let micros = days(y, m, d)? * DAY_MICROS + clock;
            if *ty == T::Timestamp { Value::Timestamp(micros) } else { Value::TimestampTz(micros) }
        }
        (Sql::Time(false, d, h, min, s, us), T::Time) => {
            let micros = ((i64::from(d) * 24 + i64::from(h)) * 3_600 + i64::from(min) * 60 + i64::from(s)) * 1_000_000
                + i64::from(us);
            (micros <= DAY_MICROS).then_some(Value::Time(micros))?
        }
        _ => return None,
    })
}

/// Zero dates are none.
fn days(year: u16, month: u8, day: u8) -> Option<i64> {
    text::days(i64::from(year), u32::from(month), u32::from(day))
}

/// Appends a parameter as a field of `LOAD DATA`; bytes go as hex, see `Shape::load`.
pub(super) fn field(sql: &Sql, physical: Physical, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing into a Vec cannot fail.
    let _ = match sql {
        Sql::NULL => out.write_all(b"\\N"),
        Sql::Int(n) => write!(out, "{n}"),
        Sql::UInt(n) => write!(out, "{n}"),
        Sql::Float(f) => write!(out, "{f:?}"),
        Sql::Double(f) => write!(out, "{f:?}"),
        Sql::Bytes(b) if as_hex(physical) => {
            out.reserve(b.len() * 2);
            for byte in b {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
            }
            Ok(())
        }
        Sql::Bytes(b) => {
            let mut rest = b.as_slice();
            while let Some(at) = rest.iter().position(|c| matches!(c, b'\\' | b'\t' | b'\n' | b'\r' | 0)) {
                out.extend_from_slice(&rest[..at]);
                out.push(b'\\');
                out.push(match rest[at] {
                    b'\t' => b't',
                    b'\n' => b'n',
                    b'\r' => b'r',
                    0 => b'0',
                    other => other,
                });
                rest = &rest[at + 1..];
            }
            out.extend_from_slice(rest);
            Ok(())
        }
        Sql::Date(y, m, d, h, min, s, us) => write!(out, "{y:04}-{m:02}-{d:02} {h:02}:{min:02}:{s:02}.{us:06}"),
        Sql::Time(_, d, h, min, s, us) => write!(out, "{:02}:{min:02}:{s:02}.{us:06}", d * 24 + u32::from(*h)),
    };
}

/// Whether `LOAD DATA` gets the column as hex.
pub(super) fn as_hex(physical: Physical) -> bool {
    matches!(physical, Physical::Bytes | Physical::UuidBytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_would_round_is_refused() {
        let decimal = |t: &str| t.parse().map(Value::Decimal).unwrap_or_default();
        for (value, physical, kept) in [
            (decimal("1.50"), Physical::Decimal(4, 2), true),
            (decimal("1.500"), Physical::Decimal(4, 2), true),
            (decimal("1.501"), Physical::Decimal(4, 2), false),
            (decimal("123"), Physical::Decimal(4, 2), false),
            (decimal("NaN"), Physical::Decimal(4, 2), false),
            (Value::Time(1), Physical::Time(6), true),
            (Value::Time(1), Physical::Time(3), false),
            (Value::Timestamp(1_001_000), Physical::Moment(3), true),
            (Value::Timestamp(-1), Physical::Moment(0), false),
            (Value::Timestamp(i64::MAX), Physical::Moment(6), false),
            (Value::Float64(f64::NAN), Physical::Double, false),
            (Value::Float64(-0.0), Physical::Double, false),
        ] {
            assert_eq!(parameter(&value, physical, false).is_ok(), kept, "{value:?} {physical:?}");
        }
        assert!(parameter(&decimal("1.501"), Physical::Decimal(4, 2), true).is_ok(), "an accepted loss");
    }

    #[test]
    fn fields_are_escaped() {
        let mut out = Vec::new();
        field(&Sql::Bytes(b"a\tb\\N\n\0\r'\"".to_vec()), Physical::Text, &mut out);
        assert_eq!(out, b"a\\tb\\\\N\\n\\0\\r'\"");
    }
}
