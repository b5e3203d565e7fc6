//! Words that no attribute knows.

use crossfade::Refused;

#[crossfade::dao(refuse = std::convert::identity)]
trait Options {}

#[crossfade::dao(refused)]
trait NoValue {}

#[crossfade::dao(name = A, name = B)]
trait Twice {}

#[crossfade::dao(table = orders)]
trait TableWithoutQuotes {}

#[crossfade::dao(table = "")]
trait TableWithoutName {}

#[crossfade::dao(refused = std::convert::identity)]
trait Words {
    #[read(user = user_id)]
    async fn unknown(&self, user_id: u64) -> Result<u64, Refused>;
    #[read(key = user_id, mirror = replay)]
    async fn mirrored_read(&self, user_id: u64) -> Result<u64, Refused>;
    #[read(key = user_id, row = user_id)]
    async fn row_of_a_read(&self, user_id: u64) -> Result<u64, Refused>;
    #[write(key = user_id, compare = crossfade::compare::fields())]
    async fn compared_write(&self, user_id: u64) -> Result<u64, Refused>;
    #[write(key = user_id, eventual)]
    async fn eventual_write(&self, user_id: u64) -> Result<u64, Refused>;
    #[write(key)]
    async fn no_value(&self, user_id: u64) -> Result<u64, Refused>;
    #[write(key = user_id, key = user_id)]
    async fn twice(&self, user_id: u64) -> Result<u64, Refused>;
    #[source_only(key = user_id)]
    async fn one_side(&self, user_id: u64) -> Result<u64, Refused>;
    #[read = "user_id"]
    async fn equals(&self, user_id: u64) -> Result<u64, Refused>;
    #[read(key = user_id)]
    #[write(key = user_id)]
    async fn two_marks(&self, user_id: u64) -> Result<u64, Refused>;
    async fn no_mark(&self, user_id: u64) -> Result<u64, Refused>;
    #[write(key = user_id, mirror = copy)]
    async fn mirror(&self, user_id: u64) -> Result<u64, Refused>;
}

fn main() {}
