//! Connections that are lent to one call at a time.
//!
//! A call gives its connection back when it has ended and nothing of it is on its way. Any other connection is closed:
//! the next call does not queue behind what was given up.

use crate::dao::RowError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How long a connection may take. Nothing was sent by then, so no linger counts it; given up sooner, every caller on a
/// slow machine knocks again before a restarted server has let anybody in.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// How long a call waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(1);

/// The connections of one side.
pub(crate) struct Lending<C> {
    idle: Mutex<Vec<C>>,
    places: Semaphore,
}

/// A connection while a call uses it. Dropped without [`Lent::back`], it is closed.
pub(crate) struct Lent<'a, C> {
    pub(crate) connection: C,
    lender: &'a Lending<C>,
    _place: SemaphorePermit<'a>,
}

impl<C> Lent<'_, C> {
    /// Its call has ended, and nothing of it is on its way.
    pub(crate) fn back(self) {
        self.lender.idle().push(self.connection);
    }
}

impl<C> Lending<C> {
    pub(crate) fn new(connections: usize) -> Lending<C> {
        Lending { idle: Mutex::default(), places: Semaphore::new(connections) }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<C>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, made by `connect` where none is idle. Without one nothing was sent.
    pub(crate) async fn lend<E>(&self, connect: impl Future<Output = Result<C, E>>) -> Result<Lent<'_, C>, RowError> {
        let place = timeout(TURN_WITHIN, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(RowError::Rejected("no connection in time")) };
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => match timeout(CONNECTED_WITHIN, connect).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(_)) | Err(_) => return Err(RowError::Rejected("no connection")),
            },
        };
        Ok(Lent { connection, lender: self, _place })
    }

    /// A connection broke: those that are idle have broken with it, as a rule. A call on one of them would not know
    /// whether it was heard.
    pub(crate) fn forget(&self) {
        let broken = std::mem::take(&mut *self.idle());
        drop(broken);
    }
}
