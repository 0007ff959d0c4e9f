//! What the policy language takes, and what reads like a limit and is none.

use std::fs;

use hallpass::policy::{LoadOptions, PolicySet};
use hallpass::yaml::Severity;
use serde_json::{Value, json};

use super::{folder, hallpass, text, write};
use crate::provider::object;

const ISSUERS: &str = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
  gitlab: { provider: gitlab, tenants: [ { owner: acme, owner_id: "1" } ] }
  plain: { provider: generic, url: "https://ci.acme.dev", facts: { repository: /repo, environment: /envs, ref: /ref, actor: /who }, types: { environment: list } }
credentials:
  api: { kind: jwt, audience: "https://api.test", max_ttl: 10m, owner: team-a, purpose: p, class: low }
  db/read: { kind: postgres, target: shop, group: g, max_ttl: 10m, owner: team-b, purpose: p, class: moderate }
"#;

/// A policy of that issuer with one more line.
fn policy(issuer: &str, line: &str) -> String {
    format!(
        "{ISSUERS}policies:\n  - {{ name: p, issuer: {issuer}, when: {{ repository: acme/shop, {line} }}, grant: [ {{ credential: api, ttl: 5m }} ] }}\n"
    )
}

/// The rules of the errors, or none if it loads.
fn rules(text: &str) -> Vec<&'static str> {
    match PolicySet::from_texts(&[("root.yaml", text)]) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .filter(|one| one.severity == Severity::Error)
            .map(|one| one.rule)
            .collect(),
    }
}

fn said(text: &str) -> String {
    let errors = PolicySet::from_texts(&[("root.yaml", text)]).unwrap_err();
    errors.to_string()
}

fn permits(text: &str, issuer: &str, claims: &Value) -> bool {
    let loaded = PolicySet::from_texts(&[("root.yaml", text)]);
    let set = loaded.unwrap_or_else(|errors| panic!("{errors}")).set;
    let mut readers = set.readers().iter();
    let reader = readers.find(|reader| reader.issuer.name == issuer).unwrap();
    let facts = reader.facts(object(claims)).unwrap();
    let ask = hallpass::policy::Ask {
        credential: "api".to_owned(),
        ..hallpass::policy::Ask::default()
    };
    let now = hallpass::clock::Timestamp::from_unix(1_790_000_000);
    set.explain(&facts, &ask, now).is_permitted()
}

/// T-133: over every shared issuer there is, under every provider.
#[test]
fn a_shared_issuer_needs_tenants_whatever_it_is_called() {
    let addresses = [
        ("https://token.actions.githubusercontent.com", "github"),
        ("https://token.actions.githubusercontent.com/acme", "github"),
        ("https://gitlab.com", "gitlab"),
        ("https://GitLab.com:443/", "gitlab"),
        ("https://agent.buildkite.com", "buildkite"),
        ("https://app.terraform.io", "hcp-terraform"),
        ("https://accounts.google.com", "google"),
        ("https://oidc.circleci.com", "circleci"),
        ("https://oidc.codefresh.io", "codefresh"),
        ("https://oidc.vercel.com", "vercel"),
        ("https://token.builds.bitrise.io", "bitrise"),
        ("https://oidc.buddyusercontent.com", "buddy"),
        ("https://eu-oidc.buddyusercontent.com", "buddy"),
        ("https://api.pulumi.com/oidc", "generic"),
        ("https://scalr.io", "generic"),
    ];
    let issuer = |url: &str, provider: &str, tenants: &str| {
        let facts = if provider == "generic" {
            ", facts: { repository: /a, owner: /o, ref: /r }"
        } else {
            ""
        };
        let id = if provider == "generic" {
            ""
        } else {
            ", owner_id: \"1\""
        };
        let tenants = tenants.replace("ID", id);
        format!("issuers:\n  a: {{ provider: {provider}, url: \"{url}\"{facts}{tenants} }}\n")
    };
    for (url, right) in addresses {
        for provider in ["github", "gitlab", "generic"] {
            let mut expected = vec!["shared-issuer"];
            if provider != right {
                expected.push("wrong-provider");
            }
            assert_eq!(
                rules(&issuer(url, provider, "")),
                expected,
                "{url} {provider}"
            );
            let tenants = ", tenants: [ { owner: acmeID } ]";
            expected.remove(0);
            assert_eq!(
                rules(&issuer(url, provider, tenants)),
                expected,
                "{url} {provider}"
            );
        }
    }
    let plain = issuer("https://ci.acme.dev", "generic", "");
    assert_eq!(rules(&plain), [""; 0]);
    let own = issuer("https://oidc.circleci.com/org/3a5b", "circleci", "");
    assert_eq!(rules(&own), [""; 0]);
    let tenant = issuer("https://token.actions.acme.ghe.com", "generic", "");
    assert_eq!(rules(&tenant), ["wrong-provider"]);
}

