//! Which provider an address belongs to, and whether it signs for every customer alike.
//!
//! Both follow from the address, not from what a policy file calls the issuer: a shared issuer under
//! another provider's name is still shared (T-133). Not: whether the address may be connected to.

use url::Url;

/// What is known about the issuer at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The provider that reads its tokens; `None` if any may.
    pub provider: Option<&'static str>,
    /// Every customer has the same `iss`, so the signature does not tell them apart (T-49).
    pub is_shared: bool,
}

/// What is known about the issuer with this `iss`; `None` for addresses of somebody's own.
#[must_use]
pub fn known(issuer: &str) -> Option<Known> {
    let url = Url::parse(issuer).ok()?;
    let host = url.host_str()?.trim_end_matches('.');
    let line = ADDRESSES.iter().find(|line| line.host.is(host))?;
    let is_root = url.path().bytes().all(|byte| byte == b'/');
    Some(Known {
        provider: line.provider,
        is_shared: match line.customers {
            Everyone => true,
            EveryoneAtRoot => is_root,
            One => false,
        },
    })
}

struct Address {
    host: Host,
    provider: Option<&'static str>,
    customers: Customers,
}

enum Host {
    Exact(&'static str),
    /// Any name that begins and ends so.
    Between(&'static str, &'static str),
}

impl Host {
    fn is(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host == *name,
            Self::Between(first, last) => host
                .strip_prefix(first)
                .and_then(|rest| rest.strip_suffix(last))
                .is_some_and(|customer| !customer.is_empty()),
        }
    }
}

/// Whose tokens an address signs.
enum Customers {
    /// Every customer's, at every path of the host: paths differ in name only, not in key.
    Everyone,
    /// Every customer's at the root; each path below it is one customer's.
    EveryoneAtRoot,
    One,
}

use Customers::{Everyone, EveryoneAtRoot, One};

const fn at(host: &'static str, provider: &'static str, customers: Customers) -> Address {
    Address {
        host: Host::Exact(host),
        provider: Some(provider),
        customers,
    }
}

const fn between(first: &'static str, last: &'static str, provider: &'static str) -> Address {
    Address {
        host: Host::Between(first, last),
        provider: Some(provider),
        customers: One,
    }
}

/// Any provider: nobody documents its claims.
const fn any(host: &'static str) -> Address {
    Address {
        host: Host::Exact(host),
        provider: None,
        customers: Everyone,
    }
}

/// From the providers' documentation and from AWS's list of shared issuers (IAM User Guide,
/// "Identity-provider controls for shared OIDC providers").
const ADDRESSES: &[Address] = &[
    at("token.actions.githubusercontent.com", "github", Everyone),
    any("vstoken.actions.githubusercontent.com"),
    any("oidc-configuration.audit-log.githubusercontent.com"),
    between("token.actions.", ".ghe.com", "github"),
    at("gitlab.com", "gitlab", Everyone),
    at("agent.buildkite.com", "generic", Everyone),
    at("api.bitbucket.org", "generic", One),
    at("api.pulumi.com", "generic", Everyone),
    at("app.harness.io", "generic", One),
    at("app.terraform.io", "generic", Everyone),
    at("accounts.google.com", "generic", Everyone),
    at("login.microsoftonline.com", "generic", One),
    at("oidc.circleci.com", "generic", EveryoneAtRoot),
    at("oidc.codefresh.io", "generic", Everyone),
    at("oidc.fly.io", "generic", One),
    at("oidc.vercel.com", "generic", EveryoneAtRoot),
    at("oidc.buddyusercontent.com", "generic", Everyone),
    at("eu-oidc.buddyusercontent.com", "generic", Everyone),
    at("asia-oidc.buddyusercontent.com", "generic", Everyone),
    at("proidc.upbound.io", "generic", Everyone),
    at("sandboxes.cloud", "generic", Everyone),
    at("scalr.io", "generic", Everyone),
    at("studio.datachain.ai", "generic", Everyone),
    at("token.builds.bitrise.io", "generic", Everyone),
    at("tokens.cloud.shisho.dev", "generic", Everyone),
    at("vstoken.dev.azure.com", "generic", One),
    between("", ".app.spacelift.io", "generic"),
    between("", ".semaphoreci.com", "generic"),
    between("", ".tokens.sts.global.api.aws", "generic"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// T-133
    #[test]
    fn an_address_is_shared_however_it_is_spelled() {
        for issuer in [
            "https://gitlab.com",
            "https://gitlab.com/",
            "https://GitLab.com",
            "https://gitlab.com:443",
            "https://gitlab.com.",
            "https://token.actions.githubusercontent.com/acme",
            "https://oidc.circleci.com",
            "https://oidc.circleci.com//",
            "https://oidc.vercel.com/",
            "https://eu-oidc.buddyusercontent.com",
        ] {
            assert!(
                known(issuer).is_some_and(|known| known.is_shared),
                "{issuer}"
            );
        }
        for issuer in [
            "https://oidc.circleci.com/org/3a5b",
            "https://oidc.vercel.com/acme",
            "https://token.actions.acme.ghe.com",
            "https://acme.app.spacelift.io",
        ] {
            assert!(
                known(issuer).is_some_and(|known| !known.is_shared),
                "{issuer}"
            );
        }
        for issuer in [
            "https://gitlab.acme.dev",
            "https://notgitlab.com",
            "https://gitlab.com.acme.dev",
            "https://app.spacelift.io",
            "https://10.0.0.1",
            "gitlab.com",
        ] {
            assert_eq!(known(issuer), None, "{issuer}");
        }
    }
}
