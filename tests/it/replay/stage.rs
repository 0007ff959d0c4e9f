//! A store, and permits to take uses with.

use std::sync::Arc;
use std::time::Duration;

use hallpass::clock::FixedClock;
use hallpass::policy::{Ask, Permit};
use hallpass::replay::memory::MemoryTokens;
use hallpass::replay::redis::{RedisSettings, RedisTokens};
use hallpass::replay::{IdempotencyKey, ReplayError, Reserved, UsedTokens};
use hallpass::token::keys::FileKeys;
use hallpass::token::{Algorithm, SubjectToken, TrustedIssuer, Verifier};

use crate::support::TestBroker;
use crate::support::broker::GITHUB;
use crate::support::client::PATIENCE;
use crate::support::redis::Redis;
use crate::support::tokens::{AUDIENCE, TestKey, jwks};

pub(super) const READ: &str = "shop-db/read";
pub(super) const DEPLOY: &str = "deploy-api";

pub(super) struct Stage {
    pub(super) broker: TestBroker,
    pub(super) store: Arc<dyn UsedTokens>,
    pub(super) redis: Option<Redis>,
}

impl Stage {
    pub(super) async fn memory() -> Self {
        let broker = TestBroker::start().await;
        let store = MemoryTokens::new(Arc::clone(&broker.components().clock), 1_000);
        Self {
            broker,
            store: Arc::new(store),
            redis: None,
        }
    }

    pub(super) async fn redis() -> Self {
        Self::on(Redis::start()).await
    }

    pub(super) async fn on(redis: Redis) -> Self {
        let port = redis.port();
        Self {
            redis: Some(redis),
            ..Self::through(port).await
        }
    }

    /// A store behind a port, e.g. a proxy's.
    pub(super) async fn through(port: u16) -> Self {
        Self::with(settings(port)).await
    }

    pub(super) async fn with(settings: RedisSettings) -> Self {
        let broker = TestBroker::start().await;
        let clock = Arc::clone(&broker.components().clock);
        let store = RedisTokens::start(settings, clock).unwrap();
        Self {
            broker,
            store: Arc::new(store),
            redis: None,
        }
    }

    pub(super) fn clock(&self) -> &FixedClock {
        &self.broker.clock
    }

    pub(super) fn server(&mut self) -> &mut Redis {
        self.redis.as_mut().unwrap()
    }

    pub(super) async fn permit_for(&self, token: &str, ask: Ask) -> Permit {
        let parts = self.broker.components();
        let token = SubjectToken::new(token.to_owned());
        let verified = parts.verifier.verify(&token).await.unwrap();
        let reader = parts.policies.reader_by_url(&verified.issuer().url);
        let job = reader.unwrap().identify(verified).unwrap();
        let permit = parts.policies.decide(job, &ask, parts.clock.now());
        permit.unwrap_or_else(|refused| panic!("{:?}", refused.denial))
    }

    pub(super) async fn permit(&self, token: &str, credential: &str) -> Permit {
        self.permit_for(token, ask(credential)).await
    }

    /// A permit for a token of GitHub's that is signed with ES256 by this key.
    pub(super) async fn permit_by(&self, key: &TestKey, token: &str) -> Permit {
        let parts = self.broker.components();
        let mut issuer = TrustedIssuer::new("github", GITHUB);
        issuer.algorithms = vec![Algorithm::ES256];
        let keys = FileKeys::new().with_document(&issuer, &jwks(&[key.jwk()]));
        let issuers = vec![Arc::new(issuer)];
        let clock = Arc::clone(&parts.clock);
        let keys = Arc::new(keys.unwrap());
        let verifier = Verifier::new(AUDIENCE.to_owned(), issuers, keys, clock);
        let token = SubjectToken::new(token.to_owned());
        let genuine = verifier.verify(&token).await;
        let reader = parts.policies.reader_by_url(GITHUB).unwrap();
        let job = reader.identify(genuine.unwrap()).unwrap();
        let permit = parts.policies.decide(job, &ask(READ), parts.clock.now());
        permit.unwrap_or_else(|refused| panic!("{:?}", refused.denial))
    }

    /// Takes the use of a token without a key.
    pub(super) async fn take(
        &self,
        token: &str,
        credential: &str,
    ) -> Result<Reserved, ReplayError> {
        let permit = self.permit(token, credential).await;
        self.store.reserve(permit, None, "req_first").await
    }

    pub(super) async fn take_with(&self, token: &str, key: &str) -> Result<Reserved, ReplayError> {
        let permit = self.permit(token, DEPLOY).await;
        self.store
            .reserve(permit, Some(self::key(key)), "req_first")
            .await
    }

    /// Waits until the store says that it can be used.
    pub(super) async fn ready(&self) {
        self.until("the store can be used", |problem| problem.is_none())
            .await;
    }

    /// Waits until the store's problem is such as expected, and returns it.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(Option<&str>) -> bool) -> String {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let problem = self.store.status().problem;
                if holds(problem.as_deref()) {
                    return problem.unwrap_or_default();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let last = || self.store.status();
        waited
            .await
            .unwrap_or_else(|_| panic!("never happened: {what}; it is {:?}", last()))
    }

    /// Waits for a problem other than that it is not connected yet.
    pub(super) async fn problem(&self) -> String {
        self.until("the store has a problem", |problem| {
            problem.is_some_and(|problem| problem != "is not connected yet")
        })
        .await
    }
}

pub(super) fn settings(port: u16) -> RedisSettings {
    RedisSettings {
        host: "127.0.0.1".to_owned(),
        port,
        database: 0,
        tls: false,
        ca: None,
        user: None,
        password: None,
        prefix: "hallpass:".to_owned(),
    }
}

pub(super) fn ask(credential: &str) -> Ask {
    Ask {
        credential: credential.to_owned(),
        ..Ask::default()
    }
}

pub(super) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(&format!("{text:-<32}")).unwrap()
}
