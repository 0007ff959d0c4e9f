//! Sets of texts over printable ASCII, each read byte by byte as a deterministic automaton.

use std::sync::Arc;

use super::part::PartOf;
use super::workflow::{self, Cutting, FileStart};
use crate::policy::pattern::{Glob, Positions, is_under};
use crate::provider::{Cut, Shape, Workflow};

/// A set of texts. The empty text is a text like any other here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Lang {
    All,
    /// These texts, sorted.
    Words(Arc<Vec<String>>),
    Glob(Arc<GlobText>),
    /// This path, or below it.
    Under(Arc<str>),
    Not(Arc<Self>),
    And(Vec<Arc<Self>>),
    Or(Vec<Arc<Self>>),
    /// JSON's whole numbers.
    Decimal,
    /// Workflow claims with a path in the set.
    Path(Arc<Self>),
    /// Workflow claims with a ref in the set, or without a ref.
    Ref {
        texts: Arc<Self>,
        absent: bool,
    },
    /// Paths with such a file after the repository.
    File(Cut, Arc<Self>),
    /// Lists in one text, with commas between the entries, that have this entry; without one, those
    /// that have any.
    Listed(Option<Arc<str>>),
    /// The rests of texts of the set that begin so.
    After(Arc<str>, Arc<Self>),
    /// Texts that begin like this.
    Starting(&'static str),
    /// Texts of this shape with a part in the set.
    Part(Shape, Arc<Self>),
}

/// A glob, ordered by its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GlobText(pub(super) Glob);

impl PartialOrd for GlobText {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for GlobText {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.text().cmp(other.0.text())
    }
}

/// How far an automaton is. Two texts with the same state go on alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Nothing depends on what is read.
    Still,
    /// No text that continues from here is in the set.
    Dead,
    /// Words with what was read as their start: from, to, and its length.
    Range(usize, usize, usize),
    /// Bytes that matched.
    At(usize),
    Positions(Positions),
    Many(Vec<Self>),
    Cutting(Box<Cutting>),
    File(Box<FileStart>),
    Part(Box<PartOf>),
}

impl Lang {
    pub(super) fn none() -> Self {
        Self::Or(Vec::new())
    }

    pub(super) fn word(text: &str) -> Self {
        Self::words([text.to_owned()])
    }

    pub(super) fn words(texts: impl IntoIterator<Item = String>) -> Self {
        let mut texts: Vec<_> = texts.into_iter().collect();
        texts.sort_unstable();
        texts.dedup();
        Self::Words(Arc::new(texts))
    }

