//! A login of PostgreSQL as libpq needs it, made of a credential's members.

use crate::client::answer::Received;
use crate::credential::database::postgres::url::Parts;

/// The members that a login is made of.
pub(super) const NEEDS: &[&str] = &[
    "host", "port", "database", "username", "password", "sslmode",
];

/// The login, if the credential is one.
pub(super) fn login(received: &Received) -> Option<Parts<'_>> {
    let members = &received.members;
    let text = |name| members.text(name).map(|text| text.expose().as_str());
    Some(Parts {
        username: text("username")?,
        password: members.text("password")?,
        host: text("host")?,
        port: members.number("port")?.try_into().ok()?,
        database: text("database")?,
        sslmode: text("sslmode")?,
        ca_file: None,
        options: text("options"),
    })
}
