//! Rows of a binary `COPY` as a database sends them, read as values of every type that a column can have. What was read and can
//! be written is the same value when it is read again.
//!
//! The input: how many columns, a byte for the type of each, then rows as `COPY` has them (fields, each its length and its bytes).
#![no_main]

mod postgres;

use crossfade_stores::{ColumnType, Decimal, Value};
use libfuzzer_sys::fuzz_target;
use postgres::Column;

fn scalar(of: u8) -> ColumnType {
    match of % 18 {
        0 => ColumnType::Bool,
        1 => ColumnType::Int { bits: 16 },
        2 => ColumnType::Int { bits: 32 },
        3 => ColumnType::Int { bits: 64 },
        4 => ColumnType::Uint64,
        5 => ColumnType::Decimal { precision: None },
        6 => ColumnType::Float32,
        7 => ColumnType::Float64,
        8 => ColumnType::Text { max: None },
        9 => ColumnType::Bytes,
        10 => ColumnType::Uuid,
        11 => ColumnType::Date,
        12 => ColumnType::Time,
        13 => ColumnType::Timestamp,
        14 => ColumnType::TimestampTz,
        15 => ColumnType::Json,
        16 => ColumnType::Enum { labels: vec!["small".to_owned(), "large".to_owned()] },
        _ => ColumnType::Native { engine: "postgres".to_owned(), name: "inet".to_owned() },
    }
}

/// The two highest bits: a list of it, and whether JSON is `jsonb`.
fn column(of: u8) -> Column {
    let scalar = scalar(of & 0x3f);
    let ty = if of & 0x80 == 0 { scalar } else { ColumnType::Array(Box::new(scalar)) };
    Column::of(ty, of & 0x40 != 0)
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(taken)
}

fn row(columns: &[Column], input: &mut &[u8]) -> Option<()> {
    let fields = i16::from_be_bytes(take(input, 2)?.try_into().ok()?);
    for at in 0..usize::try_from(fields).ok()? {
        let length = i32::from_be_bytes(take(input, 4)?.try_into().ok()?);
        let Ok(length) = usize::try_from(length) else { continue };
        let bytes = take(input, length)?;
        columns.get(at)?.read(bytes);
    }
    Some(())
}

fuzz_target!(|input: &[u8]| {
    let Some((count, mut rest)) = input.split_first() else { return };
    let Some(types) = take(&mut rest, usize::from(count % 9)) else { return };
    let columns: Vec<Column> = types.iter().map(|of| column(*of)).collect();
    while row(&columns, &mut rest).is_some() {}
});
