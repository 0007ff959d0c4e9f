//! What is written into users, and read back.
//!
//! A lease is an ACL user; its name says when it ends. Its record is a key pattern of a selector without
//! commands, which permits nothing: it is made, found and deleted with the user, whatever happens to the
//! data of the server, and no lease can change it.
//!
//! A claim is a second user, `<prefix>used_<random>`, that is off. Its key patterns are who
//! asked for a login for one token and credential. The server keeps them in the order in which they came,
//! so the first one made it, on whatever replica, and the others find that one (T-423). It outlives the
//! lease until the token is over, so that a used token makes no second login.

use ::redis::{Cmd, Value, cmd};
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::clock::Timestamp;
use crate::lease::LeaseName;
use crate::secret::Secret;

/// A user as `ACL GETUSER` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) is_on: bool,
    /// It takes any password.
    pub(super) has_no_password: bool,
    /// Its key patterns, in their order.
    keys: Vec<String>,
    /// The key patterns of each selector.
    selectors: Vec<String>,
}

impl User {
    /// Reads an answer; `None` for no such user, or for what is no answer.
    pub(super) fn read(answer: &Value) -> Option<Self> {
        let mut user = Self::default();
        for (name, value) in pairs(answer)? {
            match name {
                "flags" => {
                    let has = |flag| items(value).iter().any(|item| text(item) == Some(flag));
                    user.is_on = has("on");
                    user.has_no_password = has("nopass");
                }
                "keys" => user.keys = patterns(value),
                "selectors" => user.selectors = items(value).iter().flat_map(of_selector).collect(),
                _ => {}
            }
        }
        Some(user)
    }

    /// What is kept with a lease.
    pub(super) fn record(&self) -> Option<Record> {
        self.selectors.iter().find_map(|text| Record::parse(text))
    }

    /// Who made the claim: the first that asked.
    pub(super) fn claim(&self) -> Option<Claim> {
        self.keys.first().and_then(|text| Claim::parse(text))
    }
}

/// What is kept with a lease, in front of the signed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) group: String,
    /// Whose place it takes.
    pub(super) holder: String,
    /// The signed record.
    pub(super) text: String,
}

impl Record {
    pub(super) fn selector(&self) -> String {
        let text = BASE64URL_NOPAD.encode(self.text.as_bytes());
        format!("(~hp1:{}:{}:{text})", self.group, self.holder)
    }

    fn parse(pattern: &str) -> Option<Self> {
        let mut parts = pattern.strip_prefix("~hp1:")?.split(':');
        let (group, holder, text) = (parts.next()?, parts.next()?, parts.next()?);
        let text = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        Some(Self {
            group: group.to_owned(),
            holder: holder.to_owned(),
            text: String::from_utf8(text).ok()?,
        })
    }
}

/// Who asked first for a login for one token and credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The name of the login.
    pub(super) login: String,
    /// Until when no other login is made.
    pub(super) until: i64,
    /// When it was made, by the server's clock.
    pub(super) made_at: i64,
    /// Whose it is: a hash of the record.
    pub(super) mark: String,
}

impl Claim {
    pub(super) fn pattern(&self) -> String {
        format!(
            "~hp1:{}:{}:{}:{}",
            self.login, self.until, self.made_at, self.mark
        )
    }

    fn parse(pattern: &str) -> Option<Self> {
        let mut parts = pattern.strip_prefix("~hp1:")?.split(':');
        Some(Self {
            login: parts.next()?.to_owned(),
            until: parts.next()?.parse().ok()?,
            made_at: parts.next()?.parse().ok()?,
            mark: parts.next()?.to_owned(),
        })
    }
}

/// Tells orders apart: a record has a nonce.
pub(super) fn mark(record: &str) -> String {
    let hash = digest(&SHA256, record.as_bytes());
    let (front, _) = hash.as_ref().split_at(16);
    HEXLOWER.encode(front)
}

/// The hash that the server checks a password with. Without salt, which is right for 192 random bits only.
pub(super) fn password_rule(password: &Secret<String>) -> String {
    let hash = digest(&SHA256, password.expose().as_bytes());
    format!("#{}", HEXLOWER.encode(hash.as_ref()))
}

