//! The files of libpq's `sslkey` and `sslcert`.

use super::{Format, Options};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    needs: &["key", "certificate", "sslmode"],
    beside: Some((".crt", "certificate")),
    ..Format::new(
        "pg-cert",
        "libpq's sslkey, with --out FILE: the key there, the certificate (sslcert) in FILE.crt",
        text,
    )
};

/// The key in PEM, which the broker sends on one line.
fn text(received: &Received, _: &Options<'_>) -> Option<Secret<String>> {
    let key = received.members.text("key")?.expose();
    let mut text = Secret::new("-----BEGIN PRIVATE KEY-----".to_owned());
    for line in key.as_bytes().chunks(64) {
        let line = std::str::from_utf8(line).ok()?;
        text = Secret::new(format!("{}\n{line}", text.expose()));
    }
    Some(Secret::new(format!(
        "{}\n-----END PRIVATE KEY-----",
        text.expose()
    )))
}
