//! A row that a write touches, kept without allocating where its keys are short: almost no write leaves a mark, and
//! only a mark needs the row's name for longer.

use super::order::{Order, Part, RowOrder};
use crate::key::Key;
use crate::marks::RowRef;
use crate::table::TableState;
use crossfade_core::{Bucket, CohortKey, MissingKey};

/// The row of a write, by its keys.
#[derive(Debug)]
pub(crate) struct Touched {
    row: KeyText,
    key: KeyText,
    bucket: Bucket,
    part: Part,
}

impl Touched {
    /// The row with these keys.
    pub(crate) fn new(
        key: &(impl Key + ?Sized),
        row: &(impl Key + ?Sized),
        bucket: Bucket,
    ) -> Result<Touched, MissingKey> {
        Ok(Touched { row: KeyText::of_row(row)?, key: KeyText::of(key), bucket, part: Part::none() })
    }

    /// The row whose key came later.
    pub(crate) fn named(key: KeyText, row: KeyText, bucket: Bucket) -> Touched {
        Touched { row, key, bucket, part: Part::none() }
    }

    /// Its authoritative write begins.
    pub(crate) fn begin(&mut self, table: &TableState) {
        let digest = self.row.digest();
        table.unnamed.writing(digest);
        self.part = table.order.begin(digest);
    }

    /// A hash of its row key.
    pub(crate) fn digest(&self) -> u64 {
        self.row.digest()
    }

    /// Its place in the row order, for what ends it later.
    pub(crate) fn take_place(&mut self) -> Part {
        std::mem::replace(&mut self.part, Part::none())
    }

    /// It has a place in the row order, or gets it now.
    pub(crate) fn begin_at(&mut self, order: &RowOrder) {
        self.part = order.begin(self.row.digest());
    }

    /// The authority accepted the write.
    pub(crate) fn accepted(&mut self, order: &RowOrder) -> Order {
        order.accepted(&mut self.part)
    }

    /// The write has ended on both sides, or for good.
    pub(crate) fn end(&mut self, order: &RowOrder) {
        order.end(&mut self.part);
    }

    /// Its part in the row order.
    pub(crate) fn part(&mut self) -> &mut Part {
        &mut self.part
    }

    /// Canonical text of the row key.
    pub(crate) fn row(&self) -> &str {
        self.row.as_str()
    }

    /// The bucket of its cohort key.
    pub(crate) fn bucket(&self) -> Bucket {
        self.bucket
    }

    /// As marks know it: to be cleared only after every write of the row that has begun by now has ended.
    pub(crate) fn to_mark(&self, table: &TableState) -> RowRef<'_> {
        RowRef {
            table: table.place,
            row: self.row(),
            key: self.key.as_str(),
            bucket: self.bucket,
            fence: table.order.fence(self.row.digest()).0,
        }
    }
}

/// Room for a UUID.
const SHORT: usize = 38;

/// The canonical text of a key.
#[derive(Debug, Clone)]
pub(crate) enum KeyText {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

impl KeyText {
    pub(crate) fn of(key: &(impl Key + ?Sized)) -> KeyText {
        key.with_text(|text| KeyText::from(text))
    }

    /// The text of a row key, which must not be missing (R13).
    pub(crate) fn of_row(row: &(impl Key + ?Sized)) -> Result<KeyText, MissingKey> {
        row.with_text(|text| CohortKey::new(text).map(|_| KeyText::from(text)))
    }

    /// A hash of the text.
    pub(crate) fn digest(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(match self {
            KeyText::Short { length, bytes } => &bytes[..usize::from(*length)],
            KeyText::Long(text) => text.as_bytes(),
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            // Copied from a text as it was: still one.
            KeyText::Short { length, bytes } => std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default(),
            KeyText::Long(text) => text,
        }
    }
}

impl From<&str> for KeyText {
    fn from(text: &str) -> KeyText {
        match u8::try_from(text.len()) {
            Ok(length) if text.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                KeyText::Short { length, bytes }
            }
            Ok(_) | Err(_) => KeyText::Long(text.into()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_kept_as_it_is() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 255, 256, 300] {
            let text = "ë".repeat(length / 2) + &"x".repeat(length % 2);
            assert_eq!(text.len(), length);
            assert_eq!(KeyText::from(text.as_str()).as_str(), text);
        }
    }

    #[test]
    fn a_row_without_a_key_is_refused() {
        let bucket = Bucket::new(7).unwrap();
        let touched = Touched::new("u1", &42, bucket).unwrap();
        assert_eq!((touched.row(), touched.bucket()), ("42", bucket));
        assert_eq!(Touched::new("u1", "", bucket).map(drop), Err(MissingKey));
    }
}
