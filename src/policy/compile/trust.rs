//! What the address of an issuer asks of its settings, whatever they call it: the right provider, and
//! tenants that name a customer where everybody's tokens have the same `iss`, and what only issuers of
//! one's own may have. Not: how conditions are read.

use crate::policy::Block;
use crate::policy::pattern::{Operator, Pattern};
use crate::provider::{self, Fact, Provider, Reader};
use crate::token::issuer::is_loopback;
use crate::token::{Reuse, TrustedIssuer};
use crate::yaml::diagnostic::{Diagnostic, Span};
use crate::yaml::reader::{Fields, MAX_TEXT, NodeReader, listed};

/// What the address forbids, whatever the issuer is called: another provider's name, under which its
/// claims are misread (T-133), and this machine, from which a broker takes no tokens (T-117).
pub(super) fn check_address(
    yaml: &NodeReader<'_>,
    url: &str,
    provider: &Provider,
    what: &str,
    span: Span,
) {
    let right = provider::address::known(url).and_then(|known| known.provider);
    if let Some(right) = right.filter(|right| *right != provider.name) {
        let message = format!(
            "{what} is at {url}, whose tokens provider `{}` does not read",
            provider.name
        );
        let help = format!("write provider: {right}");
        yaml.error_help("wrong-provider", span, message, Some(help));
    }
    if is_loopback(url) {
        let message = format!("{what} is at {url}, which is this machine itself");
        let help = "use a host name that resolves to this machine, and list its address in `networks`, for example [127.0.0.0/8]; `hallpass dev` has an issuer of its own";
        yaml.error_help("loopback-issuer", span, message, Some(help));
    }
}

/// T-49: a tenant that names no customer, such as one of a ref alone, lets every customer in.
pub(super) fn check_tenants(
    yaml: &NodeReader<'_>,
    what: &str,
    reader: &Reader,
    tenants: Option<&[Block]>,
    span: Span,
) {
    let Some(tenants) = tenants else {
        return missing_tenants(yaml, what, reader, span);
    };
    let names_customer = |tenant: &&Block| {
        let patterns = CUSTOMER.iter().filter_map(|fact| tenant.pattern(*fact));
        patterns.into_iter().any(is_pinned)
    };
    for tenant in tenants.iter().filter(|tenant| !names_customer(tenant)) {
        let message = format!(
            "a tenant of {what} names no customer of {}",
            reader.issuer.url
        );
        let facts: Vec<_> = CUSTOMER
            .iter()
            .filter(|fact| reader.provider.provides(**fact))
            .map(|fact| fact.name())
            .collect();
        let help = format!(
            "name one of {}, by text, a list of texts, or `under`",
            listed(&facts)
        );
        let place = tenant.places.first().cloned();
        let place = place.unwrap_or_else(|| yaml.place(span));
        let problem = Diagnostic::error("open-tenant", place, message).help(help);
        yaml.report(problem);
    }
}

/// T-49: its signature proves the platform, not the customer.
fn missing_tenants(yaml: &NodeReader<'_>, what: &str, reader: &Reader, span: Span) {
    let message = format!(
        "{what} signs for every customer of {}, so it needs `tenants`",
        reader.issuer.url
    );
    let help = match reader.provider.tenant_ids.first() {
        Some(id) => format!("tenants: [ {{ owner: your-organisation, {id}: \"its id\" }} ]"),
        None => "name your own organisation under `tenants`".to_owned(),
    };
    yaml.error_help("shared-issuer", span, message, Some(help));
}

/// Every value that fits belongs to a named customer.
fn is_pinned(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Exact(_) => true,
        Pattern::Any(patterns) => patterns.iter().all(is_pinned),
        Pattern::All(operators) => operators
            .iter()
            .any(|operator| matches!(operator, Operator::Under(_))),
        Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => false,
    }
}

/// `trust_domain`: SPIFFE tokens have no `iss`.
pub(super) fn trust_domain(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    provider: &Provider,
    trusted: &mut TrustedIssuer,
    what: &str,
) {
    let Some(node) = fields.get("trust_domain") else {
        return;
    };
    if !["generic", "spiffe"].contains(&provider.name) {
        let message = format!(
            "`trust_domain` is for SPIFFE tokens, and provider `{}` of {what} reads others",
            provider.name
        );
        yaml.error("trust-domain", node.span, message);
        return;
    }
    let domain = yaml.ascii(node, "`trust_domain`", MAX_TEXT);
    trusted.trust_domain = domain.map(str::to_owned);
}

/// `reuse: subject`: for issuers of one customer's own, whose subjects are that customer's workloads. At a
/// CI, a subject is a repository or a branch, and two jobs do not share a login.
pub(super) fn reuse(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    provider: &Provider,
    trusted: &mut TrustedIssuer,
    what: &str,
) {
    let Some(node) = fields.get("reuse") else {
        return;
    };
    if yaml.text(node, "`reuse`") != Some("subject") {
        let help = "write `reuse: subject`, or leave it out: then each token gets its own login";
        yaml.error_help("reuse", node.span, "`reuse` is not `subject`", Some(help));
        return;
    }
    if !["generic", "kubernetes", "spiffe"].contains(&provider.name) {
        let message = format!(
            "{what} has `reuse: subject`, but a subject of provider `{}` is not one workload: jobs that have the same one must not share a login",
            provider.name
        );
        let help = "remove `reuse`; it is for the workloads of provider `generic`, `kubernetes` or `spiffe`";
        yaml.error_help("reuse", node.span, message, Some(help));
        return;
    }
    let known = provider::address::known(&trusted.url);
    if known.is_some_and(|known| !known.is_private) || trusted.client_id.is_some() {
        let message = format!(
            "{what} has `reuse: subject`, but {} is not a private issuer",
            trusted.url
        );
        let help = "use it for the issuer of your own cluster, trust domain or server only";
        yaml.error_help("reuse", node.span, message, Some(help));
        return;
    }
    trusted.reuse = Reuse::Subject;
}

/// Facts of which one must say whose job it is, at an issuer that signs for everybody.
pub(super) const CUSTOMER: [Fact; 7] = [
    Fact::TenantId,
    Fact::Owner,
    Fact::OwnerId,
    Fact::Repository,
    Fact::RepositoryId,
    Fact::Project,
    Fact::ProjectId,
];
