//! Keys and values as JSON, and the digest that names a row where its key must not be printed.

use std::fmt::Write as _;

use super::{RowKey, Value};

impl Value {
    /// As a JSON text: numbers that JSON readers keep as numbers, everything else as strings.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        // Writing into a String cannot fail.
        let _ = match self {
            Value::Null => write!(out, "null"),
            Value::Bool(b) => write!(out, "{b}"),
            Value::Int(n) => write!(out, "{n}"),
            Value::Uint(n) => write!(out, "{n}"),
            Value::Decimal(d) => write!(out, "\"{d}\""),
            Value::Float32(f) => write!(out, "\"{f:?}\""),
            Value::Float64(f) => write!(out, "\"{f:?}\""),
            Value::Text(s) | Value::Enum(s) | Value::Json(s) => {
                quote(s, out);
                Ok(())
            }
            Value::Bytes(b) | Value::Native(b) => {
                out.push('"');
                for byte in b {
                    let _ = write!(out, "{byte:02x}");
                }
                out.push('"');
                Ok(())
            }
            Value::Uuid(u) => write!(out, "\"{}\"", uuid_text(u)),
            Value::Date(n) => write!(out, "{n}"),
            Value::Time(n) | Value::Timestamp(n) | Value::TimestampTz(n) => write!(out, "{n}"),
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
                Ok(())
            }
        };
    }
}

fn quote(s: &str, out: &mut String) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `8-4-4-4-12`
#[must_use]
pub fn uuid_text(u: &[u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (i, b) in u.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{b:02x}");
    }
    out
}

/// Reads `8-4-4-4-12`, or 32 hex digits.
#[must_use]
pub fn uuid_from_text(text: &str) -> Option<[u8; 16]> {
    let mut out = [0u8; 16];
    let mut digits = text.bytes().filter(|b| *b != b'-').map(|b| char::from(b).to_digit(16));
    for slot in &mut out {
        let (high, low) = (digits.next()??, digits.next()??);
        *slot = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(out)
}

impl RowKey {
    /// The key as a JSON array of its values, for `--keys` files.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::from("[");
        for (i, v) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            v.write_json(&mut out);
        }
        out.push(']');
        out
    }

    /// A short name of the row for logs and errors that does not give its key away.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(self.to_json().as_bytes()))
    }
}
