//! A connection address: `postgresql://user:password@host:port/database?…`.

use std::fmt::Write as _;
use std::path::Path;

use super::{Format, FormatError, Options, Surroundings};
use crate::client::answer::{Material, PostgresLogin, Received};
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    name: "url",
    summary: "a connection address for a database client",
    wants_ca_file: true,
    environment: Surroundings::Kept,
    write,
    merge: None,
};

fn write(received: &Received, options: &Options<'_>) -> Result<Secret<String>, FormatError> {
    match &received.material {
        Material::Postgres(login) => Ok(connection_url(login, options.ca_file)),
        Material::Jwt { .. } => Err(FormatError::new(
            FORMAT.name,
            received,
            "use `env` or `json`",
        )),
    }
}

/// The address, with everything but letters, digits and `-._~` written as `%XX`: libpq reads no
/// `+` as a space (PostgreSQL manual, "Connection URIs").
pub(super) fn connection_url(login: &PostgresLogin, ca_file: Option<&Path>) -> Secret<String> {
    let password = percent_encode(login.password.expose());
    let host = if login.host.contains(':') {
        format!("[{}]", login.host)
    } else {
        percent_encode(&login.host).expose().clone()
    };
    let mut parameters = format!("sslmode={}", login.sslmode);
    if let Some(path) = ca_file {
        let path = percent_encode(&path.to_string_lossy());
        parameters = format!("{parameters}&sslrootcert={}", path.expose());
    }
    if let Some(options) = &login.options {
        let options = percent_encode(options);
        parameters = format!("{parameters}&options={}", options.expose());
    }
    Secret::new(format!(
        "postgresql://{}:{}@{host}:{}/{}?{parameters}",
        percent_encode(&login.username).expose(),
        password.expose(),
        login.port,
        percent_encode(&login.database).expose(),
    ))
}

fn percent_encode(text: &str) -> Secret<String> {
    // Room for the worst, so that growing leaves no copies behind.
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
    use super::super::tests::{jwt, login, refusal, write};
    use super::*;

    #[test]
    fn every_part_of_the_address_is_encoded() {
        insta::assert_snapshot!(write(&FORMAT, &login()), @"postgresql://hp_abc1234_xyz:p%27a%3As%5Cs%24%28id%29%60w%22%C3%B6%2F%40%3F%23%25%26@db.acme.dev:5432/shop%20orders?sslmode=verify-full&options=-c%20role%3Dshop_owner");
    }

    #[test]
    fn an_ipv6_host_stands_in_brackets() {
        let mut received = login();
        if let Material::Postgres(login) = &mut received.material {
            login.host = "::1".to_owned();
        }
        assert!(write(&FORMAT, &received).contains("@[::1]:5432/"));
    }

    #[test]
    fn the_url_crate_reads_the_same_parts_back() {
        let url = ::url::Url::parse(&write(&FORMAT, &login())).unwrap();
        assert_eq!(url.host_str(), Some("db.acme.dev"));
        let query: Vec<_> = url.query_pairs().collect();
        assert_eq!(query[1].1, "-c role=shop_owner");
    }

    #[test]
    fn a_signed_token_has_no_address() {
        insta::assert_snapshot!(refusal(&FORMAT, &jwt()), @"format `url` cannot hold `deploy-api`, which is a signed token: use `env` or `json`");
    }
}