    /// The other texts.
    pub(super) fn inverted(self) -> Self {
        if let Self::Not(inner) = self {
            return Arc::unwrap_or_clone(inner);
        }
        Self::Not(Arc::new(self))
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, other) | (other, Self::All) => other,
            (Self::Or(list), _) | (_, Self::Or(list)) if list.is_empty() => Self::none(),
            (one, other) if one == other => one,
            (one, other) => Self::And(vec![Arc::new(one), Arc::new(other)]),
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Or(list), other) | (other, Self::Or(list)) if list.is_empty() => other,
            (Self::All, _) | (_, Self::All) => Self::All,
            (one, other) => Self::Or(vec![Arc::new(one), Arc::new(other)]),
        }
    }

    /// Whether the text is in the set, without the automaton.
    pub(super) fn has(&self, text: &str) -> bool {
        match self {
            Self::All => true,
            Self::Words(words) => {
                let found = words.binary_search_by(|word| word.as_str().cmp(text));
                found.is_ok()
            }
            Self::Glob(glob) => glob.0.fits(text),
            Self::Under(top) => is_under(top, text),
            Self::Not(inner) => !inner.has(text),
            Self::And(parts) => parts.iter().all(|part| part.has(text)),
            Self::Or(parts) => parts.iter().any(|part| part.has(text)),
            Self::Decimal => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let is_canonical = digits == "0" || !digits.starts_with('0');
                is_canonical
                    && !digits.is_empty()
                    && digits.bytes().all(|byte| byte.is_ascii_digit())
            }
            Self::Path(paths) => paths.has(&Workflow::parse(text).path),
            Self::Ref { texts, absent } => match Workflow::parse(text).r#ref {
                Some(found) => texts.has(&found),
                None => *absent,
            },
            Self::File(cut, files) => cut
                .rest(text)
                .is_some_and(|file| !file.is_empty() && files.has(file)),
            Self::Listed(wanted) => text.split(',').any(|entry| match wanted {
                Some(wanted) => **wanted == *entry,
                None => !entry.is_empty(),
            }),
            Self::After(start, texts) => texts.has(&format!("{start}{text}")),
            Self::Starting(start) => text.starts_with(start),
            Self::Part(shape, parts) => shape.part(text).is_some_and(|part| parts.has(part)),
        }
    }

    /// The texts of a finite set that is written as one.
    pub(super) fn finite(&self) -> Option<Vec<&str>> {
        match self {
            Self::Words(words) => Some(words.iter().map(String::as_str).collect()),
            Self::And(parts) => {
                let few = parts.iter().filter_map(|part| part.finite());
                let few = few.min_by_key(Vec::len)?;
                let fits = |text: &&str| parts.iter().all(|part| part.has(text));
                Some(few.into_iter().filter(fits).collect())
            }
            Self::Or(parts) => {
                let lists: Option<Vec<_>> = parts.iter().map(|part| part.finite()).collect();
                Some(lists?.into_iter().flatten().collect())
            }
            Self::All
            | Self::Glob(_)
            | Self::Under(_)
            | Self::Not(_)
            | Self::Decimal
            | Self::Path(_)
            | Self::Ref { .. }
            | Self::File(..)
            | Self::Listed(_)
            | Self::Starting(_)
            | Self::Part(..) => None,
            Self::After(start, texts) => {
                let texts = texts.finite()?.into_iter();
                Some(
                    texts
                        .filter_map(|text| text.strip_prefix(&**start))
                        .collect(),
                )
            }
        }
    }

    pub(super) fn start(&self) -> State {
        match self {
            Self::All => State::Still,
            Self::Words(words) if words.is_empty() => State::Dead,
            Self::Words(words) => State::Range(0, words.len(), 0),
            Self::Glob(glob) => State::Positions(glob.0.start()),
            Self::Under(_) | Self::Decimal | Self::Listed(_) | Self::Starting(_) => State::At(0),
            Self::Part(..) => State::Part(Box::default()),
            Self::Not(inner) => inner.start(),
            Self::And(parts) | Self::Or(parts) => {
                State::Many(parts.iter().map(|part| part.start()).collect())
            }
            Self::Path(paths) => State::Cutting(Box::new(Cutting::of_path(paths))),
            Self::Ref { .. } => State::Cutting(Box::new(Cutting::of_ref())),
            Self::File(..) => State::File(Box::default()),
            Self::After(start, texts) => {
                let start = start.bytes();
                start.fold(texts.start(), |state, byte| texts.step(&state, byte))
            }
        }
    }

    pub(super) fn step(&self, state: &State, byte: u8) -> State {
        match (self, state) {
            (Self::Words(words), State::Range(from, to, length)) => {
                narrow(words, *from, *to, *length, byte)
            }
            (Self::Glob(glob), State::Positions(now)) => State::Positions(glob.0.step(*now, byte)),
            (Self::Under(top), State::At(at)) => {
                let top = top.as_bytes();
                match (top.get(*at), at.saturating_sub(top.len())) {
                    (Some(wanted), _) if *wanted == byte => State::At(at.saturating_add(1)),
                    (None, 0) if byte == b'/' => State::At(at.saturating_add(1)),
                    (None, 1) => State::At(*at),
                    _ => State::Dead,
                }
            }
            (Self::Decimal, State::At(at)) => decimal(*at, byte),
            (Self::Not(inner), state) => inner.step(state, byte),
            (Self::And(parts) | Self::Or(parts), State::Many(states)) => {
                let both = parts.iter().zip(states);
                State::Many(both.map(|(part, state)| part.step(state, byte)).collect())
            }
            (Self::Path(paths), State::Cutting(now)) => {
                State::Cutting(Box::new(now.path_step(paths, byte)))
            }
            (Self::Ref { texts, .. }, State::Cutting(now)) => {
                State::Cutting(Box::new(now.ref_step(texts, byte)))
            }
            (Self::File(cut, files), State::File(now)) => {
                State::File(Box::new(now.step(*cut, files, byte)))
            }
            (Self::Listed(wanted), State::At(at)) => listed(wanted.as_deref(), *at, byte),
            (Self::After(_, texts), state) => texts.step(state, byte),
            (Self::Starting(start), State::At(at)) => match start.as_bytes().get(*at) {
                None => State::At(*at),
                Some(wanted) if *wanted == byte => State::At(at.saturating_add(1)),
                Some(_) => State::Dead,
            },
            (Self::Part(shape, parts), State::Part(now)) => match now.step(*shape, parts, byte) {
                Some(next) => State::Part(Box::new(next)),
                None => State::Dead,
            },
            (Self::All, _) | (Self::Listed(_), State::Still) => State::Still,
            // The states of one set never get another form.
            _ => State::Dead,
        }
    }

    /// Whether a text that ends here is in the set.
    pub(super) fn accepts(&self, state: &State) -> bool {
        match (self, state) {
            (Self::Words(words), State::Range(from, _, length)) => {
                words.get(*from).is_some_and(|word| word.len() == *length)
            }
            (Self::Glob(glob), State::Positions(now)) => glob.0.ends(*now),
            (Self::Under(top), State::At(at)) => *at >= top.len(),
            (Self::Decimal, State::At(at)) => *at >= 2,
            (Self::Not(inner), state) => !inner.accepts(state),
            (Self::And(parts), State::Many(states)) => {
                let mut both = parts.iter().zip(states);
                both.all(|(part, state)| part.accepts(state))
            }
            (Self::Or(parts), State::Many(states)) => {
                let mut both = parts.iter().zip(states);
                both.any(|(part, state)| part.accepts(state))
            }
            (Self::Path(paths), State::Cutting(now)) => now.path_accepts(paths),
            (Self::Ref { texts, absent }, State::Cutting(now)) => now.ref_accepts(texts, *absent),
            (Self::File(_, files), State::File(now)) => now.accepts(files),
            (Self::Listed(wanted), State::At(at)) => {
                wanted.as_deref().is_some_and(|wanted| wanted.len() == *at)
            }
            (Self::After(_, texts), state) => texts.accepts(state),
            (Self::Starting(start), State::At(at)) => *at >= start.len(),
            (Self::Part(shape, parts), State::Part(now)) => now.accepts(*shape, parts),
            (Self::All, _) | (Self::Listed(_), State::Still) => true,
            _ => false,
        }
    }

    /// Whether every text that continues from here is in the set, or none; `None`: not known.
    pub(super) fn fate(&self, state: &State) -> Option<bool> {
        match (self, state) {
            (Self::All, _) | (Self::Listed(_), State::Still) => Some(true),
            (Self::Not(inner), state) => inner.fate(state).map(|fate| !fate),
            (Self::After(_, texts), state) => texts.fate(state),
            (_, State::Dead) => Some(false),
            (Self::Glob(glob), State::Positions(now)) => glob.0.fate(*now),
            (Self::Under(top), State::At(at)) => (*at > top.len()).then_some(true),
            (Self::Starting(start), State::At(at)) => (*at >= start.len()).then_some(true),
            (Self::And(parts), State::Many(states)) => {
                let fates = parts
                    .iter()
                    .zip(states)
                    .map(|(part, state)| part.fate(state));
                all(fates, false)
            }
            (Self::Or(parts), State::Many(states)) => {
                let fates = parts
                    .iter()
                    .zip(states)
                    .map(|(part, state)| part.fate(state));
                all(fates, true)
            }
            _ => None,
        }
    }

    /// The bytes that some state tells apart from other bytes.
    pub(super) fn bytes(&self, seen: &mut [bool; 256]) {
        let mut mark = |bytes: &[u8]| {
            for byte in bytes {
                if let Some(slot) = seen.get_mut(usize::from(*byte)) {
                    *slot = true;
                }
            }
        };
        match self {
            Self::All => {}
            Self::Words(words) => words.iter().for_each(|word| mark(word.as_bytes())),
            Self::Glob(glob) => {
                mark(b"/");
                mark(glob.0.text().as_bytes());
            }
            Self::Under(top) => {
                mark(b"/");
                mark(top.as_bytes());
            }
            Self::Not(inner) => inner.bytes(seen),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.bytes(seen)),
            Self::Decimal => mark(b"-0123456789"),
            Self::Path(texts) | Self::Ref { texts, .. } => {
                mark(workflow::BYTES);
                texts.bytes(seen);
            }
            Self::File(_, files) => {
                mark(b"/");
                files.bytes(seen);
            }
            Self::Listed(wanted) => {
                mark(b",");
                mark(wanted.as_deref().unwrap_or_default().as_bytes());
            }
            Self::After(_, texts) => texts.bytes(seen),
            Self::Starting(start) => mark(start.as_bytes()),
            Self::Part(shape, parts) => {
                mark(b"/");
                mark(shape.0.as_bytes());
                parts.bytes(seen);
            }
        }
    }
}

