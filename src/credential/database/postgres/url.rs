//! A connection URL: `postgresql://user:password@host:port/database?…`. The only writer of one, for
//! the broker's answers and for the client.

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::path::Path;

use crate::secret::Secret;

/// What a URL is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub username: &'a str,
    pub password: &'a Secret<String>,
    /// The server's host name or address.
    pub host: &'a str,
    pub port: u16,
    pub database: &'a str,
    /// libpq's `sslmode`.
    pub sslmode: &'a str,
    /// A file with the certificates that the server's is checked against.
    pub ca_file: Option<&'a Path>,
    /// libpq's `options`.
    pub options: Option<&'a str>,
}

/// The URL, with everything but letters, digits and `-._~` written as `%XX`: libpq reads no `+` as a
/// space (PostgreSQL manual, "Connection URIs").
#[must_use]
pub fn connection_url(parts: &Parts<'_>) -> Secret<String> {
    let password = percent_encode(parts.password.expose());
    let host = if parts.host.parse::<Ipv6Addr>().is_ok() {
        format!("[{}]", parts.host)
    } else {
        percent_encode(parts.host).expose().clone()
    };
    let mut parameters = format!("sslmode={}", parts.sslmode);
    if let Some(path) = parts.ca_file {
        let path = percent_encode(&path.to_string_lossy());
        parameters = format!("{parameters}&sslrootcert={}", path.expose());
    }
    if let Some(options) = parts.options {
        let options = percent_encode(options);
        parameters = format!("{parameters}&options={}", options.expose());
    }
    Secret::new(format!(
        "postgresql://{}:{}@{host}:{}/{}?{parameters}",
        percent_encode(parts.username).expose(),
        password.expose(),
        parts.port,
        percent_encode(parts.database).expose(),
    ))
}

pub(crate) fn percent_encode(text: &str) -> Secret<String> {
    // Room for the worst case, so that growing leaves no copies behind.
    let mut encoded = String::with_capacity(text.len().saturating_mul(3));
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else if write!(encoded, "%{byte:02X}").is_err() {
            // Writing to a String cannot fail.
        }
    }
    Secret::new(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_to(host: &str) -> String {
        let password = Secret::new("p:w".to_owned());
        let url = connection_url(&Parts {
            username: "hp_1",
            password: &password,
            host,
            port: 5_432,
            database: "shop",
            sslmode: "verify-full",
            ca_file: None,
            options: Some("-c role=shop_owner"),
        });
        url.expose().clone()
    }

    #[test]
    fn an_ipv6_server_is_in_brackets_in_the_url() {
        let rest = "5432/shop?sslmode=verify-full&options=-c%20role%3Dshop_owner";
        for (host, shown) in [
            ("2001:db8::1", "[2001:db8::1]"),
            ("::1", "[::1]"),
            ("10.1.2.3", "10.1.2.3"),
            ("db.acme.dev", "db.acme.dev"),
        ] {
            let expected = format!("postgresql://hp_1:p%3Aw@{shown}:{rest}");
            assert_eq!(url_to(host), expected);
        }
    }

    #[test]
    fn the_url_crate_reads_the_same_parts_back() {
        let url = ::url::Url::parse(&url_to("db.acme.dev")).unwrap();
        assert_eq!(url.host_str(), Some("db.acme.dev"));
        let query: Vec<_> = url.query_pairs().collect();
        assert_eq!(query[1].1, "-c role=shop_owner");
    }
}
