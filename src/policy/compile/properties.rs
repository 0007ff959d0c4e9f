//! `properties:` of an issuer, and `property:` in a block of conditions.

use super::conditions::About;
use super::patterns::{self, Compared};
use crate::policy::{Condition, Subject};
use crate::provider::{Properties, PropertyName, PropertyType, Provider, Reader, is_property_name};
use crate::yaml::Entry;
use crate::yaml::diagnostic::{Span, nearest};
use crate::yaml::reader::{Fields, NodeReader, listed};

/// The properties that an issuer declares, with their types.
pub(super) fn declared(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    provider: &Provider,
) -> Properties {
    let mut properties = Properties::new();
    let Some(node) = fields.get("properties") else {
        return properties;
    };
    if provider.property_claims.is_none() {
        let message = format!(
            "tokens of provider `{}` have no repository properties",
            provider.name
        );
        let help = "remove `properties`; a raw claim is named by `claim`";
        yaml.error_help("unknown-key", node.span, message, Some(help));
        return properties;
    }
    let entries = yaml.entries(node, "`properties`").unwrap_or_default();
    if entries.is_empty() {
        yaml.error("empty", node.span, "`properties` is empty");
    }
    for entry in entries {
        let Some(name) = yaml.scalar(&entry.key, entry.span, "the name of a property") else {
            continue;
        };
        if !is_property_name(name) {
            let message =
                format!("property `{name}` must be 1 to 75 letters, digits, `_`, `-`, `$` and `#`");
            yaml.error("name", entry.span, message);
            continue;
        }
        if let Some(found) = property_type(yaml, entry, name) {
            properties.insert(name.to_owned(), found);
        }
    }
    properties
}

fn property_type(yaml: &NodeReader<'_>, entry: &Entry, name: &str) -> Option<PropertyType> {
    let word = yaml.text(&entry.value, format!("the type of property `{name}`"))?;
    let found = PropertyType::ALL.into_iter().find(|one| one.name() == word);
    if found.is_none() {
        let words = PropertyType::ALL.map(PropertyType::name);
        let help = match nearest(word, words) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the types are {}", listed(&words)),
        };
        let message = format!("property `{name}` has the unknown type `{word}`");
        yaml.error_help("unknown-type", entry.value.span, message, Some(help));
    }
    found
}

/// The conditions on properties, each of the type that its issuers declare.
pub(super) fn conditions(
    yaml: &NodeReader<'_>,
    entry: &Entry,
    about: &About<'_>,
    named: &[&str],
) -> Option<Vec<Condition>> {
    let entries = yaml.entries(&entry.value, "`property`")?;
    if entries.is_empty() {
        yaml.error("empty", entry.value.span, "`property` is empty");
        return None;
    }
    let mut conditions = Vec::new();
    let mut complete = true;
    for line in entries {
        let name = yaml.scalar(&line.key, line.span, "the name of a property");
        let read = name.and_then(|name| {
            let declared = declared_type(yaml, name, line.span, about, named)?;
            let name = PropertyName::new(name);
            let compared = Compared::Fact(declared.fact_type());
            let pattern = patterns::pattern(yaml, &line.value, name.dotted(), compared)?;
            let subject = Subject::Property(name);
            Some(Condition { subject, pattern })
        });
        match read {
            Some(condition) => conditions.push(condition),
            None => complete = false,
        }
    }
    complete.then_some(conditions)
}

/// The type that every issuer of the block declares for the property.
fn declared_type(
    yaml: &NodeReader<'_>,
    name: &str,
    span: Span,
    about: &About<'_>,
    named: &[&str],
) -> Option<PropertyType> {
    let readers = about.readers(named);
    if readers.is_empty() {
        let message = format!(
            "a block of {} names property `{name}` without its issuer",
            about.what()
        );
        let help = "name `issuer` beside it, one that declares the property";
        yaml.error_help("property-without-issuer", span, message, Some(help));
        return None;
    }
    let mut types = Vec::new();
    for reader in readers {
        let Some(found) = reader.properties.get(name) else {
            undeclared(yaml, name, span, reader);
            return None;
        };
        types.push(*found);
    }
    let first = types.first().copied()?;
    if types.iter().any(|other| *other != first) {
        let message = format!("the issuers declare property `{name}` with different types");
        let help = "write one block for each issuer";
        yaml.error_help("property-type", span, message, Some(help));
        return None;
    }
    Some(first)
}

fn undeclared(yaml: &NodeReader<'_>, name: &str, span: Span, reader: &Reader) {
    let issuer = &reader.issuer.name;
    let message = format!("issuer `{issuer}` does not declare property `{name}`");
    let known = reader.properties.keys().map(String::as_str);
    let help = match nearest(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if reader.provider.property_claims.is_some() => {
            format!("add `properties: {{ {name}: text }}` to the issuer")
        }
        None => format!(
            "tokens of provider `{}` have no repository properties",
            reader.provider.name
        ),
    };
    yaml.error_help("unknown-property", span, message, Some(help));
}
