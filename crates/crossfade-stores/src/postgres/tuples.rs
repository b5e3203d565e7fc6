//! The rows of a binary `COPY`: taken apart by their keys, and put together again, without a look at the rest of them.

use bytes::{Bytes, BytesMut};

use super::{
    PostgresTable,
    copy::{BLOCK, HEADER, TRAILER},
};
use crate::{
    ErrorKind, RowKey, StoreError,
    port::{RawDump, RawRow},
};

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
    pub(super) fn rows_of(&self, dump: &Bytes) -> Result<Vec<RawRow>, StoreError> {
        let shape = &self.shape;
        let broken = || StoreError::new(ErrorKind::Protocol, format!("{}: a copy that is not understood", shape.shown));
        let mut reader = Reader { bytes: dump, at: 0 };
        // Signature, flags, and the length of an extension that was never made.
        if reader.take(HEADER.len()) != Some(HEADER) {
            return Err(broken());
        }
        let mut rows = Vec::new();
        let mut fields: Vec<Option<&[u8]>> = Vec::with_capacity(shape.columns.len());
        loop {
            let from = reader.at;
            match reader.count().ok_or_else(broken)? {
                -1 if reader.at == dump.len() => return Ok(rows),
                n if usize::try_from(n) == Ok(shape.columns.len()) => {}
                _ => return Err(broken()),
            }
            fields.clear();
            for _ in 0..shape.columns.len() {
                fields.push(reader.field().ok_or_else(broken)?);
            }
            let key: Result<Vec<_>, StoreError> = shape.key.iter().map(|i| shape.value(*i, fields[*i])).collect();
            rows.push(RawRow { key: RowKey(key?), bytes: dump.slice(from..reader.at) });
        }
    }
}

pub(super) fn join(rows: &[RawRow]) -> RawDump {
    let fresh = || BytesMut::with_capacity(BLOCK + 4_096);
    let mut blocks = Vec::new();
    let mut block = fresh();
    block.extend_from_slice(HEADER);
    for row in rows {
        block.extend_from_slice(&row.bytes);
        if block.len() >= BLOCK {
            blocks.push(Ok(std::mem::replace(&mut block, fresh()).freeze()));
        }
    }
    block.extend_from_slice(&TRAILER);
    blocks.push(Ok(block.freeze()));
    Box::pin(futures::stream::iter(blocks))
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
