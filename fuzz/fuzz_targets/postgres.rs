//! The two files of the store that know the binary form, as they are: they are private to it.

#[path = "../../crates/crossfade-stores/src/postgres/binary.rs"]
#[expect(dead_code, reason = "the parameters of statements are not fuzzed")]
mod binary;
#[path = "../../crates/crossfade-stores/src/postgres/numeric.rs"]
mod numeric;

use binary::Physical;
use crossfade_stores::ColumnType;

/// A column of a table.
pub(crate) struct Column(Physical);

impl Column {
    pub(crate) fn of(ty: ColumnType, jsonb: bool) -> Column {
        Column(Physical { ty, jsonb, element: 23, cast: String::new() })
    }

    /// Reads a field. What was read and can be written is the same value when it is read again.
    pub(crate) fn read(&self, bytes: &[u8]) {
        let Some(value) = binary::decode(&self.0, bytes) else { return };
        let mut written = Vec::new();
        if binary::encode(&self.0, &value, &mut written).is_some() {
            assert_eq!(binary::decode(&self.0, &written).as_ref(), Some(&value), "{:?}", self.0.ty);
        }
    }
}
