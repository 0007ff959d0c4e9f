//! Sealed messages that jwcrypto made, an implementation of JOSE in Python over another cryptographic library.

use hallpass::client::{BrokerAddress, unseal};
use hallpass::clock::Timestamp;
use hallpass::credential::sealed::RecipientPrivateKey;
use serde_json::Value;

use crate::support::tokens::{AUDIENCE, NOW};

/// `make.py` made them, with the keys of RFC 7518 appendix C and RFC 7748 section 6.1.
const MESSAGES: &str = include_str!("jwcrypto/messages.json");

#[test]
fn messages_that_jwcrypto_made_open() {
    let made: Value = serde_json::from_str(MESSAGES).unwrap();
    let keys = made["broker_keys"].to_string();
    let messages = made["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    for one in messages {
        let key = RecipientPrivateKey::parse(one["key"].to_string().as_bytes()).unwrap();
        let message = one["message"].as_str().unwrap();
        let (broker, now) = (
            BrokerAddress::parse(AUDIENCE).unwrap(),
            Timestamp::from_unix(NOW),
        );
        let received = unseal(message, &key, &broker, keys.as_bytes(), "deploy-api", now).unwrap();
        assert_eq!(received.members.secret().expose(), "canary.of.jwcrypto");
    }
}
