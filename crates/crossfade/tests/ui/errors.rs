//! Which error does the caller get?

use crossfade::Refused;

#[crossfade::dao(refused = std::convert::identity)]
trait Associated {
    type Error;
    #[read(key = key)]
    async fn read(&self, key: &str) -> Result<u8, Self::Error>;
}

#[crossfade::dao(error = Refused)]
trait Named {
    #[read(key = key)]
    async fn read(&self, key: &str) -> Result<u8, Refused>;
}

#[crossfade::dao(map_source = Refused::from)]
trait Mapped {
    #[read(key = key)]
    async fn read(&self, key: &str) -> Result<u8, Refused>;
}

#[crossfade::dao(error = Refused, map_target = Refused::from)]
trait MapsWhat {
    type Error;
    #[read(key = key)]
    async fn read(&self, key: &str) -> Result<u8, Self::Error>;
}

/// No `From<Refused>`, and no `refused`.
struct Mine;

#[crossfade::dao]
trait NoWay {
    #[read(key = key)]
    async fn read(&self, key: &str) -> Result<u8, Mine>;
}

fn main() {}