/// T-49: a tenant that every customer's jobs can fit is no limit.
#[test]
fn a_tenant_of_a_shared_issuer_names_a_customer() {
    let issuer =
        |tenants: &str| format!("issuers:\n  a: {{ provider: gitlab, tenants: {tenants} }}\n");
    for open in [
        "{ ref: refs/heads/main }",
        "{ owner: { present: true } }",
        "{ owner: { glob: \"acme*\" } }",
        "{ owner: { not: evil } }",
        "{ owner: [acme, { glob: \"acme-*\" }] }",
        "[ { owner: acme, owner_id: \"1\" }, { ref_protected: true } ]",
    ] {
        assert_eq!(rules(&issuer(open)), ["open-tenant"], "{open}");
    }
    for named in [
        "{ owner: acme }",
        "{ owner: [acme, acme-labs] }",
        "{ owner: { under: acme } }",
        "{ owner: { under: acme, not: acme/evil } }",
        "{ repository_id: \"7\", ref: refs/heads/main }",
    ] {
        assert_eq!(rules(&issuer(named)), [""; 0], "{named}");
    }
    // One customer's own issuer may have any tenants.
    let own = "issuers:\n  a: { provider: gitlab, url: https://g.acme.dev, tenants: { ref: refs/heads/main } }\n";
    assert_eq!(rules(own), [""; 0]);
    insta::assert_snapshot!(said(&issuer("{ ref: refs/heads/main }")), @r#"
    error[open-tenant]: a tenant of issuer `a` names no customer of https://gitlab.com
     --> root.yaml:2:37
      |
    2 |   a: { provider: gitlab, tenants: { ref: refs/heads/main } }
      |                                     ^^^^^^^^^^^^^^^^^^^^
      = help: name one of `owner`, `owner_id`, `repository` and `repository_id`, by text, a list of texts, or `under`
    "#);
}

/// T-76: a slip in a selector would switch a requirement off.
#[test]
fn a_selector_names_what_there_is_and_takes_no_conditions() {
    let with = |of: &str| {
        format!(
            "{ISSUERS}require:\n  - {{ name: r, of: {of}, jobs: {{ runner: hosted }}, because: so }}\n"
        )
    };
    for right in [
        "all",
        "{ class: critical }",
        "{ class: [low, moderate], kind: jwt }",
        "{ credential: api }",
        "{ credential: [api, db/read] }",
        "{ credential: { glob: \"db/*\" } }",
        "{ credential: { glob: \"nothing/*\" } }",
        "{ owner: team-a, target: shop }",
    ] {
        assert_eq!(rules(&with(right)), [""; 0], "{right}");
    }
    for (wrong, expected) in [
        ("{ class: critcal }", "unknown-selector"),
        ("{ class: [low, critcal] }", "unknown-selector"),
        ("{ kind: postgress }", "unknown-selector"),
        ("{ credential: db/raed }", "unknown-selector"),
        ("{ credential: [api, db/raed] }", "unknown-selector"),
        ("{ owner: team-c }", "unknown-selector"),
        ("{ target: shopp }", "unknown-selector"),
        ("{ class: { not: low } }", "wrong-type"),
        ("{ class: { glob: \"c*\" } }", "wrong-type"),
        ("{ owner: { present: true } }", "wrong-type"),
        ("{ owner: { under: team } }", "wrong-type"),
        ("{ credential: { not: api } }", "unknown-key"),
        ("{ credential: { under: db } }", "unknown-key"),
        ("{}", "empty"),
        ("", "empty"),
    ] {
        assert_eq!(rules(&with(wrong)), [expected], "{wrong}");
    }
    let said = said(&with("{ class: critcal }"));
    assert!(said.contains("unknown class `critcal`"), "{said}");
    assert!(said.contains("did you mean `critical`?"), "{said}");
}

/// T-46: a job that chooses a text must not choose the entries of a list.
#[test]
fn member_stands_on_lists_only_and_lists_take_nothing_else() {
    for (issuer, line) in [
        ("github", "environment: { member: prod }"),
        ("github", "claim: { /enterprise: { member: a } }"),
        ("plain", "actor: { member: a }"),
    ] {
        assert_eq!(rules(&policy(issuer, line)), ["wrong-type"], "{line}");
    }
    for line in [
        "environment: prod",
        "environment: [prod]",
        "environment: { glob: \"p*\" }",
        "environment: { not: prod }",
        "environment: { member: [a, b] }",
        "environment: { not: { not: { member: a } } }",
    ] {
        assert_ne!(rules(&policy("plain", line)), [""; 0], "{line}");
    }
    let job = |envs: Value| json!({ "repo": "acme/shop", "envs": envs });
    for (line, fits) in [
        ("environment: { member: prod }", [true, true, false, false]),
        (
            "environment: { member: prod, not: { member: dev } }",
            [true, false, false, false],
        ),
        (
            "environment: { not: { member: prod } }",
            [false, false, true, false],
        ),
        (
            "environment: [ { member: test }, { member: dev } ]",
            [false, true, true, false],
        ),
        ("environment: { present: true }", [true, true, true, false]),
        (
            "environment: { present: false }",
            [false, false, false, true],
        ),
    ] {
        let text = policy("plain", line);
        let jobs = [
            json!(["prod"]),
            json!("prod,dev"),
            json!(["test", "pr\u{43e}d", ""]),
            json!([]),
        ];
        let found = jobs.map(|envs| permits(&text, "plain", &job(envs)));
        assert_eq!(found, fits, "{line}");
    }
    // In a requirement the issuer that is named beside it says what the fact is.
    let requires = |jobs: &str| {
        format!("{ISSUERS}require:\n  - {{ name: r, of: all, jobs: {{ {jobs} }}, because: so }}\n")
    };
    let member = "environment: { member: prod }";
    assert_eq!(
        rules(&requires(&format!("issuer: plain, {member}"))),
        [""; 0]
    );
    assert_eq!(
        rules(&requires(&format!("issuer: [plain], {member}"))),
        [""; 0]
    );
    for other in [
        format!("issuer: github, {member}"),
        format!("issuer: [plain, github], {member}"),
        member.to_owned(),
        "issuer: plain, environment: prod".to_owned(),
    ] {
        assert_eq!(rules(&requires(&other)), ["wrong-type"], "{other}");
    }
    let numbers = PolicySet::from_texts(&[("root.yaml", ISSUERS)])
        .unwrap()
        .set;
    let reader = numbers
        .readers()
        .iter()
        .find(|one| one.issuer.name == "plain")
        .unwrap();
    for odd in [json!([1]), json!(1), json!({ "a": "prod" }), json!(true)] {
        assert!(reader.facts(object(&job(odd))).is_err());
    }
}

/// T-52: a closed list of words is named word by word.
#[test]
fn words_take_neither_not_nor_glob() {
    for fact in ["trigger", "ref_type", "runner"] {
        for pattern in [
            "{ not: push }",
            "{ glob: \"p*\" }",
            "{ under: push }",
            "{ not: [branch] }",
            "{ present: true, not: hosted }",
        ] {
            let found = rules(&policy("github", &format!("{fact}: {pattern}")));
            assert_eq!(found, ["wrong-type"], "{fact} {pattern}");
        }
        let present = policy("github", &format!("{fact}: {{ present: true }}"));
        assert_eq!(rules(&present), [""; 0], "{fact}");
    }
    for line in ["trigger: [push, other]", "ref_type: tag", "runner: hosted"] {
        assert_eq!(rules(&policy("github", line)), [""; 0], "{line}");
    }
    insta::assert_snapshot!(said(&policy("github", "ref_type: { not: tag }")).lines().next().unwrap(), @"error[wrong-type]: `ref_type` is one of a closed list of words, and takes no `not`");
}

/// T-76: also within `glob`, `under` and `not`, and for the ref of a workflow.
#[test]
fn a_short_ref_is_an_error_wherever_it_stands() {
    for (issuer, short) in [
        ("github", "ref: { glob: \"release/*\" }"),
        ("github", "ref: { glob: \"*\" }"),
        ("github", "ref: { under: heads }"),
        ("github", "ref: { not: main }"),
        (
            "github",
            "ref: { glob: \"refs/heads/**\", not: { glob: \"release/*\" } }",
        ),
        ("github", "ref: { not: [refs/heads/a, b] }"),
        ("gitlab", "ref: [refs/heads/main, main]"),
        ("github", "job_workflow: { path: x, ref: main }"),
        ("github", "job_workflow: { path: x, ref: { glob: \"v*\" } }"),
        ("github", "entry_workflow: { ref: [refs/heads/main, v1] }"),
        ("github", "job_workflow: { path: x, ref: abc123 }"),
        ("plain", "job_workflow: { path: x, ref: main }"),
    ] {
        let text =
            policy(issuer, short).replace("actor: /who }", "actor: /who, job_workflow: /w }");
        assert_eq!(rules(&text), ["short-ref"], "{short}");
    }
    for full in [
        "ref: { glob: \"refs/heads/release/*\" }",
        "ref: { glob: \"**/main\" }",
        "ref: { under: refs/heads/release }",
        "job_workflow: { path: x, ref: refs/tags/v1 }",
        "job_workflow: { path: x, ref: 0123456789abcdef0123456789abcdef01234567 }",
        "job_workflow: { path: x, ref: { glob: \"refs/tags/v*\", not: refs/tags/v0 } }",
    ] {
        assert_eq!(rules(&policy("github", full)), [""; 0], "{full}");
    }
    // What an issuer of one's own calls a ref is its own affair.
    assert_eq!(rules(&policy("plain", "ref: main")), [""; 0]);
}

/// T-47: a pointer that reads nothing would make `{ present: false }` hold for every job.
#[test]
fn a_pointer_with_a_wrong_escape_is_an_error() {
    for pointer in ["/~2", "/a~", "/~", "/a~b", "a", "/"] {
        let line = format!("claim: {{ \"{pointer}\": {{ present: false }} }}");
        assert_eq!(rules(&policy("github", &line)), ["pointer"], "{pointer}");
    }
    for pointer in ["/a~0b", "/a~1b", "/~01", "/a/b"] {
        let line = format!("claim: {{ \"{pointer}\": x }}");
        assert_eq!(rules(&policy("github", &line)), [""; 0], "{pointer}");
    }
}

/// T-47: an empty text says nothing, so nothing but `{ present: false }` holds of it.
#[test]
fn an_empty_text_is_absent() {
    let claims = json!({
        "repository": "acme/shop", "repository_owner": "acme", "repository_owner_id": "65923871",
        "event_name": "push", "environment": "", "enterprise": "", "job_workflow_ref": "",
        "teams": [],
    });
    for (line, holds) in [
        ("environment: { present: true }", false),
        ("environment: { present: false }", true),
        ("environment: { not: dev }", false),
        ("environment: { glob: \"*\" }", false),
        ("claim: { /enterprise: { present: true } }", false),
        ("claim: { /enterprise: { present: false } }", true),
        ("claim: { /enterprise: { not: evil } }", false),
        ("claim: { /teams: { present: true } }", false),
        ("claim: { /teams: { present: false } }", true),
        ("job_workflow: { present: true }", false),
    ] {
        let text = policy("github", line);
        assert_eq!(permits(&text, "github", &claims), holds, "{line}");
    }
}

/// Times are RFC 3339 and nothing near it, and a wrong one is told what is wrong.
#[test]
fn until_is_a_time_with_seconds_and_an_offset() {
    let with = |until: &str| {
        policy("github", "ref: refs/heads/main")
            .replace("grant:", &format!("until: {until}, grant:"))
    };
    for right in [
        "2027-01-31T18:00:00Z",
        "2027-01-31T18:00:00+02:00",
        "9998-12-31T23:59:59Z",
    ] {
        assert_eq!(rules(&with(right)), [""; 0], "{right}");
    }
    for wrong in [
        "2027-01-31T18:00Z",
        "2027-01-31T18:00:60Z",
        "\"2027-01-31T18:00:00[Europe/Berlin]\"",
        "2027-01-31T18:00:00",
        "\"2027-01-31T18:00:00Z\"",
        "2027-02-30T18:00:00Z",
        "9999-12-31T23:59:59Z",
    ] {
        assert_eq!(rules(&with(wrong)), ["time"], "{wrong}");
    }
    let said = said(&with("9999-12-31T23:59:59Z"));
    assert!(said.contains("expected a year from 0 to 9998"), "{said}");
    assert!(
        said.contains("leave the line out if there is no end"),
        "{said}"
    );
}

/// T-134: through the program, for policies and for settings, comments included.
#[test]
fn a_character_that_hides_or_ends_lines_for_some_is_refused_everywhere_in_a_file() {
    let root =
        "issuers:\n  github: { provider: github, tenants: [ { owner: acme, owner_id: \"1\" } ] }\n";
    let settings = "issuer: https://hallpass.example\nroot_key: { file: root.key }\npolicies: { path: policies }\naudit: { sinks: [ { kind: file, path: a, required: true } ] }\n";
    for hidden in [
        "\r",
        "\u{0}",
        "\u{b}",
        "\u{c}",
        "\u{1b}",
        "\u{7f}",
        "\u{85}",
        "\u{9b}",
        "\u{ad}",
        "\u{200b}",
        "\u{200e}",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}",
        "\u{2066}",
        "\u{feff}",
        "\u{e0041}",
    ] {
        for (policies, settings, command) in [
            (
                format!("{root}# a{hidden}b\n"),
                settings.to_owned(),
                &["policy", "check"][..],
            ),
            (
                root.replace("acme", &format!("ac{hidden}me")),
                settings.to_owned(),
                &["policy", "check"],
            ),
            (
                root.to_owned(),
                format!("{settings}# a{hidden}b\n"),
                &["serve", "--check"],
            ),
        ] {
            let dir = folder(&[
                ("policies/root.yaml", &policies),
                ("hallpass.yaml", &settings),
            ]);
            let output = hallpass(command, dir.path());
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(!output.status.success(), "{hidden:?}: {said}");
            assert_eq!(said.matches("error[").count(), 1, "{hidden:?}: {said}");
            assert!(
                said.contains("error[hidden-character]"),
                "{hidden:?}: {said}"
            );
        }
    }
    let plain = format!("{root}# \u{e4}\u{f6}\u{fc} \u{4e2d}\tx\r\n");
    let dir = folder(&[("policies/root.yaml", &plain)]);
    assert!(hallpass(&["policy", "check"], dir.path()).status.success());
}

