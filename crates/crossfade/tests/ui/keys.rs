//! Which key decides? (R13, R18)

use crossfade::Refused;

#[crossfade::dao(refused = std::convert::identity)]
trait Keys {
    #[read]
    async fn no_key(&self, user_id: u64) -> Result<u64, Refused>;
    #[write]
    async fn no_key_and_no_argument(&self) -> Result<u64, Refused>;
    #[write(whole, key = user_id)]
    async fn both(&self, user_id: u64) -> Result<u64, Refused>;
    #[read(keys = user_id)]
    async fn not_a_list(&self, user_id: u64) -> Result<u64, Refused>;
    #[read(keys = users)]
    async fn not_an_argument(&self, user_ids: Vec<u64>) -> Result<u64, Refused>;
    #[read(keys = user_ids.iter())]
    async fn not_a_name(&self, user_ids: Vec<u64>) -> Result<u64, Refused>;
}

fn main() {}
