//! The numbers of a public key, checked and handed to the crypto backend once.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;

use super::super::Algorithm;
use super::super::json::{Object, Value};
use super::Rule;
use super::roca;

/// The numbers of a public key that passed the rules for its type.
pub(super) enum Material {
    /// RFC 7518 section 6.3, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// RFC 7518 section 6.2.
    Ec {
        curve: Curve,
        x: Vec<u8>,
        y: Vec<u8>,
    },
    /// RFC 8037 section 2.
    Ed25519 { x: Vec<u8> },
}

/// The curves of ECDSA keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }

    const fn coordinate_length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

impl Material {
    /// Every algorithm such a key can be for.
    pub(super) const fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Rsa { .. } => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            Self::Ec { curve, .. } => match curve {
                Curve::P256 => &[Algorithm::ES256],
                Curve::P384 => &[Algorithm::ES384],
            },
            Self::Ed25519 { .. } => &[Algorithm::EdDSA],
        }
    }

    /// Bytes of a signature: of the modulus, or twice a coordinate.
    fn signature_length(&self) -> usize {
        match self {
            Self::Rsa { n, .. } => n.len(),
            Self::Ec { curve, .. } => curve.coordinate_length().saturating_mul(2),
            Self::Ed25519 { .. } => 64,
        }
    }

    /// RFC 7638: the required members in the order of their names.
    pub(super) fn thumbprint(&self) -> String {
        let text = |bytes: &Vec<u8>| BASE64URL_NOPAD.encode(bytes);
        let members = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
            Self::Ec { curve, x, y } => format!(
                r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
                curve.name(),
                text(x),
                text(y)
            ),
            Self::Ed25519 { x } => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x))
            }
        };
        BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, members.as_bytes()).as_ref())
    }
}

/// A public key the crypto backend has taken in, once per algorithm it may be used with.
#[derive(Debug)]
pub(in crate::token) struct PublicKey {
    backends: Vec<(Algorithm, ParsedPublicKey)>,
    signature_length: usize,
}

impl PublicKey {
    /// Parsed here, so that no token pays for it (T-96), and a key the backend refuses is never used.
    pub(super) fn parse(material: &Material, algorithms: &[Algorithm]) -> Result<Self, Rule> {
        let backends = algorithms
            .iter()
            .map(|algorithm| Ok((*algorithm, parse_one(material, *algorithm)?)))
            .collect::<Result<_, Rule>>()?;
        Ok(Self {
            backends,
            signature_length: material.signature_length(),
        })
    }

    /// Whether it may be used with that algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.backends
            .iter()
            .any(|(fitting, _)| *fitting == algorithm)
    }

    /// A check with it takes many times as long as with the usual keys (T-96).
    pub(in crate::token) const fn is_slow(&self) -> bool {
        self.signature_length > LARGEST_USUAL_SIGNATURE
    }

    /// The one signature check of a token. The length is compared first, so that the backend only
    /// sees signatures that can be one (T-36, T-39).
    pub(in crate::token) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        signature.len() == self.signature_length
            && self
                .backends
                .iter()
                .find(|(fitting, _)| *fitting == algorithm)
                .is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

