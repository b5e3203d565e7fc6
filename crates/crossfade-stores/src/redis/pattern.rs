//! From a row's key to the name of its Redis key, and back: `session:{id}`.

use crate::{ColumnType, RowKey, Value};

/// Pieces of a pattern; columns by their place in the row key.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    Column(usize),
}

/// How the keys of one table are named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    types: Vec<ColumnType>,
}

impl Pattern {
    /// Reads a pattern; `key` are the key columns. Every one of them must be in it once, with a text between two.
    pub(super) fn parse(text: &str, key: &[(&str, &ColumnType)]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let open = rest.find('{').unwrap_or(rest.len());
            if open > 0 {
                pieces.push(Piece::Text(rest[..open].to_owned()));
            }
            let Some(inside) = rest.get(open + 1..) else { break };
            let Some(close) = inside.find('}') else {
                return Err(format!("the key pattern `{text}` has `{{` without `}}`"));
            };
            let name = &inside[..close];
            let Some(at) = key.iter().position(|(k, _)| *k == name) else {
                return Err(format!(
                    "the key pattern `{text}` names `{name}`, which is no key column: write {}",
                    key.iter().map(|(k, _)| format!("{{{k}}}")).collect::<Vec<_>>().join(":")
                ));
            };
            if matches!(pieces.last(), Some(Piece::Column(_))) {
                return Err(format!("the key pattern `{text}` has two columns with nothing between them: write a `:`"));
            }
            if pieces.contains(&Piece::Column(at)) {
                return Err(format!("the key pattern `{text}` has `{{{name}}}` twice"));
            }
            pieces.push(Piece::Column(at));
            rest = &inside[close + 1..];
        }
        if let Some((missing, _)) =
            key.iter().enumerate().find(|(n, _)| !pieces.contains(&Piece::Column(*n))).map(|(_, k)| k)
        {
            return Err(format!("the key pattern `{text}` lacks `{{{missing}}}`: rows could not be told apart"));
        }
        Ok(Pattern { pieces, types: key.iter().map(|(_, ty)| (*ty).clone()).collect() })
    }

    /// The name of a key; `None` if it could not be read back (a `:` inside a part of a composite key, a null).
    pub(super) fn name(&self, key: &RowKey) -> Option<String> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(t) => out.push_str(t),
                Piece::Column(at) => out.push_str(&key.0.get(*at)?.to_text()?),
            }
        }
        (self.key(&out).as_ref() == Some(&Some(key.clone()))).then_some(out)
    }

    /// The key of a name: `None` if it is not of this pattern, `Some(None)` if it is and its parts are no values of the columns.
    pub(super) fn key(&self, name: &str) -> Option<Option<RowKey>> {
        let mut parts: Vec<Option<&str>> = vec![None; self.types.len()];
        let mut rest = name;
        for (n, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Text(t) => rest = rest.strip_prefix(t.as_str())?,
                Piece::Column(at) => {
                    let end = match self.pieces.get(n + 1) {
                        // What ends the pattern stands at the end of the name.
                        Some(Piece::Text(t)) if n + 2 == self.pieces.len() => rest.len().checked_sub(t.len())?,
                        Some(Piece::Text(t)) => rest.find(t.as_str())?,
                        _ => rest.len(),
                    };
                    parts[*at] = Some(rest.get(..end)?);
                    rest = rest.get(end..)?;
                }
            }
        }
        if !rest.is_empty() {
            return None;
        }
        let values: Option<Vec<Value>> =
            parts.iter().zip(&self.types).map(|(part, ty)| Value::from_text(ty, (*part)?)).collect();
        // `007` is no number that crossfade writes: two names would be one key.
        Some(values.map(RowKey).filter(|key| key.0.iter().zip(&parts).all(|(v, part)| v.to_text().as_deref() == *part)))
    }

    /// The glob of `SCAN … MATCH`.
    pub(super) fn glob(&self) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Column(_) => out.push('*'),
                Piece::Text(t) => {
                    for c in t.chars() {
                        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                            out.push('\\');
                        }
                        out.push(c);
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_or_refused() {
        let (text, int) = (ColumnType::TEXT, ColumnType::INT64);
        let pattern = Pattern::parse("app[1]:{tenant}:{id}:v", &[("tenant", &text), ("id", &int)]).unwrap();
        let key = |t: &str, i: i64| RowKey(vec![Value::Text(t.to_owned()), Value::Int(i)]);
        assert_eq!(pattern.name(&key("a", -7)).unwrap(), "app[1]:a:-7:v");
        assert_eq!(pattern.key("app[1]:a:-7:v"), Some(Some(key("a", -7))));
        assert_eq!(pattern.name(&key("a:b", 7)), None, "it would read as tenant `a`");
        assert_eq!(pattern.key("app[1]:a:007:v"), Some(None), "not what crossfade writes");
        assert_eq!(pattern.key("app[1]:a:x:v"), Some(None));
        for other in ["app[1]:a:7", "app[2]:a:7:v", "", "app[1]:"] {
            assert_eq!(pattern.key(other), None, "{other}");
        }
        assert_eq!(pattern.glob(), "app\\[1\\]:*:*:v");
        let one = Pattern::parse("s:{id}", &[("id", &text)]).unwrap();
        assert_eq!(one.name(&RowKey(vec![Value::Text("a:b".to_owned())])).unwrap(), "s:a:b", "nothing follows");
        for wrong in ["s", "s:{nope}", "s:{id", "{id}{id}", "{id}:{id}"] {
            assert!(Pattern::parse(wrong, &[("id", &text)]).is_err(), "{wrong}");
        }
    }
}
