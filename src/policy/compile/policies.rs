//! `policies:` who may have what. One policy per issuer that an entry names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::conditions::{self, About};
use super::credentials::{self, Credentials};
use super::each::Expansion;
use super::issuers::Issuers;
use super::teams::{Team, Teams};
use super::time::Zone;
use super::{PolicyIssuer, taken};
use crate::clock::Timestamp;
use crate::policy::parse::{self, Raw, Realm};
use crate::policy::{CredentialDefinition, Grant, Policy};
use crate::yaml::diagnostic::{Place, Problems, Span, nearest};
use crate::yaml::reader::{self, Fields, NodeReader, listed};
use crate::yaml::{Node, duration};

/// What policies refer to.
pub(super) struct Parts<'a> {
    pub(super) issuers: &'a Issuers,
    pub(super) credentials: &'a Credentials,
    pub(super) teams: &'a Teams,
    pub(super) zone: &'a Zone,
}

/// Every policy of all files.
pub(super) fn compile(
    raws: &[Raw],
    parts: &Parts<'_>,
    expansion: &Expansion<'_>,
    problems: &Problems,
) -> Vec<Policy> {
    let mut policies = Vec::new();
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    for raw in raws {
        for template in &raw.policies {
            let yaml = NodeReader::new(&raw.source, problems);
            expansion.items(&yaml, raw.realm, template, |node, row| {
                let yaml = NodeReader::new(&raw.source, problems).in_row(row);
                let Some((name, place)) = policy(&yaml, node, raw.realm, parts, &mut policies)
                else {
                    return;
                };
                if let Some(first) = names.get(&name) {
                    problems.push(taken("policy", &name, place, first));
                } else {
                    names.insert(name, place);
                }
            });
        }
    }
    policies
}

/// Reads one entry to the end, whatever is wrong with its beginning; its name if it has one.
fn policy(
    yaml: &NodeReader<'_>,
    node: &Node,
    realm: Realm,
    parts: &Parts<'_>,
    policies: &mut Vec<Policy>,
) -> Option<(String, Place)> {
    let keys = ["name", "issuer", "when", "until", "shadow_until", "grant"];
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
    if let Some(name) = name {
        parts.teams.check_name(yaml, realm, "policy", name, at);
    }
    let team = parts.teams.of(realm);
    let named = named_issuers(yaml, &fields, &what, at, parts.issuers);
    if let (Some(team), Some(node)) = (team, fields.get("issuer")) {
        check_issuers(yaml, node, team, named.as_deref().unwrap_or_default());
    }
    let grants = grants(yaml, &fields, &what, at, parts, realm);
    let until = time(yaml, &fields, "until", &what);
    let shadow_until = time(yaml, &fields, "shadow_until", &what);
    let when = yaml
        .required(&fields, "when", &what, at)
        .filter(|node| !is_empty(yaml, node, "when", &what));
    for issuer in named.iter().flatten() {
        let about = About::policy(
            &what,
            &issuer.reader,
            named.as_ref().is_some_and(|list| list.len() > 1),
            parts.zone,
        );
        let blocks = when.and_then(|node| conditions::blocks(yaml, node, &about));
        if let (Some(name), Some(when), Some(grants)) = (name, blocks, &grants) {
            policies.push(Policy {
                name: name.to_owned(),
                issuer: issuer.reader.issuer.name.clone(),
                when,
                within: team.map(|team| Arc::clone(&team.jobs)),
                until,
                shadow_until,
                grants: grants.clone(),
                place: place.clone(),
            });
        }
    }
    Some((name?.to_owned(), place))
}

/// The time of a key, if it is given and right.
pub(super) fn time(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    key: &str,
    what: &str,
) -> Option<Timestamp> {
    yaml.time(fields.get(key)?, format!("`{key}` of {what}"))
}

/// Reports issuers whose jobs are not the team's: the policy would never match.
fn check_issuers(yaml: &NodeReader<'_>, node: &Node, team: &Team, named: &[&PolicyIssuer]) {
    for issuer in named {
        let name = &issuer.reader.issuer.name;
        if !team.issuers.contains(name) {
            let message = format!("issuer `{name}` is not one of team `{}`", team.name);
            let help = format!("its jobs are limited at {}", team.jobs_place);
            yaml.error_help("team-issuer", node.span, message, Some(help));
        }
    }
}

/// Reports a grant that the team may not give (T-120).
fn check_grant(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    credential: &CredentialDefinition,
    ttl: Option<Duration>,
    parts: &Parts<'_>,
    realm: Realm,
) {
    let Some(team) = parts.teams.of(realm) else {
        return;
    };
    let name = &credential.name;
    let span = |key: &str| fields.get(key).map_or(fields.span(), |node| node.span);
    if parts.credentials.realm_of(name) != Some(realm) && !team.borrows(name) {
        let message = format!("team `{}` may not grant credential `{name}`", team.name);
        let help = format!(
            "it may grant what its own files define, and what `borrows` lists; the team is defined at {}",
            team.place
        );
        yaml.error_help("team-grant", span("credential"), message, Some(help));
    }
    if let (Some(ttl), Some((most, limit))) = (ttl, &team.may.max_ttl)
        && ttl > *most
    {
        let [ttl, most] = [ttl, *most].map(duration::print);
        let message = format!(
            "`ttl` is {ttl}, team `{}` may grant at most {most}",
            team.name
        );
        let help = format!("the limit is at {limit}");
        yaml.error_help("team-ttl", span("ttl"), message, Some(help));
    }
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
) -> Option<Vec<&'i PolicyIssuer>> {
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
    parts: &Parts<'_>,
    realm: Realm,
) -> Option<Vec<Grant>> {
    let node = yaml.required(fields, "grant", what, at)?;
    if is_empty(yaml, node, "grant", what) {
        return None;
    }
    let items = yaml.items(node, format!("`grant` of {what}"))?;
    let read: Vec<_> = items
        .iter()
        .map(|item| grant(yaml, item, what, parts, realm))
        .collect();
    read.into_iter().collect()
}

fn grant(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    parts: &Parts<'_>,
    realm: Realm,
) -> Option<Grant> {
    let credentials = parts.credentials;
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
    check_grant(yaml, &fields, credential, ttl, parts, realm);
    if let (Some(node), Some(ttl)) = (ttl_node, ttl) {
        let what = format!("`ttl` of {what}");
        credentials::check_shortest(yaml, node, &what, ttl, credential.kind);
    }
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
    let message = format!("unknown credential `{name}`");
    let known = credentials.names();
    yaml.error_instead("unknown-credential", span, (message, help), name, known);
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
