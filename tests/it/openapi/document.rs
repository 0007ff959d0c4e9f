//! The document, made from the routes, bodies, kinds and reasons of the code.

use std::collections::BTreeMap;

use hallpass::credential::kind::{Form, KINDS, Kind};
use hallpass::reason::{Class, Reason};
use hallpass::wire::BODIES;
use serde_json::{Map, Value, json};

use super::routes::{Route, routes};

/// The whole document. `strict` closes every object of an answer, so that a member that it lacks
/// is found; the file leaves them open, because new versions may add members.
pub(crate) fn document(strict: bool) -> Value {
    let mut paths = Map::new();
    for route in routes() {
        if let Some(operation) = operation(&route) {
            paths.insert(route.path.clone(), json!({ route.method: operation }));
        }
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "hallpass",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Short-lived credentials for CI jobs",
            "description": "docs/http-api.md explains the API, docs/reasons.md the reasons of refusals. Answers may have more members in later versions. Every answer has a request ID in `X-Request-Id`. Other paths get `Refusal404`, other methods `Refusal405`; HEAD is GET without the body.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [
            { "url": "https://hallpass.example", "description": "the public listener" },
        ],
        "tags": [
            { "name": "public", "description": "routes of the public listener, for jobs" },
            { "name": "operator", "description": "routes of the operator listener, for monitoring" },
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "idToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "the job's ID token, whose audience is the broker",
                },
            },
            "headers": {
                "X-Request-Id": {
                    "description": "the request's ID in the broker's log and audit events",
                    "required": true,
                    "schema": { "type": "string", "pattern": REQUEST_ID },
                },
                "Retry-After": {
                    "description": "seconds after which the same request may succeed; absent if it cannot",
                    "schema": { "type": "integer", "minimum": 1 },
                },
                "Allow": {
                    "description": "the methods that the path takes",
                    "schema": { "type": "string" },
                },
            },
            "parameters": {
                "Idempotency-Key": {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "description": "22 to 64 random characters: a repeat with the same token, key and content gets the same credential",
                    "schema": { "type": "string", "minLength": 22, "maxLength": 64 },
                },
            },
            "responses": refusals(),
            "schemas": schemas(strict),
        },
    })
}

/// `None` for a route without a description here, which one test reports.
fn operation(route: &Route) -> Option<Value> {
    let about = OPERATIONS.iter().find(|about| about.path == route.path)?;
    let mut responses = Map::new();
    for (status, schema, what) in about.successes {
        responses.insert((*status).to_owned(), success(schema, what));
    }
    for status in about.refusals {
        let at = format!("#/components/responses/Refusal{status}");
        responses.insert(status.to_string(), json!({ "$ref": at }));
    }
    if route.is_exchange {
        responses.insert(
            "429".to_owned(),
            json!({ "$ref": "#/components/responses/Refusal429" }),
        );
    }
    responses.insert(
        "default".to_owned(),
        json!({ "$ref": "#/components/responses/Refusal" }),
    );
    let tags = [
        (route.is_public, "public"),
        (route.is_operators, "operator"),
    ];
    let tags = tags.iter().filter(|(is, _)| *is).map(|(_, tag)| *tag);
    let mut operation = json!({
        "operationId": about.id,
        "summary": about.summary,
        "tags": tags.collect::<Vec<_>>(),
        "responses": responses,
    });
    if let Some((media, schema)) = about.request {
        operation["requestBody"] =
            json!({ "required": true, "content": { media: { "schema": at(schema) } } });
        let has_bearer = media == "application/json";
        operation["security"] = if has_bearer {
            json!([{ "idToken": [] }])
        } else {
            json!([])
        };
    }
    if about.has_key {
        operation["parameters"] = json!([{ "$ref": "#/components/parameters/Idempotency-Key" }]);
    }
    Some(operation)
}

fn success(schema: &str, what: &str) -> Value {
    let (media, schema) = match schema {
        "" => ("text/plain", json!({ "type": "string" })),
        "program" => ("application/octet-stream", json!({})),
        name => ("application/json", at(name)),
    };
    json!({
        "description": what,
        "headers": { "X-Request-Id": { "$ref": "#/components/headers/X-Request-Id" } },
        "content": { media: { "schema": schema } },
    })
}

