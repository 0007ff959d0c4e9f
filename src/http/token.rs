//! The token endpoint (RFC 8693): form to `exchange::Request`, credential to JSON.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Context, Fault, Verdict};
use super::form::Form;
use super::request::{self, RequestError};
use super::{Shared, body, error};
use crate::credential::Material;
use crate::exchange;
use crate::policy::parse::{MAX_NAME, MAX_RESOURCE, is_resource};
use crate::policy::{Ask, PolicySet};
use crate::token::SubjectToken;

/// `POST /token`.
pub(super) async fn post(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let context = Context::of(&request);
    let answer = match read(&shared, request, &context).await {
        Ok((request, wanted)) => {
            let shape = |granted: &_| form_answer(granted, wanted);
            grant(&shared, request, shape).await
        }
        Err(error) => error.into(),
    };
    answer.into_response(&context.id)
}

/// Asks the exchange; `shape` writes what was granted as the door's answer.
pub(super) async fn grant(
    shared: &Shared,
    request: exchange::Request,
    shape: impl FnOnce(&exchange::Granted) -> Map<String, Value> + Send,
) -> Answer {
    match shared.exchange.exchange(request).await {
        Ok(granted) => {
            let mut answer = Answer::ok(shape(&granted));
            answer.verdict = Verdict {
                credential: Some(granted.credential.definition.name.clone()),
                policy: Some(granted.policy.clone()),
                lease: Some(granted.credential.public_id.clone()),
                ..Verdict::new("ok", Fault::Nobody)
            };
            answer
        }
        Err(refused) => error::answer(&refused, shared.disclosure),
    }
}

