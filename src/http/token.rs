//! The token endpoint (RFC 8693): form to `exchange::Request`, credential to JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde_json::Value;

use super::answer::{Answer, Context, Refusal, Reply, Verdict};
use super::form::Form;
use super::request::{self, Repeatable, RequestError};
use super::{Shared, error};
use crate::credential::ExposedMembers;
use crate::credential::kind::{self, Input, KINDS, Kind};
use crate::credential::sealed::{self, RecipientKey, SealError};
use crate::exchange;
use crate::policy::parse::{MAX_NAME, MAX_RESOURCE, is_resource};
use crate::policy::{Ask, Inputs, PolicySet};
use crate::reason::Reason;
use crate::replay::IdempotencyKey;
use crate::token::SubjectToken;
use crate::wire;

/// `POST /token`.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    context: Context,
    Repeatable(key): Repeatable,
    form: Form,
) -> Answer {
    shared.metrics.unknown_parameters(form.unknown());
    let read = read(&shared, &form, key, &context);
    // An exchange does not hold it besides the token (T-01).
    drop(form);
    match read {
        Ok((request, wanted)) => {
            let shape =
                |granted: &_, sealed: Option<&_>| Reply::ok(&form_answer(granted, wanted, sealed));
            grant(&shared, request, shape).await
        }
        Err(error) => error.into(),
    }
}

/// Asks the exchange; `shape` writes what was granted as the endpoint's answer, with the sealed
/// message where one was requested.
pub(super) async fn grant(
    shared: &Shared,
    request: exchange::Request,
    shape: impl FnOnce(&exchange::Granted, Option<&str>) -> Reply + Send,
) -> Answer {
    let (id, recipient) = (request.id.clone(), request.ask.seal_to.clone());
    match shared.exchange.exchange(request).await {
        Ok(granted) => {
            let sealed = recipient.as_ref().map(|key| seal(shared, &granted, key));
            let sealed = match sealed.transpose() {
                Ok(sealed) => sealed,
                Err(error) => return withhold(shared, &granted, &id, error).await.into(),
            };
            let mut reply = shape(&granted, sealed.as_deref());
            reply.verdict = Verdict {
                credential: Some(granted.credential.definition.name.clone()),
                policy: Some(granted.policy.clone()),
                lease: Some(granted.credential.public_id.clone()),
                sealed_to: recipient.map(|key| key.thumbprint().to_owned()),
                ..Verdict::new(Reason::Success)
            };
            reply.into()
        }
        Err(refused) => error::refusal(&refused, shared.disclosure).into(),
    }
}

fn seal(
    shared: &Shared,
    granted: &exchange::Granted,
    recipient: &RecipientKey,
) -> Result<String, SealError> {
    let (keys, expires_at) = (&shared.signing, granted.credential.expires_at);
    let answer = describe(granted, None);
    sealed::seal(&answer, recipient, keys, expires_at, shared.clock.now())
}

/// An answer that could not be sealed is not given unsealed: its credential is revoked.
async fn withhold(
    shared: &Shared,
    granted: &exchange::Granted,
    id: &str,
    error: SealError,
) -> Refusal {
    if let Some(lease) = &granted.credential.lease {
        let revoked = shared.exchange.revoke(lease, id, Duration::ZERO).await;
        if revoked.is_err() {
            // The log of the revocation says so, and the credential expires.
        }
    }
    let mut refusal = Refusal::bug(Reason::BugSeal);
    refusal.verdict.detail = Some(error.to_string());
    refusal
}

fn read(
    shared: &Shared,
    form: &Form,
    key: Option<IdempotencyKey>,
    context: &Context,
) -> Result<(exchange::Request, Option<TokenType>), RequestError> {
    if form.required("grant_type")? != TOKEN_EXCHANGE {
        return Err(RequestError::Grant);
    }
    refuse_actor(form)?;
    let subject_token = form.required("subject_token")?;
    check_size(subject_token, shared.limits.subject_token)?;
    check_type(form.required("subject_token_type")?)?;
    let wanted = form.one("requested_token_type")?;
    let wanted = wanted.map(requested_type).transpose()?;
    let target = TargetParameter::read(form)?;
    let request = exchange::Request {
        id: context.id.as_str().to_owned(),
        subject_token: SubjectToken::new(subject_token.to_owned()),
        ask: Ask {
            credential: target.credential(&shared.exchange.components().policies),
            scopes: form.one("scope")?.map(request::scopes).transpose()?,
            ttl: form.one("ttl")?.map(request::ttl).transpose()?,
            inputs: inputs(form, KINDS.iter().flat_map(|kind| kind.inputs))?,
            seal_to: form
                .one(sealed::PARAMETER)?
                .map(|text| request::recipient(RecipientKey::parse(text.as_bytes())))
                .transpose()?,
        },
        kind: wanted.map(|wanted| wanted.kind.name),
        resource: target.resource.map(str::to_owned),
        key,
        caller: Arc::clone(&context.caller),
    };
    Ok((request, wanted))
}

