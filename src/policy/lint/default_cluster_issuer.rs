//! Finds issuers whose address every Kubernetes cluster has.

use url::Url;

use super::{LintFinding, LintInput, Rule};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "default-cluster-issuer",
    summary: "issuer with the address that every Kubernetes cluster has by default, without pinned keys",
    why: "Each cluster that was set up without `--service-account-issuer` calls itself `https://kubernetes.default.svc`. Which cluster's keys the broker fetches depends on where it runs. Pin the keys of your cluster by `jwks`, or give the cluster an address of its own.",
    incident: "KEP-1393: the default issuer of a cluster is no address of that cluster",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let issuers = checked.set.issuers.iter().filter(|issuer| {
        let issuer = &issuer.reader.issuer;
        issuer.pinned_keys.is_none() && is_default(&issuer.url)
    });
    issuers
        .map(|issuer| {
            let name = &issuer.reader.issuer.name;
            LintFinding::at(
                &issuer.place,
                format!("issuer `{name}` has the address that every cluster has by default"),
                "pin the cluster's keys with jwks: { file: ... }, or set `--service-account-issuer` of the cluster",
            )
        })
        .collect()
}

/// `kubernetes.default.svc`, with or without the domain of the cluster.
fn is_default(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    host.starts_with("kubernetes.default.svc.") || DEFAULT.contains(&host)
}

const DEFAULT: [&str; 3] = ["kubernetes.default.svc", "kubernetes.default", "kubernetes"];
