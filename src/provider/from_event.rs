//! Facts as an audit event has them: what a broker read from a verified token earlier.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::claims::set;
use super::{Fact, FactType, FactValue, Facts, Reader, Workflow};
use crate::text::CUT_MARK;
use crate::token::json::{Limits, Object, parse_object};

/// A job as an event describes it. It is no evidence.
#[derive(Debug)]
pub struct RecordedJob {
    pub facts: Facts,
    /// The pointers of the claims that the event records.
    pub known: BTreeSet<String>,
    /// The lists that the event has as one text with commas, as earlier versions wrote them: an entry
    /// may have commas.
    pub joined: BTreeSet<Fact>,
}

impl Reader {
    /// The job of an event, from its facts and raw claims.
    ///
    /// # Errors
    /// The event does not say enough, in a sentence.
    pub fn recorded(
        &self,
        job: &Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> Result<RecordedJob, String> {
        let known = claims.iter().filter(|(_, value)| is_known(value));
        let known: BTreeSet<_> = known.map(|(pointer, _)| pointer.clone()).collect();
        let object = object(&known, claims)?;
        let address = match job.get(Fact::SourceIp.name()).and_then(Value::as_str) {
            Some(text) => Some(
                text.parse()
                    .map_err(|_| "the event has no address in `source_ip`")?,
            ),
            None => None,
        };
        let mut joined = BTreeSet::new();
        let facts = if self.claim_map.is_empty() {
            let mut values = BTreeMap::new();
            for (name, value) in job {
                // A fact that this version does not have is read by no policy.
                let fact = Fact::from_name(name).filter(|fact| *fact != Fact::SourceIp);
                if let Some(fact) = fact {
                    let is_list = self.fact_type(fact) == FactType::List;
                    if is_list && value.as_str().is_some_and(|text| text.contains(',')) {
                        joined.insert(fact);
                    }
                    values.insert(fact, self.value(fact, value)?);
                }
            }
            Facts {
                issuer: Arc::clone(&self.issuer),
                provider: self.provider,
                values,
                properties: self
                    .read_properties(&object)
                    .map_err(|error| error.to_string())?,
                claims: object,
                decided_at: None,
                pointers: Arc::clone(&self.pointers),
            }
        } else {
            for mapped in self.claim_map.values() {
                let is_exact = claims.get(&mapped.pointer).is_some_and(is_exact);
                if !is_exact {
                    return Err(unrecorded(&mapped.pointer));
                }
            }
            self.facts(object).map_err(|error| error.to_string())?
        };
        Ok(RecordedJob {
            facts: facts.from_address(address),
            known,
            joined,
        })
    }

    fn value(&self, fact: Fact, value: &Value) -> Result<FactValue, String> {
        Ok(match (self.fact_type(fact), value) {
            (FactType::Bool, Value::Bool(value)) => FactValue::Bool(*value),
            (_, Value::String(text)) if text.ends_with(CUT_MARK) => return Err(only_front(fact)),
            (FactType::Text, Value::String(text)) => FactValue::Text(text.clone()),
            (FactType::Workflow, Value::String(text)) => FactValue::Workflow(Workflow::parse(text)),
            (FactType::List, Value::String(text)) => {
                FactValue::List(text.split(',').map(str::to_owned).collect())
            }
            (FactType::List, Value::Array(entries)) => {
                let entries = entries.iter().map(|entry| match entry.as_str() {
                    Some(text) if text.ends_with(CUT_MARK) => Err(only_front(fact)),
                    Some(text) => Ok(text.to_owned()),
                    None => Err(other_type(fact)),
                });
                FactValue::List(entries.collect::<Result<_, _>>()?)
            }
            (FactType::Age, Value::String(text)) => {
                let time = text.parse();
                FactValue::Time(time.map_err(|_| format!("the event has no time in `{fact}`"))?)
            }
            (_, _) => return Err(other_type(fact)),
        })
    }
}

fn only_front(fact: Fact) -> String {
    format!("the event has only the front of `{fact}`")
}

fn other_type(fact: Fact) -> String {
    format!("the event has `{fact}` with another type")
}

/// What is missing from an event.
pub(crate) fn unrecorded(pointer: &str) -> String {
    format!(
        "a policy reads `{}`, which the event does not record",
        crate::text::escape(pointer)
    )
}

/// Claims under their pointers. Of lists, numbers and objects that are not recorded only the presence
/// counts, which an object has too.
fn object(known: &BTreeSet<String>, claims: &Map<String, Value>) -> Result<Object, String> {
    let mut members = Map::new();
    // In order, so that an object comes before what is in it.
    for pointer in known {
        match claims.get(pointer) {
            None | Some(Value::Null) => {}
            Some(Value::Object(of_type)) => {
                let is_foreign = of_type.get("type").and_then(Value::as_str) == Some("foreign");
                let value = if is_foreign {
                    Value::from("\u{fffd}")
                } else {
                    Value::Object(Map::new())
                };
                set(&mut members, pointer, value);
            }
            Some(value) => {
                set(&mut members, pointer, value.clone());
            }
        }
    }
    let text = Value::Object(members).to_string();
    parse_object(text.as_bytes(), &Limits::default())
        .map_err(|error| format!("the event's claims are not readable: {error}"))
}

/// Whether conditions can be decided by what was recorded: a text that was too long cannot.
fn is_known(value: &Value) -> bool {
    value.get("type").and_then(Value::as_str) != Some("text")
}

/// Whether the value itself was recorded, or that there is none.
fn is_exact(value: &Value) -> bool {
    !value.is_object()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_of_an_event_has_the_facts_of_the_event() {
        let people = crate::provider::find("people").unwrap();
        let reader = Reader::usual(people, "https://id.example");
        let job = json!({ "user_id": "00u1", "groups": "a,b", "mfa": true, "trigger": "person", "signed_in": "2026-11-28T22:00:00Z" });
        let job = job.as_object().unwrap();
        let recorded = reader.recorded(job, &Map::new()).unwrap();
        let signed_in = recorded.facts.get(Fact::SignedIn);
        let at = "2026-11-28T22:00:00Z".parse().unwrap();
        assert_eq!(signed_in, Some(&FactValue::Time(at)));
        assert!(recorded.joined.contains(&Fact::Groups));
        let listed = json!({ "groups": ["cn=a,dc=b", "c"] });
        let recorded = reader.recorded(listed.as_object().unwrap(), &Map::new());
        let recorded = recorded.unwrap();
        let entries = vec!["cn=a,dc=b".to_owned(), "c".to_owned()];
        let groups = recorded.facts.get(Fact::Groups);
        assert_eq!(groups, Some(&FactValue::List(entries)));
        assert!(recorded.joined.is_empty());
        for (groups, problem) in [
            (
                json!(["a", "[cut]"]),
                "the event has only the front of `groups`",
            ),
            (json!(["a", 7]), "the event has `groups` with another type"),
        ] {
            let job = json!({ "groups": groups });
            let refused = reader.recorded(job.as_object().unwrap(), &Map::new());
            assert_eq!(refused.unwrap_err(), problem);
        }
        let wrong = json!({ "signed_in": "a while ago" });
        let refused = reader.recorded(wrong.as_object().unwrap(), &Map::new());
        assert_eq!(refused.unwrap_err(), "the event has no time in `signed_in`");
    }
}