/// Delegation is nothing we do (T-11).
fn refuse_actor(form: &Form) -> Result<(), RequestError> {
    for parameter in ["actor_token", "actor_token_type"] {
        if form.one(parameter)?.is_some() {
            return Err(RequestError::TokenType {
                parameter,
                problem: "is not accepted: a job acts for itself",
            });
        }
    }
    Ok(())
}

/// A subject token that is too long is refused before any split, decode or copy (T-01).
pub(super) fn check_size(token: &str, limit: usize) -> Result<(), RequestError> {
    if token.len() > limit {
        Err(RequestError::TokenSize { limit })
    } else {
        Ok(())
    }
}

fn check_type(text: &str) -> Result<(), RequestError> {
    if text == ID_TOKEN || text == JWT {
        Ok(())
    } else {
        Err(RequestError::TokenType {
            parameter: "subject_token_type",
            problem: "must be urn:ietf:params:oauth:token-type:id_token or ...:jwt",
        })
    }
}

/// The parameters that are inputs of some kind. Whether the credential takes them is looked at after
/// the permit, so that the answer tells an unrelated caller nothing.
fn inputs<'a>(form: &Form, known: impl Iterator<Item = &'a Input>) -> Result<Inputs, RequestError> {
    let mut inputs = Inputs::new();
    for input in known {
        let value = form.one(input.name).map_err(|error| {
            if matches!(error, RequestError::Encoding { .. }) {
                request::input_line(input)
            } else {
                error
            }
        });
        if let Some(value) = value? {
            inputs.insert(input.name.to_owned(), value.to_owned());
        }
    }
    request::check_inputs(&inputs)?;
    Ok(inputs)
}

/// A token type URI (RFC 8693 section 3) that we issue, and the kind of credential it stands for.
#[derive(Clone, Copy, Debug)]
struct TokenType {
    urn: &'static str,
    kind: &'static Kind,
}

/// What a `requested_token_type` asks for. Whether the credential is of that kind is looked at after
/// the permit, so that the answer tells an unrelated caller nothing.
fn requested_type(text: &str) -> Result<TokenType, RequestError> {
    let known = kind::by_urn(text).map(|(kind, urn)| TokenType { urn, kind });
    known.ok_or(RequestError::TokenType {
        parameter: "requested_token_type",
        problem: "must be urn:ietf:params:oauth:token-type:jwt, ...:access_token or urn:hallpass:credential:KIND",
    })
}

/// The one credential asked for: by its name in `audience`, by the URI it declares in `resource`, or
/// by both (T-79).
#[derive(Clone, Copy, Debug)]
struct TargetParameter<'a> {
    audience: Option<&'a str>,
    resource: Option<&'a str>,
}

impl<'a> TargetParameter<'a> {
    fn read(form: &'a Form) -> Result<Self, RequestError> {
        let audience = match form.all("audience")?.as_slice() {
            [] => None,
            [one] if one.len() <= MAX_NAME => Some(*one),
            [_] => {
                return Err(RequestError::Target(
                    "`audience` is longer than any name of a credential",
                ));
            }
            _ => {
                return Err(RequestError::Target(
                    "`audience` was sent more than once: an exchange is for one credential",
                ));
            }
        };
        let resource = match form.all("resource")?.as_slice() {
            [] => None,
            [one] if one.len() > MAX_RESOURCE => {
                return Err(RequestError::Target(
                    "`resource` is longer than any resource of a credential",
                ));
            }
            [one] if is_resource(one) => Some(*one),
            [_] => {
                return Err(RequestError::Target(
                    "`resource` must be an absolute URI without a fragment; a credential's name goes in `audience`",
                ));
            }
            _ => {
                return Err(RequestError::Target(
                    "`resource` was sent more than once: an exchange is for one credential",
                ));
            }
        };
        if audience.is_none() && resource.is_none() {
            return Err(RequestError::Target(
                "`audience` is missing: it names the one credential wanted",
            ));
        }
        Ok(Self { audience, resource })
    }

