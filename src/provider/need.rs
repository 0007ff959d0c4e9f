//! Conditions that policies for a provider's jobs need, because its tokens mislead without them, and
//! claims that do not say what their names suggest.

use super::Fact;
use crate::yaml::diagnostic::Severity;

/// A condition that a policy needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Any of these is enough.
    pub any_of: &'static [Wanted],
    /// Whether a credential of class `low` needs it too.
    pub for_low: bool,
    pub severity: Severity,
    /// What a policy without it does, after "policy `NAME`".
    pub without: &'static str,
    /// What to add.
    pub help: &'static str,
}

/// A form of condition.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// The fact has a condition that limits its values.
    Named(Fact),
    /// The fact is one text, or one of a list of texts.
    Exact(Fact),
    /// The fact is one text, or one of a list of texts, and none of these.
    Except(Fact, &'static [&'static str]),
    Is(Fact, bool),
}

impl Wanted {
    #[must_use]
    pub const fn fact(self) -> Fact {
        match self {
            Self::Named(fact) | Self::Exact(fact) | Self::Except(fact, _) | Self::Is(fact, _) => {
                fact
            }
        }
    }
}

/// A claim that no policy should compare.
#[derive(Clone, Copy, Debug)]
pub struct Misleading {
    /// Its JSON pointer. Claims within it mislead too.
    pub claim: &'static str,
    /// Why, after its name.
    pub why: &'static str,
    pub instead: &'static str,
}

/// A need of every policy.
pub(super) const fn always(
    any_of: &'static [Wanted],
    severity: Severity,
    without: &'static str,
    help: &'static str,
) -> Need {
    Need {
        any_of,
        for_low: true,
        severity,
        without,
        help,
    }
}

/// A need of policies that grant more than credentials of class `low`.
pub(super) const fn above_low(
    any_of: &'static [Wanted],
    severity: Severity,
    without: &'static str,
    help: &'static str,
) -> Need {
    Need {
        for_low: false,
        ..always(any_of, severity, without, help)
    }
}
