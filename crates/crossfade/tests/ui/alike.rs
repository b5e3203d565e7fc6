//! Operations of one table with keys of different types.

use crossfade::{Key, Refused};

#[derive(Clone, Key)]
struct UserId(u64);

#[derive(Clone, Key)]
struct OrderId(u64);

#[derive(Clone)]
struct Order {
    id: OrderId,
    user: UserId,
}

#[crossfade::dao(refused = std::convert::identity)]
trait AReadByTheOrder {
    #[write(key = order.user, row = order.id)]
    async fn put(&self, order: &Order) -> Result<(), Refused>;
    #[read(key = id)]
    async fn order(&self, id: OrderId) -> Result<Option<u8>, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait AWriteOfAnotherUser {
    #[write(key = user)]
    async fn put(&self, user: &str) -> Result<(), Refused>;
    #[write(key = number)]
    async fn remove(&self, number: u64) -> Result<(), Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
trait PartsOfAnotherType {
    #[write(keys = users)]
    async fn put(&self, users: &[(String, u32)]) -> Result<(), Refused>;
    #[read(keys = names)]
    async fn all(&self, names: Vec<(String, String)>) -> Result<Vec<u8>, Refused>;
    #[read(key = (name, &7u64))]
    async fn alike(&self, name: &str) -> Result<Vec<u8>, Refused>;
}

fn main() {}