fn at(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// The reasons that an answer of each status can have.
fn reasons() -> BTreeMap<u16, Vec<Reason>> {
    let mut by_status: BTreeMap<u16, Vec<Reason>> = BTreeMap::new();
    for reason in Reason::ALL {
        let class = reason.class();
        if !matches!(class, Class::Success | Class::Unanswered | Class::Gone) {
            by_status.entry(class.status()).or_default().push(*reason);
        }
    }
    by_status
}

fn refusals() -> Value {
    let mut responses = Map::new();
    let response = |schema: &str, what: &str, headers: &[&str]| {
        let headers = ["X-Request-Id"].iter().chain(headers);
        let headers = headers.map(|name| {
            let at = format!("#/components/headers/{name}");
            ((*name).to_owned(), json!({ "$ref": at }))
        });
        json!({
            "description": what,
            "headers": headers.collect::<Map<_, _>>(),
            "content": { "application/json": { "schema": at(schema) } },
        })
    };
    for status in reasons().into_keys() {
        let headers: &[&str] = match status {
            405 => &["Allow"],
            408 | 429 | 503 => &["Retry-After"],
            _ => &[],
        };
        let (_, what) = STATUSES.iter().find(|(one, _)| *one == status).unwrap();
        let name = format!("Refusal{status}");
        responses.insert(name.clone(), response(&name, what, headers));
    }
    let what = "a refusal of another status, such as one of the connection";
    responses.insert(
        "Refusal".to_owned(),
        response("Refusal", what, &["Retry-After"]),
    );
    responses.into()
}

/// The members of a body that `BODIES` documents, with what each is.
fn body(number: usize, forms: &[(&str, Value)]) -> Map<String, Value> {
    let members = BODIES[number].members.iter();
    let described = members.map(|(name, meaning)| {
        let form = forms.iter().find(|(known, _)| known == name);
        let (_, form) =
            form.unwrap_or_else(|| panic!("`{name}` of body {number} has no form here"));
        let mut form = form.clone();
        form["description"] = json!(meaning);
        ((*name).to_owned(), form)
    });
    let described: Map<String, Value> = described.collect();
    assert_eq!(described.len(), forms.len(), "body {number} lacks a member");
    described
}

fn object(properties: impl Into<Map<String, Value>>, required: &[&str], is_closed: bool) -> Value {
    let mut schema = json!({
        "type": "object",
        "properties": properties.into(),
        "required": required,
    });
    if is_closed {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else {
        panic!("{value} is no object");
    };
    map
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn list_of(entries: &Value) -> Value {
    json!({ "type": "array", "items": entries })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn or_null(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn url() -> Value {
    json!({ "type": "string", "format": "uri" })
}

#[expect(clippy::too_many_lines, reason = "one schema after the other")]
fn schemas(strict: bool) -> Value {
    let id = json!({ "type": "string", "pattern": REQUEST_ID });
    let with_id = |mut properties: Map<String, Value>| {
        properties.insert("request_id".to_owned(), id.clone());
        properties
    };
    let mut all = Map::new();
    let mut add = |name: &str, schema: Value| all.insert(name.to_owned(), schema);

    let duration =
        json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)([0-9]+(ms|s|m|h|d))*$" });
    let types: Vec<&str> = KINDS.iter().flat_map(|kind| kind.urns()).collect();
    let mut token_request = body(
        0,
        &[
            (
                "grant_type",
                json!({ "const": "urn:ietf:params:oauth:grant-type:token-exchange" }),
            ),
            ("subject_token", text()),
            (
                "subject_token_type",
                json!({ "enum": ["urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:jwt"] }),
            ),
            ("audience", json!({ "type": "string", "maxLength": 128 })),
            ("resource", url()),
            ("scope", text()),
            ("ttl", duration.clone()),
            ("requested_token_type", json!({ "enum": types })),
            // One parameter: the JWK as text.
            ("response_encryption_jwk", text()),
        ],
    );
    let inputs = || KINDS.iter().flat_map(|kind| kind.inputs);
    for input in inputs() {
        let form =
            json!({ "type": "string", "maxLength": input.longest, "description": input.summary });
        token_request.insert(input.name.to_owned(), form);
    }
    let mut token_request = object(
        token_request,
        &["grant_type", "subject_token", "subject_token_type"],
        false,
    );
    token_request["anyOf"] = json!([{ "required": ["audience"] }, { "required": ["resource"] }]);
    add("TokenRequest", token_request);

    let known: Map<String, Value> = inputs()
        .map(|input| {
            let form = json!({ "type": "string", "maxLength": input.longest, "description": input.summary });
            (input.name.to_owned(), form)
        })
        .collect();
    let request = |required: &[&str]| {
        let properties = body(
            2,
            &[
                (
                    "credential",
                    json!({ "type": "string", "minLength": 1, "maxLength": 128 }),
                ),
                (
                    "scopes",
                    json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
                ),
                ("ttl", duration.clone()),
                (
                    "inputs",
                    json!({ "type": "object", "properties": known.clone(), "additionalProperties": { "type": "string" } }),
                ),
                ("response_encryption_jwk", json!({ "type": "object" })),
            ],
        );
        object(properties, required, true)
    };
    add("CredentialRequest", request(&["credential"]));
    add("ExplainRequest", request(&[]));
    let mut revoke = body(
        7,
        &[("lease", json!({ "enum": ["gone", "closed", "pending"] }))],
    );
    let revocation = body(
        6,
        &[("token", json!({ "type": "string", "pattern": "^hpl_" }))],
    );
    add("RevokeRequest", object(revocation, &["token"], false));
    revoke = with_id(revoke);
    add(
        "RevokeAnswer",
        object(revoke, &["lease", "request_id"], strict),
    );

    let plain = KINDS.iter().map(|kind| credential(kind, false, strict));
    let sealed = KINDS.iter().map(|kind| credential(kind, true, strict));
    let kinds: Vec<Value> = plain.chain(sealed).collect();
    let issued: Vec<&str> = types
        .iter()
        .copied()
        .chain(["urn:hallpass:sealed"])
        .collect();
    add("Credential", json!({ "oneOf": kinds }));
    let answer = body(
        3,
        &[
            ("credential", at("Credential")),
            ("expires_at", time()),
            (
                "lease",
                json!({ "type": ["string", "null"], "pattern": "^hpl_" }),
            ),
            ("policy", text()),
            ("policy_url", url()),
            (
                "policies_revision",
                json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" }),
            ),
            ("decision", text()),
            ("shared", json!({ "const": true })),
        ],
    );
    let always = [
        "credential",
        "expires_at",
        "lease",
        "policy",
        "policies_revision",
        "decision",
    ];
    add("CredentialMember", object(answer.clone(), &always, strict));
    let required: Vec<&str> = always.into_iter().chain(["request_id"]).collect();
    add(
        "CredentialAnswer",
        object(with_id(answer), &required, strict),
    );
    let token = body(
        1,
        &[
            ("access_token", text()),
            ("issued_token_type", json!({ "enum": issued })),
            ("token_type", json!({ "enum": ["Bearer", "N_A"] })),
            ("expires_in", count()),
            ("scope", text()),
            ("hallpass", at("CredentialMember")),
        ],
    );
    let required = [
        "access_token",
        "issued_token_type",
        "token_type",
        "expires_in",
        "hallpass",
        "request_id",
    ];
    add("TokenAnswer", object(with_id(token), &required, strict));

    let offer = body(
        5,
        &[
            ("credential", text()),
            (
                "kind",
                json!({ "enum": KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>() }),
            ),
            ("policy", text()),
            ("policy_url", url()),
            ("ttl", count()),
            ("scopes", list_of(&text())),
            ("purpose", text()),
        ],
    );
    let required = ["credential", "kind", "policy", "ttl", "scopes", "purpose"];
    add("Offer", object(offer, &required, strict));
    let offers = map(json!({ "credentials": { "type": "array", "items": at("Offer") } }));
    add(
        "Offers",
        object(with_id(offers), &["credentials", "request_id"], strict),
    );

    let codes = |reasons: &[Reason]| json!({ "enum": reasons.iter().map(|one| one.code()).collect::<Vec<_>>() });
    let every: Vec<Reason> = reasons().into_values().flatten().collect();
    let refusal = |reasons: &[Reason]| {
        let failed = BODIES[8]
            .members
            .iter()
            .find(|(name, _)| *name == "failed_conditions");
        assert!(failed.is_some());
        body(
            8,
            &[
                ("error", json!({ "enum": ERRORS })),
                (
                    "error_description",
                    json!({ "type": "string", "maxLength": 200 }),
                ),
                ("reason", codes(reasons)),
                ("request_id", id.clone()),
                ("retryable", json!({ "type": "boolean" })),
                ("failed_conditions", list_of(&at("FailedCondition"))),
                ("when", text()),
            ],
        )
    };
    let always = [
        "error",
        "error_description",
        "reason",
        "request_id",
        "retryable",
    ];
    let condition = map(json!({
        "policy": text(), "fact": text(), "expected": text(), "actual": or_null("string"), "hint": text(),
    }));
    let required = ["policy", "fact", "expected", "actual"];
    add("FailedCondition", object(condition, &required, strict));
    add("Refusal", object(refusal(&every), &always, strict));
    for (status, reasons) in reasons() {
        add(
            &format!("Refusal{status}"),
            object(refusal(&reasons), &always, strict),
        );
    }
    let mut explanation = refusal(&every);
    explanation.extend(body(
        4,
        &[
            ("permitted", json!({ "type": "boolean" })),
            ("decision", json!({ "type": "object" })),
        ],
    ));
    add(
        "Explanation",
        object(explanation, &["permitted", "request_id"], strict),
    );
    add(
        "ExplainAnswer",
        json!({ "oneOf": [at("Explanation"), at("Offers")] }),
    );

    let metadata = map(json!({
        "issuer": url(), "jwks_uri": url(), "token_endpoint": url(), "revocation_endpoint": url(),
        "revocation_endpoint_auth_methods_supported": list_of(&json!({ "const": "none" })),
        "grant_types_supported": list_of(&text()),
        "token_endpoint_auth_methods_supported": list_of(&json!({ "const": "none" })),
        "response_types_supported": list_of(&text()),
        "subject_types_supported": list_of(&text()),
        "id_token_signing_alg_values_supported": list_of(&text()),
    }));
    let required: Vec<String> = metadata.keys().cloned().collect();
    let required: Vec<&str> = required.iter().map(String::as_str).collect();
    add("Metadata", object(metadata, &required, strict));
    let key = map(json!({
        "kty": { "enum": ["EC", "OKP", "RSA"] }, "kid": text(), "use": { "const": "sig" },
        "alg": { "enum": ["ES256", "EdDSA", "RS256"] },
        "crv": { "enum": ["P-256", "Ed25519"] }, "x": text(), "y": text(), "n": text(), "e": text(),
    }));
    let key = object(key, &["kty", "kid", "use", "alg"], strict);
    let keys = map(json!({ "keys": list_of(&key) }));
    add("Keys", object(keys, &["keys"], strict));
    let health = map(json!({ "status": { "const": "ok" } }));
    add(
        "Health",
        object(with_id(health), &["status", "request_id"], strict),
    );
    add("Readiness", readiness(&with_id, strict));
    all.into()
}

fn readiness(with_id: &dyn Fn(Map<String, Value>) -> Map<String, Value>, strict: bool) -> Value {
    let policies = map(json!({ "revision": text() }));
    let store = map(
        json!({ "problem": or_null("string"), "used": or_null("integer"), "capacity": or_null("integer") }),
    );
    let properties = map(json!({
        "ready": { "type": "boolean", "description": "whether the broker can issue credentials" },
        "clock": { "type": "string", "description": "`ok`, or what is wrong with the clock" },
        "policies": object(policies, &["revision"], strict),
        "reload": { "type": "object", "description": "the last reload and its problems" },
        "replay": { "enum": ["per_replica", "shared"], "description": "reach of the store of used tokens" },
        "replay_store": object(store, &["problem"], strict),
        "issuers": { "type": "object", "additionalProperties": { "type": "object" } },
        "targets": { "type": "object", "additionalProperties": { "type": "object" } },
        "sinks": { "type": "object", "additionalProperties": { "type": "object" } },
    }));
    let required: Vec<String> = properties.keys().cloned().collect();
    let required: Vec<&str> = required.iter().map(String::as_str).collect();
    let required: Vec<&str> = required.into_iter().chain(["request_id"]).collect();
    object(with_id(properties), &required, strict)
}

/// A credential as it is, or with `sealed` in place of its secret members.
fn credential(kind: &Kind, is_sealed: bool, strict: bool) -> Value {
    let mut properties = map(json!({ "kind": { "const": kind.name }, "name": text() }));
    let mut required = vec!["kind", "name"];
    if is_sealed {
        let what = "the secret members, encrypted to the key of the request: docs/sealed.md";
        properties.insert(
            "sealed".to_owned(),
            json!({ "type": "string", "description": what }),
        );
        required.push("sealed");
    }
    let members = kind.members.iter();
    for member in members.filter(|member| !is_sealed || !member.is_secret()) {
        let mut form = match member.form {
            Form::Text | Form::Lines => text(),
            Form::List => list_of(&text()),
            Form::Number => count(),
            Form::Named => json!({ "type": "object", "additionalProperties": text() }),
            Form::Port => json!({ "type": "integer", "minimum": 0, "maximum": 65_535 }),
            Form::OneOf(words) => json!({ "enum": words }),
        };
        if member.always {
            required.push(member.name);
        } else {
            form = json!({ "anyOf": [form, { "type": "null" }] });
        }
        if member.is_secret() {
            form["format"] = json!("password");
        }
        properties.insert(member.name.to_owned(), form);
    }
    object(properties, &required, strict)
}

struct Operation {
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// Media type and schema.
    request: Option<(&'static str, &'static str)>,
    has_key: bool,
    /// Status, schema (empty for text, `program` for bytes) and meaning.
    successes: &'static [(&'static str, &'static str, &'static str)],
    refusals: &'static [u16],
}

const POST: &[u16] = &[400, 408, 413, 415, 431, 500, 503];
const GET: &[u16] = &[400, 431];
const FORM: &str = "application/x-www-form-urlencoded";

const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/token",
        id: "exchangeToken",
        summary: "Exchanges a job's token for a credential (RFC 8693)",
        request: Some((FORM, "TokenRequest")),
        has_key: true,
        successes: &[("200", "TokenAnswer", "the credential")],
        refusals: POST,
    },
    Operation {
        path: "/api/credentials",
        id: "getCredential",
        summary: "Exchanges a job's token for a credential, in JSON",
        request: Some(("application/json", "CredentialRequest")),
        has_key: true,
        successes: &[("200", "CredentialAnswer", "the credential")],
        refusals: POST,
    },
    Operation {
        path: "/api/explain",
        id: "explain",
        summary: "The decision without issuing anything; without `credential`, what the job may have",
        request: Some(("application/json", "ExplainRequest")),
        has_key: false,
        successes: &[("200", "ExplainAnswer", "the decision or the list")],
        refusals: &[400, 408, 413, 415, 431, 503],
    },
    Operation {
        path: "/revoke",
        id: "revoke",
        summary: "Ends a login by its lease handle (RFC 7009)",
        request: Some((FORM, "RevokeRequest")),
        has_key: false,
        successes: &[
            ("200", "RevokeAnswer", "the login is gone or closed"),
            (
                "202",
                "RevokeAnswer",
                "the broker is still ending the login",
            ),
        ],
        refusals: &[400, 408, 413, 415, 431, 500],
    },
    Operation {
        path: "/client/linux-x86_64",
        id: "clientLinuxX86",
        summary: "The command line for Linux on x86-64, if the setting `clients` names a folder",
        request: None,
        has_key: false,
        successes: &[(
            "200",
            "program",
            "the program; `Content-Digest` is its SHA-256",
        )],
        refusals: &[400, 404, 431, 503],
    },
    Operation {
        path: "/client/linux-aarch64",
        id: "clientLinuxArm",
        summary: "The command line for Linux on arm64, if the setting `clients` names a folder",
        request: None,
        has_key: false,
        successes: &[(
            "200",
            "program",
            "the program; `Content-Digest` is its SHA-256",
        )],
        refusals: &[400, 404, 431, 503],
    },
    Operation {
        path: "/client/macos-x86_64",
        id: "clientMacX86",
        summary: "The command line for macOS on x86-64, if the setting `clients` names a folder",
        request: None,
        has_key: false,
        successes: &[(
            "200",
            "program",
            "the program; `Content-Digest` is its SHA-256",
        )],
        refusals: &[400, 404, 431, 503],
    },
    Operation {
        path: "/client/macos-aarch64",
        id: "clientMacArm",
        summary: "The command line for macOS on arm64, if the setting `clients` names a folder",
        request: None,
        has_key: false,
        successes: &[(
            "200",
            "program",
            "the program; `Content-Digest` is its SHA-256",
        )],
        refusals: &[400, 404, 431, 503],
    },
    Operation {
        path: "/.well-known/openid-configuration",
        id: "openidConfiguration",
        summary: "Endpoints and algorithms (OpenID Connect Discovery 1.0)",
        request: None,
        has_key: false,
        successes: &[(
            "200",
            "Metadata",
            "the metadata; may be cached for five minutes",
        )],
        refusals: GET,
    },
    Operation {
        path: "/.well-known/oauth-authorization-server",
        id: "oauthMetadata",
        summary: "Endpoints and algorithms (RFC 8414)",
        request: None,
        has_key: false,
        successes: &[(
            "200",
            "Metadata",
            "the metadata; may be cached for five minutes",
        )],
        refusals: GET,
    },
    Operation {
        path: "/.well-known/jwks.json",
        id: "keys",
        summary: "The keys that verify signed tokens (RFC 7517)",
        request: None,
        has_key: false,
        successes: &[(
            "200",
            "Keys",
            "the public keys; may be cached for five minutes",
        )],
        refusals: GET,
    },
    Operation {
        path: "/",
        id: "optionsHealth",
        summary: "The health check of HAProxy; other methods get 404",
        request: None,
        has_key: false,
        successes: &[("200", "Health", "the process serves")],
        refusals: &[400, 431],
    },
    Operation {
        path: "/healthz",
        id: "health",
        summary: "Whether the process serves",
        request: None,
        has_key: false,
        successes: &[("200", "Health", "the process serves")],
        refusals: GET,
    },
    Operation {
        path: "/readyz",
        id: "readiness",
        summary: "Whether the broker can issue credentials, and the state of each part",
        request: None,
        has_key: false,
        successes: &[
            ("200", "Readiness", "the broker can issue credentials"),
            ("503", "Readiness", "it cannot"),
        ],
        refusals: GET,
    },
    Operation {
        path: "/metrics",
        id: "metrics",
        summary: "Metrics for Prometheus",
        request: None,
        has_key: false,
        successes: &[("200", "", "the metrics in the text format")],
        refusals: GET,
    },
];

const STATUSES: &[(u16, &str)] = &[
    (400, "the request, its token or the policies are at fault"),
    (404, "no route has the path"),
    (405, "the route does not take the method"),
    (408, "the request took too long"),
    (413, "the body or the token is too long"),
    (415, "the body is of another media type"),
    (429, "the repository asked too often"),
    (431, "the header fields are too many or too long"),
    (500, "a bug of the broker"),
    (503, "the broker or what it depends on is at fault"),
];

/// RFC 6749 section 5.2, RFC 8693 section 2.2.2 and RFC 7009 section 2.2.1.
const ERRORS: &[&str] = &[
    "invalid_request",
    "invalid_target",
    "invalid_scope",
    "unsupported_grant_type",
    "unsupported_token_type",
    "temporarily_unavailable",
    "server_error",
];
const REQUEST_ID: &str = "^req_[0-9a-v]{24}$";
