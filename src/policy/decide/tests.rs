//! The decision rule, clause by clause.

use serde_json::{Value, json};

use super::*;
use crate::reason::{Class, Part, Reason};
use crate::token::json as strict;

const ROOT: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
  gitlab: { provider: gitlab, tenants: [ { owner: acme-group, owner_id: "9133570" } ] }
  plain: { provider: generic, url: https://ci.acme.dev, facts: { repository: "/repo" } }
require:
  - name: hosted-runners
    of: { class: critical }
    jobs: { runner: hosted }
    unless: { issuer: github, repository_id: "702119999", environment: break-glass }
    because: machines we do not wipe
credentials:
  db: { kind: postgres, target: db, group: app, max_ttl: 30m, owner: a, purpose: p, class: critical }
  api: { kind: jwt, audience: https://api.acme.dev, scopes: ["a:read", "a:write", "a:all"], max_ttl: 10m, owner: a, purpose: p, class: low }
  spare: { kind: jwt, audience: https://spare.acme.dev, max_ttl: 10m, owner: a, purpose: p, class: low }
"#;

const SHOP: &str = r#"
policies:
  - name: migrate
    issuer: github
    when: { repository: acme/shop, repository_id: "702114500", ref: refs/heads/main, environment: production }
    until: 2027-01-31T18:00:00Z
    grant:
      - { credential: db, ttl: 15m }
      - { credential: api, ttl: 5m, scopes: ["a:read"] }
      - { credential: api, ttl: 1m, scopes: ["a:read", "a:write"] }
  - name: any-app
    issuer: github
    when: { repository: { glob: "acme/app-*" }, ref: refs/heads/main }
    grant: [ { credential: api, ttl: 2m, scopes: ["a:read"] } ]
  - name: reviews
    issuer: github
    when: { repository: acme/shop, repository_id: "702114500", trigger: [push, pull_request_target] }
    grant: [ { credential: spare, ttl: 1m } ]
  - name: plain
    issuer: plain
    when: { repository: acme/plain }
    grant: [ { credential: spare, ttl: 1m } ]
"#;

fn set() -> PolicySet {
    let loaded = PolicySet::from_texts(&[("root.yaml", ROOT), ("shop.yaml", SHOP)]);
    loaded.unwrap_or_else(|errors| panic!("{errors}")).set
}

fn claims() -> Value {
    json!({
        "iss": "https://token.actions.githubusercontent.com",
        "repository": "acme/shop", "repository_id": "702114500",
        "repository_owner": "acme", "repository_owner_id": "65923871",
        "ref": "refs/heads/main", "environment": "production", "event_name": "push",
        "runner_environment": "github-hosted",
    })
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn facts(set: &PolicySet, claims: &Value) -> Facts {
    let reader = set.reader_by_url(claims["iss"].as_str().unwrap()).unwrap();
    let object = strict::parse_object(claims.to_string().as_bytes(), &strict::Limits::default());
    reader.facts(object.unwrap()).unwrap()
}

fn ask(credential: &str) -> Ask {
    Ask {
        credential: credential.to_owned(),
        ..Ask::default()
    }
}

fn scoped(scopes: &[&str]) -> Ask {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    Ask {
        scopes: Some(scopes),
        ..ask("api")
    }
}

fn lasting(credential: &str, seconds: u64) -> Ask {
    Ask {
        ttl: Some(Duration::from_secs(seconds)),
        ..ask(credential)
    }
}

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

fn decide(claims: &Value, ask: &Ask) -> Result<Permit, Box<RefusedJob>> {
    let set = set();
    let job = Job::of_facts(facts(&set, claims));
    set.decide(job, ask, NOW)
}

fn denial(claims: &Value, ask: &Ask) -> Denial {
    decide(claims, ask).unwrap_err().denial
}

fn told(claims: &Value, ask: &Ask) -> DenialAnswer {
    denial(claims, ask).answer(Disclosure::Repository)
}

#[test]
fn a_job_that_fits_gets_the_grant_and_no_more() {
    let permit = decide(&claims(), &ask("db")).unwrap();
    assert_eq!(
        (permit.ttl(), permit.policy()),
        (Duration::from_secs(900), "migrate")
    );
    assert_eq!(permit.credential().name, "db");
    assert!(permit.revision().starts_with("sha256:"));
    let shorter = decide(&claims(), &lasting("db", 60)).unwrap();
    assert_eq!(shorter.ttl(), Duration::from_secs(60));
}

/// T-80: the longest life first, and grants never add up.
#[test]
fn one_grant_covers_the_whole_ask_or_none_does() {
    let unasked = decide(&claims(), &ask("api")).unwrap();
    assert_eq!(
        (unasked.ttl().as_secs(), unasked.scopes()),
        (300, ["a:read".to_owned()].as_slice())
    );
    let both = decide(&claims(), &scoped(&["a:write", "a:read", "a:write"])).unwrap();
    assert_eq!(
        (both.ttl().as_secs(), both.scopes().join(" ").as_str()),
        (60, "a:read a:write")
    );
    let long = Ask {
        ttl: Some(Duration::from_secs(300)),
        ..scoped(&["a:write"])
    };
    assert_eq!(
        told(&claims(), &long).reason.class(),
        Class::Refused(Part::Request),
        "5m of one, a:write of another"
    );
    let wide = told(&claims(), &scoped(&["a:read", "a:all"]));
    assert_eq!(
        (wide.reason.class(), wide.reason),
        (Class::Refused(Part::Scope), Reason::PolicyScope)
    );
    insta::assert_snapshot!(wide.description, @"the requested scopes of `api` exceed every grant; one grant allows `a:read`, `a:write`");
}

/// T-132
#[test]
fn a_scope_that_is_asked_for_many_times_is_compared_once() {
    let asked = scoped(&["a:read"; 900]);
    assert_eq!(*asked.distinct(), scoped(&["a:read"]));
    let permit = decide(&claims(), &asked).unwrap();
    assert_eq!(permit.scopes(), ["a:read"]);
    let in_order = scoped(&["a:write", "a:read", "a:write"]);
    assert_eq!(*in_order.distinct(), scoped(&["a:write", "a:read"]));
}

/// T-80, T-86
#[test]
fn a_life_above_the_grant_or_of_nothing_is_refused_and_never_trimmed() {
    for seconds in [901, 100_000, 4, 1, 0] {
        let answer = told(&claims(), &lasting("db", seconds));
        assert_eq!(
            (answer.reason.class(), answer.reason),
            (Class::Refused(Part::Request), Reason::PolicyTtl)
        );
        assert_eq!(answer.description, "`db` can be issued for 5s to 15m");
    }
    let permit = decide(&claims(), &lasting("db", 5)).unwrap();
    assert_eq!(permit.ttl(), Duration::from_secs(5));
    // A signed token has no such limit.
    let permit = decide(&claims(), &lasting("api", 1)).unwrap();
    assert_eq!(permit.ttl(), Duration::from_secs(1));
}

/// T-48: also where the tenant is pinned by id alone, for operators and the record, and not for the job.
#[test]
fn a_repository_that_differs_in_case_is_pointed_out() {
    let root = ROOT.replace("{ owner: acme, owner_id", "{ owner_id");
    for (written, sent) in [("acme/shop", "Acme/Shop"), ("Acme/shop", "acme/Shop")] {
        let shop = SHOP
            .replace("repository: acme/shop,", &format!("repository: {written},"))
            .replace(r#" repository_id: "702114500","#, "");
        let loaded = PolicySet::from_texts(&[("root.yaml", &root), ("shop.yaml", &shop)]);
        let set = loaded.unwrap_or_else(|errors| panic!("{errors}")).set;
        let job = Job::of_facts(facts(&set, &with(&json!({ "repository": sent }))));
        let denial = set.decide(job, &ask("db"), NOW).unwrap_err().denial;
        let hints = format!("{:?}", denial.decision());
        assert!(
            hints.contains("differs in upper and lower case only"),
            "{hints}"
        );
        let told = denial.answer(Disclosure::Repository);
        assert!(told.failed_conditions.is_empty(), "{told:?}");
    }
}

#[test]
fn a_denial_names_fact_actual_and_expected() {
    let answer = told(
        &with(&json!({ "ref": "refs/heads/x", "environment": "Production" })),
        &ask("db"),
    );
    insta::assert_snapshot!(
        answer.description,
        @"fact `ref` is `refs/heads/x`, policy `migrate` wants `refs/heads/main`; and one more"
    );
    let lines: Vec<_> = answer
        .failed_conditions
        .iter()
        .map(|line| (line.fact.as_str(), line.hint.as_deref()))
        .collect();
    assert_eq!(
        lines,
        [
            ("ref", None),
            ("environment", Some("differs in upper and lower case only"))
        ]
    );
    insta::assert_snapshot!(answer.when.unwrap(), @r#"
    when:
      repository: acme/shop
      repository_id: "702114500"
      ref: refs/heads/x
      environment: Production
      trigger: push
    "#);
}

/// T-50
#[test]
fn a_repository_with_another_id_is_a_stranger_and_one_renamed_is_told() {
    let taken = told(&with(&json!({ "repository_id": "1" })), &ask("db"));
    assert_eq!(taken.description, ACCESS_DENIED);
    let renamed = told(&with(&json!({ "repository": "acme/shop2" })), &ask("db"));
    insta::assert_snapshot!(
        renamed.description,
        @"fact `repository` is `acme/shop2`, policy `migrate` wants `a value that is not shown` (the id fits: it was renamed or moved)"
    );
}

/// T-49
#[test]
fn a_job_of_no_tenant_is_a_stranger_whatever_the_policies_say() {
    for changes in [
        json!({ "repository_owner_id": "1" }),
        json!({ "repository_owner": "mallory" }),
    ] {
        let denial = denial(&with(&changes), &ask("db"));
        assert_eq!(denial.reason(), Reason::PolicyTenant);
        assert_eq!(
            denial.answer(Disclosure::Repository).description,
            ACCESS_DENIED
        );
    }
}

/// T-82, T-79: the same bytes, whether the credential exists, is granted to others, or is a near miss.
#[test]
fn strangers_hear_the_same_bytes_whatever_they_ask() {
    let stranger = with(&json!({ "repository": "acme/other", "repository_id": "5" }));
    let expected = told(&stranger, &ask("db"));
    assert_eq!(
        (expected.reason.class(), expected.reason),
        (Class::Refused(Part::Request), Reason::PolicyDenied)
    );
    for other in [
        ask("spare"),
        ask("d"),
        ask(""),
        ask("invented"),
        scoped(&["x"]),
        lasting("db", 9_999_999),
    ] {
        assert_eq!(told(&stranger, &other), expected, "{other:?}");
    }
    let app = with(&json!({ "repository": "acme/app-1", "repository_id": "6" }));
    assert!(decide(&app, &ask("api")).is_ok());
    assert_eq!(
        told(&app, &ask("db")).description,
        ACCESS_DENIED,
        "a pattern names no repository"
    );
    assert_eq!(told(&app, &ask("db")), told(&app, &ask("invented")));
    insta::assert_snapshot!(ACCESS_DENIED, @"access denied: no policy matches this job; policy administrators can look up the reason by this request ID");
    assert!(ACCESS_DENIED.len() <= 200 && !ACCESS_DENIED.contains(['"', '\\']));
}

/// T-82
#[test]
fn who_hears_what_is_a_setting() {
    let branch = denial(&with(&json!({ "ref": "refs/heads/x" })), &ask("db"));
    assert_eq!(branch.answer(Disclosure::Never).description, ACCESS_DENIED);
    assert!(
        branch
            .answer(Disclosure::Never)
            .failed_conditions
            .is_empty()
    );
    assert_eq!(
        branch.reason(),
        Reason::PolicyConditions,
        "the log has the true one"
    );
    let app = denial(
        &with(&json!({ "repository": "acme/app-1", "repository_id": "6", "ref": "refs/heads/x" })),
        &ask("api"),
    );
    assert_eq!(
        app.answer(Disclosure::Repository).description,
        ACCESS_DENIED
    );
    assert_eq!(app.answer(Disclosure::Always).failed_conditions.len(), 1);
    assert_eq!(
        denial(&claims(), &ask("nothing"))
            .answer(Disclosure::Never)
            .reason
            .class(),
        Class::Refused(Part::Request)
    );
}

/// T-79
#[test]
fn an_unknown_credential_is_an_invalid_target_for_those_who_belong() {
    for (name, text) in [
        ("dc", "no credential `dc`"),
        ("apii", "no credential `apii`; did you mean `api`?"),
        ("API", "no credential `API`"),
        ("api ", "no credential `api `; did you mean `api`?"),
        ("", "no credential ``"),
    ] {
        let answer = told(&claims(), &ask(name));
        assert_eq!(
            (answer.reason.class(), answer.description.as_str()),
            (Class::Refused(Part::Target), text)
        );
    }
}

/// T-52: what strangers can start is let in by exact text in the policy's own block only.
#[test]
fn only_an_exact_trigger_unlocks_a_run_strangers_can_start() {
    for (event, db, spare) in [
        ("push", true, true),
        ("workflow_dispatch", true, false),
        ("schedule", true, false),
        ("pull_request_target", false, true),
        ("pull_request", false, false),
        ("issue_comment", false, false),
        ("workflow_run", false, false),
        ("issues", false, false),
        ("made_up", false, false),
    ] {
        let claims = with(&json!({ "event_name": event }));
        assert_eq!(decide(&claims, &ask("db")).is_ok(), db, "{event}");
        assert_eq!(decide(&claims, &ask("spare")).is_ok(), spare, "{event}");
    }
    let without = with(&json!({ "event_name": null }));
    assert!(
        decide(&without, &ask("db")).is_err(),
        "a run that does not say"
    );
}

/// T-52, T-82: code of strangers runs with the claims of the repository; it hears its own trigger.
#[test]
fn a_run_strangers_can_start_is_told_nothing_of_policies_that_do_not_name_it() {
    let claims = with(&json!({ "event_name": "pull_request" }));
    let denial = denial(&claims, &ask("db"));
    let answer = denial.answer(Disclosure::Repository);
    insta::assert_snapshot!(
        answer.description,
        @"fact `trigger` is `pull_request`: a run with this trigger is refused unless a policy names the trigger"
    );
    assert_eq!(
        (answer.reason, answer.failed_conditions.len()),
        (Reason::PolicyTrigger, 0)
    );
    for other in [
        ask("spare"),
        ask("invented"),
        scoped(&["x"]),
        lasting("db", 9_999_999),
    ] {
        assert_eq!(told(&claims, &other), answer, "{other:?}");
    }
    assert_eq!(denial.answer(Disclosure::Never).description, ACCESS_DENIED);
    let lines: Vec<_> = denial.answer(Disclosure::Always).failed_conditions;
    assert!(lines.iter().any(|line| line.fact == "trigger"));
}

#[test]
fn an_issuer_without_event_words_is_exempt_from_the_rule_of_triggers() {
    let claims = json!({ "iss": "https://ci.acme.dev", "repo": "acme/plain" });
    assert!(decide(&claims, &ask("spare")).is_ok());
}

#[test]
fn a_policy_past_its_time_grants_nothing() {
    let set = set();
    let facts = facts(&set, &claims());
    let until = Timestamp::from_unix(1_801_418_400);
    assert!(
        set.explain(&facts, &ask("db"), until.plus(-1))
            .is_permitted()
    );
    let refused = set
        .decide(Job::of_facts(facts), &ask("db"), until)
        .unwrap_err();
    let answer = refused.denial.answer(Disclosure::Repository);
    insta::assert_snapshot!(
        answer.description,
        @"fact `until` is `2027-01-31T18:00:00Z`, policy `migrate` wants `before 2027-01-31T18:00:00Z`"
    );
}

#[test]
fn a_requirement_that_does_not_hold_or_is_not_told_refuses() {
    for runner in [json!("self-hosted"), json!(null), json!("something-new")] {
        let answer = told(&with(&json!({ "runner_environment": runner })), &ask("db"));
        assert_eq!(
            (answer.reason, answer.failed_conditions[0].policy.as_str()),
            (Reason::PolicyRequirement, "hosted-runners")
        );
        assert!(decide(&with(&json!({ "runner_environment": runner })), &ask("api")).is_ok());
    }
    let answer = told(&with(&json!({ "runner_environment": null })), &ask("db"));
    insta::assert_snapshot!(
        answer.description,
        @"fact `runner` is missing, requirement `hosted-runners` wants `hosted` (the token does not say)"
    );
}

#[test]
fn what_is_granted_elsewhere_is_not_granted_here() {
    let text = SHOP.replace("name: reviews", "name: other").replace(
        "acme/shop, repository_id: \"702114500\", trigger",
        "acme/x, repository_id: \"7\", trigger",
    );
    let set = PolicySet::from_texts(&[("root.yaml", ROOT), ("shop.yaml", &text)])
        .unwrap()
        .set;
    let job = Job::of_facts(facts(&set, &claims()));
    let answer = set
        .decide(job, &ask("spare"), NOW)
        .unwrap_err()
        .denial
        .answer(Disclosure::Repository);
    insta::assert_snapshot!(answer.description, @"no policy for this repository grants `spare`; its policies grant `api`, `db`");
}

#[test]
fn what_a_job_may_have_is_what_it_would_get() {
    let set = set();
    let facts = facts(&set, &claims());
    let list = set.available(&facts, NOW);
    let lines: Vec<_> = list
        .iter()
        .map(|one| (one.credential.name.as_str(), one.ttl.as_secs()))
        .collect();
    assert_eq!(lines, [("api", 300), ("db", 900), ("spare", 60)]);
}

/// T-76: no policies, everything denied.
#[test]
fn an_empty_set_permits_nothing() {
    let root = ROOT.split("credentials:").next().unwrap();
    let set = PolicySet::from_texts(&[("root.yaml", root)]).unwrap().set;
    let job = Job::of_facts(facts(&set, &claims()));
    assert!(set.decide(job, &ask("db"), NOW).is_err());
}

const NEAR: &str = r#"
policies:
  - name: far
    issuer: github
    when: { repository: acme/shop, repository_id: "702114500", ref: refs/heads/release, environment: staging }
    grant: [ { credential: spare, ttl: 1m } ]
  - name: beside
    issuer: github
    when: { repository: acme/shop, repository_id: "702114500", environment: staging }
    grant: [ { credential: api, ttl: 1m, scopes: ["a:read"] } ]
  - name: near
    issuer: github
    when: { repository: acme/shop, repository_id: "702114500", environment: staging }
    grant: [ { credential: spare, ttl: 1m } ]
  - name: anybody
    issuer: github
    when: { repository: { glob: "acme/*" }, environment: staging }
    grant: [ { credential: spare, ttl: 1m } ]
  - name: elsewhere
    issuer: github
    when: { repository: { glob: "acme/s*" }, environment: staging }
    grant: [ { credential: api, ttl: 1m, scopes: ["a:read"] } ]
"#;

/// Those that grant it first, of these the repository's own, of these the nearest; what neither
/// grants it nor names the repository explains nothing.
#[test]
fn a_denial_tells_the_nearest_policy_first() {
    let set = PolicySet::from_texts(&[("root.yaml", ROOT), ("near.yaml", NEAR)]);
    let set = set.unwrap_or_else(|errors| panic!("{errors}")).set;
    let job = Job::of_facts(facts(&set, &claims()));
    let refused = set.decide(job, &ask("spare"), NOW).unwrap_err();
    let considered = refused.denial.decision().policies.iter();
    let names: Vec<_> = considered.map(|policy| policy.policy.as_str()).collect();
    assert_eq!(names, ["near", "far", "anybody", "beside"]);
}

/// T-49
#[test]
fn a_job_of_no_tenant_hears_whose_jobs_are_served_where_everybody_is_told() {
    let stranger = with(&json!({ "repository_owner": "acne", "repository_owner_id": "1" }));
    let answer = denial(&stranger, &ask("db")).answer(Disclosure::Always);
    let failed = answer.failed_conditions.iter();
    let failed: Vec<_> = failed
        .map(|line| {
            (
                line.policy.as_str(),
                line.fact.as_str(),
                line.expected.as_str(),
            )
        })
        .collect();
    assert_eq!(
        failed,
        [
            ("tenants", "owner", "acme"),
            ("tenants", "owner_id", "\"65923871\"")
        ]
    );
}

#[test]
fn every_disclosure_has_its_name() {
    let names = ["never", "repository", "always", "Always", ""].map(Disclosure::from_name);
    let meant = [
        Some(Disclosure::Never),
        Some(Disclosure::Repository),
        Some(Disclosure::Always),
        None,
        None,
    ];
    assert_eq!(names, meant);
}