/// T-134: what stands behind a lone carriage return in a comment is a policy for one reader.
#[test]
fn a_policy_behind_a_lone_carriage_return_permits_nothing() {
    let root = concat!(
        "issuers:\n  github: { provider: github, tenants: [ { owner: acme, owner_id: \"1\" } ] }\n",
        "credentials:\n  c: { kind: jwt, audience: \"https://a.test\", max_ttl: 10m, owner: o, purpose: p, class: low }\n",
        "policies:\n  - { name: p, issuer: github, when: { repository: acme/shop, repository_id: \"2\" }, grant: [ { credential: c, ttl: 5m } ] }\n",
        "  # reviewed by security\r  - { name: q, issuer: github, when: { repository: acme/evil, repository_id: \"3\" }, grant: [ { credential: c, ttl: 5m } ] }\n",
    );
    let job = r#"{"iss":"https://token.actions.githubusercontent.com","repository":"acme/evil","repository_id":"3","repository_owner":"acme","repository_owner_id":"1","event_name":"push","ref":"refs/heads/x"}"#;
    let dir = folder(&[("policies/root.yaml", root)]);
    write(dir.path(), "job.json", job);
    let output = hallpass(&["policy", "check"], dir.path());
    assert_eq!(output.status.code(), Some(4));
    let shown = text(&output.stdout);
    assert!(shown.contains("--> policies/root.yaml:7:25"), "{shown}");
    let output = hallpass(
        &["policy", "explain", "--claims", "job.json", "c"],
        dir.path(),
    );
    assert_eq!(output.status.code(), Some(4));
    assert!(!text(&output.stdout).contains("PERMITTED"));
}

/// T-133: six issuers under another provider's name, none with tenants, and a job of one of them.
#[test]
fn shared_issuers_under_another_name_permit_nothing() {
    let root = r#"issuers:
  gh: { provider: generic, url: "https://token.actions.githubusercontent.com", facts: { repository: /repository, repository_id: /repository_id } }
  gl: { provider: github, url: "https://gitlab.com" }
  bk: { provider: generic, url: "https://agent.buildkite.com", facts: { repository: /pipeline_slug, repository_id: /pipeline_id } }
  google: { provider: generic, url: "https://accounts.google.com", facts: { actor: /email, repository_id: /sub, repository: /email } }
  tfc: { provider: generic, url: "https://app.terraform.io", facts: { repository: /terraform_workspace_name, repository_id: /terraform_workspace_id } }
  circle: { provider: generic, url: "https://oidc.circleci.com", facts: { repository: /a, repository_id: /b } }
credentials:
  c: { kind: jwt, audience: "https://a.test", max_ttl: 10m, owner: o, purpose: p, class: low }
policies:
  - name: p
    issuer: gh
    when: { repository: acme/shop, repository_id: "2" }
    grant: [ { credential: c, ttl: 5m } ]
"#;
    let job = r#"{"iss":"https://token.actions.githubusercontent.com","repository":"acme/shop","repository_id":"2","repository_owner":"acme","repository_owner_id":"1","event_name":"pull_request_target","ref":"refs/heads/main"}"#;
    let dir = folder(&[("policies/root.yaml", root)]);
    write(dir.path(), "job.json", job);
    let output = hallpass(&["policy", "check", "--output", "json"], dir.path());
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = findings["findings"].as_array().unwrap();
    for (name, rules) in [
        ("gh", &["shared-issuer", "wrong-provider"][..]),
        ("gl", &["shared-issuer", "wrong-provider"]),
        ("bk", &["shared-issuer", "wrong-provider"]),
        ("google", &["shared-issuer", "wrong-provider"]),
        ("tfc", &["shared-issuer", "wrong-provider"]),
        ("circle", &["shared-issuer", "wrong-provider"]),
    ] {
        let about = format!("issuer `{name}` ");
        let of_issuer = findings
            .iter()
            .filter(|one| one["message"].as_str().unwrap().starts_with(&about));
        let found: Vec<_> = of_issuer.map(|one| one["rule"].as_str().unwrap()).collect();
        assert_eq!(found, rules, "{name}");
    }
    let output = hallpass(
        &["policy", "explain", "--claims", "job.json", "c"],
        dir.path(),
    );
    assert!(!text(&output.stdout).contains("PERMITTED"));
    assert_eq!(output.status.code(), Some(4));
}

