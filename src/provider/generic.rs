//! generic
use super::Provider;
use std::collections::BTreeMap;
/// x
pub(super) const PROVIDER: Provider = Provider {
    name: "generic",
    usual_issuer: None,
    shared: false,
    facts: &[],
    tenant_ids: &[],
    has_events: true,
    max_lifetime: 600,
    max_age: 600,
    identify: |_, _| Ok(BTreeMap::new()),
};
