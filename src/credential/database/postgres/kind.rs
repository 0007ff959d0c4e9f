//! The kind `postgres`: a login that PostgreSQL drops at its end.

use std::sync::Arc;

use serde_json::Value;

use super::settings::SHORTEST_LIFE;
use super::url::connection_url;
use crate::credential::Members;
use crate::credential::kind::{
    BoundRule, Definition, Form, Kind, Member, Repeat, Secrecy, TeamBound,
};
use crate::policy::DefinitionReader;
use crate::secret::Secret;
use crate::yaml::scalar::scalar;

pub static KIND: Kind = Kind {
    name: "postgres",
    noun: "a PostgreSQL login",
    urn: "urn:hallpass:credential:postgres",
    other_urns: &[],
    token_type: "N_A",
    keys: &["target", "database", "group", "act_as_group"],
    shortest_life: SHORTEST_LIFE,
    inputs: &[],
    members: &[
        Member::public("username", Form::Text),
        Member::secret("password"),
        Member::public("host", Form::Text),
        Member::public("port", Form::Port),
        Member::public("database", Form::Text),
        Member::public("sslmode", Form::OneOf(&SSL_MODES)),
        Member::public("ca", Form::Lines).or_absent(),
        Member::public("options", Form::Text).or_absent(),
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
    ],
    read,
};

/// libpq's words for how TLS is checked.
const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// Which login is made under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresDefinition {
    /// The target in the settings.
    pub target: String,
    /// The database it is sent to; the target's only one without.
    pub database: Option<String>,
    /// The NOLOGIN role it is a member of.
    pub group: String,
    /// What the job makes belongs to the group.
    pub act_as_group: bool,
}

impl Definition for PostgresDefinition {
    fn target(&self) -> Option<&str> {
        Some(&self.target)
    }

    fn keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![("target", scalar(&self.target))];
        keys.extend(self.database.iter().map(|name| ("database", scalar(name))));
        keys.push(("group", scalar(&self.group)));
        if self.act_as_group {
            keys.push(("act_as_group", "true".to_owned()));
        }
        keys
    }

    fn decisive(&self) -> Vec<&[u8]> {
        let mut parts = vec![self.target.as_bytes(), self.group.as_bytes()];
        parts.push(if self.act_as_group {
            b"group"
        } else {
            b"login"
        });
        if let Some(database) = &self.database {
            parts.extend([&b"database"[..], database.as_bytes()]);
        }
        parts
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature that every kind has"
)]
fn read(keys: &mut DefinitionReader<'_, '_>) -> Option<Arc<dyn Definition>> {
    Some(Arc::new(PostgresDefinition {
        target: keys.required_text("target", DefinitionReader::LONGEST),
        database: keys.text("database", LONGEST_NAME),
        group: keys.required_text("group", LONGEST_NAME),
        act_as_group: keys.boolean("act_as_group"),
    }))
}

/// The length of a name in PostgreSQL.
const LONGEST_NAME: usize = 63;

/// All that a PostgreSQL client needs to log in.
#[derive(Debug)]
pub struct PostgresLogin {
    pub username: String,
    pub password: Secret<String>,
    /// The server's host name or address.
    pub host: String,
    pub port: u16,
    pub database: String,
    /// libpq's `sslmode`, e.g. `verify-full`.
    pub sslmode: &'static str,
    /// PEM certificates that the server's certificate is checked against.
    pub ca: Option<String>,
    /// libpq's `options`, e.g. `-c role=shop_owner`.
    pub options: Option<String>,
}

impl PostgresLogin {
    /// The login as members of a credential.
    #[must_use]
    pub fn into_members(self) -> Members {
        let url = connection_url(&super::url::Parts {
            username: &self.username,
            password: &self.password,
            host: &self.host,
            port: self.port,
            database: &self.database,
            sslmode: self.sslmode,
            ca_file: None,
            options: self.options.as_deref(),
        });
        Members::new("password", self.password)
            .public("username", self.username)
            .public("host", self.host)
            .public("port", self.port)
            .public("database", self.database)
            .public("sslmode", self.sslmode)
            .public("ca", self.ca.map_or(Value::Null, Value::String))
            .public("options", self.options.map_or(Value::Null, Value::String))
            .holding_secret("url", url)
    }
}
