//! A login of Redis or Valkey, made of a credential's members.

use crate::client::answer::Received;
use crate::credential::database::redis::url::{Parts, connection_url};
use crate::secret::Secret;

/// The login, if the credential is one: it has `tls`, and no database.
pub(super) fn login(received: &Received) -> Option<Parts<'_>> {
    let members = &received.members;
    let text = |name| members.text(name).map(|text| text.expose().as_str());
    if members.has("database") {
        return None;
    }
    Some(Parts {
        tls: text("tls")? == "verify-full",
        username: text("username")?,
        password: members.text("password")?,
        host: text("host")?,
        port: members.number("port")?.try_into().ok()?,
    })
}

/// What `redis-cli` and clients read, without the file of the CA. `redis-cli` takes the password from
/// `REDISCLI_AUTH`; on its command line everybody on the machine could read it.
pub(super) fn variables(login: &Parts<'_>) -> Vec<(&'static str, Secret<String>)> {
    let text = |text: &str| Secret::new(text.to_owned());
    vec![
        ("REDIS_HOST", text(login.host)),
        ("REDIS_PORT", Secret::new(login.port.to_string())),
        ("REDIS_USERNAME", text(login.username)),
        ("REDIS_PASSWORD", login.password.clone()),
        ("REDISCLI_AUTH", login.password.clone()),
        ("REDIS_URL", connection_url(login)),
    ]
}

/// What `valkey-cli` takes before `REDISCLI_AUTH`.
pub(super) const RIVALS: [&str; 1] = ["VALKEYCLI_AUTH"];
