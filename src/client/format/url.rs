//! A connection address: `postgresql://user:password@host:port/database?…`, `mysql://…` or
//! `rediss://user:password@host:port`.

use super::libpq::login;
use super::{Format, Options, Surroundings, mysql, redis};
use crate::client::answer::Received;
use crate::credential::database::mysql::url as mysql_url;
use crate::credential::database::postgres::url::{Parts, connection_url};
use crate::credential::database::redis::url::connection_url as redis_url;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    needs: &["host", "port", "username", "password"],
    wants_ca_file: true,
    environment: Surroundings::Kept,
    ..Format::new("url", "a connection address for a database client", text)
};

fn text(received: &Received, options: &Options<'_>) -> Option<Secret<String>> {
    if let Some(login) = redis::login(received) {
        return Some(redis_url(&login));
    }
    let ca_file = options.ca_file;
    if let Some(login) = mysql::login(received) {
        return Some(mysql_url::connection_url(&mysql_url::Parts {
            ca_file,
            ..login
        }));
    }
    let login = login(received)?;
    Some(connection_url(&Parts { ca_file, ..login }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{jwt, login, login_to, refusal, write};
    use super::*;

    #[test]
    fn every_part_of_the_address_is_encoded() {
        insta::assert_snapshot!(write(&FORMAT, &login()), @"postgresql://hp_abc1234_xyz:p%27a%3As%5Cs%24%28id%29%60w%22%C3%B6%2F%40%3F%23%25%26@db.acme.dev:5432/shop%20orders?sslmode=verify-full&options=-c%20role%3Dshop_owner");
    }

    #[test]
    fn an_ipv6_host_stands_in_brackets() {
        assert!(write(&FORMAT, &login_to("::1")).contains("@[::1]:5432/"));
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
        insta::assert_snapshot!(refusal(&FORMAT, &jwt()), @"format `url` needs member `host`, which `deploy-api`, a signed token, does not have: use one of `json`, `env`, `fish`, `powershell`, `dotenv`, `docker`, `kube-exec`, `git`");
    }
}
