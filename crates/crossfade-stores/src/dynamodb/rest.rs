//! Attributes that have no column of their own, as one JSON object that loses nothing of them.
//!
//! | attribute | JSON |
//! |---|---|
//! | `S`, `BOOL`, `NULL` | string, boolean, null |
//! | `N` | number, with all of its digits |
//! | `L`, `M` | array, object |
//! | `B` | `{"B": "base64"}` |
//! | `SS`, `NS`, `BS` | `{"SS": ["a", "b"]}`, `{"NS": [1, 2]}`, `{"BS": ["base64"]}`, sorted |
//! | an `M` with one member that is named like one of these tags, or `M` | `{"M": {…}}` around it, so that it is not taken for one |

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::Decimal;

const TAGS: [&str; 5] = ["B", "SS", "NS", "BS", "M"];

/// The JSON text of some attributes, in the order of their names; `None` for a type of attribute that this code does not know.
pub(super) fn object<'a>(attributes: impl Iterator<Item = (&'a String, &'a AttributeValue)>) -> Option<String> {
    let sorted: BTreeMap<&String, &AttributeValue> = attributes.collect();
    let members: Option<Vec<String>> =
        sorted.into_iter().map(|(name, value)| Some(format!("{}:{}", quoted(name)?, json(value)?))).collect();
    Some(format!("{{{}}}", members?.join(",")))
}

/// The JSON text of one attribute.
pub(super) fn json(attribute: &AttributeValue) -> Option<String> {
    use AttributeValue as A;
    Some(match attribute {
        A::S(s) => quoted(s)?,
        A::N(n) => number(n)?,
        A::Bool(b) => b.to_string(),
        A::Null(_) => "null".to_owned(),
        A::B(b) => format!("{{\"B\":\"{}\"}}", base64(b.as_ref())),
        A::Ss(items) => set("SS", items.iter().map(|s| quoted(s)).collect::<Option<_>>()?),
        A::Ns(items) => {
            let mut numbers: Vec<Decimal> = items.iter().map(|n| n.parse().ok()).collect::<Option<_>>()?;
            numbers.sort_by(Decimal::order);
            let numbers: Vec<&str> = numbers.iter().map(Decimal::as_text).collect();
            format!("{{\"NS\":[{}]}}", numbers.join(","))
        }
        A::Bs(items) => set("BS", items.iter().map(|b| format!("\"{}\"", base64(b.as_ref()))).collect()),
        A::L(items) => format!("[{}]", items.iter().map(json).collect::<Option<Vec<_>>>()?.join(",")),
        A::M(map) => {
            let inner = object(map.iter())?;
            let looks_like_a_tag = map.len() == 1 && map.keys().all(|name| TAGS.contains(&name.as_str()));
            if looks_like_a_tag { format!("{{\"M\":{inner}}}") } else { inner }
        }
        _ => return None,
    })
}

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}

/// In full: DynamoDB writes `1E+3`, and not every reader of JSON takes that.
fn number(n: &str) -> Option<String> {
    n.parse::<Decimal>().ok().map(|d| d.as_text().to_owned())
}

fn set(tag: &str, mut items: Vec<String>) -> String {
    items.sort();
    format!("{{\"{tag}\":[{}]}}", items.join(","))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = usize::try_from(word >> (18 - 6 * at) & 63).unwrap_or(0);
            out.push(if at <= chunk.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::primitives::Blob;

    use super::*;

    #[test]
    fn what_json_has_not_is_tagged_and_never_ambiguous() {
        use AttributeValue as A;
        let text = |t: &str| t.to_owned();
        let bytes = |b: &[u8]| Blob::new(b.to_vec());
        for (attribute, expected) in [
            (A::S(text("a\"b")), r#""a\"b""#),
            (A::N(text("1E+3")), "1000"),
            (A::N(text("0.10")), "0.10"),
            (A::B(bytes(b"a")), r#"{"B":"YQ=="}"#),
            (A::B(bytes(b"ab")), r#"{"B":"YWI="}"#),
            (A::B(bytes(&[0xff, 0xfe, 0xfd])), r#"{"B":"//79"}"#),
            (A::B(bytes(b"")), r#"{"B":""}"#),
            (A::Ns(vec![text("10"), text("9")]), r#"{"NS":[9,10]}"#),
            (A::Ss(vec![text("b"), text("a")]), r#"{"SS":["a","b"]}"#),
            (A::L(vec![A::Null(true), A::Bool(true)]), "[null,true]"),
            (A::M(HashMap::from([(text("x"), A::N(text("1")))])), r#"{"x":1}"#),
            (A::M(HashMap::from([(text("B"), A::S(text("YQ==")))])), r#"{"M":{"B":"YQ=="}}"#),
            (A::M(HashMap::from([(text("M"), A::N(text("1")))])), r#"{"M":{"M":1}}"#),
        ] {
            assert_eq!(json(&attribute).as_deref(), Some(expected));
        }
    }
}
