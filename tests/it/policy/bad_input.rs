//! What is wrong in a policy file is said with its place, in a finished sentence, and with the fix.

use hallpass::policy::PolicySet;

fn errors(text: &str) -> String {
    match PolicySet::from_texts(&[("root.yaml", text)]) {
        Ok(_) => panic!("the file loads"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn malformed_yaml_is_explained() {
    let text = "issuers: [
";
    insta::assert_snapshot!(errors(text), @"
    error[malformed]: the file is not well-formed YAML: unclosed bracket '['
     --> root.yaml:1:10
      |
    1 | issuers: [
      |          ^
    ");
}

#[test]
fn an_unknown_key_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenant: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[unknown-key]: unknown key `tenant` in issuer `github`
     --> root.yaml:2:31
      |
    2 |   github: { provider: github, tenant: [ { owner: acme, owner_id: "65923871" } ] }
      |                               ^^^^^^
      = help: did you mean `tenants`?
    "#);
}

#[test]
fn a_generic_issuer_without_facts_reads_what_they_look_like() {
    let text = "issuers:\n  ci: { provider: generic, url: https://ci.acme.dev }\n";
    insta::assert_snapshot!(errors(text), @"
    error[missing-key]: key `facts` is missing from issuer `ci`
     --> root.yaml:2:3
      |
    2 |   ci: { provider: generic, url: https://ci.acme.dev }
      |   ^^
      = help: say which claim holds which fact, such as `facts: { repository: /claim }`
    ");
}

/// T-170
#[test]
fn a_token_asks_for_rs256_or_for_no_algorithm() {
    let text = |algorithm: &str| {
        format!(
            r#"issuers:
  github: {{ provider: github, tenants: [ {{ owner: acme, owner_id: "65923871" }} ] }}
credentials:
  app: {{ kind: jwt, algorithm: {algorithm}, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }}
policies:
  - name: app
    issuer: github
    when: {{ repository: acme/app, repository_id: "702114500" }}
    grant: [ {{ credential: app, ttl: 5m }} ]
"#
        )
    };
    PolicySet::from_texts(&[("root.yaml", &text("RS256"))]).unwrap();
    for algorithm in ["ES256", "EdDSA", "HS256", "none", "rs256", "\"\""] {
        let errors = errors(&text(algorithm));
        assert!(
            errors.contains("`algorithm` of credential `app`"),
            "{errors}"
        );
    }
    let error = errors(&text("ES256"));
    assert!(
        error.contains("must be `RS256`; leave it out for a token"),
        "{error}"
    );
}

#[test]
fn an_unknown_fact_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", enviroment: production }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[unknown-fact]: unknown fact `enviroment`
     --> root.yaml:8:63
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", enviroment: production }
      |                                                               ^^^^^^^^^^
      = help: did you mean `environment`?
    "#);
}

#[test]
fn a_claim_in_place_of_its_fact_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", repository_owner: acme }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[unknown-fact]: unknown fact `repository_owner`
     --> root.yaml:8:63
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", repository_owner: acme }
      |                                                               ^^^^^^^^^^^^^^^^
      = help: the claim `repository_owner` is our fact `owner`
    "#);
}

#[test]
fn a_fact_the_provider_does_not_tell_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", from_fork: false }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[unknown-fact]: tokens of issuer `github` (provider `github`) do not tell `from_fork`
     --> root.yaml:8:63
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", from_fork: false }
      |                                                               ^^^^^^^^^
      = help: the facts are `tenant_id`, `owner`, `owner_id`, `repository`, `repository_id`, `ref`, `ref_type`, `ref_protected`, `environment`, `event`, `trigger`, `actor`, `actor_id`, `workflow`, `entry_workflow`, `job_workflow`, `sha`, `run_id`, `run_attempt`, `job_id`, `runner`, `visibility`, `source_ip` and `time`
    "#);
}

#[test]
fn a_misspelt_credential_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500" }
    grant: [ { credential: ap, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @"
    error[unknown-credential]: unknown credential `ap`
     --> root.yaml:9:28
      |
    9 |     grant: [ { credential: ap, ttl: 5m } ]
      |                            ^^
      = help: did you mean `app`?
    ");
}

#[test]
fn a_shared_issuer_without_tenants_is_explained() {
    let text = "issuers:
  gitlab: { provider: gitlab }
";
    insta::assert_snapshot!(errors(text), @r#"
    error[shared-issuer]: issuer `gitlab` signs for every customer of https://gitlab.com, so it needs `tenants`
     --> root.yaml:2:3
      |
    2 |   gitlab: { provider: gitlab }
      |   ^^^^^^
      = help: tenants: [ { owner: your-organisation, owner_id: "its id" } ]
    "#);
}

#[test]
fn a_glob_with_a_question_mark_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", ref: { glob: "refs/tags/v?" } }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[glob]: `?` is not supported in the glob `refs/tags/v?`; use `*` (within one `/` segment) or `**` (across segments)
     --> root.yaml:8:76
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", ref: { glob: "refs/tags/v?" } }
      |                                                                            ^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_glob_with_brackets_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", ref: { glob: "refs/tags/v[0-9]" } }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[glob]: `[` is not supported in the glob `refs/tags/v[0-9]`; use `*` (within one `/` segment) or `**` (across segments)
     --> root.yaml:8:76
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", ref: { glob: "refs/tags/v[0-9]" } }
      |                                                                            ^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_glob_with_braces_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", ref: { glob: "refs/{heads,tags}/x" } }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[glob]: `{` is not supported in the glob `refs/{heads,tags}/x`; use `*` (within one `/` segment) or `**` (across segments)
     --> root.yaml:8:76
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", ref: { glob: "refs/{heads,tags}/x" } }
      |                                                                            ^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn an_unquoted_id_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: 702114500 }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[unquoted]: `repository_id` is text, but `702114500` without quotes reads as a number
     --> root.yaml:8:50
      |
    8 |     when: { repository: acme/app, repository_id: 702114500 }
      |                                                  ^^^^^^^^^
      = help: quote it: "702114500"
    "#);
}

#[test]
fn a_quoted_boolean_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", ref_protected: "true" }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[wrong-type]: `ref_protected` is true or false, found the text `true`
     --> root.yaml:8:78
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", ref_protected: "true" }
      |                                                                              ^^^^^^
      = help: write ref_protected: true, without quotes
    "#);
}

#[test]
fn a_short_ref_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", ref: main }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[short-ref]: `main` is not a full ref, so no job has it in `ref`
     --> root.yaml:8:68
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", ref: main }
      |                                                                    ^^^^
      = help: write refs/heads/main for the branch, or refs/tags/main for the tag
    "#);
}

#[test]
fn an_unknown_trigger_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", trigger: [push, workflow_dispatch] }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[unknown-word]: `trigger` is never `workflow_dispatch`
     --> root.yaml:8:79
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", trigger: [push, workflow_dispatch] }
      |                                                                               ^^^^^^^^^^^^^^^^^
      = help: it is one of `push`, `pull_request`, `pull_request_target`, `merge_queue`, `schedule`, `manual`, `api`, `chained`, `comment`, `release`, `person` and `other`
    "#);
}

