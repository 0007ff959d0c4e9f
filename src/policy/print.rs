//! Prints policies as YAML that parses to the same policies.

use std::time::Duration;

use super::pattern::Pattern;
use super::{Block, Condition, Grant, Policy, Selector, Subject};
use crate::yaml::duration;
use crate::yaml::scalar::{quoted, scalar};

impl Condition {
    /// `fact: pattern`, `property: { name: pattern }`, or `"/pointer": pattern` within `claim`.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        match &self.subject {
            Subject::Fact(fact) => format!("{fact}: {}", self.pattern),
            Subject::Claim(pointer) => format!("{}: {}", quoted(pointer), self.pattern),
            Subject::Property(name) => {
                format!("property: {{ {}: {} }}", quoted(name.name()), self.pattern)
            }
            Subject::Issuer => format!("issuer: {}", self.pattern),
        }
    }
}

impl Block {
    /// The block with other names of issuers. A name without another one stays.
    pub(super) fn with_issuers<'a>(&self, other: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut block = self.clone();
        let lines = block.conditions.iter_mut();
        for line in lines.filter(|line| line.subject == Subject::Issuer) {
            if let Some(names) = line.pattern.exact_texts() {
                let names = names.into_iter().map(|name| other(name).unwrap_or(name));
                line.pattern = Pattern::of_texts(names.map(str::to_owned).collect());
            }
        }
        block
    }

    /// The block as a mapping in one line.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
        for condition in &self.conditions {
            let (key, line) = match &condition.subject {
                Subject::Fact(_) | Subject::Issuer => ("", condition.to_yaml()),
                Subject::Claim(_) => ("claim", condition.to_yaml()),
                Subject::Property(name) => {
                    let name = quoted(name.name());
                    ("property", format!("{name}: {}", condition.pattern))
                }
            };
            // Several are one mapping, where the first is.
            match lines
                .iter_mut()
                .find(|(known, _)| !key.is_empty() && *known == key)
            {
                Some((_, inner)) => inner.push(line),
                None => lines.push((key, vec![line])),
            }
        }
        let lines = lines.into_iter().map(|(key, inner)| match key {
            "" => inner.concat(),
            key => format!("{key}: {{ {} }}", inner.join(", ")),
        });
        let lines: Vec<_> = lines.collect();
        format!("{{ {} }}", lines.join(", "))
    }
}

impl Selector {
    /// As under `of`.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let parts = [
            ("credential", &self.credential),
            ("class", &self.class),
            ("kind", &self.kind),
            ("owner", &self.owner),
            ("target", &self.target),
        ];
        let parts = parts.into_iter().filter_map(|(key, pattern)| {
            let pattern = pattern.as_ref()?;
            Some(format!("{key}: {pattern}"))
        });
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() {
            "all".to_owned()
        } else {
            format!("{{ {} }}", parts.join(", "))
        }
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
