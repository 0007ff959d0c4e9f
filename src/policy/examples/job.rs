//! The job of a test: facts as written, or a sample job with changes, read as a token of its issuer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::sample;
use crate::policy::PolicySet;
use crate::provider::{Fact, FactType, FactValue, Facts, PropertyName, Reader, Workflow};
use crate::token::json::unescape_step;
use crate::yaml::diagnostic::{Diagnostics, Problems, Source, nearest};
use crate::yaml::reader::{Fields, MAX_TEXT, NodeReader, listed};
use crate::yaml::{self, Node};

/// The job in a file of its own: the mapping that a test has as `job`, in YAML or JSON.
///
/// # Errors
/// All errors in it.
pub fn job_of_text(shown: &str, text: &str, set: &PolicySet) -> Result<Facts, Diagnostics> {
    let problems = Problems::default();
    let source = Source::new(shown, shown, text.to_owned());
    let yaml = NodeReader::new(&source, &problems);
    let root = yaml::parse(&source, &problems);
    let facts = root.and_then(|root| read(&yaml, &root, &format!("`{shown}`"), set));
    let found = Diagnostics::from(problems);
    facts.filter(|_| !found.has_errors()).ok_or(found)
}

/// The facts of a token of such a job.
pub(super) fn read(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    set: &PolicySet,
) -> Option<Facts> {
    let what = format!("`job` of {what}");
    let names = Fact::ALL.iter().map(|fact| fact.name());
    let keys: Vec<_> = ["issuer", "like", "facts_unset", "property", "claim"]
        .into_iter()
        .chain(names)
        .collect();
    let fields = yaml.fields(node, &what, &keys)?;
    let like = match fields.get("like") {
        Some(node) => Some(sample::find(yaml, node)?),
        None => None,
    };
    let reader = issuer(yaml, &fields, &what, set, like)?;
    let mut given = BTreeMap::new();
    let mut complete = true;
    for fact in Fact::ALL {
        let Some(node) = fields.get(fact.name()) else {
            continue;
        };
        match value(yaml, node, fact.name(), reader.fact_type(*fact)) {
            Some(value) => {
                given.insert(*fact, value);
            }
            None => complete = false,
        }
    }
    let claims = raw_claims(yaml, &fields, &what);
    let properties = properties(yaml, &fields, &what, reader);
    let unset = unset(yaml, &fields, &what);
    if !complete {
        return None;
    }
    let (mut claims, unset) = (claims?, unset?);
    if let Some(name) = claims
        .keys()
        .find_map(|name| reader.property_of_claim(name))
    {
        let message = format!("{what} has the claim of property `{name}`");
        let help = format!("write it as `property: {{ {name}: ... }}`");
        yaml.error_help("job", node.span, message, Some(help));
        return None;
    }
    claims.append(&mut properties?);
    if let Some(sample) = like {
        given = sample.with(given, &unset);
    }
    match reader.facts_of(&given, &claims) {
        Ok(facts) => Some(facts),
        Err(problem) => {
            let message = format!("{what} is impossible: it {problem}");
            let help = "a test describes a job that the issuer can send a token for";
            yaml.error_help("job", node.span, message, Some(help));
            None
        }
    }
}

/// The issuer as named, or the only one of the sample's provider.
fn issuer<'s>(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    what: &str,
    set: &'s PolicySet,
    like: Option<&sample::Sample>,
) -> Option<&'s Reader> {
    let readers = set.readers();
    let names: Vec<_> = readers.iter().map(|one| one.issuer.name.as_str()).collect();
    let Some(node) = fields.get("issuer") else {
        let of_provider =
            |one: &&Reader| like.is_some_and(|like| like.provider == one.provider.name);
        let mut fitting = readers.iter().filter(of_provider);
        if let (Some(only), None) = (fitting.next(), fitting.next()) {
            return Some(only);
        }
        let message = format!("key `issuer` is missing from {what}");
        let help = format!("the issuers are {}", listed(&names));
        yaml.error_help("missing-key", fields.span(), message, Some(help));
        return None;
    };
    let name = yaml.ascii(node, format!("`issuer` in {what}"), MAX_TEXT)?;
    let found = readers.iter().find(|one| one.issuer.name == name);
    if found.is_none() {
        let help = match nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the issuers are {}", listed(&names)),
        };
        let message = format!("unknown issuer `{name}`");
        yaml.error_help("unknown-issuer", node.span, message, Some(help));
    }
    found
}

