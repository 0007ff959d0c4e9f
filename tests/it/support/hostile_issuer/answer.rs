//! One answer: its bytes, how they come, and what comes after them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;

#[derive(Clone)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// Between one byte and the next.
    pace: Option<Duration>,
    gate: Option<Gate>,
    then: Then,
}

/// What comes after the bytes of an answer.
#[derive(Clone)]
pub(crate) enum Then {
    /// The connection ends.
    Close,
    /// Nothing, for ever.
    Hang,
    /// These bytes again and again.
    Repeat(Vec<u8>),
}

impl Answer {
    /// Exactly these bytes.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        Self {
            bytes: bytes.into(),
            pace: None,
            gate: None,
            then,
        }
    }

    pub(crate) fn ok(body: &[u8]) -> Self {
        Self::status("200 OK", "", body)
    }

    /// `headers` are whole lines with their ends.
    pub(crate) fn status(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        Self::raw([head.as_bytes(), body].concat(), Then::Close)
    }

    pub(crate) fn redirect(status: &str, location: &str) -> Self {
        let header = format!("Location: {location}\r\n");
        Self::status(status, &header, b"{\"keys\":[]}")
    }

    /// Byte by byte.
    pub(crate) fn slowly(mut self, pace: Duration) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Not before the gate is open.
    pub(crate) fn after(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    pub(super) async fn send(&self, stream: &mut (impl AsyncWrite + Unpin), sent: &AtomicUsize) {
        if let Some(gate) = &self.gate {
            gate.passed().await;
        }
        let size = if self.pace.is_some() { 1 } else { 16_384 };
        for piece in self.bytes.chunks(size) {
            if let Some(pace) = self.pace {
                tokio::time::sleep(pace).await;
            }
            if !write(stream, piece, sent).await {
                return;
            }
        }
        match &self.then {
            Then::Close => {
                let _ = stream.shutdown().await;
            }
            Then::Hang => std::future::pending().await,
            Then::Repeat(tail) => while write(stream, tail, sent).await {},
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], sent: &AtomicUsize) -> bool {
    let is_out = stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok();
    if is_out {
        sent.fetch_add(bytes.len(), Ordering::SeqCst);
    }
    is_out
}

/// Holds answers back until a test opens it.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn open(&self) {
        self.0.add_permits(1_000);
    }

    async fn passed(&self) {
        let _ = self.0.acquire().await.unwrap();
    }
}
