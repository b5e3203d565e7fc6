//! Values at the edges of each type.

use crate::{ColumnType, Decimal, Value};

/// Every type a store may be asked to keep, but for the engines' own.
#[must_use]
pub fn all_types() -> Vec<ColumnType> {
    vec![
        ColumnType::Bool,
        ColumnType::Int { bits: 16 },
        ColumnType::Int { bits: 32 },
        ColumnType::INT64,
        ColumnType::Uint64,
        ColumnType::DECIMAL,
        ColumnType::Decimal { precision: Some((12, 2)) },
        ColumnType::Float32,
        ColumnType::Float64,
        ColumnType::TEXT,
        ColumnType::Text { max: Some(40) },
        ColumnType::Bytes,
        ColumnType::Uuid,
        ColumnType::Date,
        ColumnType::Time,
        ColumnType::Timestamp,
        ColumnType::TimestampTz,
        ColumnType::Json,
        ColumnType::Enum { labels: vec!["free".to_owned(), "paid up".to_owned(), "it's".to_owned()] },
        ColumnType::Array(Box::new(ColumnType::TEXT)),
        ColumnType::Array(Box::new(ColumnType::INT64)),
    ]
}

fn decimals(texts: &[&str]) -> Vec<Value> {
    texts.iter().filter_map(|t| t.parse::<Decimal>().ok()).map(Value::Decimal).collect()
}

/// Values of a type that a store which keeps the type must give back.
#[must_use]
pub fn samples(ty: &ColumnType) -> Vec<Value> {
    let text = |t: &str| Value::Text(t.to_owned());
    match ty {
        ColumnType::Bool => vec![Value::Bool(true), Value::Bool(false)],
        ColumnType::Int { bits: 16 } => [0, 1, -1, i64::from(i16::MAX), i64::from(i16::MIN)].map(Value::Int).to_vec(),
        ColumnType::Int { bits: 32 } => [0, 1, -1, i64::from(i32::MAX), i64::from(i32::MIN)].map(Value::Int).to_vec(),
        ColumnType::Int { .. } => [0, 1, -1, 9_007_199_254_740_993, i64::MAX, i64::MIN].map(Value::Int).to_vec(),
        ColumnType::Uint64 => [0, 1, 9_007_199_254_740_993, u64::MAX].map(Value::Uint).to_vec(),
        ColumnType::Decimal { precision: None } => decimals(&[
            "0",
            "1",
            "-1",
            "10000",
            "0.0001",
            "-0.1",
            "123456789012345678901234567890.12345678",
            "99999999999999999999999999999999999999",
            "0.000000000000000000000000000001",
        ]),
        ColumnType::Decimal { .. } => decimals(&["0.00", "-1.50", "1234567890.12", "0.01"]),
        ColumnType::Float32 => [0.0, 1.5, -0.0, f32::MIN_POSITIVE, f32::MAX, 1.0e-45, 0.1].map(Value::Float32).to_vec(),
        ColumnType::Float64 => {
            [0.0, 1.5, -0.0, f64::MIN_POSITIVE, f64::MAX, 5.0e-324, 0.1, 1.0 / 3.0].map(Value::Float64).to_vec()
        }
        ColumnType::Text { max: Some(_) } => vec![text(""), text("a"), text("ünï 😀")],
        ColumnType::Text { max: None } => {
            vec![
                text(""),
                text("a"),
                text(" a "),
                text("ünï 😀 \u{301}"),
                text("line\nline\t\\N \"q\" 'q'"),
                text("\u{1}\u{7f}"),
                text(&"x".repeat(70_000)),
            ]
        }
        ColumnType::Bytes => {
            vec![
                Value::Bytes(Vec::new()),
                Value::Bytes(vec![0]),
                Value::Bytes((0..=255).collect()),
                Value::Bytes(vec![0xff, 0xfe, 0, b'\\']),
            ]
        }
        ColumnType::Uuid => {
            vec![Value::Uuid([0; 16]), Value::Uuid([0xff; 16]), Value::Uuid(std::array::from_fn(|i| i as u8 * 7))]
        }
        ColumnType::Date => [0, -1, 20_000, -141_427].map(Value::Date).to_vec(),
        ColumnType::Time => [0, 1, 86_399_999_999].map(Value::Time).to_vec(),
        ColumnType::Timestamp => [0, 1, 1_700_000_000_123_456, -1].map(Value::Timestamp).to_vec(),
        ColumnType::TimestampTz => [1, 1_700_000_000_123_456, 1_000_000].map(Value::TimestampTz).to_vec(),
        ColumnType::Json => ["{}", "null", "[1, 2.50, \"x\"]", "{\"a\": {\"b\": [true, null]}}", "\"ü\""]
            .map(|t| Value::Json(t.to_owned()))
            .to_vec(),
        ColumnType::Enum { labels } => labels.iter().map(|l| Value::Enum(l.clone())).collect(),
        ColumnType::Array(of) => {
            let all = samples(of);
            vec![
                Value::Array(Vec::new()),
                Value::Array(all[..1].to_vec()),
                Value::Array([&[Value::Null], &all[..]].concat()),
            ]
        }
        ColumnType::Native { .. } => Vec::new(),
    }
}
