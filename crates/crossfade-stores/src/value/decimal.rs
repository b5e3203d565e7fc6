//! Decimals of any precision, as their digits.

use std::{cmp::Ordering, fmt, str::FromStr};

use super::Narrow;

/// An exact decimal number with its scale (`1.50` keeps its zero), or one of PostgreSQL's `NaN`, `Infinity`, `-Infinity`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Decimal {
    /// `-?digits(.digits)?` without leading zeros before the last integer digit and without `-0`; or `NaN`, `Infinity`, `-Infinity`.
    text: String,
}

/// The text is no decimal number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a decimal number")]
pub struct DecimalError;

/// Beyond this, an exponent is an attack and not a number (PostgreSQL stops at 131,072 digits).
const MOST_DIGITS: i64 = 200_000;

impl Decimal {
    /// The digits, with the scale.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// Whether it is a number, and not `NaN` or an infinity.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        !matches!(self.text.as_str(), "NaN" | "Infinity" | "-Infinity")
    }

    /// Sign, integer digits, fraction digits; for finite ones.
    fn parts(&self) -> (bool, &str, &str) {
        let (negative, digits) = match self.text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, self.text.as_str()),
        };
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        (negative, integer, fraction)
    }

    /// Digits after the point, as written.
    #[must_use]
    pub fn scale(&self) -> usize {
        if self.is_finite() { self.parts().2.len() } else { 0 }
    }

    /// How many digits count: without leading zeros and without zeros at the end, of either side of the point.
    #[must_use]
    pub fn significant_digits(&self) -> usize {
        if !self.is_finite() {
            return 0;
        }
        let (_, integer, fraction) = self.parts();
        let all: String = format!("{integer}{fraction}");
        all.trim_start_matches('0').trim_end_matches('0').len()
    }

    /// Without zeros at the end of the fraction.
    #[must_use]
    pub fn trimmed(&self) -> Decimal {
        if self.text.contains('.') {
            Decimal { text: self.text.trim_end_matches('0').trim_end_matches('.').to_owned() }.without_negative_zero()
        } else {
            self.clone()
        }
    }

    /// With at most `scale` digits after the point (before it, where negative). `None` where `by` refuses what that would lose.
    #[must_use]
    pub fn with_scale(&self, scale: i64, by: Narrow) -> Option<Decimal> {
        if !self.is_finite() {
            return Some(self.clone());
        }
        let (negative, integer, fraction) = self.parts();
        let mut digits = format!("{integer}{fraction}").into_bytes();
        let kept = i64::try_from(integer.len()).ok()? + scale;
        if kept >= i64::try_from(digits.len()).ok()? {
            return Some(self.clone());
        }
        let kept = match usize::try_from(kept) {
            Ok(kept) => kept,
            Err(_) => {
                digits.splice(0..0, std::iter::repeat_n(b'0', usize::try_from(-kept).ok()?));
                0
            }
        };
        let lost = digits.split_off(kept);
        let lossless = lost.iter().all(|digit| *digit == b'0');
        if by == Narrow::Refuse && !lossless {
            return None;
        }
        if by == Narrow::Round && lost.first().is_some_and(|digit| *digit >= b'5') {
            let nines = digits.iter().rev().take_while(|digit| **digit == b'9').count();
            let at = digits.len() - nines;
            digits[at..].fill(b'0');
            match at.checked_sub(1) {
                Some(before) => digits[before] += 1,
                None => digits.insert(0, b'1'),
            }
        }
        let sign = if negative { "-" } else { "" };
        let digits = String::from_utf8(digits).ok()?;
        format!("{sign}0{digits}e{}", -scale).parse().ok()
    }

    /// With at most `most` significant digits.
    #[must_use]
    pub fn with_digits(&self, most: u32, by: Narrow) -> Option<Decimal> {
        if !self.is_finite() || self.significant_digits() <= most as usize {
            return Some(self.clone());
        }
        let (_, integer, fraction) = self.parts();
        // 0 where the first digit that counts stands right before the point.
        let first = match integer.trim_start_matches('0').len() {
            0 => -1 - i64::try_from(fraction.len() - fraction.trim_start_matches('0').len()).ok()?,
            digits => i64::try_from(digits).ok()? - 1,
        };
        self.with_scale(i64::from(most) - 1 - first, by)
    }

    /// Digits before the point, without leading zeros.
    #[must_use]
    pub fn integer_digits(&self) -> usize {
        if self.is_finite() { self.parts().1.trim_start_matches('0').len() } else { 0 }
    }

    fn without_negative_zero(mut self) -> Decimal {
        if self.text.starts_with('-') && self.text.bytes().all(|b| matches!(b, b'-' | b'0' | b'.')) {
            self.text.remove(0);
        }
        self
    }

    /// Whether both are the same number, whatever their scale.
    #[must_use]
    pub fn same_number(&self, other: &Decimal) -> bool {
        self.order(other).is_eq()
    }

    /// By size; `NaN` is above everything, as in PostgreSQL.
    #[must_use]
    pub fn order(&self, other: &Decimal) -> Ordering {
        let class = |d: &Decimal| match d.text.as_str() {
            "-Infinity" => 0,
            "Infinity" => 2,
            "NaN" => 3,
            _ => 1,
        };
        if class(self) != 1 || class(other) != 1 {
            return class(self).cmp(&class(other));
        }
        let ((n1, i1, f1), (n2, i2, f2)) = (self.parts(), other.parts());
        let magnitude = i1
            .len()
            .cmp(&i2.len())
            .then_with(|| i1.cmp(i2))
            .then_with(|| f1.trim_end_matches('0').cmp(f2.trim_end_matches('0')));
        match (n1, n2) {
            (false, false) => magnitude,
            (true, true) => magnitude.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<i64> for Decimal {
    fn from(n: i64) -> Self {
        Decimal { text: n.to_string() }
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        match text {
            "NaN" | "Infinity" | "-Infinity" => return Ok(Decimal { text: text.to_owned() }),
            _ => {}
        }
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse::<i64>().map_err(|_| DecimalError)?),
            None => (rest, 0),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if integer.is_empty() && fraction.is_empty()
            || !integer.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
            || !(-MOST_DIGITS..=MOST_DIGITS).contains(&exponent)
        {
            return Err(DecimalError);
        }
        let mut digits = format!("{integer}{fraction}");
        let scale = i64::try_from(fraction.len()).map_err(|_| DecimalError)? - exponent;
        let scale = if scale < 0 {
            for _ in 0..-scale {
                digits.push('0');
            }
            0
        } else {
            usize::try_from(scale).map_err(|_| DecimalError)?
        };
        if digits.len() <= scale {
            digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
        }
        let (integer, fraction) = digits.split_at(digits.len() - scale);
        let integer = integer.trim_start_matches('0');
        let mut out = String::with_capacity(digits.len() + 2);
        if negative {
            out.push('-');
        }
        out.push_str(if integer.is_empty() { "0" } else { integer });
        if scale > 0 {
            out.push('.');
            out.push_str(fraction);
        }
        Ok(Decimal { text: out }.without_negative_zero())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn digits_are_rounded_half_away_from_zero_or_cut_or_refused() {
        let d = |t: &str| t.parse::<Decimal>().unwrap();
        for (from, scale, round, cut) in [
            ("9.875", 2, "9.88", "9.87"),
            ("-1.235", 2, "-1.24", "-1.23"),
            ("0.994", 2, "0.99", "0.99"),
            ("99.995", 2, "100.00", "99.99"),
            ("-0.004", 2, "0.00", "0.00"),
            ("0.5", 0, "1", "0"),
            ("1499", -3, "1000", "1000"),
            ("600", -3, "1000", "0"),
            ("60", -3, "0", "0"),
            ("-60", -3, "0", "0"),
        ] {
            let by = |by| d(from).with_scale(scale, by).map(|d| d.as_text().to_owned());
            assert_eq!(by(Narrow::Round).as_deref(), Some(round), "{from}");
            assert_eq!(by(Narrow::Truncate).as_deref(), Some(cut), "{from}");
            assert_eq!(by(Narrow::Refuse), None, "{from}");
        }
        assert_eq!(d("1.500").with_scale(1, Narrow::Refuse), Some(d("1.5")));
        assert_eq!(d("1.5").with_scale(3, Narrow::Refuse), Some(d("1.5")));
        for (from, round) in
            [("12345", "12300"), ("0.0012355", "0.00124"), ("9996", "10000"), ("99.95", "100.0"), ("123", "123")]
        {
            assert_eq!(d(from).with_digits(3, Narrow::Round), Some(d(round)), "{from}");
        }
    }

    #[test]
    fn digits_are_kept_and_compared_by_size() {
        let d = |t: &str| t.parse::<Decimal>().unwrap();
        for (from, to) in [
            ("007.10", "7.10"),
            ("-0.00", "0.00"),
            (".5", "0.5"),
            ("1e3", "1000"),
            ("12e-3", "0.012"),
            ("+4", "4"),
            ("1.5E1", "15"),
        ] {
            assert_eq!(d(from).as_text(), to, "{from}");
        }
        let ascending =
            ["-Infinity", "-10", "-9.99", "-9.9", "0", "0.000001", "1", "1.01", "1.1", "9", "10", "Infinity", "NaN"];
        for pair in ascending.windows(2) {
            assert_eq!(d(pair[0]).order(&d(pair[1])), Ordering::Less, "{pair:?}");
        }
        assert!(d("1.50").same_number(&d("1.5")) && d("1.50") != d("1.5"));
        assert_eq!((d("00120.500").significant_digits(), d("1200").trimmed().as_text()), (4, "1200"));
        for wrong in ["", "-", "1.2.3", "x", "1e", "1e999999", "1e-9223372036854775808", "--1", "1 "] {
            assert!(wrong.parse::<Decimal>().is_err(), "{wrong}");
        }
    }
}
