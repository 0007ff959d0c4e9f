//! Trust policies of AWS IAM roles for tokens of a CI (`sts:AssumeRoleWithWebIdentity`).

use serde_json::{Map, Value};

use super::condition::{Lines, Wanted, blocks, both};
use super::draft::{CredentialDraft, Draft, PolicyDraft};
use super::subject::subject;
use super::{File, Target, life, life_note, object};
use crate::cli::Failure;
use crate::yaml::duration;
use crate::yaml::scalar::scalar;

/// The draft of a role: one policy per statement that lets jobs in.
pub(super) fn draft(file: &File, target: &Target) -> Result<Draft, Failure> {
    let wrong = |what: &str| Failure::Local(format!("`{}` {what}", file.path()));
    let json: Value = serde_json::from_str(&file.text)
        .map_err(|error| wrong(&format!("is not JSON: {error}")))?;
    let role = json.get("Role").unwrap_or(&json);
    let document = role.get("AssumeRolePolicyDocument").unwrap_or(role);
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) => statements.clone(),
        Some(Value::Object(one)) => vec![Value::Object(one.clone())],
        _ => {
            return Err(wrong(
                "has no `Statement`; save the role with `aws iam get-role --role-name NAME`",
            ));
        }
    };
    let name = role
        .get("RoleName")
        .and_then(Value::as_str)
        .unwrap_or(&file.name)
        .to_owned();
    let ttl = role
        .get("MaxSessionDuration")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let mut draft = Draft {
        source: format!("the trust policy of the AWS role `{name}`"),
        ..Draft::default()
    };
    let credential = target.credential.clone().unwrap_or_else(|| {
        draft.credentials.push(token_for_aws(&name, role, ttl));
        name.clone()
    });
    for (number, statement) in (1_usize..).zip(&statements) {
        let Some(statement) = statement.as_object() else {
            draft
                .lost
                .push(format!("statement {number} is not an object"));
            continue;
        };
        let host = match issuer_host(statement) {
            Ok(host) => host,
            Err(reason) => {
                draft.lost.push(format!("statement {number}: {reason}"));
                continue;
            }
        };
        draft.policies.push(PolicyDraft {
            name: if number == 1 {
                name.clone()
            } else {
                format!("{name}-{number}")
            },
            issuer: target.issuer.clone(),
            notes: life_note(ttl).into_iter().collect(),
            when: conditions(statement, &host, target),
            grants: vec![(credential.clone(), life(ttl))],
        });
    }
    Ok(draft)
}

/// A token of ours that AWS takes for the role.
fn token_for_aws(name: &str, role: &Value, ttl: u64) -> CredentialDraft {
    let arn = role
        .get("Arn")
        .and_then(Value::as_str)
        .unwrap_or("the role");
    CredentialDraft {
        name: name.to_owned(),
        notes: vec![
            format!("add the broker as an OIDC provider in AWS, and let {arn} trust it alone:"),
            format!("its `sub` is `credential/{name}`, its `aud` is `sts.amazonaws.com`"),
        ],
        lines: vec![
            ("kind", "jwt".to_owned()),
            ("audience", "sts.amazonaws.com".to_owned()),
            ("max_ttl", duration::print(life(ttl))),
            ("owner", "CHANGE_ME".to_owned()),
            ("purpose", scalar(&format!("sessions of {arn}"))),
            ("class", "moderate".to_owned()),
        ],
    }
}

/// The issuer of the jobs that a statement lets in, without `https://`, as its keys begin.
fn issuer_host(statement: &Map<String, Value>) -> Result<String, String> {
    if statement.get("Effect").and_then(Value::as_str) != Some("Allow") {
        return Err(
            "it denies, and hallpass has no such rule; say under `require:` what must hold"
                .to_owned(),
        );
    }
    let actions = texts(statement.get("Action"));
    let is_web = |action: &String| {
        action == "sts:AssumeRoleWithWebIdentity" || action == "sts:*" || action == "*"
    };
    if !actions.iter().any(is_web) {
        return Err(format!(
            "it allows {}, which is not for tokens of a CI",
            actions.join(", ")
        ));
    }
    let principals = statement
        .get("Principal")
        .and_then(|principal| principal.get("Federated"));
    match texts(principals).as_slice() {
        [one] => one
            .split_once(":oidc-provider/")
            .map(|(_, host)| host.to_owned())
            .ok_or_else(|| format!("it trusts `{one}`, which is no OIDC provider")),
        [] => Err("it trusts no OIDC provider".to_owned()),
        [..] => Err("it trusts several OIDC providers; import one at a time".to_owned()),
    }
}

/// Every condition of a statement.
fn conditions(
    statement: &Map<String, Value>,
    host: &str,
    target: &Target,
) -> Result<Vec<Lines>, String> {
    target.check_issuer(&format!("https://{host}"))?;
    let provider = target.provider;
    let mut all = vec![Lines::new()];
    for (operator, keys) in &object(statement.get("Condition"), "Condition")? {
        for (key, values) in &object(Some(keys), operator)? {
            let values = texts(Some(values));
            let wanted: Vec<_> = values
                .iter()
                .map(|value| compared(operator, value))
                .collect::<Result<_, _>>()?;
            let of_issuer = key.strip_prefix(host).and_then(|key| key.strip_prefix(':'));
            let Some(claim) = of_issuer else {
                return Err(format!(
                    "it compares `{key}`, which no token of `{host}` has"
                ));
            };
            let more = match claim {
                // The broker checks the audience of every token.
                "aud" => continue,
                "sub" => wanted
                    .iter()
                    .map(|one| subject(provider, one))
                    .collect::<Result<Vec<_>, _>>()?,
                claim => blocks(provider, claim, &wanted)?,
            };
            all = both(&all, &more)?;
        }
    }
    Ok(all)
}

/// A value as its operator compares it.
fn compared(operator: &str, value: &str) -> Result<Wanted, String> {
    let plain = operator.strip_prefix("ForAnyValue:").unwrap_or(operator);
    match plain {
        "StringEquals" | "Bool" => Ok(Wanted::Exact(value.to_owned())),
        "StringLike" if value.contains('?') => Err(format!(
            "`?` in `{value}` is any one character, which our globs lack"
        )),
        "StringLike" => Ok(Wanted::with_stars(value)),
        "StringEqualsIgnoreCase" => Err(format!(
            "`{operator}` ignores case, and hallpass compares bytes"
        )),
        _ if plain.contains("Not")
            || plain.ends_with("IfExists")
            || plain.starts_with("ForAllValues:") =>
        {
            Err(format!(
                "`{operator}` also lets tokens in that do not have the claim"
            ))
        }
        _ => Err(format!("hallpass has nothing like `{operator}`")),
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Bool(truth)) => vec![truth.to_string()],
        Some(Value::Array(values)) => values.iter().flat_map(|value| texts(Some(value))).collect(),
        _ => Vec::new(),
    }
}
