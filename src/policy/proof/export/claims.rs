//! The claims of a job as constants, and what tokens the readers accept.
//!
//! Each claim has a kind, and a value for each kind that has values. A missing claim, `null`, an empty
//! text and an empty list are all absent.

use std::collections::{BTreeMap, HashMap};

use super::language::{DECIMAL, TEXTS, with_entry};
use super::term::{all, any, comment, declare, equal, implies, name, not, text, within};
use crate::provider::{ClaimType, Fact, Reader};

/// A claim, and which of its values are asked about.
struct Claim {
    pointer: String,
    /// Its name in constants.
    stem: String,
    parent: Option<usize>,
    /// A constant for each named entry of a list.
    entries: BTreeMap<String, String>,
    /// Whether it is also read as a list of texts.
    is_list_fact: bool,
    /// Whether it is also read as a number.
    has_number: bool,
}

/// The claims that some condition is about.
#[derive(Default)]
pub(super) struct Claims {
    list: Vec<Claim>,
    by_pointer: HashMap<String, usize>,
    /// Facts that are computed from claims: each with its name and its term.
    computed: Vec<(String, String)>,
}

impl Claims {
    /// The number of the claim.
    pub(super) fn claim(&mut self, pointer: &str) -> usize {
        if let Some(known) = self.by_pointer.get(pointer) {
            return *known;
        }
        let parent = pointer.rsplit_once('/').map(|(parent, _)| parent);
        let parent = parent.filter(|parent| !parent.is_empty());
        let parent = parent.map(|parent| self.claim(parent));
        let number = self.list.len();
        self.list.push(Claim {
            pointer: pointer.to_owned(),
            stem: if is_plain(pointer) {
                pointer.to_owned()
            } else {
                format!("claim {number}")
            },
            parent,
            entries: BTreeMap::new(),
            is_list_fact: false,
            has_number: false,
        });
        self.by_pointer.insert(pointer.to_owned(), number);
        number
    }

    fn constant(&self, number: usize, what: &str) -> String {
        let stem = self.list.get(number).map(|claim| claim.stem.as_str());
        format!("|{what} {}|", stem.unwrap_or_default())
    }

    pub(super) fn kind_is(&self, number: usize, kind: Kind) -> String {
        equal(&self.constant(number, "kind"), kind.name())
    }

    pub(super) fn text(&self, number: usize) -> String {
        self.constant(number, "text")
    }

    pub(super) fn truth(&self, number: usize) -> String {
        self.constant(number, "truth")
    }

    /// Its number as an integer.
    pub(super) fn number(&mut self, number: usize) -> String {
        if let Some(claim) = self.list.get_mut(number) {
            claim.has_number = true;
        }
        self.constant(number, "number")
    }

    /// That its list has the entry.
    pub(super) fn entry(&mut self, number: usize, entry: &str) -> String {
        let Some(claim) = self.list.get_mut(number) else {
            return "false".to_owned();
        };
        let position = claim.entries.len();
        let constant = claim.entries.entry(entry.to_owned()).or_insert_with(|| {
            name(&format!("has {} {entry}", claim.stem))
                .unwrap_or_else(|| format!("|entry {} {position}|", claim.stem))
        });
        constant.clone()
    }

    /// That its list has an entry that is a fact's.
    pub(super) fn listed(&mut self, number: usize) -> String {
        if let Some(claim) = self.list.get_mut(number) {
            claim.is_list_fact = true;
        }
        self.constant(number, "listed")
    }

    /// A name for the text that a fact is computed as.
    pub(super) fn computed(&mut self, fact: Fact, term: String) -> String {
        if let Some((known, _)) = self.computed.iter().find(|(_, known)| *known == term) {
            return known.clone();
        }
        let name = format!("|fact {fact} {}|", self.computed.len());
        self.computed.push((name.clone(), term));
        name
    }

    /// The definitions of computed facts.
    pub(super) fn definitions(&self) -> String {
        let mut lines = String::new();
        for (name, term) in &self.computed {
            lines.extend(["(define-fun ", name, " () String ", term, ")\n"]);
        }
        lines
    }

    /// The constants.
    pub(super) fn declarations(&self) -> String {
        let mut lines = String::new();
        for (number, claim) in self.list.iter().enumerate() {
            if !is_plain(&claim.pointer) {
                lines.push_str(&comment(&format!("{}: {}", claim.stem, claim.pointer)));
            }
            lines.push_str(&declare(&self.constant(number, "kind"), "Kind"));
            lines.push_str(&declare(&self.text(number), "String"));
            lines.push_str(&declare(&self.truth(number), "Bool"));
            if claim.has_number {
                lines.push_str(&declare(&self.constant(number, "number"), "Int"));
            }
            if claim.is_list_fact {
                lines.push_str(&declare(&self.constant(number, "listed"), "Bool"));
            }
            for (entry, constant) in &claim.entries {
                lines.push_str(&declare(constant, "Bool"));
                if name(entry).is_none() {
                    lines.push_str(&comment(&format!("{constant}: {entry}")));
                }
            }
        }
        lines
    }

    /// What holds of the claims of every token.
    pub(super) fn laws(&self) -> Vec<String> {
        let mut laws = Vec::new();
        for (number, claim) in self.list.iter().enumerate() {
            laws.push(within(&self.text(number), TEXTS));
            if let Some(parent) = claim.parent {
                let step = claim.pointer.rsplit_once('/').map(|(_, step)| step);
                let mut around = vec![self.kind_is(parent, Kind::Object)];
                if step.is_some_and(is_index) {
                    around.push(self.kind_is(parent, Kind::List));
                }
                let is_absent = self.kind_is(number, Kind::Absent);
                laws.push(any(&[vec![is_absent], around].concat()));
            }
            laws.extend(self.laws_of_list(number, claim));
        }
        laws
    }

