//! The kind `mysql`: a login that is dropped at its end, or the exclusive use of a locked account.

use std::sync::Arc;

use serde_json::Value;

use super::settings::{SHORTEST_LIFE, Tls};
use super::url::connection_url;
use crate::credential::Members;
use crate::credential::kind::{
    BoundRule, Definition, Form, Kind, Member, Repeat, Secrecy, TeamBound,
};
use crate::policy::DefinitionReader;
use crate::secret::Secret;
use crate::yaml::scalar::scalar;

pub static KIND: Kind = Kind {
    name: "mysql",
    noun: "a MySQL or MariaDB login",
    urn: "urn:hallpass:credential:mysql",
    other_urns: &[],
    token_type: "N_A",
    keys: &["target", "database", "group", "mode"],
    shortest_life: SHORTEST_LIFE,
    inputs: &[],
    members: &[
        Member::public("username", Form::Text),
        Member::secret("password"),
        Member::public("host", Form::Text),
        Member::public("port", Form::Port),
        Member::public("database", Form::Text),
        Member::public("ssl_mode", Form::OneOf(&SSL_MODES)),
        Member::public("ca", Form::Lines).or_absent(),
        Member {
            name: "url",
            form: Form::Text,
            secrecy: Secrecy::HoldsSecret,
            always: false,
        },
    ],
    repeat: Repeat::Same,
    revocable: true,
    teams: &[
        TeamBound {
            key: "database",
            uses: "databases",
            rule: BoundRule::Names,
        },
        TeamBound {
            key: "group",
            uses: "groups",
            rule: BoundRule::Names,
        },
        TeamBound {
            key: "mode",
            uses: "modes",
            rule: BoundRule::Adds,
        },
    ],
    read,
};

/// The word that a client's `--ssl-mode` takes.
pub(super) const fn ssl_mode(tls: Tls) -> &'static str {
    match tls {
        Tls::VerifyFull => "VERIFY_IDENTITY",
        Tls::Disable => "DISABLED",
    }
}

/// The words of MySQL's `--ssl-mode`.
const SSL_MODES: [&str; 5] = [
    "DISABLED",
    "PREFERRED",
    "REQUIRED",
    "VERIFY_CA",
    "VERIFY_IDENTITY",
];

/// Which login is made under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlDefinition {
    /// The target in the settings.
    pub target: String,
    /// The database it is sent to; the target's only one without.
    pub database: Option<String>,
    /// The role of a new login, or the account that is checked out.
    pub group: String,
    /// The job gets the account `group` itself, for as long as no other job has it. For migrations: what
    /// a login of its own made would have it as `DEFINER`, and fail when it is gone.
    pub is_checkout: bool,
}

impl Definition for MysqlDefinition {
    fn target(&self) -> Option<&str> {
        Some(&self.target)
    }

    fn keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![("target", scalar(&self.target))];
        keys.extend(self.database.iter().map(|name| ("database", scalar(name))));
        keys.push(("group", scalar(&self.group)));
        if self.is_checkout {
            keys.push(("mode", CHECKOUT.to_owned()));
        }
        keys
    }

    fn decisive(&self) -> Vec<&[u8]> {
        let mut parts = vec![self.target.as_bytes(), self.group.as_bytes()];
        parts.push(if self.is_checkout {
            b"checkout"
        } else {
            b"login"
        });
        if let Some(database) = &self.database {
            parts.extend([&b"database"[..], database.as_bytes()]);
        }
        parts
    }
}

fn read(keys: &mut DefinitionReader<'_, '_>) -> Option<Arc<dyn Definition>> {
    let definition = MysqlDefinition {
        target: keys.required_text("target", DefinitionReader::LONGEST),
        database: keys.text("database", LONGEST_NAME),
        group: keys.required_text("group", LONGEST_ACCOUNT),
        is_checkout: match keys.text("mode", DefinitionReader::LONGEST).as_deref() {
            None => false,
            Some(CHECKOUT) => true,
            Some(_) => {
                keys.refuse(
                    "mode",
                    "must be `checkout`, or left out for a login of its own",
                );
                return None;
            }
        },
    };
    Some(Arc::new(definition))
}

const CHECKOUT: &str = "checkout";
/// The length of a database's name.
const LONGEST_NAME: usize = 64;
/// The length of an account's name in MySQL. MariaDB has longer ones.
const LONGEST_ACCOUNT: usize = 32;

/// All that a client needs to log in.
#[derive(Debug)]
pub struct MysqlLogin {
    pub username: String,
    pub password: Secret<String>,
    /// The server's host name or address.
    pub host: String,
    pub port: u16,
    pub database: String,
    /// The word of `--ssl-mode`, e.g. `VERIFY_IDENTITY`.
    pub ssl_mode: &'static str,
    /// PEM certificates that the server's certificate is checked against.
    pub ca: Option<String>,
}

impl MysqlLogin {
    /// The login as members of a credential.
    #[must_use]
    pub fn into_members(self) -> Members {
        let url = connection_url(&super::url::Parts {
            username: &self.username,
            password: &self.password,
            host: &self.host,
            port: self.port,
            database: &self.database,
            ssl_mode: self.ssl_mode,
            ca_file: None,
        });
        Members::new("password", self.password)
            .public("username", self.username)
            .public("host", self.host)
            .public("port", self.port)
            .public("database", self.database)
            .public("ssl_mode", self.ssl_mode)
            .public("ca", self.ca.map_or(Value::Null, Value::String))
            .holding_secret("url", url)
    }
}
