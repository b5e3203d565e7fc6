//! JSON as a DynamoDB document, and back. Numbers keep their value, not their spelling; the order of keys and spaces are not kept.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::values::is_kept;
use crate::{Decimal, value::canonical_json};

/// DynamoDB's own limit.
const DEEPEST: usize = 32;

/// The document of a JSON text.
pub(super) fn from_json(text: &str) -> Result<AttributeValue, &'static str> {
    const NO_JSON: &str = "not a json text";
    let canonical = canonical_json(text).map_err(|_| NO_JSON)?;
    let mut reader = Reader { text: &canonical, at: 0 };
    reader.value(0)?.ok_or(NO_JSON)
}

/// Reads canonical JSON: no spaces, and already known to be well-formed.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Read = Result<Option<AttributeValue>, &'static str>;

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, b: u8) -> bool {
        let there = self.peek() == Some(b);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Read {
        if depth >= DEEPEST {
            return Err("the document is nested deeper than the 32 levels that dynamodb takes");
        }
        Ok(Some(match self.peek() {
            Some(b'{') => {
                self.at += 1;
                let mut map = HashMap::new();
                while !self.skip(b'}') {
                    self.skip(b',');
                    let Some(key) = self.string() else { return Ok(None) };
                    if key.is_empty() {
                        return Err("a document has no empty keys in dynamodb");
                    }
                    self.skip(b':');
                    let Some(value) = self.value(depth + 1)? else { return Ok(None) };
                    map.insert(key, value);
                }
                AttributeValue::M(map)
            }
            Some(b'[') => {
                self.at += 1;
                let mut list = Vec::new();
                while !self.skip(b']') {
                    self.skip(b',');
                    let Some(value) = self.value(depth + 1)? else { return Ok(None) };
                    list.push(value);
                }
                AttributeValue::L(list)
            }
            Some(b'"') => match self.string() {
                Some(s) => AttributeValue::S(s),
                None => return Ok(None),
            },
            // `null` at the top would be the same as no attribute.
            Some(b'n') if depth == 0 => return Err("a document cannot be json `null` in dynamodb"),
            Some(b'n') => self.word(4, AttributeValue::Null(true)),
            Some(b't') => self.word(4, AttributeValue::Bool(true)),
            Some(b'f') => self.word(5, AttributeValue::Bool(false)),
            Some(_) => {
                let rest = &self.text[self.at..];
                let end = rest.find([',', ']', '}']).unwrap_or(rest.len());
                self.at += end;
                let Ok(number) = rest[..end].parse::<Decimal>() else { return Ok(None) };
                is_kept(&number)?;
                AttributeValue::N(rest[..end].to_owned())
            }
            None => return Ok(None),
        }))
    }

    fn word(&mut self, length: usize, value: AttributeValue) -> AttributeValue {
        self.at += length;
        value
    }

    fn string(&mut self) -> Option<String> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let mut end = 1;
        while *rest.get(end)? != b'"' {
            end += if rest[end] == b'\\' { 2 } else { 1 };
        }
        let quoted = self.text.get(self.at..=self.at + end)?;
        self.at += end + 1;
        serde_json::from_str(quoted).ok()
    }
}

/// The JSON text of a document; `None` if it holds what JSON has not (bytes, sets).
pub(super) fn to_json(document: &AttributeValue) -> Option<String> {
    let mut out = String::new();
    write(document, &mut out)?;
    Some(out)
}

fn write(document: &AttributeValue, out: &mut String) -> Option<()> {
    match document {
        AttributeValue::Null(_) => out.push_str("null"),
        AttributeValue::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        AttributeValue::N(n) => out.push_str(n),
        AttributeValue::S(s) => out.push_str(&serde_json::to_string(s).ok()?),
        AttributeValue::L(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        AttributeValue::M(map) => {
            out.push('{');
            // Sorted, so that it is the same text each time.
            for (i, (key, item)) in map.iter().collect::<BTreeMap<_, _>>().into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(key).ok()?);
                out.push(':');
                write(item, out)?;
            }
            out.push('}');
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn documents_give_the_value_back() {
        for text in [
            "{}",
            "[]",
            "[1, 2.50, \"x\", [], {}]",
            "{\"a\": {\"b\": [true, null, false]}, \"ü\\\"\\\\\": \"\\u0000\\n😀,]}\"}",
            "\"s\"",
            "1e3",
            "-0.5",
            "true",
            "12345678901234567890123456789012345678",
        ] {
            let back = to_json(&from_json(text).unwrap()).unwrap();
            assert_eq!(canonical_json(&back).unwrap(), canonical_json(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_a_document_cannot_hold_is_refused() {
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        for text in [
            "null",
            "{\"\": 1}",
            "[1e200]",
            "{\"a\": 123456789012345678901234567890123456789}",
            deep.as_str(),
            "{",
            "nope",
        ] {
            assert!(from_json(text).is_err(), "{text}");
        }
    }
}