/// T-48: a name that differs from a tenant's in case only fits nobody, and is said to.
#[test]
fn a_policy_that_no_job_of_a_tenant_can_satisfy_is_found() {
    let found = |tenants: &str, when: &str| {
        let text = format!(
            "issuers:\n  github: {{ provider: github, tenants: {tenants} }}\ncredentials:\n  api: {{ kind: jwt, audience: https://a.test, max_ttl: 10m, owner: o, purpose: p, class: low }}\npolicies:\n  - {{ name: a, issuer: github, when: {when}, grant: [ {{ credential: api, ttl: 5m }} ] }}\n"
        );
        let loaded = PolicySet::from_texts(&[("root.yaml", &text)]).unwrap();
        let mut findings = loaded.findings.iter();
        findings
            .find(|one| one.rule == "never-matches")
            .map(|one| format!("{} ({})", one.message, one.help.clone().unwrap_or_default()))
    };
    let acme = "{ owner: acme, owner_id: \"1\" }";
    insta::assert_snapshot!(found(acme, "{ repository: Acme/shop, repository_id: \"7\" }").unwrap(), @"policy `a` requires `Acme/shop`, which no job of a tenant has: a tenant is `acme` (they differ in upper and lower case only; write it as the provider spells it)");
    insta::assert_snapshot!(found(acme, "{ repository: other/shop, repository_id: \"7\" }").unwrap(), @"policy `a` requires `other/shop`, which no job of a tenant has: a tenant is `acme` (add the tenant to the issuer, or correct the policy)");
    for never in [
        "{ repository: acme/shop, owner: Acme }",
        "{ repository: acme/shop, owner_id: \"2\" }",
        "{ repository: [Acme/a, other/b] }",
        "{ repository: acme/shop, owner: { glob: \"other*\" } }",
    ] {
        assert!(found(acme, never).is_some(), "{never}");
    }
    for fine in [
        "{ repository: acme/shop, repository_id: \"7\" }",
        "{ repository: [Acme/a, acme/b] }",
        "{ repository: { glob: \"acme/*\" } }",
        "{ repository_id: \"7\" }",
    ] {
        assert_eq!(found(acme, fine), None, "{fine}");
    }
    let two = "[ { owner: acme, owner_id: \"1\" }, { owner: { under: other }, owner_id: \"2\" } ]";
    assert_eq!(found(two, "{ repository: other/shop }"), None);
    assert!(found(two, "{ repository: third/shop }").is_some());
}

#[test]
fn a_lifetime_below_that_of_the_kind_is_an_error() {
    let check = |max_ttl: &str, ttl: &str, kind: &str| {
        let root = format!(
            "issuers:\n  github: {{ provider: github, tenants: [ {{ owner: acme, owner_id: \"1\" }} ] }}\ncredentials:\n  c: {{ {kind}, max_ttl: {max_ttl}, owner: o, purpose: p, class: low }}\npolicies:\n  - {{ name: a, issuer: github, when: {{ repository: acme/shop, repository_id: \"7\" }}, grant: [ {{ credential: c, ttl: {ttl} }} ] }}\n"
        );
        let dir = folder(&[("policies/root.yaml", root.as_str())]);
        let output = hallpass(&["policy", "check"], dir.path());
        (
            output.status.code(),
            text(&output.stderr) + &text(&output.stdout),
        )
    };
    let database = "kind: postgres, target: db, group: g";
    let (code, said) = check("1h", "3s", database);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("`ttl` of a grant of policy `a` is 3s, a PostgreSQL login can only be issued for at least 5s"),
        "{said}"
    );
    let (code, said) = check("4s", "4s", database);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("`max_ttl` of credential `c` is 4s, a PostgreSQL login can only be issued for at least 5s"),
        "{said}"
    );
    assert_eq!(check("5s", "5s", database).0, Some(0));
    let token = "kind: jwt, audience: https://a.test";
    assert_eq!(check("1s", "1s", token).0, Some(0));
}

/// T-84: whatever is put between our name and the end of the line.
#[test]
fn this_broker_is_no_issuer_of_subject_tokens_however_it_is_spelled() {
    let dir = folder(&[]);
    for url in [
        "https://hallpass.acme.dev",
        "https://hallpass.acme.dev/",
        "https://Hallpass.acme.dev",
        "https://hallpass.acme.dev:443",
    ] {
        let root = format!("issuers:\n  a: {{ provider: gitlab, url: \"{url}\" }}\n");
        write(dir.path(), "policies/root.yaml", &root);
        let args = ["policy", "check", "--issuer", "https://hallpass.acme.dev"];
        let output = hallpass(&args, dir.path());
        assert_eq!(output.status.code(), Some(4), "{url}");
        assert!(
            text(&output.stdout).contains("error[issuer-is-broker]"),
            "{url}"
        );
    }
}

/// The explanation to an operator of a job whose owner is `Acme`, under this tenant.
fn explained_to_capitals(tenant: &str) -> String {
    let root = format!(
        "issuers:\n  github: {{ provider: github, tenants: [ {{ {tenant} }} ] }}\ncredentials:\n  c: {{ kind: jwt, audience: https://a.test, max_ttl: 10m, owner: o, purpose: p, class: low }}\npolicies:\n  - {{ name: p, issuer: github, when: {{ repository: acme/shop }}, grant: [ {{ credential: c, ttl: 5m }} ] }}\n"
    );
    let dir = folder(&[("policies/root.yaml", &root)]);
    let job = r#"{"iss":"https://token.actions.githubusercontent.com","repository":"Acme/shop","repository_owner":"Acme","repository_owner_id":"1","event_name":"push"}"#;
    write(dir.path(), "job.json", job);
    let args = ["policy", "explain", "--claims", "job.json", "c"];
    text(&hallpass(&args, dir.path()).stdout)
}

/// T-48: nothing is folded, and an explanation points out what differs.
#[test]
fn an_owner_that_differs_in_case_only_is_pointed_out() {
    let shown = explained_to_capitals("owner: acme, owner_id: \"1\"");
    let line = "owner            acme: the job has Acme (differs in upper and lower case only)";
    assert!(shown.contains(line), "{shown}");
}

/// T-48: also where the tenant is known by its id, so that the owner is the tenant's in any spelling.
#[test]
fn a_repository_that_differs_in_case_only_is_pointed_out_offline() {
    let shown = explained_to_capitals("owner_id: \"1\"");
    let line = "acme/shop: the job has Acme/shop (differs in upper and lower case only)";
    assert!(shown.contains(line), "{shown}");
}

