//! Kind: everything the broker and its client know of one kind of credential, as a value. The list of
//! kinds.
//!
//! Policies are read, requests checked, answers written and formats offered from these values, so a
//! new kind is one file with its constant and one line in [`KINDS`]. Not: how a kind is minted.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::database::postgres;
use super::jwt;
use super::ssh;
use crate::policy::DefinitionReader;

pub const KINDS: &[&Kind] = &[&jwt::KIND, &postgres::KIND, &ssh::KIND];

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// The kind that a token type URI stands for (RFC 8693 section 3), and the URI as it is listed.
#[must_use]
pub fn by_urn(urn: &str) -> Option<(&'static Kind, &'static str)> {
    KINDS.iter().find_map(|kind| {
        let known = kind.urns().find(|known| *known == urn)?;
        Some((*kind, known))
    })
}

/// The input of that name, of whichever kind has it. Inputs of one name mean the same in every kind.
#[must_use]
pub fn input(name: &str) -> Option<&'static Input> {
    let inputs = KINDS.iter().flat_map(|kind| kind.inputs);
    inputs.into_iter().find(|input| input.name == name)
}

pub struct Kind {
    /// The word for it in a policy file and in answers.
    pub name: &'static str,
    /// What it is in a sentence, with its article.
    pub noun: &'static str,
    /// Its token type URI: the `issued_token_type` of a request that names none.
    pub urn: &'static str,
    /// Further URIs that a request may ask for it by.
    pub other_urns: &'static [&'static str],
    /// The `token_type` of the token endpoint's answer (RFC 8693 section 2.2.1).
    pub token_type: &'static str,
    /// The keys of its definition, beside those of every credential.
    pub keys: &'static [&'static str],
    /// What a request may bring.
    pub inputs: &'static [Input],
    /// What a credential consists of.
    pub members: &'static [Member],
    /// What a repeat with the same idempotency key returns.
    pub repeat: Repeat,
    /// It comes with a lease handle that ends it before its time.
    pub revocable: bool,
    /// What a `uses:` entry of a team must bound.
    pub teams: &'static [TeamBound],
    /// Makes the definition from the keys. `None` after an error that is already reported.
    pub read: fn(&mut DefinitionReader<'_, '_>) -> Option<Arc<dyn Definition>>,
}

impl Kind {
    /// Every URI that stands for it, the usual one first.
    pub fn urns(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.urn).chain(self.other_urns.iter().copied())
    }

    /// The member that is the secret; every kind has exactly one.
    #[must_use]
    pub fn secret(&self) -> Option<&'static Member> {
        let mut members = self.members.iter();
        members.find(|member| member.is_secret())
    }

    /// Whether its credentials always have a member of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let mut members = self.members.iter();
        members.any(|member| member.always && member.name == name)
    }
}

/// The rest of a kind follows from its name.
impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kind").field(&self.name).finish()
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kind {}

/// Something a request may bring for a credential, e.g. the public key to be certified. Printable
/// ASCII, never a secret: it is recorded in the audit log.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The parameter of the form, and the member of `inputs` in JSON: lower-case letters and `_`.
    pub name: &'static str,
    /// What it is, for the documentation.
    pub summary: &'static str,
    /// A request without it is refused.
    pub required: bool,
    /// The most bytes it may have.
    pub longest: usize,
    /// Says what is wrong with a value that is not too long, as the end of a sentence that begins with
    /// its name. The value must not be part of the text.
    pub check: fn(&str) -> Result<(), String>,
}

impl Input {
    /// Checks a value against all that the kind asks of it.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the input's name. It holds nothing of
    /// the value.
    pub fn check_value(&self, value: &str) -> Result<(), String> {
        let (found, longest) = (value.len(), self.longest);
        if found > longest {
            return Err(format!("has {found} bytes, at most {longest} are allowed"));
        }
        (self.check)(value)
    }
}

/// One member of a credential, as answers and formats name it.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub name: &'static str,
    /// What its value may be.
    pub form: Form,
    /// Whether it may be shown.
    pub secrecy: Secrecy,
    /// Every credential of the kind has it.
    pub always: bool,
}

impl Member {
    /// It is what must not be shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.secrecy, Secrecy::Secret)
    }

    /// A public member that is always present.
    #[must_use]
    pub const fn public(name: &'static str, form: Form) -> Self {
        Self {
            name,
            form,
            secrecy: Secrecy::Public,
            always: true,
        }
    }

    #[must_use]
    pub const fn secret(name: &'static str) -> Self {
        Self {
            name,
            form: Form::Text,
            secrecy: Secrecy::Secret,
            always: true,
        }
    }

    /// The same member, where some credentials of the kind lack it.
    #[must_use]
    pub const fn or_absent(self) -> Self {
        Self {
            always: false,
            ..self
        }
    }
}

/// What the value of a member may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    /// Text of several lines, such as PEM.
    Lines,
    OneOf(&'static [&'static str]),
    /// A list of texts of one line.
    List,
    Port,
    Number,
}

/// Who may see a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    Public,
    /// It is the secret: the `access_token` of the token endpoint.
    Secret,
    /// The secret is part of it, as in an address with a password.
    HoldsSecret,
}

/// What a repeat with the same idempotency key returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Same,
    /// The credential as it is then; it may differ from the first one.
    ReadAgain,
    /// Nothing: the credential cannot be returned again, and the repeat is refused.
    Refused,
}

/// A key of the definition that a `uses:` entry of a team must bound: an entry that leaves it out
/// would let the team define credentials without that limit.
#[derive(Clone, Copy, Debug)]
pub struct TeamBound {
    /// The key of the definition.
    pub key: &'static str,
    /// The key of the `uses:` entry that lists its allowed values.
    pub uses: &'static str,
}

/// What a kind read from its own keys of a definition. Each kind has a type of its own, which its
/// mint gets back through [`CredentialDefinition::of`](crate::policy::CredentialDefinition::of).
pub trait Definition: Same + Any + fmt::Debug + Send + Sync {
    /// The target of the settings that it is made in; `None` for kinds without one.
    fn target(&self) -> Option<&str> {
        None
    }

    /// Every scope there is; empty for kinds without scopes.
    fn scopes(&self) -> &[String] {
        &[]
    }

    /// Everything that decides what is minted, but for the scopes: a repeat is the same only if
    /// these are.
    fn decisive(&self) -> Vec<&[u8]>;
}

/// Equality of definitions whose types are not known. Implemented for every comparable definition.
pub trait Same {
    /// The same type and the same values.
    fn is_same(&self, other: &dyn Definition) -> bool;
}

impl<T: Definition + PartialEq> Same for T {
    fn is_same(&self, other: &dyn Definition) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<T>() == Some(self)
    }
}
