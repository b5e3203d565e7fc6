//! How values are kept as attributes.
//!
//! | type | attribute |
//! |---|---|
//! | bool | `BOOL` |
//! | integers, decimals, floats | `N`: up to 38 digits, no NaN, no infinities, no -0 |
//! | text, enum, uuid, dates and times | `S`, in their text form |
//! | json | `S` with the text; for `documents` columns maps, lists and numbers |
//! | bytes | `B` |
//! | arrays | `L`, nulls as `NULL` |
//! | null | no attribute |
//!
//! Reading takes more forms than writing makes: `NULL` for null, sets for arrays, documents for json, `T` in times, 16 bytes for a uuid.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};

use super::{documents, rest};
use crate::{Column, ColumnType, Decimal, Fit, Value};

/// What an attribute has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// Any type: not part of the key.
    Free,
    /// Not part of the key, JSON as a document.
    Document,
    /// Epoch seconds, as DynamoDB's TTL wants them; rounded up to whole ones if the loss was accepted.
    Expiry {
        /// Whether the config accepted it.
        rounded: bool,
    },
    /// A key of type `S`.
    KeyText,
    /// A key of type `N`.
    KeyNumber,
    /// A key of type `B`.
    KeyBytes,
}

const MICROS: i64 = 1_000_000;

/// Why a value has no attribute; texts without the value.
type Why = &'static str;

const NOT_A_NUMBER: Why = "dynamodb numbers have no NaN, infinity or -0";
const TOO_PRECISE: Why = "dynamodb numbers have at most 38 digits, between 1e-130 and 1e126";

/// How a type is kept. `found` is a key attribute; other attributes have no type of their own.
pub(super) fn fit(wanted: &ColumnType, found: Option<&Column>) -> Fit {
    use ColumnType as T;
    const FLOATS: Fit = Fit::Lossy("NaN, infinities, -0 and sizes beyond 1e-130..1e126 are refused, row by row");
    match found.map(|c| c.native.as_str()) {
        Some("S") => match wanted {
            T::Native { .. } | T::Array(_) | T::Json => Fit::Refused("a key is text, a number or bytes"),
            T::Float32 | T::Float64 => Fit::Refused("a float is no key"),
            _ => Fit::Lossless,
        },
        Some("N") => match wanted {
            T::Int { .. } | T::Uint64 => Fit::Lossless,
            T::Decimal { precision: Some((p, _)) } if *p <= 38 => Fit::Lossless,
            T::Decimal { .. } => Fit::Lossy("numbers of more than 38 digits are refused, row by row"),
            _ => Fit::Refused("the key attribute is a number (N)"),
        },
        Some("B") => match wanted {
            T::Bytes | T::Uuid => Fit::Lossless,
            _ => Fit::Refused("the key attribute is bytes (B)"),
        },
        _ => match wanted {
            T::Native { .. } => {
                Fit::Refused("a type that only one engine knows: ignore the column, or convert it in the source")
            }
            T::Array(of) => match fit(of, None) {
                Fit::Refused(_) => Fit::Refused("a list of a type that is not kept"),
                other => other,
            },
            T::Decimal { precision: Some((p, _)) } if *p <= 38 => Fit::Lossless,
            T::Decimal { .. } => Fit::Lossy("numbers of more than 38 digits are refused, row by row"),
            T::Float32 | T::Float64 => FLOATS,
            T::Bool
            | T::Int { .. }
            | T::Uint64
            | T::Text { .. }
            | T::Bytes
            | T::Uuid
            | T::Date
            | T::Time
            | T::Timestamp
            | T::TimestampTz
            | T::Json
            | T::Enum { .. } => Fit::Lossless,
        },
    }
}

fn text(value: &Value) -> Result<AttributeValue, Why> {
    value.to_text().map(AttributeValue::S).ok_or("a value without text form")
}

/// Whether DynamoDB keeps all digits of a number.
pub(super) fn is_kept(d: &Decimal) -> Result<(), Why> {
    if !d.is_finite() {
        return Err(NOT_A_NUMBER);
    }
    if d.significant_digits() > 38 {
        return Err(TOO_PRECISE);
    }
    let digits = d.as_text().trim_start_matches('-');
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let integer = integer.trim_start_matches('0');
    let fits = if integer.is_empty() {
        // 0.00…x: the first digit that counts is at 10^-(zeros + 1).
        let zeros = fraction.len() - fraction.trim_start_matches('0').len();
        fraction.len() == zeros || zeros < 130
    } else {
        integer.len() <= 126
    };
    if fits { Ok(()) } else { Err(TOO_PRECISE) }
}

