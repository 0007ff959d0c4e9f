//! Runs a future to completion even if its caller is dropped, and turns panics into errors.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crate::reason::Reason;
use tracing::Instrument as _;

/// Whether the caller dropped the future before its result.
#[derive(Clone, Debug, Default)]
pub(super) struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    /// The caller is gone.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Polls `make`'s future in place, without a task. If it is dropped before completion, it spawns
/// the future as a task (T-90), and [`Abandoned::is_set`] returns true from then on.
pub(super) fn run_to_completion<F, M>(make: M) -> RunToCompletion<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    M: FnOnce(Abandoned) -> F,
{
    let abandoned = Abandoned::default();
    RunToCompletion {
        future: Some(Box::pin(make(abandoned.clone()))),
        abandoned,
    }
}

/// See [`run_to_completion`].
pub(super) struct RunToCompletion<T: Send + 'static> {
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    abandoned: Abandoned,
}

impl<T: Send + 'static> Future for RunToCompletion<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(future) = self.future.as_mut() else {
            // Polled after completion, which callers must not do.
            return Poll::Pending;
        };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for RunToCompletion<T> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else {
            return;
        };
        self.abandoned.0.store(true, Ordering::Release);
        match tokio::runtime::Handle::try_current() {
            // Its log lines still belong to the request's span.
            Ok(runtime) => drop(runtime.spawn(future.in_current_span())),
            Err(_) => {
                tracing::error!(
                    reason = Reason::ExchangeAbandoned.code(),
                    "the async runtime has shut down before the exchange finished"
                );
            }
        }
    }
}

/// A future panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Returns the result of `future`, or [`Panicked`], so a bug in one request does not affect others
/// (T-94).
pub(crate) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| {
        // Unwind safety: the future is never polled again after a panic.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// T-90
    #[tokio::test]
    async fn a_dropped_future_still_ends_and_knows_that_nobody_waits() {
        let (go, gate) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel::<bool>();
        let mut future = run_to_completion(|abandoned| async move {
            gate.await.unwrap();
            done.send(abandoned.is_set()).unwrap();
        });
        let first =
            std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context)));
        assert_eq!(first.await, Poll::Pending);
        drop(future);
        go.send(()).unwrap();
        assert!(ended.await.unwrap());
    }

    #[tokio::test]
    async fn a_future_that_is_waited_for_ends_in_place() {
        let over = run_to_completion(|abandoned| async move { abandoned.is_set() }).await;
        assert!(!over);
    }

    /// T-94
    #[tokio::test]
    async fn a_panic_is_caught_and_the_next_future_is_fine() {
        let nothing: Vec<u8> = Vec::new();
        let broken = async move { nothing[0] };
        assert_eq!(catch_panic(broken).await, Err(Panicked));
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
    }
}
