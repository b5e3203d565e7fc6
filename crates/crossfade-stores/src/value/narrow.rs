//! Bringing a value down to what a narrower column keeps, before it is written: so that what is written, and what is compared, are the same.

use super::Value;
use crate::{Blanks, ColumnType, Limits};

/// What becomes of a value that its column cannot hold whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Narrow {
    /// The row is refused.
    Refuse,
    /// The nearest value that the column holds; halves away from zero.
    Round,
    /// What is too much is cut off.
    Truncate,
}

const SECOND: i64 = 1_000_000;

impl Value {
    /// This value as a column of type `to` with these limits keeps it; `None` where `by` does not allow it, or nothing of the kind fits.
    #[must_use]
    pub fn narrow(self, to: &ColumnType, limits: &Limits, by: Narrow) -> Option<Value> {
        Some(match (self, to) {
            (Value::Decimal(d), ColumnType::Decimal { precision }) => {
                let mut d = d;
                if let Some((precision, scale)) = precision {
                    d = d.with_scale(i64::from(*scale), by)?;
                    let most = i64::from(*precision) - i64::from(*scale);
                    if i64::try_from(d.integer_digits()).ok()? > most.max(0) {
                        return None;
                    }
                }
                match limits.digits {
                    Some(most) => Value::Decimal(d.with_digits(most, by)?),
                    None => Value::Decimal(d),
                }
            }
            #[expect(clippy::cast_possible_truncation, reason = "the nearest float is what is asked for")]
            (Value::Float64(f), ColumnType::Float32) => {
                let short = f as f32;
                let exact = f64::from(short).to_bits() == f.to_bits() || f.is_nan();
                match by {
                    Narrow::Refuse if !exact => return None,
                    // Cutting bits off is no word that the file has.
                    Narrow::Truncate if !exact => return None,
                    _ if short.is_infinite() && f.is_finite() => return None,
                    _ => Value::Float32(short),
                }
            }
            (Value::Time(n), _) => Value::Time(moment(n, limits, by)?),
            (Value::Timestamp(n), _) => Value::Timestamp(moment(n, limits, by)?),
            (Value::TimestampTz(n), _) => Value::TimestampTz(moment(n, limits, by)?),
            (Value::Text(s), ColumnType::Text { max }) => Value::Text(text(s, *max, limits, by)?),
            (Value::Bytes(b), _) => match limits.exact_bytes {
                Some(length) if b.len() != length as usize => return None,
                _ => Value::Bytes(b),
            },
            (other, _) => other,
        })
    }
}

fn moment(n: i64, limits: &Limits, by: Narrow) -> Option<i64> {
    let Some(digits) = limits.fraction.filter(|digits| *digits < 6) else { return Some(n) };
    let unit = SECOND / 10_i64.pow(digits);
    let over = n.rem_euclid(unit);
    if over == 0 || matches!(n, i64::MAX | i64::MIN) {
        return Some(n);
    }
    match by {
        Narrow::Refuse => None,
        Narrow::Round if limits.upwards || over * 2 >= unit => n.checked_add(unit - over),
        Narrow::Round | Narrow::Truncate => n.checked_sub(over),
    }
}

fn text(s: String, max: Option<u32>, limits: &Limits, by: Narrow) -> Option<String> {
    let mut kept = s.as_str();
    if let Some((at, _)) = max.and_then(|max| kept.char_indices().nth(max as usize)) {
        kept = &kept[..at];
    }
    if let Some(bytes) = limits.text_bytes
        && kept.len() > bytes as usize
    {
        let end = (0..=bytes as usize).rev().find(|at| kept.is_char_boundary(*at)).unwrap_or(0);
        kept = &kept[..end];
    }
    let kept = match limits.blanks {
        Blanks::Kept => kept.to_owned(),
        Blanks::Dropped => kept.trim_end_matches(' ').to_owned(),
        Blanks::Padded(to) => {
            let missing = (to as usize).saturating_sub(kept.chars().count());
            format!("{kept}{}", " ".repeat(missing))
        }
    };
    (by != Narrow::Refuse || kept == s).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_texts_are_brought_down() {
        let millis = Limits { fraction: Some(3), ..Limits::default() };
        let at = |n, limits: &Limits, by| Value::Timestamp(n).narrow(&ColumnType::Timestamp, limits, by);
        assert_eq!(at(1_499, &millis, Narrow::Round), Some(Value::Timestamp(1_000)));
        assert_eq!(at(1_500, &millis, Narrow::Round), Some(Value::Timestamp(2_000)));
        assert_eq!(at(-1, &millis, Narrow::Truncate), Some(Value::Timestamp(-1_000)), "back in time, also before 1970");
        assert_eq!(at(1, &millis, Narrow::Refuse), None);
        assert_eq!(at(2_000, &millis, Narrow::Refuse), Some(Value::Timestamp(2_000)));
        let expiry = Limits { fraction: Some(0), upwards: true, ..Limits::default() };
        assert_eq!(at(1, &expiry, Narrow::Round), Some(Value::Timestamp(SECOND)));
        let text = |t: &str, max, limits: Limits, by| {
            Value::Text(t.to_owned()).narrow(&ColumnType::Text { max }, &limits, by).and_then(|v| v.to_text())
        };
        let all = Limits::default();
        assert_eq!(text("äöü", Some(2), all, Narrow::Truncate).as_deref(), Some("äö"));
        assert_eq!(text("äöü", Some(2), all, Narrow::Refuse), None);
        assert_eq!(text("äöü", None, Limits { text_bytes: Some(3), ..all }, Narrow::Truncate).as_deref(), Some("ä"));
        assert_eq!(text("a ", None, Limits { blanks: Blanks::Dropped, ..all }, Narrow::Truncate).as_deref(), Some("a"));
        assert_eq!(text("a", None, Limits { blanks: Blanks::Padded(3), ..all }, Narrow::Refuse), None);
        assert_eq!(
            text("a", None, Limits { blanks: Blanks::Padded(3), ..all }, Narrow::Truncate).as_deref(),
            Some("a  ")
        );
    }
}
