//! What outsiders can make a token say, per provider.

use hallpass::provider::Fact;
use serde_json::{Value, json};

use super::{object, provider_of, reader, vector};

/// A fact of the vector with changed claims, or the claim that is refused.
fn read(name: &str, fact: Fact, changes: &Value) -> Result<Option<String>, String> {
    let mut claims = vector(name);
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let url = claims["iss"].as_str().unwrap_or_default();
    let reader = reader(provider_of(name), url);
    let facts = reader.facts(object(&claims)).map_err(|error| error.claim)?;
    Ok(facts.get(fact).map(ToString::to_string))
}

/// T-336: the reader refuses a token whose tenant is not the one that its issuer is of.
#[test]
fn a_tenant_that_contradicts_the_issuer_is_refused() {
    for (name, claim) in [
        ("azure-devops.json", "org_id"),
        ("circleci.json", "oidc.circleci.com/org-id"),
    ] {
        let other = json!({ claim: "00000000-0000-0000-0000-000000000000" });
        assert_eq!(read(name, Fact::TenantId, &other), Err(claim.to_owned()));
    }
    // The root issuer is of no organisation.
    let other = json!({ "oidc.circleci.com/org-id": "x" });
    let read = read("circleci.root-issuer.json", Fact::TenantId, &other);
    assert_eq!(read, Ok(Some("x".to_owned())));
}

/// T-336
#[test]
fn a_service_account_is_the_one_of_the_subject() {
    for sub in [
        "system:serviceaccount:other:release-runner",
        "system:serviceaccount:ci:other",
    ] {
        let read = read(
            "kubernetes-serviceaccount.json",
            Fact::Project,
            &json!({ "sub": sub }),
        );
        assert!(read.is_err(), "{sub}");
    }
}

/// T-337: no branch of a pull request, or of a build that may be of a tag, is taken for a branch.
#[test]
fn no_ref_is_guessed() {
    for changes in [
        json!({ "branch_dest": "main" }),
        json!({ "tag": "main" }),
        json!({ "branch": "", "tag": "" }),
    ] {
        let found = read("bitrise.json", Fact::Ref, &changes);
        assert_eq!(found, Ok(None), "{changes}");
    }
    let pull = json!({ "branch_dest": "main" });
    let trigger = read("bitrise.json", Fact::Trigger, &pull);
    assert_eq!(trigger, Ok(Some("pull_request".to_owned())));
    // A tag wins, as in the subject of Buildkite.
    let found = read(
        "buildkite.json",
        Fact::Ref,
        &json!({ "build_tag": "v1", "build_branch": "main" }),
    );
    assert_eq!(found, Ok(Some("refs/tags/v1".to_owned())));
    // The target of a pull request is not its branch.
    let found = read("semaphore.pull-request.json", Fact::Ref, &json!({}));
    assert_eq!(found, Ok(Some("refs/pull/44/merge".to_owned())));
    let found = read("semaphore.json", Fact::BaseRef, &json!({}));
    assert_eq!(found, Ok(None));
}

/// T-338: a run of a pull request is never taken for an ordinary one where the token tells it.
#[test]
fn runs_of_pull_requests_say_so() {
    for (name, changes) in [
        (
            "azure-devops.json",
            json!({ "rpo_ref": "refs/pull/7/merge" }),
        ),
        (
            "codefresh.json",
            json!({ "scm_pull_request_target_branch": "main" }),
        ),
        ("semaphore.json", json!({ "ref_type": "pull-request" })),
        ("spacelift.json", json!({ "runType": "PROPOSED" })),
        ("spacelift.json", json!({ "runType": "TESTING" })),
        ("buildkite.json", json!({ "build_source": "webhook" })),
    ] {
        let found = read(name, Fact::Trigger, &changes);
        assert_eq!(found, Ok(Some("pull_request".to_owned())), "{name}");
    }
    for name in ["azure-devops.json", "codefresh.json", "bitrise.json"] {
        assert_eq!(read(name, Fact::Trigger, &json!({})), Ok(None), "{name}");
    }
}

/// T-339: parts of a text that has another shape are no facts.
#[test]
fn a_text_of_another_shape_has_no_parts() {
    for (name, fact, claim, texts) in [
        (
            "azure-devops.json",
            Fact::Owner,
            "sub",
            &["p://a/b", "p://a/b/c/d", "x://a/b/c", "p:///b/c", ""][..],
        ),
        (
            "circleci.json",
            Fact::ActorId,
            "sub",
            &[
                "org/a/project/b/user/",
                "org/a/b/project/c/user/d",
                "x/org/a/project/b/user/c",
            ],
        ),
        (
            "circleci.json",
            Fact::Owner,
            "oidc.circleci.com/vcs-origin",
            &["github.com", "github.com/acme", "//x"],
        ),
        (
            "spiffe-jwt-svid.json",
            Fact::TenantId,
            "sub",
            &["spiffe://", "spiffe:///x", "https://prod.acme.example/x"],
        ),
    ] {
        for text in texts {
            let found = read(name, fact, &json!({ claim: text }));
            assert_eq!(found, Ok(None), "{name}: {text}");
        }
    }
}

/// T-340: an address counts only when it is verified, a debugging session unless it is known not to be
/// one.
#[test]
fn what_is_not_confirmed_is_not_a_fact() {
    for verified in [json!(false), Value::Null] {
        let changes = json!({ "email_verified": verified });
        let found = read("google-compute-identity.json", Fact::Project, &changes);
        assert_eq!(found, Ok(None));
    }
    for kind in ["debug_job", "project_debug_job", "new_job"] {
        let found = read(
            "semaphore.json",
            Fact::DebugSession,
            &json!({ "job_type": kind }),
        );
        assert_eq!(found, Ok(Some("true".to_owned())), "{kind}");
    }
}

/// T-342: what `provider show` gives to start from is what `policy check` finds nothing in.
#[test]
fn policies_to_start_from_have_no_findings() {
    for provider in hallpass::provider::PROVIDERS {
        let text = provider.policies();
        let loaded = hallpass::policy::PolicySet::from_texts(&[("root.yaml", &text)]);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{}: {errors}\n{text}", provider.name));
        // That names are all there is, is a note.
        let findings = loaded.findings.iter();
        let found: Vec<_> = findings
            .filter(|one| one.severity > hallpass::yaml::Severity::Note)
            .map(|one| format!("{}: {}", one.rule, one.message))
            .collect();
        assert_eq!(found, Vec::<String>::new(), "{}\n{text}", provider.name);
    }
}
