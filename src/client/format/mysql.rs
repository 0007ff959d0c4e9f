//! The option file of MySQL's and MariaDB's clients, and a login of theirs as variables and as an address.

use std::path::Path;

use super::{Format, Options, Surroundings};
use crate::client::answer::Received;
use crate::credential::database::mysql::url::{Parts, connection_url};
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    needs: &[
        "host", "port", "database", "username", "password", "ssl_mode",
    ],
    wants_ca_file: true,
    // A variable such as MYSQL_HOST is used only for what the file leaves out.
    environment: Surroundings::Apart,
    ..Format::new(
        "mysql",
        "an option file: mysql --defaults-file=FILE, also for mariadb and their tools",
        text,
    )
};

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
        ssl_mode: text("ssl_mode")?,
        ca_file: None,
    })
}

/// The variables of a login. The clients read host and port from theirs, and nothing else: `MYSQL_PWD`, which would be
/// the password, is shown by `ps` on some systems and has been deprecated since MySQL 8. Frameworks and the images of
/// the servers know the others.
pub(super) fn pairs(
    login: &Parts<'_>,
    ca_file: Option<&Path>,
) -> Vec<(&'static str, Secret<String>)> {
    let text = |text: &str| Secret::new(text.to_owned());
    let mut pairs = vec![
        ("MYSQL_HOST", text(login.host)),
        ("MYSQL_TCP_PORT", Secret::new(login.port.to_string())),
        ("MYSQL_DATABASE", text(login.database)),
        ("MYSQL_USER", text(login.username)),
        ("MYSQL_PASSWORD", login.password.clone()),
        ("MYSQL_SSL_MODE", text(login.ssl_mode)),
    ];
    if let Some(path) = ca_file {
        pairs.push(("MYSQL_SSL_CA", text(&path.to_string_lossy())));
    }
    pairs.push(("DATABASE_URL", connection_url(&Parts { ca_file, ..*login })));
    pairs
}

/// `database` has a group of its own, since tools such as `mysqldump` refuse it in `[client]`. MariaDB's clients know no
/// `ssl-mode`, and MySQL's nothing else.
fn text(received: &Received, options: &Options<'_>) -> Option<Secret<String>> {
    let login = login(received)?;
    let is_checked = login.ssl_mode == "VERIFY_IDENTITY";
    let port = login.port.to_string();
    let ca_file = options.ca_file.map(|path| path.to_string_lossy());
    let mut lines = Secret::new("[client]".to_owned());
    let settings = [
        ("host", Some(login.host)),
        ("port", Some(port.as_str())),
        ("user", Some(login.username)),
        ("password", Some(login.password.expose().as_str())),
        ("loose-ssl-mode", Some(login.ssl_mode)),
        ("ssl-ca", ca_file.as_deref()),
    ];
    for (name, value) in settings {
        let Some(value) = value else { continue };
        lines = Secret::new(format!(
            "{}\n{name}={}",
            lines.expose(),
            quote(value)?.expose()
        ));
    }
    let tls = if is_checked {
        "ssl\nssl-verify-server-cert"
    } else {
        "skip-ssl"
    };
    Some(Secret::new(format!(
        "{}\n[client-mariadb]\n{tls}\n[mysql]\ndatabase={}",
        lines.expose(),
        quote(login.database)?.expose()
    )))
}

/// As a value in an option file (MySQL manual, "Using Option Files"): quotes keep blanks and `#`, and there is no way to
/// write the same quote between them.
fn quote(value: &str) -> Option<Secret<String>> {
    let escaped = Secret::new(value.replace('\\', r"\\"));
    let quote = ['"', '\'']
        .into_iter()
        .find(|quote| !value.contains(*quote))?;
    Some(Secret::new(format!("{quote}{}{quote}", escaped.expose())))
}
