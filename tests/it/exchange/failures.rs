//! Keys and the store of used tokens made to fail, hang, panic or come back empty: nothing is handed
//! out. What stands behind them is made to fail through the doors, in `http/failures.rs`.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use async_trait::async_trait;
use hallpass::audit::{AuditLine, AuditLog, Recorded, Sink, SinkEntry};
use hallpass::clock::Timestamp;
use hallpass::credential::{Credential, Mint, MintError};
use hallpass::dev::issuer::{GithubJob, github_claims};
use hallpass::exchange::{CallerInfo, Components, Exchange, Request};
use hallpass::policy::{Ask, Permit};
use hallpass::reason::Reason;
use hallpass::replay::memory::MemoryTokens;
use hallpass::replay::{IdempotencyKey, Reach, ReplayError, Reserved, UseKey, UsedTokens};
use hallpass::token::keys::{FileKeys, KeyError, KeySet, KeySource};
use hallpass::token::{SubjectToken, TrustedIssuer, Verifier};

use crate::support::TestBroker;
use crate::support::broker::GITHUB;
use crate::support::tokens::{AUDIENCE, NOW, TestKey, jwks};

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

    async fn release(&self, _slot: &UseKey) {}

    fn reach(&self) -> Reach {
        Reach::Shared
    }
}

#[async_trait]
impl Mint for Broken {
    async fn mint(&self, _recorded: Recorded) -> Result<Credential, MintError> {
        match self.0 {
            How::Fails => Err(MintError {
                message: "is down".to_owned(),
                reason: Reason::DatabaseUnreachable,
                nothing_made: true,
            }),
            How::Hangs => pending().await,
            How::Panics => panic!("mint"),
        }
    }
}

/// A sink of whatever kind; one that hangs does so until the test is over.
#[derive(Debug)]
struct BrokenSink(How, Receiver<()>, bool);

impl Sink for BrokenSink {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn write(&mut self, lines: &[AuditLine]) -> io::Result<usize> {
        // The line of the start is taken, or there would be no log at all.
        if !std::mem::replace(&mut self.2, true) {
            return Ok(lines.len());
        }
        match self.0 {
            How::Fails => Err(io::Error::other("the disk is full")),
            How::Hangs => {
                let _ = self.1.recv();
                Err(io::Error::other("hung"))
            }
            How::Panics => panic!("sink"),
        }
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The broker's own parts, but for these two.
fn exchange(
    broker: &TestBroker,
    keys: Arc<dyn KeySource>,
    used_tokens: Arc<dyn UsedTokens>,
) -> Arc<Exchange> {
    Arc::new(Exchange::new(components(broker, keys, used_tokens)))
}

fn components(
    broker: &TestBroker,
    keys: Arc<dyn KeySource>,
    used_tokens: Arc<dyn UsedTokens>,
) -> Components {
    let parts = broker.components();
    let readers = parts.policies.readers().iter();
    let issuers = readers.map(|reader| Arc::clone(&reader.issuer)).collect();
    let clock = Arc::clone(&parts.clock);
    Components {
        verifier: Verifier::new(AUDIENCE.to_owned(), issuers, keys, Arc::clone(&clock)),
        policies: Arc::clone(&parts.policies),
        used_tokens,
        audit: Arc::clone(&parts.audit),
        mints: Arc::clone(&parts.mints),
        targets: Arc::clone(&parts.targets),
        root_keys: parts.root_keys.clone(),
        clock,
        max_concurrent: 4,
        per_repository: 60,
    }
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
    Arc::new(MemoryTokens::new(
        Arc::clone(&broker.components().clock),
        10,
    ))
}

/// Whether a credential came back; one that hangs is given up, as a door does, and one that panics
/// is caught, as a door does.
async fn hands_out(broker: &TestBroker, exchange: &Arc<Exchange>) -> bool {
    shows(exchange, broker.github(|_| {})).await
}

async fn shows(exchange: &Arc<Exchange>, token: String) -> bool {
    let request = Request {
        id: "req_test".to_owned(),
        subject_token: SubjectToken::new(token),
        ask: Ask {
            credential: "shop-db/read".to_owned(),
            ..Ask::default()
        },
        kind: None,
        resource: None,
        key: None,
        caller: Arc::new(CallerInfo::default()),
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

/// T-98
#[tokio::test]
async fn a_mint_that_fails_hangs_or_panics_hands_out_nothing() {
    let broker = TestBroker::start().await;
    for how in [How::Fails, How::Hangs, How::Panics] {
        let mut parts = components(&broker, good_keys(&broker), good_store(&broker));
        parts.mints = Arc::new(Broken(how));
        let exchange = Arc::new(Exchange::new(parts));
        assert!(!hands_out(&broker, &exchange).await, "{how:?}");
    }
    assert_eq!(broker.database.started(), 0);
    assert_eq!(broker.events("intent").await.len(), 3);
}

/// T-94, T-98
#[tokio::test]
async fn a_log_that_fails_hangs_or_panics_hands_out_nothing() {
    let broker = TestBroker::start().await;
    for how in [How::Fails, How::Hangs, How::Panics] {
        let (release, held) = channel();
        let sinks = vec![SinkEntry {
            sink: Box::new(BrokenSink(how, held, false)),
            required: true,
        }];
        let mut parts = components(&broker, good_keys(&broker), good_store(&broker));
        let (keys, clock) = (&parts.root_keys, Arc::clone(&parts.clock));
        let log = AuditLog::new(sinks, keys, clock, "test", "boot").unwrap();
        parts.audit = Arc::new(log);
        let exchange = Arc::new(Exchange::new(parts));
        for _ in 0..2 {
            assert!(!hands_out(&broker, &exchange).await, "{how:?}");
        }
        let status = &exchange.components().audit.status()[0];
        if !matches!(how, How::Hangs) {
            assert!(status.problem.is_some(), "{how:?}");
        }
        drop(release);
    }
    assert_eq!(broker.database.started(), 0);
}

/// T-98
#[tokio::test]
async fn a_job_that_is_not_verified_identified_or_permitted_gets_nothing() {
    let broker = TestBroker::start().await;
    let exchange = exchange(&broker, good_keys(&broker), good_store(&broker));
    let genuine = broker.github(|_| {});
    let (input, signature) = genuine.rsplit_once('.').unwrap();
    let mut job = GithubJob::new(GITHUB, AUDIENCE, Timestamp::from_unix(NOW));
    let other_key = TestKey::other_rsa("k1").token(&github_claims(&job));
    let without = |claim: &str| {
        let mut claims = github_claims(&job);
        claims.as_object_mut().unwrap().remove(claim);
        broker.key.token(&claims)
    };
    let mut tokens = vec![
        ("nothing", String::new()),
        ("no signature", format!("{input}.")),
        ("another signature", other_key),
        (
            "a signature of nothing",
            format!("{input}.{}", "A".repeat(signature.len())),
        ),
        ("no issuer", without("iss")),
        ("no audience", without("aud")),
        ("no end", without("exp")),
        ("no subject", without("sub")),
        ("no repository", without("repository")),
        ("no repository id", without("repository_id")),
        ("no ref", without("ref")),
        ("no trigger", without("event_name")),
    ];
    job.r#ref = "refs/heads/other".to_owned();
    tokens.push(("not permitted", broker.key.token(&github_claims(&job))));
    for (name, token) in tokens {
        assert!(!shows(&exchange, token).await, "{name}");
    }
    assert_eq!(broker.database.started(), 0);
    assert!(broker.events("intent").await.is_empty());
    assert!(shows(&exchange, genuine).await);
}
