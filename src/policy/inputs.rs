//! Checks the inputs of a request against the credential: its kind's grammar, and the patterns of
//! its definition.

use super::pattern::{Observed, Pattern};
use super::{Ask, CredentialDefinition, PolicySet};
use crate::text::escape;

/// Why the inputs of a request are rejected. The texts quote no value: a private key sent by
/// mistake must not end up in a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The kind has no input of that name.
    #[error("credential `{credential}` is of kind `{kind}`, which takes {known}, and not `{name}`")]
    Unknown {
        credential: String,
        kind: &'static str,
        known: String,
        /// The input that was sent.
        name: String,
    },
    /// The kind requires it.
    #[error("credential `{credential}` is of kind `{kind}`, which needs input `{name}`: {summary}")]
    Missing {
        credential: String,
        kind: &'static str,
        name: &'static str,
        summary: &'static str,
    },
    /// The kind rejects the value.
    #[error("input `{name}` of credential `{credential}` {problem}")]
    Value {
        credential: String,
        name: &'static str,
        /// The end of the sentence.
        problem: String,
    },
    /// The definition does not allow the input.
    #[error("input `{name}` is not one that credential `{credential}` allows under `inputs`")]
    NotAllowed {
        credential: String,
        name: &'static str,
    },
}

impl PolicySet {
    /// Checks the inputs of a permitted request. For any other request, the result would disclose
    /// what a credential accepts.
    ///
    /// # Errors
    /// The first input that is wrong.
    pub fn check_inputs(&self, ask: &Ask) -> Result<(), InputError> {
        let definition = self.credential(&ask.credential);
        definition.map_or(Ok(()), |definition| definition.check_inputs(&ask.inputs))
    }
}

