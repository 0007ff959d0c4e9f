//! A credential as one tool wants to read it. The list of formats.

use std::path::Path;

use super::answer::Received;
use crate::credential::kind::{Form, Kind, Member};
use crate::secret::Secret;

mod docker;
mod dotenv;
mod env;
mod fish;
mod git;
mod github_env;
mod json;
mod kube_exec;
mod libpq;
mod mysql;
mod pg_cert;
mod pg_service;
mod pgpass;
mod powershell;
mod redis;
mod ssh;
mod url;
mod variables;

pub use github_env::FORMAT as GITHUB_ENV;
pub use variables::{Prefix, Variable, rivals, variables};

/// Every format there is. A new one is its file and a line here.
pub const FORMATS: &[Format] = &[
    json::FORMAT,
    env::FORMAT,
    fish::FORMAT,
    powershell::FORMAT,
    dotenv::FORMAT,
    url::FORMAT,
    pgpass::FORMAT,
    pg_service::FORMAT,
    mysql::FORMAT,
    pg_cert::FORMAT,
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
    pub summary: &'static str,
    /// The members it is made of; a credential without one of them is refused.
    pub needs: &'static [&'static str],
    /// The secrets it can hold beside those; a credential with another one is refused, since it would
    /// be lost.
    pub holds: Holds,
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
    /// It consists of variables, whose names take a prefix.
    pub names_variables: bool,
    /// Makes one text of those of several credentials; without it a text holds one credential.
    pub join: Option<Join>,
}

/// Makes one text of those of several credentials.
pub type Join = fn(&[Secret<String>]) -> Secret<String>;

/// The suffix of the second file, and the member that it holds.
pub type Beside = (&'static str, &'static str);

/// Takes what the file holds, the credential's name, and the text; gives what the file shall hold.
pub type Merge = fn(&[u8], &str, &Secret<String>) -> Secret<Vec<u8>>;

/// Which secrets a format can hold beside the members that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// None.
    Nothing,
    OneLine,
    Everything,
}

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
    /// A format that needs and holds nothing, is read by itself, and replaces its file.
    const fn new(
        name: &'static str,
        summary: &'static str,
        text: fn(&Received, &Options<'_>) -> Option<Secret<String>>,
    ) -> Self {
        Self {
            name,
            summary,
            needs: &[],
            holds: Holds::Nothing,
            hint: None,
            wants_ca_file: false,
            environment: Surroundings::Apart,
            text,
            merge: None,
            beside: None,
            names_variables: false,
            join: None,
        }
    }

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
        text.ok_or_else(|| {
            let problem = Problem::Lacks(lacking.copied().unwrap_or("secret"));
            self.error(problem, &received.name, received.kind, None)
        })
    }

    /// Whether it fits every credential of the kind, with the member `own` that this side adds: looked
    /// at before the job's token is used.
    ///
    /// # Errors
    /// A member that it needs is not there, or a secret would be lost.
    pub fn check(
        &self,
        credential: &str,
        kind: &Kind,
        own: Option<Member>,
    ) -> Result<(), FormatError> {
        self.problem(kind, own).map_or(Ok(()), |problem| {
            Err(self.error(problem, credential, kind, own))
        })
    }

    fn problem(&self, kind: &Kind, own: Option<Member>) -> Option<Problem> {
        let always = kind.members.iter().filter(|member| member.always);
        let members: Vec<Member> = always.copied().chain(own).collect();
        let is_there = |name: &str| members.iter().any(|member| member.name == name);
        let lacking = self.needs.iter().find(|name| !is_there(name));
        let is_lost = |member: &&Member| member.is_secret() && !self.can_hold(member);
        lacking.map(|name| Problem::Lacks(name)).or_else(|| {
            let lost = members.iter().find(is_lost)?;
            Some(Problem::Loses(lost.name))
        })
    }

    fn can_hold(&self, member: &Member) -> bool {
        self.needs.contains(&member.name)
            || match self.holds {
                Holds::Nothing => false,
                Holds::OneLine => member.form != Form::Lines,
                Holds::Everything => true,
            }
    }

    fn error(
        &self,
        problem: Problem,
        credential: &str,
        kind: &Kind,
        own: Option<Member>,
    ) -> FormatError {
        let fitting = FORMATS
            .iter()
            .filter(|format| format.problem(kind, own).is_none());
        let names: Vec<String> = fitting.map(|format| format!("`{}`", format.name)).collect();
        let fix = match self.hint {
            Some(hint) => hint.to_owned(),
            None => format!("use one of {}", names.join(", ")),
        };
        let (does, has) = match problem {
            Problem::Lacks(member) => (format!("needs member `{member}`"), "does not have"),
            Problem::Loses(member) => (format!("cannot hold member `{member}`"), "has"),
        };
        FormatError(format!(
            "format `{}` {does}, which `{credential}`, {}, {has}: {fix}",
            self.name, kind.noun
        ))
    }
}

