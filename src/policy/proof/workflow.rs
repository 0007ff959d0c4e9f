//! The automata of workflow claims, `path@ref`, as [`Workflow::parse`](crate::provider::Workflow) cuts
//! them: at the first `@refs/`, else at the last `@` before a full commit id.

use super::lang::{Lang, State};
use crate::provider::Cut;

/// What the cut of a workflow depends on.
pub(super) const BYTES: &[u8] = b"@refs/0123456789abcdef";

const REFS: &[u8] = b"refs/";

/// A workflow claim that is being read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cutting {
    /// Of the path: the automaton over all that was read. Of the ref: that over what follows the last
    /// `@`, or the cut.
    inner: Option<State>,
    /// After an `@` that may be the cut.
    at: Option<Tail>,
    /// The path was cut at `@refs/`. Of the path: whether it is in the set.
    cut: Option<bool>,
}

/// What was read since the last `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tail {
    /// Whether the path that ends at the `@` is in the set.
    accepts: bool,
    /// The bytes, while all can be of a commit id.
    commit: Option<usize>,
    /// The bytes, while all are those of `refs/`.
    refs: Option<usize>,
}

impl Tail {
    const fn new(accepts: bool) -> Self {
        Self {
            accepts,
            commit: Some(0),
            refs: Some(0),
        }
    }

    fn step(self, byte: u8) -> Option<Self> {
        let is_hex = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let commit = self.commit.filter(|length| is_hex && *length < 64);
        let refs = self.refs.filter(|length| REFS.get(*length) == Some(&byte));
        let next = Self {
            commit: commit.map(|length| length.saturating_add(1)),
            refs: refs.map(|length| length.saturating_add(1)),
            ..self
        };
        (next.commit.is_some() || next.refs.is_some()).then_some(next)
    }

    fn is_refs(self) -> bool {
        self.refs == Some(REFS.len())
    }

    fn is_commit(self) -> bool {
        matches!(self.commit, Some(40 | 64))
    }
}

impl Cutting {
    pub(super) fn of_path(paths: &Lang) -> Self {
        Self {
            inner: Some(paths.start()),
            at: None,
            cut: None,
        }
    }

    pub(super) const fn of_ref() -> Self {
        Self {
            inner: None,
            at: None,
            cut: None,
        }
    }

    pub(super) fn path_step(&self, paths: &Lang, byte: u8) -> Self {
        let Some(inner) = self.inner.as_ref().filter(|_| self.cut.is_none()) else {
            return self.clone();
        };
        let at = if byte == b'@' {
            Some(Tail::new(paths.accepts(inner)))
        } else {
            self.at.and_then(|tail| tail.step(byte))
        };
        match at.filter(|tail| tail.is_refs()) {
            Some(tail) => Self {
                inner: None,
                at: None,
                cut: Some(tail.accepts),
            },
            None => Self {
                inner: Some(paths.step(inner, byte)),
                at,
                cut: None,
            },
        }
    }

    pub(super) fn path_accepts(&self, paths: &Lang) -> bool {
        let whole = || self.inner.as_ref().is_some_and(|all| paths.accepts(all));
        match (self.cut, self.at) {
            (Some(accepts), _) => accepts,
            (None, Some(tail)) if tail.is_commit() => tail.accepts,
            (None, _) => whole(),
        }
    }

    pub(super) fn ref_step(&self, refs: &Lang, byte: u8) -> Self {
        let step = |state: &State| refs.step(state, byte);
        if self.cut.is_some() {
            return Self {
                inner: self.inner.as_ref().map(step),
                ..self.clone()
            };
        }
        if byte == b'@' {
            return Self {
                inner: Some(refs.start()),
                at: Some(Tail::new(false)),
                cut: None,
            };
        }
        let Some(at) = self.at.and_then(|tail| tail.step(byte)) else {
            return Self::of_ref();
        };
        let is_refs = at.is_refs();
        Self {
            inner: self.inner.as_ref().map(step),
            at: Some(at).filter(|_| !is_refs),
            cut: is_refs.then_some(true),
        }
    }

    pub(super) fn ref_accepts(&self, refs: &Lang, absent: bool) -> bool {
        let is_cut = self.cut.is_some() || self.at.is_some_and(Tail::is_commit);
        match &self.inner {
            Some(inner) if is_cut => refs.accepts(inner),
            Some(_) | None => absent,
        }
    }
}

/// A path that is being read up to its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct FileStart {
    /// Slashes that count so far.
    slashes: usize,
    /// The automaton over the file, once it began.
    file: Option<State>,
    is_empty: bool,
}

impl FileStart {
    pub(super) fn step(&self, cut: Cut, files: &Lang, byte: u8) -> Self {
        if let Some(file) = &self.file {
            return Self {
                slashes: 0,
                file: Some(files.step(file, byte)),
                is_empty: false,
            };
        }
        let slashes = match (byte, cut) {
            (b'/', _) => self.slashes.saturating_add(1),
            (_, Cut::SecondSlash) => self.slashes,
            (_, Cut::DoubleSlash) => 0,
        };
        if slashes < 2 {
            return Self {
                slashes,
                file: None,
                is_empty: false,
            };
        }
        Self {
            slashes: 0,
            file: Some(files.start()),
            is_empty: true,
        }
    }

    pub(super) fn accepts(&self, files: &Lang) -> bool {
        let file = self.file.as_ref().filter(|_| !self.is_empty);
        file.is_some_and(|file| files.accepts(file))
    }
}
