//! The values of a job as the claims of a token, read back by the provider.

use std::net::IpAddr;

use serde_json::{Map, Value as Json};

use super::network::ADDRESS;
use super::search::Values;
use super::space::Space;
use super::value::Value;
use crate::provider::{Facts, Reader, set_claim};
use crate::token::json::{Limits, parse_object};

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

/// The claims of the job, and its facts.
///
/// # Errors
/// The reader does not accept such a token, or none can be written: the reason.
pub(super) fn witness(
    space: &Space<'_>,
    values: &Values,
    reader: &Reader,
) -> Result<Witness, String> {
    let mut address: Option<IpAddr> = None;
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), reader.issuer.url.as_str().into());
    let mut members: Vec<_> = space.claims.iter().zip(values).collect();
    // An object before its members.
    members.sort_by(|(one, _), (other, _)| one.pointer.cmp(&other.pointer));
    for (claim, value) in members {
        if claim.pointer == ADDRESS {
            if let Value::Text(text) = value {
                address = text.parse().ok();
            }
            continue;
        }
        let json = match value {
            Value::Absent => continue,
            Value::Text(digits) if claim.is_number => digits
                .parse::<i64>()
                .map_err(|_| format!("`{}` is a long number", claim.pointer))?
                .into(),
            Value::Text(text) => text.as_str().into(),
            Value::Bool(value) => (*value).into(),
            Value::Other => Json::Object(Map::new()),
            Value::Foreign => FOREIGN.into(),
        };
        set_claim(&mut claims, &claim.pointer, json)
            .ok_or_else(|| format!("no token has `{}` beside its other claims", claim.pointer))?;
    }
    let json = Json::Object(claims.clone()).to_string();
    let object = parse_object(json.as_bytes(), &Limits::default())
        .map_err(|error| format!("the token is not read: {error}"))?;
    let facts = reader.facts(object).map_err(|error| error.to_string())?;
    let facts = facts.from_address(address);
    Ok(Witness { facts, claims })
}

/// A text in another script.
const FOREIGN: &str = "\u{e4}";
