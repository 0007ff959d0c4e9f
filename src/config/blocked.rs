//! `blocked:`: issuers and single keys whose tokens are refused, whatever the policies say (T-64).

use crate::token::Blocked;
use crate::yaml::settings::Item;

/// Reads `{ issuers: [name, …], keys: [{ issuer: name, kid: … }, …] }`.
pub(super) fn read(item: &Item<'_>) -> Option<Blocked> {
    let section = item.section()?;
    let issuers = section.optional("issuers").map(|item| item.list());
    let keys = section.optional("keys").map(|item| item.list());
    section.finish();
    let mut blocked = Blocked::new();
    for issuer in issuers.unwrap_or_else(|| Some(Vec::new()))? {
        blocked = blocked.with_issuer(&issuer.text()?);
    }
    for key in keys.unwrap_or_else(|| Some(Vec::new()))? {
        let section = key.section()?;
        let issuer = section.required("issuer").and_then(|item| item.text());
        let kid = section.required("kid").and_then(|item| item.text());
        section.finish();
        blocked = blocked.with_kid(&issuer?, &kid?);
    }
    Some(blocked)
}
