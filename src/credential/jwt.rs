//! Mints signed tokens for audiences that trust this broker as an issuer.
//!
//! The shape is that of RFC 9068: `typ` is `at+jwt`, and `sub` names the credential, never the CI's
//! subject. So what relying parties trust ends with the credential (T-84).

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use serde::{Serialize, Serializer};

use super::{Credential, Members, Mint, MintError};
use crate::audit::Recorded;
use crate::clock::{Clock, Timestamp};
use crate::length_prefix;
use crate::provider::{Fact, FactValue};
use crate::reason::Reason;
use crate::rootkey::Label;
use crate::secret::Secret;

pub mod keys;
mod kind;
mod rs256;
mod signing_key;

pub use keys::{Keys, KeysError, SigningAlgorithm};
pub use kind::{JwtDefinition, KIND, Signer, check_signer};
pub use rs256::{Rs256Error, Rs256Files, Rs256Keys};

use signing_key::SigningKey;

/// Mints tokens, signed with the keys of the epoch.
#[derive(Debug)]
pub struct JwtMint {
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
    token_ids: hmac::Key,
}

impl JwtMint {
    /// The `iss` is the broker's issuer URL, which the keys are bound to.
    #[must_use]
    pub fn new(keys: Arc<Keys>, clock: Arc<dyn Clock>) -> Self {
        let token_ids = keys.roots().derive(Label::TokenJti, &[]);
        Self {
            token_ids: hmac::Key::new(hmac::HMAC_SHA256, token_ids.expose()),
            keys,
            clock,
        }
    }

    /// The signing keys, to publish.
    /// Everything about a token but its signature.
    fn prepare(&self, wanted: &TokenSpec<'_>) -> Result<Unsigned, MintError> {
        let issuer = self.keys.roots().issuer();
        // Also checked when the policies are loaded. Checked again here, because a mistake there
        // would mint a token that passes for a subject token.
        check_audience(wanted.audience, issuer)
            .map_err(|error| MintError::new(Reason::AudienceBroker, error.to_string()))?;
        check_lengths(wanted)?;
        let now = self.clock.now();
        let last = self.keys.last_second(wanted.minted_at);
        let expires_at = wanted.expires_at.min(last);
        if expires_at <= now || expires_at <= wanted.minted_at {
            return Err(MintError::new(
                Reason::CredentialExpired,
                "the token would have expired already".to_owned(),
            ));
        }
        let subject = format!("credential/{}", wanted.credential);
        let scope = wanted.scopes.join(" ");
        let jti = self.token_id(wanted);
        let claims = Claims {
            iss: issuer,
            sub: &subject,
            aud: wanted.audience,
            exp: expires_at.unix(),
            iat: wanted.minted_at.unix(),
            jti: &jti,
            client_id: &subject,
            scope: (!scope.is_empty()).then_some(&scope),
            act: Actor {
                iss: wanted.issuer,
                sub: wanted.subject,
            },
            job: &wanted.facts,
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| broken(KeysError::Crypto))?;
        let key = match wanted.signer {
            Signer::Derived => self.keys.signer(wanted.minted_at, now),
            Signer::Rs256 => self.keys.rs256_signer(),
        };
        Ok(Unsigned {
            key: key.map_err(broken)?,
            claims,
            jti,
            expires_at,
        })
    }

    /// The same token and credential always give the same ID, so a repeat is recognised. Without
    /// the key, the ID does not reveal the token.
    fn token_id(&self, wanted: &TokenSpec<'_>) -> String {
        let mut context = hmac::Context::with_key(&self.token_ids);
        let parts = [wanted.credential, wanted.issuer, wanted.token];
        length_prefix::update_with(parts, |bytes| context.update(bytes));
        let tag = context.sign();
        BASE64URL_NOPAD.encode(tag.as_ref().get(..TOKEN_ID_BYTES).unwrap_or_default())
    }
}

