//! A token with its keys, and whom it is shown to.

use ::hallpass::token::Algorithm;

/// One token, and all that is needed to judge it.
#[derive(Clone)]
pub(crate) struct Case {
    /// What is odd about it; cases of one class end alike.
    pub(crate) class: String,
    /// The issuer's key set.
    pub(crate) keys: String,
    /// What the issuer may sign with.
    pub(crate) algorithms: Vec<Algorithm>,
    /// The text that is judged.
    pub(crate) token: String,
    /// Whether hallpass must accept it.
    pub(crate) genuine: bool,
}

/// What an implementation says of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The payload it read, where it tells.
    Accepts(Option<Vec<u8>>),
    Refuses,
    /// A stranger's text stopped it.
    Panics,
}

impl<T, E> From<Result<T, E>> for Verdict {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Accepts(None),
            Err(_) => Self::Refuses,
        }
    }
}

/// An implementation, asked as its documentation says.
pub(crate) struct Opinion {
    pub(crate) name: &'static str,
    /// Is this a signed token under these keys, whatever its payload?
    pub(crate) of_signature: fn(&Case) -> Verdict,
    /// Is this an ID token of [`ISSUER`](crate::tokens::ISSUER) for
    /// [`AUDIENCE`](crate::tokens::AUDIENCE), of now?
    pub(crate) of_token: fn(&Case) -> Verdict,
}

/// Ours first.
pub(crate) const OPINIONS: [Opinion; 4] = [
    crate::hallpass::OPINION,
    crate::josekit::OPINION,
    crate::openidconnect::OPINION,
    crate::jsonwebtoken::OPINION,
];
