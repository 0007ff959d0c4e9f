//! The automaton of texts of which a part is wanted, as [`Shape::part`] takes it.

use super::lang::{Lang, State};
use crate::provider::{Piece, Shape};

/// A text that is being read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PartOf {
    /// The position in the shape.
    at: usize,
    /// Whether the piece there has a byte yet.
    has_begun: bool,
    /// The automaton over the wanted part, while it is read.
    inner: Option<State>,
    /// Whether the wanted part was in the set.
    is_wanted: bool,
}

impl PartOf {
    /// `None`: no text that goes on like this is in the set.
    pub(super) fn step(&self, shape: Shape, parts: &Lang, byte: u8) -> Option<Self> {
        let (piece, next) = shape.piece(self.at)?;
        match piece {
            Piece::Literal(wanted) => (wanted == byte).then(|| Self {
                at: next,
                ..self.clone()
            }),
            Piece::Segment { until, .. } if until == byte => {
                self.past(shape, parts)?.step(shape, parts, byte)
            }
            Piece::Segment { is_wanted, .. } | Piece::Rest { is_wanted } => {
                let mut now = Self {
                    has_begun: true,
                    ..self.clone()
                };
                if is_wanted {
                    let inner = self.inner.clone().unwrap_or_else(|| parts.start());
                    now.inner = Some(parts.step(&inner, byte));
                }
                Some(now)
            }
        }
    }

    /// After the piece, which ends here.
    fn past(&self, shape: Shape, parts: &Lang) -> Option<Self> {
        let (piece, next) = shape.piece(self.at)?;
        let is_whole = self.has_begun || piece == (Piece::Rest { is_wanted: false });
        let is_in_set = self.is_wanted
            || match &self.inner {
                Some(inner) if !parts.accepts(inner) => return None,
                inner => inner.is_some(),
            };
        (is_whole && !matches!(piece, Piece::Literal(_))).then_some(Self {
            at: next,
            has_begun: false,
            inner: None,
            is_wanted: is_in_set,
        })
    }

    pub(super) fn accepts(&self, shape: Shape, parts: &Lang) -> bool {
        if shape.piece(self.at).is_none() {
            return self.is_wanted;
        }
        let past = self.past(shape, parts);
        past.is_some_and(|past| past.is_wanted && shape.piece(past.at).is_none())
    }
}
