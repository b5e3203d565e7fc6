//! Methods that can't run on both sides.

use crossfade::Refused;
use std::pin::Pin;

struct Row;
trait Stream {}
type BoxStream<'a, T> = Pin<Box<&'a T>>;
struct Filter<'a>(&'a str);

#[crossfade::dao(refused = std::convert::identity)]
trait Methods {
    #[read(key = user_id)]
    async fn no_self(user_id: u64) -> Result<u64, Refused>;
    #[read(key = user_id)]
    async fn mutable_self(&mut self, user_id: u64) -> Result<u64, Refused>;
    #[read(key = user_id)]
    async fn owned_self(self, user_id: u64) -> Result<u64, Refused>;
    #[read(key = user_id)]
    fn blocking(&self, user_id: u64) -> Result<u64, Refused>;
    #[write(key = user_id)]
    async fn no_result(&self, user_id: u64);
    #[write(key = user_id)]
    async fn other_result(&self, user_id: u64) -> Option<u64>;
    #[read(key = user_id)]
    async fn borrowed_result(&self, user_id: u64) -> Result<&str, Refused>;
    #[write(key = user_id)]
    async fn mutable(&self, user_id: u64, into: &mut Vec<u8>) -> Result<(), Refused>;
    #[write(key = user_id)]
    async fn any(&self, user_id: u64, text: impl AsRef<str>) -> Result<(), Refused>;
    #[write(key = user_id)]
    async fn object(&self, user_id: u64, filter: &dyn Fn(&Row) -> bool) -> Result<(), Refused>;
    #[write(key = user_id)]
    async fn deep(&self, user_id: u64, names: &[&str]) -> Result<(), Refused>;
    #[write(key = user_id)]
    async fn lifetime(&self, user_id: u64, filter: Filter<'_>) -> Result<(), Refused>;
    #[write(key = pair.0)]
    async fn pattern(&self, Row { .. }: Row, pair: (u64, u64)) -> Result<(), Refused>;
    #[read(key = user_id)]
    fn stream(&self, user_id: u64) -> impl Stream;
    #[read(key = user_id)]
    async fn boxed_stream(&self, user_id: u64) -> Result<BoxStream<'static, Row>, Refused>;
}

fn main() {}
