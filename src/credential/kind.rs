//! Describes the kinds of credentials as values, for the broker and its client.
//!
//! Policies, requests, responses and formats are handled from these values. So a new kind is one
//! file with its constant, and one line in [`KINDS`]. How a kind is minted is not described here.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::database::{mysql, postgres, redis, webhook};
use super::jwt;
use super::ssh;
use crate::policy::DefinitionReader;

pub const KINDS: &[&Kind] = &[
    &jwt::KIND,
    &mysql::KIND,
    &postgres::KIND,
    &postgres::certificate::KIND,
    &redis::KIND,
    &ssh::KIND,
    &webhook::KIND,
];

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// The kind of a token type URI (RFC 8693 section 3), and the URI as it is listed.
#[must_use]
pub fn by_urn(urn: &str) -> Option<(&'static Kind, &'static str)> {
    KINDS.iter().find_map(|kind| {
        let known = kind.urns().find(|known| *known == urn)?;
        Some((*kind, known))
    })
}

/// The input of that name, of any kind. Inputs with the same name mean the same in every kind.
#[must_use]
pub fn input(name: &str) -> Option<&'static Input> {
    let inputs = KINDS.iter().flat_map(|kind| kind.inputs);
    inputs.into_iter().find(|input| input.name == name)
}

pub struct Kind {
    /// Its name in policies and responses.
    pub name: &'static str,
    /// A noun for it, with its article.
    pub noun: &'static str,
    /// Its token type URI: the `issued_token_type` if a request names none.
    pub urn: &'static str,
    /// Further URIs that a request can use.
    pub other_urns: &'static [&'static str],
    /// The `token_type` of the token endpoint's response (RFC 8693 section 2.2.1).
    pub token_type: &'static str,
    /// The keys of its definition, in addition to those of every credential.
    pub keys: &'static [&'static str],
    /// The shortest lifetime that it can be issued for, in seconds.
    pub shortest_life: u32,
    /// The inputs that a request may have.
    pub inputs: &'static [Input],
    /// What a credential consists of.
    pub members: &'static [Member],
    /// What a repeat with the same idempotency key returns.
    pub repeat: Repeat,
    /// Whether it has a lease handle to revoke it with.
    pub revocable: bool,
    /// The keys that decide what its credentials reach, which a `uses:` entry of a team limits.
    pub teams: &'static [TeamBound],
    /// Reads the definition from its keys. `None` after an error that is already reported.
    pub read: fn(&mut DefinitionReader<'_, '_>) -> Option<Arc<dyn Definition>>,
}

impl Kind {
    /// Every URI for it, the default first.
    pub fn urns(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.urn).chain(self.other_urns.iter().copied())
    }

    /// The shortest lifetime. A policy must not grant less, and a request for less is refused.
    #[must_use]
    pub fn shortest(&self) -> Duration {
        Duration::from_secs(u64::from(self.shortest_life))
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

/// An input of a request, e.g. the public key to certify. Printable ASCII, never a secret: it is
/// recorded in the audit log.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The parameter of the form, and the member of `inputs` in JSON: lower-case letters and `_`.
    pub name: &'static str,
    /// What it is, for the documentation.
    pub summary: &'static str,
    /// Whether a request without it is rejected.
    pub required: bool,
    /// Whether it is a list: entries with commas between, of which each is checked.
    pub is_list: bool,
    /// The most bytes it may have.
    pub longest: usize,
    /// Checks a value that is not too long. The error completes a sentence that begins with the
    /// input's name, and must not contain the value.
    pub check: fn(&str) -> Result<(), String>,
}

impl Input {
    /// Checks a value: its length, and the kind's own check.
    ///
    /// # Errors
    /// What is wrong. The text completes a sentence that begins with the input's name, and does not
    /// contain the value.
    pub fn check_value(&self, value: &str) -> Result<(), String> {
        let (found, longest) = (value.len(), self.longest);
        if found > longest {
            return Err(format!("has {found} bytes, at most {longest} are allowed"));
        }
        if self.is_list && self.entries(value).any(str::is_empty) {
            return Err("has an empty entry".to_owned());
        }
        self.entries(value).try_for_each(self.check)
    }

