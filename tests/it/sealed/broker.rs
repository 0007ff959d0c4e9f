//! The broker: what it seals, to what, and what it says about that.

use serde_json::{Value, json};

use super::message::Recipient;
use crate::support::TestBroker;
use crate::support::client::Answer;

const KEY: &str = "response_encryption_jwk";

async fn form(broker: &TestBroker, token: &str, credential: &str, key: &Value) -> Answer {
    let key = key.to_string();
    broker
        .exchange_with(token, credential, &[(KEY, &key)], &[])
        .await
}

async fn json_answer(broker: &TestBroker, token: &str, credential: &str, key: &Value) -> Answer {
    let body = json!({ "credential": credential, KEY: key });
    broker.ask("/api/credentials", token, &body).await
}

/// T-226
#[cfg(not(feature = "sealed"))]
#[tokio::test]
async fn a_broker_that_cannot_seal_refuses_instead_of_answering_unsealed() {
    let broker = TestBroker::start().await;
    let (token, recipient) = (broker.github(|_| {}), Recipient::new());
    for answer in [
        form(&broker, &token, "deploy-api", &recipient.public).await,
        json_answer(&broker, &token, "deploy-api", &recipient.public).await,
    ] {
        let refused = (answer.status, answer.reason());
        assert_eq!(
            refused,
            (400, "request.sealed".to_owned()),
            "{}",
            answer.body
        );
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.text("/error_description"), @"this broker is built without sealed delivery, so it refuses `response_encryption_jwk` instead of answering unsealed; see docs/sealed.md");
        }
    }
    assert!(broker.events("intent").await.is_empty());
    // The token's use is free, for an answer that is not sealed.
    assert_eq!(broker.exchange(&token, "deploy-api").await.status, 200);
}

#[cfg(feature = "sealed")]
mod sealing {
    use hallpass::client::{BrokerAddress, Received, unseal};
    use hallpass::clock::Timestamp;
    use serde_json::Map;

    use super::*;
    use crate::client::fake::{stderr, stdout, told};
    use crate::client::real::Broker;
    use crate::support::client::get;
    use crate::support::leaks::{self, Observed as _};
    use crate::support::tokens::{AUDIENCE, NOW};

    async fn opened(
        broker: &TestBroker,
        recipient: &Recipient,
        message: &str,
        credential: &str,
    ) -> Received {
        let keys = get(broker.public(), "/.well-known/jwks.json").await.body;
        let address = BrokerAddress::parse(AUDIENCE).unwrap();
        let now = Timestamp::from_unix(NOW);
        let key = &recipient.private;
        unseal(message, key, &address, keys.as_bytes(), credential, now).unwrap()
    }

    /// What was inside must be nowhere else.
    fn register(secret: &str) {
        if secret.starts_with("eyJ") {
            leaks::token(secret);
        } else {
            leaks::secret("a sealed secret", secret);
        }
    }

