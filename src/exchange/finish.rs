//! A future that runs to its end also when nobody waits for it any more.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crate::reason::Reason;
use tracing::Instrument as _;

/// Whether somebody still waits for a result.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<AtomicBool>);

impl Waiting {
    /// Nobody does: the caller went away.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Polls `make`'s future in place, which costs no task and wakes no thread. Dropped half-way, it
/// moves the future to a task of its own (T-90), and [`Waiting::is_over`] holds from then on.
pub(super) fn to_the_end<F, M>(make: M) -> ToTheEnd<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    M: FnOnce(Waiting) -> F,
{
    let waiting = Waiting::default();
    ToTheEnd {
        future: Some(Box::pin(make(waiting.clone()))),
        waiting,
    }
}

/// See [`to_the_end`].
pub(super) struct ToTheEnd<T: Send + 'static> {
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    waiting: Waiting,
}

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(future) = self.future.as_mut() else {
            // Polled after its end, against the contract of futures: it stays pending.
            return Poll::Pending;
        };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else {
            return;
        };
        self.waiting.0.store(true, Ordering::Release);
        match tokio::runtime::Handle::try_current() {
            // What it logs from here on still belongs to the request.
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

/// A panic came out of a future; its text stays where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// The result of `future`, or [`Panicked`]: a bug in one request is not one of all (T-94).
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
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
        let mut future = to_the_end(|waiting| async move {
            gate.await.unwrap();
            done.send(waiting.is_over()).unwrap();
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
        let over = to_the_end(|waiting| async move { waiting.is_over() }).await;
        assert!(!over);
    }

    /// T-94
    #[tokio::test]
    async fn a_panic_is_caught_and_the_next_future_is_fine() {
        let nothing: Vec<u8> = Vec::new();
        let broken = async move { nothing[0] };
        assert_eq!(caught(broken).await, Err(Panicked));
        assert_eq!(caught(async { 7 }).await, Ok(7));
    }
}
