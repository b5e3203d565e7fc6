//! The one text form of every value, for text columns, key templates, hash fields and literals.

use super::{Value, show};
use crate::ColumnType;

const DAY_MICROS: i64 = 86_400_000_000;

/// Year, month, day of a day number since 1970-01-01 (Howard Hinnant's `civil_from_days`).
pub(crate) fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

/// The day number of a date, if it is one.
pub(crate) fn days(year: i64, month: u32, day: u32) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(-300_000..=300_000).contains(&year) {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let m = i64::from(month);
    let doy = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + i64::from(day) - 1;
    let found = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    (civil(found) == (year, month, day)).then_some(found)
}

fn date_text(days: i64) -> String {
    let (year, month, day) = civil(days);
    if (0..=9_999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:+07}-{month:02}-{day:02}")
    }
}

fn time_text(micros: i64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    format!("{:02}:{:02}:{:02}.{micros:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn moment_text(micros: i64) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => usual(micros).unwrap_or_else(|| {
            format!("{} {}", date_text(micros.div_euclid(DAY_MICROS)), time_text(micros.rem_euclid(DAY_MICROS)))
        }),
    }
}

/// The same for years of four digits, digit by digit: `format!` would be a tenth of what it takes to copy a row.
fn usual(micros: i64) -> Option<String> {
    let (year, month, day) = civil(micros.div_euclid(DAY_MICROS));
    let year = u32::try_from(year).ok().filter(|year| *year <= 9_999)?;
    let time = micros.rem_euclid(DAY_MICROS);
    let (seconds, fraction) = (u32::try_from(time / 1_000_000).ok()?, u32::try_from(time % 1_000_000).ok()?);
    let mut text = String::with_capacity(27);
    let mut put = |number: u32, digits: u32, then: &str| {
        for place in (0..digits).rev() {
            text.push(char::from_digit(number / 10_u32.pow(place) % 10, 10)?);
        }
        text.push_str(then);
        Some(())
    };
    put(year, 4, "-")?;
    put(month, 2, "-")?;
    put(day, 2, " ")?;
    put(seconds / 3_600, 2, ":")?;
    put(seconds / 60 % 60, 2, ":")?;
    put(seconds % 60, 2, ".")?;
    put(fraction, 6, "")?;
    Some(text)
}

fn date_from(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let mut parts = digits.split('-');
    let (y, m, d) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || y.len() < 4 || m.len() != 2 || d.len() != 2 {
        return None;
    }
    days(sign * y.parse::<i64>().ok()?, m.parse().ok()?, d.parse().ok()?)
}

fn time_from(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let (h, m, s) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    let (h, m, s): (i64, i64, i64) = (h.parse().ok()?, m.parse().ok()?, s.parse().ok()?);
    if parts.next().is_some()
        || fraction.len() > 6
        || !(0..=24).contains(&h)
        || !(0..60).contains(&m)
        || !(0..60).contains(&s)
    {
        return None;
    }
    let micros: i64 = if fraction.is_empty() { 0 } else { format!("{fraction:0<6}").parse().ok()? };
    let all = ((h * 60 + m) * 60 + s) * 1_000_000 + micros;
    (all <= DAY_MICROS).then_some(all)
}

fn moment_from(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let time = time_from(time)?;
    if time == DAY_MICROS {
        return None;
    }
    date_from(date)?.checked_mul(DAY_MICROS)?.checked_add(time)
}

