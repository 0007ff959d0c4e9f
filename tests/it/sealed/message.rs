//! Makes sealed messages by hand, with every part as a test wants it: as a broker, or as an attacker who
//! knows the recipient's public key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;
use hallpass::credential::sealed::{RecipientKey, RecipientPrivateKey};
use hallpass::token::Algorithm;
use serde_json::{Value, json};

use crate::support::tokens::{AUDIENCE, NOW, TestKey};

/// A recipient's key on P-256, and its public members.
pub(super) struct Recipient {
    pub(super) private: RecipientPrivateKey,
    pub(super) public: Value,
}

impl Recipient {
    pub(super) fn new() -> Self {
        Self::of(RecipientPrivateKey::generate().unwrap())
    }

    /// The key of RFC 7748 section 6.1 that is called Bob's.
    pub(super) fn x25519() -> Self {
        let key = json!({
            "kty": "OKP", "crv": "X25519",
            "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08",
            "d": "XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os",
        });
        Self::of(RecipientPrivateKey::parse(key.to_string().as_bytes()).unwrap())
    }

    fn of(private: RecipientPrivateKey) -> Self {
        let public = serde_json::from_str(&private.public().to_jwk()).unwrap();
        Self { private, public }
    }

    pub(super) fn thumbprint(&self) -> &str {
        self.private.public().thumbprint()
    }
}

/// The parts of a message before they are encoded.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) header: String,
    pub(super) key: Vec<u8>,
    pub(super) iv: Vec<u8>,
    pub(super) content: Vec<u8>,
    pub(super) tag: Vec<u8>,
}

impl Message {
    /// A message with the usual header, changed, around this content.
    pub(super) fn with(
        recipient: &Recipient,
        content: &str,
        change: impl FnOnce(&mut Value),
    ) -> Self {
        let (ephemeral, epk) = ephemeral();
        let shared = shared(&ephemeral, &recipient.public);
        let mut header = json!({
            "alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT",
            "kid": recipient.thumbprint(), "epk": epk,
        });
        change(&mut header);
        Self::encrypt(&shared, header.to_string(), content)
    }

    pub(super) fn of(recipient: &Recipient, content: &str) -> Self {
        Self::with(recipient, content, |_| {})
    }

    /// Encrypts with the key that these bytes agree on, under exactly this header.
    pub(super) fn encrypt(shared: &[u8], header: String, content: &str) -> Self {
        let key = concat_kdf(shared, b"A256GCM");
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let iv = [7; 12];
        let aad = Aad::from(BASE64URL_NOPAD.encode(header.as_bytes()));
        let mut content = content.as_bytes().to_vec();
        let nonce = Nonce::assume_unique_for_key(iv);
        let tag = key.seal_in_place_separate_tag(nonce, aad, &mut content);
        Self {
            header,
            key: Vec::new(),
            iv: iv.to_vec(),
            content,
            tag: tag.unwrap().as_ref().to_vec(),
        }
    }

    pub(super) fn text(&self) -> String {
        let parts = [
            self.header.as_bytes(),
            &self.key,
            &self.iv,
            &self.content,
            &self.tag,
        ];
        parts.map(|part| BASE64URL_NOPAD.encode(part)).join(".")
    }
}

/// A key for one message on P-256, and its public members.
pub(super) fn ephemeral() -> (PrivateKey, Value) {
    let key = PrivateKey::generate(&ECDH_P256).unwrap();
    let point = key.compute_public_key().unwrap().as_ref().to_vec();
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let epk = json!({
        "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]),
    });
    (key, epk)
}

pub(super) fn shared(ephemeral: &PrivateKey, public: &Value) -> Vec<u8> {
    let coordinate = |name: &str| {
        let text = public[name].as_str().unwrap();
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
    };
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
    agreement::agree(ephemeral, theirs, (), |bytes| Ok(bytes.to_vec())).unwrap()
}

/// RFC 7518 section 4.6.2, for 256 bits.
fn concat_kdf(shared: &[u8], algorithm: &[u8]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
    let parts: [&[u8]; 7] = [
        &word(1),
        shared,
        &word(algorithm.len()),
        algorithm,
        &word(0),
        &word(0),
        &word(256),
    ];
    digest::digest(&digest::SHA256, &parts.concat())
        .as_ref()
        .to_vec()
}

/// The claims of a sealed answer to this key at [`NOW`].
pub(super) fn claims(key: &RecipientKey) -> Value {
    json!({
        "iss": AUDIENCE,
        "aud": format!("urn:ietf:params:oauth:jwk-thumbprint:sha-256:{}", key.thumbprint()),
        "iat": NOW,
        "exp": NOW + 300,
        "hallpass": {
            "credential": { "kind": "jwt", "name": "deploy-api", "token": "canary.sealed.token" },
            "expires_at": "2026-09-21T14:18:20Z",
            "lease": null,
            "policy": "shop-deploy",
            "policies_revision": "sha256:00",
            "decision": "dec_1",
        },
    })
}

/// Signs as a broker with this key does.
pub(super) fn signed(key: &TestKey, claims: &Value) -> String {
    signed_as(key, "hallpass-sealed+jwt", claims)
}

pub(super) fn signed_as(key: &TestKey, token_type: &str, claims: &Value) -> String {
    let header = json!({ "alg": "ES256", "kid": key.kid, "typ": token_type });
    key.sign(Algorithm::ES256, &header.to_string(), &claims.to_string())
}
