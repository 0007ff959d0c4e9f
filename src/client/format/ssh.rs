//! The files of `ssh -i`: a private key, and its certificate beside it.

use super::{Format, Options};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    needs: &["certificate", "private_key"],
    hint: Some(
        "it is for an SSH certificate whose key pair this command makes; `json` prints what there is",
    ),
    beside: Some(("-cert.pub", "certificate")),
    ..Format::new(
        "ssh",
        "ssh -i FILE, with --out FILE: the private key there, the certificate in FILE-cert.pub",
        text,
    )
};

fn text(received: &Received, _: &Options<'_>) -> Option<Secret<String>> {
    let key = received.members.text("private_key")?;
    Some(Secret::new(key.expose().trim_end().to_owned()))
}
