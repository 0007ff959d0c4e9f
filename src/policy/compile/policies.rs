//! `policies:` who may have what. One policy per issuer that an entry names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conditions::{self, About};
use super::credentials::{self, Credentials};
use super::issuers::Issuers;
use super::{Issuer, taken};
use crate::policy::parse::{self, Raw};
use crate::policy::{CredentialDefinition, Grant, Policy};
use crate::yaml::Node;
use crate::yaml::diagnostic::{Place, Problems, Span, nearest};
use crate::yaml::reader::{self, Fields, NodeReader, listed};

/// Every policy of all files.
pub(super) fn compile(
    raws: &[Raw],
    issuers: &Issuers,
    credentials: &Credentials,
    problems: &Problems,
) -> Vec<Policy> {
    let mut policies = Vec::new();
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    for raw in raws {
        for node in &raw.policies {
            let yaml = NodeReader::new(&raw.source, problems);
            let Some((name, place)) = policy(&yaml, node, issuers, credentials, &mut policies)
            else {
                continue;
            };
            if let Some(first) = names.get(&name) {
                problems.push(taken("policy", &name, place, first));
            } else {
                names.insert(name, place);
            }
        }
    }
    policies
}

/// Reads one entry to the end, whatever is wrong with its beginning; its name if it has one.
fn policy(
    yaml: &NodeReader<'_>,
    node: &Node,
    issuers: &Issuers,
    credentials: &Credentials,
    policies: &mut Vec<Policy>,
) -> Option<(String, Place)> {
    let keys = ["name", "issuer", "when", "until", "grant"];
    let fields = yaml.fields(node, "a policy", &keys)?;
    let name_node = yaml.required(&fields, "name", "a policy", first_line(node));
    let name = name_node.and_then(|node| {
        let name = yaml.text(node, "`name` of a policy")?;
        parse::name(yaml, name, node.span, "policy")
    });
    // What else is wrong is said too, whatever is wrong with the name.
    let what = name.map_or_else(|| "a policy".to_owned(), |name| format!("policy `{name}`"));
    let at = name_node.map_or_else(|| first_line(node), |node| node.span);
    let place = yaml.place(at);
    let named = named_issuers(yaml, &fields, &what, at, issuers);
    let grants = grants(yaml, &fields, &what, at, credentials);
    let until = match fields.get("until") {
        Some(node) => yaml.time(node, format!("`until` of {what}")).map(Some),
        None => Some(None),
    };
    let when = yaml
        .required(&fields, "when", &what, at)
        .filter(|node| !is_empty(yaml, node, "when", &what));
    for issuer in named.iter().flatten() {
        let about = About::policy(
            &what,
            &issuer.reader,
            named.as_ref().is_some_and(|list| list.len() > 1),
        );
        let blocks = when.and_then(|node| conditions::blocks(yaml, node, &about));
        if let (Some(name), Some(when), Some(until), Some(grants)) = (name, blocks, until, &grants)
        {
            policies.push(Policy {
                name: name.to_owned(),
                issuer: issuer.reader.issuer.name.clone(),
                when,
                until,
                grants: grants.clone(),
                place: place.clone(),
            });
        }
    }
    Some((name?.to_owned(), place))
}

/// Reports a key whose value was left out, with what it looks like.
fn is_empty(yaml: &NodeReader<'_>, node: &Node, key: &str, what: &str) -> bool {
    if !node.is_nothing() {
        return false;
    }
    let message = format!("`{key}` of {what} is empty");
    yaml.error_help("empty", node.span, message, reader::example(key));
    true
}

fn named_issuers<'i>(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    what: &str,
    at: Span,
    issuers: &'i Issuers,
) -> Option<Vec<&'i Issuer>> {
    let node = yaml.required(fields, "issuer", what, at)?;
    let names = yaml.texts(node, format!("`issuer` of {what}"))?;
    let found = names
        .iter()
        .filter_map(|name| issuers.find(yaml, name, node.span));
    Some(found.collect())
}

fn grants(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    what: &str,
    at: Span,
    credentials: &Credentials,
) -> Option<Vec<Grant>> {
    let node = yaml.required(fields, "grant", what, at)?;
    if is_empty(yaml, node, "grant", what) {
        return None;
    }
    let items = yaml.items(node, format!("`grant` of {what}"))?;
    let read: Vec<_> = items
        .iter()
        .map(|item| grant(yaml, item, what, credentials))
        .collect();
    read.into_iter().collect()
}

fn grant(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    credentials: &Credentials,
) -> Option<Grant> {
    let what = format!("a grant of {what}");
    let fields = yaml.fields(node, &what, &["credential", "ttl", "scopes"])?;
    let ttl_node = yaml.required(&fields, "ttl", &what, node.span);
    let place = yaml.place(ttl_node.map_or(node.span, |node| node.span));
    let ttl = ttl_node.and_then(|node| yaml.duration(node, format!("`ttl` of {what}")));
    let name_node = yaml.required(&fields, "credential", &what, node.span)?;
    let name = yaml.text(name_node, format!("`credential` of {what}"))?;
    let Some(credential) = credentials.get(name) else {
        if !credentials.may_exist(name) {
            unknown_credential(yaml, name, name_node.span, credentials);
        }
        return None;
    };
    let scopes = scopes(yaml, &fields, node, credential, &what);
    Some(Grant {
        credential: Arc::clone(credential),
        ttl: ttl?,
        scopes: scopes?,
        place,
    })
}

fn unknown_credential(yaml: &NodeReader<'_>, name: &str, span: Span, credentials: &Credentials) {
    let meant = nearest(name, credentials.names());
    let help = match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "define it under `credentials`".to_owned(),
    };
    yaml.error_help(
        "unknown-credential",
        span,
        format!("unknown credential `{name}`"),
        Some(help),
    );
}

/// Scopes must be said where there are any: leaving them out would grant all.
fn scopes(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    grant: &Node,
    credential: &CredentialDefinition,
    what: &str,
) -> Option<Vec<String>> {
    let known: Vec<_> = credential.scopes().iter().map(String::as_str).collect();
    match fields.get("scopes") {
        None if known.is_empty() => Some(Vec::new()),
        None => {
            let help = format!("`{}` has {}", credential.name, listed(&known));
            yaml.error_help(
                "missing-key",
                grant.span,
                format!("key `scopes` is missing from {what}"),
                Some(help),
            );
            None
        }
        Some(node) if known.is_empty() => {
            yaml.error(
                "scope",
                node.span,
                format!("credential `{}` has no scopes", credential.name),
            );
            None
        }
        Some(node) => {
            let scopes = credentials::scopes(yaml, node, &format!("`scopes` of {what}"))?;
            let strange = scopes.iter().find(|scope| !known.contains(&scope.as_str()));
            let Some(strange) = strange else {
                return Some(scopes);
            };
            let help = match nearest(strange, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("it has {}", listed(&known)),
            };
            let message = format!("credential `{}` has no scope `{strange}`", credential.name);
            yaml.error_help("scope", node.span, message, Some(help));
            None
        }
    }
}

/// The first bytes of a node, for what is missing from it.
fn first_line(node: &Node) -> Span {
    Span {
        start: node.span.start,
        end: node.span.start.saturating_add(1),
    }
}