impl Value {
    /// The text form; `None` for null. Exact: [`Value::from_text`] with the same type gives the value back.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Value::Null => return None,
            Value::Bool(b) => b.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Uint(n) => n.to_string(),
            Value::Decimal(d) => d.as_text().to_owned(),
            Value::Float32(f) => float_text(f64::from(*f), format!("{f:?}")),
            Value::Float64(f) => float_text(*f, format!("{f:?}")),
            Value::Text(s) | Value::Json(s) | Value::Enum(s) => s.clone(),
            Value::Bytes(b) | Value::Native(b) => hex(b),
            Value::Uuid(u) => show::uuid_text(u),
            Value::Date(i32::MAX) => "infinity".to_owned(),
            Value::Date(i32::MIN) => "-infinity".to_owned(),
            Value::Date(n) => date_text(i64::from(*n)),
            Value::Time(n) => time_text(*n),
            Value::Timestamp(n) => moment_text(*n),
            Value::TimestampTz(n) => match *n {
                i64::MAX | i64::MIN => moment_text(*n),
                _ => format!("{}Z", moment_text(*n)),
            },
            Value::Array(items) => {
                let texts: Vec<Option<String>> = items.iter().map(Value::to_text).collect();
                // A list of texts is always JSON.
                serde_json::to_string(&texts).unwrap_or_default()
            }
        })
    }

    /// Reads the text form of a value of type `ty`; `None` if it is not one. Takes no near misses: `1e3` is no integer.
    #[must_use]
    pub fn from_text(ty: &ColumnType, text: &str) -> Option<Value> {
        Some(match ty {
            ColumnType::Bool => Value::Bool(match text {
                "true" | "t" | "1" => true,
                "false" | "f" | "0" => false,
                _ => return None,
            }),
            ColumnType::Int { bits } => {
                let n: i64 = text.parse().ok()?;
                let fits = match bits {
                    16 => i16::try_from(n).is_ok(),
                    32 => i32::try_from(n).is_ok(),
                    _ => true,
                };
                fits.then_some(Value::Int(n))?
            }
            ColumnType::Uint64 => Value::Uint(text.parse().ok()?),
            ColumnType::Decimal { .. } => Value::Decimal(text.parse().ok()?),
            ColumnType::Float32 => Value::Float32(text.parse().ok()?),
            ColumnType::Float64 => Value::Float64(text.parse().ok()?),
            ColumnType::Text { .. } => Value::Text(text.to_owned()),
            ColumnType::Json => Value::Json(text.to_owned()),
            ColumnType::Enum { .. } => Value::Enum(text.to_owned()),
            ColumnType::Bytes => Value::Bytes(unhex(text)?),
            ColumnType::Native { .. } => Value::Native(unhex(text)?),
            ColumnType::Uuid => Value::Uuid(show::uuid_from_text(text)?),
            ColumnType::Date => Value::Date(match text {
                "infinity" => i32::MAX,
                "-infinity" => i32::MIN,
                _ => i32::try_from(date_from(text)?).ok()?,
            }),
            ColumnType::Time => Value::Time(time_from(text)?),
            ColumnType::Timestamp => Value::Timestamp(moment_from(text)?),
            ColumnType::TimestampTz => {
                let text = text
                    .strip_suffix('Z')
                    .or_else(|| text.strip_suffix("+00"))
                    .or_else(|| text.strip_suffix("+00:00"))
                    .unwrap_or(text);
                Value::TimestampTz(moment_from(text)?)
            }
            ColumnType::Array(of) => {
                let texts: Vec<Option<String>> = serde_json::from_str(text).ok()?;
                let items: Option<Vec<Value>> =
                    texts.iter().map(|t| t.as_ref().map_or(Some(Value::Null), |t| Value::from_text(of, t))).collect();
                Value::Array(items?)
            }
        })
    }
}

fn float_text(value: f64, shortest: String) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else {
        shortest
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
    out
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|p| {
            let (high, low) = (char::from(p[0]).to_digit(16)?, char::from(p[1]).to_digit(16)?);
            u8::try_from(high * 16 + low).ok()
        })
        .collect()
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::conformance::{all_types, samples};

    #[test]
    fn every_sample_survives_its_text_form() {
        for ty in all_types() {
            let mut values = samples(&ty);
            if ty == ColumnType::Float64 {
                values.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Value::Float64));
            }
            if ty == ColumnType::TimestampTz {
                values.extend(
                    [i64::MAX, i64::MIN, 253_402_300_800_000_000, -62_135_596_800_000_001].map(Value::TimestampTz),
                );
                // The first and the last moment that has four digits for the year.
                values.extend([-62_167_219_200_000_000, 253_402_300_799_999_999].map(Value::TimestampTz));
            }
            for v in values {
                let text = v.to_text().unwrap_or_default();
                assert_eq!(Value::from_text(&ty, &text), Some(v), "{ty} {text}");
            }
        }
    }

    #[test]
    fn dates_that_are_none_are_refused() {
        for wrong in ["2023-02-29", "2023-13-01", "2023-1-1", "", "23-01-01", "2023-01-01-01"] {
            assert_eq!(Value::from_text(&ColumnType::Date, wrong), None, "{wrong}");
        }
        assert_eq!(
            Value::from_text(&ColumnType::Timestamp, "2023-11-14T22:13:20.5"),
            Some(Value::Timestamp(1_700_000_000_500_000))
        );
    }
}
