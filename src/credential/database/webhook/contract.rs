//! The contract: what is sent to the other side, and what it must answer.
//!
//! Members that are not here are ignored in answers, so that the other side can say more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credential::NamedSecrets;
use crate::credential::database::Given;
use crate::credential::kind::{MOST_CHOSEN, is_chosen_name};
use crate::secret::Secret;

/// The version of the contract, in `contract` of a check.
pub const VERSION: u32 = 1;

pub(super) const CREATE: &str = "/create";
pub(super) const END: &str = "/end";
pub(super) const LIST: &str = "/list";
pub(super) const CHECK: &str = "/check";

/// The most bytes of an answer.
pub(super) const SHORT: usize = 64 * 1_024;
/// The same of a list: a hundred records of two kilobytes, and what JSON adds.
pub(super) const LONG: usize = 512 * 1_024;
/// Leases in one list.
pub(super) const PAGE: usize = 100;
/// No lease lives longer, in seconds; clocks may differ by a minute.
pub(super) const LONGEST_LIFE: i64 = 3_600;

/// A lease to be made, or with `may_create` off to be found.
#[derive(Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "members have the contract's names"
)]
pub(super) struct Create<'a> {
    /// `hp_` (the prefix of the target), when it ends, and `id`.
    pub(super) name: &'a str,
    /// The same for the same token and credential, whatever the name.
    pub(super) id: &'a str,
    pub(super) group: &'a str,
    pub(super) password: &'a str,
    /// Unix seconds, as in the name.
    pub(super) expires_at: i64,
    /// Until when no other lease may be made for the `id`.
    pub(super) remember_until: i64,
    /// Kept with the lease, and given back.
    pub(super) record: &'a str,
    /// Whose lease it is; kept with it.
    pub(super) holder: &'a str,
    pub(super) may_create: bool,
}

/// The lease that is there now.
#[derive(Debug, Deserialize)]
pub(super) struct Made {
    pub(super) created: bool,
    pub(super) name: String,
    pub(super) group: String,
    pub(super) record: String,
    username: Option<String>,
    password: Option<Secret<String>>,
    #[serde(default)]
    members: BTreeMap<String, String>,
    #[serde(default)]
    secrets: BTreeMap<String, Secret<String>>,
}

impl Made {
    /// What it gives the job, if that is of the contract (T-460).
    pub(super) fn given(&mut self) -> Result<Given, String> {
        let (members, secrets) = (&self.members, &self.secrets);
        let texts = members.iter().map(|(name, text)| (name, text.as_str()));
        let hidden = secrets
            .iter()
            .map(|(name, text)| (name, text.expose().as_str()));
        if members.len().saturating_add(secrets.len()) > MOST_CHOSEN {
            return Err(format!(
                "`members` and `secrets` are more than {MOST_CHOSEN}"
            ));
        }
        for (name, text) in texts.chain(hidden) {
            let is_its_own = !RESERVED.contains(&name.as_str());
            if !is_chosen_name(name) || !is_its_own {
                return Err(
                    "a name in `members` or `secrets` is not 1 to 32 of a-z, 0-9 and `_` that begin with a letter, or is `username` or `password`"
                        .to_owned(),
                );
            }
            check_text(name, text)?;
        }
        if members.keys().any(|name| secrets.contains_key(name)) {
            return Err("a name is in `members` and in `secrets`".to_owned());
        }
        if let Some(username) = &self.username {
            check_text("username", username)?;
        }
        if let Some(password) = &self.password {
            check_text("password", password.expose())?;
        }
        Ok(Given {
            username: self.username.take(),
            password: self.password.take(),
            members: std::mem::take(&mut self.members),
            secrets: NamedSecrets(std::mem::take(&mut self.secrets)),
        })
    }
}

/// One line that is not empty.
fn check_text(name: &str, text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
        return Err(format!(
            "`{name}` is not 1 to {LONGEST_TEXT} bytes without control characters"
        ));
    }
    Ok(())
}

#[derive(Serialize)]
pub(super) struct End<'a> {
    pub(super) name: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ended {
    pub(super) ended: bool,
    /// What keeps it.
    pub(super) reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct List<'a> {
    pub(super) prefix: &'a str,
    /// Only names that sort after it.
    pub(super) after: &'a str,
    pub(super) limit: usize,
}

/// Leases that have not ended, sorted by name. Fewer than `limit` are the last ones.
#[derive(Debug, Deserialize)]
pub(super) struct Leases {
    pub(super) leases: Vec<Lease>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Lease {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) record: String,
    pub(super) holder: String,
}

#[derive(Serialize)]
pub(super) struct Check {}

#[derive(Debug, Deserialize)]
pub(super) struct Checked {
    pub(super) contract: u32,
    /// Unix seconds.
    pub(super) time: i64,
    pub(super) groups: Vec<String>,
}

/// A refusal: with it the other side says that nothing was done.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: String,
    #[serde(default)]
    pub(super) message: String,
}

/// Values of `error`.
pub(super) mod code {
    /// The request is not signed as it must be.
    pub(in super::super) const TOKEN: &str = "token";
    /// The request is not of the contract.
    pub(in super::super) const FORM: &str = "form";
    pub(in super::super) const GROUP: &str = "group";
    /// It would live too long.
    pub(in super::super) const CEILING: &str = "ceiling";
    /// The lease of the `id` has ended, or is not there and may not be made.
    pub(in super::super) const ENDED: &str = "ended";
    pub(in super::super) const FULL: &str = "full";
    pub(in super::super) const REPOSITORY_FULL: &str = "repository_full";
    /// Ask again later.
    pub(in super::super) const BUSY: &str = "busy";
}

const RESERVED: [&str; 2] = ["username", "password"];
/// Bytes of a member.
const LONGEST_TEXT: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn given(more: &str) -> Result<Given, String> {
        let text = format!(
            r#"{{"created":true,"name":"hp_1lg7ei3_0123456789abc","group":"g","record":"r"{more}}}"#
        );
        let mut made: Made = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        made.given()
    }

    /// T-460
    #[test]
    fn members_of_the_other_side_have_bounded_names_and_one_line() {
        let fine =
            given(r#","members":{"host":"db"},"secrets":{"uri":"x://y"},"more":[1]"#).unwrap();
        assert_eq!(fine.members["host"], "db");
        assert!(!format!("{fine:?}").contains("x://y"));
        for wrong in [
            r#","members":{"PATH":"x"}"#,
            r#","members":{"ld-preload":"x"}"#,
            r#","members":{"":"x"}"#,
            r#","members":{"_a":"x"}"#,
            r#","members":{"a=b":"x"}"#,
            r#","members":{"password":"x"}"#,
            r#","secrets":{"username":"x"}"#,
            r#","members":{"a":"x"},"secrets":{"a":"y"}"#,
            r#","members":{"a":"x\ny"}"#,
            r#","secrets":{"a":"x\u001by"}"#,
            r#","members":{"a":""}"#,
            r#","username":"a\u0000""#,
            r#","password":"""#,
            r#","members":{"a":1}"#,
            r#","members":["a"]"#,
        ] {
            assert!(given(wrong).is_err(), "{wrong}");
        }
        let many: Vec<String> = (0..33).map(|at| format!(r#""a{at}":"x""#)).collect();
        assert!(given(&format!(r#","members":{{{}}}"#, many.join(","))).is_err());
        let long = "x".repeat(LONGEST_TEXT + 1);
        assert!(given(&format!(r#","members":{{"a":"{long}"}}"#)).is_err());
    }
}