fn value(yaml: &NodeReader<'_>, node: &Node, name: &str, fact_type: FactType) -> Option<FactValue> {
    let what = format!("`{name}`");
    Some(match fact_type {
        FactType::Bool => FactValue::Bool(yaml.boolean(node, what)?),
        FactType::List => FactValue::List(yaml.texts(node, what)?),
        FactType::Workflow => {
            let fields = yaml.fields(node, &what, &["path", "ref"])?;
            let path = yaml.required(&fields, "path", &what, node.span)?;
            let r#ref = match fields.get("ref") {
                Some(node) => Some(yaml.ascii(node, "`ref`", MAX_TEXT)?.to_owned()),
                None => None,
            };
            let path = yaml.ascii(path, "`path`", MAX_TEXT)?.to_owned();
            FactValue::Workflow(Workflow { path, r#ref })
        }
        FactType::Text => FactValue::Text(yaml.ascii(node, what, MAX_TEXT)?.to_owned()),
        FactType::Network => FactValue::Address(address(yaml, node, &what)?),
        FactType::Age => FactValue::Time(yaml.time(node, what)?),
        FactType::Clock => {
            let message = format!("{what} is not of a job: it is the time of the decision");
            let help = "write `at:` beside `job`";
            yaml.error_help("job", node.span, message, Some(help));
            return None;
        }
    })
}

/// The claims of repository properties.
fn properties(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    what: &str,
    reader: &Reader,
) -> Option<Map<String, Value>> {
    let mut claims = Map::new();
    let Some(node) = fields.get("property") else {
        return Some(claims);
    };
    for entry in yaml.entries(node, format!("`property` in {what}"))? {
        let name = yaml.scalar(&entry.key, entry.span, "the name of a property")?;
        let property = PropertyName::new(name);
        let Some(declared) = reader.property_type(&property) else {
            let known = reader.properties.keys().map(String::as_str);
            let help = nearest(name, known).map(|meant| format!("did you mean `{meant}`?"));
            let issuer = &reader.issuer.name;
            let message = format!("issuer `{issuer}` does not declare property `{name}`");
            yaml.error_help("unknown-property", entry.span, message, help);
            return None;
        };
        let value = value(yaml, &entry.value, property.dotted(), declared.fact_type())?;
        if let FactValue::List(entries) = &value
            && let Some(odd) = entries.iter().find(|entry| entry.contains(','))
        {
            let message = format!("`{odd}` has a comma, which separates the entries of a property");
            yaml.error("job", entry.value.span, message);
            return None;
        }
        let (claim, value) = reader.property_claim(&property, &value)?;
        claims.insert(claim, value);
    }
    Some(claims)
}

fn address(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<IpAddr> {
    let text = yaml.ascii(node, what, MAX_TEXT)?;
    let address = text.parse::<IpAddr>();
    if address.is_err() {
        let message = format!("{what} is `{text}`, which is no address");
        let help = "write one IP address, such as 10.1.2.3";
        yaml.error_help("address", node.span, message, Some(help));
    }
    address.ok().map(|address| address.to_canonical())
}

/// Further claims, by the pointer to a claim at the top.
fn raw_claims(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    what: &str,
) -> Option<Map<String, Value>> {
    let mut claims = Map::new();
    let Some(node) = fields.get("claim") else {
        return Some(claims);
    };
    for entry in yaml.entries(node, format!("`claim` in {what}"))? {
        let name = entry.key.text.strip_prefix('/');
        let name = name.filter(|name| !name.is_empty() && !name.contains('/'));
        let Some(name) = name.and_then(unescape_step) else {
            let message = format!("`{}` is not the pointer to a claim", entry.key.text);
            let help = "write \"/name\", for a claim at the top of the token";
            yaml.error_help("pointer", entry.span, message, Some(help));
            return None;
        };
        let value = match entry.value.truth() {
            Some(truth) => Value::Bool(truth),
            None => yaml.ascii(&entry.value, "a claim", MAX_TEXT)?.into(),
        };
        claims.insert(name, value);
    }
    Some(claims)
}

fn unset(yaml: &NodeReader<'_>, fields: &Fields<'_>, what: &str) -> Option<Vec<Fact>> {
    let Some(node) = fields.get("facts_unset") else {
        return Some(Vec::new());
    };
    let names = yaml.texts(node, format!("`facts_unset` in {what}"))?;
    let mut facts = Vec::new();
    for name in names {
        let Some(fact) = Fact::from_name(&name) else {
            let known = Fact::ALL.iter().map(|fact| fact.name());
            let help = nearest(&name, known).map(|meant| format!("did you mean `{meant}`?"));
            yaml.error_help(
                "unknown-fact",
                node.span,
                format!("unknown fact `{name}`"),
                help,
            );
            return None;
        };
        facts.push(fact);
    }
    Some(facts)
}
