//! SPIFFE IDs (SPIFFE-ID section 2): `spiffe://` trust domain `/` path.

use super::json::Object;

/// The trust domain of claims that name no issuer at all: an `iss` of another form is not taken for none.
pub(crate) fn domain_without_issuer(claims: &Object) -> Option<&str> {
    if claims.get("iss").is_some() {
        return None;
    }
    domain_of(claims.get("sub")?.as_text()?)
}

/// The trust domain of a SPIFFE ID, if the text is one of a workload.
pub(super) fn domain_of(id: &str) -> Option<&str> {
    let (domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    let is_path = path.split('/').all(is_segment);
    (is_domain(domain) && is_path).then_some(domain)
}

/// Whether text can be a trust domain: compared byte for byte, so only in its one spelling.
pub(super) fn is_domain(text: &str) -> bool {
    let is_letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
    };
    (1..=LONGEST_DOMAIN).contains(&text.len()) && text.bytes().all(is_letter)
}

fn is_segment(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(text, "" | "." | "..") && text.bytes().all(is_letter)
}

/// Bytes.
const LONGEST_DOMAIN: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    /// T-388
    #[test]
    fn a_spiffe_id_has_one_spelling() {
        assert_eq!(domain_of("spiffe://acme.dev/ns/shop"), Some("acme.dev"));
        for other in [
            "",
            "acme.dev/shop",
            "spiffe:acme.dev/shop",
            "SPIFFE://acme.dev/shop",
            "spiffe://acme.dev",
            "spiffe://acme.dev/",
            "spiffe:///shop",
            "spiffe://Acme.dev/shop",
            "spiffe://acme.dev:443/shop",
            "spiffe://user@acme.dev/shop",
            "spiffe://acme.dev//shop",
            "spiffe://acme.dev/shop/",
            "spiffe://acme.dev/../other/shop",
            "spiffe://acme.dev/./shop",
            "spiffe://acme.dev/shop?x",
            "spiffe://acme.dev/shop#x",
            "spiffe://acme.dev/%73hop",
            " spiffe://acme.dev/shop",
        ] {
            assert_eq!(domain_of(other), None, "{other}");
        }
        assert!(domain_of(&format!("spiffe://{}/x", "a".repeat(256))).is_none());
    }
}
