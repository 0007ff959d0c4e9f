//! The JSON Schemas of a policy file and of a test file, for editors. The reader decides; the schema is as strict as a
//! schema can be about one file.

use serde_json::{Map, Value, json};

mod tests;

pub use tests::schema as test_schema;

use super::MOST_LABELS;
use super::lint::RULES;
use super::time_window::DAYS;
use crate::credential::kind::{KINDS, RESOURCE};
use crate::provider::{Fact, FactType, PROVIDERS, PropertyType, TRIGGERS};

/// The schema, in draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hallpass policy file",
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "issuers": map_of(&refer("issuer"), &refer("name")),
            "teams": map_of(&refer("team"), &refer("name")),
            "rosters": map_of(&refer("roster"), &refer("name")),
            "credentials": map_of(&refer("credential"), &refer("name")),
            "policies": list_of(&refer("policy")),
            "require": list_of(&refer("requirement")),
            "waive": list_of(&refer("waiver")),
            "zone": refer("text"),
        },
        "$defs": definitions(),
    })
}

fn definitions() -> Value {
    let mut all = patterns();
    let mut add = |name: &str, value: Value| all.insert(name.to_owned(), value);
    add("block", block(About::Jobs));
    add("requestBlock", block(About::Requests));
    add("requirementBlock", block(About::RequestsOfAnyIssuer));
    for (name, one) in [("blocks", "block"), ("requestBlocks", "requestBlock")] {
        add(name, json!({ "anyOf": [refer(one), list_of(&refer(one))] }));
    }
    add("issuer", issuer());
    add("credential", credential());
    add("policy", policy());
    add("requirement", requirement());
    add("selector", selector());
    add("team", team());
    add("roster", roster());
    add(
        "waiver",
        object(
            &[
                ("rule", words(RULES.iter().map(|rule| rule.id))),
                ("because", refer("prose")),
                ("until", refer("time")),
            ],
            &["rule", "because", "until"],
        ),
    );
    add(
        "each",
        json!({
            "type": "object",
            "minProperties": 1,
            "properties": { "roster": refer("text") },
            "additionalProperties": list_of(&refer("text")),
        }),
    );
    Value::Object(all)
}

/// Scalars and patterns.
fn patterns() -> Map<String, Value> {
    let present = || object(&[("present", json!({ "type": "boolean" }))], &["present"]);
    let some = |mut value: Value| {
        if let Some(members) = value.as_object_mut() {
            members.insert("minProperties".to_owned(), 1.into());
        }
        value
    };
    let not = json!({ "anyOf": [
        refer("text"),
        list_of(&json!({ "anyOf": [refer("text"), refer("plainOperators")] })),
        refer("plainOperators"),
    ] });
    let plain = [("glob", refer("glob")), ("under", refer("path"))];
    let operators = [
        ("glob", refer("glob")),
        ("under", refer("path")),
        ("not", refer("not")),
    ];
    let member = object(&[("member", refer("text"))], &["member"]);
    let entries = some(object(&[("member", refer("text")), ("not", member)], &[]));
    let text_or_operators = json!({ "anyOf": [refer("text"), refer("operators")] });
    let truth = json!({ "anyOf": [{ "type": "boolean" }, refer("present")] });
    let path_and_ref = [
        ("path", refer("textPattern")),
        ("ref", refer("textPattern")),
    ];
    let day = words(DAYS);
    let days = json!({ "anyOf": [day, { "type": "array", "minItems": 1, "maxItems": 6, "uniqueItems": true, "items": day }] });
    let hours = json!({ "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$" });
    let known = json!({
        "text": { "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[ -~]*[!-~][ -~]*$" },
        "prose": { "type": "string", "pattern": "\\S" },
        // Braces are those of a template.
        "name": { "type": "string", "maxLength": 256, "pattern": "^[A-Za-z0-9{]([A-Za-z0-9._/{}-]*[A-Za-z0-9}])?$" },
        "glob": { "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[ ->@-Z^-~]+$" },
        "path": { "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[ -)+-~]*[ -)+-.0-~]$" },
        "duration": { "type": "string", "pattern": "^([0-9]+d([0-9]+h)?([0-9]+m)?([0-9]+s)?|[0-9]+h([0-9]+m)?([0-9]+s)?|[0-9]+m([0-9]+s)?|[0-9]+s)$" },
        "time": { "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$" },
        "texts": texts_of(&refer("text")),
        "present": present(),
        "plainOperators": some(object(&plain, &[])),
        "not": not,
        "operators": some(object(&operators, &[])),
        "textPattern": { "anyOf": [refer("text"), list_of(&text_or_operators), refer("operators"), refer("present")] },
        "entries": entries,
        "listPattern": { "anyOf": [list_of(&refer("entries")), refer("entries"), refer("present")] },
        "booleanPattern": truth,
        "network": { "type": "string", "pattern": "^[0-9a-f.:]+/[1-9][0-9]{0,2}$" },
        "timePattern": some(object(&[("days", days), ("hours", hours)], &[])),
        "networks": { "anyOf": [refer("network"), list_of(&refer("network"))] },
        "networkPattern": { "anyOf": [refer("networks"), object(&[("not", refer("networks"))], &["not"])] },
        "workflowPattern": { "anyOf": [some(object(&path_and_ref, &[])), refer("present")] },
        "textOrGlob": { "anyOf": [refer("text"), object(&[("glob", refer("glob"))], &["glob"])] },
        "textsOrGlobs": { "anyOf": [refer("textOrGlob"), list_of(&refer("textOrGlob"))] },
        "class": { "enum": ["critical", "moderate", "low"] },
    });
    known.as_object().cloned().unwrap_or_default()
}