fn number(d: &Decimal) -> Result<AttributeValue, Why> {
    is_kept(d)?;
    Ok(AttributeValue::N(d.as_text().to_owned()))
}

/// The shortest digits that give the float back.
fn float(value: f64, shortest: &str) -> Result<AttributeValue, Why> {
    if value == 0.0 && value.is_sign_negative() || !value.is_finite() {
        return Err(NOT_A_NUMBER);
    }
    number(&shortest.parse().map_err(|_| NOT_A_NUMBER)?)
}

/// The attribute of a value; `None` for no attribute.
pub(super) fn encode(value: &Value, slot: Slot) -> Result<Option<AttributeValue>, Why> {
    Ok(Some(match (slot, value) {
        (Slot::Free | Slot::Document | Slot::Expiry { .. }, Value::Null) => return Ok(None),
        (Slot::KeyText | Slot::KeyNumber | Slot::KeyBytes, Value::Null) => return Err("a key is never null"),
        (Slot::KeyText, v) => match text(v)? {
            AttributeValue::S(t) if t.is_empty() => return Err("a key is never empty in dynamodb"),
            other => other,
        },
        (Slot::KeyBytes, Value::Bytes(b)) if b.is_empty() => return Err("a key is never empty in dynamodb"),
        (Slot::KeyBytes, Value::Uuid(u)) => AttributeValue::B(Blob::new(u.to_vec())),
        (Slot::KeyBytes, Value::Bytes(b)) => AttributeValue::B(Blob::new(b.clone())),
        (Slot::KeyBytes, _) => return Err("the key attribute is bytes (B)"),
        (Slot::KeyNumber, Value::Int(_) | Value::Uint(_) | Value::Decimal(_)) => free(value)?,
        (Slot::KeyNumber, _) => return Err("the key attribute is a number (N)"),
        (Slot::Document, Value::Json(t)) => documents::from_json(t)?,
        (Slot::Expiry { rounded }, Value::TimestampTz(n) | Value::Timestamp(n)) => {
            if matches!(*n, i64::MAX | i64::MIN) {
                return Err("an expiry is a moment, not infinity: use null for never");
            }
            if n.rem_euclid(MICROS) != 0 && !rounded {
                return Err(
                    "an expiry is of whole seconds in dynamodb: map it with `lossy = \"round\"` (up) or \"truncate\"",
                );
            }
            AttributeValue::N((n.div_euclid(MICROS) + i64::from(n.rem_euclid(MICROS) != 0)).to_string())
        }
        (Slot::Expiry { .. }, Value::Int(n)) => AttributeValue::N(n.to_string()),
        (Slot::Expiry { .. }, _) => return Err("the ttl column must be a timestamp, or an integer of epoch seconds"),
        (Slot::Free | Slot::Document, v) => free(v)?,
    }))
}

fn free(value: &Value) -> Result<AttributeValue, Why> {
    Ok(match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(b) => AttributeValue::Bool(*b),
        Value::Int(n) => AttributeValue::N(n.to_string()),
        Value::Uint(n) => AttributeValue::N(n.to_string()),
        Value::Decimal(d) => number(d)?,
        Value::Float32(f) => float(f64::from(*f), &format!("{f:?}"))?,
        Value::Float64(f) => float(*f, &format!("{f:?}"))?,
        Value::Text(s) | Value::Json(s) | Value::Enum(s) => AttributeValue::S(s.clone()),
        Value::Bytes(b) => AttributeValue::B(Blob::new(b.clone())),
        Value::Array(items) => AttributeValue::L(items.iter().map(free).collect::<Result<_, _>>()?),
        Value::Native(_) => return Err("a type that only one engine knows"),
        Value::Uuid(_) | Value::Date(_) | Value::Time(_) | Value::Timestamp(_) | Value::TimestampTz(_) => text(value)?,
    })
}

