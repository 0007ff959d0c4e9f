//! Which entries of a key set may check signatures.

use super::super::json::{Object, Value};
use super::super::{Algorithm, TrustedIssuer};
use super::Key;
use super::material::{self, PublicKey};
use crate::reason::Reason;

/// The rules for an issuer's keys.
///
/// A key is looked at once, when its set arrives, and not when a token names it: what was admitted
/// can verify, and what cannot is reported while nobody waits.
#[derive(Clone, Debug)]
pub struct Admission {
    algorithms: Vec<Algorithm>,
    strip_leading_zero: bool,
    key_use: Option<String>,
}

impl Admission {
    /// The rules without any issuer's exceptions, for these algorithms.
    #[must_use]
    pub fn new(algorithms: &[Algorithm]) -> Self {
        Self {
            algorithms: algorithms.to_vec(),
            strip_leading_zero: false,
            key_use: None,
        }
    }

    /// The rules of an issuer, with the exceptions its settings name.
    #[must_use]
    pub fn for_issuer(issuer: &TrustedIssuer) -> Self {
        Self {
            algorithms: issuer.algorithms.clone(),
            strip_leading_zero: issuer.strip_leading_zero,
            key_use: issuer.key_use.clone(),
        }
    }

    /// One entry of `keys`.
    pub(super) fn admit(&self, entry: &Value) -> Result<Key, Rule> {
        let Value::Object(entry) = entry else {
            return Err(Rule::NotAnObject);
        };
        if PRIVATE_MEMBERS.iter().any(|name| entry.get(name).is_some()) {
            return Err(Rule::PrivateMember);
        }
        let kid = kid(entry)?;
        self.check_use(entry)?;
        let material = material(entry, self.strip_leading_zero)?;
        let algorithms = self.algorithms(entry, &material)?;
        let public = PublicKey::parse(&material, &algorithms)?;
        Ok(Key { kid, public })
    }

    /// Whether the entry does not say itself that it is for something else.
    pub(super) fn is_for_signatures(&self, entry: &Value) -> bool {
        match entry {
            Value::Object(entry) => self.check_use(entry).is_ok(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                false
            }
        }
    }

    /// RFC 7517 sections 4.2 and 4.3.
    fn check_use(&self, entry: &Object) -> Result<(), Rule> {
        match entry.get("use") {
            None => {}
            Some(Value::Text(text)) if text == "sig" || Some(text) == self.key_use.as_ref() => {}
            Some(_) => return Err(Rule::Use),
        }
        match entry.get("key_ops") {
            None => Ok(()),
            Some(Value::List(operations)) => operations
                .iter()
                .any(|operation| operation.as_text() == Some("verify"))
                .then_some(())
                .ok_or(Rule::Operations),
            Some(_) => Err(Rule::Operations),
        }
    }

    /// The key's own `alg`, or everything its type can do; never more than the issuer may use.
    fn algorithms(
        &self,
        entry: &Object,
        material: &material::Material,
    ) -> Result<Vec<Algorithm>, Rule> {
        let named = match entry.get("alg") {
            None => None,
            Some(value) => Some(
                value
                    .as_text()
                    .and_then(Algorithm::from_name)
                    .ok_or(Rule::Algorithm)?,
            ),
        };
        let admitted: Vec<Algorithm> = material
            .algorithms()
            .iter()
            .copied()
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .filter(|algorithm| named.is_none_or(|named| named == *algorithm))
            .collect();
        if admitted.is_empty() {
            return Err(Rule::Algorithm);
        }
        Ok(admitted)
    }
}

/// The RFC 7638 thumbprint of an entry that is a public key, whatever else it says.
pub(super) fn thumbprint(entry: &Value) -> Option<String> {
    match entry {
        Value::Object(entry) => Some(material(entry, true).ok()?.thumbprint()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => None,
    }
}

fn material(entry: &Object, strip_leading_zero: bool) -> Result<material::Material, Rule> {
    match entry.get("kty").and_then(Value::as_text) {
        Some("RSA") => material::rsa(entry, strip_leading_zero),
        Some("EC") => material::ec(entry),
        Some("OKP") => material::okp(entry),
        Some(_) | None => Err(Rule::KeyType),
    }
}

/// Every algorithm there is, no exceptions: for vectors and tools, not for an issuer.
impl Default for Admission {
    fn default() -> Self {
        Self::new(&Algorithm::ALL)
    }
}

fn kid(entry: &Object) -> Result<Option<String>, Rule> {
    match entry.get("kid") {
        None => Ok(None),
        Some(Value::Text(kid)) if super::is_kid(kid) => Ok(Some(kid.clone())),
        Some(_) => Err(Rule::Kid),
    }
}

/// An entry that was left out of its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its place in `keys`, from 0.
    pub index: usize,
    pub rule: Rule,
}

/// What keeps an entry out of a set (T-29, T-32, T-34).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    #[error("it is not an object")]
    NotAnObject,
    #[error("it has a private or symmetric member: the issuer is leaking a key")]
    PrivateMember,
    #[error("its `kid` is not a string of 1 to 256 bytes")]
    Kid,
    #[error("another entry has the same `kid`")]
    SharedKid,
    #[error("its `use` is not `sig`")]
    Use,
    #[error("its `key_ops` has no `verify`")]
    Operations,
    #[error("its `kty` is not `RSA`, `EC` or `OKP`")]
    KeyType,
    #[error("its `crv` is not `P-256`, `P-384` or `Ed25519`")]
    Curve,
    #[error("its `alg` does not fit the key or the issuer's algorithms")]
    Algorithm,
    #[error("a member of the key is missing or not base64url without padding")]
    Encoding,
    #[error("a number begins with a zero byte (see `strip_leading_zero`)")]
    LeadingZero,
    #[error("its modulus is not 2048 to 8192 bits long")]
    ModulusSize,
    #[error("its modulus is even")]
    EvenModulus,
    #[error("its exponent is not an odd number from 3 to 2^32 - 1")]
    Exponent,
    #[error("its modulus has a small prime factor")]
    SmallFactor,
    #[error("its modulus has the ROCA fingerprint (CVE-2017-15361)")]
    WeakGenerator,
    #[error("a coordinate has the wrong length for the curve")]
    CoordinateLength,
    #[error("its point is not on the curve")]
    NotOnCurve,
    #[error("its point is of small order or not canonical")]
    SmallOrder,
    #[error("the crypto backend does not accept it")]
    Backend,
}

impl Rule {
    #[must_use]
    pub fn reason(self) -> Reason {
        if self == Self::PrivateMember {
            Reason::KeysPrivateMember
        } else {
            Reason::KeysRejected
        }
    }
}

/// Members of private keys (RFC 7518 section 6, RFC 8037) and of symmetric ones.
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];
/// The longest `kid`, in bytes.
pub(super) const LONGEST_KID: usize = 256;