/// The error stands where the mistake is, and says how it is written right; a mistake is said once.
#[test]
fn common_mistakes_are_explained_where_they_were_made() {
    let of = |when: &str, credential: &str, grant: &str| {
        said(&format!(
            "issuers:\n  github: {{ provider: github, tenants: [ {{ owner: acme, owner_id: \"1\" }} ] }}\ncredentials:\n  api: {{ kind: jwt, audience: https://api.test, scopes: [deploy], max_ttl: {credential}, owner: o, purpose: p, class: low }}\npolicies:\n  - name: a\n    issuer: github\n    when: {when}\n{grant}"
        ))
    };
    let grant = "    grant: [ { credential: api, ttl: 5m, scopes: [deploy] } ]\n";
    insta::assert_snapshot!(of("{ repository: acme/shop, ref: refs/heads/main", "10m", grant), @r"
    error[malformed]: the bracket `{` that is opened here is not closed
     --> root.yaml:8:11
      |
    8 |     when: { repository: acme/shop, ref: refs/heads/main
      |           ^
      = help: close it with `}`
    ");
    insta::assert_snapshot!(of("{ repository: \"acme/shop, repository_id: \"7\" }", "10m", grant), @r#"
    error[malformed]: the text in quotes that begins here ends too early, or its quote is one too many
     --> root.yaml:8:25
      |
    8 |     when: { repository: "acme/shop, repository_id: "7" }
      |                         ^
      = help: put a quote before and after the text; a quote within double quotes is written \"
    "#);
    insta::assert_snapshot!(of("{ repository: acme/shop, ref: { glob: *v } }", "10m", grant), @r#"
    error[alias]: `*v` without quotes is an alias, and aliases are not allowed
     --> root.yaml:8:49
      |
    8 |     when: { repository: acme/shop, ref: { glob: *v } }
      |                                                 ^^
      = help: a value that begins with `*` must be quoted: "*v"
    "#);
    insta::assert_snapshot!(of("", "10m", grant), @r#"
    error[empty]: `when` of policy `a` is empty
     --> root.yaml:8:9
      |
    8 |     when: 
      |         ^
      = help: when: { repository: acme/shop, repository_id: "702114500", ref: refs/heads/main }
    "#);
    insta::assert_snapshot!(of("{ repository: acme/shop, ref_protected: \"true\" }", "10m", grant), @r#"
    error[wrong-type]: `ref_protected` is true or false, found the text `true`
     --> root.yaml:8:51
      |
    8 |     when: { repository: acme/shop, ref_protected: "true" }
      |                                                   ^^^^^^
      = help: write ref_protected: true, without quotes
    "#);
    insta::assert_snapshot!(of("{ repository: acme/shop }", "10m", ""), @r#"
    error[missing-key]: key `grant` is missing from policy `a`
     --> root.yaml:6:11
      |
    6 |   - name: a
      |           ^
      = help: add e.g. `grant: [ { credential: deploy-api, ttl: 5m, scopes: ["deploy:staging"] } ]`
    "#);
    let short = of(
        "{ repository: acme/shop, ref: { glob: \"refs/heads/**\", not: { glob: \"release/*\" } } }",
        "10m",
        grant,
    );
    assert!(short.contains("`release/*` is not a full ref"), "{short}");
    // The life, and the scopes that are missing; the credential is not unknown.
    let follow_on = of(
        "{ repository: acme/shop }",
        "10 m",
        "    grant: [ { credential: api, ttl: 5m } ]\n",
    );
    assert_eq!(follow_on.matches("error[").count(), 2, "{follow_on}");
    assert!(
        follow_on.contains("`10 m` is not a duration"),
        "{follow_on}"
    );
    assert!(follow_on.contains("key `scopes` is missing"), "{follow_on}");
}

/// What is wrong with a definition is said there, and not again where its name is used.
#[test]
fn no_second_error_is_invented_for_what_has_a_first_one() {
    let text = "issuers:
  ours: { provider: gitlub, url: https://g.acme.dev }
credentials:
  odd: { kind: mongo, max_ttl: 10m, owner: o, purpose: p, class: low }
policies:
  - { name: a, issuer: ours, when: { repository: acme/shop }, grant: [ { credential: odd, ttl: 5m } ] }
require:
  - { name: r, of: { credential: odd, owner: o }, jobs: { issuer: ours, runner: hosted }, because: so }
";
    assert_eq!(rules(text), ["unknown-provider", "unknown-kind"]);
    let dir = folder(&[
        ("policies/root.yaml", "credentials:\n  a: { kind: [\n"),
        (
            "policies/app.yaml",
            "policies:\n  - { name: a, issuer: x, when: { repository: acme/shop }, grant: [ { credential: a, ttl: 5m } ] }\n",
        ),
    ]);
    let errors = PolicySet::load_with(&dir.path().join("policies"), &LoadOptions::default());
    let errors = errors.unwrap_err();
    let found: Vec<_> = errors.iter().map(|one| one.rule).collect();
    assert_eq!(found, ["malformed"], "what cannot be read may define them");
    fs::remove_file(dir.path().join("policies/root.yaml")).unwrap();
    let errors = PolicySet::load(&dir.path().join("policies")).unwrap_err();
    let found: Vec<_> = errors.iter().map(|one| one.rule).collect();
    assert_eq!(found, ["unknown-issuer", "unknown-credential"]);
}

/// T-291
#[test]
fn a_source_ip_is_compared_with_networks_and_never_when_it_is_not_known() {
    let job = json!({
        "repository": "acme/shop", "repository_owner": "acme", "repository_owner_id": "65923871",
        "event_name": "push", "source_ip": "10.1.2.3",
    });
    for (pattern, fitting, others) in [
        (
            "10.0.0.0/8",
            &["10.1.2.3", "::ffff:10.1.2.3"][..],
            &["11.0.0.1", "2001:db8::7", "::10.1.2.3"][..],
        ),
        (
            "[10.1.0.0/16, \"2001:db8::/32\"]",
            &["10.1.2.3", "2001:db8::7"],
            &["10.2.2.3", "2001:db9::7"],
        ),
        (
            "{ not: 10.1.0.0/16 }",
            &["10.2.2.3", "2001:db8::7"],
            &["10.1.2.3", "::ffff:10.1.2.3"],
        ),
        (
            "{ not: [10.1.0.0/16, \"2001:db8::/32\"] }",
            &["10.2.2.3"],
            &["10.1.2.3", "2001:db8::7"],
        ),
        (
            "\"2001:db8::7/128\"",
            &["2001:db8::7"],
            &["2001:db8::8", "10.1.2.3"],
        ),
    ] {
        let line = format!("source_ip: {pattern}");
        for text in [policy("github", &line), requirement(&line)] {
            let loaded = PolicySet::from_texts(&[("root.yaml", &text)]);
            let set = loaded.unwrap_or_else(|errors| panic!("{errors}")).set;
            let reader = set.readers().first().unwrap();
            let permits = |address: Option<&str>| {
                let facts = reader.facts(object(&job)).unwrap();
                let facts = facts.from_address(address.map(|address| address.parse().unwrap()));
                let ask = hallpass::policy::Ask {
                    credential: "api".to_owned(),
                    ..hallpass::policy::Ask::default()
                };
                let now = hallpass::clock::Timestamp::from_unix(1_790_000_000);
                set.explain(&facts, &ask, now).is_permitted()
            };
            for address in fitting {
                assert!(permits(Some(address)), "{line} {address}");
            }
            for address in others {
                assert!(!permits(Some(address)), "{line} {address}");
            }
            // What a token says of its address is not read.
            assert!(!permits(None), "{line}");
        }
    }
}

/// A policy for every job, with a requirement that has this line.
fn requirement(line: &str) -> String {
    let text = policy("github", "environment: { present: false }");
    format!("{text}require:\n  - {{ name: r, of: all, jobs: {{ {line} }}, because: so }}\n")
}

/// T-291
#[test]
fn a_source_ip_stands_in_policies_and_requirements_only_and_is_no_pattern_of_text() {
    let network = "source_ip: 10.0.0.0/8";
    for line in [
        "source_ip: 10.1.2.3/8",
        "source_ip: 0.0.0.0/0",
        "source_ip: [10.0.0.0/8, 10.1.2.3]",
        "source_ip: { not: 10.1.2.3 }",
        "source_ip: { not: [\"::ffff:10.0.0.0/104\"] }",
    ] {
        assert_eq!(rules(&policy("github", line)), ["network"], "{line}");
        assert_eq!(rules(&requirement(line)), ["network"], "{line}");
    }
    for line in [
        "source_ip: { glob: \"10.*\" }",
        "source_ip: { under: 10.0.0.0/8 }",
        "source_ip: { present: true }",
        "source_ip: { present: false }",
        "source_ip: { not: { not: 10.0.0.0/8 } }",
        "source_ip: []",
        "source_ip: {}",
        "source_ip: [[10.0.0.0/8]]",
        "source_ip: true",
        "source_ip: 10",
    ] {
        assert!(!rules(&policy("github", line)).is_empty(), "{line}");
    }
    let tenant = policy("github", network).replacen(
        "owner: acme,",
        "owner: acme, source_ip: 10.0.0.0/8,",
        1,
    );
    assert_eq!(rules(&tenant), ["of-request"]);
    let team = format!(
        "{ISSUERS}teams:\n  t: {{ folder: teams/t, names: [ {{ glob: \"t-*/*\" }} ], jobs: {{ issuer: github, repository: acme/t, {network} }}, uses: {{ jwt: {{ audiences: [\"https://d.test\"], at_least: low }} }}, owner: t }}\n"
    );
    assert_eq!(rules(&team), ["of-request"]);
    let mapped = ISSUERS.replace("actor: /who", "source_ip: /ip");
    assert_eq!(rules(&mapped), ["claim-type"]);
    let typed = ISSUERS.replace("environment: list", "environment: list, source_ip: text");
    assert_eq!(rules(&typed), ["claim-type"]);
    let copied = ISSUERS.replace(
        "audience: \"https://api.test\"",
        "audience: \"https://api.test\", claims: [source_ip]",
    );
    assert_eq!(rules(&copied), ["definition"]);
    let each = policy("github", "source_ip: \"{net}\"").replace(
        "- { name: p,",
        "- { name: \"p-{net}\", each: { net: [a, b] },",
    );
    assert_eq!(rules(&each), ["placeholder"]);
    let each = each.replace(
        "source_ip: \"{net}\"",
        "source_ip: { not: [ \"10.{net}.0.0/16\" ] }",
    );
    assert_eq!(rules(&each), ["placeholder"]);
}

/// T-291: what is printed is read as the same.
#[test]
fn a_printed_network_is_read_as_the_same() {
    for line in [
        "source_ip: 10.0.0.0/8",
        "source_ip: [10.0.0.0/8, \"2001:db8::/32\"]",
        "source_ip: { not: \"2001:db8::/32\" }",
        "source_ip: { not: [10.0.0.0/8, \"::/8\"] }",
    ] {
        let set = |text: &str| PolicySet::from_texts(&[("root.yaml", text)]).unwrap().set;
        let first = set(&policy("github", line));
        let printed: String = first
            .policies()
            .iter()
            .map(hallpass::policy::Policy::to_yaml)
            .collect();
        let again = set(&format!("{ISSUERS}policies:\n{printed}"));
        assert_eq!(first.policies(), again.policies(), "{printed}");
    }
}

/// The policies with a zone.
fn zoned(text: &str) -> String {
    format!("zone: Europe/Berlin\n{text}")
}

/// T-293, T-294
#[test]
fn a_time_is_a_window_of_the_zone_of_the_folder() {
    let job = json!({
        "repository": "acme/shop", "repository_owner": "acme", "repository_owner_id": "65923871",
        "event_name": "push", "time": "fri 09:00",
    });
    // Fridays from 8 to 18 of Berlin, in winter and in summer.
    let line = "time: { days: [fri], hours: \"08:00-18:00\" }";
    for text in [policy("github", line), requirement(line)] {
        let set = PolicySet::from_texts(&[("root.yaml", &zoned(&text))]);
        let set = set.unwrap_or_else(|errors| panic!("{errors}")).set;
        let facts = set.readers().first().unwrap().facts(object(&job)).unwrap();
        for (time, expected) in [
            ("2027-01-15T06:59:59Z", false),
            ("2027-01-15T07:00:00Z", true),
            ("2027-01-15T16:59:59Z", true),
            ("2027-01-15T17:00:00Z", false),
            ("2027-07-16T06:00:00Z", true),
            ("2027-07-16T16:00:00Z", false),
            ("2027-01-16T10:00:00Z", false),
        ] {
            let now = time.parse::<jiff::Timestamp>().unwrap().as_second();
            let now = hallpass::clock::Timestamp::from_unix(now);
            let ask = hallpass::policy::Ask {
                credential: "api".to_owned(),
                ..hallpass::policy::Ask::default()
            };
            let decision = set.explain(&facts, &ask, now);
            assert_eq!(decision.is_permitted(), expected, "{time}");
            // Facts of another time are read again.
            let other = facts.at(hallpass::clock::Timestamp::from_unix(0));
            assert_eq!(set.explain(&other, &ask, now).is_permitted(), expected);
            assert_eq!(!set.available(&other, now).is_empty(), expected);
            let is_met = set.unmet(&other, "api", now).is_empty();
            assert_eq!(is_met, expected || !text.contains("require:"));
        }
    }
}

/// T-294
#[test]
fn a_window_of_time_has_one_meaning_or_is_an_error() {
    for line in [
        "time: { days: [mon, fri] }",
        "time: { days: mon }",
        "time: { hours: \"08:00-18:00\" }",
        "time: { hours: \"00:00-00:01\" }",
        "time: { hours: \"18:00-24:00\" }",
        "time: { hours: \"23:59-24:00\", days: [sat, sun] }",
    ] {
        assert_eq!(rules(&zoned(&policy("github", line))), [""; 0], "{line}");
        assert_eq!(rules(&zoned(&requirement(line))), [""; 0], "{line}");
        assert_eq!(rules(&policy("github", line)), ["zone"], "{line}");
        let set = |text: &str| PolicySet::from_texts(&[("root.yaml", text)]).unwrap().set;
        let first = set(&zoned(&policy("github", line)));
        let printed: String = first
            .policies()
            .iter()
            .map(hallpass::policy::Policy::to_yaml)
            .collect();
        let again = set(&zoned(&format!("{ISSUERS}policies:\n{printed}")));
        assert_eq!(first.policies(), again.policies(), "{printed}");
    }
    for (line, rule) in [
        ("{ hours: \"22:00-06:00\" }", "time-window"),
        ("{ hours: \"08:00-08:00\" }", "time-window"),
        ("{ hours: \"00:00-24:00\" }", "time-window"),
        ("{ hours: \"24:00-24:00\" }", "time-window"),
        ("{ hours: \"08:00-24:01\" }", "time-window"),
        ("{ hours: \"08:00-25:00\" }", "time-window"),
        ("{ hours: \"08:60-09:00\" }", "time-window"),
        ("{ hours: \"8:00-18:00\" }", "time-window"),
        ("{ hours: \"08-18\" }", "time-window"),
        ("{ hours: \"08:00 - 18:00\" }", "time-window"),
        ("{ hours: \"08:00-18:00-20:00\" }", "time-window"),
        ("{ hours: \"+8:00-18:00\" }", "time-window"),
        ("{ hours: \"08:00:00-18:00:00\" }", "time-window"),
        (
            "{ days: [mon, tue, wed, thu, fri, sat, sun] }",
            "time-window",
        ),
        ("{ days: [monday] }", "unknown-word"),
        ("{ days: [Mon] }", "unknown-word"),
        ("{ days: [] }", "empty"),
        ("{}", "empty"),
        ("\"08:00-18:00\"", "wrong-type"),
        ("[ { days: [mon] } ]", "wrong-type"),
        ("{ not: { days: [mon] } }", "unknown-key"),
        ("{ present: true }", "unknown-key"),
        ("{ days: [mon], zone: UTC }", "unknown-key"),
    ] {
        let text = zoned(&policy("github", &format!("time: {line}")));
        assert_eq!(rules(&text), [rule], "{line}");
    }
    let night = said(&zoned(&policy(
        "github",
        "time: { hours: \"22:00-06:00\" }",
    )));
    assert!(
        night.contains("one with \"22:00-24:00\" and one with \"00:00-06:00\""),
        "{night}"
    );
    let window = "time: { days: [mon] }";
    let tenant =
        policy("github", window).replacen("owner: acme,", "owner: acme, time: { days: [mon] },", 1);
    assert_eq!(rules(&zoned(&tenant)), ["of-request"]);
    let mapped = ISSUERS.replace("actor: /who", "time: /time");
    assert_eq!(rules(&mapped), ["claim-type"]);
    let copied = ISSUERS.replace(
        "audience: \"https://api.test\"",
        "audience: \"https://api.test\", claims: [time]",
    );
    assert_eq!(rules(&copied), ["definition"]);
    let each = policy("github", "time: { days: [\"{day}\"] }").replace(
        "- { name: p,",
        "- { name: \"p-{day}\", each: { day: [mon, tue] },",
    );
    assert_eq!(rules(&zoned(&each)), ["placeholder"]);
}

/// T-294
#[test]
fn a_folder_has_one_zone_of_the_database_and_its_version_is_in_the_revision() {
    let text = policy("github", "time: { days: [mon] }");
    for (zone, help) in [
        ("Europe/Berln", "did you mean `Europe/Berlin`?"),
        ("europe/berlin", "did you mean `Europe/Berlin`?"),
        ("utc", "did you mean `UTC`?"),
        ("CEST", "did you mean"),
        ("\"+02:00\"", "write a name of the IANA time zone database"),
        (
            "\"../etc/localtime\"",
            "write a name of the IANA time zone database",
        ),
    ] {
        let text = format!("zone: {zone}\n{text}");
        assert_eq!(rules(&text), ["zone"], "{zone}");
        assert!(said(&text).contains(help), "{}", said(&text));
    }
    for zone in [
        "UTC",
        "America/St_Johns",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
    ] {
        assert_eq!(rules(&format!("zone: {zone}\n{text}")), [""; 0], "{zone}");
    }
    let twice = PolicySet::from_texts(&[
        ("root.yaml", &zoned(&text)),
        ("more.yaml", "zone: Europe/Berlin\n"),
    ]);
    assert_eq!(twice.unwrap_err().iter().next().unwrap().rule, "duplicate");
    // The version of the database decides too, so the hash is not that of the text alone.
    let revision = |text: &str| {
        let set = PolicySet::from_texts(&[("root.yaml", text)]).unwrap().set;
        set.revision().to_owned()
    };
    let plain = policy("github", "ref: refs/heads/main");
    let digest = |text: &str| {
        let mut bytes = Vec::new();
        for part in ["root.yaml", text] {
            bytes.extend(u64::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        format!("sha256:{}", data_encoding::HEXLOWER.encode(digest.as_ref()))
    };
    assert_eq!(revision(&plain), digest(&plain));
    assert_ne!(revision(&zoned(&plain)), digest(&zoned(&plain)));
}

/// T-295
#[test]
fn groups_are_a_list_that_an_issuer_maps() {
    let text = |line: &str| {
        policy("plain", line).replace("actor: /who }", "actor: /who, groups: /groups }")
    };
    let permitted = |line: &str, groups: Value| {
        let claims = json!({ "iss": "https://ci.acme.dev", "repo": "acme/shop", "groups": groups });
        permits(&text(line), "plain", &claims)
    };
    let (member, other) = (
        "groups: { member: ops }",
        "groups: { not: { member: guests } }",
    );
    let both = "groups: { member: ops, not: { member: guests } }";
    let any = "groups: [ { member: ops }, { member: admins } ]";
    for (line, groups, expected) in [
        (member, json!(["dev", "ops"]), true),
        (member, json!("dev,ops"), true),
        (member, json!("dev, ops"), false),
        (member, json!(["dev,ops"]), false),
        (member, json!(["OPS"]), false),
        (member, json!(["\u{43e}ps"]), false),
        (member, json!([]), false),
        (member, Value::Null, false),
        (other, json!(["dev"]), true),
        (other, json!(["dev", "guests"]), false),
        (other, json!([]), false),
        // An entry that no condition could name is dropped, and then nothing is left.
        (other, json!(["\u{43e}ps"]), false),
        (other, json!(["\u{43e}ps", "dev"]), true),
        (both, json!(["ops"]), true),
        (both, json!(["ops", "guests"]), false),
        (any, json!(["admins"]), true),
        (any, json!(["dev"]), false),
        ("groups: { present: true }", json!(["dev"]), true),
        ("groups: { present: false }", json!([]), true),
        ("groups: { present: false }", json!(["dev"]), false),
    ] {
        assert_eq!(permitted(line, groups.clone()), expected, "{line} {groups}");
    }
    for line in [
        "groups: ops",
        "groups: [ops]",
        "groups: { glob: \"o*\" }",
        "groups: { under: ops }",
        "groups: true",
    ] {
        assert!(!rules(&text(line)).is_empty(), "{line}");
    }
    assert_eq!(rules(&policy("github", member)), ["unknown-fact"]);
    assert_eq!(rules(&requirement(member)), [""; 0]);
    for (word, expected) in [
        ("list", &[][..]),
        ("text", &["claim-type"]),
        ("number", &["claim-type"]),
    ] {
        let typed = text(member).replace(
            "environment: list",
            &format!("environment: list, groups: {word}"),
        );
        assert_eq!(rules(&typed), expected, "{word}");
    }
    // A claim of another type is an error of the job.
    let set = PolicySet::from_texts(&[("root.yaml", &text(member))])
        .unwrap()
        .set;
    let reader = set
        .readers()
        .iter()
        .find(|one| one.issuer.name == "plain")
        .unwrap();
    for groups in [
        json!(true),
        json!(7),
        json!({ "ops": true }),
        json!(["ops", 7]),
        json!([["ops"]]),
    ] {
        let claims = json!({ "repo": "acme/shop", "groups": groups });
        assert!(reader.facts(object(&claims)).is_err(), "{groups}");
    }
}

#[test]
fn labels_are_at_most_sixteen_names_with_a_text_each() {
    let with = |labels: &str| {
        format!(
            "credentials:\n  app: {{ kind: jwt, audience: \"https://app.acme.dev\", max_ttl: 10m, owner: o, purpose: p, class: low, labels: {labels} }}\n"
        )
    };
    let many = |count: usize| {
        let labels: Vec<_> = (0..count).map(|number| format!("l{number}: x")).collect();
        format!("{{ {} }}", labels.join(", "))
    };
    let text = with("{ service: shop, cost_center: \"4711\" }");
    let set = PolicySet::from_texts(&[("root.yaml", &text)]).unwrap().set;
    let labels = &set.credential("app").unwrap().labels;
    assert_eq!(labels["service"], "shop");
    assert_eq!(labels["cost_center"], "4711");
    assert_eq!(rules(&with(&many(16))), [""; 0]);
    for (wrong, rule) in [
        (many(17).as_str(), "labels"),
        ("{}", "labels"),
        ("{ Service: shop }", "labels"),
        ("{ cost-center: shop }", "labels"),
        ("{ 1: shop }", "unquoted"),
        ("{ service: 4711 }", "unquoted"),
        ("{ service: \"\" }", "empty"),
        ("{ service: { present: true } }", "wrong-type"),
        ("[service]", "wrong-type"),
    ] {
        assert_eq!(rules(&with(wrong)), [rule], "{wrong}");
    }
}

const DECLARED: &str = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "1" } ], properties: { tier: text, team: list, pci: boolean } }
  ghes: { provider: github, url: "https://ghes.acme.dev", properties: { tier: list } }
  gitlab: { provider: gitlab, url: "https://gitlab.acme.dev" }
credentials:
  app: { kind: jwt, audience: "https://app.acme.dev", max_ttl: 10m, owner: o, purpose: p, class: low }
"#;

/// T-310
#[test]
fn a_property_is_named_only_where_its_issuer_declares_it_and_as_its_type() {
    let policy = |issuer: &str, lines: &str| {
        format!(
            "{DECLARED}policies:\n  - {{ name: a, issuer: {issuer}, when: {{ repository: acme/app, {lines} }}, grant: [ {{ credential: app, ttl: 5m }} ] }}\n"
        )
    };
    let require = |lines: &str| {
        format!(
            "{DECLARED}require:\n  - {{ name: r, of: all, jobs: {{ {lines} }}, because: so }}\n"
        )
    };
    for fine in [
        policy("github", "property: { tier: critical }"),
        policy(
            "github",
            "property: { tier: [critical, { glob: \"h*\" }], pci: true }",
        ),
        policy(
            "github",
            "property: { team: { member: pay }, pci: { present: true } }",
        ),
        policy("github", "property: { tier: { not: low } }"),
        policy("ghes", "property: { tier: { not: { member: low } } }"),
        require("issuer: github, property: { pci: false }"),
    ] {
        assert_eq!(rules(&fine), [""; 0], "{fine}");
    }
    for (wrong, rule) in [
        (
            policy("github", "property: { teir: critical }"),
            "unknown-property",
        ),
        (
            policy("ghes", "property: { pci: true }"),
            "unknown-property",
        ),
        (
            policy("gitlab", "property: { tier: critical }"),
            "unknown-property",
        ),
        (
            policy("[github, ghes]", "property: { team: { member: x } }"),
            "unknown-property",
        ),
        (policy("github", "property: {}"), "empty"),
        (policy("github", "property: critical"), "wrong-type"),
        (
            policy("github", "property: { pci: \"true\" }"),
            "wrong-type",
        ),
        (policy("github", "property: { team: pay }"), "wrong-type"),
        (policy("github", "tier: critical"), "unknown-fact"),
        (
            require("property: { tier: critical }"),
            "property-without-issuer",
        ),
        (
            require("issuer: [github, ghes], property: { tier: critical }"),
            "property-type",
        ),
        (
            require("issuer: gitlab, property: { tier: critical }"),
            "unknown-property",
        ),
        (DECLARED.replace("tier: text", "tier: txt"), "unknown-type"),
        (
            DECLARED.replace("tier: text", "tier: number"),
            "unknown-type",
        ),
        (DECLARED.replace("tier: text", "\"a b\": text"), "name"),
        (
            DECLARED.replace("acme.dev\" }", "acme.dev\", properties: { a: text } }"),
            "unknown-key",
        ),
    ] {
        let found = rules(&wrong);
        assert_eq!(found, [rule], "{wrong}");
    }
    let tier = said(&policy("github", "tier: critical"));
    let help = "write it as a property: `property: { tier: ... }`";
    assert!(tier.contains(help), "{tier}");
    let bare = said(&require("property: { tier: critical }"));
    let message = "a block of requirement `r` names property `tier` without its issuer";
    assert!(bare.contains(message), "{bare}");
}

#[test]
fn repositories_of_an_owner_of_no_tenant_are_pointed_out() {
    let found = |repository: &str| {
        let text = format!(
            "{DECLARED}policies:\n  - {{ name: a, issuer: github, when: {{ repository: {repository}, ref: refs/heads/main }}, grant: [ {{ credential: app, ttl: 5m }} ] }}\n"
        );
        let loaded = PolicySet::from_texts(&[("root.yaml", &text)]).unwrap();
        let mut findings = loaded.findings.iter();
        findings.any(|one| one.rule == "never-matches")
    };
    for never in [
        "evil/app",
        "[evil/app, evil/web]",
        "{ glob: \"evil/*\" }",
        "{ under: evil }",
        "{ under: acme2 }",
        "{ glob: \"ac/**\" }",
    ] {
        assert!(found(never), "{never}");
    }
    for fine in [
        "acme/app",
        "[evil/app, acme/app]",
        "{ glob: \"acme/*\" }",
        "{ glob: \"a**\" }",
        "{ glob: \"*/app\" }",
        "{ under: acme }",
        "{ under: acme/app }",
        "{ not: acme/web }",
    ] {
        assert!(!found(fine), "{fine}");
    }
}

#[test]
fn grants_that_another_policy_covers_or_does_not_add_to_are_pointed_out() {
    let found = |first: (&str, &str), second: (&str, &str)| {
        let policy = |name: &str, (when, grant): (&str, &str)| {
            format!(
                "  - {{ name: {name}, issuer: github, when: {{ repository: acme/a, {when} }}, grant: [ {{ credential: api, {grant} }} ] }}\n"
            )
        };
        let credential = "  api: { kind: jwt, audience: \"https://api.acme.dev\", scopes: [x, z], max_ttl: 10m, owner: o, purpose: p, class: low }\n";
        let text = format!(
            "{DECLARED}{credential}policies:\n{}{}",
            policy("one", first),
            policy("two", second)
        );
        let loaded = PolicySet::from_texts(&[("root.yaml", &text)]).unwrap();
        let findings = loaded.findings.iter();
        let of_rule = findings.filter(|one| one.rule == "covered-grant");
        let texts: Vec<_> = of_rule.map(|one| one.message.clone()).collect();
        texts.join("; ")
    };
    let main = "ref: refs/heads/main";
    let all = "ttl: 5m, scopes: [x, z]";
    let covered = "policy `two` grants `api` to jobs that policy `one` grants as much";
    assert_eq!(found((main, all), (main, all)), covered);
    let narrower = "ref: refs/heads/main, environment: prod";
    assert_eq!(
        found((main, all), (narrower, "ttl: 4m, scopes: [x]")),
        covered
    );
    assert_eq!(
        found(
            (main, "ttl: 5m, scopes: [x]"),
            (main, "ttl: 5m, scopes: [z]")
        ),
        "policies `one` and `two` grant `api` to the same jobs, and their grants do not add up"
    );
    for fine in [
        // It gives more, to fewer.
        ((main, "ttl: 4m, scopes: [x]"), (narrower, all)),
        // It lets others in.
        ((main, all), ("ref: refs/heads/x", all)),
        (
            (main, all),
            ("ref: refs/heads/main, trigger: pull_request", all),
        ),
    ] {
        assert_eq!(found(fine.0, fine.1), "", "{fine:?}");
    }
    assert_eq!(
        found((main, all), ("ref: refs/heads/main, trigger: push", all)),
        covered
    );
}