/// A number with the scale that its column declares, if it has no more digits than that.
fn scaled(d: Decimal, ty: &ColumnType) -> Option<Decimal> {
    let ColumnType::Decimal { precision: Some((_, scale)) } = ty else { return Some(d) };
    let (d, scale) = (d.trimmed(), usize::try_from(*scale).unwrap_or(0));
    let missing = scale.saturating_sub(d.scale());
    if missing == 0 {
        return Some(d);
    }
    let point = if d.scale() == 0 { "." } else { "" };
    format!("{}{point}{}", d.as_text(), "0".repeat(missing)).parse().ok()
}

fn from_number(n: &str, ty: &ColumnType, slot: Slot) -> Option<Value> {
    use ColumnType as T;
    if let (Slot::Expiry { .. }, T::TimestampTz | T::Timestamp) = (slot, ty) {
        let micros = n.parse::<i64>().ok()?.checked_mul(MICROS)?;
        return Some(if *ty == T::Timestamp { Value::Timestamp(micros) } else { Value::TimestampTz(micros) });
    }
    if let (T::Int { bits: 64 }, Ok(n)) = (ty, n.parse::<i64>()) {
        return Some(Value::Int(n));
    }
    let d: Decimal = n.parse().ok()?;
    match ty {
        T::Int { .. } | T::Uint64 => Value::Decimal(d).convert(ty),
        T::Decimal { .. } => scaled(d, ty).map(Value::Decimal),
        // A number that is no float's shortest form would change on its way.
        T::Float64 => n
            .parse::<f64>()
            .ok()
            .filter(|f| format!("{f:?}").parse::<Decimal>().is_ok_and(|s| s.same_number(&d)))
            .map(Value::Float64),
        T::Float32 => n
            .parse::<f32>()
            .ok()
            .filter(|f| format!("{f:?}").parse::<Decimal>().is_ok_and(|s| s.same_number(&d)))
            .map(Value::Float32),
        _ => None,
    }
}

/// The value of an attribute; `None` if it is none of that type.
pub(super) fn decode(attribute: Option<&AttributeValue>, ty: &ColumnType, slot: Slot) -> Option<Value> {
    use AttributeValue as A;
    use ColumnType as T;
    let Some(attribute) = attribute else { return Some(Value::Null) };
    Some(match (attribute, ty) {
        (A::Null(_), _) => Value::Null,
        (A::S(s), _) if slot == Slot::KeyText => Value::from_text(ty, s)?,
        (A::S(s), T::Text { .. } | T::Enum { .. } | T::Uuid | T::Date | T::Time | T::Timestamp | T::TimestampTz) => {
            Value::from_text(ty, s)?
        }
        (A::S(s), T::Json) if slot != Slot::Document => Value::Json(s.clone()),
        (A::Bool(b), T::Bool) => Value::Bool(*b),
        (A::N(n), T::Json) => Value::Json(n.clone()),
        (A::N(n), _) => from_number(n, ty, slot)?,
        (A::B(b), T::Bytes) => Value::Bytes(b.as_ref().to_vec()),
        (A::B(b), T::Uuid) => Value::Uuid(b.as_ref().try_into().ok()?),
        (A::L(items), T::Array(of)) => {
            Value::Array(items.iter().map(|a| decode(Some(a), of, Slot::Free)).collect::<Option<_>>()?)
        }
        (A::Ss(items), T::Array(of)) => set(items.iter().map(|s| A::S(s.clone())), of)?,
        (A::Ns(items), T::Array(of)) => set(items.iter().map(|n| A::N(n.clone())), of)?,
        (A::Bs(items), T::Array(of)) => set(items.iter().map(|b| A::B(b.clone())), of)?,
        (document, T::Json) => Value::Json(documents::to_json(document)?),
        _ => return None,
    })
}

/// An attribute as text: strings and digits as they are, everything else as JSON.
pub(super) fn as_text(attribute: Option<&AttributeValue>) -> Value {
    use AttributeValue as A;
    match attribute {
        None | Some(A::Null(_)) => Value::Null,
        Some(A::S(text) | A::N(text)) => Value::Text(text.clone()),
        Some(other) => rest::json(other).map_or(Value::Null, Value::Text),
    }
}

/// A set has no order: sorted, so that it is the same list each time.
fn set(items: impl Iterator<Item = AttributeValue>, of: &ColumnType) -> Option<Value> {
    let mut items = items.map(|a| decode(Some(&a), of, Slot::Free)).collect::<Option<Vec<_>>>()?;
    items.sort_by(Value::key_order);
    Some(Value::Array(items))
}

