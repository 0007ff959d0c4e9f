//! The jobs of one issuer: its claims as variables, and conditions as constraints on them.

use std::collections::HashMap;
use std::sync::Arc;

use super::derived;
use super::lang::Lang;
use super::network::{ADDRESS, Addresses};
use super::value::{Value, ValueSet, path_of, ref_of};
use crate::policy::examples::usual_text;
use crate::policy::literals::{Literal, Variable};
use crate::provider::{ClaimType, Fact, FactType, PropertyType, Reader, Source};

/// One constraint.
#[derive(Clone, Debug)]
pub(super) enum Atom {
    /// The claim's value is in the set.
    In(usize, Arc<ValueSet>),
    /// The values of the pair of claims are equal, or differ.
    Equal(bool),
}

/// Constraints that must all hold. Without any it always holds.
pub(super) type Term = Vec<Atom>;

/// Terms of which one must hold.
pub(super) type Clause = Vec<Term>;

/// A condition: when it holds, and when it fails.
#[derive(Clone, Debug)]
pub(super) struct Constraints {
    pub(super) holds: Clause,
    pub(super) fails: Clause,
}

impl Constraints {
    pub(super) fn constant(holds: bool) -> Self {
        let (always, never) = (vec![Vec::new()], Vec::new());
        if holds {
            Self {
                holds: always,
                fails: never,
            }
        } else {
            Self {
                holds: never,
                fails: always,
            }
        }
    }

    /// A condition that the proof does not read. It may hold and it may fail, whatever the job is: so a
    /// proof is sound, and a witness must be checked.
    fn unknown() -> Self {
        Self {
            holds: vec![Vec::new()],
            fails: vec![Vec::new()],
        }
    }

    pub(super) fn is_known(&self) -> bool {
        let can = |clause: &Clause| clause.iter().any(Vec::is_empty);
        !can(&self.holds) || !can(&self.fails)
    }

    pub(super) fn single(variable: usize, set: ValueSet) -> Self {
        let atom = |set: ValueSet| vec![vec![Atom::In(variable, Arc::new(set))]];
        Self {
            holds: atom(set.clone()),
            fails: atom(set.inverted()),
        }
    }

    /// The claim and its texts, if it is one of a few.
    pub(super) fn exact(&self) -> Option<(usize, Vec<&str>)> {
        let [term] = self.holds.as_slice() else {
            return None;
        };
        match term.as_slice() {
            [Atom::In(variable, set)] => Some((*variable, set.exact()?)),
            _ => None,
        }
    }
}

/// A claim.
#[derive(Debug)]
pub(super) struct Claim {
    /// JSON pointer.
    pub(super) pointer: String,
    /// The values that the reader accepts.
    pub(super) domain: Arc<ValueSet>,
    pub(super) is_number: bool,
    /// Texts that are known to occur.
    pub(super) known: Vec<String>,
}

/// The claims that some condition is about.
#[derive(Debug)]
pub(super) struct Space<'a> {
    reader: &'a Reader,
    addresses: Addresses,
    pub(super) claims: Vec<Claim>,
    by_pointer: HashMap<String, usize>,
    /// A claim that is a member of another one, and that one.
    nested: Vec<(usize, usize)>,
    /// Two claims that are compared with each other.
    pub(super) pair: Option<(usize, usize)>,
}

impl<'a> Space<'a> {
    pub(super) fn new(reader: &'a Reader, addresses: Addresses) -> Self {
        Self {
            reader,
            addresses,
            claims: Vec::new(),
            by_pointer: HashMap::new(),
            nested: Vec::new(),
            pair: None,
        }
    }

