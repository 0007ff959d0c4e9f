//! Lines for a shell to read: `login=$(hallpass get … --format env) && eval "$login"`.

use super::variables::variables;
use super::{Format, FormatError, Options};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    name: "env",
    summary: "a shell, by eval: PG* and DATABASE_URL, or HALLPASS_TOKEN",
    wants_ca_file: true,
    write,
};

#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature is that of every format"
)]
fn write(received: &Received, options: &Options<'_>) -> Result<Secret<String>, FormatError> {
    let mut text = Secret::new(String::new());
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
    Ok(text)
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
        let script = format!("{}\nprintf %s \"$PGPASSWORD\"", write(&FORMAT, &login()));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), PASSWORD);
        assert!(output.stderr.is_empty());
    }
}
