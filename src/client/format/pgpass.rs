//! A line of libpq's password file: `host:port:database:user:password`.

use super::{Format, FormatError, Options};
use crate::client::answer::{Material, Received};
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    name: "pgpass",
    summary: "libpq's password file (PGPASSFILE); write it with --out",
    wants_ca_file: false,
    write,
};

fn write(received: &Received, _: &Options<'_>) -> Result<Secret<String>, FormatError> {
    let Material::Postgres(login) = &received.material else {
        return Err(FormatError::new(
            FORMAT.name,
            received,
            "use `env` or `json`",
        ));
    };
    let password = field(login.password.expose());
    Ok(Secret::new(format!(
        "{}:{}:{}:{}:{}",
        field(&login.host).expose(),
        login.port,
        field(&login.database).expose(),
        field(&login.username).expose(),
        password.expose()
    )))
}

/// `:` and `\` are escaped with `\` (PostgreSQL manual, "The Password File").
fn field(text: &str) -> Secret<String> {
    let escaped = Secret::new(text.replace('\\', r"\\"));
    Secret::new(escaped.expose().replace(':', r"\:"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{jwt, login, refusal, write};
    use super::*;

    #[test]
    fn colons_and_backslashes_are_escaped() {
        insta::assert_snapshot!(write(&FORMAT, &login()), @r#"db.acme.dev:5432:shop orders:hp_abc1234_xyz:p'a\:s\\s$(id)`w"ö/@?#%&"#);
    }

    #[test]
    fn a_signed_token_is_no_password() {
        insta::assert_snapshot!(refusal(&FORMAT, &jwt()), @"format `pgpass` cannot hold `deploy-api`, which is a signed token: use `env` or `json`");
    }
}
