//! Writes facts as claims by a provider's table: the inverse of [`read`], as far as there is one. Who
//! writes reads back, since not every set of facts is of a token.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::claims::{self, text_of};
use super::read;
use super::table::{Claim, How, Piece, Reading, Shape, Take, Way, When, pointer};
use super::{Fact, FactValue, Provider};
use crate::token::json::{Limits, Object, parse_object, unescape_step};

impl Provider {
    /// The claims of a job with these facts, in a token of the issuer. `iss` is left out.
    #[must_use]
    pub fn write(&self, facts: &BTreeMap<Fact, FactValue>, issuer: &str) -> Map<String, Json> {
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), issuer.into());
        let mut writer = Writer {
            provider: self,
            facts,
            claims,
        };
        // What is sent as it is comes first: other facts follow from it.
        for (line, reading) in self.readings() {
            if let (How::Sent, Some(value)) = (reading.how, facts.get(&reading.fact)) {
                writer.set(line.name, claims::to_json(value, line.claim_type));
            }
        }
        for (line, reading) in self.readings() {
            writer.say(line, reading);
        }
        writer.say_again();
        writer.claims.remove("iss");
        writer.claims
    }
}

struct Writer<'a> {
    provider: &'a Provider,
    facts: &'a BTreeMap<Fact, FactValue>,
    claims: Map<String, Json>,
}

impl Writer<'_> {
    /// Makes the claims say the fact, if they do not yet.
    fn say(&mut self, line: &'static Claim, reading: &'static Reading) {
        let Some(value) = self.facts.get(&reading.fact) else {
            return;
        };
        match (reading.how, value) {
            (How::Ways(ways), value) => {
                // Better without facts that were not asked for.
                for is_exact in [true, false] {
                    for way in ways {
                        if self.says(line, reading, value) {
                            return;
                        }
                        let before = self.claims.clone();
                        self.set_way(way, value);
                        let fits = self.says(line, reading, value);
                        if !fits || (is_exact && !self.adds_nothing(&before)) {
                            self.claims = before;
                        }
                    }
                }
            }
            (How::Differs(other), FactValue::Bool(differs)) => {
                if let Some(other) = self.text(other).map(str::to_owned) {
                    // Any other text differs.
                    let own = if *differs { format!("{other}0") } else { other };
                    self.set(line.name, own.into());
                }
            }
            (How::Below(top), FactValue::Text(text)) => {
                let known = self.text(top).and_then(|top| text.strip_prefix(top));
                let known = known.and_then(|rest| rest.strip_prefix('/'));
                match (known, text.rsplit_once('/')) {
                    (Some(name), _) => self.set(line.name, name.into()),
                    (None, Some((above, name))) => {
                        self.set(top, above.into());
                        self.set(line.name, name.into());
                    }
                    (None, None) => {}
                }
            }
            (How::Sent | How::Differs(_) | How::Below(_), _) => {}
        }
    }

    /// Fills in claims that say the same as others, as a real token has them.
    fn say_again(&mut self) {
        let facts = self.read().unwrap_or_default();
        for (_, reading) in self.provider.readings() {
            let (How::Ways(ways), Some(value)) = (reading.how, facts.get(&reading.fact)) else {
                continue;
            };
            for way in ways {
                let before = self.claims.clone();
                self.set_way(way, value);
                if self.claims != before && read_all(self.provider, &before) != self.read() {
                    self.claims = before;
                }
            }
        }
    }

    /// Whether every fact that the claims say, and did not say before, is wanted.
    fn adds_nothing(&self, before: &Map<String, Json>) -> bool {
        let before = read_all(self.provider, before).unwrap_or_default();
        let now = self.read().unwrap_or_default();
        now.iter()
            .all(|(fact, value)| before.contains_key(fact) || self.facts.get(fact) == Some(value))
    }

    fn read(&self) -> Option<BTreeMap<Fact, FactValue>> {
        read_all(self.provider, &self.claims)
    }

    fn says(&self, line: &Claim, reading: &Reading, value: &FactValue) -> bool {
        let token = object(&self.claims);
        let read = token.and_then(|token| read::fact(&token, line, reading).ok().flatten());
        read.as_ref() == Some(value)
    }

    /// Sets a claim that is not set yet. What could not be written is missed when it is read back.
    fn set(&mut self, name: &str, value: Json) {
        if self.get(name).is_none() {
            claims::set(&mut self.claims, &pointer(name), value);
        }
    }

    fn get(&self, name: &str) -> Option<&Json> {
        let pointer = pointer(name);
        let mut steps = pointer.split('/').skip(1).peekable();
        let mut members = &self.claims;
        while let Some(step) = steps.next() {
            let found = members.get(&unescape_step(step)?)?;
            if steps.peek().is_none() {
                return Some(found);
            }
            members = found.as_object()?;
        }
        None
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// The claims by which the way makes the value, if it can.
    fn set_way(&mut self, way: &Way, value: &FactValue) {
        let value = match value {
            FactValue::Text(text) => text.clone(),
            FactValue::Bool(value) => value.to_string(),
            FactValue::List(_)
            | FactValue::Workflow(_)
            | FactValue::Address(_)
            | FactValue::Time(_) => return,
        };
        let text = if matches!(way.take, Take::Part(_)) {
            self.shaped(way.claim)
        } else {
            way.take.source(&value)
        };
        let Some(text) = text else { return };
        self.set(way.claim, text.into());
        for when in way.when {
            match when {
                When::Is(claim, text) => self.set(claim, (*text).into()),
                When::True(claim) => self.set(claim, true.into()),
                When::Absent(_) => {}
            }
        }
    }

    /// A claim whose parts are facts.
    fn shaped(&self, claim: &str) -> Option<String> {
        let readings = self.provider.readings();
        let parts = readings.filter_map(|(_, reading)| match reading.how {
            How::Ways(ways) => Some((ways, text_of(self.facts, reading.fact)?)),
            How::Sent | How::Differs(_) | How::Below(_) => None,
        });
        let parts = parts.flat_map(|(ways, text)| ways.iter().map(move |way| (way, text)));
        let parts = parts.filter(|(way, _)| way.claim == claim);
        let parts = parts.filter_map(|(way, text)| {
            let Take::Part(shape) = way.take else {
                return None;
            };
            Some((shape, text))
        });
        filled(&parts.collect::<Vec<_>>())
    }
}

