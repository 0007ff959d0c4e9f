//! Discovery and JWKS over HTTPS; cache, cool-down, one fetch at a time.
//!
//! What callers may rely on: a known key never waits and never causes a fetch; an unknown one causes
//! at most one fetch per issuer in 30 s, whatever comes of it; no lock is held while an issuer is
//! asked; a request that goes away stops nothing. All intervals are the [`Clock`]'s monotonic time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::{KeyError, KeySet, KeySource};
use crate::clock::Clock;
use crate::token::TrustedIssuer;

pub(in crate::token) mod address;
mod fetch;
mod report;
mod state;

pub use fetch::{Fetch, HttpsFetch, Lookup, key_set_url};

use state::IssuerKeys;

/// The key sets of all configured issuers, kept fresh in the background.
pub struct RemoteKeys {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    issuers: ArcSwap<HashMap<String, Arc<IssuerKeys>>>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
}

impl RemoteKeys {
    /// Fetches over HTTPS, and keeps on until dropped. Must be called within a tokio runtime.
    /// Nothing is waited for: an issuer that is down does not delay the start (T-68).
    #[must_use]
    pub fn start(issuers: &[Arc<TrustedIssuer>], clock: Arc<dyn Clock>) -> Self {
        let mut keys = Self::with_fetch(issuers, clock, Arc::new(HttpsFetch::new()));
        let shared = Arc::clone(&keys.shared);
        keys.ticker = Some(tokio::spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            loop {
                interval.tick().await;
                shared.tick();
            }
        }));
        keys
    }

    /// Fetches by `fetch`, and in the background only when [`tick`](Self::tick) is called.
    #[must_use]
    pub fn with_fetch(
        issuers: &[Arc<TrustedIssuer>],
        clock: Arc<dyn Clock>,
        fetch: Arc<dyn Fetch>,
    ) -> Self {
        let shared = Shared {
            issuers: ArcSwap::default(),
            fetch,
            clock,
        };
        let keys = Self {
            shared: Arc::new(shared),
            ticker: None,
        };
        keys.follow(issuers);
        keys
    }

    /// Takes over the issuers of a reload. Sets of issuers whose settings did not change stay; the
    /// others are forgotten, so that a stricter setting holds at once (T-64).
    pub fn follow(&self, issuers: &[Arc<TrustedIssuer>]) {
        let now = self.shared.clock.monotonic();
        let old = self.shared.issuers.load();
        let new = issuers
            .iter()
            .map(|issuer| {
                let kept = old
                    .get(&issuer.url)
                    .filter(|keys| keys.is_for(issuer))
                    .map(Arc::clone);
                let keys = kept.unwrap_or_else(|| Arc::new(IssuerKeys::new(issuer, now)));
                (issuer.url.clone(), keys)
            })
            .collect();
        self.shared.issuers.store(Arc::new(new));
    }

    /// Starts every refresh that is due.
    pub fn tick(&self) {
        self.shared.tick();
    }

    /// Fetches every issuer's keys anew, cool-down or not, and waits for the answers (T-64).
    pub async fn force_refresh(&self) {
        let started: Vec<_> = self
            .shared
            .issuers
            .load()
            .values()
            .map(|keys| keys.start(&self.shared.fetch, &self.shared.clock))
            .collect();
        for done in started {
            state::wait(done).await;
        }
    }

    /// The keys of the issuer with this URL, as far as they may be used now.
    #[must_use]
    pub fn set(&self, issuer: &str) -> Option<Arc<KeySet>> {
        let issuers = self.shared.issuers.load();
        issuers.get(issuer)?.set(self.shared.clock.monotonic())
    }

    /// How it stands with each issuer's keys, in the order of their names.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        let now = self.shared.clock.monotonic();
        let issuers = self.shared.issuers.load();
        let mut all: Vec<_> = issuers.values().map(|keys| keys.status(now)).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

#[async_trait]
impl KeySource for RemoteKeys {
    async fn keys(
        &self,
        issuer: &Arc<TrustedIssuer>,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, KeyError> {
        let found = self.shared.issuers.load().get(&issuer.url).map(Arc::clone);
        let keys = found.ok_or_else(|| KeyError::Unavailable {
            issuer: issuer.url.clone(),
            cause: "it is not among the issuers whose keys are fetched".to_owned(),
        })?;
        keys.get(kid, &self.shared.fetch, &self.shared.clock).await
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        if let Some(ticker) = &self.ticker {
            ticker.abort();
        }
    }
}

impl Shared {
    fn tick(&self) {
        let now = self.clock.monotonic();
        for keys in self.issuers.load().values() {
            keys.refresh_if_due(now, &self.fetch, &self.clock);
        }
    }
}

/// How it stands with one issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerStatus {
    /// The issuer's name in the policies.
    pub name: String,
    pub url: String,
    /// Keys in the last good set; `None` before there was one.
    pub keys: Option<usize>,
    /// Time since the last good set was asked for.
    pub age: Option<Duration>,
    /// Tokens of this issuer can be verified now.
    pub usable: bool,
    /// Why they cannot, or else what the last fetch ended with, if it failed.
    pub problem: Option<String>,
    /// What the last fetch ended with, if it failed.
    pub last_error: Option<String>,
    /// How many fetches ended in which way: `ok`, or the reason of their error. They begin anew when
    /// the issuer's settings change.
    pub fetches: BTreeMap<&'static str, u64>,
}

/// How often due refreshes are looked for.
const TICK: Duration = Duration::from_secs(1);
