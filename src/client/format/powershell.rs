//! Lines for PowerShell to read: `hallpass get … --format powershell | Out-String | Invoke-Expression`.

use super::env::statements;
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
        "powershell",
        "PowerShell, by Invoke-Expression: the variables of env",
        text,
    )
};

#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature is that of every format"
)]
fn text(received: &Received, options: &Options<'_>) -> Option<Secret<String>> {
    let erase = |names: &[&str]| {
        let paths: Vec<String> = names.iter().map(|name| format!("Env:{name}")).collect();
        format!("Remove-Item -ErrorAction Ignore {}", paths.join(", "))
    };
    let set =
        |name: &str, value: &str| Secret::new(format!("$env:{name} = {}", quote(value).expose()));
    Some(statements(received, options, erase, set))
}

/// Between single quotes PowerShell reads everything as it is, but for single quotes, which are
/// doubled. It takes four other characters for them (`about_Quoting_Rules`).
fn quote(text: &str) -> Secret<String> {
    let mut quoted = Secret::new(String::from("'"));
    for letter in text.chars() {
        let is_quote = matches!(letter, '\'' | '\u{2018}'..='\u{201b}');
        let doubled = if is_quote { 2 } else { 1 };
        let letters: String = std::iter::repeat_n(letter, doubled).collect();
        quoted = Secret::new(format!("{}{letters}", quoted.expose()));
    }
    Secret::new(format!("{}'", quoted.expose()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{login, write};
    use super::*;

    #[test]
    fn quotes_of_every_kind_are_doubled_and_nothing_else_changes() {
        let text = "p'a\u{2019}b\u{201c}$x`n\"\\!";
        assert_eq!(
            quote(text).expose(),
            "'p''a\u{2019}\u{2019}b\u{201c}$x`n\"\\!'"
        );
        let text = write(&FORMAT, &login());
        assert!(text.starts_with("Remove-Item -ErrorAction Ignore Env:"));
        assert!(
            text.contains("\n$env:PGUSER = 'hp_abc1234_xyz'\n"),
            "{text}"
        );
    }
}
