//! The values of a job as the claims of a token, read back by the provider.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value as Json};

use super::search::Values;
use super::space::{Form, Key, Space};
use super::value::Value;
use crate::clock::Timestamp;
use crate::provider::{Facts, Reader};
use crate::token::json::{Limits, list_index, parse_object, unescape_step};

/// A job, as a token of its issuer says it. Claims that no condition is about are left out.
#[derive(Clone, Debug)]
pub struct Witness {
    pub facts: Facts,
    pub claims: Map<String, Json>,
}

impl Witness {
    /// The claims that are no fact.
    pub fn raw_claims(&self) -> impl Iterator<Item = (&String, &Json)> {
        let provider = self.facts.provider();
        let is_raw = |name: &str| name != "iss" && provider.fact_of_claim(name).is_none();
        self.claims.iter().filter(move |(name, _)| is_raw(name))
    }
}

/// The claims of the job, and its facts at the moment of its request; `at`, where no condition is about
/// that.
///
/// # Errors
/// The reader does not accept such a token, or none can be written: the reason.
pub(super) fn witness(
    space: &Space<'_>,
    values: &Values,
    reader: &Reader,
    at: Timestamp,
) -> Result<Witness, String> {
    let at = space.moment_of(values).unwrap_or(at);
    let mut address: Option<IpAddr> = None;
    let mut token = Json::Object(Map::new());
    set(&mut token, "/iss", reader.issuer.url.as_str().into());
    let mut members = Vec::new();
    for (number, (claim, value)) in space.claims.iter().zip(values).enumerate() {
        match (&claim.key, value) {
            (Key::Address, Value::Text(text)) => address = text.parse().ok(),
            (Key::Claim(pointer), value) => members.push((pointer, number, claim, value)),
            (Key::Address | Key::Moment | Key::AnyEntry(_) | Key::Entry(..), _) => {}
        }
    }
    // An object before its members.
    members.sort_by_key(|(pointer, ..)| *pointer);
    for (pointer, number, claim, value) in members {
        let json = match (claim.form, value) {
            (_, Value::Absent) => continue,
            (Form::Number | Form::Age, Value::Text(digits)) => {
                let number: i64 = digits
                    .parse()
                    .map_err(|_| format!("`{pointer}` is a long number"))?;
                if claim.form == Form::Age {
                    at.plus(number.saturating_neg()).unix().into()
                } else {
                    number.into()
                }
            }
            (Form::Plain | Form::List, Value::Text(text)) => text.as_str().into(),
            (_, Value::Bool(value)) => (*value).into(),
            (Form::List, Value::Other) => {
                // Empty entries up to the last index that is named.
                let claims = space.claims.iter().zip(values);
                let present = claims.filter(|(_, value)| **value != Value::Absent);
                let last = present
                    .filter_map(|(claim, _)| space.index(number, claim))
                    .max();
                let length = last.map_or(0, |last| last.saturating_add(1));
                if length > MOST_ENTRIES {
                    return Err(format!("`{pointer}` is a long list"));
                }
                let mut sent = vec![String::new(); length];
                sent.extend(entries(space, values, number));
                sent.into()
            }
            (Form::List, Value::Foreign) => {
                let mut entries = entries(space, values, number);
                entries.insert(0, FOREIGN.to_owned());
                entries.join(",").into()
            }
            (Form::Plain | Form::Number | Form::Age, Value::Other) => Json::Object(Map::new()),
            (Form::Plain | Form::Number | Form::Age, Value::Foreign) => FOREIGN.into(),
        };
        set(&mut token, pointer, json)
            .ok_or_else(|| format!("no token has `{pointer}` beside its other claims"))?;
    }
    let object = parse_object(token.to_string().as_bytes(), &Limits::default())
        .map_err(|error| format!("the token is not read: {error}"))?;
    let facts = reader.facts(object).map_err(|error| error.to_string())?;
    let facts = facts.from_address(address).at(at).into_owned();
    let claims = facts.claims().to_json();
    Ok(Witness { facts, claims })
}

/// Sets a member of an object, or an entry of a list, that is in the token already.
pub(super) fn set(token: &mut Json, pointer: &str, value: Json) -> Option<()> {
    let (parent, name) = pointer.rsplit_once('/')?;
    match token.pointer_mut(parent)? {
        Json::Object(members) => {
            members.insert(unescape_step(name)?, value);
        }
        Json::Array(entries) => *entries.get_mut(list_index(name)?)? = value,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return None,
    }
    Some(())
}

/// The entries of a list that is not empty.
fn entries(space: &Space<'_>, values: &Values, list: usize) -> Vec<String> {
    let is_set = |number: usize| values.get(number) == Some(&Value::Bool(true));
    let mut named = BTreeSet::new();
    let (mut has_any, mut entries) = (false, Vec::new());
    for (number, claim) in space.claims.iter().enumerate() {
        match &claim.key {
            Key::AnyEntry(of) if *of == list => has_any = is_set(number),
            Key::Entry(of, entry) if *of == list => {
                named.insert(entry.as_str());
                if is_set(number) {
                    entries.push(entry.clone());
                }
            }
            Key::AnyEntry(_) | Key::Entry(..) | Key::Claim(_) | Key::Address | Key::Moment => {}
        }
    }
    if entries.is_empty() {
        // An empty entry is none that conditions read.
        let mut further = String::new();
        if has_any {
            further.push_str("other");
            while named.contains(further.as_str()) {
                further.push('s');
            }
        }
        entries.push(further);
    }
    entries
}

/// Entries up to an index that a condition names.
const MOST_ENTRIES: usize = 1_000;
/// A text in another script.
const FOREIGN: &str = "\u{e4}";
