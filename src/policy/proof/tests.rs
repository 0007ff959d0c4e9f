//! Questions about all jobs, and their answers.

use super::*;

mod agree;
mod conditions;
mod languages;
mod random;
mod solver;
mod worlds;

const NOW: Timestamp = Timestamp::from_unix(1_795_000_000);

const ROOT: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
  gitlab: { provider: gitlab, url: https://gitlab.acme.dev }
  plain: { provider: generic, url: https://ci.acme.dev, facts: { repository: /job/repo, event: /why } }
credentials:
  api: { kind: jwt, audience: https://api.acme.dev, max_ttl: 10m, owner: a, purpose: p, class: low }
"#;

fn set(more: &str) -> PolicySet {
    let loaded = PolicySet::from_texts(&[("root.yaml", ROOT), ("more.yaml", more)]);
    loaded.unwrap_or_else(|errors| panic!("{errors}")).set
}

fn policy(issuer: &str, when: &str) -> String {
    format!(
        "policies:\n  - {{ name: p, issuer: {issuer}, when: {when}, grant: [ {{ credential: api, ttl: 5m }} ] }}\n"
    )
}

fn ask(issuer: &str, when: &str) -> Answer {
    Question::any_job(&set(&policy(issuer, when)), "api", NOW).answer()
}

fn gained(old: &PolicySet, new: &PolicySet) -> Vec<Answer> {
    let side = |set, ways| Side {
        set,
        credential: "api",
        ways,
    };
    let (before, after) = (old.ways("api"), new.ways("api"));
    let gains = gains(side(old, &before), side(new, &after), NOW, usize::MAX);
    gains.into_iter().map(|gain| gain.answer).collect()
}

/// T-331
#[test]
fn a_block_that_no_job_can_meet_is_proven() {
    for (issuer, when, expected) in [
        ("github", "{ ref: refs/heads/main }", true),
        ("github", "{ ref: refs/heads/main, ref_type: tag }", false),
        (
            "github",
            "{ ref: { glob: \"refs/tags/v*\", not: { glob: \"refs/tags/**\" } } }",
            false,
        ),
        (
            "github",
            "{ ref: { glob: \"refs/tags/v*\", not: { glob: \"refs/tags/v*-*\" } } }",
            true,
        ),
        ("github", "{ owner: other }", false),
        ("github", "{ trigger: push, event: pull_request }", false),
        (
            "github",
            "{ trigger: comment, event: commit_comment }",
            true,
        ),
        ("github", "{ event: issues }", false),
        ("github", "{ event: issues, trigger: other }", true),
        (
            "github",
            "{ runner: hosted, claim: { /runner_environment: self-hosted } }",
            false,
        ),
        (
            "github",
            "{ runner: { present: false }, claim: { /runner_environment: mine } }",
            true,
        ),
        ("github", "{ claim: { /a: x, /a/b: z } }", false),
        (
            "github",
            "{ claim: { /a: { present: true }, /a/b: z } }",
            true,
        ),
        (
            "github",
            "{ claim: { /a: { present: false }, /a/b: z } }",
            false,
        ),
        ("github", "{ claim: { /repository/x: z } }", false),
        ("github", "{ claim: { /iss: other } }", false),
        (
            "github",
            "{ job_workflow: { path: acme/ci/x.yml, ref: refs/heads/main }, claim: { /job_workflow_ref: \"acme/ci/x.yml@refs/heads/main\" } }",
            true,
        ),
        (
            "github",
            "{ job_workflow: { path: acme/ci/x.yml, ref: refs/heads/main }, claim: { /job_workflow_ref: \"acme/ci/x.yml@refs/heads/other\" } }",
            false,
        ),
        (
            "github",
            "{ workflow: .github/workflows/a.yml, entry_workflow: { path: { glob: \"*/*/.github/workflows/b.yml\" } } }",
            false,
        ),
        (
            "github",
            "{ workflow: .github/workflows/a.yml, entry_workflow: { path: { under: acme/shop } } }",
            true,
        ),
        (
            "gitlab",
            "{ from_fork: true, repository_id: \"7\", run_repository_id: \"7\" }",
            false,
        ),
        (
            "gitlab",
            "{ from_fork: false, repository_id: \"7\", run_repository_id: \"7\" }",
            true,
        ),
        ("gitlab", "{ from_fork: true, repository_id: \"7\" }", true),
        (
            "gitlab",
            "{ from_fork: { present: false }, repository_id: \"7\", run_repository_id: \"8\" }",
            false,
        ),
        (
            "plain",
            "{ repository: a, claim: { /job: { present: true } } }",
            true,
        ),
        (
            "plain",
            "{ repository: a, claim: { /job: { present: false } } }",
            false,
        ),
        ("plain", "{ repository: a, event: nightly }", false),
        ("plain", "{ repository: a, event: schedule }", true),
        ("plain", "{ repository: a, source_ip: 10.0.0.0/8 }", true),
        (
            "plain",
            "{ repository: a, source_ip: { not: 10.0.0.0/8 } }",
            true,
        ),
        (
            "plain",
            "{ repository: a, source_ip: [\"10.0.0.0/8\", \"fd00::/8\"] }",
            true,
        ),
    ] {
        match (ask(issuer, when), expected) {
            (Answer::Found(_), true) | (Answer::Proven, false) => {}
            (answer, _) => panic!("{when}: {answer:?}"),
        }
    }
}

/// T-331
#[test]
fn what_is_too_long_for_the_proof_is_not_decided() {
    let root = ROOT.replace(
        "facts: { repository: /job/repo, event: /why }",
        "facts: { repository: /job/repo, actor: /who }, types: { actor: list }",
    );
    let one = |number: usize| format!("{{ member: a{number}, not: {{ member: b{number} }} }}");
    let many: Vec<String> = (0..8).map(one).collect();
    let when = format!("{{ repository: a, actor: [{}] }}", many.join(", "));
    let policy = policy("plain", &when);
    let loaded = PolicySet::from_texts(&[("root.yaml", &root), ("more.yaml", &policy)]);
    let set = loaded.unwrap().set;
    let answer = Question::any_job(&set, "api", NOW).answer();
    assert!(matches!(answer, Answer::NotDecided(_)), "{answer:?}");
}

/// T-331
#[test]
fn a_requirement_that_is_lifted_lets_jobs_in() {
    let require = "require:\n  - { name: r, of: all, jobs: { runner: hosted }, because: b }\n";
    let when = "{ repository: { glob: \"acme/**\" } }";
    let plain = set(&policy("github", when));
    let strict = set(&format!("{require}{}", policy("github", when)));
    assert!(gained(&plain, &strict).is_empty());
    let answers = gained(&strict, &plain);
    let [Answer::Found(found)] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert!(!strict.permits(&found.witness.facts, &found.ask, NOW));
    assert!(gained(&strict, &strict).is_empty());
}

/// T-331
#[test]
fn a_later_end_lets_jobs_in_at_that_time() {
    let until = |until: &str| {
        let policy = policy("github", "{ repository: acme/shop }");
        set(&policy.replace("grant:", &format!("until: {until}, grant:")))
    };
    let (sooner, later) = (until("2027-01-01T00:00:00Z"), until("2028-01-01T00:00:00Z"));
    assert!(gained(&later, &sooner).is_empty());
    let answers = gained(&sooner, &later);
    let [Answer::Found(found)] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert_eq!(found.at.to_string(), "2027-01-01T00:00:00Z");
}
