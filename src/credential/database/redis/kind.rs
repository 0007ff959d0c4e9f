//! The kind `redis`: a user of Redis or Valkey that the broker deletes at its end.

use std::sync::Arc;

use serde_json::Value;

use super::settings::{DISABLE, SHORTEST_LIFE, VERIFY};
use super::url::{Parts, connection_url};
use crate::credential::Members;
use crate::credential::kind::{
    BoundRule, Definition, Form, Kind, Member, Repeat, Secrecy, TeamBound,
};
use crate::policy::DefinitionReader;
use crate::secret::Secret;
use crate::yaml::scalar::scalar;

pub static KIND: Kind = Kind {
    name: "redis",
    noun: "a Redis login",
    urn: "urn:hallpass:credential:redis",
    other_urns: &[],
    token_type: "N_A",
    keys: &["target", "group"],
    shortest_life: SHORTEST_LIFE,
    inputs: &[],
    members: &[
        Member::public("username", Form::Text),
        Member::secret("password"),
        Member::public("host", Form::Text),
        Member::public("port", Form::Port),
        Member::public("tls", Form::OneOf(&[VERIFY, DISABLE])),
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
    teams: &[TeamBound {
        key: "group",
        uses: "groups",
        rule: BoundRule::Names,
    }],
    read,
};

/// Which login is made under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisDefinition {
    /// The target in the settings.
    pub target: String,
    /// The group of the target whose rules it gets.
    pub group: String,
}

impl Definition for RedisDefinition {
    fn target(&self) -> Option<&str> {
        Some(&self.target)
    }

    fn keys(&self) -> Vec<(&'static str, String)> {
        vec![
            ("target", scalar(&self.target)),
            ("group", scalar(&self.group)),
        ]
    }

    fn decisive(&self) -> Vec<&[u8]> {
        vec![self.target.as_bytes(), self.group.as_bytes()]
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature that every kind has"
)]
fn read(keys: &mut DefinitionReader<'_, '_>) -> Option<Arc<dyn Definition>> {
    Some(Arc::new(RedisDefinition {
        target: keys.required_text("target", DefinitionReader::LONGEST),
        group: keys.required_text("group", LONGEST_NAME),
    }))
}

const LONGEST_NAME: usize = 63;

/// All that a Redis client needs to log in.
#[derive(Debug)]
pub(super) struct RedisLogin {
    pub(super) username: String,
    pub(super) password: Secret<String>,
    pub(super) host: String,
    pub(super) port: u16,
    /// `verify-full` or `disable`.
    pub(super) tls: &'static str,
    /// PEM certificates that the server's certificate is checked against.
    pub(super) ca: Option<String>,
}

impl RedisLogin {
    pub(super) fn into_members(self) -> Members {
        let url = connection_url(&Parts {
            tls: self.tls == VERIFY,
            username: &self.username,
            password: &self.password,
            host: &self.host,
            port: self.port,
        });
        Members::new("password", self.password)
            .public("username", self.username)
            .public("host", self.host)
            .public("port", self.port)
            .public("tls", self.tls)
            .public("ca", self.ca.map_or(Value::Null, Value::String))
            .holding_secret("url", url)
    }
}
