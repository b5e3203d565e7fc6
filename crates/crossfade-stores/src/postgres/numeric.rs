//! The binary form of `numeric`: digits to the base of 10,000.

use crate::Decimal;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

pub(super) fn decode(bytes: &[u8]) -> Option<Decimal> {
    let word = |i: usize| bytes.get(i * 2..i * 2 + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let (count, weight, sign, scale) = (usize::from(word(0)?), word(1)?.cast_signed(), word(2)?, usize::from(word(3)?));
    let mut text = String::with_capacity(count * 4 + scale + 4);
    match sign {
        POSITIVE => {}
        NEGATIVE => text.push('-'),
        NAN => return "NaN".parse().ok(),
        INFINITY => return "Infinity".parse().ok(),
        MINUS_INFINITY => return "-Infinity".parse().ok(),
        _ => return None,
    }
    if bytes.len() != 8 + count * 2 {
        return None;
    }
    let digit = |i: i32| -> Option<u16> {
        match usize::try_from(i) {
            // Four decimal digits; anything larger is not what PostgreSQL sends.
            Ok(i) if i < count => word(4 + i).filter(|digit| *digit < 10_000),
            _ => Some(0),
        }
    };
    if weight < 0 {
        text.push('0');
    }
    for i in 0..=i32::from(weight) {
        text.push_str(&format!("{:04}", digit(i)?));
    }
    if scale > 0 {
        text.push('.');
        let start = text.len();
        let mut i = i32::from(weight) + 1;
        while text.len() - start < scale {
            text.push_str(&format!("{:04}", digit(i)?));
            i += 1;
        }
        text.truncate(start + scale);
    }
    text.parse().ok()
}

pub(super) fn encode(d: &Decimal, out: &mut Vec<u8>) -> Option<()> {
    let special = |sign: u16, out: &mut Vec<u8>| {
        for w in [0u16, 0, sign, 0] {
            out.extend_from_slice(&w.to_be_bytes());
        }
    };
    match d.as_text() {
        "NaN" => special(NAN, out),
        "Infinity" => special(INFINITY, out),
        "-Infinity" => special(MINUS_INFINITY, out),
        text => {
            let (negative, text) = text.strip_prefix('-').map_or((false, text), |t| (true, t));
            let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
            let groups_before = integer.len().div_ceil(4);
            let mut digits: Vec<u16> = Vec::with_capacity(groups_before + fraction.len() / 4 + 1);
            // Not by a width of `format!`, which ends at 65,535: a numeric has up to 131,072 digits before its point.
            let padded = "0".repeat(groups_before * 4 - integer.len()) + integer;
            let after = fraction.to_owned() + &"0".repeat(fraction.len().div_ceil(4) * 4 - fraction.len());
            for group in padded.as_bytes().chunks(4).chain(after.as_bytes().chunks(4)) {
                digits.push(group.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0')));
            }
            let mut weight = i16::try_from(groups_before.checked_sub(1)?).ok()?;
            let leading = digits.iter().take_while(|d| **d == 0).count();
            digits.drain(..leading);
            weight -= i16::try_from(leading).ok()?;
            while digits.last() == Some(&0) {
                digits.pop();
            }
            if digits.is_empty() {
                weight = 0;
            }
            out.extend_from_slice(&u16::try_from(digits.len()).ok()?.to_be_bytes());
            out.extend_from_slice(&weight.to_be_bytes());
            out.extend_from_slice(&(if negative && !digits.is_empty() { NEGATIVE } else { POSITIVE }).to_be_bytes());
            out.extend_from_slice(&u16::try_from(fraction.len()).ok()?.to_be_bytes());
            for digit in digits {
                out.extend_from_slice(&digit.to_be_bytes());
            }
        }
    }
    Some(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn there_and_back(text: &str) -> Option<Decimal> {
        let mut bytes = Vec::new();
        encode(&text.parse().unwrap(), &mut bytes)?;
        decode(&bytes)
    }

    #[test]
    fn as_many_digits_as_a_numeric_can_have_are_written_and_read() {
        for text in ["9".repeat(131_072), format!("-0.{}", "7".repeat(16_383)), "10000.0001".to_owned()] {
            assert_eq!(there_and_back(&text).unwrap().as_text(), text);
        }
        let beyond = format!("0.{}", "7".repeat(65_536));
        assert_eq!(there_and_back(&beyond), None, "refused, not a panic");
    }

    #[test]
    fn a_digit_beyond_9999_is_none() {
        let bytes = |digit: u16| [1, 0, 0, 0, digit].map(u16::to_be_bytes).concat();
        assert_eq!(decode(&bytes(9_999)).unwrap().as_text(), "9999");
        assert_eq!(decode(&bytes(10_000)), None);
    }
}
