//! The kind `webhook`: a login that a service of its owner makes and ends.

use std::sync::Arc;

use super::settings::SHORTEST_LIFE;
use crate::credential::kind::{
    BoundRule, Definition, Form, Kind, Member, Repeat, Secrecy, TeamBound,
};
use crate::policy::DefinitionReader;
use crate::yaml::scalar::scalar;

pub static KIND: Kind = Kind {
    name: "webhook",
    noun: "a login by webhook",
    urn: "urn:hallpass:credential:webhook",
    other_urns: &[],
    token_type: "N_A",
    keys: &["target", "group"],
    shortest_life: SHORTEST_LIFE,
    inputs: &[],
    members: &[
        Member::public("username", Form::Text),
        Member::secret("password"),
        Member::public("members", Form::Named).or_absent(),
        Member {
            name: "secrets",
            form: Form::Named,
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
pub struct WebhookDefinition {
    /// The target in the settings.
    pub target: String,
    /// The group of the target.
    pub group: String,
}

impl Definition for WebhookDefinition {
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
    Some(Arc::new(WebhookDefinition {
        target: keys.required_text("target", DefinitionReader::LONGEST),
        group: keys.required_text("group", LONGEST_NAME),
    }))
}

const LONGEST_NAME: usize = 63;