    /// The claim as a variable; `None` if the proof does not read its values.
    pub(super) fn claim(&mut self, pointer: &str, fact: Option<Fact>) -> Option<usize> {
        if let Some(known) = self.by_pointer.get(pointer) {
            return Some(*known);
        }
        let (domain, is_number) = if pointer == ADDRESS {
            (self.addresses.domain(), false)
        } else {
            domain(self.reader, pointer)?
        };
        let parent = pointer.rsplit_once('/').map(|(parent, _)| parent);
        let parent = match parent.filter(|parent| !parent.is_empty()) {
            // An index of a list has no counterpart in an object.
            Some(parent) if self.reader.claim_types(parent).contains(&ClaimType::List) => {
                return None;
            }
            Some(parent) => Some(self.claim(parent, None)?),
            None => None,
        };
        let usual = fact.and_then(|fact| usual_text(self.reader.provider.name, fact));
        let number = self.claims.len();
        self.claims.push(Claim {
            pointer: pointer.to_owned(),
            domain: Arc::new(domain),
            is_number,
            known: usual.into_iter().map(str::to_owned).collect(),
        });
        self.by_pointer.insert(pointer.to_owned(), number);
        self.nested.extend(parent.map(|parent| (number, parent)));
        Some(number)
    }

    /// What holds of every job: a claim with a member is an object.
    pub(super) fn laws(&self) -> Vec<Clause> {
        let absent = ValueSet::optional(Lang::none());
        let object = ValueSet {
            other: true,
            ..ValueSet::none()
        };
        let (absent, object) = (Arc::new(absent), Arc::new(object));
        let law = |(child, parent): &(usize, usize)| {
            vec![
                vec![Atom::In(*child, Arc::clone(&absent))],
                vec![Atom::In(*parent, Arc::clone(&object))],
            ]
        };
        self.nested.iter().map(law).collect()
    }

    /// The literal as constraints on claims, read by `reader`.
    pub(super) fn constraints(&mut self, literal: &Literal<'_>, reader: &Reader) -> Constraints {
        let read = self.read(literal, reader);
        let read = read.unwrap_or_else(Constraints::unknown);
        if let Some((number, texts)) = read.exact()
            && let Some(claim) = self.claims.get_mut(number)
        {
            for text in texts {
                if claim.known.len() < MOST_KNOWN && !claim.known.iter().any(|known| known == text)
                {
                    claim.known.push(text.to_owned());
                }
            }
        }
        read
    }

    fn read(&mut self, literal: &Literal<'_>, reader: &Reader) -> Option<Constraints> {
        let constraint = &literal.constraint;
        match &literal.variable {
            Variable::Property(name) => {
                let set = ValueSet::of(constraint);
                let Some((pointer, property)) = reader.property_source(name) else {
                    return Some(Constraints::constant(set.absent));
                };
                if property == PropertyType::List {
                    return None;
                }
                let number = self.claim(&pointer, None)?;
                let set = as_sent(set, &reader.claim_types(&pointer));
                Some(Constraints::single(number, set))
            }
            Variable::Issuer => {
                let name = Value::Text(reader.issuer.name.clone());
                Some(Constraints::constant(ValueSet::of(constraint).has(&name)))
            }
            Variable::Claim(pointer) => {
                // What another claim can say too is not always in this one.
                if reader.provider.is_shared(pointer) {
                    return None;
                }
                let number = self.claim(pointer, None)?;
                let mut set = ValueSet::of(constraint);
                if self.claims.get(number)?.is_number {
                    // Conditions on raw claims do not read digits.
                    set.text = if set.other { Lang::All } else { Lang::none() };
                }
                Some(Constraints::single(number, set))
            }
            Variable::Path(fact) | Variable::Ref(fact) => {
                let Source::Claim(pointer) = reader.source(*fact) else {
                    return None;
                };
                let number = self.claim(&pointer, Some(*fact))?;
                let set = ValueSet::of(constraint);
                let is_path = matches!(literal.variable, Variable::Path(_));
                let text = if is_path { path_of(&set) } else { ref_of(&set) };
                Some(Constraints::single(number, ValueSet::texts(text)))
            }
            Variable::Fact(fact) => {
                // Read from several claims, which the proof does not follow yet.
                if reader.provider.is_of_people() && *fact == Fact::Mfa {
                    return None;
                }
                let set = match reader.fact_type(*fact) {
                    FactType::Workflow => ValueSet::of_workflow(constraint),
                    FactType::Text | FactType::Bool => ValueSet::of(constraint),
                    FactType::Network => {
                        let set = self.addresses.fitting(constraint);
                        let number = self.claim(ADDRESS, None)?;
                        return Some(Constraints::single(number, set));
                    }
                    FactType::List | FactType::Clock | FactType::Age => return None,
                };
                self.fact(*fact, set, reader)
            }
        }
    }

