//! The jobs of one issuer: its claims as variables, and conditions as constraints on them.

use std::collections::HashMap;
use std::sync::Arc;

use super::constraints::{Atom, Clause, Constraints, within};
use super::domain::domain;
use super::lang::Lang;
use super::points::Points;
use super::value::{Value, ValueSet, path_of, ref_of};
use super::{derived, entries, moments, network};
use crate::clock::Timestamp;
use crate::policy::examples::usual_texts;
use crate::policy::literals::{Literal, Variable};
use crate::policy::pattern::Observed;
use crate::provider::{ClaimType, Fact, FactType, PropertyType, Reader, Source};
use crate::token::json::list_index;

/// What a variable is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A claim, by JSON pointer.
    Claim(String),
    /// The address of the request.
    Address,
    /// The moment of the request.
    Moment,
    /// Whether the list, a claim, has an entry that conditions can read.
    AnyEntry(usize),
    /// Whether the list has this entry.
    Entry(usize, String),
}

/// How the texts of a claim are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// A number, by its digits.
    Number,
    /// A number: the time that is as many seconds before the request.
    Age,
    /// A list. Its entries are variables of their own.
    List,
}

/// A claim, or another value that conditions are about.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) key: Key,
    /// The values that the reader accepts.
    pub(super) domain: Arc<ValueSet>,
    pub(super) form: Form,
    /// Texts that are known to occur.
    pub(super) known: Vec<String>,
}

/// The claims that some condition is about.
#[derive(Debug)]
pub(super) struct Space<'a> {
    reader: &'a Reader,
    points: Points,
    pub(super) claims: Vec<Claim>,
    by_key: HashMap<Key, usize>,
    /// A value that is absent unless the other one is in the set.
    dependent: Vec<(usize, usize, Arc<ValueSet>)>,
    /// Two claims that are compared with each other.
    pub(super) pair: Option<(usize, usize)>,
}

impl<'a> Space<'a> {
    pub(super) fn new(reader: &'a Reader, points: Points) -> Self {
        Self {
            reader,
            points,
            claims: Vec::new(),
            by_key: HashMap::new(),
            dependent: Vec::new(),
            pair: None,
        }
    }

    /// The claim as a variable.
    pub(super) fn claim(&mut self, pointer: &str, fact: Option<Fact>) -> usize {
        let key = Key::Claim(pointer.to_owned());
        if let Some(known) = self.by_key.get(&key) {
            return *known;
        }
        let parent = pointer.rsplit_once('/').map(|(parent, _)| parent);
        let parent = parent.filter(|parent| !parent.is_empty());
        let parent = parent.map(|parent| self.claim(parent, None));
        let (domain, form) = domain(self.reader, &self.points, pointer);
        let number = self.add(key, domain, form);
        if let Some(fact) = fact
            && let Some(claim) = self.claims.get_mut(number)
        {
            let usual = usual_texts(self.reader.provider.name, fact);
            claim.known.extend(usual.map(str::to_owned));
        }
        if let Some(parent) = parent {
            let object = ValueSet {
                other: true,
                ..ValueSet::none()
            };
            self.dependent.push((number, parent, Arc::new(object)));
        }
        number
    }

    fn add(&mut self, key: Key, domain: ValueSet, form: Form) -> usize {
        let number = self.claims.len();
        self.claims.push(Claim {
            key: key.clone(),
            domain: Arc::new(domain),
            form,
            known: Vec::new(),
        });
        self.by_key.insert(key, number);
        number
    }

    fn address(&mut self) -> usize {
        if let Some(known) = self.by_key.get(&Key::Address) {
            return *known;
        }
        let domain = self.points.addresses.domain();
        let number = self.add(Key::Address, domain, Form::Plain);
        if let Some(claim) = self.claims.get_mut(number) {
            claim.known = network::USUAL.map(|usual| usual.to_string()).into();
        }
        number
    }

    /// The moment as a variable; `None`: conditions tell too many moments apart.
    fn moment(&mut self) -> Option<usize> {
        if let Some(known) = self.by_key.get(&Key::Moment) {
            return Some(*known);
        }
        if self.points.moments.are_many() {
            return None;
        }
        let domain = self.points.moments.domain();
        Some(self.add(Key::Moment, domain, Form::Plain))
    }

