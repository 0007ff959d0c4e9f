//! Lines for fish to read: `hallpass get … --format fish | source`.

use super::env::{quote, statements};
use super::{Format, Holds, Options, Surroundings, join_with};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    holds: Holds::OneLine,
    wants_ca_file: true,
    environment: Surroundings::Cleared,
    names_variables: true,
    join: Some(|texts| join_with("\n", texts)),
    ..Format::new("fish", "fish, by source: the variables of env", text)
};

#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature is that of every format"
)]
fn text(received: &Received, options: &Options<'_>) -> Option<Secret<String>> {
    // A variable may be set or not, and in several scopes.
    let erase = |names: &[&str]| format!("set -e {} 2>/dev/null; or true", names.join(" "));
    let set =
        |name: &str, value: &str| Secret::new(format!("set -gx {name} {}", quote(value).expose()));
    Some(statements(received, options, erase, set))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tests::{PASSWORD, login, write};
    use super::*;

    #[test]
    fn fish_reads_back_what_was_written() {
        let script = format!(
            "{}\nset -q PGHOSTADDR; and echo set; printf '%s' $PGPASSWORD",
            write(&FORMAT, &login())
        );
        let output = Command::new("fish")
            .args(["--no-config", "-c", &script])
            .env("PGHOSTADDR", "192.0.2.1")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), PASSWORD);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    }
}