    fn fact(&mut self, fact: Fact, set: ValueSet, reader: &Reader) -> Option<Constraints> {
        match reader.source(fact) {
            Source::Never => Some(Constraints::constant(set.absent)),
            Source::Claim(pointer) => {
                let number = self.claim(&pointer, Some(fact))?;
                let set = as_sent(set, &reader.claim_types(&pointer));
                Some(Constraints::single(number, set))
            }
            Source::Read(line, reading) => derived::read(self, line, reading, set),
            Source::Trigger(pointers) => {
                let text = |pointer: &String| reader.claim_types(pointer) == [ClaimType::Text];
                if !pointers.iter().all(text) {
                    return None;
                }
                derived::trigger(self, &pointers, &set)
            }
        }
    }
}

/// A boolean fact that is sent as text.
fn as_sent(mut set: ValueSet, types: &[ClaimType]) -> ValueSet {
    if types == [ClaimType::FlagText] {
        let words = [("true", set.yes), ("false", set.no)].into_iter();
        let words = words.filter(|(_, is)| *is);
        set.text = Lang::words(words.map(|(word, _)| word.to_owned()));
    }
    set
}

/// The values that the reader accepts, and whether the texts are numbers.
fn domain(reader: &Reader, pointer: &str) -> Option<(ValueSet, bool)> {
    if pointer == "/iss" {
        return Some((raw(reader, pointer), false));
    }
    let types = reader.claim_types(pointer);
    let Some((first, others)) = types.split_first() else {
        return Some((raw(reader, pointer), false));
    };
    if others.iter().any(|other| other != first) {
        return None;
    }
    let other = ValueSet {
        other: true,
        ..ValueSet::optional(Lang::none())
    };
    let domain = match first {
        ClaimType::Text => ValueSet::optional(Lang::All),
        ClaimType::FreeText => ValueSet {
            foreign: true,
            ..ValueSet::optional(Lang::All)
        },
        ClaimType::FlagText => {
            let words = ["true", "false"].map(str::to_owned);
            ValueSet::optional(Lang::words(words))
        }
        ClaimType::Boolean => ValueSet {
            yes: true,
            no: true,
            ..ValueSet::optional(Lang::none())
        },
        ClaimType::Number => return Some((ValueSet::optional(Lang::Decimal), true)),
        ClaimType::List if reader.provider.is_json_list(pointer) => other,
        // It may be sent as one text too.
        ClaimType::List => return None,
        ClaimType::Object => other,
    };
    Some((domain, false))
}

/// The values of a claim that no reader has a type for. Some are the same in every token.
fn raw(reader: &Reader, pointer: &str) -> ValueSet {
    let other = ValueSet {
        other: true,
        ..ValueSet::none()
    };
    match pointer {
        "/iss" => ValueSet::texts(Lang::word(&reader.issuer.url)),
        "/exp" => other,
        "/iat" => ValueSet {
            absent: true,
            ..other
        },
        "/sub" => ValueSet {
            foreign: true,
            ..ValueSet::texts(Lang::All)
        },
        "/aud" => ValueSet {
            foreign: true,
            other: true,
            ..ValueSet::texts(Lang::All)
        },
        _ => ValueSet::all(),
    }
}

/// Texts that are kept of one claim.
const MOST_KNOWN: usize = 64;
