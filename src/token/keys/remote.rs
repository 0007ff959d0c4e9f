//! Discovery and JWKS over HTTPS; one task per issuer fetches its keys.
//!
//! What callers may rely on: a known key never waits and never causes a fetch; an unknown one causes
//! at most one fetch per issuer in 30 s, whatever comes of it; one issuer never delays another; a
//! request that goes away stops nothing. All intervals are the [`Clock`]'s monotonic time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::{KeyError, KeySet, KeySource};
use crate::clock::Clock;
use crate::token::TrustedIssuer;

pub(crate) mod address;
mod fetch;
mod report;
mod state;

pub use fetch::{Fetch, HttpsFetch, Lookup, key_set_url};

use state::{IssuerKeys, LONGEST_WAIT, Want};

/// The key sets of all configured issuers, kept fresh in the background until dropped.
pub struct RemoteKeys {
    issuers: ArcSwap<HashMap<String, Arc<IssuerKeys>>>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    ticks: bool,
}

impl RemoteKeys {
    /// Fetches over HTTPS. Must be called within a tokio runtime. Nothing is waited for: an issuer
    /// that is down does not delay the start (T-68).
    #[must_use]
    pub fn start(issuers: &[Arc<TrustedIssuer>], clock: Arc<dyn Clock>) -> Self {
        Self::new(issuers, clock, Arc::new(HttpsFetch::new()), true)
    }

    /// Fetches by `fetch`, and in the background only when [`tick`](Self::tick) is called. Must be
    /// called within a tokio runtime.
    #[must_use]
    pub fn with_fetch(
        issuers: &[Arc<TrustedIssuer>],
        clock: Arc<dyn Clock>,
        fetch: Arc<dyn Fetch>,
    ) -> Self {
        Self::new(issuers, clock, fetch, false)
    }

    fn new(
        issuers: &[Arc<TrustedIssuer>],
        clock: Arc<dyn Clock>,
        fetch: Arc<dyn Fetch>,
        ticks: bool,
    ) -> Self {
        let keys = Self {
            issuers: ArcSwap::default(),
            fetch,
            clock,
            ticks,
        };
        keys.follow(issuers);
        keys
    }

    /// Takes over the issuers of a reload. Sets of issuers whose settings did not change stay; the
    /// others are forgotten, so that a stricter setting holds at once (T-64).
    pub fn follow(&self, issuers: &[Arc<TrustedIssuer>]) {
        let old = self.issuers.load();
        let new = issuers
            .iter()
            .map(|issuer| {
                let kept = old
                    .get(&issuer.url)
                    .filter(|keys| keys.is_for(issuer))
                    .map(Arc::clone);
                let keys = kept.unwrap_or_else(|| {
                    Arc::new(IssuerKeys::start(
                        issuer,
                        &self.fetch,
                        &self.clock,
                        self.ticks,
                    ))
                });
                (issuer.url.clone(), keys)
            })
            .collect();
        self.issuers.store(Arc::new(new));
    }

    /// Starts every refresh that is due.
    pub fn tick(&self) {
        for keys in self.issuers.load().values() {
            drop(keys.request(Want::Due));
        }
    }

    /// Fetches every issuer's keys anew, cool-down or not, and waits for the answers (T-64).
    pub async fn force_refresh(&self) {
        let issuers = self.issuers.load_full();
        let fetches = issuers.values().map(|keys| keys.request(Want::Now));
        let fetches = futures_util::future::join_all(fetches);
        // Those that take longer end in the background.
        let _ = tokio::time::timeout(LONGEST_WAIT, fetches).await;
    }

    /// The keys of the issuer with this URL, as far as they may be used now.
    #[must_use]
    pub fn set(&self, issuer: &str) -> Option<Arc<KeySet>> {
        let issuers = self.issuers.load();
        issuers.get(issuer)?.usable().ok()
    }

    /// How it stands with each issuer's keys, in the order of their names.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        let issuers = self.issuers.load();
        let mut all: Vec<_> = issuers.values().map(|keys| keys.status()).collect();
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
        let found = self.issuers.load().get(&issuer.url).map(Arc::clone);
        let keys = found.ok_or_else(|| KeyError::Unavailable {
            issuer: issuer.url.clone(),
            cause: "it is not among the issuers whose keys are fetched".to_owned(),
        })?;
        keys.get(kid).await
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys")
            .field("status", &self.status())
            .finish_non_exhaustive()
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
    /// Time since the last good set was asked for; `None` for pinned keys, which do not age.
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
