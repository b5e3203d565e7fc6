//! Snapshot, restore and scan go together.

use crossfade::Refused;
use crossfade::rows::{Cursor, Page};

#[crossfade::dao(refused = std::convert::identity)]
trait OnlySnapshot {
    #[snapshot]
    async fn snapshot(&self, id: u64) -> Result<Option<u8>, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait OnlyRestore {
    #[restore]
    async fn restore(&self, id: u64, seen: Option<&u8>, row: Option<&u8>) -> Result<bool, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait OnlyScan {
    #[scan(key = *row, row = *row)]
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<u8>, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait ScanOfWhom {
    #[snapshot]
    async fn snapshot(&self, id: u8) -> Result<Option<u8>, Refused>;
    #[restore]
    async fn restore(&self, id: u8, seen: Option<&u8>, row: Option<&u8>) -> Result<bool, Refused>;
    #[scan]
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<u8>, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait Twice {
    #[snapshot]
    async fn one(&self, id: u8) -> Result<Option<u8>, Refused>;
    #[snapshot]
    async fn two(&self, id: u8) -> Result<Option<u8>, Refused>;
    #[restore]
    async fn restore(&self, id: u8, seen: Option<&u8>, row: Option<&u8>) -> Result<bool, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait Shapes {
    #[snapshot]
    async fn snapshot(&self, tenant: u8, id: u8) -> Result<Option<u8>, Refused>;
    #[restore]
    async fn restore(&self, id: u8, row: Option<&u8>) -> Result<bool, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait Answer {
    #[snapshot]
    async fn snapshot(&self, id: u8) -> Result<u8, Refused>;
    #[restore]
    async fn restore(&self, id: u8, seen: Option<&u8>, row: Option<&u8>) -> Result<bool, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait Mirrors {
    #[write(key = id, mirror = snapshot)]
    async fn no_rows(&self, id: u8) -> Result<(), Refused>;
    #[write(key = id, mirror = value(put))]
    async fn no_method(&self, id: u8) -> Result<(), Refused>;
    #[write(key = id, mirror = value(set))]
    async fn too_few(&self, id: u8) -> Result<u8, Refused>;
    #[write(key = id, row = answer)]
    async fn replayed_key(&self, id: u8) -> Result<u8, Refused>;
    #[write(keys = ids, row = answer)]
    async fn made_keys(&self, ids: &[u8]) -> Result<u8, Refused>;
    #[write(keys = ids, rows = answer, row = each)]
    async fn made_rows_of_keys(&self, ids: &[u8]) -> Result<Vec<u8>, Refused>;
    #[write(key = id, rows = answer, row = each)]
    async fn replayed_rows(&self, id: u8) -> Result<Vec<u8>, Refused>;
    #[write(key = id, rows = ids, row = each, mirror = value(set(id, 1)))]
    async fn known_rows(&self, id: u8, ids: &[u8]) -> Result<(), Refused>;
    #[write(key = id, rows = answer, row = answer.id, mirror = value(set(id, 1)))]
    async fn row_of_the_answer(&self, id: u8) -> Result<Vec<u8>, Refused>;
    #[write(whole, rows = answer)]
    async fn whole_rows(&self, id: u8) -> Result<Vec<u8>, Refused>;
    #[read(key = id, rows = answer)]
    async fn read_rows(&self, id: u8) -> Result<Vec<u8>, Refused>;
    #[read(keys = ids, aligned, whole)]
    async fn both(&self, ids: &[u8]) -> Result<Vec<u8>, Refused>;
    #[read(key = id, aligned)]
    async fn one_key(&self, id: u8) -> Result<Vec<u8>, Refused>;
    #[write(key = id)]
    async fn set(&self, id: u8, value: u8) -> Result<(), Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait Whole {
    #[write(whole, mirror = snapshot)]
    async fn clear(&self) -> Result<(), Refused>;
    #[snapshot]
    async fn snapshot(&self, id: u8) -> Result<Option<u8>, Refused>;
    #[restore]
    async fn restore(&self, id: u8, seen: Option<&u8>, row: Option<&u8>) -> Result<bool, Refused>;
}

fn main() {}
