//! What a condition is about, as terms over the claims.

use super::claims::{Claims, Kind, is_one_of};
use super::term::{all, any, apply, equal, not, text};
use crate::policy::Subject;
use crate::provider::{
    ClaimType, Cut, Derivation, Fact, FactType, PropertyType, REF_TYPES, Reader, Source, TRIGGERS,
};

/// A job's value: terms that say whether there is one, and what it is.
pub(super) enum Seen {
    /// No job has one.
    Never,
    Text {
        present: String,
        value: String,
    },
    Truth {
        present: String,
        value: String,
    },
    /// The list in a claim.
    List(usize),
    /// The workflow in a claim.
    Workflow(usize),
    /// The file in the path of the workflow in a claim.
    File {
        number: usize,
        cut: Cut,
    },
    Address,
    /// Seconds since it was, at the time of the request.
    Age {
        present: String,
        seconds: String,
    },
    /// A claim of any kind.
    Raw(usize),
    /// There is no term for it.
    Unsaid,
}

impl Seen {
    fn text_of(claims: &Claims, number: usize) -> Self {
        Self::Text {
            present: claims.kind_is(number, Kind::Text),
            value: claims.text(number),
        }
    }

    /// That it is a text, and the text.
    pub(super) fn text(&self, claims: &Claims) -> Option<(String, String)> {
        match self {
            Self::Text { present, value } => Some((present.clone(), value.clone())),
            Self::Raw(number) => Some((claims.kind_is(*number, Kind::Text), claims.text(*number))),
            Self::Never
            | Self::Truth { .. }
            | Self::List(_)
            | Self::Workflow(_)
            | Self::File { .. }
            | Self::Address
            | Self::Age { .. }
            | Self::Unsaid => None,
        }
    }

    /// That it is true or false, and which.
    pub(super) fn truth(&self, claims: &Claims) -> Option<(String, String)> {
        match self {
            Self::Truth { present, value } => Some((present.clone(), value.clone())),
            Self::Raw(number) => {
                Some((claims.kind_is(*number, Kind::Truth), claims.truth(*number)))
            }
            Self::Never
            | Self::Text { .. }
            | Self::List(_)
            | Self::Workflow(_)
            | Self::File { .. }
            | Self::Address
            | Self::Age { .. }
            | Self::Unsaid => None,
        }
    }

    /// That it is a workflow, and the text of it.
    pub(super) fn workflow(&self, claims: &Claims) -> Option<(String, String)> {
        let Self::Workflow(number) = self else {
            return None;
        };
        Some((claims.kind_is(*number, Kind::Text), claims.text(*number)))
    }

    pub(super) fn age(&self) -> Option<(String, String)> {
        let Self::Age { present, seconds } = self else {
            return None;
        };
        Some((present.clone(), seconds.clone()))
    }
}

/// What the subject is in tokens that the reader reads.
pub(super) fn seen(claims: &mut Claims, subject: &Subject, reader: &Reader) -> Seen {
    match subject {
        Subject::Issuer => Seen::Text {
            present: "true".to_owned(),
            value: text(&reader.issuer.name),
        },
        Subject::Claim(pointer) if Claims::is_in_list(reader, pointer) => Seen::Unsaid,
        Subject::Claim(pointer) => Seen::Raw(claims.claim(pointer)),
        Subject::Property(name) => match reader.property_source(name) {
            None => Seen::Never,
            Some((pointer, property)) => {
                let number = claims.claim(&pointer);
                match property {
                    PropertyType::Text => Seen::text_of(claims, number),
                    PropertyType::Boolean => flag(claims, number),
                    PropertyType::List => Seen::List(number),
                }
            }
        },
        Subject::Fact(fact) => of_fact(claims, *fact, reader),
    }
}

fn of_fact(claims: &mut Claims, fact: Fact, reader: &Reader) -> Seen {
    match reader.fact_type(fact) {
        FactType::Network => return Seen::Address,
        FactType::Clock => return Seen::Unsaid,
        FactType::Age | FactType::Text | FactType::Bool | FactType::List | FactType::Workflow => {}
    }
    match reader.source(fact) {
        Source::Never => Seen::Never,
        Source::Derived(derivation) => derived(claims, fact, derivation, reader),
        Source::Trigger(pointers) => trigger(claims, &pointers, reader),
        Source::Claim(pointer) => {
            let number = claims.claim(&pointer);
            of_claim(claims, fact, number, &pointer, reader)
        }
    }
}