fn object(claims: &Map<String, Json>) -> Option<Object> {
    let text = Json::Object(claims.clone()).to_string();
    parse_object(text.as_bytes(), &Limits::default()).ok()
}

fn read_all(provider: &Provider, claims: &Map<String, Json>) -> Option<BTreeMap<Fact, FactValue>> {
    read::facts(&object(claims)?, provider).ok()
}

/// A text that has all these parts: of the shapes that differ only in which part is wanted, those of
/// the first form that has the most.
fn filled(parts: &[(Shape, &str)]) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    for (shape, _) in parts {
        let form = pieces(*shape);
        let mut values: Vec<Option<&str>> = vec![None; form.len()];
        for (other, value) in parts {
            let others = pieces(*other);
            let is_alike = form.len() == others.len()
                && form
                    .iter()
                    .zip(&others)
                    .all(|(one, two)| plain(*one) == plain(*two));
            let wanted = others.iter().position(|piece| is_wanted(*piece));
            let place = wanted
                .filter(|_| is_alike)
                .and_then(|at| values.get_mut(at));
            if let Some(place) = place {
                place.get_or_insert(value);
            }
        }
        let count = values.iter().flatten().count();
        let written = form
            .iter()
            .zip(values)
            .map(|(piece, value)| match (piece, value) {
                (_, Some(value)) => value.to_owned(),
                (Piece::Literal(byte), None) => char::from(*byte).to_string(),
                (Piece::Segment { .. }, None) => UNKNOWN.to_owned(),
                (Piece::Rest { .. }, None) => String::new(),
            });
        if best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, written.collect()));
        }
    }
    best.map(|(_, written)| written)
}

fn pieces(shape: Shape) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some((piece, next)) = shape.piece(at) {
        pieces.push(piece);
        at = next;
    }
    pieces
}

const fn is_wanted(piece: Piece) -> bool {
    match piece {
        Piece::Literal(_) => false,
        Piece::Segment { is_wanted, .. } | Piece::Rest { is_wanted } => is_wanted,
    }
}

/// The piece, wanted or not.
const fn plain(piece: Piece) -> Piece {
    let is_wanted = false;
    match piece {
        Piece::Literal(byte) => Piece::Literal(byte),
        Piece::Segment { until, .. } => Piece::Segment { until, is_wanted },
        Piece::Rest { .. } => Piece::Rest { is_wanted },
    }
}

impl Take {
    /// A text of which it makes the value.
    fn source(self, value: &str) -> Option<String> {
        match self {
            Self::Sent => Some(value.to_owned()),
            Self::Prefixed(prefix) => {
                let rest = value.strip_prefix(prefix)?;
                (!rest.is_empty()).then(|| rest.to_owned())
            }
            Self::Starting(start) => value.starts_with(start).then(|| value.to_owned()),
            Self::Words { words, other } => {
                let known = words.iter().find(|(word, _)| *word == value);
                let known = known.map(|(_, text)| *text);
                // Any text that is not known has the other word.
                let other = other.filter(|other| *other == value);
                known.or(other).map(str::to_owned)
            }
            Self::Starts(words) => {
                let (start, _) = words.iter().find(|(_, word)| *word == value)?;
                Some((*start).to_owned())
            }
            Self::Word(word) => (word == value).then(|| UNKNOWN.to_owned()),
            // Other facts say these claims.
            Self::Part(_) | Self::File(_) | Self::Always(_) => None,
        }
    }
}

/// A text or a part of one that no fact is read from.
const UNKNOWN: &str = "0";
