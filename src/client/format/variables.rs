//! A credential as environment variables: the names that libpq and its friends look for.

use std::path::Path;

use super::url::connection_url;
use crate::client::answer::{Material, Received};
use crate::secret::Secret;
use crate::text::escape;

/// One variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name: capital letters, digits and `_`.
    pub name: String,
    /// Its value; not every one is a secret, but none is worth printing.
    pub value: Secret<String>,
}

/// What stands before a variable's name, so that one job can hold several credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Takes letters, digits and `_`, as the names of variables are made of.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim_end_matches('_');
        let is_name = name.len() <= MAX_PREFIX
            && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_name {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!(
                "`{}` is no prefix for variables; expected letters, digits and `_`, like `SHOP`",
                escape(text)
            ))
        }
    }
}

/// The variables of a credential: for a database what libpq reads (`PG*`) and `DATABASE_URL`, for a
/// signed token `HALLPASS_TOKEN`.
#[must_use]
pub fn variables(
    received: &Received,
    prefix: Option<&Prefix>,
    ca_file: Option<&Path>,
) -> Vec<Variable> {
    pairs(received, ca_file)
        .into_iter()
        .map(|(name, value)| Variable {
            name: match prefix {
                Some(Prefix(prefix)) => format!("{prefix}_{name}"),
                None => name.to_owned(),
            },
            value,
        })
        .collect()
}

/// The text that GitHub's runner reads variables from (`$GITHUB_ENV`, `$GITHUB_OUTPUT`). The random
/// word `end` marks where a value ends, so that no value can begin a variable of its own.
#[must_use]
pub fn github_file(variables: &[Variable], end: &str) -> Secret<String> {
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

fn pairs(received: &Received, ca_file: Option<&Path>) -> Vec<(&'static str, Secret<String>)> {
    let login = match &received.material {
        Material::Jwt { token, .. } => return vec![("HALLPASS_TOKEN", token.clone())],
        Material::Postgres(login) => login,
    };
    let mut pairs = vec![
        ("PGHOST", Secret::new(login.host.clone())),
        ("PGPORT", Secret::new(login.port.to_string())),
        ("PGDATABASE", Secret::new(login.database.clone())),
        ("PGUSER", Secret::new(login.username.clone())),
        ("PGPASSWORD", login.password.clone()),
        ("PGSSLMODE", Secret::new(login.sslmode.clone())),
    ];
    if let Some(path) = ca_file {
        let path = path.to_string_lossy().into_owned();
        pairs.push(("PGSSLROOTCERT", Secret::new(path)));
    }
    if let Some(options) = &login.options {
        pairs.push(("PGOPTIONS", Secret::new(options.clone())));
    }
    pairs.push(("DATABASE_URL", connection_url(login, ca_file)));
    pairs
}

const MAX_PREFIX: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::tests::{PASSWORD, jwt, login};
    use super::*;

    #[test]
    fn a_prefix_stands_before_every_name() {
        let prefix = Prefix::parse("SHOP").unwrap();
        let names: Vec<String> = variables(&login(), Some(&prefix), Some(Path::new("/ca.pem")))
            .into_iter()
            .map(|variable| variable.name)
            .collect();
        insta::assert_snapshot!(names.join(" "), @"SHOP_PGHOST SHOP_PGPORT SHOP_PGDATABASE SHOP_PGUSER SHOP_PGPASSWORD SHOP_PGSSLMODE SHOP_PGSSLROOTCERT SHOP_PGOPTIONS SHOP_DATABASE_URL");
        assert_eq!(Prefix::parse("SHOP_"), Ok(prefix));
    }

    #[test]
    fn what_no_variable_can_begin_with_is_no_prefix() {
        for text in [
            "",
            "1A",
            "A-B",
            "A=B",
            "A B",
            "PATH\n",
            "ä",
            &"A".repeat(65),
        ] {
            assert!(Prefix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_signed_token_has_one_variable() {
        let variables = variables(&jwt(), None, None);
        assert_eq!(variables.len(), 1);
        assert_eq!(variables[0].name, "HALLPASS_TOKEN");
        assert_eq!(variables[0].value.expose(), "header.claims.signature");
    }

    #[test]
    fn no_value_ends_early_in_githubs_file() {
        let text = github_file(&variables(&login(), None, None), "end_4f1c");
        assert!(
            text.expose()
                .contains(&format!("PGPASSWORD<<end_4f1c\n{PASSWORD}\nend_4f1c\n"))
        );
    }
}