/// A fact that is one claim as sent.
fn of_claim(
    claims: &mut Claims,
    fact: Fact,
    number: usize,
    pointer: &str,
    reader: &Reader,
) -> Seen {
    let types = reader.claim_types(pointer);
    let [claim_type] = types.as_slice() else {
        return Seen::Unsaid;
    };
    match (reader.fact_type(fact), claim_type) {
        (FactType::Workflow, ClaimType::Text) => Seen::Workflow(number),
        (FactType::Text, ClaimType::Text) => Seen::text_of(claims, number),
        (FactType::Text, ClaimType::Number) => Seen::Text {
            present: claims.kind_is(number, Kind::Number),
            value: claims.text(number),
        },
        (FactType::Bool, ClaimType::FlagText) => flag(claims, number),
        (FactType::Bool, ClaimType::Boolean) => Seen::Truth {
            present: claims.kind_is(number, Kind::Truth),
            value: claims.truth(number),
        },
        (FactType::List, ClaimType::List) => Seen::List(number),
        (FactType::Age, ClaimType::Number) => {
            let since = claims.number(number);
            let latest = format!("(+ time {})", reader.issuer.leeway);
            let not_ahead = apply("<=", &[&since, &latest]);
            Seen::Age {
                present: all(&[claims.kind_is(number, Kind::Number), not_ahead]),
                seconds: format!("(- time {since})"),
            }
        }
        _ => Seen::Unsaid,
    }
}

/// A boolean that is sent as text.
fn flag(claims: &Claims, number: usize) -> Seen {
    Seen::Truth {
        present: claims.kind_is(number, Kind::Text),
        value: equal(&claims.text(number), &text("true")),
    }
}

fn top(claims: &mut Claims, name: &str) -> usize {
    claims.claim(&format!("/{name}"))
}

fn derived(claims: &mut Claims, fact: Fact, derivation: Derivation, reader: &Reader) -> Seen {
    match derivation {
        Derivation::Words {
            claim,
            words,
            other,
        } => {
            let number = top(claims, claim);
            of_words(claims, fact, number, words, other)
        }
        Derivation::Ref { full, name, word } => full_ref(claims, [full, name, word]),
        Derivation::RefType { full: name, word } => {
            let is_ref = match reader.source(Fact::Ref) {
                Source::Claim(pointer) => pointer.strip_prefix('/') == Some(name),
                Source::Derived(Derivation::Ref { full, .. }) => full == name,
                Source::Derived(_) | Source::Trigger(_) | Source::Never => false,
            };
            let full = if is_ref {
                of_fact(claims, Fact::Ref, reader)
            } else {
                let number = top(claims, name);
                Seen::text_of(claims, number)
            };
            let word = top(claims, word);
            ref_type(claims, full, word)
        }
        Derivation::Differ(one, other) => {
            let (one, other) = (top(claims, one), top(claims, other));
            let present = [one, other].map(|number| claims.kind_is(number, Kind::Text));
            Seen::Truth {
                present: all(&present),
                value: not(&equal(&claims.text(one), &claims.text(other))),
            }
        }
        Derivation::Confirmed { claim, by } => confirmed(claims, claim, by),
        Derivation::SecondFactor { methods, class } => {
            second_factor(claims, [methods, class], reader)
        }
        Derivation::File { claim, cut } => Seen::File {
            number: top(claims, claim),
            cut,
        },
    }
}

/// One of a few words for the texts of a claim.
fn of_words(
    claims: &mut Claims,
    fact: Fact,
    number: usize,
    words: &[(&'static str, &'static str)],
    other: Option<&'static str>,
) -> Seen {
    let (is_text, sent) = (claims.kind_is(number, Kind::Text), claims.text(number));
    let texts: Vec<&str> = words.iter().map(|(_, text)| *text).collect();
    let is_known = all(&[is_text.clone(), is_one_of(&sent, &texts)]);
    let last = text(other.unwrap_or_default());
    let value = words.iter().rev().fold(last, |rest, (word, known)| {
        let is = all(&[is_text.clone(), equal(&sent, &text(known))]);
        choice(&is, &text(word), &rest)
    });
    Seen::Text {
        present: if other.is_some() {
            "true".to_owned()
        } else {
            is_known
        },
        value: claims.computed(fact, value),
    }
}