    /// T-116, T-221
    #[tokio::test]
    async fn the_secret_is_in_the_message_and_nowhere_else() {
        let broker = TestBroker::start().await;
        for (recipient, credential, secret) in [
            (Recipient::new(), "deploy-api", "token"),
            (Recipient::x25519(), "deploy-api", "token"),
            (Recipient::new(), "shop-db/read", "password"),
            (Recipient::x25519(), "shop-db/read", "password"),
        ] {
            let answer = form(
                &broker,
                &broker.github(|_| {}),
                credential,
                &recipient.public,
            )
            .await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.text("/issued_token_type"), "urn:hallpass:sealed");
            assert_eq!(answer.text("/token_type"), "N_A");
            let message = answer.text("/access_token");
            assert_eq!(answer.text("/hallpass/credential/sealed"), message);
            let received = opened(&broker, &recipient, &message, credential).await;
            let held = received.members.text(secret).unwrap().expose().clone();
            register(&held);
            assert!(!held.is_empty() && !answer.body.contains(&held));
            assert!(
                answer.json()["hallpass"]["credential"]
                    .get(secret)
                    .is_none()
            );
            let lease = received.lease.as_ref().map(|lease| lease.expose().as_str());
            assert_eq!(answer.json()["hallpass"]["lease"].as_str(), lease);

            let answer = json_answer(
                &broker,
                &broker.github(|_| {}),
                credential,
                &recipient.public,
            )
            .await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let shown: Map<String, Value> =
                serde_json::from_value(answer.json()["credential"].clone()).unwrap();
            assert!(!shown.contains_key(secret) && !shown.contains_key("url"));
            let message = answer.text("/credential/sealed");
            let received = opened(&broker, &recipient, &message, credential).await;
            register(received.members.secret().expose());
        }
        leaks::check();
    }

    /// T-220
    #[tokio::test]
    async fn a_key_that_is_not_one_valid_public_key_is_refused_before_anything_is_minted() {
        let broker = TestBroker::start().await;
        let token = broker.github(|_| {});
        let good = Recipient::new().public;
        let with = |name: &str, value: &str| {
            let mut key = good.clone();
            key[name] = value.into();
            key
        };
        let x25519 = |x: [u8; 32]| {
            let x = data_encoding::BASE64URL_NOPAD.encode(&x);
            json!({ "kty": "OKP", "crv": "X25519", "x": x })
        };
        let mut texts = Vec::new();
        for key in [
            with("d", "AAECAwQFBgcICQ"),
            with("crv", "P-384"),
            with("y", good["x"].as_str().unwrap()),
            with("use", "sig"),
            with("alg", "RSA-OAEP"),
            with("x", "AAECAwQFBgcICQ"),
            x25519([0; 32]),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }),
            json!({}),
        ] {
            let (by_form, by_json) = (
                form(&broker, &token, "deploy-api", &key).await,
                json_answer(&broker, &token, "deploy-api", &key).await,
            );
            let text = by_form.text("/error_description");
            assert_eq!(text, by_json.text("/error_description"), "{key}");
            for answer in [by_form, by_json] {
                let refused = (answer.status, answer.reason());
                assert_eq!(refused, (400, "request.encryption_jwk".to_owned()), "{key}");
                assert!(!answer.body.contains("AAECAw"), "{}", answer.body);
            }
            texts.push(text);
        }
        insta::assert_snapshot!(texts.join("\n"), @r"
        `response_encryption_jwk` has the private member `d`: send the public key alone, and use a new key, since this one was sent
        `response_encryption_jwk` must have `kty` EC with `crv` P-256, or `kty` OKP with `crv` X25519
        `response_encryption_jwk` is no point that can be encrypted to: it is not on the curve, or of low order
        `response_encryption_jwk` has a `use` other than `enc`
        `response_encryption_jwk` has an `alg` other than `ECDH-ES`
        `response_encryption_jwk` has no `x` of 32 bytes in base64url without padding
        `response_encryption_jwk` is no point that can be encrypted to: it is not on the curve, or of low order
        `response_encryption_jwk` must have `kty` EC with `crv` P-256, or `kty` OKP with `crv` X25519
        `response_encryption_jwk` must have `kty` EC with `crv` P-256, or `kty` OKP with `crv` X25519
        ");
        // Repeated, of another type, too long, and with a member twice.
        let text = good.to_string();
        let repeated = [(KEY, text.as_str()), (KEY, text.as_str())];
        let long = with("kid", &"k".repeat(1_024)).to_string();
        let member_twice = text.replacen('{', r#"{"kty":"EC","#, 1);
        for (more, reason) in [
            (&repeated[..], "request.repeated"),
            (&[(KEY, long.as_str())], "request.encryption_jwk"),
            (&[(KEY, member_twice.as_str())], "request.encryption_jwk"),
            (&[(KEY, "[]")], "request.encryption_jwk"),
        ] {
            let answer = broker.exchange_with(&token, "deploy-api", more, &[]).await;
            assert_eq!((answer.status, answer.reason()), (400, reason.to_owned()));
        }
        for key in [json!(text), json!(null), json!([good])] {
            let answer = json_answer(&broker, &token, "deploy-api", &key).await;
            assert_eq!(answer.reason(), "request.encryption_jwk", "{key}");
        }
        let bearer = format!("Bearer {token}");
        let body = format!(r#"{{"credential":"deploy-api","{KEY}":{text},"{KEY}":{text}}}"#);
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", &bearer),
        ];
        let answer = crate::support::client::request(
            broker.public(),
            "POST",
            "/api/credentials",
            &headers,
            body.as_bytes(),
        );
        assert_eq!(answer.await.reason(), "request.json");
        assert!(broker.events("intent").await.is_empty());
        assert_eq!(form(&broker, &token, "deploy-api", &good).await.status, 200);
    }

    /// T-222
    #[tokio::test]
    async fn a_repeat_is_sealed_to_the_same_key_or_refused() {
        let broker = TestBroker::start().await;
        for credential in ["deploy-api", "shop-db/read"] {
            let (token, recipient) = (broker.github(|_| {}), Recipient::new());
            let key = recipient.public.to_string();
            let other = Recipient::new().public.to_string();
            let headers = [("Idempotency-Key", "k234567890123456789012")];
            let ask = |more: Vec<(&'static str, String)>| {
                let (broker, token) = (&broker, token.clone());
                async move {
                    let more: Vec<_> = more
                        .iter()
                        .map(|(name, value)| (*name, value.as_str()))
                        .collect();
                    broker
                        .exchange_with(&token, credential, &more, &headers)
                        .await
                }
            };
            let first = ask(vec![(KEY, key.clone())]).await;
            assert_eq!(first.status, 200, "{}", first.body);
            for conflict in [vec![(KEY, other)], Vec::new()] {
                let answer = ask(conflict).await;
                assert_eq!(
                    answer.reason(),
                    "request.idempotency_key",
                    "{}",
                    answer.body
                );
            }
            let again = ask(vec![(KEY, key)]).await;
            assert_eq!(again.status, 200, "{}", again.body);
            let (one, two) = (first.text("/access_token"), again.text("/access_token"));
            assert_ne!(one, two);
            let one = opened(&broker, &recipient, &one, credential).await;
            let two = opened(&broker, &recipient, &two, credential).await;
            assert_eq!(one.expires_at, two.expires_at);
            if credential == "shop-db/read" {
                let secret = |received: &Received| received.members.secret().expose().clone();
                assert_eq!(secret(&one), secret(&two));
            }
        }
    }

    /// T-227
    #[tokio::test]
    async fn log_and_audit_name_the_thumbprint_and_no_more() {
        let log = leaks::Log::default();
        let subscriber = hallpass::http::log_subscriber("info", log.clone());
        let _logged = tracing::subscriber::set_default(subscriber);
        let (broker, recipient) = (TestBroker::start().await, Recipient::new());
        let answer = form(
            &broker,
            &broker.github(|_| {}),
            "shop-db/read",
            &recipient.public,
        )
        .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let unsealed = broker
            .exchange(&broker.github(|_| {}), "shop-db/read")
            .await;
        assert_eq!(unsealed.status, 200, "{}", unsealed.body);
        let intents = broker.events("intent").await;
        assert_eq!(intents[0]["sealed_to"], recipient.thumbprint());
        assert_eq!(intents[1].get("sealed_to"), None);
        let events: Vec<String> = broker.sink.events().iter().map(Value::to_string).collect();
        let said = events.join("\n") + &log.text();
        let message = answer.text("/access_token");
        for part in message.split('.').filter(|part| !part.is_empty()) {
            assert!(!said.contains(part), "{part}");
        }
        assert!(!said.contains(recipient.public["x"].as_str().unwrap()));
        assert!(
            log.text().contains(recipient.thumbprint()),
            "{}",
            log.text()
        );
    }

    /// As the two are used: through a clear log, by the real binary at both ends.
    ///
    /// T-116, T-228
    #[test]
    fn a_recipient_opens_what_a_job_printed() {
        let broker = Broker::start();
        let run = |arguments: &[&str], token: &str| {
            let mut command = broker.command(token, arguments);
            command.current_dir(broker.folder.path()).observed()
        };
        let output = run(&["keys", "recipient", "--out", "deploy.key"], "none");
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let file = |name: &str| broker.folder.path().join(name);
        std::fs::write(file("deploy.pub"), &output.stdout).unwrap();
        let token = broker.token(|_| {});
        let got = run(&["get", "deploy-api", "--seal-to", "deploy.pub"], &token);
        assert_eq!(got.status.code(), Some(0), "{}", told(&got));
        let again = run(&["get", "deploy-api", "--seal-to", "deploy.pub"], &token);
        assert_eq!(again.status.code(), Some(0), "{}", told(&again));
        std::fs::write(file("sealed.txt"), &again.stdout).unwrap();
        let unseal = ["unseal", "deploy-api", "sealed.txt", "--key", "deploy.key"];
        let output = run(&unseal, "none");
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(document["credential"]["name"], "deploy-api");
        assert!(
            document["credential"]["token"]
                .as_str()
                .unwrap()
                .starts_with("eyJ")
        );
        let out = [&unseal[..], &["--out", "token.json"]].concat();
        let output = run(&out, "none");
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let mode =
            std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(file("token.json")).unwrap());
        assert_eq!((mode & 0o777, stdout(&output).as_str()), (0o600, ""));
        // Another credential, another key, and another broker under that key set.
        let output = run(&["keys", "recipient", "--out", "other.key"], "none");
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let other = Broker::start();
        let keys = other
            .command(
                "none",
                &["unseal", "deploy-api", "sealed.txt", "--key", "deploy.key"],
            )
            .current_dir(broker.folder.path())
            .observed();
        let said = [
            stderr(&run(
                &[
                    "unseal",
                    "shop-db/read",
                    "sealed.txt",
                    "--key",
                    "deploy.key",
                ],
                "none",
            )),
            stderr(&run(
                &["unseal", "deploy-api", "sealed.txt", "--key", "other.key"],
                "none",
            )),
            stderr(&keys),
        ];
        assert_eq!(keys.status.code(), Some(5), "{}", told(&keys));
        assert_eq!(stdout(&keys), "");
        insta::assert_snapshot!(said.concat(), @r"
        hallpass: the message does not hold the expected credential: it is for credential `deploy-api`, expected `shop-db/read`
        hallpass: the sealed message cannot be opened with this key: it is damaged, for another key, or not a sealed answer of hallpass
        hallpass: the message is not signed as a sealed answer with a key of this broker; its content is rejected
        ");
    }
}
