//! What the broker answers: a credential, or a refusal that says what to change.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::clock::Timestamp;
use crate::credential::kind::{self, Form, Kind, MOST_CHOSEN, is_chosen_name};
use crate::credential::sealed;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::text::escape;
use crate::wire::{CredentialAnswer, Refusal, TokenAnswer};

use super::Ask;
use super::connection::Answer;
use super::error::ClientError;

/// A credential as a job gets it.
#[derive(Debug)]
pub struct Received {
    /// Its name, e.g. `shop-db/migrate`.
    pub name: String,
    pub kind: &'static Kind,
    /// What it consists of: of the kind's members those that were sent.
    pub members: Members,
    pub expires_at: Timestamp,
    /// The handle that revokes it, for kinds that can be revoked.
    pub lease: Option<Secret<String>>,
    /// The policy that allowed it.
    pub policy: String,
    /// The link to the policy at its commit, if the broker makes links.
    pub policy_url: Option<String>,
    /// The hash of the policies that were asked.
    pub policies_revision: String,
    /// The id of the decision, as the audit has it.
    pub decision: String,
    /// An earlier step of the job asked for the same, and may be using it.
    pub is_repeat: bool,
    /// Others with a token of the same subject have the same login, so that it is theirs to keep.
    pub is_shared: bool,
    /// The sealed message, in an answer that is sealed and nothing else.
    pub sealed: Option<String>,
}

/// The members of a credential, by name, and which one is the secret.
#[derive(Debug)]
pub struct Members {
    secret: Secret<String>,
    /// Secrets that the broker never had.
    own: Vec<Secret<String>>,
    named: BTreeMap<&'static str, Value>,
}

/// The value of a member. Texts are kept as secrets, whichever they are: none is worth printing.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text of one line, or of several where the kind says so.
    Text(Secret<String>),
    List(Vec<String>),
    Number(u64),
    /// Texts by names that the target chose.
    Named(BTreeMap<String, Secret<String>>),
    /// JSON's `null`: no value.
    Nothing,
}

impl Members {
    /// The members in the order of their kind, checked by what the kind says of them.
    fn read(
        kind: &'static Kind,
        secret: Secret<String>,
        mut sent: BTreeMap<String, Value>,
    ) -> Result<Self, String> {
        let mut named = BTreeMap::new();
        for member in kind.members {
            let name = member.name;
            let value = match sent.remove(name) {
                None | Some(Value::Nothing) if member.is_secret() => Value::Text(secret.clone()),
                None | Some(Value::Nothing) if member.always => {
                    return Err(format!("`{name}` is missing"));
                }
                None => continue,
                Some(value) => value,
            };
            check(name, member.form, &value)?;
            named.insert(name, value);
        }
        let known = kind.secret().and_then(|member| named.get(member.name));
        let secret = match known {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::List(_) | Value::Number(_) | Value::Named(_) | Value::Nothing) | None => {
                secret
            }
        };
        if secret.expose().is_empty() {
            return Err("`access_token` is empty".to_owned());
        }
        Ok(Self {
            secret,
            own: Vec::new(),
            named,
        })
    }

    /// The public members of a sealed answer. In place of the secret is the message.
    fn read_sealed(
        kind: &'static Kind,
        message: &str,
        mut sent: BTreeMap<String, Value>,
    ) -> Result<Self, String> {
        let mut named = BTreeMap::new();
        for member in kind.members {
            if let Some(value) = sent.remove(member.name) {
                check(member.name, member.form, &value)?;
                named.insert(member.name, value);
            }
        }
        Ok(Self {
            secret: Secret::new(message.to_owned()),
            own: Vec::new(),
            named,
        })
    }

    #[must_use]
    pub const fn secret(&self) -> &Secret<String> {
        &self.secret
    }

    /// A text, if the credential has it.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&Secret<String>> {
        match self.named.get(name)? {
            Value::Text(text) => Some(text),
            Value::List(_) | Value::Number(_) | Value::Named(_) | Value::Nothing => None,
        }
    }

    /// The texts of a member by the names that the target chose; none if it has no such member.
    pub fn named(&self, name: &str) -> impl Iterator<Item = (&str, &Secret<String>)> {
        let named = match self.named.get(name) {
            Some(Value::Named(named)) => Some(named),
            Some(Value::Text(_) | Value::List(_) | Value::Number(_) | Value::Nothing) | None => {
                None
            }
        };
        let named = named.into_iter().flatten();
        named.map(|(name, text)| (name.as_str(), text))
    }

    /// A number, if the credential has it.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.named.get(name)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::List(_) | Value::Named(_) | Value::Nothing => None,
        }
    }

    /// Whether it has a value of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let value = self.named.get(name);
        value.is_some_and(|value| !matches!(value, Value::Nothing))
    }

    /// Adds a secret of the job's own making, such as the private half of a key that was signed. It
    /// takes the place of whatever was sent under its name.
    pub(super) fn hold(&mut self, name: &'static str, text: Secret<String>) {
        self.own.push(text.clone());
        self.named.insert(name, Value::Text(text));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.named.iter().map(|(name, value)| (*name, value))
    }

    #[cfg(test)]
    pub(super) fn of(kind: &'static Kind, secret: &str, sent: &[(&str, Value)]) -> Self {
        let sent = sent.iter();
        let sent = sent.map(|(name, value)| ((*name).to_owned(), value.clone()));
        Self::read(kind, Secret::new(secret.to_owned()), sent.collect()).unwrap()
    }
}

