//! What a kind reads its own keys of a definition with.

use super::{conditions, credentials};
use crate::provider::Fact;
use crate::yaml::diagnostic::Span;
use crate::yaml::reader::{Fields, MAX_TEXT, NodeReader};

/// The keys of one definition, for its kind. Faults are reported with their place and reading goes
/// on with a value in place of the faulty one, so that all of them are reported together: a set with
/// an error never serves.
pub struct DefinitionReader<'r, 's> {
    pub(super) yaml: &'r NodeReader<'s>,
    pub(super) fields: &'r Fields<'r>,
    /// The definition in a message, e.g. ``credential `deploy-api` ``.
    pub(super) what: &'r str,
    pub(super) at: Span,
}

impl DefinitionReader<'_, '_> {
    /// The longest text of a key, unless the kind has a lower limit, in bytes.
    pub const LONGEST: usize = MAX_TEXT;

    /// A text of printable ASCII that must be present.
    pub fn required_text(&mut self, key: &str, longest: usize) -> String {
        let Some(node) = self.yaml.required(self.fields, key, self.what, self.at) else {
            return String::new();
        };
        let text = self.yaml.ascii(node, self.name(key), longest);
        text.unwrap_or_default().to_owned()
    }

    /// A text of printable ASCII, if it is present.
    pub fn text(&mut self, key: &str, longest: usize) -> Option<String> {
        let node = self.fields.get(key)?;
        let text = self.yaml.ascii(node, self.name(key), longest);
        text.map(str::to_owned)
    }

    /// One text or a list of different ones that must be present and not empty.
    pub fn required_texts(&mut self, key: &str) -> Vec<String> {
        let Some(node) = self.yaml.required(self.fields, key, self.what, self.at) else {
            return Vec::new();
        };
        self.yaml.texts(node, self.name(key)).unwrap_or_default()
    }

    /// One text or a list of different ones; empty if the key is not present.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(node) = self.fields.get(key) else {
            return Vec::new();
        };
        self.yaml.texts(node, self.name(key)).unwrap_or_default()
    }

    /// `true` or `false`; `false` if the key is not present.
    pub fn boolean(&mut self, key: &str) -> bool {
        let Some(node) = self.fields.get(key) else {
            return false;
        };
        self.yaml.boolean(node, self.name(key)).unwrap_or_default()
    }

    /// Scope tokens (RFC 6749 section 3.3); none if the key is not present, `None` after an error:
    /// grants are compared with them.
    pub fn scopes(&mut self, key: &str) -> Option<Vec<String>> {
        match self.fields.get(key) {
            Some(node) => credentials::scopes(self.yaml, node, &self.name(key)),
            None => Some(Vec::new()),
        }
    }

    /// Names of facts; none if the key is not present.
    pub fn facts(&mut self, key: &str) -> Vec<Fact> {
        let Some(node) = self.fields.get(key) else {
            return Vec::new();
        };
        let names = self.yaml.texts(node, self.name(key)).unwrap_or_default();
        let mut facts = Vec::new();
        for name in names {
            match Fact::from_name(&name) {
                Some(fact) if fact.is_of_request() => {
                    let message = format!(
                        "{} names `{fact}`, which is of the request and not of the job",
                        self.name(key)
                    );
                    self.yaml.error("definition", node.span, message);
                }
                Some(fact) => facts.push(fact),
                None => conditions::unknown_fact(self.yaml, &name, node.span, Fact::ALL, None),
            }
        }
        facts
    }

    /// Reports that a key has a value its kind cannot use. The message follows the key's name:
    /// `must be …`.
    pub fn refuse(&mut self, key: &str, problem: &str) {
        let span = self.fields.get(key).map_or(self.at, |node| node.span);
        let message = format!("{} {problem}", self.name(key));
        self.yaml.error("definition", span, message);
    }

    fn name(&self, key: &str) -> String {
        format!("`{key}` of {}", self.what)
    }
}
