//! The keys of the rows of a binary `COPY`, without a look at the rest of them.

use super::{PostgresTable, copy::HEADER};
use crate::{ErrorKind, RowKey, StoreError};

/// Reads the big-endian numbers and the fields of the format.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn word(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn count(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    /// A field: its length, then its bytes. The inner `None` is null.
    fn field(&mut self) -> Option<Option<&'a [u8]>> {
        match usize::try_from(self.word()?) {
            Ok(len) => self.take(len).map(Some),
            Err(_) => Some(None),
        }
    }
}

impl PostgresTable {
    pub(super) fn keys_of_rows(&self, dump: &[u8]) -> Result<Vec<RowKey>, StoreError> {
        let shape = &self.shape;
        let broken = || StoreError::new(ErrorKind::Protocol, format!("{}: a copy that is not understood", shape.shown));
        let mut reader = Reader { bytes: dump, at: 0 };
        // Signature, flags, and the length of an extension that was never made.
        if reader.take(HEADER.len()) != Some(HEADER) {
            return Err(broken());
        }
        let mut keys = Vec::new();
        let mut fields: Vec<Option<&[u8]>> = Vec::with_capacity(shape.columns.len());
        loop {
            match reader.count().ok_or_else(broken)? {
                -1 if reader.at == dump.len() => return Ok(keys),
                n if usize::try_from(n) == Ok(shape.columns.len()) => {}
                _ => return Err(broken()),
            }
            fields.clear();
            for _ in 0..shape.columns.len() {
                fields.push(reader.field().ok_or_else(broken)?);
            }
            let key: Result<Vec<_>, StoreError> = shape.key.iter().map(|i| shape.value(*i, fields[*i])).collect();
            keys.push(RowKey(key?));
        }
    }
}

/// The elements of a one-dimensional array in its binary form; `None` if it is none.
pub(super) fn elements(array: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let mut reader = Reader { bytes: array, at: 0 };
    let (dimensions, _nulls, _type) = (reader.word()?, reader.word()?, reader.word()?);
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = usize::try_from(reader.word()?).ok()?;
            let _first = reader.word()?;
            count
        }
        _ => return None,
    };
    let elements: Option<Vec<_>> = (0..count).map(|_| reader.field()).collect();
    elements.filter(|_| reader.at == array.len())
}