/// What a block of conditions is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Jobs,
    Requests,
    RequestsOfAnyIssuer,
}

/// A block of conditions. A schema cannot know which facts an issuer provides.
fn block(about: About) -> Value {
    let mut properties = Map::new();
    for fact in Fact::ALL {
        if about != About::Jobs || !fact.is_of_request() {
            properties.insert(fact.name().to_owned(), pattern_of(*fact));
        }
    }
    if about == About::RequestsOfAnyIssuer {
        properties.insert("issuer".to_owned(), refer("texts"));
    }
    let pattern = json!({ "anyOf": [refer("textPattern"), { "type": "boolean" }] });
    let pointer = json!({ "type": "string", "pattern": "^/[ -~]+$" });
    properties.insert("claim".to_owned(), map_of(&pattern, &pointer));
    let pattern =
        json!({ "anyOf": [refer("textPattern"), refer("listPattern"), { "type": "boolean" }] });
    properties.insert("property".to_owned(), map_of(&pattern, &property_name()));
    json!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": properties,
    })
}

fn property_name() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_$#-]{1,75}$" })
}

fn pattern_of(fact: Fact) -> Value {
    let of_words = |known: &[&str]| {
        let word = words(known.iter().copied());
        json!({ "anyOf": [word, list_of(&word), refer("present")] })
    };
    let vocabularies: [(Fact, &[&str]); 3] = [
        (Fact::Trigger, &TRIGGERS),
        (Fact::RefType, &["branch", "tag", "pull", "other"]),
        (Fact::Runner, &["hosted", "self-hosted"]),
    ];
    if let Some((_, known)) = vocabularies.iter().find(|(one, _)| *one == fact) {
        return of_words(known);
    }
    match fact.fact_type() {
        FactType::Bool => refer("booleanPattern"),
        FactType::Workflow => refer("workflowPattern"),
        FactType::Network => refer("networkPattern"),
        FactType::Clock => refer("timePattern"),
        FactType::Age => object(&[("within", refer("duration"))], &["within"]),
        FactType::List => refer("listPattern"),
        // An issuer of `generic` may declare a text to be a list.
        FactType::Text => {
            json!({ "anyOf": [refer("textPattern"), refer("listPattern")] })
        }
    }
}

