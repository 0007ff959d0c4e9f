//! Issuers whose answers are scripted, and a clock that moves only when told to: no network.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hallpass::clock::{Clock, FixedClock, Timestamp};
use hallpass::token::keys::remote::{Fetch, IssuerStatus};
use hallpass::token::keys::{KeyError, KeySource as _, RemoteKeys};
use hallpass::token::{KeySet, TrustedIssuer};
use tokio::sync::oneshot;

use crate::support::leaks;
use crate::support::tokens::{NOW, TestKey, jwks};

/// Lets a fetch end, and says how.
pub(crate) type Answer = oneshot::Sender<Result<Vec<u8>, KeyError>>;

/// What the next fetch of an issuer ends with.
pub(crate) enum Script {
    Now(Result<Vec<u8>, KeyError>),
    When(oneshot::Receiver<Result<Vec<u8>, KeyError>>),
    Panic,
}

#[derive(Default)]
pub(crate) struct Scripted {
    scripts: Mutex<HashMap<String, Vec<Script>>>,
    usual: Mutex<Option<Vec<u8>>>,
    started: AtomicUsize,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    pub(crate) fn then(&self, issuer: &TrustedIssuer, script: Script) {
        self.scripts
            .lock()
            .unwrap()
            .entry(issuer.url.clone())
            .or_default()
            .push(script);
    }

    /// The next fetch answers when the sender says so.
    pub(crate) fn later(&self, issuer: &TrustedIssuer) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.then(issuer, Script::When(receiver));
        sender
    }

    pub(crate) fn usually(&self, kids: &[&str]) {
        *self.usual.lock().unwrap() = Some(set(kids));
    }

    pub(crate) fn down(&self) {
        *self.usual.lock().unwrap() = None;
    }

    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Fetch for Scripted {
    async fn key_set(&self, issuer: &TrustedIssuer) -> Result<Vec<u8>, KeyError> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let script = {
            let mut scripts = self.scripts.lock().unwrap();
            let next = scripts.entry(issuer.url.clone()).or_default();
            if next.is_empty() {
                None
            } else {
                Some(next.remove(0))
            }
        };
        match script {
            Some(Script::Now(outcome)) => outcome,
            Some(Script::When(receiver)) => receiver.await.unwrap(),
            Some(Script::Panic) => panic!("scripted"),
            None => self
                .usual
                .lock()
                .unwrap()
                .clone()
                .ok_or_else(|| KeyError::Fetch("the issuer is down".to_owned())),
        }
    }
}

pub(crate) fn set(kids: &[&str]) -> Vec<u8> {
    jwks(
        &kids
            .iter()
            .map(|kid| TestKey::rsa(kid).jwk())
            .collect::<Vec<_>>(),
    )
}

pub(crate) struct World {
    pub(crate) keys: Arc<RemoteKeys>,
    pub(crate) fetch: Arc<Scripted>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) issuers: Vec<Arc<TrustedIssuer>>,
}

impl World {
    pub(crate) fn new(count: usize) -> Self {
        let issuers: Vec<Arc<TrustedIssuer>> = (0..count)
            .map(|number| {
                Arc::new(TrustedIssuer::new(
                    &number.to_string(),
                    &format!("https://{number}.example"),
                ))
            })
            .collect();
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
        let fetch = Arc::new(Scripted::default());
        let keys = RemoteKeys::with_fetch(
            &issuers,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&fetch) as Arc<_>,
        );
        Self {
            keys: Arc::new(keys),
            fetch,
            clock,
            issuers,
        }
    }

    pub(crate) async fn get(&self, kid: &str) -> Result<Arc<KeySet>, KeyError> {
        self.keys.keys(&self.issuers[0], Some(kid)).await
    }

    pub(crate) async fn knows(&self, kid: &str) -> bool {
        self.get(kid).await.is_ok_and(|set| set.knows(kid))
    }

    pub(crate) fn status(&self) -> IssuerStatus {
        self.keys.status().remove(0)
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Starts what is due, and lets it end.
    pub(crate) async fn tick(&self) {
        self.keys.tick();
        self.settle().await;
    }

    /// Lets every task that can go on do so: the scripted fetches wait for nothing else.
    pub(crate) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

/// What is logged while a test holds it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Captures what this thread logs from now on, while the guard lives.
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        leaks::said("a log line", bytes);
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
