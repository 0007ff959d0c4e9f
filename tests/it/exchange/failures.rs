//! Keys and the store of used tokens made to fail, hang, panic or come back empty: nothing is handed
//! out. What stands behind them is made to fail through the doors, in `http/failures.rs`.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hallpass::exchange::{Exchange, Parts, Request, Seen};
use hallpass::policy::{Ask, Permit};
use hallpass::replay::memory::MemoryTokens;
use hallpass::replay::{IdempotencyKey, Reach, ReplayError, Reserved, Slot, UsedTokens};
use hallpass::token::keys::{FileKeys, KeyError, KeySet, KeySource};
use hallpass::token::{SubjectToken, TrustedIssuer, Verifier};

use crate::support::TestBroker;
use crate::support::broker::GITHUB;
use crate::support::tokens::{AUDIENCE, jwks};

/// How a part misbehaves.
#[derive(Clone, Copy, Debug)]
enum How {
    Fails,
    Hangs,
    Panics,
}

#[derive(Debug)]
struct Broken(How);

#[async_trait]
impl KeySource for Broken {
    async fn keys(
        &self,
        issuer: &Arc<TrustedIssuer>,
        _kid: Option<&str>,
    ) -> Result<Arc<KeySet>, KeyError> {
        match self.0 {
            How::Fails => Err(KeyError::Unavailable {
                issuer: issuer.url.clone(),
                cause: "down".to_owned(),
            }),
            How::Hangs => pending().await,
            How::Panics => panic!("keys"),
        }
    }
}

#[async_trait]
impl UsedTokens for Broken {
    async fn reserve(
        &self,
        _permit: Permit,
        _key: Option<IdempotencyKey>,
        _request_id: &str,
    ) -> Result<Reserved, ReplayError> {
        match self.0 {
            How::Fails => Err(ReplayError::Unavailable {
                problem: "is down".to_owned(),
            }),
            How::Hangs => pending().await,
            How::Panics => panic!("used tokens"),
        }
    }

    async fn release(&self, _slot: &Slot) {}

    fn reach(&self) -> Reach {
        Reach::Shared
    }
}

/// The broker's own parts, but for these two.
fn exchange(
    broker: &TestBroker,
    keys: Arc<dyn KeySource>,
    used_tokens: Arc<dyn UsedTokens>,
) -> Arc<Exchange> {
    let parts = broker.parts();
    let readers = parts.policies.readers().iter();
    let issuers = readers.map(|reader| Arc::clone(&reader.issuer)).collect();
    let clock = Arc::clone(&parts.clock);
    Arc::new(Exchange::new(Parts {
        verifier: Verifier::new(AUDIENCE.to_owned(), issuers, keys, Arc::clone(&clock)),
        policies: Arc::clone(&parts.policies),
        used_tokens,
        audit: Arc::clone(&parts.audit),
        mints: Arc::clone(&parts.mints),
        leases: Arc::clone(&parts.leases),
        root_keys: parts.root_keys.clone(),
        clock,
        places: 4,
        per_repository: 60,
    }))
}

fn good_keys(broker: &TestBroker) -> Arc<dyn KeySource> {
    key_set(&[broker.key.jwk()])
}

fn key_set(keys: &[serde_json::Value]) -> Arc<dyn KeySource> {
    let github = TrustedIssuer::new("github", GITHUB);
    let source = FileKeys::new().with_document(&github, &jwks(keys));
    Arc::new(source.unwrap())
}

fn good_store(broker: &TestBroker) -> Arc<dyn UsedTokens> {
    Arc::new(MemoryTokens::new(Arc::clone(&broker.parts().clock), 10))
}

/// Whether a credential came back; one that hangs is given up, as a door does, and one that panics
/// is caught, as a door does.
async fn hands_out(broker: &TestBroker, exchange: &Arc<Exchange>) -> bool {
    let request = Request {
        id: "req_test".to_owned(),
        subject_token: SubjectToken::new(broker.github(|_| {})),
        ask: Ask {
            credential: "shop-db/read".to_owned(),
            scopes: None,
            ttl: None,
        },
        kind: None,
        key: None,
        seen: Arc::new(Seen::default()),
    };
    let exchange = Arc::clone(exchange);
    let asked = tokio::spawn(async move {
        let patience = Duration::from_millis(300);
        tokio::time::timeout(patience, exchange.exchange(request)).await
    });
    matches!(asked.await, Ok(Ok(Ok(_))))
}

/// T-98
#[tokio::test]
async fn an_exchange_of_good_parts_hands_out_one_credential() {
    let broker = TestBroker::start().await;
    let good = exchange(&broker, good_keys(&broker), good_store(&broker));
    assert!(hands_out(&broker, &good).await);
    assert_eq!((broker.database.started(), broker.database.live()), (1, 1));
}

/// T-98
#[tokio::test]
async fn keys_that_fail_hang_panic_or_are_empty_hand_out_nothing() {
    let broker = TestBroker::start().await;
    let mut sources = vec![key_set(&[])];
    for how in [How::Fails, How::Hangs, How::Panics] {
        sources.push(Arc::new(Broken(how)));
    }
    for keys in sources {
        let case = format!("{keys:?}");
        let exchange = exchange(&broker, keys, good_store(&broker));
        assert!(!hands_out(&broker, &exchange).await, "{case}");
    }
    assert_eq!(broker.database.started(), 0);
    assert!(broker.events("intent").await.is_empty());
}

/// T-98
#[tokio::test]
async fn a_store_of_used_tokens_that_fails_hangs_or_panics_hands_out_nothing() {
    let broker = TestBroker::start().await;
    for how in [How::Fails, How::Hangs, How::Panics] {
        let exchange = exchange(&broker, good_keys(&broker), Arc::new(Broken(how)));
        assert!(!hands_out(&broker, &exchange).await, "{how:?}");
    }
    assert_eq!(broker.database.started(), 0);
    assert!(broker.events("intent").await.is_empty());
}
