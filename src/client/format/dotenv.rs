//! Lines of a `.env` file, as Docker, systemd and GitLab's `dotenv` reports read them.

use super::variables::variables;
use super::{Format, Holds, Options, Surroundings, join_with};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    holds: Holds::OneLine,
    wants_ca_file: true,
    environment: Surroundings::Kept,
    names_variables: true,
    join: Some(|texts| join_with("\n", texts)),
    ..Format::new(
        "dotenv",
        "a .env file: NAME=value, a value to the end of its line",
        text,
    )
};

/// Without quotes: Docker and GitLab would take them for a part of the value. No value holds a line
/// end (see `Received`), so each reads to the end of its line.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature is that of every format"
)]
fn text(received: &Received, options: &Options<'_>) -> Option<Secret<String>> {
    let mut text = Secret::new(String::new());
    for variable in variables(received, options.prefix, options.ca_file) {
        let end = if text.expose().is_empty() { "" } else { "\n" };
        text = Secret::new(format!(
            "{}{end}{}={}",
            text.expose(),
            variable.name,
            variable.value.expose()
        ));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PASSWORD, jwt, login, write};
    use super::*;

    #[test]
    fn each_variable_has_its_line() {
        insta::assert_snapshot!(write(&FORMAT, &jwt()), @"HALLPASS_TOKEN=header.claims.signature");
        let text = write(&FORMAT, &login());
        assert!(
            text.lines()
                .any(|line| line == format!("PGPASSWORD={PASSWORD}"))
        );
    }
}