fn parse_one(material: &Material, algorithm: Algorithm) -> Result<ParsedPublicKey, Rule> {
    match material {
        Material::Rsa { n, e } => {
            let parameters = rsa_parameters(algorithm).ok_or(Rule::Algorithm)?;
            RsaPublicKeyComponents { n, e }
                .to_parsed_public_key(parameters)
                .map_err(|_| Rule::Backend)
        }
        Material::Ec { curve, x, y } => {
            let point = [&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat();
            let backend: &'static dyn VerificationAlgorithm = match curve {
                Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED,
                Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            };
            ParsedPublicKey::new(backend, point).map_err(|_| Rule::NotOnCurve)
        }
        Material::Ed25519 { x } => {
            ParsedPublicKey::new(&signature::ED25519, x).map_err(|_| Rule::Backend)
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => None,
    }
}

/// RFC 7518 section 6.3, with T-33's limits.
pub(super) fn rsa(entry: &Object, strip_leading_zero: bool) -> Result<Material, Rule> {
    let number = |name| {
        let bytes = decoded(entry, name)?;
        match bytes.strip_prefix(&[0]) {
            Some(stripped) if strip_leading_zero && stripped.first() != Some(&0) => {
                Ok(stripped.to_vec())
            }
            Some(_) => Err(Rule::LeadingZero),
            None => Ok(bytes),
        }
    };
    let n = number("n")?;
    let e = number("e")?;
    if !(SMALLEST_MODULUS..=LARGEST_MODULUS).contains(&bit_length(&n)) {
        return Err(Rule::ModulusSize);
    }
    if is_even(&n) {
        return Err(Rule::EvenModulus);
    }
    // Below 2^32 is four bytes at most; one byte can be 1, which signs nothing.
    if e.len() > 4 || is_even(&e) || e == [1] {
        return Err(Rule::Exponent);
    }
    if roca::has_small_factor(&n) {
        return Err(Rule::SmallFactor);
    }
    if roca::has_fingerprint(&n) {
        return Err(Rule::WeakGenerator);
    }
    Ok(Material::Rsa { n, e })
}

/// RFC 7518 section 6.2: coordinates have exactly the length of the field.
pub(super) fn ec(entry: &Object) -> Result<Material, Rule> {
    let curve = match entry.get("crv").and_then(Value::as_text) {
        Some("P-256") => Curve::P256,
        Some("P-384") => Curve::P384,
        Some(_) | None => return Err(Rule::Curve),
    };
    let (x, y) = (decoded(entry, "x")?, decoded(entry, "y")?);
    if x.len() != curve.coordinate_length() || y.len() != curve.coordinate_length() {
        return Err(Rule::CoordinateLength);
    }
    Ok(Material::Ec { curve, x, y })
}

/// RFC 8037 section 2, Ed25519 only.
pub(super) fn okp(entry: &Object) -> Result<Material, Rule> {
    if entry.get("crv").and_then(Value::as_text) != Some("Ed25519") {
        return Err(Rule::Curve);
    }
    let x = decoded(entry, "x")?;
    let encoding: [u8; 32] = x
        .as_slice()
        .try_into()
        .map_err(|_| Rule::CoordinateLength)?;
    if is_weak_ed25519(encoding) {
        return Err(Rule::SmallOrder);
    }
    Ok(Material::Ed25519 { x })
}

/// A member as canonical base64url; `data_encoding` refuses padding, trailing bits and white space.
fn decoded(entry: &Object, name: &str) -> Result<Vec<u8>, Rule> {
    entry
        .get(name)
        .and_then(Value::as_text)
        .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
        .filter(|bytes| !bytes.is_empty())
        .ok_or(Rule::Encoding)
}

fn bit_length(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |byte| byte.leading_zeros());
    number
        .len()
        .saturating_mul(8)
        .saturating_sub(usize::try_from(unused).unwrap_or(0))
}

fn is_even(number: &[u8]) -> bool {
    number.last().is_none_or(|byte| byte % 2 == 0)
}

/// Points of order 1, 2, 4 or 8, under which forged signatures hold, and `y` at or above the field's
/// prime, which other implementations read as another key (RFC 8032 section 5.1.3).
fn is_weak_ed25519(mut encoding: [u8; 32]) -> bool {
    // The sign of x says nothing about the order.
    let [first, middle @ .., last] = &mut encoding;
    *last &= 0x7f;
    let not_canonical = *last == 0x7f && *first >= 0xed && middle.iter().all(|byte| *byte == 0xff);
    not_canonical || SMALL_ORDER.contains(&encoding)
}

/// The `y` of the eight points of small order: 1, -1, 0, and the two of order 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
    [0; 32],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];
/// SEC 1 section 2.3.3: what stands before both coordinates.
const UNCOMPRESSED: u8 = 4;
/// Bits.
const SMALLEST_MODULUS: usize = 2_048;
/// Bits: more would let one token cost milliseconds.
const LARGEST_MODULUS: usize = 8_192;
/// Bytes: RSA with 4,096 bits.
const LARGEST_USUAL_SIGNATURE: usize = 512;
