//! A credential as one tool wants to read it. The list of formats.

use std::path::Path;

use super::answer::{Material, Received};
use crate::secret::Secret;

mod aws_credential_process;
mod docker;
mod dotenv;
mod env;
mod git;
mod json;
mod kube_exec;
mod pgpass;
mod url;
mod variables;

pub use variables::{Prefix, Variable, github_file, rivals, variables};

/// Every format there is. A new one is its file and a line here.
pub const FORMATS: &[Format] = &[
    json::FORMAT,
    env::FORMAT,
    dotenv::FORMAT,
    url::FORMAT,
    pgpass::FORMAT,
    aws_credential_process::FORMAT,
    docker::FORMAT,
    kube_exec::FORMAT,
    git::FORMAT,
];

/// The format of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// One way to write a credential down.
#[derive(Debug)]
pub struct Format {
    /// The word for it in `--format`.
    pub name: &'static str,
    /// Who reads it.
    pub summary: &'static str,
    /// It names the database's CA as a file, so that file must be there.
    pub wants_ca_file: bool,
    /// What else is in the environment of whoever reads it.
    pub environment: Surroundings,
    /// The text, without a line end.
    pub write: fn(&Received, &Options<'_>) -> Result<Secret<String>, FormatError>,
    /// Puts the text into a file that holds other entries too; without it the file is replaced.
    pub merge: Option<Merge>,
}

/// Takes what the file holds, the credential's name, and the text; gives what the file shall hold.
pub type Merge = fn(&[u8], &str, &Secret<String>) -> Secret<Vec<u8>>;

/// What a reader's other variables can do to a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// Nothing: it reads no variables beside.
    Apart,
    /// Those that would win over the credential's own are unset by the text itself.
    Cleared,
    /// They stay, so the job's author has to be told.
    Kept,
}

/// What a format needs beside the credential.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Put before the names of variables.
    pub prefix: Option<&'a Prefix>,
    /// Where the database's CA was written to.
    pub ca_file: Option<&'a Path>,
}

/// A credential that a format cannot hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("format `{format}` cannot hold `{credential}`, which is {kind}: {fix}")]
pub struct FormatError {
    format: &'static str,
    credential: String,
    kind: &'static str,
    fix: &'static str,
}

impl FormatError {
    fn new(format: &'static str, received: &Received, fix: &'static str) -> Self {
        Self {
            format,
            credential: received.name.clone(),
            kind: match received.material {
                Material::Jwt { .. } => "a signed token",
                Material::Postgres(_) => "a PostgreSQL login",
            },
            fix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::PostgresLogin;
    use crate::clock::Timestamp;

    /// A login whose texts hold what each format must quote.
    pub(super) fn login() -> Received {
        Received {
            name: "shop-db/migrate".to_owned(),
            material: Material::Postgres(PostgresLogin {
                username: "hp_abc1234_xyz".to_owned(),
                password: Secret::new(PASSWORD.to_owned()),
                host: "db.acme.dev".to_owned(),
                port: 5432,
                database: "shop orders".to_owned(),
                sslmode: "verify-full".to_owned(),
                ca: None,
                options: Some("-c role=shop_owner".to_owned()),
            }),
            expires_at: Timestamp::from_unix(1_790_000_600),
            lease: Some(Secret::new("hpl_abc".to_owned())),
            policy: "shop-migrate".to_owned(),
            policies_revision: "sha256:00".to_owned(),
            decision: "dec_1".to_owned(),
            is_repeat: false,
        }
    }

    pub(super) fn jwt() -> Received {
        Received {
            name: "deploy-api".to_owned(),
            material: Material::Jwt {
                token: Secret::new("header.claims.signature".to_owned()),
                scope: "deploy:staging".to_owned(),
            },
            lease: None,
            ..login()
        }
    }

    pub(super) fn write(format: &Format, received: &Received) -> String {
        let text = (format.write)(received, &Options::default()).unwrap();
        text.expose().clone()
    }

    pub(super) fn refusal(format: &Format, received: &Received) -> String {
        (format.write)(received, &Options::default())
            .unwrap_err()
            .to_string()
    }

    pub(super) const PASSWORD: &str = r#"p'a:s\s$(id)`w"ö/@?#%&"#;

    #[test]
    fn formats_have_names_of_their_own() {
        for format in FORMATS {
            assert_eq!(find(format.name).unwrap().summary, format.summary);
        }
        assert!(find("yaml").is_none());
    }
}