/// Names under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    pub(super) fn claim(&self, random: &str) -> String {
        format!("{}used_{random}", self.prefix)
    }

    pub(super) fn is_claim(&self, name: &str) -> bool {
        let random = name
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix("used_"));
        random.is_some_and(|random| {
            LeaseName::new(&self.prefix, Timestamp::from_unix(0), random).is_ok()
        })
    }

    /// When the lease of that name ends; `None` for a name that is not ours.
    pub(super) fn end(&self, name: &str) -> Option<i64> {
        let parsed = LeaseName::parse(name).ok()?;
        let again = LeaseName::new(&self.prefix, parsed.expires_at(), parsed.rand13()).ok()?;
        (again.to_string() == name).then_some(parsed.expires_at().unix())
    }
}

pub(super) fn get_user(name: &str) -> Cmd {
    acl("GETUSER", &[name])
}

/// Makes a user, or adds rules to one.
pub(super) fn set_user<'a>(name: &str, rules: impl IntoIterator<Item = &'a str>) -> Cmd {
    let mut command = acl("SETUSER", &[name]);
    for rule in rules {
        command.arg(rule);
    }
    command
}

/// Deletes users and ends their connections.
pub(super) fn delete_users(names: &[&str]) -> Cmd {
    acl("DELUSER", names)
}

pub(super) fn acl(verb: &str, arguments: &[&str]) -> Cmd {
    let mut command = cmd("ACL");
    command.arg(verb).arg(arguments);
    command
}

pub(super) fn text(value: &Value) -> Option<&str> {
    if let Value::BulkString(bytes) = value {
        return std::str::from_utf8(bytes).ok();
    }
    if let Value::SimpleString(text) = value {
        return Some(text);
    }
    None
}

pub(super) fn items(value: &Value) -> &[Value] {
    if let Value::Array(items) | Value::Set(items) = value {
        items
    } else {
        &[]
    }
}

/// Names and values of a flat list.
fn pairs(answer: &Value) -> Option<Vec<(&str, &Value)>> {
    let items = items(answer);
    if items.is_empty() {
        return None;
    }
    let pairs = items.chunks_exact(2).map(|pair| match pair {
        [name, value] => Some((text(name)?, value)),
        _ => None,
    });
    pairs.collect()
}

/// Key patterns, each with its mark: a text with blanks in between.
fn patterns(value: &Value) -> Vec<String> {
    let words = text(value).unwrap_or_default().split(' ');
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn of_selector(selector: &Value) -> Vec<String> {
    let pairs = pairs(selector).unwrap_or_default();
    let mut keys = pairs.into_iter().filter(|(name, _)| *name == "keys");
    keys.next()
        .map_or_else(Vec::new, |(_, value)| patterns(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let record = Record {
            group: "app_ro".to_owned(),
            holder: "0".repeat(32),
            text: r#"{"v":1,"pol":"a b"}"#.to_owned(),
        };
        let selector = record.selector();
        assert!(selector.bytes().all(|byte| byte.is_ascii_graphic()));
        let inside = selector.trim_matches(['(', ')']);
        assert_eq!(Record::parse(inside), Some(record));
        let claim = Claim {
            login: "hp_1lg7ei3_0123456789abc".to_owned(),
            until: 5,
            made_at: 3,
            mark: mark("x"),
        };
        assert_eq!(Claim::parse(&claim.pattern()), Some(claim));
        for text in [
            "",
            "~hp1:",
            "~hp1:a:b",
            "~hp1:a:b:!",
            "~app:*",
            "%R~hp1:a:b:YQ",
        ] {
            assert_eq!(Record::parse(text), None, "{text}");
        }
    }

    /// T-420
    #[test]
    fn only_names_of_this_form_are_ours() {
        let names = Names::new("hp_");
        assert_eq!(names.end("hp_0000007_0123456789abc"), Some(7));
        let claim = names.claim("0123456789abc");
        assert!(names.is_claim(&claim) && names.end(&claim).is_none());
        for name in [
            "default",
            "hallpass",
            "hp_",
            "hp_0000007_0123456789ab",
            "hpa_0000007_0123456789abc",
            "hp_used_",
            "hp_used_x",
            "hp_used_0123456789abcd",
            "hp_0000007_0123456789abc ",
            "HP_0000007_0123456789abc",
        ] {
            assert!(names.end(name).is_none() && !names.is_claim(name), "{name}");
        }
    }
}
