//! Opening a store by its URL.

use std::sync::Arc;

use crate::{
    port::{Store, StoreError},
    url::{StoreKind, StoreUrl},
};

/// Opens the store of a URL. No connection is made yet where the driver allows it: [`Store::ping`] tells.
///
/// # Errors
/// `Config` if the URL does not work for its engine, or the engine was not built in.
pub async fn open(url: &StoreUrl) -> Result<Arc<dyn Store>, StoreError> {
    match url.kind() {
        #[cfg(feature = "postgres")]
        StoreKind::Postgres => Ok(Arc::new(crate::postgres::Postgres::open(url)?)),
        #[cfg(feature = "sqlite")]
        StoreKind::Sqlite => Ok(Arc::new(crate::sqlite::Sqlite::open(url)?)),
        #[cfg(feature = "dynamodb")]
        StoreKind::Dynamodb => Ok(Arc::new(crate::dynamodb::Dynamodb::open(url).await?)),
        #[cfg(feature = "mysql")]
        StoreKind::Mysql => Ok(Arc::new(crate::mysql::Mysql::open(url)?)),
        #[cfg(feature = "redis")]
        StoreKind::Redis => Ok(Arc::new(crate::redis::Redis::open(url)?)),
        // The engines whose feature is off.
        #[cfg(not(all(
            feature = "postgres",
            feature = "sqlite",
            feature = "dynamodb",
            feature = "mysql",
            feature = "redis"
        )))]
        other => Err(StoreError::new(
            crate::port::ErrorKind::Config,
            format!("this build has no {other} store: build with the feature `{other}`"),
        )),
    }
}