    /// Whether some condition is about the raw claim.
    pub(super) fn names(&self, claim: &str) -> bool {
        self.points.names(claim)
    }

    /// The request is made before that time.
    pub(super) fn before(&mut self, end: Timestamp) -> Constraints {
        let Some(number) = self.moment() else {
            return Constraints::unknown();
        };
        Constraints::single(number, self.points.moments.before(end))
    }

    /// The moment of the request, if some condition is about it.
    pub(super) fn moment_of(&self, values: &[Value]) -> Option<Timestamp> {
        match values.get(*self.by_key.get(&Key::Moment)?)? {
            Value::Text(text) => moments::moment(text),
            Value::Absent | Value::Bool(_) | Value::Other | Value::Foreign => None,
        }
    }

    /// Whether the list has an entry that conditions can read.
    pub(super) fn any_entry(&mut self, list: usize) -> usize {
        let key = Key::AnyEntry(list);
        if let Some(known) = self.by_key.get(&key) {
            return *known;
        }
        let number = self.add(key, flag(), Form::Plain);
        // Of a list in one text, the text says it.
        let sent = ValueSet {
            other: true,
            foreign: true,
            ..ValueSet::none()
        };
        self.dependent.push((number, list, Arc::new(sent)));
        number
    }

    /// Whether the list has this entry.
    pub(super) fn entry(&mut self, list: usize, entry: &str) -> usize {
        let key = Key::Entry(list, entry.to_owned());
        if let Some(known) = self.by_key.get(&key) {
            return *known;
        }
        let any = self.any_entry(list);
        let number = self.add(key, flag(), Form::Plain);
        self.dependent.push((number, any, Arc::new(is_set())));
        if entry.contains(',') {
            // No entry of a list in one text has a comma.
            let as_list = ValueSet {
                other: true,
                ..ValueSet::none()
            };
            self.dependent.push((number, list, Arc::new(as_list)));
        }
        number
    }

    /// The claim at an index of the list, and that index.
    pub(super) fn index(&self, list: usize, claim: &Claim) -> Option<usize> {
        let (Key::Claim(list), Key::Claim(pointer)) = (&self.claims.get(list)?.key, &claim.key)
        else {
            return None;
        };
        list_index(pointer.strip_prefix(list.as_str())?.strip_prefix('/')?)
    }

    /// What holds of every job: a claim with a member is an object, a list with an entry is one, and
    /// what is at an index of a list is among its entries.
    pub(super) fn laws(&self) -> Vec<Clause> {
        let absent = Arc::new(ValueSet::optional(Lang::none()));
        let law = |(child, parent, set): &(usize, usize, Arc<ValueSet>)| {
            vec![
                vec![Atom::In(*child, Arc::clone(&absent))],
                vec![Atom::In(*parent, Arc::clone(set))],
            ]
        };
        let dependent = self.dependent.iter().map(law);
        let at_index = self.claims.iter().enumerate().flat_map(|(entry, claim)| {
            let (list, texts) = match &claim.key {
                Key::AnyEntry(list) => (*list, Lang::All),
                Key::Entry(list, text) => (*list, Lang::word(text)),
                Key::Claim(_) | Key::Address | Key::Moment => return Vec::new(),
            };
            let indexed = self.claims.iter().enumerate();
            let indexed = indexed.filter(|(_, claim)| self.index(list, claim).is_some());
            let law = |(number, _): (usize, &Claim)| {
                let others = ValueSet::texts(texts.clone()).inverted();
                vec![vec![within(number, others)], vec![within(entry, is_set())]]
            };
            indexed.map(law).collect()
        });
        dependent.chain(at_index).collect()
    }