    fn laws_of_list(&self, number: usize, claim: &Claim) -> Vec<String> {
        let is = |kind| self.kind_is(number, kind);
        let mut laws = Vec::new();
        if claim.is_list_fact {
            let listed = self.constant(number, "listed");
            let kinds = [Kind::List, Kind::Text, Kind::Foreign].map(is);
            laws.push(implies(&listed, &any(&kinds)));
            // Commas only: no entry.
            let no_entry = within(&self.text(number), "(re.* (str.to_re \",\"))");
            laws.push(implies(&is(Kind::Text), &equal(&listed, &not(&no_entry))));
            for constant in claim.entries.values() {
                laws.push(implies(constant, &listed));
            }
        }
        for (entry, constant) in &claim.entries {
            let cut = within(&self.text(number), &with_entry(entry));
            laws.push(implies(&is(Kind::Text), &equal(constant, &cut)));
            laws.push(implies(
                constant,
                &any(&[Kind::List, Kind::Text, Kind::Foreign].map(is)),
            ));
            if entry.contains(',') {
                laws.push(implies(&is(Kind::Foreign), &not(constant)));
            }
        }
        laws
    }

    /// That the reader accepts the claims.
    pub(super) fn accepted(&self, reader: &Reader) -> Vec<String> {
        let numbers = 0..self.list.len();
        numbers
            .map(|number| self.accepted_claim(number, reader))
            .collect()
    }

    fn accepted_claim(&self, number: usize, reader: &Reader) -> String {
        let pointer = self.list.get(number).map(|claim| claim.pointer.as_str());
        let pointer = pointer.unwrap_or_default();
        let types = reader.claim_types(pointer);
        let is = |kinds: &[Kind]| {
            let kinds: Vec<_> = kinds
                .iter()
                .map(|kind| self.kind_is(number, *kind))
                .collect();
            any(&kinds)
        };
        if types.is_empty() || pointer == "/iss" {
            return match pointer {
                "/iss" => {
                    let url = equal(&self.text(number), &text(&reader.issuer.url));
                    all(&[is(&[Kind::Text]), url])
                }
                "/exp" => is(&[Kind::Number]),
                "/iat" => is(&[Kind::Absent, Kind::Number]),
                "/sub" => is(&[Kind::Text, Kind::Foreign]),
                "/aud" => is(&[Kind::Text, Kind::Foreign, Kind::List]),
                _ => "true".to_owned(),
            };
        }
        let is_json_list = reader.provider.is_json_list(pointer);
        let accepted = types.into_iter().map(|claim_type| match claim_type {
            ClaimType::Text => is(&[Kind::Absent, Kind::Text]),
            ClaimType::FreeText => is(&[Kind::Absent, Kind::Text, Kind::Foreign]),
            ClaimType::FlagText => {
                let words = ["true", "false"].map(|flag| equal(&self.text(number), &text(flag)));
                let flag = all(&[is(&[Kind::Text]), any(&words)]);
                any(&[is(&[Kind::Absent]), flag])
            }
            ClaimType::Boolean => is(&[Kind::Absent, Kind::Truth]),
            ClaimType::Number => {
                let whole = within(&self.text(number), DECIMAL);
                let whole = all(&[is(&[Kind::Number]), whole]);
                any(&[is(&[Kind::Absent]), whole])
            }
            ClaimType::List if is_json_list => is(&[Kind::Absent, Kind::List]),
            ClaimType::List => is(&[Kind::Absent, Kind::List, Kind::Text, Kind::Foreign]),
            ClaimType::Object => is(&[Kind::Absent, Kind::Object]),
        });
        all(&accepted.collect::<Vec<_>>())
    }

    /// Whether the claim is in a list that is also read as a fact.
    pub(super) fn is_in_list(reader: &Reader, pointer: &str) -> bool {
        let mut around = pointer.rsplit_once('/').map(|(parent, _)| parent);
        while let Some(parent) = around.filter(|parent| !parent.is_empty()) {
            if reader.claim_types(parent).contains(&ClaimType::List) {
                return true;
            }
            around = parent.rsplit_once('/').map(|(parent, _)| parent);
        }
        false
    }
}

/// The kind of a claim's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Absent,
    Truth,
    /// Printable ASCII.
    Text,
    Number,
    List,
    Object,
    /// Text outside printable ASCII.
    Foreign,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Absent,
        Self::Truth,
        Self::Text,
        Self::Number,
        Self::List,
        Self::Object,
        Self::Foreign,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Truth => "truth",
            Self::Text => "text",
            Self::Number => "number",
            Self::List => "list",
            Self::Object => "object",
            Self::Foreign => "foreign",
        }
    }

    /// The declaration of the sort.
    pub(super) fn declaration() -> String {
        let names = Self::ALL.map(|kind| format!("({})", kind.name()));
        format!("(declare-datatypes ((Kind 0)) (({})))\n", names.join(" "))
    }
}

/// RFC 6901 section 4: digits without a leading zero.
fn is_index(step: &str) -> bool {
    let is_number = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (step == "0" || !step.starts_with('0'))
}

/// Whether the pointer is a part of a name as it is. One with a space could be read as two parts.
fn is_plain(pointer: &str) -> bool {
    name(pointer).is_some() && !pointer.contains(' ')
}

/// That the value is one of the words.
pub(super) fn is_one_of(value: &str, words: &[&str]) -> String {
    let equal = words.iter().map(|word| equal(value, &text(word)));
    any(&equal.collect::<Vec<_>>())
}
