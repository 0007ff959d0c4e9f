//! A connection URL: `mysql://user:password@host:port/database?…`, with the parameters of MySQL's own
//! connectors. The only writer of one, for the broker's answers and for the client.

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
    /// The word of `--ssl-mode`.
    pub ssl_mode: &'a str,
    /// A file with the certificates that the server's is checked against.
    pub ca_file: Option<&'a Path>,
}

/// The URL, with everything but letters, digits and `-._~` written as `%XX`.
#[must_use]
pub fn connection_url(parts: &Parts<'_>) -> Secret<String> {
    let host = if parts.host.parse::<Ipv6Addr>().is_ok() {
        format!("[{}]", parts.host)
    } else {
        percent_encode(parts.host).expose().clone()
    };
    let mut parameters = format!("ssl-mode={}", parts.ssl_mode);
    if let Some(path) = parts.ca_file {
        let path = percent_encode(&path.to_string_lossy());
        parameters = format!("{parameters}&ssl-ca={}", path.expose());
    }
    Secret::new(format!(
        "mysql://{}:{}@{host}:{}/{}?{parameters}",
        percent_encode(parts.username).expose(),
        percent_encode(parts.password.expose()).expose(),
        parts.port,
        percent_encode(parts.database).expose(),
    ))
}

fn percent_encode(text: &str) -> Secret<String> {
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

    #[test]
    fn every_part_is_encoded_and_read_back() {
        let password = Secret::new("p:w/@'".to_owned());
        let url = connection_url(&Parts {
            username: "hp_1",
            password: &password,
            host: "2001:db8::1",
            port: 3_306,
            database: "shop orders",
            ssl_mode: "VERIFY_IDENTITY",
            ca_file: Some(Path::new("/run/ca 1.pem")),
        });
        insta::assert_snapshot!(url.expose(), @"mysql://hp_1:p%3Aw%2F%40%27@[2001:db8::1]:3306/shop%20orders?ssl-mode=VERIFY_IDENTITY&ssl-ca=%2Frun%2Fca%201.pem");
        let read = ::url::Url::parse(url.expose()).unwrap();
        assert_eq!(read.port(), Some(3_306));
        assert_eq!(read.query_pairs().nth(1).unwrap().1, "/run/ca 1.pem");
    }
}
