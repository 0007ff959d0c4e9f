//! `--github-env`: what GitHub's runner reads variables from (`$GITHUB_ENV`, `$GITHUB_OUTPUT`). It is
//! added to a file that the runner names, so it is no word of `--format`.

use super::variables::{Variable, variables};
use super::{Format, Holds, Options, Surroundings, join_with};
use crate::client::answer::Received;
use crate::client::file::random_word;
use crate::secret::Secret;

/// The entries of one credential.
pub const FORMAT: Format = Format {
    holds: Holds::OneLine,
    wants_ca_file: true,
    environment: Surroundings::Kept,
    names_variables: true,
    join: Some(|texts| join_with("", texts)),
    ..Format::new(
        "--github-env",
        "GitHub's runner, for later steps: the variables of env",
        text,
    )
};

/// `None` where the machine has no random bytes.
fn text(received: &Received, options: &Options<'_>) -> Option<Secret<String>> {
    let variables = variables(received, options.prefix, options.ca_file);
    let end = format!("hallpass_{}{}", random_word().ok()?, random_word().ok()?);
    Some(entries(&variables, &end))
}

/// The random word `end` marks where a value ends, so that no value can begin a variable of its own.
fn entries(variables: &[Variable], end: &str) -> Secret<String> {
    let mut text = Secret::new(String::new());
    for variable in variables {
        text = Secret::new(format!(
            "{}{}<<{end}\n{}\n{end}\n",
            text.expose(),
            variable.name,
            variable.value.expose()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PASSWORD, login};
    use super::*;

    #[test]
    fn no_value_ends_early_in_githubs_file() {
        let text = entries(&variables(&login(), None, None), "end_4f1c");
        assert!(
            text.expose()
                .contains(&format!("PGPASSWORD<<end_4f1c\n{PASSWORD}\nend_4f1c\n"))
        );
    }
}
