//! What the compiler says where the macro can't know: at the user's own words.

use crossfade::Refused;

struct UserId(u64);

#[derive(PartialEq)]
struct NotClone;

#[derive(Clone)]
struct NotEqual;

#[crossfade::dao(refused = std::convert::identity)]
trait Key {
    #[read(key = user_id)]
    async fn not_a_key(&self, user_id: &UserId) -> Result<u8, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait Copy {
    #[write(key = id)]
    async fn not_clone(&self, id: u64, value: NotClone) -> Result<(), Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait Compare {
    #[read(key = id)]
    async fn not_equal(&self, id: u64) -> Result<NotEqual, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait RowKey {
    // The row key of the snapshot is a `u64`; the user's name is not.
    #[write(key = user)]
    async fn wrong_row(&self, user: &str) -> Result<(), Refused>;
    #[snapshot]
    async fn snapshot(&self, id: u64) -> Result<Option<u8>, Refused>;
    #[restore]
    async fn restore(&self, id: u64, seen: Option<&u8>, row: Option<&u8>) -> Result<bool, Refused>;
}

fn main() {}