#[test]
fn an_unknown_issuer_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: githup
    when: { repository: acme/app, repository_id: "702114500" }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @"
    error[unknown-issuer]: unknown issuer `githup`
     --> root.yaml:7:13
      |
    7 |     issuer: githup
      |             ^^^^^^
      = help: did you mean `github`?
    ");
}

#[test]
fn an_empty_block_of_conditions_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: {}
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @"
    error[empty]: a block of conditions of policy `app` is empty
     --> root.yaml:8:11
      |
    8 |     when: {}
      |           ^^
    ");
}

#[test]
fn an_empty_grant_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500" }
    grant: []
"#;
    insta::assert_snapshot!(errors(text), @"
    error[empty]: `grant` of policy `app` is empty
     --> root.yaml:9:12
      |
    9 |     grant: []
      |            ^^
    ");
}

#[test]
fn a_missing_when_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[missing-key]: key `when` is missing from policy `app`
     --> root.yaml:6:11
      |
    6 |   - name: app
      |           ^^^
      = help: add e.g. `when: { repository: acme/shop, repository_id: "702114500", ref: refs/heads/main }`
    "#);
}

#[test]
fn an_unknown_kind_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: mongo, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
"#;
    insta::assert_snapshot!(errors(text), @"
    error[unknown-kind]: unknown kind `mongo`
     --> root.yaml:4:16
      |
    4 |   app: { kind: mongo, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
      |                ^^^^^
      = help: the kinds are `jwt`, `mysql`, `postgres`, `postgres-cert`, `redis`, `ssh` and `webhook`
    ");
}

#[test]
fn a_life_above_an_hour_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 2h, owner: team-app, purpose: calls, class: low }
"#;
    insta::assert_snapshot!(errors(text), @"
    error[duration]: `max_ttl` of credential `app` is 2h, at most 1h is allowed
     --> root.yaml:4:62
      |
    4 |   app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 2h, owner: team-app, purpose: calls, class: low }
      |                                                              ^^
    ");
}