#[async_trait]
impl Mint for JwtMint {
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        let reserved = recorded.reserved();
        let permit = reserved.permit();
        let definition = permit.credential();
        let Some(wanted) = definition.of::<JwtDefinition>() else {
            return Err(MintError::new(
                Reason::CredentialKind,
                format!("credential `{}` is not a token", definition.name),
            ));
        };
        let job = permit.job();
        let facts = job.facts();
        let unsigned = self.prepare(&TokenSpec {
            credential: &definition.name,
            signer: wanted.signer,
            audience: &wanted.audience,
            scopes: permit.scopes(),
            issuer: &job.token().issuer,
            subject: job.subject(),
            token: &job.token().id,
            facts: wanted
                .claims
                .iter()
                .filter_map(|fact| facts.get(*fact).map(|value| (*fact, value)))
                .collect(),
            minted_at: reserved.minted_at(),
            expires_at: reserved.expires_at(),
        })?;
        let (jti, expires_at) = (unsigned.jti.clone(), unsigned.expires_at);
        Ok(Credential {
            definition: Arc::clone(definition),
            members: Members::new("token", unsigned.signed().await?)
                .public("token_type", KIND.token_type)
                .public("scopes", permit.scopes()),
            expires_at,
            lease: None,
            public_id: jti,
        })
    }
}

/// Checks that tokens may be minted for an audience: it is not empty, and not this broker.
///
/// # Errors
/// Why not.
pub fn check_audience(audience: &str, issuer: &str) -> Result<(), AudienceError> {
    if audience.is_empty() {
        return Err(AudienceError::Empty);
    }
    let length = audience.len();
    if length > LONGEST_AUDIENCE {
        return Err(AudienceError::TooLong { length });
    }
    if !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AudienceError::Characters);
    }
    // Also other spellings of the issuer URL, and paths below it: a less strict comparison must not
    // take a minted token for a subject token.
    let plain = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
    let (audience, ours) = (plain(audience), plain(issuer));
    match audience.strip_prefix(&ours) {
        Some("") => Err(AudienceError::Ours),
        Some(rest) if rest.starts_with(['/', '?', '#', ':']) => Err(AudienceError::Ours),
        Some(_) | None => Ok(()),
    }
}

/// Why an audience is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudienceError {
    #[error(
        "the audience of a token credential is empty, expected the service that the token is for"
    )]
    Empty,
    #[error("the audience of a token credential has {length} bytes, expected at most 256")]
    TooLong { length: usize },
    /// Characters that can look like others.
    #[error(
        "the audience of a token credential has spaces or characters other than printable ASCII"
    )]
    Characters,
    /// This broker would accept it as a subject token.
    #[error(
        "the audience of a token credential is this broker itself; such a token could pass for a job's, so name the service that reads it"
    )]
    Ours,
}

/// What goes into one token.
struct TokenSpec<'a> {
    credential: &'a str,
    signer: Signer,
    audience: &'a str,
    scopes: &'a [String],
    issuer: &'a str,
    subject: &'a str,
    token: &'a str,
    facts: Vec<(Fact, &'a FactValue)>,
    minted_at: Timestamp,
    expires_at: Timestamp,
}

/// A token before its signature, and the key that makes it.
struct Unsigned {
    key: Arc<SigningKey>,
    claims: Vec<u8>,
    jti: String,
    expires_at: Timestamp,
}

impl Unsigned {
    /// Slow signatures run on a blocking thread, so they delay no other request.
    async fn signed(self) -> Result<Secret<String>, MintError> {
        let signed = if self.key.is_slow() {
            let signing = tokio::task::spawn_blocking(move || self.key.sign(&self.claims));
            signing.await.unwrap_or(Err(KeysError::Crypto))
        } else {
            self.key.sign(&self.claims)
        };
        signed.map_err(broken)
    }
}

/// RFC 9068 section 2.2, with `act` of RFC 8693 section 4.1.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: &'a str,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a String>,
    act: Actor<'a>,
    #[serde(serialize_with = "by_name")]
    job: &'a [(Fact, &'a FactValue)],
}

#[derive(Serialize)]
struct Actor<'a> {
    iss: &'a str,
    sub: &'a str,
}

