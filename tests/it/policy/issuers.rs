//! `reuse` and `trust_domain` of an issuer, as they are read.

use super::*;

/// The errors of these issuers.
fn errors(issuers: &str) -> Vec<String> {
    let dir = folder(&[("root.yaml", &format!("issuers:\n{issuers}"))]);
    match PolicySet::load(dir.path()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .filter(|one| one.severity == Severity::Error)
            .map(|one| one.message.clone())
            .collect(),
    }
}

fn own(more: &str) -> String {
    format!(
        "  own: {{ provider: generic, url: \"https://ci.acme.dev\", facts: {{ project: \"/sub\" }}{more} }}\n"
    )
}

/// T-384
#[test]
fn a_login_is_shared_by_subjects_of_private_issuers_only() {
    assert_eq!(errors(&own(", reuse: subject")), Vec::<String>::new());
    insta::assert_snapshot!(errors(&own(", reuse: token")).join("\n"), @"`reuse` is not `subject`");
    let cluster = "  eks: { provider: kubernetes, url: \"https://oidc.eks.eu-central-1.amazonaws.com/id/5A9\", reuse: subject }\n";
    assert_eq!(errors(cluster), Vec::<String>::new());
    // A subject of a CI is a repository or a branch, also on a server of one's own.
    for own in [
        "{ provider: github, url: \"https://ghes.acme.dev/_services/token\", reuse: subject }",
        "{ provider: gitlab, url: \"https://gitlab.acme.dev\", reuse: subject }",
        "{ provider: forgejo, url: \"https://forge.acme.dev/api/actions\", reuse: subject }",
        "{ provider: jenkins, url: \"https://jenkins.acme.dev/oidc\", reuse: subject }",
        "{ provider: github, tenants: [ { owner: acme, owner_id: \"1\" } ], reuse: subject }",
    ] {
        let errors = errors(&format!("  own: {own}\n")).join("\n");
        assert!(errors.contains("is not one workload"), "{errors}");
    }
    for public in [
        "  x: { provider: generic, url: \"https://acme.app.spacelift.io\", facts: { project: \"/sub\" }, reuse: subject }\n",
        "  x: { provider: generic, url: \"https://oidc.circleci.com/org/3a5b\", facts: { project: \"/sub\" }, reuse: subject }\n",
    ] {
        let errors = errors(public).join("\n");
        assert!(errors.contains("is not a private issuer"), "{errors}");
    }
}

/// T-387
#[test]
fn a_trust_domain_has_one_spelling_and_one_issuer() {
    assert_eq!(
        errors(&own(", trust_domain: acme.dev")),
        Vec::<String>::new()
    );
    for odd in [
        "Acme.dev",
        "spiffe://acme.dev",
        "acme.dev/x",
        "acme.dev:443",
        "\"\"",
    ] {
        let errors = errors(&own(&format!(", trust_domain: {odd}")));
        assert_eq!(errors.len(), 1, "{odd}: {errors:?}");
    }
    let other = "  other: { provider: generic, url: \"https://other.acme.dev\", facts: { project: \"/sub\" }, trust_domain: acme.dev }\n";
    insta::assert_snapshot!(errors(&(own(", trust_domain: acme.dev") + other)).join("\n"), @"issuers `other` and `own` have the same `trust_domain`, so that a token without `iss` would be of both");
    let gitlab =
        "  x: { provider: gitlab, url: \"https://gitlab.acme.dev\", trust_domain: acme.dev }\n";
    insta::assert_snapshot!(errors(gitlab).join("\n"), @"`trust_domain` is for SPIFFE tokens, and provider `gitlab` of issuer `x` reads others");
}
