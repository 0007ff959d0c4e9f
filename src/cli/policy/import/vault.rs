//! Roles of the JWT auth method of Vault and OpenBao, with their policies and database roles.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::condition::{Line, Lines, Wanted, blocks, both};
use super::draft::{CredentialDraft, Draft, PolicyDraft};
use super::subject::subject;
use super::{File, Target, life, life_note, object};
use crate::cli::Failure;
use crate::policy::Subject;
use crate::policy::pattern::Pattern;
use crate::provider::Provider;
use crate::yaml::duration;
use crate::yaml::scalar::scalar;

/// The draft of a role and what its policies allow.
pub(super) fn draft(files: &[File], target: &Target) -> Result<Draft, Failure> {
    let mut role = None;
    let mut policies = Vec::new();
    let mut databases = BTreeMap::new();
    for file in files {
        match Kind::of(file)? {
            Kind::Role(fields) if role.is_none() => role = Some((file, fields)),
            Kind::Role(_) => {
                return Err(Failure::Usage(format!(
                    "`{}` is a second JWT role; import one role at a time",
                    file.path()
                )));
            }
            Kind::Policy(rules) => policies.push((file.name.clone(), rules)),
            Kind::Database(fields) => {
                databases.insert(file.name.clone(), fields);
            }
        }
    }
    let Some((file, role)) = role else {
        return Err(Failure::Usage(
            "none of the files is a JWT role; save one with `vault read -format=json auth/jwt/role/NAME`".to_owned(),
        ));
    };
    if role.get("role_type").and_then(Value::as_str) == Some("oidc") {
        return Err(Failure::Usage(format!(
            "`{}` is a role for people (`role_type: oidc`), expected `jwt`",
            file.path()
        )));
    }
    let mut draft = Draft {
        source: format!("the JWT role `{}` of Vault or OpenBao", file.name),
        ..Draft::default()
    };
    let ttl = seconds(&role, "token_ttl");
    let mut grants = Vec::new();
    if let Some(credential) = &target.credential {
        grants.push((credential.clone(), life(ttl)));
    } else {
        check_policies(&role, &policies, &mut draft);
        for (_, rules) in &policies {
            for (path, capabilities) in rules {
                grants.extend(database_login(path, capabilities, &databases, &mut draft));
            }
        }
    }
    let provider = target.provider;
    let mut notes = audience_note(&role);
    notes.extend(life_note(ttl));
    draft.policies.push(PolicyDraft {
        name: file.name.clone(),
        issuer: target.issuer.clone(),
        notes,
        when: conditions(&role, provider),
        grants,
    });
    Ok(draft)
}

/// Paths and their capabilities.
type Rules = Vec<(String, Vec<String>)>;

/// What a file is, by what it holds.
enum Kind {
    Role(Map<String, Value>),
    Policy(Rules),
    Database(Map<String, Value>),
}

impl Kind {
    fn of(file: &File) -> Result<Self, Failure> {
        let Ok(json) = serde_json::from_str::<Value>(&file.text) else {
            return Ok(Self::Policy(rules(file, &file.text)?));
        };
        let data = json.get("data").unwrap_or(&json);
        let fields = data.as_object().cloned().unwrap_or_default();
        if let Some(text) = fields.get("policy").and_then(Value::as_str) {
            return Ok(Self::Policy(rules(file, text)?));
        }
        if fields.contains_key("path") {
            return Ok(Self::Policy(paths(file, &Value::Object(fields))?));
        }
        if fields.contains_key("creation_statements") {
            return Ok(Self::Database(fields));
        }
        if fields.contains_key("user_claim") || fields.contains_key("bound_claims") {
            return Ok(Self::Role(fields));
        }
        Err(Failure::Local(format!(
            "`{}` is none of: a JWT role (`user_claim`), a policy (`path`), a database role (`creation_statements`)",
            file.path()
        )))
    }
}

fn rules(file: &File, text: &str) -> Result<Rules, Failure> {
    let body: Value = hcl::from_str(text).map_err(|error| {
        Failure::Local(format!(
            "`{}` is neither JSON nor HCL: {error}",
            file.path()
        ))
    })?;
    paths(file, &body)
}

