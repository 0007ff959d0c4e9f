//! The credentials that `get` and `exec` are asked for, as `[PREFIX=]CREDENTIAL`.

use std::collections::BTreeSet;

use super::Failure;
use super::broker::failure_of_exchange;
use crate::client::format::Prefix;
use crate::client::{Ask, Client, ClientError};
use crate::wire::Offers;

/// A credential, and what stands before the names of its variables.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) prefix: Option<Prefix>,
    pub(super) credential: String,
}

impl Wanted {
    /// `failure`, with this credential's name in front where `all` are several.
    pub(super) fn failure(&self, failure: Failure, all: &[Self]) -> Failure {
        let name = |text: String| format!("`{}`: {text}", self.credential);
        if all.len() < 2 {
            return failure;
        }
        match failure {
            Failure::Denied(text) => Failure::Denied(name(text)),
            Failure::Usage(text) => Failure::Usage(name(text)),
            Failure::Unreachable(text) => Failure::Unreachable(name(text)),
            Failure::Local(text) => Failure::Local(name(text)),
            other @ (Failure::Findings(_) | Failure::Undecided(_) | Failure::Child(_)) => other,
        }
    }
}

/// Reads `[PREFIX=]CREDENTIAL`.
pub(super) fn parse(text: &str) -> Result<Wanted, String> {
    let (prefix, credential) = match text.split_once('=') {
        Some((prefix, credential)) => (Some(Prefix::parse(prefix)?), credential),
        None => (None, text),
    };
    Ask::new(credential).map_err(|error| error.to_string())?;
    Ok(Wanted {
        prefix,
        credential: credential.to_owned(),
    })
}

/// Two credentials without prefixes would overwrite each other's variables.
pub(super) fn check_prefixes(credentials: &[Wanted]) -> Result<(), Failure> {
    let mut prefixes = BTreeSet::new();
    let mut all = credentials.iter();
    match all.find(|one| !prefixes.insert(&one.prefix)) {
        None => Ok(()),
        Some(Wanted {
            prefix: Some(prefix),
            ..
        }) => Err(Failure::Usage(format!("prefix `{prefix}` is given twice"))),
        Some(_) => Err(Failure::Usage(
            "several credentials need a prefix each, like `SHOP=shop-db/read AUDIT=audit-db/read`"
                .to_owned(),
        )),
    }
}

/// What the job may have; `None` where the broker does not say, since its answer to the exchange says
/// more. No token is used.
pub(super) async fn offers(client: &Client) -> Result<Option<Offers>, Failure> {
    match client.available().await {
        Ok(offers) => Ok(Some(offers)),
        Err(ClientError::Denied(_) | ClientError::Answer { .. }) => Ok(None),
        Err(error) => Err(failure_of_exchange(error, client)),
    }
}

/// Puts the credentials that the job may not have first, so that their refusal comes before the job's
/// token is used for another one (T-240).
pub(super) fn not_offered_first<T>(all: &mut [T], offers: &Offers, wanted: fn(&T) -> &Wanted) {
    all.sort_by_key(|one| {
        let mut offers = offers.credentials.iter();
        offers.any(|offer| offer.credential == wanted(one).credential)
    });
}
