//! Where `#[dao]` goes, and which traits it takes.

use async_trait::async_trait;
use crossfade::Refused;

#[crossfade::dao]
struct NotATrait;

#[crossfade::dao]
trait Borrowing<'a> {
    #[read(key = key)]
    async fn read(&self, key: &str) -> Result<u8, Refused>;
}

#[crossfade::dao]
trait Constant {
    const TABLE: &'static str;
}

#[async_trait]
#[crossfade::dao]
trait Under {
    #[read(key = key)]
    async fn read(&self, key: &str) -> Result<u8, Refused>;
}

#[crossfade::dao]
#[async_trait(?Send)]
trait Local {
    #[read(key = key)]
    async fn read(&self, key: &str) -> Result<u8, Refused>;
}

fn main() {}
