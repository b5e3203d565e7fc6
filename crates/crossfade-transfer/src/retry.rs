//! Asking again, by the one table of [`crossfade_stores::ErrorKind::recovery`].

use std::time::Duration;

use crossfade_stores::{Recovery, StoreError};

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts after the first, for lost connections.
    pub again: u32,
    /// Attempts after the first, for throttling and conflicts.
    pub slower: u32,
    /// The first wait; doubled each time, up to 100 times as long.
    pub first: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { again: 6, slower: 40, first: Duration::from_millis(25) }
    }
}

impl Retry {
    /// Calls until it works, or until its error says that asking again is of no use, or too often. Only for what may be repeated: reads, and writes that
    /// answered `Err` (of which nothing was done).
    ///
    /// # Errors
    /// The last one.
    pub async fn run<T, F: Future<Output = Result<T, StoreError>> + Send>(
        &self,
        mut ask: impl FnMut() -> F + Send,
    ) -> Result<T, StoreError> {
        let (mut again, mut slower, mut wait) = (self.again, self.slower, self.first);
        loop {
            let error = match ask().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let left = match error.recovery() {
                Recovery::Again => &mut again,
                Recovery::Slower => &mut slower,
                Recovery::Row | Recovery::Stop => return Err(error),
            };
            if *left == 0 {
                return Err(error);
            }
            *left -= 1;
            tracing::debug!(kind = ?error.kind(), "asking again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(self.first * 100);
        }
    }
}
