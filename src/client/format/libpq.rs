//! A login of PostgreSQL as libpq needs it, made of a credential's members.

use std::path::Path;

use crate::client::answer::Received;
use crate::credential::database::postgres::url;
use crate::secret::Secret;

/// The members that a login consists of at least.
pub(super) const NEEDS: &[&str] = &[
    "host", "port", "database", "username", "password", "sslmode",
];

/// What a PostgreSQL client needs.
pub(super) struct Login<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a Secret<String>,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) sslmode: &'a str,
    pub(super) options: Option<&'a str>,
}

impl<'a> Login<'a> {
    /// The login, if the credential is one.
    pub(super) fn of(received: &'a Received) -> Option<Self> {
        let members = &received.members;
        let text = |name| members.text(name).map(|text| text.expose().as_str());
        Some(Self {
            username: text("username")?,
            password: members.text("password")?,
            host: text("host")?,
            port: members.number("port")?.try_into().ok()?,
            database: text("database")?,
            sslmode: text("sslmode")?,
            options: text("options"),
        })
    }

    pub(super) fn url(&self, ca_file: Option<&Path>) -> Secret<String> {
        url::connection_url(&url::Parts {
            username: self.username,
            password: self.password,
            host: self.host,
            port: self.port,
            database: self.database,
            sslmode: self.sslmode,
            ca_file,
            options: self.options,
        })
    }
}
