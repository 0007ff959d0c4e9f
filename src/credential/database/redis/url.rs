//! A connection URL: `rediss://user:password@host:port`. The only writer of one, for the broker's answers
//! and for the client.

use std::net::Ipv6Addr;

use crate::credential::database::postgres::url::percent_encode;
use crate::secret::Secret;

/// What a URL is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub tls: bool,
    pub username: &'a str,
    pub password: &'a Secret<String>,
    pub host: &'a str,
    pub port: u16,
}

/// The URL. It names no database: the rules of a lease are the same in all of them.
#[must_use]
pub fn connection_url(parts: &Parts<'_>) -> Secret<String> {
    let scheme = if parts.tls { "rediss" } else { "redis" };
    let host = if parts.host.parse::<Ipv6Addr>().is_ok() {
        in_url(parts.host)
    } else {
        percent_encode(parts.host).expose().clone()
    };
    Secret::new(format!(
        "{scheme}://{}:{}@{host}:{}",
        percent_encode(parts.username).expose(),
        percent_encode(parts.password.expose()).expose(),
        parts.port
    ))
}

/// An IPv6 address in brackets, and any other host as it is.
pub(super) fn in_url(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_crate_reads_the_same_parts_back() {
        let password = Secret::new("p:w/@".to_owned());
        let url = |tls, host| {
            let parts = Parts {
                tls,
                username: "hp_1",
                password: &password,
                host,
                port: 6_379,
            };
            connection_url(&parts).expose().clone()
        };
        assert_eq!(url(true, "::1"), "rediss://hp_1:p%3Aw%2F%40@[::1]:6379");
        let parsed = ::url::Url::parse(&url(false, "cache.acme.dev")).unwrap();
        assert_eq!(parsed.password(), Some("p%3Aw%2F%40"));
        assert_eq!(parsed.host_str(), Some("cache.acme.dev"));
    }
}