    /// The entries of a list; of another input, its value.
    pub fn entries<'v>(&self, value: &'v str) -> impl Iterator<Item = &'v str> {
        let most = if self.is_list { usize::MAX } else { 1 };
        value.splitn(most, ',')
    }
}

/// A member of a credential, as named in responses and formats.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub name: &'static str,
    /// The form of its value.
    pub form: Form,
    /// Whether it may be shown.
    pub secrecy: Secrecy,
    /// Whether every credential of the kind has it.
    pub always: bool,
}

impl Member {
    /// Whether it is the secret.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.secrecy, Secrecy::Secret)
    }

    /// Whether it may be shown.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        matches!(self.secrecy, Secrecy::Public)
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

    /// The same member, optional.
    #[must_use]
    pub const fn or_absent(self) -> Self {
        Self {
            always: false,
            ..self
        }
    }
}

/// The form of a member's value.
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
    /// Texts of one line by names that the target chose: letters a-z, digits and `_`.
    Named,
}

/// Whether a member of [`Form::Named`] may have that name.
#[must_use]
pub fn is_chosen_name(name: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    (1..=LONGEST_CHOSEN).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(is_plain)
}

/// The most names in a [`Form::Named`].
pub const MOST_CHOSEN: usize = 32;
/// The most bytes of a name in a [`Form::Named`].
const LONGEST_CHOSEN: usize = 32;

/// Whether a member may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    Public,
    /// It is the secret: the `access_token` of the token endpoint.
    Secret,
    /// It contains the secret, like a URL with a password.
    HoldsSecret,
}

/// What a repeat with the same idempotency key returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Same,
    /// The current credential, which may differ from the first one.
    ReadAgain,
    /// Nothing: the credential cannot be returned again, and the repeat is refused.
    Refused,
}

/// A key of the definition that decides what a credential reaches, and that a `uses:` entry of a team
/// can limit.
#[derive(Clone, Copy, Debug)]
pub struct TeamBound {
    /// The key of the definition.
    pub key: &'static str,
    /// The key of the `uses:` entry that lists its allowed values.
    pub uses: &'static str,
    /// What the team may do with the key, besides choosing a listed value.
    pub rule: BoundRule,
}

/// How a key of a team's definition relates to the list in `uses:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundRule {
    /// It names what is reached. Listed, the team must give it, because a default is not the team's
    /// choice; not listed, it may not.
    Names,
    /// It adds to what is reached, and nothing without it. Not listed, the team may not give it.
    Adds,
    /// It narrows what is reached. Listed, the team must give it; not listed, it may.
    Narrows,
}

/// The limit of `resource`, which a credential of every kind can have.
pub const RESOURCE: TeamBound = TeamBound {
    key: "resource",
    uses: "resources",
    rule: BoundRule::Adds,
};

/// The definition that a kind read from its own keys. Each kind has its own type, which its mint
/// gets back through [`CredentialDefinition::of`](crate::policy::CredentialDefinition::of).
pub trait Definition: SameDefinition + Any + fmt::Debug + Send + Sync {
    /// The target that it is issued in; `None` for kinds without targets.
    fn target(&self) -> Option<&str> {
        None
    }

    /// Every scope; empty for kinds without scopes.
    fn scopes(&self) -> &[String] {
        &[]
    }

    /// Each key that is given, with its value as in the file.
    fn keys(&self) -> Vec<(&'static str, String)>;

    /// Everything that determines what is minted, except the scopes. Two requests are the same only
    /// if these are equal.
    fn decisive(&self) -> Vec<&[u8]>;
}

/// Equality of definitions of unknown types. Implemented for every definition with `PartialEq`.
pub trait SameDefinition {
    /// The same type and the same values.
    fn is_same(&self, other: &dyn Definition) -> bool;
}

impl<T: Definition + PartialEq> SameDefinition for T {
    fn is_same(&self, other: &dyn Definition) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<T>() == Some(self)
    }
}