/// The bytes of an attribute as DynamoDB counts them; never less than that.
pub(super) fn size(attribute: &AttributeValue) -> usize {
    use AttributeValue as A;
    match attribute {
        A::S(s) => s.len(),
        A::N(n) => number_size(n),
        A::B(b) => b.as_ref().len(),
        A::Bool(_) | A::Null(_) => 1,
        A::L(items) => 3 + items.iter().map(|a| 1 + size(a)).sum::<usize>(),
        A::M(map) => 3 + map.iter().map(|(k, a)| 1 + k.len() + size(a)).sum::<usize>(),
        A::Ss(items) => items.iter().map(String::len).sum(),
        A::Ns(items) => items.iter().map(|n| number_size(n)).sum(),
        A::Bs(items) => items.iter().map(|b| b.as_ref().len()).sum(),
        _ => 0,
    }
}

/// About a byte per two digits, and one.
fn number_size(n: &str) -> usize {
    let digits =
        n.trim_start_matches(['-', '0', '.']).trim_end_matches(['0', '.']).bytes().filter(u8::is_ascii_digit).count();
    digits.div_ceil(2) + 1 + usize::from(n.starts_with('-'))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_at_the_limits() {
        let (large, small) = ("9".repeat(38) + &"0".repeat(88), format!("0.{}1", "0".repeat(129)));
        for kept in [large.as_str(), small.as_str(), "0", "0.000", "-1.50", "0.0000000001"] {
            assert_eq!(is_kept(&d(kept)), Ok(()), "{kept}");
        }
        for not in [
            "9".repeat(39),
            format!("1{}", "0".repeat(126)),
            format!("0.{}1", "0".repeat(130)),
            "NaN".to_owned(),
            "Infinity".to_owned(),
        ] {
            assert!(is_kept(&d(&not)).is_err(), "{not}");
        }
        for f in [f64::NAN, f64::INFINITY, -0.0, 1e300, 5e-324] {
            assert!(encode(&Value::Float64(f), Slot::Free).is_err(), "{f}");
        }
    }

    #[test]
    fn what_is_near_is_not_taken() {
        let n = |t: &str| AttributeValue::N(t.to_owned());
        let two = ColumnType::Decimal { precision: Some((12, 2)) };
        assert_eq!(decode(Some(&n("1.5")), &two, Slot::Free), Some(Value::Decimal(d("1.50"))));
        assert_eq!(decode(Some(&n("1E+2")), &two, Slot::Free), Some(Value::Decimal(d("100.00"))));
        assert_eq!(decode(Some(&n("1.505")), &two, Slot::Free), Some(Value::Decimal(d("1.505"))), "never rounded");
        assert_eq!(decode(Some(&n("1.5")), &ColumnType::INT64, Slot::Free), None);
        assert_eq!(decode(Some(&n("9223372036854775808")), &ColumnType::INT64, Slot::Free), None);
        assert_eq!(decode(Some(&n("0.1")), &ColumnType::Float64, Slot::Free), Some(Value::Float64(0.1)));
        assert_eq!(
            decode(Some(&n("0.10000000000000000001")), &ColumnType::Float64, Slot::Free),
            None,
            "no float has these digits"
        );
        assert_eq!(decode(Some(&n("0.1")), &ColumnType::Float32, Slot::Free), Some(Value::Float32(0.1)));
        assert_eq!(decode(Some(&AttributeValue::S("1".to_owned())), &ColumnType::INT64, Slot::Free), None);
        assert_eq!(decode(Some(&AttributeValue::Null(true)), &ColumnType::INT64, Slot::Free), Some(Value::Null));
    }

    #[test]
    fn an_expiry_is_of_whole_seconds() {
        let strict = Slot::Expiry { rounded: false };
        assert_eq!(encode(&Value::TimestampTz(5_000_000), strict), Ok(Some(AttributeValue::N("5".to_owned()))));
        assert!(encode(&Value::TimestampTz(5_000_001), strict).is_err());
        assert_eq!(
            encode(&Value::TimestampTz(5_000_001), Slot::Expiry { rounded: true }),
            Ok(Some(AttributeValue::N("6".to_owned()))),
            "never earlier"
        );
        assert_eq!(
            decode(Some(&AttributeValue::N("5".to_owned())), &ColumnType::TimestampTz, strict),
            Some(Value::TimestampTz(5_000_000))
        );
    }
}