/// The value is what the kind says, and nothing that a shell, a file of lines or a connection address
/// could read as two.
fn check(name: &str, form: Form, value: &Value) -> Result<(), String> {
    let one_line = |text: &str| {
        if text.chars().any(char::is_control) {
            Err(format!("`{name}` holds a control character"))
        } else {
            Ok(())
        }
    };
    match (form, value) {
        (_, Value::Nothing) | (Form::Lines, Value::Text(_)) | (Form::Number, Value::Number(_)) => {
            Ok(())
        }
        (Form::Text, Value::Text(text)) => one_line(text.expose()),
        (Form::List, Value::List(texts)) => texts.iter().try_for_each(|text| one_line(text)),
        (Form::Named, Value::Named(texts)) => {
            if texts.len() > MOST_CHOSEN {
                return Err(format!("`{name}` holds more than {MOST_CHOSEN} texts"));
            }
            if !texts.keys().all(|name| is_chosen_name(name)) {
                return Err(format!("`{name}` holds a name other than a-z, 0-9 and `_`"));
            }
            texts.values().try_for_each(|text| one_line(text.expose()))
        }
        (Form::Port, Value::Number(port)) if u16::try_from(*port).is_ok() => Ok(()),
        (Form::OneOf(words), Value::Text(text)) => {
            one_line(text.expose())?;
            if words.contains(&text.expose().as_str()) {
                Ok(())
            } else {
                Err(format!("`{name}` is not one of {}", words.join(", ")))
            }
        }
        (
            Form::Text
            | Form::Lines
            | Form::List
            | Form::Port
            | Form::Number
            | Form::Named
            | Form::OneOf(_),
            Value::Text(_) | Value::List(_) | Value::Number(_) | Value::Named(_),
        ) => Err(format!("`{name}` is not of the type expected")),
    }
}

impl Received {
    /// Reads the answer of the token endpoint to a request for `asked`.
    pub(super) fn parse(answer: &Answer, asked: &str) -> Result<Self, ClientError> {
        let raw: TokenAnswer<Secret<String>, BTreeMap<String, Value>> = parse_json(answer)?;
        let says_sealed = raw.issued_token_type == sealed::URN;
        Self::read(raw.hallpass, raw.access_token, says_sealed, asked).map_err(|problem| {
            ClientError::Answer {
                who: answer.who,
                problem,
            }
        })
    }

    /// Reads what is inside a sealed message to somebody who expects `asked`.
    pub(super) fn read_unsealed(
        answer: CredentialAnswer<Secret<String>, BTreeMap<String, Value>>,
        asked: &str,
    ) -> Result<Self, String> {
        Self::read(answer, Secret::new(String::new()), false, asked)
    }

