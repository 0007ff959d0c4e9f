//! Waiting for something to come true, for a bounded time.

use std::time::Duration;

use super::client::PATIENCE;

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let waited = waited.await;
    waited.unwrap_or_else(|_| panic!("never happened: {what}"));
}
