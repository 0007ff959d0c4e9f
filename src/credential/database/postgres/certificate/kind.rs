//! The kind `postgres-cert`: a client certificate that PostgreSQL takes for some minutes.

use std::sync::Arc;

use super::super::settings::SHORTEST_LIFE;
use crate::credential::kind::{BoundRule, Definition, Form, Kind, Member, Repeat, TeamBound};
use crate::policy::DefinitionReader;
use crate::yaml::scalar::scalar;

pub static KIND: Kind = Kind {
    name: "postgres-cert",
    noun: "a PostgreSQL client certificate",
    urn: "urn:hallpass:credential:postgres-cert",
    other_urns: &[],
    token_type: "N_A",
    keys: &["target", "database", "role"],
    shortest_life: SHORTEST_LIFE,
    inputs: &[],
    members: &[
        // One line, as variables can hold it.
        Member::secret("key"),
        Member::public("certificate", Form::Lines),
        Member::public("serial", Form::Text),
        Member::public("username", Form::Text),
        Member::public("host", Form::Text),
        Member::public("port", Form::Port),
        Member::public("database", Form::Text),
        Member::public("sslmode", Form::OneOf(&["verify-full"])),
        Member::public("ca", Form::Lines).or_absent(),
    ],
    repeat: Repeat::Same,
    revocable: false,
    teams: &[
        TeamBound {
            key: "database",
            uses: "databases",
            rule: BoundRule::Names,
        },
        TeamBound {
            key: "role",
            uses: "roles",
            rule: BoundRule::Names,
        },
    ],
    read,
};

/// Which role a certificate logs in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateDefinition {
    /// The target in the settings.
    pub target: String,
    /// The database it is sent to; the target's only one without.
    pub database: Option<String>,
    /// A role of the target.
    pub role: String,
}

impl Definition for CertificateDefinition {
    fn target(&self) -> Option<&str> {
        Some(&self.target)
    }

    fn keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![("target", scalar(&self.target))];
        keys.extend(self.database.iter().map(|name| ("database", scalar(name))));
        keys.push(("role", scalar(&self.role)));
        keys
    }

    fn decisive(&self) -> Vec<&[u8]> {
        let mut parts = vec![self.target.as_bytes(), self.role.as_bytes()];
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
    Some(Arc::new(CertificateDefinition {
        target: keys.required_text("target", DefinitionReader::LONGEST),
        database: keys.text("database", LONGEST_NAME),
        role: keys.required_text("role", LONGEST_NAME),
    }))
}

const LONGEST_NAME: usize = 63;
