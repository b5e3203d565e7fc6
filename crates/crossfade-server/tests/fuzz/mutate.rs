//! Blind mutations, the same ones for the same seed.

/// What the texts of this product are made of.
pub(crate) const WORDS: &[&str] = &[
    "null",
    "@NOW",
    "true",
    "-1",
    "0",
    "1e400",
    "4294967295",
    "18446744073709551615",
    "99.999",
    "100",
    "1e-9",
    "\"\"",
    "[]",
    "{}",
    "\\u0000",
    "\\ud800",
    "events",
    "off",
    "dual-write",
    "shadow",
    "live",
    "ramp-down",
    "complete",
    "hold",
    "move",
    "settled",
    "\"percent\":",
    "\"stage\":",
    "\"holding\":",
    "\"revision\":",
    "\"position\":",
    "\"ramp\":",
    "\"pins\":",
    "\"confirm\":",
    "\"force\":",
    "\"marks\":",
    "\"unlisted\":",
    "\"sequence\":",
    "\"targetingKey\":",
    "\"context\":",
    "4294967295.18446744073709551615.00f3a4b5c6d7e8f9",
    "1.2.00f3a4b5c6d7e8f9",
    "%2f",
    "..",
    "\u{202e}",
    "é",
    "[pins]",
    "[options]",
    "${HOME}",
    "{user_id}",
    "ramp = { to = \"shadow\", percent = 5 }",
    "checks = \"full\"",
    "'''",
    "\"\"\"",
];

pub(crate) struct Mutator<'a> {
    state: u64,
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seed: u64, words: &'a [&'a str]) -> Mutator<'a> {
        Mutator { state: seed | 1, words }
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random() % bound.max(1) as u64) as usize
    }

    /// One of these inputs, changed in one to six places.
    pub(crate) fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let at = self.below(inputs.len());
        let mut bytes = inputs[at].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes, inputs);
            bytes.truncate(64 << 10);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let to = (at + self.below(16)).min(bytes.len());
        match self.below(8) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = self.random() as u8;
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            2 => drop(bytes.drain(at..to)),
            3 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let word = self.words[self.below(self.words.len())];
                bytes.splice(at..at, word.bytes());
            }
            5 => {
                // A whole token gives way to a word: numbers and names are reached this way.
                let word = self.words[self.below(self.words.len())];
                let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.+_".contains(byte);
                let start = bytes[..at].iter().rposition(|byte| !part(byte)).map_or(0, |before| before + 1);
                let end = bytes[at..].iter().position(|byte| !part(byte)).map_or(bytes.len(), |length| at + length);
                bytes.splice(start..end, word.bytes());
            }
            6 => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                let until = (from + self.below(200)).min(other.len());
                bytes.splice(at..to, other[from..until].iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }
}
