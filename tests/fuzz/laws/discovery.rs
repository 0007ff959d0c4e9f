//! A discovery document: it is the issuer's own, and names keys on a host that may have them.

use hallpass::token::TrustedIssuer;
use hallpass::token::json::{self, Limits, Value};
use hallpass::token::keys::remote::key_set_url;

pub(crate) fn holds(input: &[u8]) {
    let plain = TrustedIssuer::new("plain", "https://ci.example");
    let mut inside = TrustedIssuer::new("inside", "https://ci.example/a");
    inside.key_hosts = vec!["keys.example:8443".to_owned()];
    inside.networks = vec!["10.0.0.0/8".parse().expect("a network")];
    for (issuer, hosts) in [
        (plain, &["ci.example"][..]),
        (inside, &["ci.example", "keys.example:8443"]),
    ] {
        match key_set_url(input, &issuer) {
            Ok(url) => accepted(input, &issuer, hosts, url.as_str()),
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() < 300, "{text}");
                assert!(
                    text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                    "{text}"
                );
            }
        }
    }
}

fn accepted(input: &[u8], issuer: &TrustedIssuer, hosts: &[&str], url: &str) {
    assert!(input.len() <= 64 * 1_024);
    let document = json::parse_object(input, &Limits::default()).expect("strict JSON");
    let text = |name: &str| document.get(name).and_then(Value::as_text);
    assert_eq!(text("issuer"), Some(issuer.url.as_str()));
    assert_eq!(
        text("jwks_uri"),
        Some(url),
        "another address than was written"
    );
    let rest = url.strip_prefix("https://").expect("https");
    let host = rest.split(['/', '?', '#']).next();
    assert!(host.is_some_and(|host| hosts.contains(&host)), "{url}");
    assert!(!url.contains('#') && url.is_ascii(), "{url}");
}
