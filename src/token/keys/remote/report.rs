//! Logs the outcome of key fetches, without the text of keys or documents.

use super::{KeyError, KeySet};
use crate::reason::Reason;
use crate::token::TrustedIssuer;
use crate::token::keys::{Rejected, Rule};

/// A failed fetch, and whether there are keys all the same (T-65).
pub(super) fn log_failure(issuer: &TrustedIssuer, error: &KeyError, has_keys: bool) {
    tracing::error!(
        issuer = issuer.name,
        reason = error.reason().code(),
        serves_last_good_set = has_keys,
        "keys of issuer `{}` could not be fetched: {error}",
        issuer.name
    );
}

/// Once per set, not once per fetch of it (T-29). The alert about an empty one too (T-66).
pub(super) fn log_left_out(issuer: &TrustedIssuer, set: &KeySet, before: Option<&KeySet>) {
    if set.is_empty() && !before.is_some_and(KeySet::is_empty) {
        tracing::error!(
            issuer = issuer.name,
            reason = Reason::KeysEmpty.code(),
            "issuer `{}` publishes no key that can be used; its tokens are refused",
            issuer.name
        );
    }
    if before.is_some_and(|before| before.rejected() == set.rejected()) {
        return;
    }
    for Rejected { index, rule } in set.rejected() {
        let (name, reason) = (&issuer.name, rule.reason().code());
        // A leaked private key is the issuer's emergency, everything else its untidiness (T-32).
        if *rule == Rule::PrivateMember {
            tracing::error!(
                issuer = name,
                reason,
                index,
                "key {index} of issuer `{name}` is left out: {rule}"
            );
        } else {
            tracing::warn!(
                issuer = name,
                reason,
                index,
                "key {index} of issuer `{name}` is left out: {rule}"
            );
        }
    }
}
