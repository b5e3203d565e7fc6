//! Work on many ranges, some at a time, each on a task of its own.

use std::future::Future;

use tokio::task::JoinSet;

use crate::TransferError;

/// Works on each item, `parallel` at a time. After the first error no further item is begun, those in flight end, and that error is the answer.
/// Dropping the answer ends all tasks.
pub(crate) async fn each<T, R, F>(
    parallel: usize,
    items: Vec<T>,
    work: impl Fn(T) -> F,
) -> Result<Vec<R>, TransferError>
where
    R: Send + 'static,
    F: Future<Output = Result<R, TransferError>> + Send + 'static,
{
    let mut items = items.into_iter();
    let mut tasks = JoinSet::new();
    for item in items.by_ref().take(parallel.max(1)) {
        tasks.spawn(work(item));
    }
    let mut done = Vec::new();
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(result)) => done.push(result),
            Ok(Err(e)) => {
                failed.get_or_insert(e);
            }
            // A defect of ours goes up as what it is.
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => {
                failed.get_or_insert(TransferError::Stopped);
            }
        }
        if failed.is_none()
            && let Some(item) = items.next()
        {
            tasks.spawn(work(item));
        }
    }
    failed.map_or(Ok(done), Err)
}
