//! A store whose futures are large, as those of an SDK are: what the DAO makes of them must not be a multiple.

use crossfade::plan::fixed;
use crossfade::{Migration, Refused, Stage};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    owner: u64,
    id: u64,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct PartError(#[from] Refused);

#[crossfade::dao(refused = PartError)]
pub(crate) trait Parts {
    #[write(keys = parts, key = each.owner, row = each.id, mirror = replay)]
    async fn put_all(&self, parts: &[Part]) -> Result<(), PartError>;
    #[write(keys = parts, key = each.owner, row = each.id)]
    async fn stamp_all(&self, parts: Vec<Part>) -> Result<u64, PartError>;
    #[read(keys = owners)]
    async fn of_owners(&self, owners: &[u64]) -> Result<Vec<Part>, PartError>;
    #[snapshot]
    async fn snapshot(&self, id: u64) -> Result<Option<Part>, PartError>;
    #[restore]
    async fn restore(&self, id: u64, seen: Option<&Part>, row: Option<&Part>) -> Result<bool, PartError>;
}

#[derive(Debug, Clone, Copy)]
struct Sdk;

/// Holds 8 KB across a wait.
async fn request() {
    let buffer = [0u8; 8 * 1024];
    tokio::task::yield_now().await;
    std::hint::black_box(&buffer);
}

impl Parts for Sdk {
    async fn put_all(&self, _: &[Part]) -> Result<(), PartError> {
        request().await;
        Ok(())
    }
    async fn stamp_all(&self, parts: Vec<Part>) -> Result<u64, PartError> {
        request().await;
        Ok(parts.len() as u64)
    }
    async fn of_owners(&self, _: &[u64]) -> Result<Vec<Part>, PartError> {
        request().await;
        Ok(Vec::new())
    }
    async fn snapshot(&self, _: u64) -> Result<Option<Part>, PartError> {
        request().await;
        Ok(None)
    }
    async fn restore(&self, _: u64, _: Option<&Part>, _: Option<&Part>) -> Result<bool, PartError> {
        request().await;
        Ok(true)
    }
}

#[tokio::test]
async fn methods_over_several_keys_make_small_futures_of_large_ones() {
    let migration = Migration::builder("parts").plan(fixed(Stage::Shadow)).build().await.unwrap();
    let dao = MigratingParts::new(Sdk, Sdk, migration);
    assert!(size_of_val(&Sdk.put_all(&[])) > 8 * 1024);
    let parts = [Part { owner: 1, id: 1 }];
    let (put, stamp, read) = (dao.put_all(&parts), dao.stamp_all(parts.to_vec()), dao.of_owners(&[1]));
    let sizes = [size_of_val(&put), size_of_val(&stamp), size_of_val(&read)];
    assert!(sizes.iter().all(|size| *size < 4 * 1024), "{sizes:?}");
    put.await.unwrap();
    assert_eq!(stamp.await.unwrap(), 1);
    assert_eq!(read.await.unwrap(), []);
}
