//! A section of libpq's connection service file, named like the credential.

use super::libpq::{NEEDS, login};
use super::{Format, Options, Surroundings};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    needs: NEEDS,
    wants_ca_file: true,
    environment: Surroundings::Kept,
    ..Format::new(
        "pg-service",
        "libpq's connection service file: PGSERVICEFILE=FILE PGSERVICE=CREDENTIAL",
        text,
    )
};

/// `None` for a value that begins or ends with a space, which libpq would cut off.
fn text(received: &Received, options: &Options<'_>) -> Option<Secret<String>> {
    let login = login(received)?;
    let port = login.port.to_string();
    let ca_file = options.ca_file.map(|path| path.to_string_lossy());
    let settings = [
        ("host", Some(login.host)),
        ("port", Some(port.as_str())),
        ("dbname", Some(login.database)),
        ("user", Some(login.username)),
        ("password", Some(login.password.expose().as_str())),
        ("sslmode", Some(login.sslmode)),
        ("sslrootcert", ca_file.as_deref()),
        ("options", login.options),
    ];
    let mut text = Secret::new(format!("[{}]", received.name));
    for (name, value) in settings {
        let Some(value) = value else {
            continue;
        };
        if value.trim() != value {
            return None;
        }
        text = Secret::new(format!("{}\n{name}={value}", text.expose()));
    }
    Some(text)
}
