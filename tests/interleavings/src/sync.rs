//! The names of the library's `sync`, each call of which is a step that any other task may come before.

pub(crate) use shuttle::sync::{Mutex, MutexGuard};

use futures::future::{Either, select};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{self, Ordering};
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;

/// Lets any other task go first.
pub(crate) fn step() {
    let _ = shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
}

/// Of the standard library, with a step before each access: shuttle's own costs too much where there are thousands.
#[derive(Debug, Default)]
pub(crate) struct AtomicU32(atomic::AtomicU32);

impl AtomicU32 {
    pub(crate) fn new(value: u32) -> AtomicU32 {
        AtomicU32(atomic::AtomicU32::new(value))
    }

    pub(crate) fn load(&self, _order: Ordering) -> u32 {
        step();
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn store(&self, value: u32, _order: Ordering) {
        step();
        self.0.store(value, Ordering::SeqCst);
    }

    pub(crate) fn fetch_add(&self, value: u32, _order: Ordering) -> u32 {
        step();
        self.0.fetch_add(value, Ordering::SeqCst)
    }

    pub(crate) fn fetch_sub(&self, value: u32, _order: Ordering) -> u32 {
        step();
        self.0.fetch_sub(value, Ordering::SeqCst)
    }
}

/// The contract of the real one: a load gets what the last swap put, and holds it.
#[derive(Debug)]
pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> ArcSwap<T> {
        ArcSwap(Mutex::new(Arc::new(value)))
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), value)
    }
}

/// Time passes when shuttle says so: the deadline comes at any moment, or never.
pub(crate) async fn timeout_at<F: Future>(_deadline: Instant, call: F) -> Result<F::Output, Elapsed> {
    if shuttle::rand::Rng::gen_bool(&mut shuttle::rand::thread_rng(), 0.5) {
        return Ok(call.await);
    }
    let (ring, rings) = tokio::sync::oneshot::channel::<()>();
    let clock = shuttle::future::spawn(async move {
        step();
        drop(ring);
    });
    let ended = match select(pin!(call), rings).await {
        Either::Left((answer, _)) => Ok(answer),
        Either::Right(_) => Err(Elapsed),
    };
    clock.abort();
    ended
}

/// The deadline came first.
#[derive(Debug)]
pub(crate) struct Elapsed;

pub(crate) mod oneshot {
    //! Tokio's, with steps between.

    use super::step;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::sync::oneshot::{self, error};

    #[derive(Debug)]
    pub(crate) struct Sender<T>(oneshot::Sender<T>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(oneshot::Receiver<T>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            step();
            self.0.send(value)
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn close(&mut self) {
            step();
            self.0.close();
        }

        pub(crate) fn try_recv(&mut self) -> Result<T, error::TryRecvError> {
            step();
            self.0.try_recv()
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            // A failed scenario is taken down from outside of it.
            if !std::thread::panicking() {
                step();
            }
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, error::RecvError>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            step();
            Pin::new(&mut self.0).poll(context)
        }
    }
}

pub(crate) mod watch {
    //! Tokio's, with steps between.

    use super::step;
    use tokio::sync::watch::{self, Ref, error::RecvError};

    #[derive(Debug)]
    pub(crate) struct Sender<T>(watch::Sender<T>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(watch::Receiver<T>);

    impl<T> Sender<T> {
        pub(crate) fn new(value: T) -> Sender<T> {
            Sender(watch::Sender::new(value))
        }

        pub(crate) fn borrow(&self) -> Ref<'_, T> {
            step();
            self.0.borrow()
        }

        pub(crate) fn send_replace(&self, value: T) -> T {
            step();
            self.0.send_replace(value)
        }

        pub(crate) fn send_modify(&self, change: impl FnOnce(&mut T)) {
            step();
            self.0.send_modify(change);
        }

        pub(crate) fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
            step();
            self.0.send_if_modified(change)
        }

        pub(crate) fn subscribe(&self) -> Receiver<T> {
            step();
            Receiver(self.0.subscribe())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn borrow_and_update(&mut self) -> Ref<'_, T> {
            step();
            self.0.borrow_and_update()
        }

        pub(crate) fn mark_unchanged(&mut self) {
            step();
            self.0.mark_unchanged();
        }

        pub(crate) async fn changed(&mut self) -> Result<(), RecvError> {
            step();
            self.0.changed().await
        }

        pub(crate) async fn wait_for(&mut self, wanted: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, RecvError> {
            step();
            self.0.wait_for(wanted).await
        }
    }
}

/// Counters of marks by bucket: few, since each of their steps is a point at which another task may run.
pub(crate) const BUCKET_COUNTERS: usize = 2;