    fn read(
        answer: CredentialAnswer<Secret<String>, BTreeMap<String, Value>>,
        access_token: Secret<String>,
        says_sealed: bool,
        asked: &str,
    ) -> Result<Self, String> {
        let CredentialAnswer {
            mut credential,
            expires_at,
            lease,
            policy,
            policy_url,
            policies_revision,
            decision,
            shared: is_shared,
        } = answer;
        let mut text = |name: &str| match credential.remove(name) {
            Some(Value::Text(text)) => Ok(text),
            Some(Value::List(_) | Value::Number(_) | Value::Named(_) | Value::Nothing) | None => {
                Err(format!("`{name}` of `hallpass.credential` is no text"))
            }
        };
        let (name, kind) = (text("name")?, text("kind")?);
        let name = name.expose().clone();
        if name != asked {
            return Err(format!(
                "it is for credential `{}`, expected `{}`",
                escape(&name),
                escape(asked)
            ));
        }
        let expires_at = expires_at
            .parse::<jiff::Timestamp>()
            .map(|time| Timestamp::from_unix(time.as_second()))
            .map_err(|_| "`expires_at` is not a time of RFC 3339".to_owned())?;
        let kind = kind::find(kind.expose())
            .ok_or_else(|| "its kind is not known to this version of hallpass".to_owned())?;
        let sealed = says_sealed
            .then(|| sealed_message(kind, &access_token, &mut credential))
            .flatten();
        let members = match &sealed {
            Some(message) => Members::read_sealed(kind, message, credential)?,
            None => Members::read(kind, access_token, credential)?,
        };
        let received = Self {
            name,
            kind,
            members,
            expires_at,
            lease,
            policy,
            policy_url,
            policies_revision,
            decision,
            is_repeat: false,
            is_shared,
            sealed,
        };
        received.check_texts()?;
        Ok(received)
    }

    /// Whether it is sealed to the recipient of this request, or is not where there is none.
    pub(super) fn is_sealed_as(&self, ask: &Ask) -> bool {
        let addressee = self.sealed.as_deref().map(sealed::addressee);
        match (&ask.seal_to, addressee) {
            (None, None) => true,
            (Some(key), Some(Some(addressee))) => addressee == key.thumbprint(),
            (Some(_), None | Some(None)) | (None, Some(_)) => false,
        }
    }

    /// Everything in it that no log may show.
    #[must_use]
    pub fn secrets(&self) -> Vec<&Secret<String>> {
        let secret = self.sealed.is_none().then(|| self.members.secret());
        let hidden = self.kind.members.iter();
        let hidden = hidden.filter(|member| !member.is_public());
        let named = hidden.flat_map(|member| self.members.named(member.name));
        secret
            .into_iter()
            .chain(named.map(|(_, text)| text))
            .chain(&self.members.own)
            .chain(self.lease.as_ref())
            .collect()
    }

    /// The PEM certificates that a database is to be checked with: its own, or `roots` where its name
    /// is to be checked and none came along.
    #[must_use]
    pub fn authorities(&self, roots: impl FnOnce() -> String) -> Option<String> {
        let names = ["sslmode", "ssl_mode", "tls"];
        let sslmode = names.iter().find_map(|name| self.members.text(name))?;
        let is_checked = matches!(
            sslmode.expose().as_str(),
            "verify-ca" | "verify-full" | "VERIFY_CA" | "VERIFY_IDENTITY"
        );
        let own = self.members.text("ca").map(|ca| ca.expose().clone());
        own.or_else(|| is_checked.then(roots))
    }

    /// Nothing that a shell, a file of lines or a connection address could read as two things.
    fn check_texts(&self) -> Result<(), String> {
        let mut texts: Vec<(&str, &str)> = vec![
            ("policy", &self.policy),
            ("policies_revision", &self.policies_revision),
            ("decision", &self.decision),
        ];
        if let Some(url) = &self.policy_url {
            texts.push(("policy_url", url));
        }
        if let Some(lease) = &self.lease {
            texts.push(("lease", lease.expose()));
        }
        texts
            .into_iter()
            .find(|(_, text)| text.chars().any(char::is_control))
            .map_or(Ok(()), |(name, _)| {
                Err(format!("`{name}` holds a control character"))
            })
    }
}