/// The paths of a policy. A path that is written twice is a list of two.
fn paths(file: &File, body: &Value) -> Result<Rules, Failure> {
    let Some(paths) = body.get("path").and_then(Value::as_object) else {
        return Err(Failure::Local(format!(
            "`{}` has no `path \"…\" {{ capabilities = […] }}`",
            file.path()
        )));
    };
    let mut found = Vec::new();
    for (path, rules) in paths {
        let rules = rules
            .as_array()
            .map_or_else(|| vec![rules], |rules| rules.iter().collect());
        for rule in rules {
            let texts = |key: &str| texts(rule.get(key).unwrap_or(&Value::Null));
            let mut capabilities = texts("capabilities");
            capabilities.extend(texts("policy"));
            found.push((path.clone(), capabilities));
        }
    }
    Ok(found)
}

/// Notes the policies of the role that were not given, and those given that it does not have.
fn check_policies(role: &Map<String, Value>, given: &[(String, Rules)], draft: &mut Draft) {
    let named = ["token_policies", "policies"]
        .iter()
        .flat_map(|key| texts(role.get(*key).unwrap_or(&Value::Null)));
    let mut named: Vec<_> = named.filter(|name| name != "default").collect();
    named.dedup();
    for name in named
        .iter()
        .filter(|name| given.iter().all(|(given, _)| given != *name))
    {
        draft.lost.push(format!(
            "policy `{name}` of the role was not given; save it with `vault policy read {name} > {name}.hcl`"
        ));
    }
    for (name, _) in given.iter().filter(|(name, _)| !named.contains(name)) {
        draft.lost.push(format!(
            "`{name}` is not a policy of the role; imported anyway"
        ));
    }
}

/// The login that a path hands out, as a credential of ours.
fn database_login(
    path: &str,
    capabilities: &[String],
    databases: &BTreeMap<String, Map<String, Value>>,
    draft: &mut Draft,
) -> Option<(String, Duration)> {
    if ["auth/token/", "sys/leases/", "sys/capabilities"]
        .iter()
        .any(|own| path.starts_with(own))
    {
        // Vault's own tokens and leases: a client of hallpass needs no right for either.
        return None;
    }
    let shown = format!("`{path}` ({})", capabilities.join(", "));
    if capabilities.iter().any(|capability| capability == "deny") {
        draft.lost.push(format!(
            "{shown}: hallpass has no rule that denies; what no policy grants is refused"
        ));
        return None;
    }
    let parts: Vec<_> = path.split('/').collect();
    let name = match parts.as_slice() {
        [.., "creds", name] if !name.is_empty() && !path.contains(['*', '+']) => *name,
        [.., "creds", _] => {
            draft.lost.push(format!(
                "{shown}: a policy of hallpass names each credential; import them one by one"
            ));
            return None;
        }
        [.., "sign", _] => {
            draft.lost.push(format!(
                "{shown}: write a credential of kind `ssh`, see docs/ssh.md"
            ));
            return None;
        }
        ["identity", "oidc", "token", _] => {
            draft.lost.push(format!(
                "{shown}: write a credential of kind `jwt` with its audience"
            ));
            return None;
        }
        _ => {
            draft
                .lost
                .push(format!("{shown}: hallpass issues nothing of this kind"));
            return None;
        }
    };
    let database = databases.get(name);
    let ttl = database.map_or(0, |fields| seconds(fields, "default_ttl"));
    let longest = database.map_or(0, |fields| seconds(fields, "max_ttl"));
    let (target, group, mut notes) = match database {
        Some(fields) => {
            let statements =
                texts(fields.get("creation_statements").unwrap_or(&Value::Null)).join("; ");
            let target = fields
                .get("db_name")
                .and_then(Value::as_str)
                .unwrap_or(name);
            (target.to_owned(), group(&statements), Vec::new())
        }
        None => (
            name.to_owned(),
            None,
            vec![format!(
                "the database role was not given; save it with `vault read -format=json database/roles/{name} > {name}.json`"
            )],
        ),
    };
    if group.is_none() {
        notes.push(
            "logins get their rights from a group; make one with the rights of the role's statements, and name it"
                .to_owned(),
        );
    }
    draft.credentials.push(CredentialDraft {
        name: name.to_owned(),
        notes,
        lines: vec![
            ("kind", "postgres".to_owned()),
            ("target", scalar(&target)),
            (
                "database",
                format!("{} # not in Vault's role", scalar(&target)),
            ),
            (
                "group",
                scalar(&group.unwrap_or_else(|| format!("{name}_CHANGE_ME"))),
            ),
            ("max_ttl", duration::print(life(longest.max(ttl)))),
            ("owner", "CHANGE_ME".to_owned()),
            (
                "purpose",
                scalar(&format!("imported from Vault's `{path}`")),
            ),
            ("class", "moderate".to_owned()),
        ],
    });
    Some((name.to_owned(), life(ttl)))
}

