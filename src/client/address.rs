//! The broker's address: where it is asked, and the audience a job's token is for.

use std::net::IpAddr;

use url::{Host, Url};

use crate::text::escape;

/// The broker's address as it was configured, without a slash at the end.
///
/// It is three things that must be one: where we connect, the audience we ask the CI for, and the
/// `issuer` the broker has to call itself. So it is kept as text and compared as text (T-108).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress(String);

impl BrokerAddress {
    /// Takes an https address without query, fragment and user; plain http only for this machine.
    ///
    /// # Errors
    /// Anything else, with what was expected.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = |problem: &'static str| AddressError {
            address: escape(text),
            problem,
        };
        let url = Url::parse(text).map_err(|_| wrong("is not an address"))?;
        if !url.username().is_empty() || url.password().is_some() {
            // Not shown: the part before the @ may be somebody's password.
            return Err(AddressError {
                address: "…@…".to_owned(),
                problem: "holds a user or a password",
            });
        }
        match url.scheme() {
            "https" => {}
            "http" if is_this_machine(&url) => {}
            "http" => return Err(wrong("is plain http to another machine")),
            _ => return Err(wrong("is not an https address")),
        }
        if text.contains(['?', '#']) {
            return Err(wrong("has a query or a fragment"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("holds characters that need encoding"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The address as text: also the audience and the expected `issuer`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of one of the broker's routes, e.g. `/token`.
    #[must_use]
    pub fn route(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

/// An address no broker can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broker address `{address}` {problem}; expected one like `https://hallpass.example`")]
pub struct AddressError {
    address: String,
    problem: &'static str,
}

/// The address leads to this machine, so that plain http shows nothing to a network.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_does_not_count() {
        let address = BrokerAddress::parse("https://hallpass.example/").unwrap();
        assert_eq!(address.as_str(), "https://hallpass.example");
        assert_eq!(address.route("/token"), "https://hallpass.example/token");
    }

    /// T-108
    #[test]
    fn plain_http_is_for_this_machine_only() {
        for own in [
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://localhost:8080",
        ] {
            assert!(BrokerAddress::parse(own).is_ok(), "{own}");
        }
        for other in [
            "http://hallpass.example",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
        ] {
            assert!(BrokerAddress::parse(other).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_broker_is_refused_by_name() {
        let error = |text| BrokerAddress::parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(error("hallpass.example"), @"broker address `hallpass.example` is not an address; expected one like `https://hallpass.example`");
        insta::assert_snapshot!(error("ftp://hallpass.example"), @"broker address `ftp://hallpass.example` is not an https address; expected one like `https://hallpass.example`");
        insta::assert_snapshot!(error("https://hallpass.example/?a=b"), @"broker address `https://hallpass.example/?a=b` has a query or a fragment; expected one like `https://hallpass.example`");
        insta::assert_snapshot!(error("http://hallpass.example"), @"broker address `http://hallpass.example` is plain http to another machine; expected one like `https://hallpass.example`");
    }

    /// T-92
    #[test]
    fn a_password_in_an_address_is_not_repeated() {
        let error = BrokerAddress::parse("https://me:canary@hallpass.example").unwrap_err();
        assert!(!error.to_string().contains("canary"));
    }
}