#[test]
fn a_life_without_a_unit_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 600, owner: team-app, purpose: calls, class: low }
"#;
    insta::assert_snapshot!(errors(text), @"
    error[duration]: `max_ttl` of credential `app`: `600` has no unit; write `600s` for seconds, `600m` for minutes
     --> root.yaml:4:62
      |
    4 |   app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 600, owner: team-app, purpose: calls, class: low }
      |                                                              ^^^
    ");
}

#[test]
fn a_credential_defined_twice_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
  app: { kind: jwt }
"#;
    insta::assert_snapshot!(errors(text), @"
    error[duplicate-key]: key `app` is defined twice; the first definition is in line 4
     --> root.yaml:5:3
      |
    5 |   app: { kind: jwt }
      |   ^^^
    ");
}

#[test]
fn a_roster_without_rows_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
rosters: { apps: { key: id } }
"#;
    insta::assert_snapshot!(errors(text), @"
    error[missing-key]: roster `apps` has no rows
     --> root.yaml:5:12
      |
    5 | rosters: { apps: { key: id } }
      |            ^^^^
      = help: add `file: NAME.csv`, or `rows: [ { ... }, ... ]`
    ");
}

#[test]
fn an_id_without_its_issuer_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500" }
    grant: [ { credential: app, ttl: 5m } ]
require:
  - { name: r, of: all, jobs: { repository_id: "1" }, because: so }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[id-without-issuer]: a block of requirement `r` names `repository_id` without its issuer
      --> root.yaml:11:31
       |
    11 |   - { name: r, of: all, jobs: { repository_id: "1" }, because: so }
       |                               ^^^^^^^^^^^^^^^^^^^^^^
       = help: name `issuer` beside it: equal ids of two issuers are different things
    "#);
}

#[test]
fn an_anchor_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: &x { repository: acme/app, repository_id: "702114500" }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[anchor]: anchors are not allowed
     --> root.yaml:8:14
      |
    8 |     when: &x { repository: acme/app, repository_id: "702114500" }
      |              ^
      = help: write the text out where it is needed
    "#);
}

#[test]
fn not_within_not_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", ref: { not: { not: refs/heads/x } } }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[pattern]: `not` is not allowed inside `not`
     --> root.yaml:8:77
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", ref: { not: { not: refs/heads/x } } }
      |                                                                             ^^^
    "#);
}

#[test]
fn present_with_another_operator_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", environment: { present: true, glob: "p*" } }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[pattern]: `present` must be the only operator of its pattern
     --> root.yaml:8:87
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", environment: { present: true, glob: "p*" } }
      |                                                                                       ^^^^
    "#);
}

#[test]
fn a_workflow_as_text_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", job_workflow: acme/ci/x.yml }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    error[wrong-type]: `job_workflow` is a mapping of `path` and `ref`
     --> root.yaml:8:77
      |
    8 |     when: { repository: acme/app, repository_id: "702114500", job_workflow: acme/ci/x.yml }
      |                                                                             ^^^^^^^^^^^^^
      = help: write { path: acme/ci/.github/workflows/deploy.yml, ref: refs/heads/main }
    "#);
}

#[test]
fn a_time_without_a_zone_is_explained() {
    let text = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500" }
    until: 2027-01-31
    grant: [ { credential: app, ttl: 5m } ]
"#;
    insta::assert_snapshot!(errors(text), @"
    error[time]: `until` of policy `app` is a time with a zone (RFC 3339)
     --> root.yaml:9:12
      |
    9 |     until: 2027-01-31
      |            ^^^^^^^^^^
      = help: for example 2027-01-31T18:00:00Z, without quotes
    ");
}