/// The facts by their names.
fn by_name<S: Serializer>(facts: &&[(Fact, &FactValue)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(facts.iter().map(|(fact, value)| (fact.name(), value)))
}

/// Outside text is never truncated in a token: it could become another name (T-85).
fn check_lengths(wanted: &TokenSpec<'_>) -> Result<(), MintError> {
    let subject = ("claim", "sub", wanted.subject.len(), LONGEST_SUBJECT);
    let facts = wanted.facts.iter().map(|(fact, value)| {
        let length = match value {
            FactValue::Text(text) => text.len(),
            FactValue::Bool(_) | FactValue::Address(_) => 0,
            FactValue::List(entries) => entries.iter().map(String::len).sum(),
            FactValue::Workflow(workflow) => workflow
                .path
                .len()
                .saturating_add(workflow.r#ref.as_ref().map_or(0, String::len)),
        };
        ("fact", fact.name(), length, LONGEST_FACT)
    });
    for (what, name, length, longest) in facts.chain([subject]) {
        if length > longest {
            return Err(MintError::new(
                Reason::ClaimsTooLong,
                format!("{what} `{name}` has {length} bytes, a token holds at most {longest}"),
            ));
        }
    }
    Ok(())
}

fn broken(error: KeysError) -> MintError {
    MintError::new(Reason::SigningFailed, error.to_string())
}

const LONGEST_AUDIENCE: usize = 256;
const LONGEST_FACT: usize = 512;
const LONGEST_SUBJECT: usize = 1_024;
const TOKEN_ID_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jsonwebtoken::{DecodingKey, Header, Validation, decode, decode_header};
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::FixedClock;
    use crate::provider::Workflow;
    use crate::rootkey::{RootKey, RootKeys};

    const NOW: i64 = 1_790_000_000;
    const DAY: u64 = 86_400;

    fn mint_with(algorithm: SigningAlgorithm) -> (Arc<FixedClock>, JwtMint) {
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
        let roots = vec![RootKey::generate().unwrap()];
        let roots = RootKeys::new("https://hallpass.example", 1, roots).unwrap();
        let keys = Keys::new(roots, algorithm, Duration::from_secs(DAY), clock.now()).unwrap();
        let mint = JwtMint::new(Arc::new(keys), Arc::clone(&clock) as Arc<dyn Clock>);
        (clock, mint)
    }

    fn mint() -> (Arc<FixedClock>, JwtMint) {
        mint_with(SigningAlgorithm::Es256)
    }

    fn wanted() -> TokenSpec<'static> {
        TokenSpec {
            credential: "deploy-api",
            signer: Signer::Derived,
            audience: "https://deploy.example",
            scopes: &[],
            issuer: "https://token.actions.githubusercontent.com",
            subject: "repo:acme/shop:ref:refs/heads/main",
            token: "jti-1",
            facts: Vec::new(),
            minted_at: Timestamp::from_unix(NOW),
            expires_at: Timestamp::from_unix(NOW + 600),
        }
    }

    struct Made {
        token: Secret<String>,
        jti: String,
        expires_at: Timestamp,
    }

    fn make(mint: &JwtMint, wanted: &TokenSpec<'_>) -> Result<Made, MintError> {
        let unsigned = mint.prepare(wanted)?;
        Ok(Made {
            token: unsigned.key.sign(&unsigned.claims).map_err(broken)?,
            jti: unsigned.jti,
            expires_at: unsigned.expires_at,
        })
    }

    /// Reads a token as a relying party would: a key of our key set by its id, every claim checked.
    fn read(mint: &JwtMint, token: &Secret<String>, now: Timestamp) -> (Header, Value) {
        let header = decode_header(token.expose()).unwrap();
        let keys = mint.keys.jwks(now).unwrap();
        let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
        let mut rules = Validation::new(mint.keys.algorithm().jose());
        rules.set_audience(&["https://deploy.example"]);
        rules.set_issuer(&["https://hallpass.example"]);
        rules.validate_exp = false;
        let key = DecodingKey::from_jwk(key).unwrap();
        let token = decode::<Value>(token.expose(), &key, &rules).unwrap();
        (token.header, token.claims)
    }

    /// T-84
    #[test]
    fn a_token_has_the_shape_of_rfc_9068() {
        let scopes = ["deploy".to_owned(), "read".to_owned()];
        let repository = FactValue::Text("acme/shop".to_owned());
        let fork = FactValue::Bool(false);
        let workflow = FactValue::Workflow(Workflow::parse("acme/ci/d.yml@refs/heads/main"));
        for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
            let (clock, mint) = mint_with(algorithm);
            let made = make(
                &mint,
                &TokenSpec {
                    scopes: &scopes,
                    facts: vec![
                        (Fact::Repository, &repository),
                        (Fact::FromFork, &fork),
                        (Fact::JobWorkflow, &workflow),
                    ],
                    ..wanted()
                },
            )
            .unwrap();
            let (header, claims) = read(&mint, &made.token, clock.now());
            assert_eq!(header.typ.as_deref(), Some("at+jwt"));
            assert_eq!(
                claims,
                json!({
                    "iss": "https://hallpass.example",
                    "sub": "credential/deploy-api",
                    "aud": "https://deploy.example",
                    "exp": NOW + 600,
                    "iat": NOW,
                    "jti": made.jti,
                    "client_id": "credential/deploy-api",
                    "scope": "deploy read",
                    "act": {
                        "iss": "https://token.actions.githubusercontent.com",
                        "sub": "repo:acme/shop:ref:refs/heads/main",
                    },
                    "job": {
                        "repository": "acme/shop",
                        "from_fork": false,
                        "job_workflow": {"path": "acme/ci/d.yml", "ref": "refs/heads/main"},
                    },
                })
            );
        }
    }

    #[test]
    fn a_repeat_has_the_same_id_and_times_also_in_the_next_epoch() {
        let (clock, mint) = mint();
        let end_of_epoch = (NOW / 86_400 + 1) * 86_400;
        let wanted = TokenSpec {
            minted_at: Timestamp::from_unix(end_of_epoch - 10),
            expires_at: Timestamp::from_unix(end_of_epoch + 590),
            ..wanted()
        };
        clock.step(wanted.minted_at);
        let first = make(&mint, &wanted).unwrap();
        clock.step(Timestamp::from_unix(end_of_epoch + 20));
        let again = make(&mint, &wanted).unwrap();
        let (_, first) = read(&mint, &first.token, clock.now());
        let (_, again) = read(&mint, &again.token, clock.now());
        assert_eq!(first, again);
    }

    #[test]
    fn every_token_and_credential_has_its_own_id() {
        let (_clock, mint) = mint();
        let id = |wanted: TokenSpec<'_>| make(&mint, &wanted).unwrap().jti;
        let ids = [
            id(wanted()),
            id(TokenSpec {
                token: "jti-2",
                ..wanted()
            }),
            id(TokenSpec {
                credential: "deploy-web",
                ..wanted()
            }),
            id(TokenSpec {
                issuer: "https://gitlab.com",
                ..wanted()
            }),
        ];
        for (at, one) in ids.iter().enumerate() {
            assert_eq!(one.len(), 22);
            assert!(!ids[..at].contains(one));
        }
    }

    /// T-86
    #[test]
    fn a_token_never_outlives_the_epoch_after_its_own() {
        let (clock, mint) = mint();
        let far = Timestamp::from_unix(NOW + 10 * 86_400);
        let made = make(
            &mint,
            &TokenSpec {
                expires_at: far,
                ..wanted()
            },
        )
        .unwrap();
        assert_eq!(made.expires_at.unix(), (NOW / 86_400 + 2) * 86_400);
        let (_, claims) = read(&mint, &made.token, clock.now());
        assert_eq!(claims["exp"], made.expires_at.unix());
    }

    /// T-86
    #[test]
    fn a_life_of_nothing_is_refused() {
        let (clock, mint) = mint();
        for expires_at in [NOW, NOW - 1, i64::MIN] {
            let expires_at = Timestamp::from_unix(expires_at);
            let error = make(
                &mint,
                &TokenSpec {
                    expires_at,
                    ..wanted()
                },
            )
            .err()
            .unwrap();
            assert_eq!(error.reason, Reason::CredentialExpired);
        }
        clock.advance(Duration::from_secs(600));
        assert_eq!(
            make(&mint, &wanted()).err().unwrap().reason,
            Reason::CredentialExpired
        );
    }

    /// T-84
    #[test]
    fn an_audience_that_is_us_is_refused() {
        let ours = "https://hallpass.example";
        for audience in [
            "https://hallpass.example",
            "https://hallpass.example/",
            "HTTPS://Hallpass.Example",
            "https://hallpass.example/token",
            "https://hallpass.example:443",
        ] {
            assert_eq!(
                check_audience(audience, ours),
                Err(AudienceError::Ours),
                "{audience}"
            );
            assert_eq!(
                check_audience(audience, "https://hallpass.example/"),
                Err(AudienceError::Ours)
            );
            let (_clock, mint) = mint();
            let error = make(
                &mint,
                &TokenSpec {
                    audience,
                    ..wanted()
                },
            )
            .err()
            .unwrap();
            assert_eq!(error.reason, Reason::AudienceBroker);
        }
        for audience in [
            "https://hallpass.example.org",
            "hallpass",
            "sts.amazonaws.com",
        ] {
            assert_eq!(check_audience(audience, ours), Ok(()));
        }
        assert_eq!(check_audience("", ours), Err(AudienceError::Empty));
        assert_eq!(check_audience("a b", ours), Err(AudienceError::Characters));
        assert_eq!(
            check_audience("\u{e9}", ours),
            Err(AudienceError::Characters)
        );
        let long = "a".repeat(257);
        assert_eq!(
            check_audience(&long, ours),
            Err(AudienceError::TooLong { length: 257 })
        );
        insta::assert_snapshot!(AudienceError::Ours, @"the audience of a token credential is this broker itself; such a token could pass for a job's, so name the service that reads it");
    }

    /// T-85
    #[test]
    fn text_too_long_for_a_token_is_refused_not_cut() {
        let (_clock, mint) = mint();
        let long = FactValue::Text("x".repeat(513));
        let error = make(
            &mint,
            &TokenSpec {
                facts: vec![(Fact::Ref, &long)],
                ..wanted()
            },
        )
        .err()
        .unwrap();
        insta::assert_snapshot!(error, @"fact `ref` has 513 bytes, a token holds at most 512");
        assert!(error.nothing_made && !error.reason.is_ours());
        let subject = "x".repeat(1_025);
        let error = make(
            &mint,
            &TokenSpec {
                subject: &subject,
                ..wanted()
            },
        )
        .err()
        .unwrap();
        insta::assert_snapshot!(error, @"claim `sub` has 1025 bytes, a token holds at most 1024");
    }

    /// T-170
    #[test]
    fn a_token_for_rs256_is_never_signed_by_a_derived_key() {
        let (_clock, mint) = mint();
        let wanted = TokenSpec {
            signer: Signer::Rs256,
            ..wanted()
        };
        let error = make(&mint, &wanted).err().unwrap();
        insta::assert_snapshot!(error, @"the settings have no RS256 key");
        assert_eq!(error.reason, Reason::SigningFailed);
        assert!(error.nothing_made && error.reason.is_ours());
    }

    /// T-85
    #[test]
    fn hostile_job_text_stays_a_value() {
        let (clock, mint) = mint();
        let hostile = FactValue::Text("main\",\"aud\":\"everyone\",\"x\":\"\u{202e}\n".to_owned());
        let made = make(
            &mint,
            &TokenSpec {
                facts: vec![(Fact::Ref, &hostile)],
                ..wanted()
            },
        )
        .unwrap();
        let (_, claims) = read(&mint, &made.token, clock.now());
        assert_eq!(claims["aud"], "https://deploy.example");
        assert_eq!(claims["job"].as_object().unwrap().len(), 1);
    }
}
