//! How rows are kept: a hash with a field per column, each in its text form (bytes as they are), or a string with a JSON object.
//! Null is a field that is not there; JSON's `null` reads as null, too, except in a json column, where it is a value.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::{Column, ColumnType, Fit, Value, value::canonical_json};

pub(super) fn fit(wanted: &ColumnType, _: Option<&Column>) -> Fit {
    match wanted {
        ColumnType::Native { .. } => {
            Fit::Refused("a type that only one engine knows: ignore the column, or convert it in the source")
        }
        ColumnType::Array(of) => match **of {
            ColumnType::Native { .. } | ColumnType::Array(_) => Fit::Refused("a list of a type that is not kept"),
            _ => Fit::Lossless,
        },
        _ => Fit::Lossless,
    }
}

/// The field of a hash; `None` for null.
pub(super) fn to_field(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Bytes(b) => Some(b.clone()),
        other => other.to_text().map(String::into_bytes),
    }
}

/// `None` if the field is no value of that type.
pub(super) fn from_field(field: &[u8], ty: &ColumnType) -> Option<Value> {
    match ty {
        ColumnType::Bytes => Some(Value::Bytes(field.to_vec())),
        ty => Value::from_text(ty, std::str::from_utf8(field).ok()?),
    }
}

/// A member of a JSON object, as JSON text; `None` if it cannot be one.
pub(super) fn to_json(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Decimal(d) if d.is_finite() => d.as_text().to_owned(),
        Value::Float32(f) if f.is_finite() => format!("{f:?}"),
        Value::Float64(f) if f.is_finite() => format!("{f:?}"),
        // As it is, so that it is part of the document.
        Value::Json(t) => {
            canonical_json(t).ok()?;
            t.clone()
        }
        Value::Array(items) => format!("[{}]", items.iter().map(to_json).collect::<Option<Vec<_>>>()?.join(",")),
        other => serde_json::to_string(&other.to_text()?).ok()?,
    })
}

/// A member of a JSON object; `None` if it is no value of that type.
pub(super) fn from_json(raw: &str, ty: &ColumnType) -> Option<Value> {
    let raw = raw.trim();
    match ty {
        ColumnType::Json => return Some(Value::Json(raw.to_owned())),
        _ if raw == "null" => return Some(Value::Null),
        ColumnType::Array(of) => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(raw).ok()?;
            return items.iter().map(|i| from_json(i.get(), of)).collect::<Option<_>>().map(Value::Array);
        }
        _ => {}
    }
    if raw.starts_with('"') {
        let text: String = serde_json::from_str(raw).ok()?;
        // A number as a string is another value; NaN and the infinities have no other form.
        return match ty {
            ColumnType::Bool | ColumnType::Int { .. } | ColumnType::Uint64 => None,
            ColumnType::Decimal { .. } | ColumnType::Float32 | ColumnType::Float64
                if !matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") =>
            {
                None
            }
            ty => Value::from_text(ty, &text),
        };
    }
    match ty {
        ColumnType::Bool if matches!(raw, "true" | "false") => Value::from_text(ty, raw),
        ColumnType::Int { .. } | ColumnType::Uint64 | ColumnType::Decimal { .. } => Value::from_text(ty, raw),
        // What is not the shortest form of a float would change on its way.
        ColumnType::Float32 | ColumnType::Float64 => {
            let value = Value::from_text(ty, raw)?;
            let (short, given) =
                (to_json(&value)?.parse::<crate::Decimal>().ok()?, raw.parse::<crate::Decimal>().ok()?);
            short.same_number(&given).then_some(value)
        }
        _ => None,
    }
}

/// An object's members as they stand; `None` if the text is no object.
pub(super) fn members(text: &[u8]) -> Option<HashMap<String, Box<RawValue>>> {
    serde_json::from_slice(text).ok()
}

/// The object with some members put or, for nulls, taken out, and all others as they are; in the order of their names.
pub(super) fn object(mut members: HashMap<String, Box<RawValue>>, put: Vec<(&str, Option<String>)>) -> Option<String> {
    for (name, json) in put {
        match json {
            Some(json) => members.insert(name.to_owned(), RawValue::from_string(json).ok()?),
            None => members.remove(name),
        };
    }
    let sorted: std::collections::BTreeMap<&String, &Box<RawValue>> = members.iter().collect();
    serde_json::to_string(&sorted).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_in_json() {
        let decimal: Value = Value::Decimal("12345678901234567890123456789.10".parse().unwrap());
        let text = object(
            HashMap::new(),
            vec![("d", to_json(&decimal)), ("j", to_json(&Value::Json("{\"a\": 1.0}".to_owned()))), ("n", None)],
        )
        .unwrap();
        assert_eq!(text, "{\"d\":12345678901234567890123456789.10,\"j\":{\"a\": 1.0}}");
        let members = members(text.as_bytes()).unwrap();
        assert_eq!(from_json(members["d"].get(), &ColumnType::DECIMAL), Some(decimal));
        assert_eq!(from_json(members["j"].get(), &ColumnType::Json), Some(Value::Json("{\"a\": 1.0}".to_owned())));
    }

    #[test]
    fn what_is_near_is_not_taken() {
        for (raw, ty) in [
            ("\"1\"", ColumnType::INT64),
            ("1.5", ColumnType::INT64),
            ("1", ColumnType::TEXT),
            ("0.10000000000000000001", ColumnType::Float64),
            ("1", ColumnType::Bool),
        ] {
            assert_eq!(from_json(raw, &ty), None, "{raw} {ty}");
        }
        assert_eq!(from_json("\"NaN\"", &ColumnType::Float64), Some(Value::Float64(f64::NAN)));
        assert_eq!(from_field(b"1e3", &ColumnType::INT64), None);
    }
}