fn issuer() -> Value {
    let flag = || json!({ "type": "boolean" });
    let types = words(["text", "number", "boolean", "list"]);
    let property_type = words(PropertyType::ALL.map(PropertyType::name));
    let mut issuer = object(
        &[
            ("provider", words(PROVIDERS.iter().map(|one| one.name))),
            ("url", json!({ "type": "string", "pattern": "^https://" })),
            ("tenants", refer("blocks")),
            ("ca", refer("text")),
            ("networks", refer("texts")),
            ("key_hosts", refer("texts")),
            ("jwks", object(&[("file", refer("text"))], &["file"])),
            ("blocked_kids", refer("texts")),
            ("client_id", refer("text")),
            (
                "mfa",
                json!({ "type": "object", "minProperties": 1, "additionalProperties": false, "properties": { "amr": refer("texts"), "acr": refer("texts") } }),
            ),
            ("algorithms", refer("texts")),
            ("audiences", refer("texts")),
            ("shared_audience", words(["accepted"])),
            ("token_types", refer("texts")),
            ("max_lifetime", refer("duration")),
            ("max_age", refer("duration")),
            ("leeway", refer("duration")),
            ("kid_required", flag()),
            ("iat_required", flag()),
            ("strip_leading_zero", flag()),
            ("key_use", refer("text")),
            ("reuse", words(["subject"])),
            (
                "trust_domain",
                json!({ "type": "string", "pattern": "^[a-z0-9._-]{1,255}$" }),
            ),
            (
                "facts",
                json!({ "type": "object", "propertyNames": facts(), "additionalProperties": refer("text") }),
            ),
            ("properties", map_of(&property_type, &property_name())),
            (
                "types",
                json!({ "type": "object", "propertyNames": facts(), "additionalProperties": types }),
            ),
        ],
        &["provider"],
    );
    if let Some(members) = issuer.as_object_mut() {
        let generic = json!({ "properties": { "provider": { "const": "generic" } }, "required": ["provider"] });
        members.insert("if".to_owned(), generic);
        members.insert("then".to_owned(), json!({ "required": ["url", "facts"] }));
        let others = json!({ "properties": { "facts": false, "types": false } });
        members.insert("else".to_owned(), others);
        let with = PROVIDERS.iter().filter(|one| one.property_claims.is_some());
        let provider = json!({ "provider": words(with.map(|one| one.name)) });
        let pinned =
            json!({ "properties": { "ca": false, "networks": false, "key_hosts": false } });
        members.insert(
            "dependentSchemas".to_owned(),
            json!({
                "jwks": pinned,
                "properties": { "properties": provider },
            }),
        );
    }
    issuer
}

fn facts() -> Value {
    let of_tokens = Fact::ALL.iter().filter(|fact| !fact.is_of_request());
    words(of_tokens.map(|fact| fact.name()))
}

fn credential() -> Value {
    let rotate = object(
        &[("every", refer("duration")), ("grace", refer("duration"))],
        &["every"],
    );
    let mut properties = vec![
        ("kind", words(KINDS.iter().map(|kind| kind.name))),
        ("max_ttl", refer("duration")),
        ("owner", refer("prose")),
        ("purpose", refer("prose")),
        ("class", refer("class")),
        (
            "resource",
            json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*:[!-\"$-~]+$" }),
        ),
        (
            "inputs",
            json!({ "type": "object", "minProperties": 1, "additionalProperties": refer("textPattern") }),
        ),
        ("dependents", refer("texts")),
        ("rotate", rotate),
        (
            "labels",
            json!({
                "type": "object",
                "minProperties": 1,
                "maxProperties": MOST_LABELS,
                "propertyNames": { "type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$" },
                "additionalProperties": refer("text"),
            }),
        ),
        ("each", refer("each")),
    ];
    let known: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    // What a key of a kind holds, its reader decides.
    let own = KINDS
        .iter()
        .flat_map(|kind| kind.keys)
        .filter(|key| !known.contains(key));
    properties.extend(own.map(|key| (*key, json!({}))).collect::<Vec<_>>());
    let mut credential = object(
        &properties,
        &["kind", "max_ttl", "owner", "purpose", "class"],
    );
    let of_kind = KINDS.iter().map(|kind| {
        let others = KINDS
            .iter()
            .flat_map(|other| other.keys)
            .filter(|key| !kind.keys.contains(key));
        let refused: Map<_, _> = others
            .filter(|key| !known.contains(key))
            .map(|key| ((*key).to_owned(), Value::Bool(false)))
            .collect();
        json!({
            "if": { "properties": { "kind": { "const": kind.name } }, "required": ["kind"] },
            "then": { "properties": refused },
        })
    });
    if let Some(members) = credential.as_object_mut() {
        members.insert("allOf".to_owned(), of_kind.collect());
    }
    credential
}

