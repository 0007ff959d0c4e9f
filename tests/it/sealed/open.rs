//! What opens as a sealed message, and what of it counts.

use data_encoding::BASE64URL_NOPAD;
use hallpass::client::{BrokerAddress, Received, UnsealError, unseal};
use hallpass::clock::Timestamp;
use hallpass::token::Algorithm;
use serde_json::{Value, json};

use super::message::{Message, Recipient, claims, ephemeral, shared, signed, signed_as};
use crate::support::tokens::{AUDIENCE, NOW, TestKey, jwks};

/// As the recipient, of the broker whose key this is.
fn open_at(
    text: &str,
    recipient: &Recipient,
    broker: &TestKey,
    now: i64,
) -> Result<Received, UnsealError> {
    let (address, keys) = (
        BrokerAddress::parse(AUDIENCE).unwrap(),
        jwks(&[broker.jwk()]),
    );
    let now = Timestamp::from_unix(now);
    unseal(text, &recipient.private, &address, &keys, "deploy-api", now)
}

fn open(text: &str, recipient: &Recipient, broker: &TestKey) -> Result<Received, UnsealError> {
    open_at(text, recipient, broker, NOW)
}

fn token(received: &Received) -> String {
    received.members.text("token").unwrap().expose().clone()
}

/// T-223
#[test]
#[expect(clippy::too_many_lines, reason = "one forgery after the other")]
fn every_message_that_is_not_exactly_ours_fails_with_one_text() {
    let (recipient, broker) = (Recipient::new(), TestKey::p256("b1"));
    let content = signed(&broker, &claims(recipient.private.public()));
    let good = Message::of(&recipient, &content);
    let received = open(&good.text(), &recipient, &broker).unwrap();
    assert_eq!(token(&received), "canary.sealed.token");

    let changed = |change: fn(&mut Value)| Message::with(&recipient, &content, change).text();
    let edited = |edit: fn(&mut Message)| {
        let mut message = good.clone();
        edit(&mut message);
        message.text()
    };
    let text = good.text();
    let parts: Vec<&str> = text.split('.').collect();
    let (other, other_epk) = ephemeral();
    let x25519 = json!({ "kty": "OKP", "crv": "X25519", "x": BASE64URL_NOPAD.encode(&[9; 32]) });
    let low_order = json!({ "kty": "OKP", "crv": "X25519", "x": BASE64URL_NOPAD.encode(&[0; 32]) });
    let off_curve = {
        let mut epk = other_epk.clone();
        epk["y"] = epk["x"].clone();
        epk
    };
    // Encrypted to nobody: with an agreed key that an attacker chose, such as zero.
    let with_zero = |epk: &Value| {
        let header = json!({
            "alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT",
            "kid": recipient.thumbprint(), "epk": epk,
        });
        Message::encrypt(&[0; 32], header.to_string(), &content).text()
    };
    let twice = |member: &str| {
        let key = shared(&other, &recipient.public);
        let header = json!({
            "alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT",
            "kid": recipient.thumbprint(), "epk": other_epk,
        });
        let header = header.to_string();
        let header = format!("{{{member},{}", header.trim_start_matches('{'));
        Message::encrypt(&key, header, &content).text()
    };
    let bad = [
        // Changed in transit.
        ("the content", edited(|message| message.content[0] ^= 1)),
        ("its end", edited(|message| message.content.truncate(9))),
        ("the tag", edited(|message| message.tag[15] ^= 1)),
        (
            "a tag of 32 bits",
            edited(|message| message.tag.truncate(4)),
        ),
        (
            "a tag of one byte",
            edited(|message| message.tag.truncate(1)),
        ),
        ("no tag", edited(|message| message.tag.clear())),
        ("a longer tag", edited(|message| message.tag.push(0))),
        ("the IV", edited(|message| message.iv[0] ^= 1)),
        ("a longer IV", edited(|message| message.iv.push(0))),
        ("a key", edited(|message| message.key = vec![1; 40])),
        (
            "the header's text",
            edited(|message| message.header.push(' ')),
        ),
        ("another header", {
            let mut message = good.clone();
            message.header = Message::of(&recipient, &content).header;
            message.text()
        }),
        // Another algorithm than agreed on, with a tag that holds under that header.
        ("dir", changed(|header| header["alg"] = "dir".into())),
        (
            "RSA-OAEP",
            changed(|header| header["alg"] = "RSA-OAEP".into()),
        ),
        (
            "key wrap",
            changed(|header| header["alg"] = "ECDH-ES+A256KW".into()),
        ),
        ("none", changed(|header| header["alg"] = "none".into())),
        ("case", changed(|header| header["alg"] = "ecdh-es".into())),
        ("enc", changed(|header| header["enc"] = "A128GCM".into())),
        (
            "CBC",
            changed(|header| header["enc"] = "A256CBC-HS512".into()),
        ),
        ("zip", changed(|header| header["zip"] = "DEF".into())),
        ("crit", changed(|header| header["crit"] = json!(["exp"]))),
        (
            "an empty crit",
            changed(|header| header["crit"] = json!([])),
        ),
        ("apu", changed(|header| header["apu"] = "QWxpY2U".into())),
        (
            "a key to fetch",
            changed(|header| header["jku"] = "https://evil.example".into()),
        ),
        (
            "another cty",
            changed(|header| header["cty"] = "json".into()),
        ),
        (
            "no cty",
            changed(|header| drop(header.as_object_mut().unwrap().remove("cty"))),
        ),
        (
            "no kid",
            changed(|header| drop(header.as_object_mut().unwrap().remove("kid"))),
        ),
        ("another kid", changed(|header| header["kid"] = "k1".into())),
        (
            "a private epk",
            changed(|header| header["epk"]["d"] = "AAAA".into()),
        ),
        (
            "an epk with more",
            changed(|header| header["epk"]["kid"] = "k".into()),
        ),
        (
            "no epk",
            changed(|header| drop(header.as_object_mut().unwrap().remove("epk"))),
        ),
        (
            "an epk of text",
            changed(|header| header["epk"] = "P-256".into()),
        ),
        ("alg twice", twice(r#""alg":"dir""#)),
        ("alg escaped", twice(r#""\u0061lg":"dir""#)),
        ("kid twice", twice(r#""kid":"k1""#)),
        (
            "a huge header",
            twice(&format!(r#""pad":"{}""#, "a".repeat(900))),
        ),
        // Keys that agree on a value the attacker knows.
        ("off the curve", with_zero(&off_curve)),
        ("another curve", with_zero(&x25519)),
        ("of low order", with_zero(&low_order)),
        (
            "the point at infinity",
            with_zero(&json!({
                "kty": "EC", "crv": "P-256",
                "x": BASE64URL_NOPAD.encode(&[0; 32]), "y": BASE64URL_NOPAD.encode(&[0; 32]),
            })),
        ),
        // Another form.
        ("four parts", parts[..4].join(".")),
        ("six parts", format!("{text}.")),
        ("padding", format!("{text}=")),
        ("a line end", {
            let (head, tail) = text.split_at(40);
            format!("{head}\n{tail}")
        }),
        (
            "JSON",
            json!({ "protected": parts[0], "ciphertext": parts[3] }).to_string(),
        ),
        ("the content alone", content.clone()),
        ("nothing", String::new()),
        ("too much", format!("{text}{}", "A".repeat(300_000))),
        (
            "for another key",
            Message::of(&Recipient::new(), &content).text(),
        ),
    ];
    let mut texts: Vec<String> = Vec::new();
    for (what, text) in bad {
        match open(&text, &recipient, &broker) {
            Err(error @ UnsealError::Open(_)) => texts.push(error.to_string()),
            other => panic!("{what}: {other:?}"),
        }
    }
    texts.dedup();
    insta::assert_snapshot!(texts.join("\n"), @"the sealed message cannot be opened with this key: it is damaged, for another key, or not a sealed answer of hallpass");
}

/// T-116, T-224
#[test]
fn what_opens_counts_only_as_a_fresh_answer_of_this_broker_to_this_key() {
    let (recipient, broker) = (Recipient::new(), TestKey::p256("b1"));
    let claims = claims(recipient.private.public());
    let seal = |content: &str| Message::of(&recipient, content).text();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        seal(&signed(&broker, &claims))
    };
    let inner = |pointer: &str, value: &str| {
        let mut claims = claims.clone();
        *claims.pointer_mut(pointer).unwrap() = value.into();
        seal(&signed(&broker, &claims))
    };
    let good = signed(&broker, &claims);
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let other = Recipient::new();
    let to_other = super::message::claims(other.private.public());
    let header = json!({ "alg": "none", "kid": "b1", "typ": "hallpass-sealed+jwt" }).to_string();
    let cases = [
        // A thief has the public key, and signs as a broker of their own with the same key id.
        (
            "another broker",
            seal(&signed(&TestKey::p256("b1"), &claims)),
        ),
        (
            "an unknown key",
            seal(&signed(&TestKey::p256("b2"), &claims)),
        ),
        ("no signature", seal(&format!("{unsigned}."))),
        (
            "alg none",
            seal(&broker.sign(Algorithm::ES256, &header, &claims.to_string())),
        ),
        ("a changed claim", seal(&good.replacen('.', ".e", 1))),
        (
            "an access token",
            seal(&signed_as(&broker, "at+jwt", &claims)),
        ),
        ("no type", seal(&signed_as(&broker, "", &claims))),
        ("not a token", seal("canary")),
        ("another issuer", with("iss", "https://evil.example".into())),
        // Opened by the recipient it was for, and encrypted again to this one.
        ("for another key", seal(&signed(&broker, &to_other))),
        (
            "for an audience",
            with("aud", "https://deploy.acme.dev".into()),
        ),
        ("for several", with("aud", json!([claims["aud"]]))),
        ("expired", with("exp", (NOW - 1).into())),
        ("expired now", with("exp", NOW.into())),
        ("not yet", with("iat", (NOW + 120).into())),
        ("without exp", with("exp", Value::Null)),
        (
            "another credential",
            inner("/hallpass/credential/name", "evil-api"),
        ),
        ("another kind", inner("/hallpass/credential/kind", "evil")),
        ("without a secret", inner("/hallpass/credential/token", "")),
        (
            "with a line end",
            inner("/hallpass/credential/token", "a\nb"),
        ),
    ];
    let mut told = Vec::new();
    for (what, text) in cases {
        let error = open(&text, &recipient, &broker).unwrap_err();
        assert!(!matches!(error, UnsealError::Open(_)), "{what}");
        told.push(format!("{what}: {error}"));
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    another broker: the message is not signed as a sealed answer with a key of this broker; its content is rejected
    an unknown key: the message is not signed as a sealed answer with a key of this broker; its content is rejected
    no signature: the message is not signed as a sealed answer with a key of this broker; its content is rejected
    alg none: the message is not signed as a sealed answer with a key of this broker; its content is rejected
    a changed claim: the message is not signed as a sealed answer with a key of this broker; its content is rejected
    an access token: the message is not signed as a sealed answer with a key of this broker; its content is rejected
    no type: the message is not signed as a sealed answer with a key of this broker; its content is rejected
    not a token: the message is not signed as a sealed answer with a key of this broker; its content is rejected
    another issuer: the message was sealed by `https://evil.example`, expected `https://hallpass.example`; nothing in it is used
    for another key: the message was sealed to another key and encrypted again; nothing in it is used
    for an audience: the message was sealed to another key and encrypted again; nothing in it is used
    for several: the message does not have the claims of a sealed answer
    expired: the credential in the message expired at 2026-09-21T14:13:19Z; request a new one
    expired now: the credential in the message expired at 2026-09-21T14:13:20Z; request a new one
    not yet: the message was sealed at 2026-09-21T14:15:20Z, which is in the future; check the clock
    without exp: the message does not have the claims of a sealed answer
    another credential: the message does not hold the expected credential: it is for credential `evil-api`, expected `deploy-api`
    another kind: the message does not hold the expected credential: its kind is not known to this version of hallpass
    without a secret: the message does not hold the expected credential: `access_token` is empty
    with a line end: the message does not hold the expected credential: `token` holds a control character
    ");
}

/// T-224
#[test]
fn an_old_message_is_of_no_use_to_whoever_replays_it() {
    let (recipient, broker) = (Recipient::new(), TestKey::p256("b1"));
    let text = Message::of(
        &recipient,
        &signed(&broker, &claims(recipient.private.public())),
    )
    .text();
    for (now, opens) in [
        (NOW - 61, false),
        (NOW - 60, true),
        (NOW + 299, true),
        (NOW + 300, false),
    ] {
        let opened = open_at(&text, &recipient, &broker, now);
        assert_eq!(opened.is_ok(), opens, "{now}");
    }
}

/// A key set of RSA and Ed25519 keys: the algorithm is that of the key.
///
/// T-224
#[test]
fn the_algorithm_of_the_signature_is_that_of_the_key() {
    let (recipient, rsa, ed25519) = (Recipient::new(), TestKey::rsa("b1"), TestKey::ed25519("b1"));
    let claims = claims(recipient.private.public()).to_string();
    let sign = |key: &TestKey, algorithm: Algorithm| {
        let header = json!({ "alg": algorithm.name(), "kid": "b1", "typ": "hallpass-sealed+jwt" });
        Message::of(
            &recipient,
            &key.sign(algorithm, &header.to_string(), &claims),
        )
        .text()
    };
    assert!(open(&sign(&ed25519, Algorithm::EdDSA), &recipient, &ed25519).is_ok());
    assert!(open(&sign(&ed25519, Algorithm::ES256), &recipient, &ed25519).is_err());
    assert!(open(&sign(&rsa, Algorithm::RS256), &recipient, &rsa).is_err());
}

#[test]
fn an_x25519_key_opens_what_is_for_it_only() {
    let (recipient, broker) = (Recipient::x25519(), TestKey::p256("b1"));
    let p256 = Recipient::new();
    let text = Message::of(&p256, &signed(&broker, &claims(p256.private.public()))).text();
    assert!(matches!(
        open(&text, &recipient, &broker),
        Err(UnsealError::Open(_))
    ));
}