    /// The literal as constraints on claims, read by `reader`.
    pub(super) fn constraints(&mut self, literal: &Literal<'_>, reader: &Reader) -> Constraints {
        let read = self.read(literal, reader);
        let read = read.unwrap_or_else(Constraints::unknown);
        if let Some((number, texts)) = read.exact()
            && let Some(claim) = self.claims.get_mut(number)
            && claim.key != Key::Moment
            && claim.form != Form::Age
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
                let number = self.claim(&pointer, None);
                if property == PropertyType::List {
                    return entries::read(self, number, constraint);
                }
                let is_flag = property == PropertyType::Boolean;
                let set = as_sent(set, is_flag, &reader.claim_types(&pointer));
                Some(Constraints::single(number, set))
            }
            Variable::Issuer => {
                let name = Value::Text(reader.issuer.name.clone());
                Some(Constraints::constant(ValueSet::of(constraint).has(&name)))
            }
            Variable::Claim(pointer) => {
                let number = self.claim(pointer, None);
                let mut set = ValueSet::of(constraint);
                if matches!(self.claims.get(number)?.form, Form::Number | Form::Age) {
                    // Conditions on raw claims do not read digits.
                    set.text = if set.other { Lang::All } else { Lang::none() };
                }
                Some(Constraints::single(number, set))
            }
            Variable::Path(fact) | Variable::Ref(fact) => {
                let Source::Claim(pointer) = reader.source(*fact) else {
                    return None;
                };
                let number = self.claim(&pointer, Some(*fact));
                let set = ValueSet::of(constraint);
                let is_path = matches!(literal.variable, Variable::Path(_));
                let text = if is_path { path_of(&set) } else { ref_of(&set) };
                Some(Constraints::single(number, ValueSet::texts(text)))
            }
            Variable::Fact(fact) => {
                let set = match reader.fact_type(*fact) {
                    FactType::Workflow => ValueSet::of_workflow(constraint),
                    FactType::Text | FactType::Bool => ValueSet::of(constraint),
                    FactType::Network => {
                        let set = self.points.addresses.fitting(constraint);
                        return Some(Constraints::single(self.address(), set));
                    }
                    FactType::Clock => {
                        let number = self.moment()?;
                        let set = self.points.moments.fitting(constraint);
                        return Some(Constraints::single(number, set));
                    }
                    FactType::Age => self.points.ages.fitting(constraint),
                    FactType::List => {
                        let Source::Claim(pointer) = reader.source(*fact) else {
                            let is_absent = constraint.fits(Observed::Absent);
                            return Some(Constraints::constant(is_absent));
                        };
                        let number = self.claim(&pointer, Some(*fact));
                        return entries::read(self, number, constraint);
                    }
                };
                self.fact(*fact, set, reader)
            }
        }
    }

    fn fact(&mut self, fact: Fact, set: ValueSet, reader: &Reader) -> Option<Constraints> {
        match reader.source(fact) {
            Source::Never => Some(Constraints::constant(set.absent)),
            Source::Claim(pointer) => {
                let number = self.claim(&pointer, Some(fact));
                let is_flag = reader.fact_type(fact) == FactType::Bool;
                let set = as_sent(set, is_flag, &reader.claim_types(&pointer));
                Some(Constraints::single(number, set))
            }
            Source::Read(line, reading) => derived::read(self, line, reading, set),
            Source::SecondFactor => derived::second_factor(self, &set, reader),
            Source::Trigger(pointers) => Some(derived::trigger(self, &pointers, &set)),
        }
    }
}

/// A boolean fact is sent as text where its claim is no boolean.
fn as_sent(mut set: ValueSet, is_flag: bool, types: &[ClaimType]) -> ValueSet {
    if is_flag && !types.contains(&ClaimType::Boolean) {
        let words = [("true", set.yes), ("false", set.no)].into_iter();
        let words = words.filter(|(_, is)| *is);
        set.text = Lang::words(words.map(|(word, _)| word.to_owned()));
    }
    set
}

/// Set, or not.
fn flag() -> ValueSet {
    ValueSet {
        absent: true,
        ..is_set()
    }
}

pub(super) fn is_set() -> ValueSet {
    ValueSet {
        yes: true,
        ..ValueSet::none()
    }
}

/// Texts that are kept of one claim.
const MOST_KNOWN: usize = 64;
