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
    let unset = |names: &[&str]| format!("unset {}", names.join(" "));
    let export =
        |name: &str, value: &str| Secret::new(format!("export {name}={}", quote(value).expose()));
    Some(statements(received, options, unset, export))
}

/// The statements of a shell: one that removes the variables for another server, and one for each of
/// the credential's own.
pub(super) fn statements(
    received: &Received,
    options: &Options<'_>,
    unset: impl Fn(&[&str]) -> String,
    set: impl Fn(&str, &str) -> Secret<String>,
) -> Secret<String> {
    // With a prefix nothing of ours is what libpq looks for, and the rest is the job's own.
    let rivals = match options.prefix {
        None => rivals(received, options.ca_file),
        Some(_) => Vec::new(),
    };
    let unset = (!rivals.is_empty()).then(|| Secret::new(unset(&rivals)));
    let variables = variables(received, options.prefix, options.ca_file).into_iter();
    let sets = variables.map(|variable| set(&variable.name, variable.value.expose()));
    let statements: Vec<Secret<String>> = unset.into_iter().chain(sets).collect();
    join_with("\n", &statements)
}

/// Between single quotes a POSIX shell reads everything as it is, but the quote itself. fish also reads
/// a backslash there, so that stands outside of them.
pub(super) fn quote(text: &str) -> Secret<String> {
    let mut inside = Secret::new(String::new());
    for letter in text.chars() {
        let part = match letter {
            '\'' => r"'\''".to_owned(),
            '\\' => r"'\\'".to_owned(),
            other => other.to_string(),
        };
        inside = Secret::new(format!("{}{part}", inside.expose()));
    }
    Secret::new(format!("'{}'", inside.expose()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tests::{PASSWORD, login, write};
    use super::*;

    #[test]
    fn each_shell_reads_back_what_was_written() {
        let text = write(&FORMAT, &login());
        for shell in ["sh", "bash", "zsh"] {
            let script = format!("{text}\nprintf '%s %s' \"${{PGHOSTADDR-none}}\" \"$PGPASSWORD\"");
            let output = Command::new(shell)
                .args(["-euc", &script])
                .env("PGHOSTADDR", "192.0.2.1")
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(printed, format!("none {PASSWORD}"), "{shell}");
            assert!(output.stderr.is_empty(), "{shell}");
        }
        // fish has `export`, but no `unset`: the values are read as they are, and nothing else is run.
        let exports = text.lines().skip(1).collect::<Vec<_>>().join("\n");
        let script = format!("{exports}\nprintf '%s' $PGPASSWORD");
        let output = Command::new("fish")
            .args(["--no-config", "-c", &script])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), PASSWORD);
    }

    #[test]
    fn no_text_ends_its_quotes() {
        for text in ["'", "\\", "\\'", "a\\\\'b", "$(id)`id`!!\"\n", "é$x"] {
            for shell in ["sh", "bash", "zsh", "fish"] {
                let script = format!("printf '%s' {}", quote(text).expose());
                let output = Command::new(shell).args(["-c", &script]).output().unwrap();
                let printed = String::from_utf8(output.stdout).unwrap();
                assert_eq!(printed, text, "{shell}");
            }
        }
    }
}
