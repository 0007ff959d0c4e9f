//! The JSON endpoint: the same exchange as the token endpoint, asked and answered in JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Request, State};

use super::answer::{Answer, Context, Reply};
use super::request::{self, RequestError};
use super::{Shared, body, token};
use crate::credential::kind;
use crate::credential::sealed::{self, RecipientKey, RecipientKeyError};
use crate::exchange;
use crate::policy::parse::MAX_NAME;
use crate::policy::{Ask, Inputs};
use crate::replay::IdempotencyKey;
use crate::text::is_printable;
use crate::token::SubjectToken;
use crate::token::json::{self, Object, Value};

/// `POST /api/credentials`.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    context: Context,
    asked: Asked,
) -> Answer {
    let shape = |granted: &_, sealed: Option<&str>| Reply::ok(&token::describe(granted, sealed));
    match read(asked, &context) {
        Ok(request) => token::grant(&shared, request, shape).await,
        Err(error) => error.into(),
    }
}

fn read(asked: Asked, context: &Context) -> Result<exchange::Request, RequestError> {
    let credential = asked.credential.ok_or(RequestError::Target(
        "member `credential` is missing: it names the one credential wanted",
    ))?;
    Ok(exchange::Request {
        id: context.id.as_str().to_owned(),
        subject_token: asked.subject_token,
        ask: Ask {
            credential,
            scopes: asked.scopes,
            ttl: asked.ttl,
            inputs: asked.inputs,
            seal_to: asked.seal_to,
        },
        kind: None,
        resource: None,
        key: asked.key,
        caller: Arc::clone(&context.caller),
    })
}

/// The request of a JSON endpoint.
pub(super) struct Asked {
    pub(super) subject_token: SubjectToken,
    pub(super) credential: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) ttl: Option<Duration>,
    pub(super) inputs: Inputs,
    pub(super) seal_to: Option<Arc<RecipientKey>>,
    pub(super) key: Option<IdempotencyKey>,
}

impl FromRequest<Arc<Shared>> for Asked {
    type Rejection = RequestError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, RequestError> {
        let (parts, body) = request.into_parts();
        request::no_query(&parts)?;
        request::media_type(&parts.headers, "application/json")?;
        let subject_token = request::bearer(&parts.headers)?;
        token::check_size(subject_token, shared.limits.subject_token)?;
        let key = request::idempotency_key(&parts.headers)?;
        let bytes = body::read(body, shared.limits.body).await?;
        let object = json::parse_object(&bytes, &LIMITS)
            .map_err(|error| RequestError::Json(error.to_string()))?;
        refuse_unknown(&object)?;
        Ok(Self {
            subject_token: SubjectToken::new(subject_token.to_owned()),
            credential: object.get("credential").map(credential).transpose()?,
            scopes: object.get("scopes").map(scopes).transpose()?,
            ttl: object.get("ttl").map(ttl).transpose()?,
            inputs: object.get("inputs").map_or(Ok(Inputs::new()), inputs)?,
            seal_to: object.get(sealed::PARAMETER).map(recipient).transpose()?,
            key,
        })
    }
}

/// The form's unknown parameters are ignored as OAuth demands; here a misspelt `ttl` is an error.
fn refuse_unknown(object: &Object) -> Result<(), RequestError> {
    if object.iter().all(|(name, _)| MEMBERS.contains(&name)) {
        Ok(())
    } else {
        Err(RequestError::Json(
            "it has a member other than credential, ttl, scopes, inputs and response_encryption_jwk".to_owned(),
        ))
    }
}

fn credential(value: &Value) -> Result<String, RequestError> {
    let text = value.as_text().ok_or(RequestError::Target(
        "member `credential` must be text: the name of one credential",
    ))?;
    match text {
        "" => Err(RequestError::Target(
            "member `credential` is empty: it names the one credential wanted",
        )),
        _ if text.len() > MAX_NAME => Err(RequestError::Target(
            "member `credential` is longer than any name of a credential",
        )),
        _ if !is_printable(text) => Err(RequestError::Encoding {
            parameter: Some("credential"),
        }),
        _ => Ok(text.to_owned()),
    }
}

fn scopes(value: &Value) -> Result<Vec<String>, RequestError> {
    let Value::List(entries) = value else {
        return Err(RequestError::Json(
            "member `scopes` must be a list of texts".to_owned(),
        ));
    };
    let scopes = entries.iter().map(|entry| {
        let text = entry.as_text().ok_or(RequestError::Scope)?;
        request::scope(text)
    });
    request::some_scopes("scopes", scopes)
}

fn inputs(value: &Value) -> Result<Inputs, RequestError> {
    let Value::Object(object) = value else {
        return Err(RequestError::InputText);
    };
    let mut inputs = Inputs::new();
    for (name, value) in object.iter() {
        let value = value.as_text().ok_or(RequestError::InputText)?;
        if !is_printable(value) {
            let known = kind::input(name).map(request::input_line);
            return Err(known.unwrap_or(RequestError::InputText));
        }
        if !is_printable(name) {
            return Err(RequestError::InputText);
        }
        inputs.insert(name.to_owned(), value.to_owned());
    }
    request::check_inputs(&inputs)?;
    Ok(inputs)
}

fn recipient(value: &Value) -> Result<Arc<RecipientKey>, RequestError> {
    request::recipient(match value {
        Value::Object(key) => RecipientKey::of(key),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
            Err(RecipientKeyError::NotAnObject)
        }
    })
}

fn ttl(value: &Value) -> Result<Duration, RequestError> {
    match value {
        Value::Text(text) => request::ttl(text),
        Value::Number(number) => request::ttl(number.literal()),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Object(_) => Err(RequestError::Ttl),
    }
}

/// Five members, one of them a list and two objects: far less than a token or a key set may hold.
const LIMITS: json::Limits = json::Limits {
    depth: 4,
    values: 512,
    ..json::Limits::for_bytes(256 << 10)
};
const MEMBERS: [&str; 5] = ["credential", "ttl", "scopes", "inputs", sealed::PARAMETER];