/// The full ref as sent, or else built of a short name and its type.
fn full_ref(claims: &mut Claims, names: [&str; 3]) -> Seen {
    let [number, short, word] = names.map(|name| top(claims, name));
    let (is_sent, sent) = (claims.kind_is(number, Kind::Text), claims.text(number));
    let is_built = all(&[
        claims.kind_is(short, Kind::Text),
        claims.kind_is(word, Kind::Text),
        is_one_of(&claims.text(word), &["branch", "tag"]),
    ]);
    let after = |prefix: &str| apply("str.++", &[text(prefix), claims.text(short)]);
    let is_branch = equal(&claims.text(word), &text("branch"));
    let built = choice(&is_branch, &after("refs/heads/"), &after("refs/tags/"));
    Seen::Text {
        present: any(&[is_sent.clone(), is_built]),
        value: claims.computed(Fact::Ref, choice(&is_sent, &sent, &built)),
    }
}

/// The type by the full ref where that says it, else by the word.
fn ref_type(claims: &mut Claims, full: Seen, word: usize) -> Seen {
    let Seen::Text { present, value } = full else {
        return Seen::Unsaid;
    };
    let is_said = claims.kind_is(word, Kind::Text);
    let said = claims.text(word);
    let by_word = ["branch", "tag"].into_iter().rev();
    let by_word = by_word.fold(text("other"), |rest, known| {
        choice(&equal(&said, &text(known)), &text(known), &rest)
    });
    let begins = |prefix: &str| {
        let begins = apply("str.prefixof", &[text(prefix), value.clone()]);
        all(&[present.clone(), begins])
    };
    let by_ref = REF_TYPES.iter().rev();
    let by_ref = by_ref.fold(by_word, |rest, (prefix, kind)| {
        choice(&begins(prefix), &text(kind), &rest)
    });
    let prefixes = REF_TYPES.iter().map(|(prefix, _)| begins(prefix));
    Seen::Text {
        present: any(&prefixes.chain([is_said]).collect::<Vec<_>>()),
        value: claims.computed(Fact::RefType, by_ref),
    }
}

/// The word of the first of the claims that is present, `other` without one.
fn trigger(claims: &mut Claims, pointers: &[String], reader: &Reader) -> Seen {
    let mut value = text("other");
    for pointer in pointers.iter().rev() {
        let number = claims.claim(pointer);
        let types = reader.claim_types(pointer);
        if types != [ClaimType::Text] {
            return Seen::Unsaid;
        }
        let sent = claims.text(number);
        let word = choice(&is_one_of(&sent, &TRIGGERS), &sent, &text("other"));
        value = choice(&claims.kind_is(number, Kind::Text), &word, &value);
    }
    Seen::Text {
        present: "true".to_owned(),
        value: claims.computed(Fact::Trigger, value),
    }
}

/// Whether the token says that there was a second factor.
fn second_factor(claims: &mut Claims, [methods, class]: [&str; 2], reader: &Reader) -> Seen {
    let (methods, class) = (top(claims, methods), top(claims, class));
    let named = &reader.second_factor;
    let entries = named.amr.iter().map(|method| claims.entry(methods, method));
    let entries: Vec<_> = entries.collect();
    let (is_list, is_class) = (
        claims.kind_is(methods, Kind::List),
        claims.kind_is(class, Kind::Text),
    );
    let classes: Vec<&str> = named.acr.iter().map(String::as_str).collect();
    let by_class = is_one_of(&claims.text(class), &classes);
    Seen::Truth {
        present: any(&[is_list.clone(), is_class.clone()]),
        value: any(&[all(&[is_list, any(&entries)]), all(&[is_class, by_class])]),
    }
}

/// A text that counts where another claim is true.
fn confirmed(claims: &mut Claims, claim: &str, by: &str) -> Seen {
    let (claim, by) = (top(claims, claim), top(claims, by));
    Seen::Text {
        present: all(&[
            claims.kind_is(by, Kind::Truth),
            claims.truth(by),
            claims.kind_is(claim, Kind::Text),
        ]),
        value: claims.text(claim),
    }
}

fn choice(condition: &str, then: &str, otherwise: &str) -> String {
    apply("ite", &[condition, then, otherwise])
}
