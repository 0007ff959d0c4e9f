//! Finds tenants identified by name only.

use super::{LintFinding, LintInput, Rule};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "tenant-without-id",
    summary: "tenant is identified by name only",
    why: "When an organisation is renamed or deleted, anyone can register its old name and \
        become the tenant. Pin the ID, which is never reused.",
    incident: "GitHub (2026): dangling trust after a rename or a deletion",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for issuer in &checked.set.issuers {
        let ids = issuer.reader.provider.tenant_ids;
        for tenant in issuer.tenants.iter().flatten() {
            if ids.is_empty() || ids.iter().any(|id| tenant.exact(*id).is_some()) {
                continue;
            }
            let place = tenant.places.first().unwrap_or(&issuer.place);
            let names: Vec<_> = ids.iter().map(|id| format!("`{id}`")).collect();
            findings.push(LintFinding::at(
                place,
                format!(
                    "a tenant of issuer `{}` is identified by name only",
                    issuer.reader.issuer.name
                ),
                &format!("add one of {}, as exact text", names.join(", ")),
            ));
        }
    }
    findings
}
