//! Facts to claims: the inverse of a provider's reader. Not: which facts a job should have.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::claims::text_of;
use super::{Fact, FactValue, Facts, Provider, Reader, TRIGGERS};
use crate::text::escape;
use crate::token::json as strict;

impl Reader {
    /// The facts of a token that this reader reads as the given ones. Facts that follow from them are
    /// filled in. `raw` are further claims.
    ///
    /// # Errors
    /// No token of the issuer has these facts: the end of a sentence about the job.
    pub fn facts_of(
        &self,
        given: &BTreeMap<Fact, FactValue>,
        raw: &Map<String, Value>,
    ) -> Result<Facts, String> {
        owner_is(given, self.provider)?;
        let mut facts = given.clone();
        let address = match facts.remove(&Fact::SourceIp) {
            Some(FactValue::Address(address)) => Some(address),
            Some(_) | None => None,
        };
        if let Some(event) = self.event(given)? {
            facts.insert(Fact::Event, FactValue::Text(event));
        }
        let mut claims = self.written(&facts);
        claims.insert("iss".to_owned(), self.issuer.url.as_str().into());
        for (name, value) in raw {
            if let Some(fact) = self.provider.fact_of_claim(name) {
                return Err(format!("has the claim `{name}`; write it as fact `{fact}`"));
            }
            claims.insert(name.clone(), value.clone());
        }
        let bytes = Value::Object(claims).to_string();
        let claims = strict::parse_object(bytes.as_bytes(), &strict::Limits::default())
            .map_err(|error| format!("is not a token: {error}"))?;
        let facts = self.facts(claims).map_err(|error| error.to_string())?;
        let facts = facts.from_address(address);
        for (fact, value) in given {
            let read = facts.get(*fact);
            if read == Some(value) {
                continue;
            }
            let issuer = &self.issuer.name;
            return Err(match read {
                None => format!(
                    "has `{fact}`, which a token of issuer `{issuer}` with these facts does not contain"
                ),
                Some(read) => format!(
                    "has `{fact}: {value}`, but a token of issuer `{issuer}` with its other facts has `{read}`"
                ),
            });
        }
        Ok(facts)
    }

    /// The event of the run, if it is not given: the usual one of the trigger.
    ///
    /// # Errors
    /// The job has neither, or no event of the provider has the trigger.
    fn event(&self, given: &BTreeMap<Fact, FactValue>) -> Result<Option<String>, String> {
        let is_claimed = self.claim_map.contains_key(&Fact::Trigger);
        if !self.has_events() || is_claimed || given.contains_key(&Fact::Event) {
            return Ok(None);
        }
        let Some(trigger) = text_of(given, Fact::Trigger) else {
            let is_constant =
                self.provider.reading(Fact::Event).is_none() && self.claim_map.is_empty();
            return if is_constant {
                Ok(None)
            } else {
                Err("has neither `trigger` nor `event`".to_owned())
            };
        };
        let is_mapped = self.provider.claims.is_empty();
        let own = || TRIGGERS.iter().map(|word| (*word, *word)).collect();
        let events = if is_mapped {
            own()
        } else {
            self.provider.events()
        };
        if let Some((_, event)) = events.iter().find(|(word, _)| *word == trigger) {
            return Ok(Some((*event).to_owned()));
        }
        let triggers = self.provider.triggers();
        if triggers.contains(&trigger) {
            return Ok(None);
        }
        let words: Vec<String> = triggers.iter().map(|word| format!("`{word}`")).collect();
        Err(format!(
            "has trigger `{}`, which no run of this CI has; its triggers are {}",
            escape(trigger),
            words.join(", ")
        ))
    }
}

/// Checks that the owner is the one in the path of the repository.
///
/// # Errors
/// It is another.
pub(super) fn owner_is(
    facts: &BTreeMap<Fact, FactValue>,
    provider: &Provider,
) -> Result<(), String> {
    if let (Some(FactValue::Text(owner)), Some(FactValue::Text(repository))) =
        (facts.get(&Fact::Owner), facts.get(&Fact::Repository))
        // Of a provider without the owner in the path, the claims say both.
        && provider.owner_of(repository).is_some_and(|own| own != owner)
    {
        return Err(format!(
            "has owner `{}`, which is not the owner of repository `{}`",
            escape(owner),
            escape(repository)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::provider;

    fn reader(name: &str, claims: &strict::Object) -> Reader {
        let issuer = claims.get("iss").and_then(strict::Value::as_text);
        let issuer = issuer.unwrap_or("https://spiffe.example");
        Reader::usual(provider::find(name).unwrap(), issuer)
    }

    /// The law of an inverse, on every sample token.
    #[test]
    fn facts_rendered_as_claims_read_back_as_the_same_facts() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ci-tokens");
        let mut seen = 0;
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let stem = name.split('.').next().unwrap();
            let mut all = provider::PROVIDERS.iter();
            let known =
                all.find(|one| stem == one.name || stem.starts_with(&format!("{}-", one.name)));
            let Some(provider) = known.map(|known| known.name) else {
                continue;
            };
            let bytes = fs::read(&path).unwrap();
            let claims = strict::parse_object(&bytes, &strict::Limits::default()).unwrap();
            let reader = reader(provider, &claims);
            let facts = reader.facts(claims).unwrap();
            let given: BTreeMap<_, _> = facts.iter().map(|(fact, v)| (fact, v.clone())).collect();
            let again = reader.facts_of(&given, &Map::new());
            let again = again.unwrap_or_else(|problem| panic!("{name}: a job that {problem}"));
            let read: BTreeMap<_, _> = again.iter().map(|(fact, v)| (fact, v.clone())).collect();
            assert_eq!(read, given, "{name}");
            seen += 1;
        }
        assert_eq!(seen, 33);
    }

    #[test]
    fn a_job_that_no_token_is_of_is_refused() {
        let text = |text: &str| FactValue::Text(text.to_owned());
        let given = |facts: &[(Fact, FactValue)]| facts.iter().cloned().collect();
        let of = |provider: &str, facts: &[(Fact, FactValue)]| {
            let provider = provider::find(provider).unwrap();
            Reader::usual(provider, provider.usual_issuer.unwrap())
                .facts_of(&given(facts), &Map::new())
        };
        let push = (Fact::Trigger, text("push"));
        let tag = (Fact::Ref, text("refs/tags/v1"));
        for (provider, facts) in [
            ("github", vec![(Fact::Repository, text("acme/shop"))]),
            ("github", vec![push.clone(), (Fact::Event, text("issues"))]),
            (
                "github",
                vec![push.clone(), tag.clone(), (Fact::RefType, text("branch"))],
            ),
            (
                "github",
                vec![push.clone(), (Fact::FromFork, FactValue::Bool(true))],
            ),
            (
                "github",
                vec![
                    push.clone(),
                    (Fact::Repository, text("a/b")),
                    (Fact::Owner, text("c")),
                ],
            ),
            ("gitlab", vec![(Fact::Trigger, text("release"))]),
            (
                "gitlab",
                vec![
                    push.clone(),
                    (Fact::Ref, text("refs/heads/a")),
                    (Fact::RefType, text("tag")),
                ],
            ),
        ] {
            assert!(of(provider, &facts).is_err(), "{facts:?}");
        }
        let filled = of("github", &[push, tag]).unwrap();
        assert_eq!(filled.text(Fact::Event), Some("push"));
        assert_eq!(filled.text(Fact::RefType), Some("tag"));
    }
}
