//! Which provider an issuer URL belongs to, and whether all customers share the issuer.
//!
//! Both follow from the URL, not from the provider that a policy file names: a shared issuer is
//! shared under any name (T-133).

use url::Url;

use super::PROVIDERS;

/// What is known about an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownIssuer {
    /// The provider that reads its tokens; `None` if any may.
    pub provider: Option<&'static str>,
    /// Every customer has the same `iss`, so the signature does not tell them apart (T-49).
    pub is_shared: bool,
    /// The issuer is of one cluster, whose subjects are its owner's workloads.
    pub is_private: bool,
}

/// What is known about the issuer with this `iss`; `None` for self-hosted issuers.
#[must_use]
pub fn known(issuer: &str) -> Option<KnownIssuer> {
    let url = Url::parse(issuer).ok()?;
    let host = url.host_str()?.trim_end_matches('.');
    let of_providers = PROVIDERS.iter().flat_map(|provider| {
        let lines = provider.issuers.iter();
        lines.map(|line| (Some(provider.name), line))
    });
    let mut lines = of_providers.chain(OTHERS.iter().map(|(provider, line)| (*provider, line)));
    let (provider, line) = lines.find(|(_, line)| line.host.is(host))?;
    let is_root = url.path().bytes().all(|byte| byte == b'/');
    let is_private = line.customers == Customers::Cluster;
    Some(KnownIssuer {
        provider: provider.filter(|_| !is_private),
        is_shared: match line.customers {
            Everyone => true,
            Customers::EveryoneAtRoot => is_root,
            One | Customers::Cluster => false,
        },
        is_private,
    })
}

/// Where issuers of a provider are.
#[derive(Clone, Copy, Debug)]
pub struct IssuerAddress {
    pub host: Host,
    pub customers: Customers,
}

/// The host of an issuer.
#[derive(Clone, Copy, Debug)]
pub enum Host {
    Exact(&'static str),
    /// Any name with this prefix and suffix.
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

/// Which customers share an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Customers {
    /// All customers, at every path of the host: the paths share one key.
    Everyone,
    /// All customers at the root; each path below belongs to one customer.
    EveryoneAtRoot,
    /// One customer of a platform.
    One,
    /// One cluster. Any provider may read its tokens.
    Cluster,
}

use Customers::{Everyone, One};

pub(super) const fn at(host: &'static str, customers: Customers) -> IssuerAddress {
    IssuerAddress {
        host: Host::Exact(host),
        customers,
    }
}

pub(super) const fn between(
    first: &'static str,
    last: &'static str,
    customers: Customers,
) -> IssuerAddress {
    IssuerAddress {
        host: Host::Between(first, last),
        customers,
    }
}

/// Issuers that have no provider of their own. From their documentation and from AWS's list of shared
/// issuers (IAM User Guide, "Identity-provider controls for shared OIDC providers"). Without a
/// provider any may read them, because the claims are not documented.
const OTHERS: &[(Option<&str>, IssuerAddress)] = &[
    (None, at("vstoken.actions.githubusercontent.com", Everyone)),
    (
        None,
        at(
            "oidc-configuration.audit-log.githubusercontent.com",
            Everyone,
        ),
    ),
    (Some("generic"), at("api.pulumi.com", Everyone)),
    (Some("generic"), at("app.harness.io", One)),
    (Some("generic"), at("login.microsoftonline.com", One)),
    (Some("generic"), at("proidc.upbound.io", Everyone)),
    (Some("generic"), at("sandboxes.cloud", Everyone)),
    (Some("generic"), at("scalr.io", Everyone)),
    (Some("generic"), at("studio.datachain.ai", Everyone)),
    (Some("generic"), at("tokens.cloud.shisho.dev", Everyone)),
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