    /// The credential's name. A resource that no credential declares stands for itself: no credential
    /// has such a name, so the decision refuses it as any other unknown one.
    fn credential(&self, policies: &PolicySet) -> String {
        let declared = || {
            let uri = self.resource.unwrap_or_default();
            let found = policies.credential_by_resource(uri);
            found.map_or(uri, |credential| &credential.name)
        };
        self.audience.unwrap_or_else(declared).to_owned()
    }
}

/// RFC 8693 section 2.2.1, and our member `hallpass`.
/// `issued_token_type` is what the request asked for by name, since clients compare the two.
fn form_answer<'a>(
    granted: &'a exchange::Granted,
    wanted: Option<TokenType>,
    sealed: Option<&'a str>,
) -> wire::TokenAnswer<&'a str, ExposedMembers<'a>> {
    let (kind, members) = (
        granted.credential.definition.kind,
        &granted.credential.members,
    );
    let scopes = members.get("scopes").and_then(Value::as_array);
    let scope = scopes.map(|scopes| {
        let scopes: Vec<&str> = scopes.iter().filter_map(Value::as_str).collect();
        scopes.join(" ")
    });
    let unsealed = (
        members.secret().expose().as_str(),
        wanted.map_or(kind.urn, |wanted| wanted.urn),
        kind.token_type,
    );
    let (access_token, issued_token_type, token_type) = match sealed {
        Some(message) => (message, sealed::URN, sealed::TOKEN_TYPE),
        None => unsealed,
    };
    wire::TokenAnswer {
        access_token,
        issued_token_type: issued_token_type.to_owned(),
        token_type: token_type.to_owned(),
        expires_in: granted.expires_in,
        scope,
        hallpass: describe(granted, sealed),
    }
}

/// The member `hallpass` of the form's answer, and the whole answer of the JSON endpoint. With a
/// sealed message, that stands in place of the secret members.
pub(super) fn describe<'a>(
    granted: &'a exchange::Granted,
    sealed: Option<&'a str>,
) -> wire::CredentialAnswer<&'a str, ExposedMembers<'a>> {
    let credential = &granted.credential;
    let definition = &credential.definition;
    let mut members = credential.members.expose();
    if let Some(message) = sealed {
        sealed::replace_secrets(definition.kind, &mut members, message);
    }
    members.insert("kind", definition.kind.name);
    members.insert("name", &definition.name);
    wire::CredentialAnswer {
        credential: members,
        expires_at: credential.expires_at.to_string(),
        lease: credential
            .lease
            .as_ref()
            .map(|lease| lease.expose().as_str()),
        policy: granted.policy.clone(),
        policy_url: granted.policy_url.clone(),
        policies_revision: granted.revision.clone(),
        decision: granted.decision.clone(),
        shared: granted.is_shared,
    }
}

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Input = Input {
        is_list: false,
        name: "scope",
        summary: "any parameter will do here",
        required: false,
        longest: 100,
        check: |_| Ok(()),
    };

    /// T-160
    #[test]
    fn a_parameter_that_a_kind_names_is_an_input_once_and_in_printable_ascii() {
        let read = |body: &str| {
            let form = Form::parse(body.as_bytes()).unwrap();
            inputs(&form, [SESSION].iter()).map_err(|error| error.to_string())
        };
        let one = Inputs::from([("scope".to_owned(), "a b".to_owned())]);
        assert_eq!(read("scope=a+b&colour=red"), Ok(one));
        assert_eq!(read("scope=&colour=red"), Ok(Inputs::new()));
        for body in ["scope=a&scope=b", "scope=a%0a", "scope=%c3%a4"] {
            assert!(read(body).is_err(), "{body}");
        }
        let long = format!("scope={}", "a".repeat(16_385));
        insta::assert_snapshot!(read(&long).unwrap_err(), @"an input is longer than 16384 bytes, its name is longer than 64, or there are more than 16 inputs");
    }
}