fn policy() -> Value {
    let grant = object(
        &[
            ("credential", refer("name")),
            ("ttl", refer("duration")),
            ("scopes", refer("texts")),
        ],
        &["credential", "ttl"],
    );
    object(
        &[
            ("name", refer("name")),
            ("issuer", refer("texts")),
            ("when", refer("requestBlocks")),
            ("until", refer("time")),
            ("shadow_until", refer("time")),
            ("grant", list_of(&grant)),
            ("each", refer("each")),
        ],
        &["name", "issuer", "when", "grant"],
    )
}

fn requirement() -> Value {
    object(
        &[
            ("name", refer("name")),
            (
                "of",
                json!({ "anyOf": [{ "const": "all" }, refer("selector")] }),
            ),
            ("jobs", refer("requirementBlock")),
            ("unless", refer("requirementBlock")),
            ("because", refer("prose")),
            ("shadow_until", refer("time")),
        ],
        &["name", "of", "jobs", "because"],
    )
}

fn selector() -> Value {
    let several = |word: Value| json!({ "anyOf": [word, list_of(&word)] });
    let mut selector = object(
        &[
            ("credential", refer("textsOrGlobs")),
            ("class", several(refer("class"))),
            ("kind", several(words(KINDS.iter().map(|kind| kind.name)))),
            (
                "owner",
                json!({ "anyOf": [refer("prose"), list_of(&refer("prose"))] }),
            ),
            ("target", refer("texts")),
        ],
        &[],
    );
    if let Some(members) = selector.as_object_mut() {
        members.insert("minProperties".to_owned(), 1.into());
    }
    selector
}

fn team() -> Value {
    let bounds = KINDS.iter().flat_map(|kind| kind.teams);
    let limits = bounds.chain([&RESOURCE]).map(|bound| bound.uses);
    let mut keys: Vec<_> = limits.map(|key| (key, refer("textsOrGlobs"))).collect();
    keys.push(("at_least", refer("class")));
    let uses = object(&keys, &["at_least"]);
    let targeted = KINDS.iter().filter(|kind| kind.keys.contains(&"target"));
    let reached =
        json!({ "allOf": [refer("text"), { "not": words(targeted.map(|kind| kind.name)) }] });
    let waive = texts_of(&words(RULES.iter().map(|rule| rule.id)));
    object(
        &[
            ("folder", refer("text")),
            ("names", refer("textsOrGlobs")),
            ("jobs", refer("requirementBlock")),
            ("uses", map_of(&uses, &reached)),
            ("owner", refer("prose")),
            (
                "may",
                object(&[("max_ttl", refer("duration")), ("waive", waive)], &[]),
            ),
            ("borrows", list_of(&refer("name"))),
        ],
        &["folder", "names", "jobs"],
    )
}

fn roster() -> Value {
    let row =
        json!({ "type": "object", "minProperties": 1, "additionalProperties": refer("text") });
    let mut roster = object(
        &[
            ("key", refer("text")),
            ("file", refer("text")),
            ("rows", list_of(&row)),
        ],
        &["key"],
    );
    if let Some(members) = roster.as_object_mut() {
        let one = json!([{ "required": ["file"] }, { "required": ["rows"] }]);
        members.insert("oneOf".to_owned(), one);
    }
    roster
}

/// One text or a list of different ones.
fn texts_of(word: &Value) -> Value {
    json!({ "anyOf": [word, { "type": "array", "minItems": 1, "uniqueItems": true, "items": word }] })
}

fn refer(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn list_of(item: &Value) -> Value {
    json!({ "type": "array", "minItems": 1, "items": item })
}

fn map_of(value: &Value, names: &Value) -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": names,
        "additionalProperties": value,
    })
}

fn object(properties: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<_, _> = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({ "enum": words.into_iter().collect::<Vec<_>>() })
}
