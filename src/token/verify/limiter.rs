//! Limits how many signatures are checked at once: one per core, and fewer for the largest keys.

use std::thread;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::VerifyError;

/// Limits concurrent signature checks. Callers queue up to a limit; beyond it they get
/// [`VerifyError::Busy`] (T-96).
///
/// A check runs on the calling task. It takes about ten microseconds, and moving it to another
/// thread would double that. With one of the largest keys it takes ten times as long, so those
/// checks may use only half of the slots.
#[derive(Debug)]
pub(super) struct SignatureLimiter {
    all: WaitQueue,
    slow: WaitQueue,
}

impl SignatureLimiter {
    /// One slot per thread that this process can run at once.
    pub(super) fn of_this_machine() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }

    pub(super) fn new(cores: usize) -> Self {
        Self {
            all: WaitQueue::new(cores.max(1), MAX_WAITERS),
            slow: WaitQueue::new((cores / 2).max(1), MAX_SLOW_WAITERS),
        }
    }

    /// Runs `check` as soon as a slot is free.
    ///
    /// # Errors
    /// [`VerifyError::Busy`]: the queue is full.
    pub(super) async fn within<T>(
        &self,
        is_slow: bool,
        check: impl FnOnce() -> T,
    ) -> Result<T, VerifyError> {
        let _slow = if is_slow {
            Some(self.slow.enter().await?)
        } else {
            None
        };
        let _place = self.all.enter().await?;
        Ok(check())
    }

    /// Takes a slot and does nothing with it.
    #[cfg(test)]
    pub(super) async fn hold(&self) -> SemaphorePermit<'_> {
        self.all.enter().await.unwrap()
    }
}

/// Slots, and a queue of bounded length for them.
#[derive(Debug)]
struct WaitQueue {
    slots: Semaphore,
    waiting: Semaphore,
}

impl WaitQueue {
    fn new(slots: usize, longest: usize) -> Self {
        Self {
            slots: Semaphore::new(slots),
            waiting: Semaphore::new(longest),
        }
    }

    async fn enter(&self) -> Result<SemaphorePermit<'_>, VerifyError> {
        // Waiting callers come first: a freed slot goes to the head of the queue.
        if let Ok(place) = self.slots.try_acquire() {
            return Ok(place);
        }
        let _waits = self.waiting.try_acquire().map_err(|_| VerifyError::Busy)?;
        self.slots.acquire().await.map_err(|_| VerifyError::Busy)
    }
}

/// At about thirty microseconds each, the last caller waits for a few milliseconds.
const MAX_WAITERS: usize = 128;
/// At about three hundred microseconds each, about ten milliseconds.
const MAX_SLOW_WAITERS: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;

    /// Polls once: whether it is still waiting.
    async fn waits<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        let mut future = Some(future);
        std::future::poll_fn(|context| {
            let polled = future
                .take()
                .map(|future| future.poll(context).is_pending());
            Poll::Ready(polled == Some(true))
        })
        .await
    }

    /// T-96
    #[tokio::test]
    async fn a_check_beyond_the_places_waits_and_beyond_the_line_is_refused() {
        let line = WaitQueue::new(2, 1);
        let (one, _two) = (line.enter().await.unwrap(), line.enter().await.unwrap());
        let mut third = Box::pin(line.enter());
        assert!(waits(third.as_mut()).await);
        assert_eq!(line.enter().await.err(), Some(VerifyError::Busy));
        drop(one);
        // The place is the third's, not of who comes now.
        assert_eq!(line.slots.available_permits(), 0);
        assert!(third.await.is_ok());
    }

    /// T-96
    #[tokio::test]
    async fn checks_with_the_largest_keys_leave_half_of_the_places_to_the_others() {
        let limiter = Arc::new(SignatureLimiter::new(4));
        let held = [limiter.slow.enter().await, limiter.slow.enter().await];
        let mut slow = Box::pin(limiter.within(true, || ()));
        assert!(waits(slow.as_mut()).await);
        assert_eq!(limiter.within(false, || 7).await, Ok(7));
        assert_eq!(limiter.all.slots.available_permits(), 4);
        drop(held);
        assert_eq!(slow.await, Ok(()));
    }

    /// T-96
    #[tokio::test]
    async fn a_flood_of_the_largest_keys_is_refused_beyond_its_line() {
        let limiter = SignatureLimiter::new(1);
        let _held = limiter.slow.enter().await.unwrap();
        let mut line = Vec::new();
        for _ in 0..MAX_SLOW_WAITERS {
            let mut check = Box::pin(limiter.within(true, || ()));
            assert!(waits(check.as_mut()).await);
            line.push(check);
        }
        assert_eq!(limiter.within(true, || ()).await, Err(VerifyError::Busy));
        assert_eq!(limiter.within(false, || ()).await, Ok(()));
    }

    /// T-96
    #[tokio::test]
    async fn a_check_that_is_given_up_or_panics_gives_its_place_back() {
        let limiter = Arc::new(SignatureLimiter::new(1));
        let held = limiter.all.enter().await.unwrap();
        let mut waiting = Box::pin(limiter.within(true, || ()));
        assert!(waits(waiting.as_mut()).await);
        drop((waiting, held));
        let inside = Arc::clone(&limiter);
        let nothing: Vec<u8> = Vec::new();
        let broken = tokio::spawn(async move { inside.within(true, || nothing[0]).await });
        assert!(broken.await.is_err());
        assert_eq!(limiter.within(true, || 7).await, Ok(7));
    }
}
