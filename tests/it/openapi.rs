//! `docs/openapi.json`: made from the lists in the code, and compared with what the real router answers.
#![cfg(test)]

use std::fs;
use std::sync::OnceLock;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

use crate::support::sources::root;

mod answers;
mod document;
mod routes;

use document::document;

const PATH: &str = "docs/openapi.json";

/// The document with every object closed: an answer with a member that is not documented breaks it.
struct Strict {
    document: Value,
    schemas: Schemas,
    /// By path, method and status.
    answers: Vec<(String, String, String, SchemaIndex)>,
    /// By status; the last one is for all others.
    refusals: Vec<(String, SchemaIndex)>,
}

fn strict() -> &'static Strict {
    static STRICT: OnceLock<Strict> = OnceLock::new();
    STRICT.get_or_init(|| {
        let document = document(true);
        let mut compiler = Compiler::new();
        compiler.set_default_draft(boon::Draft::V2020_12);
        compiler.enable_format_assertions();
        compiler.add_resource(URL, document.clone()).unwrap();
        let mut schemas = Schemas::new();
        let mut compile = |pointer: &str| {
            let schema = compiler.compile(&format!("{URL}#{pointer}"), &mut schemas);
            schema.unwrap_or_else(|error| panic!("{pointer}: {error:#}"))
        };
        let mut answers = Vec::new();
        for (path, method, status, answer) in responses(&document) {
            let Some(answer) = answer["content"].get("application/json") else {
                continue;
            };
            let pointer = answer["schema"]["$ref"].as_str().unwrap();
            let schema = compile(pointer.strip_prefix('#').unwrap());
            answers.push((path, method, status, schema));
        }
        let schemas_of = document["components"]["schemas"].as_object().unwrap();
        let names = schemas_of
            .keys()
            .filter_map(|name| name.strip_prefix("Refusal"));
        let mut refusals: Vec<_> = names
            .map(|status| {
                let pointer = format!("/components/schemas/Refusal{status}");
                (status.to_owned(), compile(&pointer))
            })
            .collect();
        refusals.sort_by(|one, other| other.0.cmp(&one.0));
        Strict {
            document,
            schemas,
            answers,
            refusals,
        }
    })
}

/// Path, method, status and response of everything that the document has, references followed.
fn responses(document: &Value) -> Vec<(String, String, String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let answer = match answer.get("$ref").and_then(Value::as_str) {
                    Some(at) => document.pointer(at.strip_prefix('#').unwrap()).unwrap(),
                    None => answer,
                };
                let method = method.to_uppercase();
                found.push((path.clone(), method, status.clone(), answer));
            }
        }
    }
    found
}

/// Compares an answer of the real router with the document. Every test that sends a request does.
pub(crate) fn check(method: &str, path: &str, status: u16, body: &str) {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    if method == "HEAD" || body.is_empty() {
        return;
    }
    let strict = strict();
    let operation = strict.document["paths"]
        .get(path)
        .and_then(|item| item.get(method.to_lowercase()));
    let status = status.to_string();
    let is_listed = operation.is_some_and(|one| one["responses"].get(&status).is_some());
    let schema = if is_listed {
        let mut answers = strict.answers.iter();
        let found = answers.find(|(known, by, with, _)| {
            (known.as_str(), by.as_str(), with.as_str()) == (path, method, status.as_str())
        });
        let Some((.., schema)) = found else {
            // Text for Prometheus.
            return;
        };
        *schema
    } else {
        assert!(
            !status.starts_with('2'),
            "{method} {path} is not documented"
        );
        let mut refusals = strict.refusals.iter();
        let found = refusals.find(|(known, _)| *known == status || known.is_empty());
        found.unwrap().1
    };
    let body: Value = serde_json::from_str(body).unwrap();
    if let Err(error) = strict.schemas.validate(&body, schema) {
        panic!("{method} {path} answers {status} with what {PATH} does not describe: {error:#}");
    }
}

fn written() -> String {
    let text = serde_json::to_string_pretty(&document(false)).unwrap();
    format!("{text}\n")
}

#[test]
fn the_document_is_what_the_code_says() {
    let text = fs::read_to_string(root().join(PATH)).unwrap_or_default();
    assert!(
        text == written(),
        "run `cargo test --test it -- --ignored openapi::write_the_document`"
    );
}

#[test]
#[should_panic = "does not describe"]
fn a_member_that_is_not_documented_is_found() {
    let body = r#"{"lease":"gone","request_id":"req_000000000000000000000000","more":1}"#;
    check("POST", "/revoke", 200, body);
}

#[test]
#[ignore = "writes docs/openapi.json"]
fn write_the_document() {
    fs::write(root().join(PATH), written()).unwrap();
}

const URL: &str = "https://hallpass.example/openapi.json";