async fn read(
    shared: &Shared,
    request: Request,
    context: &Context,
) -> Result<(exchange::Request, Option<TokenType>), RequestError> {
    let (parts, body) = request.into_parts();
    if parts.uri.query().is_some() {
        return Err(RequestError::Query);
    }
    request::media_type(&parts.headers, FORM)?;
    let key = request::idempotency_key(&parts.headers)?;
    let bytes = body::read(body, shared.limits.body).await?;
    let form = Form::parse(&bytes)?;
    shared.metrics.unknown_parameters(form.unknown());
    if form.required("grant_type")? != TOKEN_EXCHANGE {
        return Err(RequestError::Grant);
    }
    refuse_actor(&form)?;
    let subject_token = form.required("subject_token")?;
    check_size(subject_token, shared.limits.subject_token)?;
    check_type(form.required("subject_token_type")?)?;
    let wanted = form.one("requested_token_type")?;
    let wanted = wanted.map(requested_type).transpose()?;
    let target = Target::read(&form)?;
    let request = exchange::Request {
        id: context.id.as_str().to_owned(),
        subject_token: SubjectToken::new(subject_token.to_owned()),
        ask: Ask {
            credential: target.credential(&shared.exchange.parts().policies),
            scopes: form.one("scope")?.map(request::scopes).transpose()?,
            ttl: form.one("ttl")?.map(request::ttl).transpose()?,
        },
        kind: wanted.map(|wanted| wanted.kind),
        resource: target.resource.map(str::to_owned),
        key,
        seen: Arc::clone(&context.seen),
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

/// A token type URI (RFC 8693 section 3) that we issue, and the kind of credential it stands for.
#[derive(Clone, Copy, Debug)]
struct TokenType {
    urn: &'static str,
    kind: &'static str,
}

/// What a `requested_token_type` asks for. Whether the credential is of that kind is looked at after
/// the permit, so that the answer tells an unrelated caller nothing.
fn requested_type(text: &str) -> Result<TokenType, RequestError> {
    let mut known = TOKEN_TYPES.iter().copied();
    known.find(|known| known.urn == text).ok_or(RequestError::TokenType {
        parameter: "requested_token_type",
        problem: "must be urn:ietf:params:oauth:token-type:jwt, ...:access_token or urn:hallpass:credential:KIND",
    })
}

/// The one credential asked for: by its name in `audience`, by the URI it declares in `resource`, or
/// by both (T-79).
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    audience: Option<&'a str>,
    resource: Option<&'a str>,
}

impl<'a> Target<'a> {
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
fn form_answer(granted: &exchange::Granted, wanted: Option<TokenType>) -> Map<String, Value> {
    let credential = &granted.credential;
    let (access_token, usual, token_type, scope) = match &credential.material {
        Material::Jwt { token, scopes } => (token.expose(), JWT, "Bearer", Some(scopes.join(" "))),
        Material::Postgres(login) => (
            login.password.expose(),
            "urn:hallpass:credential:postgres",
            "N_A",
            None,
        ),
    };
    let issued = wanted.map_or(usual, |wanted| wanted.urn);
    let mut body = Map::new();
    body.insert("access_token".to_owned(), access_token.as_str().into());
    body.insert("issued_token_type".to_owned(), issued.into());
    body.insert("token_type".to_owned(), token_type.into());
    body.insert("expires_in".to_owned(), granted.expires_in.into());
    if let Some(scope) = scope {
        body.insert("scope".to_owned(), scope.into());
    }
    body.insert("hallpass".to_owned(), Value::Object(member(granted)));
    body
}

/// The member `hallpass` of the form's answer, and the whole answer of the JSON door.
pub(super) fn member(granted: &exchange::Granted) -> Map<String, Value> {
    let credential = &granted.credential;
    super::answer::object(json!({
        "credential": describe(granted),
        "expires_at": credential.expires_at.to_string(),
        "lease": credential.lease.as_ref().map(|lease| lease.expose().as_str()),
        "policy": granted.policy,
        "policies_revision": granted.revision,
        "decision": granted.decision,
    }))
}

fn describe(granted: &exchange::Granted) -> Value {
    let definition = &granted.credential.definition;
    let (kind, name) = (definition.kind.name(), &definition.name);
    match &granted.credential.material {
        Material::Jwt { token, scopes } => json!({
            "kind": kind,
            "name": name,
            "token": token.expose(),
            "token_type": "Bearer",
            "scopes": scopes,
        }),
        Material::Postgres(login) => json!({
            "kind": kind,
            "name": name,
            "username": login.username,
            "password": login.password.expose(),
            "host": login.host,
            "port": login.port,
            "database": login.database,
            "sslmode": login.sslmode,
            "ca": login.ca,
            "options": login.options,
            "url": url(login),
        }),
    }
}

/// `postgresql://user:password@host:port/database?…`, every part percent-encoded.
fn url(login: &crate::credential::PostgresLogin) -> Option<String> {
    let mut url = url::Url::parse("postgresql://host").ok()?;
    url.set_host(Some(&url_host(&login.host))).ok()?;
    url.set_port(Some(login.port)).ok()?;
    url.set_username(&login.username).ok()?;
    url.set_password(Some(login.password.expose())).ok()?;
    url.path_segments_mut().ok()?.push(&login.database);
    {
        let mut query = String::new();
        query.push_str("sslmode=");
        query.push_str(login.sslmode);
        if let Some(options) = &login.options {
            query.push_str("&options=");
            // libpq reads `+` as a plus: a space must be `%20`.
            let encoded: String =
                url::form_urlencoded::byte_serialize(options.as_bytes()).collect();
            query.push_str(&encoded.replace('+', "%20"));
        }
        url.set_query(Some(&query));
    }
    Some(url.into())
}

/// A host as a URL has it: IPv6 in brackets.
fn url_host(host: &str) -> Cow<'_, str> {
    if host.parse::<Ipv6Addr>().is_ok() {
        format!("[{host}]").into()
    } else {
        host.into()
    }
}

/// The media type of a form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const TOKEN_TYPES: [TokenType; 4] = [
    TokenType {
        urn: JWT,
        kind: "jwt",
    },
    // What we sign is an `at+jwt` (RFC 9068), and standard clients ask for nothing else.
    TokenType {
        urn: "urn:ietf:params:oauth:token-type:access_token",
        kind: "jwt",
    },
    TokenType {
        urn: "urn:hallpass:credential:jwt",
        kind: "jwt",
    },
    TokenType {
        urn: "urn:hallpass:credential:postgres",
        kind: "postgres",
    },
];

#[cfg(test)]
mod tests {
    use crate::credential::PostgresLogin;
    use crate::secret::Secret;

    #[test]
    fn an_ipv6_server_stands_in_brackets_in_the_url() {
        let url = |host: &str| {
            let login = PostgresLogin {
                username: "hp_1".to_owned(),
                password: Secret::new("p:w".to_owned()),
                host: host.to_owned(),
                port: 5_432,
                database: "shop".to_owned(),
                sslmode: "verify-full",
                ca: None,
                options: None,
            };
            super::url(&login).unwrap()
        };
        let rest = "5432/shop?sslmode=verify-full";
        for (host, shown) in [
            ("2001:db8::1", "[2001:db8::1]"),
            ("10.1.2.3", "10.1.2.3"),
            ("db.acme.dev", "db.acme.dev"),
        ] {
            let expected = format!("postgresql://hp_1:p%3Aw@{shown}:{rest}");
            assert_eq!(url(host), expected);
        }
    }
}
