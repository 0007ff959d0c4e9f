//! The encryption of a sealed answer. The only user of josekit, and of nothing in it that opens,
//! verifies or inflates.

use josekit::jwe::{ECDH_ES, JweHeader, serialize_compact};
use josekit::jwk::Jwk;
use serde_json::{Map, Value};

use super::{RecipientKey, open};

/// A compact JWE (RFC 7516) of `content` for this key. `None`: OpenSSL refused the key or has no
/// randomness.
pub(super) fn compact(content: &[u8], recipient: &RecipientKey) -> Option<String> {
    let members = recipient.members();
    let members = members.map(|(name, value)| (name.to_owned(), Value::String(value)));
    let key = Jwk::from_map(members.collect::<Map<_, _>>()).ok()?;
    let encrypter = ECDH_ES.encrypter_from_jwk(&key).ok()?;
    let mut header = JweHeader::new();
    header.set_content_encryption(open::CONTENT_ENCRYPTION);
    header.set_content_type(open::CONTENT_TYPE);
    header.set_key_id(recipient.thumbprint());
    serialize_compact(content, &header, &encrypter).ok()
}
