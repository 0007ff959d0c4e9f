//! Prints policies as YAML that parses to the same policies.

use std::time::Duration;

use super::{Block, Condition, Grant, Policy, Subject};
use crate::yaml::duration;
use crate::yaml::scalar::{quoted, scalar};

impl Condition {
    /// `fact: pattern`, `property: { name: pattern }`, or `"/pointer": pattern` within `claim`.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        match &self.subject {
            Subject::Fact(fact) => format!("{fact}: {}", self.pattern),
            Subject::Claim(pointer) => format!("{}: {}", quoted(pointer), self.pattern),
            Subject::Property(_) => format!("property: {{ {} }}", self.line()),
            Subject::Issuer => format!("issuer: {}", self.pattern),
        }
    }

    /// The key whose mapping has the condition as one of its lines.
    const fn key(&self) -> Option<&'static str> {
        match self.subject {
            Subject::Fact(_) | Subject::Issuer => None,
            Subject::Claim(_) => Some("claim"),
            Subject::Property(_) => Some("property"),
        }
    }

    /// The line, within the mapping of [`key`](Self::key) if it has one.
    fn line(&self) -> String {
        match &self.subject {
            Subject::Fact(_) | Subject::Claim(_) | Subject::Issuer => self.to_yaml(),
            Subject::Property(name) => format!("{}: {}", quoted(name.name()), self.pattern),
        }
    }
}

impl Block {
    /// The block as a mapping in one line.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // The lines of one key are next to each other.
        let groups = self
            .conditions
            .chunk_by(|one, next| one.key().is_some() && one.key() == next.key());
        let lines = groups.map(|group| {
            let lines: Vec<_> = group.iter().map(Condition::line).collect();
            let lines = lines.join(", ");
            match group.first().and_then(Condition::key) {
                Some(key) => format!("{key}: {{ {lines} }}"),
                None => lines,
            }
        });
        let lines: Vec<_> = lines.collect();
        format!("{{ {} }}", lines.join(", "))
    }
}

impl Grant {
    fn to_yaml(&self) -> String {
        grant_to_yaml(&self.credential.name, self.ttl, &self.scopes)
    }
}

/// A grant as a mapping in one line.
pub(crate) fn grant_to_yaml(credential: &str, ttl: Duration, scopes: &[String]) -> String {
    let mut text = format!(
        "{{ credential: {}, ttl: {}",
        scalar(credential),
        duration::print(ttl)
    );
    if !scopes.is_empty() {
        let scopes: Vec<_> = scopes.iter().map(|scope| scalar(scope)).collect();
        text.extend([", scopes: [", &scopes.join(", "), "]"]);
    }
    text.push_str(" }");
    text
}

impl Policy {
    /// The policy as an entry of the list under `policies:`.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut text = format!(
            "  - name: {}\n    issuer: {}\n    when:\n",
            scalar(&self.name),
            scalar(&self.issuer)
        );
        for block in &self.when {
            text.extend(["      - ", &block.to_yaml(), "\n"]);
        }
        let times = [("until", self.until), ("shadow_until", self.shadow_until)];
        for (key, time) in times {
            if let Some(time) = time {
                text.extend(["    ", key, ": ", &time.to_string(), "\n"]);
            }
        }
        text.push_str("    grant:\n");
        for grant in &self.grants {
            text.extend(["      - ", &grant.to_yaml(), "\n"]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_be_misread_is_quoted() {
        for (text, expected) in [
            ("refs/heads/main", "refs/heads/main"),
            ("702114500", "\"702114500\""),
            ("true", "\"true\""),
            ("deploy:staging", "\"deploy:staging\""),
            ("a \"b\" \\", "\"a \\\"b\\\" \\\\\""),
            ("-", "\"-\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), expected);
        }
    }
}
