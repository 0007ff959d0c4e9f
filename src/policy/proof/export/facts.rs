//! What a condition is about, as terms over the claims.

use super::claims::{Claims, Kind, is_one_of};
use super::term::{all, any, apply, equal, not, text};
use crate::policy::Subject;
use crate::provider::{
    ClaimType, Cut, Fact, FactType, How, PropertyType, Reader, Source, TRIGGERS, Take, Way, When,
    pointer,
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
    if let Some((line, reading)) = reader.provider.reading(fact) {
        match reading.how {
            How::Sent => {}
            How::Ways(ways) => return of_ways(claims, fact, ways),
            How::Differs(other) => return differing(claims, line.name, other),
            How::Below(top) => return joined(claims, fact, top, line.name),
        }
    }
    match reader.source(fact) {
        Source::Never => Seen::Never,
        Source::Read(..) => Seen::Unsaid,
        Source::SecondFactor => second_factor(claims, reader),
        Source::Trigger(pointers) => trigger(claims, &pointers, reader),
        Source::Claim(pointer) => {
            let number = claims.claim(&pointer);
            of_claim(claims, fact, number, &pointer, reader)
        }
    }
}

/// The text of one claim, `/`, and the text of the other.
fn joined(claims: &mut Claims, fact: Fact, top: &str, name: &str) -> Seen {
    let [top, name] = [top, name].map(|claim| claims.claim(&pointer(claim)));
    let texts = [claims.text(top), text("/"), claims.text(name)];
    Seen::Text {
        present: all(&[top, name].map(|number| claims.kind_is(number, Kind::Text))),
        value: claims.computed(fact, apply("str.++", &texts)),
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
        (FactType::Text, ClaimType::Text | ClaimType::FreeText) => Seen::text_of(claims, number),
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
    claims.claim(&pointer(name))
}

/// Whether two claims differ.
fn differing(claims: &mut Claims, one: &str, other: &str) -> Seen {
    let (one, other) = (top(claims, one), top(claims, other));
    let present = [one, other].map(|number| claims.kind_is(number, Kind::Text));
    Seen::Truth {
        present: all(&present),
        value: not(&equal(&claims.text(one), &claims.text(other))),
    }
}

/// What the first way that applies makes of the claims.
fn of_ways(claims: &mut Claims, fact: Fact, ways: &[Way]) -> Seen {
    if let [
        Way {
            claim,
            take: Take::File(cut),
            when: [],
        },
    ] = ways
    {
        return Seen::File {
            number: top(claims, claim),
            cut: *cut,
        };
    }
    let mut seen = Vec::new();
    for way in ways {
        let Some((applies, value)) = of_way(claims, way) else {
            return Seen::Unsaid;
        };
        seen.push((applies, value));
    }
    let applies: Vec<_> = seen.iter().map(|(applies, _)| applies.clone()).collect();
    let mut values = seen.into_iter().rev();
    let last = values.next().map(|(_, value)| value).unwrap_or_default();
    let value = values.fold(last, |rest, (applies, value)| {
        choice(&applies, &value, &rest)
    });
    let present = any(&applies);
    if fact.fact_type() == FactType::Bool {
        return Seen::Truth {
            present,
            value: equal(&value, &text("true")),
        };
    }
    Seen::Text {
        present,
        value: claims.computed(fact, value),
    }
}

/// When the way applies, and what it makes; `None`: there is no term for it.
fn of_way(claims: &mut Claims, way: &Way) -> Option<(String, String)> {
    let mut applies = Vec::new();
    for when in way.when {
        let number = top(claims, when.claim());
        applies.push(match when {
            When::Is(_, wanted) => all(&[
                claims.kind_is(number, Kind::Text),
                equal(&claims.text(number), &text(wanted)),
            ]),
            When::True(_) => all(&[claims.kind_is(number, Kind::Truth), claims.truth(number)]),
            When::Absent(_) => claims.kind_is(number, Kind::Absent),
        });
    }
    if let Take::Always(word) = way.take {
        return Some((all(&applies), text(word)));
    }
    let number = top(claims, way.claim);
    let sent = claims.text(number);
    applies.push(claims.kind_is(number, Kind::Text));
    let begins = |start: &str| apply("str.prefixof", &[text(start), sent.clone()]);
    let value = match way.take {
        Take::Sent => sent.clone(),
        Take::Prefixed(prefix) => apply("str.++", &[text(prefix), sent.clone()]),
        Take::Starting(start) => {
            applies.push(begins(start));
            sent.clone()
        }
        Take::Words { words, other } => {
            if other.is_none() {
                let texts: Vec<&str> = words.iter().map(|(_, text)| *text).collect();
                applies.push(is_one_of(&sent, &texts));
            }
            let last = text(other.unwrap_or_default());
            words.iter().rev().fold(last, |rest, (word, known)| {
                choice(&equal(&sent, &text(known)), &text(word), &rest)
            })
        }
        Take::Starts(words) => {
            let starts: Vec<_> = words.iter().map(|(start, _)| begins(start)).collect();
            applies.push(any(&starts));
            let words = words.iter().rev();
            words.fold(text(""), |rest, (start, word)| {
                choice(&begins(start), &text(word), &rest)
            })
        }
        Take::Word(word) => text(word),
        Take::Part(_) | Take::File(_) | Take::Always(_) => return None,
    };
    Some((all(&applies), value))
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
fn second_factor(claims: &mut Claims, reader: &Reader) -> Seen {
    let (methods, class) = (top(claims, "amr"), top(claims, "acr"));
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

fn choice(condition: &str, then: &str, otherwise: &str) -> String {
    apply("ite", &[condition, then, otherwise])
}
