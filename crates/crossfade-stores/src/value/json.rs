//! A canonical form of a JSON text, so that two stores that write it differently can be compared by value.

use std::fmt::Write as _;

use super::Decimal;

/// The text is no JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a json text (at byte {at})")]
pub struct JsonError {
    at: usize,
}

/// Objects by sorted keys (of repeated keys the last counts), no spaces, numbers by value at any precision, strings with one way of escaping.
///
/// # Errors
/// The text is no JSON, or nested deeper than 256.
pub fn canonical_json(text: &str) -> Result<String, JsonError> {
    let mut reader = Reader { text, at: 0 };
    let mut out = String::with_capacity(text.len());
    reader.spaces();
    reader.value(&mut out, 0)?;
    reader.spaces();
    if reader.at == text.len() { Ok(out) } else { Err(reader.wrong()) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self) -> JsonError {
        JsonError { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, b: u8) -> Result<(), JsonError> {
        if self.peek() == Some(b) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.wrong())
        }
    }

    fn word(&mut self, word: &'a str, out: &mut String) -> Result<(), JsonError> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            out.push_str(word);
            Ok(())
        } else {
            Err(self.wrong())
        }
    }

    fn value(&mut self, out: &mut String, depth: u32) -> Result<(), JsonError> {
        if depth > 256 {
            return Err(self.wrong());
        }
        match self.peek() {
            Some(b'{') => self.object(out, depth),
            Some(b'[') => {
                self.at += 1;
                out.push('[');
                self.spaces();
                if self.peek() == Some(b']') {
                    self.at += 1;
                } else {
                    loop {
                        self.spaces();
                        self.value(out, depth + 1)?;
                        self.spaces();
                        if self.peek() == Some(b',') {
                            self.at += 1;
                            out.push(',');
                        } else {
                            self.take(b']')?;
                            break;
                        }
                    }
                }
                out.push(']');
                Ok(())
            }
            Some(b'"') => {
                let s = self.string()?;
                write_string(&s, out);
                Ok(())
            }
            Some(b't') => self.word("true", out),
            Some(b'f') => self.word("false", out),
            Some(b'n') => self.word("null", out),
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
                    self.at += 1;
                }
                let number: Decimal = self.text[start..self.at].parse().map_err(|_| JsonError { at: start })?;
                out.push_str(number.trimmed().as_text());
                Ok(())
            }
            _ => Err(self.wrong()),
        }
    }

    fn object(&mut self, out: &mut String, depth: u32) -> Result<(), JsonError> {
        self.at += 1;
        let mut fields = std::collections::BTreeMap::new();
        self.spaces();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.spaces();
                let name = self.string()?;
                self.spaces();
                self.take(b':')?;
                self.spaces();
                let mut value = String::new();
                self.value(&mut value, depth + 1)?;
                fields.insert(name, value);
                self.spaces();
                if self.peek() == Some(b',') {
                    self.at += 1;
                } else {
                    self.take(b'}')?;
                    break;
                }
            }
        }
        out.push('{');
        for (i, (name, value)) in fields.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            write_string(name, out);
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        Ok(())
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.take(b'"')?;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let stop = rest.find(['"', '\\']).ok_or_else(|| self.wrong())?;
            out.push_str(&rest[..stop]);
            self.at += stop;
            if self.peek() == Some(b'"') {
                self.at += 1;
                return Ok(out);
            }
            self.at += 1;
            let escape = self.peek().ok_or_else(|| self.wrong())?;
            self.at += 1;
            match escape {
                b'n' => out.push('\n'),
                b't' => out.push('\t'),
                b'r' => out.push('\r'),
                b'b' => out.push('\u{8}'),
                b'f' => out.push('\u{c}'),
                b'"' | b'\\' | b'/' => out.push(char::from(escape)),
                b'u' => {
                    let first = self.unit()?;
                    let code = if (0xD800..0xDC00).contains(&first) {
                        self.take(b'\\')?;
                        self.take(b'u')?;
                        let second = self.unit()?;
                        if !(0xDC00..0xE000).contains(&second) {
                            return Err(self.wrong());
                        }
                        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    } else {
                        first
                    };
                    out.push(char::from_u32(code).ok_or_else(|| self.wrong())?);
                }
                _ => return Err(self.wrong()),
            }
        }
    }

    fn unit(&mut self) -> Result<u32, JsonError> {
        let hex = self.text.get(self.at..self.at + 4).ok_or_else(|| self.wrong())?;
        let unit = u32::from_str_radix(hex, 16).map_err(|_| self.wrong())?;
        self.at += 4;
        Ok(unit)
    }
}

fn write_string(s: &str, out: &mut String) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn same_value_same_text() {
        let same = [
            (r#"{"b": 1.0, "a": [1e2, "\u00e9\n"]}"#, r#"{"a":[100,"é\u000a"],"b":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#""\ud83d\ude00""#, "\"😀\""),
            ("-0.0", "0"),
        ];
        for (a, b) in same {
            assert_eq!(canonical_json(a).unwrap(), canonical_json(b).unwrap(), "{a}");
        }
        assert_ne!(
            canonical_json("12345678901234567890.1").unwrap(),
            canonical_json("12345678901234567890.2").unwrap()
        );
        for wrong in ["", "{", "[1,]", "\"", "tru", "1 2", r#""\ud800""#, "{\"a\"}"] {
            assert!(canonical_json(wrong).is_err(), "{wrong}");
        }
    }
}
