//! How many signatures are checked at once. Not: what a signature is.
//!
//! No more than there are cores, and few of them with the largest keys.

use std::thread;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::VerifyError;

/// Places for signature checks. Who finds none waits in a line of bounded length; who finds the line
/// full is told that we are busy (T-96).
///
/// A check runs where it is asked for: it takes some ten microseconds, and moving it to another
/// thread would cost as much again. With one of the largest keys it takes ten times as long, so those
/// get half of the places: a flood of them leaves the other half to everybody else.
#[derive(Debug)]
pub(super) struct Places {
    all: Line,
    dear: Line,
}

impl Places {
    /// As many as this machine, or the share of it that we have, runs threads at once.
    pub(super) fn of_this_machine() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }

    pub(super) fn new(cores: usize) -> Self {
        Self {
            all: Line::new(cores.max(1), LONGEST_LINE),
            dear: Line::new((cores / 2).max(1), LONGEST_DEAR_LINE),
        }
    }

    /// Runs `check` once there is a place for it, and gives the place back.
    ///
    /// # Errors
    /// [`VerifyError::Busy`]: too many wait already.
    pub(super) async fn within<T>(
        &self,
        is_dear: bool,
        check: impl FnOnce() -> T,
    ) -> Result<T, VerifyError> {
        let _dear = if is_dear {
            Some(self.dear.enter().await?)
        } else {
            None
        };
        let _place = self.all.enter().await?;
        Ok(check())
    }

    /// Takes a place and does nothing with it.
    #[cfg(test)]
    pub(super) async fn hold(&self) -> SemaphorePermit<'_> {
        self.all.enter().await.unwrap()
    }
}

/// Places, and those who wait for one.
#[derive(Debug)]
struct Line {
    places: Semaphore,
    waiting: Semaphore,
}

impl Line {
    fn new(places: usize, longest: usize) -> Self {
        Self {
            places: Semaphore::new(places),
            waiting: Semaphore::new(longest),
        }
    }

    async fn enter(&self) -> Result<SemaphorePermit<'_>, VerifyError> {
        // Who waits is served first: a place that is given back goes to the head of the line.
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let _waits = self.waiting.try_acquire().map_err(|_| VerifyError::Busy)?;
        self.places.acquire().await.map_err(|_| VerifyError::Busy)
    }
}

/// At some thirty microseconds each, the last in line waits for a few milliseconds.
const LONGEST_LINE: usize = 128;
/// At some three hundred microseconds each, about ten milliseconds.
const LONGEST_DEAR_LINE: usize = 32;

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
        let line = Line::new(2, 1);
        let (one, _two) = (line.enter().await.unwrap(), line.enter().await.unwrap());
        let mut third = Box::pin(line.enter());
        assert!(waits(third.as_mut()).await);
        assert_eq!(line.enter().await.err(), Some(VerifyError::Busy));
        drop(one);
        // The place is the third's, not of who comes now.
        assert_eq!(line.places.available_permits(), 0);
        assert!(third.await.is_ok());
    }

    /// T-96
    #[tokio::test]
    async fn checks_with_the_largest_keys_leave_half_of_the_places_to_the_others() {
        let places = Arc::new(Places::new(4));
        let held = [places.dear.enter().await, places.dear.enter().await];
        let mut dear = Box::pin(places.within(true, || ()));
        assert!(waits(dear.as_mut()).await);
        assert_eq!(places.within(false, || 7).await, Ok(7));
        assert_eq!(places.all.places.available_permits(), 4);
        drop(held);
        assert_eq!(dear.await, Ok(()));
    }

    /// T-96
    #[tokio::test]
    async fn a_flood_of_the_largest_keys_is_refused_beyond_its_line() {
        let places = Places::new(1);
        let _held = places.dear.enter().await.unwrap();
        let mut line = Vec::new();
        for _ in 0..LONGEST_DEAR_LINE {
            let mut check = Box::pin(places.within(true, || ()));
            assert!(waits(check.as_mut()).await);
            line.push(check);
        }
        assert_eq!(places.within(true, || ()).await, Err(VerifyError::Busy));
        assert_eq!(places.within(false, || ()).await, Ok(()));
    }

    /// T-96
    #[tokio::test]
    async fn a_check_that_is_given_up_or_panics_gives_its_place_back() {
        let places = Arc::new(Places::new(1));
        let held = places.all.enter().await.unwrap();
        let mut waiting = Box::pin(places.within(true, || ()));
        assert!(waits(waiting.as_mut()).await);
        drop((waiting, held));
        let inside = Arc::clone(&places);
        let nothing: Vec<u8> = Vec::new();
        let broken = tokio::spawn(async move { inside.within(true, || nothing[0]).await });
        assert!(broken.await.is_err());
        assert_eq!(places.within(true, || 7).await, Ok(7));
    }
}
