//! Lines for a shell to read: `login=$(hallpass get … --format env) && eval "$login"`.

use super::variables::{rivals, variables};
use super::{Format, Holds, Options, Surroundings, join_with};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    holds: Holds::OneLine,
    wants_ca_file: true,
    environment: Surroundings::Cleared,
    names_variables: true,
    join: Some(|texts| join_with("\n", texts)),
    ..Format::new(
        "env",
        "a shell, by eval: PG* and DATABASE_URL, or HALLPASS_TOKEN",
        text,
    )
};

#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature is that of every format"
)]
fn text(received: &Received, options: &Options<'_>) -> Option<Secret<String>> {
    // With a prefix nothing of ours is what libpq looks for, and the rest is the job's own.
    let rivals = match options.prefix {
        None => rivals(received, options.ca_file),
        Some(_) => Vec::new(),
    };
    let mut text = Secret::new(if rivals.is_empty() {
        String::new()
    } else {
        format!("unset {}", rivals.join(" "))
    });
    for variable in variables(received, options.prefix, options.ca_file) {
        let quoted = quote(variable.value.expose());
        let end = if text.expose().is_empty() { "" } else { "\n" };
        text = Secret::new(format!(
            "{}{end}export {}={}",
            text.expose(),
            variable.name,
            quoted.expose()
        ));
    }
    Some(text)
}

/// Between single quotes a POSIX shell reads everything as it is, but the quote itself.
fn quote(text: &str) -> Secret<String> {
    let inside = Secret::new(text.replace('\'', r"'\''"));
    Secret::new(format!("'{}'", inside.expose()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tests::{PASSWORD, login, write};
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let script = format!(
            "{}\nprintf '%s %s' \"${{PGHOSTADDR-none}}\" \"$PGPASSWORD\"",
            write(&FORMAT, &login())
        );
        let output = Command::new("sh")
            .args(["-euc", &script])
            .env("PGHOSTADDR", "192.0.2.1")
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, format!("none {PASSWORD}"));
        assert!(output.stderr.is_empty());
    }
}