/// The one group that the statements put a login into.
fn group(statements: &str) -> Option<String> {
    let words: Vec<_> = statements
        .split(|c: char| c.is_whitespace() || c == ';')
        .filter(|word| !word.is_empty())
        .collect();
    let groups = words.windows(4).filter_map(|window| match window {
        [grant, group, to, login]
            if grant.eq_ignore_ascii_case("grant")
                && to.eq_ignore_ascii_case("to")
                && login.contains("{{name}}") =>
        {
            Some(*group)
        }
        [of, role, group, _]
            if of.eq_ignore_ascii_case("in") && role.eq_ignore_ascii_case("role") =>
        {
            Some(*group)
        }
        _ => None,
    });
    let mut groups: Vec<_> = groups
        .map(|group| group.trim_matches('"').to_owned())
        .collect();
    groups.dedup();
    match (groups.len(), groups.pop()) {
        (1, one) => one,
        _ => None,
    }
}

/// Every condition of the role.
fn conditions(
    role: &Map<String, Value>,
    provider: &'static Provider,
) -> Result<Vec<Lines>, String> {
    let cidrs = role.get("token_bound_cidrs").unwrap_or(&Value::Null);
    if !cidrs.is_null() && *cidrs != Value::Array(Vec::new()) {
        return Err(format!(
            "`token_bound_cidrs` is {cidrs}, and hallpass would not check it"
        ));
    }
    let is_glob = match role.get("bound_claims_type").and_then(Value::as_str) {
        None | Some("" | "string") => false,
        Some("glob") => true,
        Some(other) => {
            return Err(format!(
                "`bound_claims_type` is `{other}`, expected `string` or `glob`"
            ));
        }
    };
    let wanted = |text: &str| {
        if is_glob {
            Wanted::with_stars(text)
        } else {
            Wanted::Exact(text.to_owned())
        }
    };
    let mut all = vec![Lines::new()];
    if let Some(text) = bound_subject(role)? {
        all = both(&all, &[subject(provider, &Wanted::Exact(text.to_owned()))?])?;
    }
    for (claim, value) in &object(role.get("bound_claims"), "bound_claims")? {
        let values = texts(value);
        if values.is_empty() {
            return Err(format!(
                "`bound_claims` compares `{claim}` with {value}, expected text or a list of texts"
            ));
        }
        let values: Vec<_> = values.iter().map(|text| wanted(text)).collect();
        let name = claim.strip_prefix('/').unwrap_or(claim);
        let more = match name {
            "sub" => values
                .iter()
                .map(|one| subject(provider, one))
                .collect::<Result<Vec<_>, _>>()?,
            nested if nested.contains('/') => vec![at(claim, &values)?],
            name => blocks(provider, name, &values)?,
        };
        all = both(&all, &more)?;
    }
    Ok(all)
}

/// The `sub` that the role wants.
fn bound_subject(role: &Map<String, Value>) -> Result<Option<&str>, String> {
    match role.get("bound_subject") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(format!("`bound_subject` is {other}, expected text")),
    }
}

/// A claim within another, by the JSON pointer that Vault has for it too.
fn at(pointer: &str, values: &[Wanted]) -> Result<Lines, String> {
    match values {
        [Wanted::Exact(text)] => {
            let subject = Subject::Claim(pointer.to_owned());
            Ok(vec![Line::new(subject, Pattern::Exact(text.clone()))])
        }
        _ => Err(format!(
            "`{pointer}` is a claim within a claim: write its pattern by hand"
        )),
    }
}

fn audience_note(role: &Map<String, Value>) -> Vec<String> {
    let audiences = texts(role.get("bound_audiences").unwrap_or(&Value::Null));
    if audiences.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "the audience there was {}; jobs now ask their CI for the broker's URL",
        audiences.join(", ")
    )]
}

fn seconds(fields: &Map<String, Value>, key: &str) -> u64 {
    match fields.get(key) {
        Some(Value::Number(number)) => number.as_u64().unwrap_or_default(),
        Some(Value::String(text)) => duration::parse(text)
            .map_or_else(|_| text.parse().unwrap_or_default(), |life| life.as_secs()),
        _ => 0,
    }
}

/// A text, or a list of texts. A boolean counts as its word: Vault compares it so.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Bool(truth) => vec![truth.to_string()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Null | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}
