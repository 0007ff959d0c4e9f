//! The kind `ssh`: a user certificate for the public key that the job sends.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::definition::{DefinitionError, Extension, Principals, SourceAddress, SshDefinition};
use super::job_key::{JobKey, LONGEST};
use crate::credential::kind::{
    BoundRule, Definition, Form, Input, Kind, Member, Repeat, TeamBound,
};
use crate::policy::DefinitionReader;
use crate::yaml::scalar::{list, scalar};

pub static KIND: Kind = Kind {
    name: "ssh",
    noun: "an SSH certificate",
    urn: "urn:hallpass:credential:ssh",
    other_urns: &[],
    token_type: "N_A",
    keys: &[
        "target",
        "principals",
        "extensions",
        "force_command",
        "source_address",
    ],
    shortest_life: 1,
    inputs: &[Input {
        name: PUBLIC_KEY,
        summary: "the public key to sign, as in the `.pub` file of ssh-keygen",
        is_list: false,
        required: true,
        longest: LONGEST,
        check: |text| {
            JobKey::parse(text)
                .map(drop)
                .map_err(|error| error.to_string())
        },
    }],
    members: &[
        // Useless without the private key, but the token endpoint must return something.
        Member::secret("certificate"),
        // As text, because it may exceed the range of a JSON number.
        Member::public("serial", Form::Text),
        Member::public("principals", Form::List),
    ],
    repeat: Repeat::Same,
    revocable: false,
    teams: &[
        TeamBound {
            key: "principals",
            uses: "principals",
            rule: BoundRule::Names,
        },
        TeamBound {
            key: "extensions",
            uses: "extensions",
            rule: BoundRule::Adds,
        },
        TeamBound {
            key: "force_command",
            uses: "force_command",
            rule: BoundRule::Narrows,
        },
        TeamBound {
            key: "source_address",
            uses: "source_address",
            rule: BoundRule::Narrows,
        },
    ],
    read,
};

/// The input that every request brings.
pub const PUBLIC_KEY: &str = "public_key";

impl Definition for SshDefinition {
    fn target(&self) -> Option<&str> {
        Some(&self.target)
    }

    fn keys(&self) -> Vec<(&'static str, String)> {
        let principals = self.principals.as_slice().iter().map(String::as_str);
        let mut keys = vec![
            ("target", scalar(&self.target)),
            ("principals", list(principals)),
        ];
        if !self.extensions.is_empty() {
            let names = self.extensions.iter().map(|one| one.name());
            keys.push(("extensions", list(names)));
        }
        if let Some(command) = &self.force_command {
            keys.push(("force_command", scalar(command.as_str())));
        }
        if let Some(networks) = &self.source_address {
            keys.push(("source_address", list(networks.as_str().split(','))));
        }
        keys
    }

    fn decisive(&self) -> Vec<&[u8]> {
        let mut parts = vec![self.target.as_bytes()];
        parts.extend(self.principals.as_slice().iter().map(String::as_bytes));
        parts.push(b"extensions");
        parts.extend(self.extensions.iter().map(|one| one.name().as_bytes()));
        if let Some(command) = &self.force_command {
            parts.extend([&b"force_command"[..], command.as_str().as_bytes()]);
        }
        if let Some(networks) = &self.source_address {
            parts.extend([&b"source_address"[..], networks.as_str().as_bytes()]);
        }
        parts
    }
}

fn read(keys: &mut DefinitionReader<'_, '_>) -> Option<Arc<dyn Definition>> {
    let target = keys.required_text("target", DefinitionReader::LONGEST);
    let principals = keys.required_texts("principals");
    let principals = Principals::new(principals.iter().map(String::as_str));
    let principals = or_refuse(keys, "principals", principals);
    let extensions = keys.texts("extensions");
    let extensions: Result<BTreeSet<Extension>, _> =
        extensions.iter().map(|name| name.parse()).collect();
    let extensions = or_refuse(keys, "extensions", extensions);
    let force_command = keys
        .text("force_command", DefinitionReader::LONGEST)
        .map(|text| text.parse());
    let force_command = or_refuse(keys, "force_command", force_command.transpose());
    let networks = keys.texts("source_address");
    let source_address = (!networks.is_empty())
        .then(|| SourceAddress::new(networks.iter().map(String::as_str)))
        .transpose();
    let source_address = or_refuse(keys, "source_address", source_address);
    Some(Arc::new(SshDefinition {
        target,
        principals: principals?,
        extensions: extensions?,
        force_command: force_command?,
        source_address: source_address?,
    }))
}

/// The value, or `None` after its fault was reported. A missing key was reported already.
fn or_refuse<T>(
    keys: &mut DefinitionReader<'_, '_>,
    key: &str,
    read: Result<T, DefinitionError>,
) -> Option<T> {
    read.inspect_err(|error| {
        if *error != DefinitionError::NoPrincipal {
            keys.refuse(key, &error.to_string());
        }
    })
    .ok()
}
