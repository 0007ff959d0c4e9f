//! The JSON Schema of a test file.

use serde_json::{Map, Value, json};

use super::{definitions, list_of, map_of, object, refer, words};
use crate::policy::examples::sample_names;
use crate::provider::Fact;

/// The schema, in draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hallpass policy test file",
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "tests": list_of(&test()),
            "never": list_of(&line()),
            "only": list_of(&line()),
        },
        "$defs": definitions(),
    })
}

fn test() -> Value {
    let asks = object(
        &[
            ("credential", refer("text")),
            ("ttl", refer("duration")),
            ("scopes", refer("texts")),
            (
                "inputs",
                map_of(&json!({ "type": "string" }), &refer("text")),
            ),
        ],
        &["credential"],
    );
    let gets = object(
        &[
            ("policy", refer("name")),
            ("ttl", refer("duration")),
            ("scopes", refer("texts")),
        ],
        &["policy"],
    );
    let because = json!({ "anyOf": [
        refer("text"),
        object(&[("requirement", refer("name"))], &["requirement"]),
    ] });
    let refused = object(&[("because", list_of(&because))], &["because"]);
    let mut test = object(
        &[
            ("name", refer("text")),
            ("job", job()),
            ("asks", asks),
            ("gets", gets),
            ("refused", refused),
            ("at", refer("time")),
            ("each", refer("each")),
        ],
        &["name", "job", "asks"],
    );
    if let Some(members) = test.as_object_mut() {
        let one = json!([{ "required": ["gets"] }, { "required": ["refused"] }]);
        members.insert("oneOf".to_owned(), one);
    }
    test
}

/// The facts of a job. Which of them a provider has, and of which type, only the reader knows.
fn job() -> Value {
    let value = json!({ "type": ["string", "boolean", "array", "object"] });
    let mut properties: Map<String, Value> = Fact::ALL
        .iter()
        .map(|fact| (fact.name().to_owned(), value.clone()))
        .collect();
    let samples = words(sample_names());
    properties.insert("like".to_owned(), samples);
    properties.insert("issuer".to_owned(), refer("name"));
    properties.insert("facts_unset".to_owned(), list_of(&refer("text")));
    properties.insert(
        "claim".to_owned(),
        json!({ "type": "object", "minProperties": 1 }),
    );
    json!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": false,
        "properties": properties,
    })
}

fn line() -> Value {
    object(
        &[
            ("name", refer("text")),
            (
                "of",
                json!({ "anyOf": [{ "const": "all" }, refer("selector")] }),
            ),
            ("jobs", refer("requirementBlock")),
            ("scopes", refer("texts")),
            ("longer_than", refer("duration")),
            ("because", refer("prose")),
        ],
        &["name", "of", "jobs", "because"],
    )
}
