//! Checks the settings of trusted issuers.

use std::net::IpAddr;

use url::{Host, Url};

use super::keys::remote::address;
use super::{TrustedIssuer, keys, spiffe};
use crate::text::is_printable;
use crate::tls;

impl TrustedIssuer {
    /// Whether these settings can be used.
    ///
    /// # Errors
    /// A sentence that names the setting, what was found and what was expected.
    pub fn check(&self) -> Result<(), String> {
        self.check_url()?;
        self.check_times()?;
        self.check_tokens()?;
        self.check_keys()
    }

    /// T-40: one spelling only, so that comparing text is comparing issuers.
    fn check_url(&self) -> Result<(), String> {
        let text = &self.url;
        let wrong = |problem: &str| Err(format!("issuer `{text}` {problem}"));
        if text.len() > LONGEST_URL {
            return wrong("is longer than 512 bytes");
        }
        if !is_printable(text) {
            return wrong("has characters outside printable ASCII");
        }
        let Ok(url) = Url::parse(text) else {
            return wrong("is not a URL");
        };
        if url.scheme() != "https" {
            return wrong("is not an https URL");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("has a query or fragment");
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return wrong("has user information, or an `@`");
        }
        if !is_spelled_plainly(text, &url) {
            return Err(format!(
                "issuer `{text}` is not written canonically, expected `{}`",
                url.as_str()
            ));
        }
        match literal(&url) {
            // An address is a question of where keys are fetched.
            Some(ip) if self.pinned_keys.is_none() && !address::is_within(ip, &self.networks) => {
                wrong("has an IP address as its host, which is in none of its `networks`")
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), String> {
        let within = |name: &str, found: i64, least: i64, most: i64| {
            (least..=most)
                .contains(&found)
                .then_some(())
                .ok_or_else(|| {
                    format!(
                        "`{name}` of issuer `{}` is {found} s, expected {least} to {most} s",
                        self.url
                    )
                })
        };
        within("leeway", self.leeway, 0, MOST_LEEWAY)?;
        within("max_lifetime", self.max_lifetime, 1, LONGEST_LIFE)?;
        within("max_age", self.max_age, 1, LONGEST_AGE)
    }

    fn check_tokens(&self) -> Result<(), String> {
        let url = &self.url;
        if self.algorithms.is_empty() {
            return Err(format!("issuer `{url}` has no `algorithms`"));
        }
        let short_ascii = |text: &String| (1..=64).contains(&text.len()) && is_printable(text);
        if let Some(odd) = self.token_types.iter().find(|text| !short_ascii(text)) {
            return Err(format!(
                "issuer `{url}` has token type `{odd}`, expected 1 to 64 ASCII characters"
            ));
        }
        let audience = |text: &String| (1..=512).contains(&text.len()) && is_printable(text);
        if let Some(odd) = self.tolerated_audiences.iter().find(|text| !audience(text)) {
            return Err(format!(
                "issuer `{url}` tolerates audience `{odd}`, expected 1 to 512 ASCII characters"
            ));
        }
        if let Some(domain) = self
            .trust_domain
            .as_deref()
            .filter(|one| !spiffe::is_domain(one))
        {
            return Err(format!(
                "issuer `{url}` has trust domain `{domain}`, expected 1 to 255 characters of a-z, 0-9, `.`, `-` and `_`, such as `acme.dev`"
            ));
        }
        if self.tolerated_audiences.len() > MOST_TOLERATED {
            return Err(format!(
                "issuer `{url}` tolerates more than {MOST_TOLERATED} other audiences"
            ));
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<(), String> {
        let url = &self.url;
        if let Some(odd) = self.key_hosts.iter().find(|host| !address::is_host(host)) {
            return Err(format!(
                "issuer `{url}` has key host `{odd}`, expected a lower-case name, with `:port` if it is not 443"
            ));
        }
        if !self.blocked_kids.iter().all(|kid| keys::is_kid(kid)) {
            return Err(format!(
                "issuer `{url}` blocks a key id that is not 1 to 256 bytes long"
            ));
        }
        match &self.ca {
            Some(pem) => tls::certificates(pem.as_bytes())
                .map(|_| ())
                .map_err(|problem| format!("`ca` of issuer `{url}` {problem}")),
            None => Ok(()),
        }
    }
}

/// Whether two issuers would be taken for one by a reader, or by a lax comparison elsewhere.
pub(crate) fn is_same_but_for_spelling(one: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let canonical = Url::parse(text).map_or_else(|_| text.to_owned(), String::from);
        canonical.trim_end_matches('/').to_ascii_lowercase()
    };
    plain(one) == plain(other)
}

/// Whether an issuer's host is this machine, by name or by address.
pub(crate) fn is_loopback(issuer: &str) -> bool {
    let Ok(url) = Url::parse(issuer) else {
        return false;
    };
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

/// Whether text is the canonical spelling of its URL, but for capitals in the host, the port 443 and
/// a slash at the end: an issuer may write its `iss` with those, and it is compared as text.
fn is_spelled_plainly(text: &str, url: &Url) -> bool {
    let Some(rest) = text.strip_prefix("https://") else {
        return false;
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    let spelling = format!("https://{host}{path}");
    let canonical = url.as_str();
    canonical == spelling || canonical.strip_suffix('/') == Some(&spelling)
}

/// The host, if it is an address and not a name.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
    }
}

/// Bytes.
const LONGEST_URL: usize = 512;
/// Seconds (T-42).
const MOST_LEEWAY: i64 = 60;
/// 31 days: a subject token is for one job, and no CI's jobs may take longer.
pub(crate) const LONGEST_LIFE: i64 = 31 * 24 * 3_600;
/// A week.
const LONGEST_AGE: i64 = 7 * 24 * 3_600;
/// With ours, as many as `aud` may list.
const MOST_TOLERATED: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Algorithm;

    fn problem(change: impl FnOnce(&mut TrustedIssuer)) -> String {
        let mut issuer = TrustedIssuer::new("example", "https://ci.example");
        change(&mut issuer);
        issuer.check().expect_err("a problem")
    }

    /// T-40
    #[test]
    fn an_issuer_that_could_be_written_in_two_ways_is_refused() {
        for url in [
            "",
            "ci.example",
            "http://ci.example",
            "ftp://ci.example",
            "https://",
            "https:///x",
            "https:ci.example",
            "https://ci.example?",
            "https://ci.example?a=b",
            "https://ci.example#",
            "https://ci.example#x",
            "https://user@ci.example",
            "https://user:pw@ci.example",
            "https://@ci.example",
            "HTTPS://ci.example",
            "https://ci.example:0443",
            "https://ci.example:443:443",
            "https://%43I.example",
            "https://ci.example/a/../b",
            "https://ci.example/./a",
            "https://ci.example\\a",
            "https://ci.example/ a",
            " https://ci.example",
            "https://ci.example\n",
            "https://ci.ex\tample",
            "https://cï.example",
            "https://ci.example/ü",
            "https://127.0.0.1",
            "https://0x7f.1",
            "https://2130706433",
            "https://[::1]",
            "https://8.8.8.8",
        ] {
            let mut issuer = TrustedIssuer::new("example", url);
            assert!(issuer.check().is_err(), "{url:?}");
            issuer.networks = vec!["10.0.0.0/8".parse().unwrap()];
            assert!(issuer.check().is_err(), "{url:?}");
        }
        for url in [
            "https://ci.example",
            "https://ci.example/",
            "https://ci.example:8443",
            "https://ci.example/a/b",
            "https://ci.example/a/b/",
            "https://ci.example/A",
            "https://CI.example",
            "https://Ci.Example/a",
            "https://ci.example:443",
            "https://CI.example:443/a/",
            "https://token.actions.githubusercontent.com/acme",
            "https://xn--c-4ga.example",
        ] {
            assert_eq!(
                TrustedIssuer::new("example", url).check(),
                Ok(()),
                "{url:?}"
            );
        }
    }

    /// T-40
    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        let of = |url: &str| problem(|issuer| url.clone_into(&mut issuer.url));
        for url in ["https://ci.example?a=b", "https://ci.example#x"] {
            assert!(of(url).ends_with("has a query or fragment"), "{}", of(url));
        }
        for url in [
            "https://user@ci.example",
            "https://:pw@ci.example",
            "https://ci.example/a@b",
        ] {
            assert!(
                of(url).ends_with("has user information, or an `@`"),
                "{}",
                of(url)
            );
        }
    }

    #[test]
    fn lengths_hold_at_their_ends() {
        let url = |length: usize| format!("https://ci.example/{}", "a".repeat(length - 19));
        assert_eq!(TrustedIssuer::new("example", &url(512)).check(), Ok(()));
        for length in [513, 600] {
            let problem = problem(|issuer| issuer.url = url(length));
            assert!(problem.ends_with("is longer than 512 bytes"), "{problem}");
        }
        let mut issuer = TrustedIssuer::new("example", "https://ci.example");
        issuer.tolerated_audiences = (0..15).map(|number| format!("a{number}")).collect();
        assert_eq!(issuer.check(), Ok(()));
        issuer.tolerated_audiences.push("one more".to_owned());
        assert!(issuer.check().is_err());
    }

    /// T-56
    #[test]
    fn an_address_is_a_host_only_within_named_networks() {
        let mut issuer = TrustedIssuer::new("example", "https://10.1.2.3:8443");
        assert!(issuer.check().is_err());
        issuer.networks = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(issuer.check(), Ok(()));
    }

    /// T-42, T-44
    #[test]
    fn times_have_ceilings() {
        insta::assert_snapshot!(problem(|issuer| issuer.leeway = 61), @"`leeway` of issuer `https://ci.example` is 61 s, expected 0 to 60 s");
        insta::assert_snapshot!(problem(|issuer| issuer.max_lifetime = 0), @"`max_lifetime` of issuer `https://ci.example` is 0 s, expected 1 to 2678400 s");
        insta::assert_snapshot!(problem(|issuer| issuer.max_age = i64::MAX), @"`max_age` of issuer `https://ci.example` is 9223372036854775807 s, expected 1 to 604800 s");
        problem(|issuer| issuer.leeway = -1);
    }

    #[test]
    fn other_settings_are_checked() {
        insta::assert_snapshot!(problem(|issuer| issuer.algorithms.clear()), @"issuer `https://ci.example` has no `algorithms`");
        insta::assert_snapshot!(problem(|issuer| issuer.ca = Some("not PEM".into())), @"`ca` of issuer `https://ci.example` holds no certificate; expected PEM, `-----BEGIN CERTIFICATE-----`");
        insta::assert_snapshot!(problem(|issuer| issuer.key_hosts = vec!["Keys.example".into()]), @"issuer `https://ci.example` has key host `Keys.example`, expected a lower-case name, with `:port` if it is not 443");
        problem(|issuer| issuer.token_types = vec![String::new()]);
        problem(|issuer| issuer.tolerated_audiences = vec!["ü".into()]);
        problem(|issuer| issuer.tolerated_audiences = vec!["x".into(); 16]);
        problem(|issuer| issuer.blocked_kids = vec!["x".repeat(257)]);
        let mut fine = TrustedIssuer::new("example", "https://ci.example");
        fine.algorithms = Algorithm::ALL.to_vec();
        fine.key_hosts = vec!["keys.example".into(), "keys.example:8443".into()];
        assert_eq!(fine.check(), Ok(()));
    }

    /// T-117
    #[test]
    fn every_spelling_of_this_machine_is_loopback() {
        for url in [
            "https://localhost",
            "https://localhost.",
            "https://a.localhost",
            "https://127.0.0.1",
            "https://127.9.9.9",
            "https://[::1]",
            "https://[::ffff:127.0.0.1]",
            "https://LOCALHOST",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        assert!(!is_loopback("https://localhost.example"));
    }
}
