//! A credential as one tool wants to read it. The list of formats.

use std::path::Path;

use super::answer::Received;
use crate::credential::kind::Kind;
use crate::secret::Secret;

mod aws_credential_process;
mod docker;
mod dotenv;
mod env;
mod git;
mod json;
mod kube_exec;
mod libpq;
mod pgpass;
mod ssh;
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
    ssh::FORMAT,
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
    /// The members it is made of; a credential without one of them is refused.
    pub needs: &'static [&'static str],
    /// What to do instead, beside the formats that fit.
    pub hint: Option<&'static str>,
    /// It names the database's CA as a file, so that file must be there.
    pub wants_ca_file: bool,
    /// What else is in the environment of whoever reads it.
    pub environment: Surroundings,
    /// The text, without a line end; see [`Format::write`].
    text: fn(&Received, &Options<'_>) -> Option<Secret<String>>,
    /// Puts the text into a file that holds other entries too; without it the file is replaced.
    pub merge: Option<Merge>,
    /// A second text, which a file of that suffix beside the first one holds.
    pub beside: Option<Beside>,
}

/// The suffix of the second file, and the member that it holds.
pub type Beside = (&'static str, &'static str);

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

impl Format {
    /// The credential in this format, without a line end.
    ///
    /// # Errors
    /// The credential lacks a member that the format needs.
    pub fn write(
        &self,
        received: &Received,
        options: &Options<'_>,
    ) -> Result<Secret<String>, FormatError> {
        let lacking = self.needs.iter().find(|name| !received.members.has(name));
        let text = match lacking {
            None => (self.text)(received, options),
            Some(_) => None,
        };
        text.ok_or_else(|| FormatError {
            format: self.name,
            member: lacking.copied().unwrap_or("secret"),
            credential: received.name.clone(),
            noun: received.kind.noun,
            fix: self.fix(received.kind),
        })
    }

    /// Whether every credential of the kind has what the format needs.
    #[must_use]
    pub fn fits(&self, kind: &Kind) -> bool {
        self.needs.iter().all(|name| kind.has(name))
    }

    fn fix(&self, kind: &Kind) -> String {
        if let Some(hint) = self.hint {
            return hint.to_owned();
        }
        let fitting = FORMATS.iter().filter(|format| format.fits(kind));
        let names: Vec<String> = fitting.map(|format| format!("`{}`", format.name)).collect();
        format!("use one of {}", names.join(", "))
    }
}

/// A credential that a format cannot hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "format `{format}` needs member `{member}`, which `{credential}`, {noun}, does not have: {fix}"
)]
pub struct FormatError {
    format: &'static str,
    member: &'static str,
    credential: String,
    noun: &'static str,
    fix: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::{Members, Value};
    use crate::clock::Timestamp;
    use crate::credential::database::postgres;
    use crate::credential::jwt;

    fn text(text: &str) -> Value {
        Value::Text(Secret::new(text.to_owned()))
    }

    /// A login whose texts hold what each format must quote.
    pub(super) fn login() -> Received {
        login_to("db.acme.dev")
    }

    pub(super) fn login_to(host: &str) -> Received {
        let members = [
            ("username", text("hp_abc1234_xyz")),
            ("host", text(host)),
            ("port", Value::Number(5432)),
            ("database", text("shop orders")),
            ("sslmode", text("verify-full")),
            ("options", text("-c role=shop_owner")),
        ];
        Received {
            name: "shop-db/migrate".to_owned(),
            kind: &postgres::KIND,
            members: Members::of(&postgres::KIND, PASSWORD, &members),
            expires_at: Timestamp::from_unix(1_790_000_600),
            lease: Some(Secret::new("hpl_abc".to_owned())),
            policy: "shop-migrate".to_owned(),
            policies_revision: "sha256:00".to_owned(),
            decision: "dec_1".to_owned(),
            is_repeat: false,
        }
    }

    pub(super) fn jwt() -> Received {
        let scopes = Value::List(vec!["deploy:staging".to_owned()]);
        let members = [("scopes", scopes), ("token_type", text("Bearer"))];
        Received {
            name: "deploy-api".to_owned(),
            kind: &jwt::KIND,
            members: Members::of(&jwt::KIND, "header.claims.signature", &members),
            lease: None,
            ..login()
        }
    }

    pub(super) fn write(format: &Format, received: &Received) -> String {
        let text = format.write(received, &Options::default()).unwrap();
        text.expose().clone()
    }

    pub(super) fn refusal(format: &Format, received: &Received) -> String {
        let written = format.write(received, &Options::default());
        written.unwrap_err().to_string()
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