/// `decisive` if one of them is, its opposite if all are.
fn all(fates: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut is_known = true;
    for fate in fates {
        if fate == Some(decisive) {
            return fate;
        }
        is_known &= fate.is_some();
    }
    is_known.then_some(!decisive)
}

/// Of the words from `from` to `to`, those that go on with the byte.
fn narrow(words: &[String], from: usize, to: usize, length: usize, byte: u8) -> State {
    let some = words.get(from..to).unwrap_or_default();
    let next = |word: &String| word.as_bytes().get(length).copied();
    let before = some.partition_point(|word| next(word) < Some(byte));
    let through = some.partition_point(|word| next(word) <= Some(byte));
    if before == through {
        return State::Dead;
    }
    State::Range(
        from.saturating_add(before),
        from.saturating_add(through),
        length.saturating_add(1),
    )
}

/// Bytes of the entry that were read since the last comma; `OTHER`: it is another one.
fn listed(wanted: Option<&str>, at: usize, byte: u8) -> State {
    const OTHER: usize = usize::MAX;
    match (wanted, byte) {
        (Some(wanted), b',') if at == wanted.len() => State::Still,
        (_, b',') => State::At(0),
        (None, _) => State::Still,
        (Some(wanted), byte) if wanted.as_bytes().get(at) == Some(&byte) => {
            State::At(at.saturating_add(1))
        }
        (Some(_), _) => State::At(OTHER),
    }
}

/// 0: nothing read, 1: a sign, 2: a zero and so the end, 3: digits.
fn decimal(at: usize, byte: u8) -> State {
    match (at, byte) {
        (0, b'-') => State::At(1),
        (0 | 1, b'0') => State::At(2),
        (0 | 1, b'1'..=b'9') | (3, b'0'..=b'9') => State::At(3),
        _ => State::Dead,
    }
}
