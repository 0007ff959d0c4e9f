//! What an import writes: credentials and policies, and what has no counterpart.

use std::time::Duration;

use super::condition::{Line, Lines};
use crate::policy::{Subject, grant_to_yaml};
use crate::text::escape;
use crate::yaml::scalar::{quoted, scalar};

/// The text of a policy file to be.
#[derive(Default)]
pub(super) struct Draft {
    /// What was read, e.g. "the JWT role `shop` of Vault".
    pub(super) source: String,
    pub(super) credentials: Vec<CredentialDraft>,
    pub(super) policies: Vec<PolicyDraft>,
    /// What is not in the text.
    pub(super) lost: Vec<String>,
}

/// An entry of `credentials:`.
pub(super) struct CredentialDraft {
    pub(super) name: String,
    pub(super) notes: Vec<String>,
    /// Keys and values, as they are written.
    pub(super) lines: Vec<(&'static str, String)>,
}

/// An entry of `policies:`.
pub(super) struct PolicyDraft {
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) notes: Vec<String>,
    /// The blocks of `when`, or why it cannot be carried over. A policy without one of its conditions
    /// would let more jobs in, so all of it is left out.
    pub(super) when: Result<Vec<Lines>, String>,
    /// Credentials and their lives.
    pub(super) grants: Vec<(String, Duration)>,
}

impl Draft {
    /// What is not in the text, for the reader of the screen.
    pub(super) fn losses(&self) -> Vec<String> {
        let policies = self.policies.iter().filter_map(|policy| {
            let reason = policy.problem()?;
            Some(format!("policy `{}`: {reason}", policy.name))
        });
        policies
            .chain(self.lost.iter().cloned())
            .map(|loss| escape(&loss))
            .collect()
    }

    /// Whether there are policies, and none is carried over.
    pub(super) fn leaves_all_out(&self) -> bool {
        let mut policies = self.policies.iter();
        !self.policies.is_empty() && policies.all(|policy| policy.problem().is_some())
    }

    /// The text of the file.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# Imported from {}. Read every line before you use it.\n",
            escape(&self.source)
        );
        let losses = self.losses();
        if !losses.is_empty() {
            text.push_str("#\n# NOT CARRIED OVER:\n");
            for loss in &losses {
                text.extend(["#   - ", loss, "\n"]);
            }
        }
        if !self.credentials.is_empty() {
            text.push_str("\ncredentials:\n");
            for credential in &self.credentials {
                credential.write(&mut text);
            }
        }
        let (carried, left): (Vec<_>, Vec<_>) = self
            .policies
            .iter()
            .partition(|policy| policy.problem().is_none());
        if !carried.is_empty() {
            text.push_str("\npolicies:\n");
        }
        for policy in carried {
            text.push_str(&policy.to_yaml());
        }
        for policy in left {
            let reason = policy.problem().unwrap_or_default();
            let (name, reason) = (scalar(&policy.name), escape(&reason));
            text.extend(["\n# Policy ", &name, " is left out: ", &reason, ".\n"]);
        }
        text
    }
}

impl CredentialDraft {
    fn write(&self, text: &mut String) {
        text.extend(["  ", &scalar(&self.name), ":\n"]);
        for note in &self.notes {
            text.extend(["    # ", &escape(note), "\n"]);
        }
        for (key, value) in &self.lines {
            text.extend(["    ", key, ": ", value, "\n"]);
        }
    }
}

impl PolicyDraft {
    /// Why the policy is not carried over.
    fn problem(&self) -> Option<String> {
        match &self.when {
            Err(reason) => Some(reason.clone()),
            Ok(blocks) if blocks.is_empty() => Some("no job can meet its conditions".to_owned()),
            Ok(blocks) if blocks.iter().any(Vec::is_empty) => Some(
                "it lets every job of the issuer in, and hallpass has no such policy".to_owned(),
            ),
            Ok(_) if self.grants.is_empty() => {
                Some("it grants nothing that hallpass issues".to_owned())
            }
            Ok(_) => None,
        }
    }

    fn to_yaml(&self) -> String {
        let mut text = String::new();
        for note in &self.notes {
            text.extend(["  # ", &escape(note), "\n"]);
        }
        text.extend([
            "  - name: ",
            &scalar(&self.name),
            "\n    issuer: ",
            &scalar(&self.issuer),
            "\n    when:\n",
        ]);
        match self.when.as_deref().unwrap_or_default() {
            [block] => write_block(&mut text, block, "      ", "      "),
            blocks => {
                for block in blocks {
                    write_block(&mut text, block, "      - ", "        ");
                }
            }
        }
        text.push_str("    grant:\n");
        for (credential, ttl) in &self.grants {
            text.extend(["      - ", &grant_to_yaml(credential, *ttl, &[]), "\n"]);
        }
        text
    }
}

/// One block: `first` stands before its first line, `next` before all others.
fn write_block(text: &mut String, block: &[Line], first: &str, next: &str) {
    let (claims, facts): (Vec<_>, Vec<_>) = block
        .iter()
        .partition(|line| matches!(line.condition.subject, Subject::Claim(_)));
    let mut lines = Vec::new();
    for line in facts {
        lines.extend(line.notes.iter().map(|note| format!("# {}", escape(note))));
        lines.push(line.condition.to_yaml());
    }
    if !claims.is_empty() {
        lines.push("claim:".to_owned());
        for line in claims {
            lines.extend(
                line.notes
                    .iter()
                    .map(|note| format!("  # {}", escape(note))),
            );
            let pointer = quoted(line.condition.subject.name());
            lines.push(format!("  {pointer}: {}", line.condition.pattern));
        }
    }
    // A comment may not be the first line of an entry of a list.
    let key = lines
        .iter()
        .position(|line| !line.starts_with('#'))
        .unwrap_or_default();
    let comments: Vec<_> = lines.drain(..key).collect();
    for comment in comments {
        text.extend([next, &comment, "\n"]);
    }
    for (number, line) in lines.iter().enumerate() {
        text.extend([if number == 0 { first } else { next }, line, "\n"]);
    }
}