/// The message of an answer that is sealed and nothing else: the same twice, and no secret beside it.
fn sealed_message(
    kind: &Kind,
    access_token: &Secret<String>,
    sent: &mut BTreeMap<String, Value>,
) -> Option<String> {
    let is_same = |one: &Secret<String>, other: &Secret<String>| {
        let (one, other) = (one.expose().as_bytes(), other.expose().as_bytes());
        verify_slices_are_equal(one, other).is_ok()
    };
    let mut hidden = kind.members.iter().filter(|member| !member.is_public());
    let is_beside = hidden.any(|member| sent.contains_key(member.name));
    match sent.remove(sealed::MEMBER) {
        Some(Value::Text(message)) if !is_beside && is_same(&message, access_token) => {
            Some(message.expose().clone())
        }
        Some(
            Value::Text(_) | Value::List(_) | Value::Number(_) | Value::Named(_) | Value::Nothing,
        )
        | None => None,
    }
}

impl Refusal {
    /// Whether the broker refuses for this reason.
    #[must_use]
    pub fn is(&self, reason: Reason) -> bool {
        self.reason.as_deref().and_then(Reason::from_code) == Some(reason)
    }

    /// The refusal in an answer; `None` when it is no broker's.
    pub(super) fn parse(answer: &Answer) -> Option<Self> {
        let parse = || serde_json::from_slice(answer.body.expose()).ok();
        answer.is_of_broker().then(parse).flatten()
    }
}

/// One line, escaped (T-91): the sentence, then what tells it from others.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let description = self.error_description.as_deref();
        let sentence = description.filter(|text| !text.is_empty());
        let sentence = sentence.unwrap_or(&self.error);
        // What stands in front of a refusal says this already.
        f.write_str(&escape(sentence.trim_start_matches("access denied: ")))?;
        let mut marks = vec![escape(self.reason.as_deref().unwrap_or(&self.error))];
        if let Some(id) = &self.request_id {
            marks.push(format!("request {}", escape(id)));
        }
        write!(f, " ({})", marks.join(", "))
    }
}

impl std::error::Error for Refusal {}

/// Reads an answer of status 200, or says what it is instead.
pub(super) fn success(answer: Answer) -> Result<Answer, ClientError> {
    match answer.status {
        200..300 => Ok(answer),
        400..500 => match Refusal::parse(&answer) {
            // The public listener serves every path that this client asks for.
            Some(refusal) if refusal.is(Reason::RequestPath) => {
                Err(ClientError::Setting(NOT_PUBLIC.to_owned()))
            }
            Some(refusal) => Err(ClientError::Denied(Box::new(refusal))),
            None => Err(not_a_broker(&answer)),
        },
        _ => match Refusal::parse(&answer) {
            Some(refusal) => Err(ClientError::NotNow {
                who: answer.who,
                status: answer.status,
                refusal: Box::new(refusal),
            }),
            None => Err(not_a_broker(&answer)),
        },
    }
}

const NOT_PUBLIC: &str = "nothing is served at this path: this is not the broker's public listener; set the broker's address to its setting `issuer`";

/// The JSON document of an answer.
pub(super) fn parse_json<T: for<'de> Deserialize<'de>>(answer: &Answer) -> Result<T, ClientError> {
    serde_json::from_slice(answer.body.expose()).map_err(|error| ClientError::Answer {
        who: answer.who,
        // Only the place: the text of the error may quote a secret.
        problem: format!(
            "it is not the expected JSON (line {}, column {})",
            error.line(),
            error.column()
        ),
    })
}

fn not_a_broker(answer: &Answer) -> ClientError {
    ClientError::Answer {
        who: answer.who,
        problem: format!(
            "status {} without an error in JSON; does the address lead to hallpass, or to something in front of it?",
            answer.status
        ),
    }
}

/// Read without a buffer between: serde's own reading of enums keeps copies it does not wipe.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a list of texts, texts by name, a whole number or null")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Secret::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(Secret::new(text)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Ok(Value::List(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some((name, text)) = map.next_entry::<String, Secret<String>>()? {
            if texts.insert(name, text).is_some() {
                return Err(A::Error::custom("a name is there twice"));
            }
        }
        Ok(Value::Named(texts))
    }
}
