//! Who may do what. A token is `cf_ID_SECRET`; of the secret only the SHA-256 is kept, compared in constant time.
//!
//! A secret has 256 random bits, so that a fast hash is enough: there is nothing to guess.

use crate::law::TokenRecord;
use crossfade_api::wire::{IssuedToken, Role, TokenDoc};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As it is written in the history.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A token that may be used.
#[derive(Clone, PartialEq, Eq)]
struct Known {
    hash: [u8; 32],
    caller: Caller,
}

/// All tokens that may be used.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// From the log, by id.
    issued: BTreeMap<String, Known>,
    records: BTreeMap<String, TokenRecord>,
    /// From a file or the environment: few, each is compared.
    given: Vec<Known>,
    set: bool,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({} issued, {} given)", self.issued.len(), self.given.len())
    }
}

/// Why a file of tokens cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// Not three words.
    #[error("line {0} of the tokens is not `ROLE NAME TOKEN`: write viewer, instance, operator or admin first")]
    Line(usize),
    /// A secret that can be guessed.
    #[error("the token on line {0} is too short to be safe: use at least 32 random characters")]
    Weak(usize),
}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes: try again")]
pub struct NoRandomness;

impl Tokens {
    /// Reads lines of `ROLE NAME TOKEN`; empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn parse(text: &str) -> Result<Tokens, TokensError> {
        let mut given = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let words: Vec<&str> = line.split_whitespace().collect();
            let [role, name, token] = words.as_slice() else { return Err(TokensError::Line(number)) };
            let role: Role = role.parse().map_err(|_| TokensError::Line(number))?;
            if token.len() < 32 {
                return Err(TokensError::Weak(number));
            }
            given.push(Known { hash: hash(token), caller: Caller { name: (*name).to_owned(), role } });
        }
        Ok(Tokens { given, ..Tokens::default() })
    }

    /// Whether there is no token at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.issued.is_empty()
    }

    /// The given tokens, and these of the log.
    pub(crate) fn with(&self, records: &BTreeMap<String, TokenRecord>) -> Tokens {
        let issued = records.iter().filter_map(|(id, record)| {
            let caller = Caller { name: record.name.clone(), role: record.role };
            Some((id.clone(), Known { hash: unhex(&record.hash)?, caller }))
        });
        Tokens { issued: issued.collect(), records: records.clone(), given: self.given.clone(), set: true }
    }

    pub(crate) fn differs(&self, records: &BTreeMap<String, TokenRecord>) -> bool {
        &self.records != records
    }

    pub(crate) fn is_unset(&self) -> bool {
        !self.set
    }

    /// Who presents this token, if it is good.
    #[must_use]
    pub fn caller(&self, token: &str) -> Option<&Caller> {
        let presented = hash(token);
        let good = |known: &&Known| bool::from(known.hash.ct_eq(&presented));
        if let Some(rest) = token.strip_prefix("cf_")
            && let Some((id, _)) = rest.split_once('_')
            && let Some(known) = self.issued.get(id).filter(good)
        {
            return Some(&known.caller);
        }
        // Every given token is looked at, so that the time does not tell which one was near.
        self.given.iter().fold(None, |found, known| if good(&known) { Some(&known.caller) } else { found })
    }
}

/// A new token, and the hash to keep.
///
/// # Errors
/// When there is no randomness.
pub fn issue(name: &str, role: Role) -> Result<(IssuedToken, String), NoRandomness> {
    let (mut id, mut secret) = ([0u8; 6], [0u8; 32]);
    getrandom::fill(&mut id).map_err(|_| NoRandomness)?;
    getrandom::fill(&mut secret).map_err(|_| NoRandomness)?;
    let id = hex(&id);
    let token = format!("cf_{id}_{}", hex(&secret));
    let kept = hex(&hash(&token));
    Ok((IssuedToken { token, doc: TokenDoc { id, name: name.to_owned(), role } }, kept))
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Lowercase hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn an_issued_token_is_known_by_its_hash_only() {
        let (issued, kept) = issue("ann", Role::Operator).unwrap();
        assert!(!kept.contains(&issued.token) && !format!("{issued:?}").contains(&issued.token));
        let record = TokenRecord { name: "ann".into(), role: Role::Operator, hash: kept };
        let tokens = Tokens::default().with(&BTreeMap::from([(issued.doc.id.clone(), record)]));
        assert_eq!(tokens.caller(&issued.token).unwrap().role, Role::Operator);
        let mut other = issued.token.clone();
        other.pop();
        for wrong in [other.as_str(), "", "cf_", "cf__", &format!("cf_{}_", issued.doc.id)] {
            assert_eq!(tokens.caller(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn given_tokens_are_read_line_by_line() {
        let secret = "s".repeat(32);
        let tokens = Tokens::parse(&format!("# ours\n\nviewer board {secret}\n")).unwrap();
        assert_eq!(tokens.with(&BTreeMap::new()).caller(&secret).unwrap().name, "board");
        assert_eq!(Tokens::parse("viewer board short"), Err(TokensError::Weak(1)));
        assert_eq!(Tokens::parse(&format!("\nroot x {secret}")), Err(TokensError::Line(2)));
        assert!(Tokens::parse("").unwrap().is_empty());
    }
}