impl CredentialDefinition {
    /// Checks the inputs of a request. An input that the definition restricts must be sent, because
    /// a missing value matches no pattern.
    ///
    /// # Errors
    /// The first input that is wrong.
    pub fn check_inputs(&self, inputs: &super::Inputs) -> Result<(), InputError> {
        let (kind, known) = (self.kind.name, self.kind.inputs);
        let stray = inputs
            .keys()
            .find(|name| known.iter().all(|input| input.name != name.as_str()));
        if let Some(name) = stray {
            let names: Vec<String> = known.iter().map(|one| format!("`{}`", one.name)).collect();
            return Err(InputError::Unknown {
                credential: self.name.clone(),
                kind,
                known: if names.is_empty() {
                    "no inputs".to_owned()
                } else {
                    format!("the inputs {}", names.join(", "))
                },
                name: escape(name),
            });
        }
        for input in known {
            let (name, bound) = (input.name, self.inputs.get(input.name));
            let Some(value) = inputs.get(name) else {
                if input.required || bound.is_some() {
                    return Err(InputError::Missing {
                        credential: self.name.clone(),
                        kind,
                        name,
                        summary: input.summary,
                    });
                }
                continue;
            };
            let wrong = |problem| InputError::Value {
                credential: self.name.clone(),
                name,
                problem,
            };
            input.check_value(value).map_err(wrong)?;
            let fits = |pattern: &Pattern| {
                let mut entries = input.entries(value);
                entries.all(|entry| pattern.fits(Observed::Text(entry)))
            };
            if bound.is_some_and(|pattern| !fits(pattern)) {
                return Err(InputError::NotAllowed {
                    credential: self.name.clone(),
                    name,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::credential::jwt::{JwtDefinition, KIND, Signer};
    use crate::credential::kind::{Input, Kind};
    use crate::policy::{CredentialClass, Inputs};

    static SESSIONS: Kind = Kind {
        name: "session",
        inputs: &[
            Input {
                name: "session_name",
                summary: "what the session is called",
                is_list: false,
                required: true,
                longest: 8,
                check: |value| {
                    let is_lower = value.bytes().all(|byte| byte.is_ascii_lowercase());
                    is_lower
                        .then_some(())
                        .ok_or_else(|| "must be lower-case letters".to_owned())
                },
            },
            Input {
                name: "region",
                summary: "where it is",
                is_list: false,
                required: false,
                longest: 8,
                check: |_| Ok(()),
            },
        ],
        ..KIND_FOR_TESTS
    };
    const KIND_FOR_TESTS: Kind = Kind {
        name: "",
        noun: "",
        urn: "",
        other_urns: &[],
        token_type: "",
        keys: &[],
        shortest_life: 1,
        inputs: &[],
        members: &[],
        repeat: crate::credential::kind::Repeat::Same,
        revocable: false,
        teams: &[],
        read: |_| None,
    };

    fn check(kind: &'static Kind, bounds: &[(&str, &str)], sent: &[(&str, &str)]) -> String {
        let definition = CredentialDefinition {
            name: "shop".to_owned(),
            kind,
            specific: Arc::new(JwtDefinition {
                audience: "https://shop.example".to_owned(),
                scopes: Vec::new(),
                claims: Vec::new(),
                signer: Signer::Derived,
            }),
            inputs: bounds
                .iter()
                .map(|(name, text)| ((*name).to_owned(), Pattern::Exact((*text).to_owned())))
                .collect::<BTreeMap<_, _>>(),
            max_ttl: Duration::from_secs(60),
            owner: String::new(),
            purpose: String::new(),
            class: CredentialClass::Low,
            resource: None,
            dependents: Vec::new(),
            rotate: None,
            labels: BTreeMap::new(),
        };
        let sent: Inputs = sent
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        match definition.check_inputs(&sent) {
            Ok(()) => "fits".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// T-160
    #[test]
    fn inputs_must_be_those_of_the_kind_within_its_limits() {
        let shop = &[("session_name", "shop")][..];
        assert_eq!(check(&SESSIONS, &[], shop), "fits");
        assert_eq!(check(&KIND, &[], &[]), "fits");
        insta::assert_snapshot!(check(&SESSIONS, &[], &[]), @"credential `shop` is of kind `session`, which needs input `session_name`: what the session is called");
        insta::assert_snapshot!(check(&SESSIONS, &[], &[("colour", "red")]), @"credential `shop` is of kind `session`, which takes the inputs `session_name`, `region`, and not `colour`");
        insta::assert_snapshot!(check(&KIND, &[], shop), @"credential `shop` is of kind `jwt`, which takes no inputs, and not `session_name`");
        insta::assert_snapshot!(check(&SESSIONS, &[], &[("session_name", "canary-1")]), @"input `session_name` of credential `shop` must be lower-case letters");
        insta::assert_snapshot!(check(&SESSIONS, &[], &[("session_name", "shopsshop")]), @"input `session_name` of credential `shop` has 9 bytes, at most 8 are allowed");
    }

    /// T-160
    #[test]
    fn a_definition_bounds_inputs_and_then_they_must_be_sent() {
        let bounds = &[("session_name", "shop"), ("region", "eu")][..];
        let sent = |region| check(&SESSIONS, bounds, &[("session_name", "shop"), region]);
        assert_eq!(sent(("region", "eu")), "fits");
        insta::assert_snapshot!(sent(("region", "us")), @"input `region` is not one that credential `shop` allows under `inputs`");
        insta::assert_snapshot!(check(&SESSIONS, bounds, &[("session_name", "shop")]), @"credential `shop` is of kind `session`, which needs input `region`: where it is");
    }

    static REGIONS: Kind = Kind {
        name: "regions",
        inputs: &[Input {
            name: "regions",
            summary: "where it is",
            required: false,
            is_list: true,
            longest: 24,
            check: |value| {
                let is_lower = value.bytes().all(|byte| byte.is_ascii_lowercase());
                is_lower
                    .then_some(())
                    .ok_or_else(|| "must be lower-case letters".to_owned())
            },
        }],
        ..KIND_FOR_TESTS
    };

    /// T-295
    #[test]
    fn a_list_fits_when_every_entry_fits() {
        let bounds = &[("regions", "eu")][..];
        let sent = |regions| check(&REGIONS, bounds, &[("regions", regions)]);
        assert_eq!(sent("eu"), "fits");
        assert_eq!(sent("eu,eu"), "fits");
        for regions in ["us", "eu,us", "us,eu"] {
            assert_eq!(
                sent(regions),
                "input `regions` is not one that credential `shop` allows under `inputs`"
            );
        }
        for regions in ["eu,", ",eu", "eu,,eu", ""] {
            assert_eq!(
                sent(regions),
                "input `regions` of credential `shop` has an empty entry"
            );
        }
        for regions in ["eu, eu", "eu,EU", "eu;eu"] {
            assert_eq!(
                sent(regions),
                "input `regions` of credential `shop` must be lower-case letters"
            );
        }
        assert_eq!(check(&REGIONS, &[], &[("regions", "eu,us")]), "fits");
        // The text of an input that is no list has no entries.
        let text = &[("session_name", "shop"), ("region", "eu,us")];
        assert_eq!(check(&SESSIONS, &[("region", "eu,us")], text), "fits");
        assert!(check(&SESSIONS, &[("region", "eu")], text).contains("not one that"));
    }
}