/// The texts with `between` between them.
fn join_with(between: &str, texts: &[Secret<String>]) -> Secret<String> {
    let texts: Vec<&str> = texts.iter().map(|text| text.expose().as_str()).collect();
    Secret::new(texts.join(between))
}

/// A credential that a format cannot hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    /// A member that the format needs.
    Lacks(&'static str),
    /// A secret that the format has no room for.
    Loses(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Ask;
    use crate::client::answer::{Members, Value};
    use crate::client::ssh::{PRIVATE_KEY, makes_key_for};
    use crate::clock::Timestamp;
    use crate::credential::database::postgres;
    use crate::credential::jwt;
    use crate::credential::kind::KINDS;

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
            policy_url: None,
            policies_revision: "sha256:00".to_owned(),
            decision: "dec_1".to_owned(),
            is_repeat: false,
            is_shared: false,
            sealed: None,
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

    /// A credential with all members that its kind always has, and with what this side adds.
    fn of_kind(kind: &'static Kind, own: Option<Member>) -> Received {
        let value = |member: &Member| match member.form {
            Form::Text | Form::Lines => text("value"),
            Form::OneOf(words) => text(words[0]),
            Form::List => Value::List(vec!["value".to_owned()]),
            Form::Port | Form::Number => Value::Number(1),
            Form::Named => {
                Value::Named([("name".to_owned(), Secret::new("value".to_owned()))].into())
            }
        };
        let members = kind.members.iter();
        let members = members.filter(|member| member.always && !member.is_secret());
        let members: Vec<_> = members.map(|member| (member.name, value(member))).collect();
        let mut received = Received {
            kind,
            members: Members::of(kind, "the-secret", &members),
            lease: None,
            ..login()
        };
        if let Some(own) = own {
            received
                .members
                .hold(own.name, Secret::new("the-own".to_owned()));
        }
        received
    }

    /// T-152
    #[test]
    fn a_format_fits_where_it_writes_every_secret() {
        for kind in KINDS {
            let own = makes_key_for(kind, &Ask::new("a").unwrap()).then_some(PRIVATE_KEY);
            for own in [None, own] {
                let received = of_kind(kind, own);
                for format in FORMATS.iter().chain([&GITHUB_ENV]) {
                    let text = format.write(&received, &Options::default());
                    let written = text.map_or(String::new(), |text| {
                        let member = format.beside.map(|(_, member)| member);
                        let beside = member.and_then(|member| received.members.text(member));
                        let beside = beside.map_or("", |text| text.expose());
                        text.expose().clone() + beside
                    });
                    let secrets = received.secrets();
                    let mut lines = secrets.iter().flat_map(|secret| secret.expose().lines());
                    let is_whole = lines.all(|line| written.contains(line));
                    let fits = format.check("a", kind, own).is_ok();
                    assert_eq!(fits, is_whole, "{} {} {own:?}", format.name, kind.name);
                }
            }
        }
    }

    #[test]
    fn formats_have_names_of_their_own() {
        for format in FORMATS {
            assert_eq!(find(format.name).unwrap().summary, format.summary);
        }
        assert!(find("yaml").is_none());
    }
}
