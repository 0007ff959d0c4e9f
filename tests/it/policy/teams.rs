//! Teams: what a team's files may define, and each way to reach beyond it (T-120).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hallpass::clock::Timestamp;
use hallpass::policy::{Ask, PolicySet};
use hallpass::yaml::Severity;
use serde_json::{Value, json};

use super::{folder, hallpass, text, write};
use crate::provider::object;

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

const ROOT: &str = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
  gitlab: { provider: gitlab, tenants: [ { owner: acme, owner_id: "1" } ] }
teams:
  pay:
    folder: teams/pay
    names: [ { glob: "pay-*/**" } ]
    jobs: { issuer: github, owner_id: "65923871", repository_id: ["702114500", "702114501"] }
    uses:
      pay-db: { databases: [pay], groups: [pay_ro, pay_owner], at_least: moderate }
      hosts: { principals: [pay-deploy], at_least: critical }
      jwt: { audiences: ["https://deploy.acme.dev/pay"], at_least: low }
    owner: team-pay
    may: { max_ttl: 30m }
    borrows: [app-db/read]
  ops:
    folder: teams/ops
    names: [ { glob: "ops-*/**" } ]
    jobs: { issuer: github, repository_id: "702114600" }
    owner: team-ops
credentials:
  app-db/read: { kind: postgres, target: app-db, group: readers, max_ttl: 1h, owner: team-app, purpose: reports, class: moderate }
  root-api: { kind: jwt, audience: "https://root.acme.dev", max_ttl: 10m, owner: team-app, purpose: calls, class: critical }
rosters:
  everything: { key: id, rows: [ { id: "1", group: pay_owner } ] }
require:
  - { name: hosted, of: { class: critical }, jobs: { runner: hosted }, because: so }
"#;

const PAY: &str = r#"credentials:
  pay-db/migrate: { kind: postgres, target: pay-db, database: pay, group: pay_owner, max_ttl: 30m, owner: team-pay, purpose: migrations, class: moderate }
  pay-api/call: { kind: jwt, audience: "https://deploy.acme.dev/pay", max_ttl: 10m, owner: team-pay, purpose: calls, class: low }
policies:
  - name: pay-db/main
    issuer: github
    when: { ref: refs/heads/main }
    grant:
      - { credential: pay-db/migrate, ttl: 15m }
      - { credential: app-db/read, ttl: 30m }
"#;

/// What the real loader says of a company whose team has this file.
fn said(pay: &str) -> String {
    said_of(&[("root.yaml", ROOT), ("teams/pay/pay.yaml", pay)])
}

fn said_of(files: &[(&str, &str)]) -> String {
    said_in(folder(files).path())
}

fn said_in(dir: &Path) -> String {
    match PolicySet::load(dir) {
        Ok(_) => String::new(),
        Err(errors) => errors
            .to_string()
            .replace(&format!("{}/", dir.display()), ""),
    }
}

fn gets(set: &PolicySet, repository_id: &str, event: &str, credential: &str) -> bool {
    let job: Value = json!({
        "iss": "https://token.actions.githubusercontent.com",
        "repository": "acme/pay", "repository_id": repository_id,
        "repository_owner": "acme", "repository_owner_id": "65923871",
        "ref": "refs/heads/main", "event_name": event,
    });
    let mut readers = set.readers().iter();
    let reader = readers
        .find(|reader| reader.issuer.name == "github")
        .unwrap();
    let facts = reader.facts(object(&job)).unwrap();
    let ask = Ask {
        credential: credential.to_owned(),
        ..Ask::default()
    };
    set.explain(&facts, &ask, NOW).is_permitted()
}

#[test]
fn a_team_defines_and_grants_within_its_limits() {
    let dir = folder(&[("root.yaml", ROOT), ("teams/pay/pay.yaml", PAY)]);
    let set = PolicySet::load(dir.path()).unwrap().set;
    for credential in ["pay-db/migrate", "app-db/read"] {
        assert!(gets(&set, "702114500", "push", credential), "{credential}");
    }
    // Files may be in folders of the team's folder, and the owner may be left out.
    let deeper = PAY.replace("owner: team-pay, ", "");
    assert_eq!(
        said_of(&[("root.yaml", ROOT), ("teams/pay/db/a.yaml", &deeper)]),
        ""
    );
}

/// T-120, T-264: the team's `jobs` bound each of its policies, whatever the policy itself says.
#[test]
fn a_teams_policy_lets_in_no_job_of_others() {
    let open = PAY.replace("ref: refs/heads/main", "repository_id: { not: \"1\" }");
    let dir = folder(&[("root.yaml", ROOT), ("teams/pay/pay.yaml", &open)]);
    let set = PolicySet::load(dir.path()).unwrap().set;
    assert!(gets(&set, "702114501", "push", "pay-db/migrate"));
    assert!(!gets(&set, "702114600", "push", "pay-db/migrate"));
    // Only the policy's own block unlocks a trigger, not the team's.
    let root = ROOT.replace(
        "repository_id: [\"702114500\", \"702114501\"] }",
        "repository_id: [\"702114500\", \"702114501\"], trigger: [push, pull_request] }",
    );
    let dir = folder(&[("root.yaml", &root), ("teams/pay/pay.yaml", PAY)]);
    let set = PolicySet::load(dir.path()).unwrap().set;
    assert!(gets(&set, "702114500", "push", "pay-db/migrate"));
    assert!(!gets(&set, "702114500", "pull_request", "pay-db/migrate"));
}

#[test]
fn a_teams_policy_for_jobs_outside_the_teams_jobs_is_found() {
    let found = |when: &str| {
        let pay = PAY.replace("ref: refs/heads/main", when);
        let dir = folder(&[("root.yaml", ROOT), ("teams/pay/pay.yaml", &pay)]);
        let loaded = PolicySet::load(dir.path()).unwrap();
        let mut findings = loaded.findings.iter();
        findings
            .find(|one| one.rule == "never-matches")
            .map(|one| one.message.clone())
    };
    insta::assert_snapshot!(found("repository: acme/pay, repository_id: \"702114999\"").unwrap(), @r##"policy `pay-db/main` requires `"702114999"`, which no job of its team has: the team's `jobs` have `["702114500", "702114501"]`"##);
    for never in [
        "repository: acme/pay, owner_id: \"1\"",
        "repository_id: { glob: \"8*\" }",
    ] {
        assert!(found(never).is_some(), "{never}");
    }
    for fine in [
        "repository: acme/pay, repository_id: \"702114501\"",
        "repository_id: [\"702114500\", \"7\"]",
        "repository: acme/pay",
    ] {
        assert_eq!(found(fine), None, "{fine}");
    }
}

/// T-120: one way out after the other, each with the place of the limit.
#[test]
fn a_teams_credential_reaches_only_what_its_limits_list() {
    for (from, to, expected) in [
        (
            "group: pay_owner",
            "group: app_owner",
            "`group` is `app_owner`, which team `pay` may not use",
        ),
        (
            "group: pay_owner",
            "group: PAY_OWNER",
            "`group` is `PAY_OWNER`, which team `pay` may not use",
        ),
        (
            "group: pay_owner",
            "group: \"pay_*\"",
            "`group` is `pay_*`, which team `pay` may not use",
        ),
        (
            "database: pay, ",
            "database: shop, ",
            "`database` is `shop`, which team `pay` may not use",
        ),
        (
            "database: pay, ",
            "",
            "key `database` is missing: team `pay` must choose it",
        ),
        (
            "target: pay-db",
            "target: app-db",
            "team `pay` may not use target `app-db`",
        ),
        (
            "target: pay-db",
            "target: jwt",
            "`target` of credential `pay-db/migrate` is `jwt`, which is the name of a kind",
        ),
        (
            "target: pay-db",
            "target: hosts",
            "team `pay` may not choose `database`",
        ),
        (
            "deploy.acme.dev/pay\"",
            "deploy.acme.dev\"",
            "`audience` is `https://deploy.acme.dev`, which team `pay` may not use",
        ),
        (
            "deploy.acme.dev/pay\"",
            "deploy.acme.dev/pay/../shop\"",
            "which team `pay` may not use",
        ),
        (
            "purpose: migrations, class: moderate",
            "purpose: migrations, class: low",
            "expected at least `moderate` for target `pay-db`",
        ),
        (
            "owner: team-pay, purpose: calls",
            "owner: team-app, purpose: calls",
            "`owner` of credential `pay-api/call` is `team-app`, expected `team-pay`",
        ),
        (
            "max_ttl: 30m",
            "max_ttl: 1h",
            "`max_ttl` of credential `pay-db/migrate` is 1h, team `pay` may have at most 30m",
        ),
    ] {
        let file = PAY.replacen(from, to, 1);
        assert_ne!(file, PAY, "{from}");
        let said = said(&file);
        assert!(said.contains(expected), "{to}: {said}");
        assert!(
            said.contains("teams/pay/pay.yaml:"),
            "the violation: {said}"
        );
        assert!(
            said.contains(" at ") && said.contains("root.yaml:"),
            "the limit: {said}"
        );
    }
}

/// T-120: the keys besides target and audience that decide what is reached, one after the other.
#[test]
#[expect(clippy::too_many_lines, reason = "one key after the other")]
fn a_team_chooses_no_scope_extension_or_resource_and_drops_no_restriction() {
    const SSH: &str = "  pay-hosts/deploy: { kind: ssh, target: hosts, principals: [pay-deploy], KEYSmax_ttl: 10m, purpose: deployments, class: critical }\n";
    let company = |limits: [&str; 2], jwt: &str, ssh: &str| {
        let [of_jwt, of_ssh] = limits;
        let root = ROOT
            .replace(
                "acme.dev/pay\"], at_least",
                &format!("acme.dev/pay\"], {of_jwt}at_least"),
            )
            .replace(
                "[pay-deploy], at_least",
                &format!("[pay-deploy], {of_ssh}at_least"),
            );
        let pay = PAY
            .replace("max_ttl: 10m", &format!("{jwt}max_ttl: 10m"))
            .replace(
                "policies:\n",
                &format!("{}policies:\n", SSH.replace("KEYS", ssh)),
            );
        said_of(&[("root.yaml", &root), ("teams/pay/pay.yaml", &pay)])
    };
    let jwt = |limits, keys| company([limits, ""], keys, "");
    let ssh = |limits, keys| company(["", limits], "", keys);

    // What adds to the reach must be listed, and may be left out.
    let staging = "scopes: [\"deploy:staging\"], ";
    let pty = "extensions: [permit-pty], ";
    let uri = "resources: { glob: \"https://pay.acme.dev/**\" }, ";
    for said in [
        jwt("", ""),
        jwt(staging, ""),
        jwt(staging, staging),
        jwt(uri, "resource: \"https://pay.acme.dev/api\", "),
        jwt("", "algorithm: RS256, claims: [repository], "),
        ssh("", ""),
        ssh(pty, ""),
        ssh(pty, pty),
        ssh(uri, "resource: \"https://pay.acme.dev/hosts\", "),
    ] {
        assert_eq!(said, "");
    }
    for (said, expected) in [
        (
            jwt("", "scopes: [admin], "),
            "may not choose `scopes`: `scopes` is missing from `jwt`",
        ),
        (
            jwt(staging, "scopes: [\"deploy:staging\", admin], "),
            "`scopes` is `admin`, which team `pay` may not use",
        ),
        (
            jwt("", "resource: \"https://shop.acme.dev\", "),
            "may not choose `resource`: `resources` is missing from `jwt`",
        ),
        (
            jwt(uri, "resource: \"https://shop.acme.dev\", "),
            "`resource` is `https://shop.acme.dev`, which team `pay` may not use",
        ),
        (
            ssh("", "extensions: [permit-port-forwarding], "),
            "may not choose `extensions`: `extensions` is missing from `hosts`",
        ),
        (
            ssh(pty, "extensions: [permit-pty, permit-agent-forwarding], "),
            "`extensions` is `permit-agent-forwarding`, which team `pay` may not use",
        ),
    ] {
        assert!(said.contains(expected), "{said}");
        assert!(
            said.contains(" at ") && said.contains("root.yaml:"),
            "{said}"
        );
    }

    // What narrows it must be there once it is listed, and is the team's own choice otherwise.
    let command = "force_command: /usr/bin/deploy pay, ";
    let network = "source_address: [10.1.0.0/16, 10.2.0.0/16], ";
    for said in [
        ssh("", command),
        ssh("", network),
        ssh(command, command),
        ssh(network, network),
        ssh(network, "source_address: 10.2.0.0/16, "),
    ] {
        assert_eq!(said, "");
    }
    for (said, expected) in [
        (
            ssh(command, ""),
            "key `force_command` is missing: team `pay` must choose it",
        ),
        (
            ssh(command, "force_command: /bin/sh, "),
            "`force_command` is `/bin/sh`, which team `pay` may not use",
        ),
        (
            ssh(network, ""),
            "key `source_address` is missing: team `pay` must choose it",
        ),
        (
            ssh(network, "source_address: [], "),
            "key `source_address` is missing: team `pay` must choose it",
        ),
        (
            ssh(network, "source_address: [10.1.0.0/16, 10.3.0.0/16], "),
            "`source_address` is `10.3.0.0/16`, which team `pay` may not use",
        ),
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

/// T-120
#[test]
fn a_teams_credential_has_only_a_name_of_the_team() {
    for (from, to, expected) in [
        (
            "pay-api/call:",
            "api/call:",
            "team `pay` may not define a credential `api/call`",
        ),
        (
            "pay-api/call:",
            "Pay-api/call:",
            "team `pay` may not define a credential `Pay-api/call`",
        ),
        (
            "pay-api/call:",
            "pay-api:",
            "team `pay` may not define a credential `pay-api`",
        ),
        (
            "pay-api/call:",
            "ops-api/call:",
            "team `pay` may not define a credential `ops-api/call`",
        ),
        (
            "pay-api/call:",
            "root-api:",
            "team `pay` may not define a credential `root-api`",
        ),
    ] {
        let file = PAY.replacen(from, to, 1);
        assert_ne!(file, PAY, "{from}");
        let said = said(&file);
        assert!(said.contains(expected), "{to}: {said}");
        assert!(
            said.contains("teams/pay/pay.yaml:"),
            "the violation: {said}"
        );
        assert!(
            said.contains(" at ") && said.contains("root.yaml:"),
            "the limit: {said}"
        );
    }
}

#[test]
fn a_grant_of_others_points_at_the_team_that_may_not_give_it() {
    let said = said(&PAY.replace("credential: app-db/read", "credential: root-api"));
    let line = ROOT.lines().position(|line| line == "  pay:").unwrap() + 1;
    let expected = format!("the team is defined at root.yaml:{line}:3");
    assert!(said.contains(&expected), "{said}");
}

/// T-306: a team waives only rules that the root lists, and only what its own files cause.
#[test]
fn a_team_waives_only_the_rules_that_its_limits_list() {
    let pay = PAY.replace(
        "ref: refs/heads/main",
        "repository: acme/pay, repository_id: \"702114500\", trigger: pull_request",
    );
    let waiver = |rule: &str| {
        format!(
            "{pay}waive:\n  - {{ rule: {rule}, because: it only reads, until: 2099-01-01T00:00:00Z }}\n"
        )
    };
    let root = ROOT.replace(
        "may: { max_ttl: 30m }",
        "may: { max_ttl: 30m, waive: [extraordinary-trigger] }",
    );
    let fine = waiver("extraordinary-trigger");
    let expected = "team `pay` may not waive rule `extraordinary-trigger`";
    let refused = said(&fine);
    assert!(refused.contains(expected), "{refused}");
    assert!(refused.contains("teams/pay/pay.yaml:12:13"), "{refused}");
    assert!(
        refused.contains("limits of the team are at root.yaml:"),
        "{refused}"
    );
    let severity = |root: &str, pay: &str, rule: &str| {
        let dir = folder(&[("root.yaml", root), ("teams/pay/pay.yaml", pay)]);
        let loaded = PolicySet::load(dir.path()).unwrap_or_else(|errors| panic!("{errors}"));
        let mut findings = loaded.findings.iter();
        findings
            .find(|one| one.rule == rule)
            .map(|one| one.severity)
    };
    let rule = "extraordinary-trigger";
    assert_eq!(severity(&root, &pay, rule), Some(Severity::Warning));
    assert_eq!(severity(&root, &fine, rule), Some(Severity::Note));
    // Another rule, and another team, are as before.
    let other = said_of(&[
        ("root.yaml", &root),
        ("teams/pay/pay.yaml", &waiver("name-without-id")),
    ]);
    assert!(
        other.contains("may not waive rule `name-without-id`"),
        "{other}"
    );
    let ops =
        "waive:\n  - { rule: extraordinary-trigger, because: so, until: 2099-01-01T00:00:00Z }\n";
    let other = said_of(&[("root.yaml", &root), ("teams/ops/ops.yaml", ops)]);
    assert!(other.contains("team `ops` may not waive"), "{other}");
    // A rule that does not exist is an error of the limits.
    let wrong = root.replace("[extraordinary-trigger]", "[extraordinary-triger]");
    let wrong = said_of(&[("root.yaml", &wrong), ("teams/pay/pay.yaml", PAY)]);
    assert!(wrong.contains("no rule `extraordinary-triger`"), "{wrong}");
    assert!(
        wrong.contains("did you mean `extraordinary-trigger`?"),
        "{wrong}"
    );
    assert_eq!(wrong.matches("error[").count(), 1, "{wrong}");
}

/// T-120: `uses` names targets and kinds without targets, and no target is named like a kind.
#[test]
fn a_kind_with_targets_is_no_entry_of_uses_and_no_name_of_a_target() {
    let root = ROOT.replace("      hosts: {", "      ssh: {");
    let said = said_of(&[("root.yaml", &root), ("teams/pay/pay.yaml", PAY)]);
    assert!(
        said.contains("`uses` of team `pay` names the kind `ssh`, expected one of its targets"),
        "{said}"
    );
    let root = ROOT.replace("target: app-db", "target: jwt");
    let said = said_of(&[("root.yaml", &root)]);
    assert!(
        said.contains("`target` of credential `app-db/read` is `jwt`, which is the name of a kind"),
        "{said}"
    );
}

/// An operator reads which facts fail: the conditions of a policy and of its team may be on one fact.
#[test]
fn explain_names_each_fact_that_fails_once() {
    let pay = PAY.replace(
        "ref: refs/heads/main",
        "repository: acme/pay, repository_id: \"702114500\", ref: refs/heads/main",
    );
    let claims = json!({
        "iss": "https://token.actions.githubusercontent.com",
        "repository": "acme/other", "repository_id": "9",
        "repository_owner": "acme", "repository_owner_id": "65923871",
        "ref": "refs/heads/main", "event_name": "push",
    });
    let dir = folder(&[
        ("policies/root.yaml", ROOT),
        ("policies/teams/pay/pay.yaml", &pay),
        ("claims.json", &claims.to_string()),
    ]);
    let args = [
        "policy",
        "explain",
        "--claims",
        "claims.json",
        "pay-db/migrate",
    ];
    let said = text(&hallpass(&args, dir.path()).stdout);
    assert!(
        said.contains("pay-db/main: fails repository, repository_id\n"),
        "{said}"
    );
}

/// T-120
#[test]
fn a_teams_policy_grants_only_its_own_and_borrowed_credentials() {
    for (from, to, expected) in [
        (
            "credential: app-db/read",
            "credential: root-api",
            "team `pay` may not grant credential `root-api`",
        ),
        (
            "ttl: 15m",
            "ttl: 45m",
            "`ttl` is 45m, team `pay` may grant at most 30m",
        ),
        (
            "credential: app-db/read, ttl: 30m",
            "credential: app-db/read, ttl: 1h",
            "`ttl` is 1h, team `pay` may grant at most 30m",
        ),
        (
            "name: pay-db/main",
            "name: main",
            "team `pay` may not define a policy `main`",
        ),
        (
            "issuer: github",
            "issuer: gitlab",
            "issuer `gitlab` is not one of team `pay`",
        ),
        (
            "issuer: github",
            "issuer: [github, gitlab]",
            "issuer `gitlab` is not one of team `pay`",
        ),
    ] {
        let file = PAY.replacen(from, to, 1);
        assert_ne!(file, PAY, "{from}");
        let said = said(&file);
        assert!(said.contains(expected), "{to}: {said}");
        assert!(said.contains("root.yaml:"), "the limit: {said}");
    }
    // Neither may a team grant what another team defines.
    let ops = PAY
        .replace("pay-", "ops-")
        .replace("pay-db/migrate", "ops-db/migrate");
    let said = said_of(&[
        ("root.yaml", ROOT),
        ("teams/pay/pay.yaml", PAY),
        (
            "teams/ops/ops.yaml",
            "policies:\n  - { name: ops-x/y, issuer: github, when: { ref: refs/heads/main }, grant: [ { credential: pay-db/migrate, ttl: 5m } ] }\n",
        ),
    ]);
    assert!(
        said.contains("team `ops` may not grant credential `pay-db/migrate`"),
        "{said}"
    );
    // Without `uses`, a team may define nothing.
    let said = said_of(&[("root.yaml", ROOT), ("teams/ops/ops.yaml", &ops)]);
    assert!(
        said.contains("team `ops` may not use target `ops-db`"),
        "{said}"
    );
}

/// T-120: whom to trust, what to require and who is a team is for the root.
#[test]
fn a_teams_file_has_no_other_sections() {
    for section in [
        "issuers:\n  own: { provider: generic, url: \"https://ci.acme.dev\", facts: { repository: /r } }\n",
        "require:\n  - { name: x, of: all, jobs: { ref: refs/heads/main }, because: so }\n",
        "teams:\n  pay: { folder: teams/pay, names: x, jobs: { issuer: github }, owner: x }\n",
    ] {
        let said = said(&format!("{PAY}{section}"));
        let name = section.split(':').next().unwrap();
        assert!(
            said.contains(&format!("`{name}` is not allowed in a team's file")),
            "{said}"
        );
        assert_eq!(
            said.matches("error[").count(),
            1,
            "no follow-on errors: {said}"
        );
    }
    assert!(said(&format!("{PAY}waive: []\n")).contains("error["));
    assert!(said(&format!("{PAY}time: x\n")).contains("unknown key `time`"));
}

/// T-120: YAML's own ways to take from elsewhere.
#[test]
fn a_team_cannot_borrow_by_alias_merge_or_a_second_document() {
    for text in [
        format!("{PAY}x: &a 1\n"),
        PAY.replace("group: pay_owner", "group: *group"),
        PAY.replace("group: pay_owner", "<<: { group: app_owner }"),
        PAY.replace("group: pay_owner", "group: !!str app_owner"),
        PAY.replace("group: pay_owner", "group: pay_owner, group: app_owner"),
        format!("{PAY}---\nrequire: []\n"),
    ] {
        assert!(said(&text).contains("error["), "{text}");
    }
}

/// T-120, T-265
#[test]
fn a_teams_rosters_are_its_own_and_stay_within_its_limits() {
    let templated = |group: &str, each: &str| {
        format!(
            "rosters:\n  own: {{ key: id, file: own.csv }}\ncredentials:\n  \"pay-db/{{id}}\": {{ each: {each}, kind: postgres, target: pay-db, database: pay, group: \"{group}\", max_ttl: 5m, purpose: p, class: moderate }}\n"
        )
    };
    let with = |file: &str, roster: &str| {
        said_of(&[
            ("root.yaml", ROOT),
            ("teams/pay/pay.yaml", file),
            ("teams/pay/own.csv", roster),
        ])
    };
    let file = templated("{group}", "{ roster: own }");
    assert_eq!(with(&file, "id,group\na,pay_ro\nb,pay_owner\n"), "");
    let said = with(&file, "id,group\na,pay_ro\nb,app_owner\n");
    assert!(
        said.contains("`group` is `app_owner`, which team `pay` may not use"),
        "{said}"
    );
    assert!(said.contains("(row teams/pay/own.csv:3:1)"), "{said}");
    // A name is compared after it was filled in.
    let said = with(
        &file.replace("pay-db/{id}", "{id}"),
        "id,group\nroot-api,pay_ro\n",
    );
    assert!(
        said.contains("team `pay` may not define a credential `root-api`"),
        "{said}"
    );
    let said = with(
        &templated("pay_ro", "{ roster: everything }"),
        "id,group\na,b\n",
    );
    assert!(said.contains("a team uses only its own rosters"), "{said}");
    for path in [
        "../../apps.csv",
        "/etc/passwd",
        ".hidden.csv",
        "../ops/own.csv",
    ] {
        let said = with(&file.replace("own.csv", path), "id,group\na,b\n");
        assert!(
            said.contains("expected a path within the folder"),
            "{path}: {said}"
        );
    }
    // The root does not read what a team could change.
    let root = ROOT.replace(
        "rows: [ { id: \"1\", group: pay_owner } ]",
        "file: teams/pay/own.csv",
    );
    let said = said_of(&[
        ("root.yaml", &root),
        ("teams/pay/own.csv", "id,group\n1,x\n"),
    ]);
    assert!(
        said.contains("`teams/pay/own.csv` is in the folder of team `pay`, which could change it"),
        "{said}"
    );
    let root = ROOT.replace(
        "tenants: [ { owner: acme, owner_id: \"1\" } ]",
        "url: \"https://gitlab.acme.dev\", ca: teams/pay/ca.pem",
    );
    let said = said_of(&[
        ("root.yaml", &root),
        ("teams/pay/ca.pem", "-----BEGIN CERTIFICATE-----\n"),
    ]);
    assert!(
        said.contains("`teams/pay/ca.pem` is in the folder of team `pay`"),
        "{said}"
    );
}

/// T-120, T-266: a link must not make one's file another's.
#[test]
fn a_link_gives_a_team_no_file_of_others_and_others_no_file_of_a_team() {
    let company = || {
        folder(&[
            ("root.yaml", ROOT),
            (
                "app.yaml",
                "policies:\n  - { name: app, issuer: github, when: { repository_id: \"1\" }, grant: [ { credential: root-api, ttl: 5m } ] }\n",
            ),
            ("teams/pay/pay.yaml", PAY),
            (
                "teams/ops/ops.yaml",
                "rosters:\n  r: { key: id, file: r.csv }\n",
            ),
            ("teams/ops/r.csv", "id\na\n"),
            ("extra/notes.txt", "x"),
        ])
    };
    assert_eq!(said_in(company().path()), "");
    for (target, link) in [
        ("../pay/pay.yaml", "teams/ops/x.yaml"),
        ("../../app.yaml", "teams/ops/x.yaml"),
        ("teams/pay/pay.yaml", "x.yaml"),
        ("../pay", "teams/ops/sub"),
        ("../../extra", "teams/ops/sub"),
        ("../teams/pay", "extra/pay"),
    ] {
        let dir = company();
        write(dir.path(), "extra/more.csv", "id\n");
        symlink(target, dir.path().join(link)).unwrap();
        if target.ends_with("extra") {
            write(dir.path(), "extra/x.yaml", PAY);
        }
        let said = said_in(dir.path());
        assert!(said.contains("error["), "{link} -> {target}: {said}");
    }
    let dir = company();
    fs::remove_file(dir.path().join("teams/ops/r.csv")).unwrap();
    write(dir.path(), "teams/pay/r.csv", "id\na\n");
    symlink("../pay/r.csv", dir.path().join("teams/ops/r.csv")).unwrap();
    let said = said_in(dir.path());
    assert!(said.contains("in the folder of team `pay`"), "{said}");
    // Two teams must not have one folder, by a link or as one within the other.
    let dir = company();
    fs::remove_dir_all(dir.path().join("teams/ops")).unwrap();
    symlink("pay", dir.path().join("teams/ops")).unwrap();
    let said = said_in(dir.path());
    assert!(
        said.contains("the folder `teams/ops` of team `ops` is also that of team `pay`"),
        "{said}"
    );
    let said = said_of(&[("root.yaml", &ROOT.replace("teams/ops", "teams/pay/ops"))]);
    assert!(said.contains("is also that of team `pay`"), "{said}");
}

/// Kubernetes mounts every file as a link into a hidden folder.
#[test]
fn a_teams_folder_may_be_a_link_of_the_whole_mount() {
    let dir = folder(&[
        ("..2026/root.yaml", ROOT),
        ("..2026/teams/pay/pay.yaml", PAY),
    ]);
    symlink("..2026", dir.path().join("..data")).unwrap();
    symlink("..data/root.yaml", dir.path().join("root.yaml")).unwrap();
    symlink("..data/teams", dir.path().join("teams")).unwrap();
    assert_eq!(said_in(dir.path()), "");
}

/// T-120, T-266: names that differ in case, and folders that no team has.
#[test]
fn a_file_in_a_folder_of_no_team_is_refused() {
    for name in [
        "teams/Pay/pay.yaml",
        "teams/pays/pay.yaml",
        "teams/x.yaml",
        "pay/pay.yaml",
    ] {
        let said = said_of(&[("root.yaml", ROOT), (name, PAY)]);
        assert!(
            said.contains("is in a sub-folder that no team has"),
            "{name}: {said}"
        );
        assert_eq!(said.matches("error[").count(), 1, "{said}");
    }
    let said = said_of(&[("root.yaml", ROOT), ("teams/pay/pay.yml", PAY)]);
    assert!(said.contains("does not end in `.yaml`"), "{said}");
}

/// T-120
#[test]
fn a_team_loosens_no_requirement_tenant_or_definition_of_others() {
    // The requirement on critical credentials binds a team's too.
    let critical = PAY.replace(
        "purpose: migrations, class: moderate",
        "purpose: migrations, class: critical",
    );
    let dir = folder(&[("root.yaml", ROOT), ("teams/pay/pay.yaml", &critical)]);
    let set = PolicySet::load(dir.path()).unwrap().set;
    assert!(
        !gets(&set, "702114500", "push", "pay-db/migrate"),
        "not hosted"
    );
    for (file, expected) in [
        (
            PAY.replace("policies:\n", "  app-db/read: { kind: postgres, target: pay-db, database: pay, group: pay_ro, max_ttl: 5m, purpose: p, class: moderate }\npolicies:\n"),
            "may not define a credential `app-db/read`",
        ),
        (PAY.replace("issuer: github\n", "issuer: github\n    tenants: []\n"), "unknown key `tenants`"),
        (PAY.replace("issuer: github\n", "issuer: github\n    unless: { ref: x }\n"), "unknown key `unless`"),
        (PAY.replace("max_ttl: 30m,", "max_ttl: 30m, scopes: [x],"), "unknown key `scopes`"),
    ] {
        assert!(said(&file).contains(expected), "{file}");
    }
    // A shadowed policy of a team has no effect either.
    let shadowed = PAY.replace(
        "    when:",
        "    shadow_until: 2027-01-31T18:00:00Z\n    when:",
    );
    let dir = folder(&[("root.yaml", ROOT), ("teams/pay/pay.yaml", &shadowed)]);
    let set = PolicySet::load(dir.path()).unwrap().set;
    assert!(!gets(&set, "702114500", "push", "pay-db/migrate"));
}

/// T-120
#[test]
fn the_root_uses_no_name_of_a_team() {
    let root = ROOT.replace("  root-api:", "  pay-root/api:");
    let said = said_of(&[("root.yaml", &root)]);
    assert!(
        said.contains("the name of credential `pay-root/api` belongs to team `pay`"),
        "{said}"
    );
    let said = said_of(&[
        ("root.yaml", ROOT),
        (
            "more.yaml",
            "policies:\n  - { name: pay-x/y, issuer: github, when: { repository_id: \"1\" }, grant: [ { credential: root-api, ttl: 5m } ] }\n",
        ),
    ]);
    assert!(
        said.contains("the name of policy `pay-x/y` belongs to team `pay`"),
        "{said}"
    );
}

#[test]
fn what_the_root_says_of_a_team_is_checked() {
    for (from, to, expected) in [
        (
            "folder: teams/pay",
            "folder: ../pay",
            "expected a folder within that of the policies",
        ),
        (
            "folder: teams/pay",
            "folder: /teams/pay",
            "expected a folder within that of the policies",
        ),
        (
            "folder: teams/pay",
            "folder: teams/.pay",
            "expected a folder within that of the policies",
        ),
        (
            "folder: teams/pay",
            "folder: .",
            "expected a folder within that of the policies",
        ),
        (
            "    folder: teams/pay\n",
            "",
            "key `folder` is missing from team `pay`",
        ),
        (
            "    owner: team-pay\n",
            "",
            "key `owner` is missing from team `pay`",
        ),
        (
            "issuer: github, owner_id",
            "owner_id",
            "key `issuer` is missing from `jobs` of team `pay`",
        ),
        (
            "issuer: github, owner_id",
            "issuer: [github, gitlab], owner_id",
            "which has several issuers",
        ),
        (
            "issuer: github, owner_id",
            "issuer: githab, owner_id",
            "unknown issuer `githab`",
        ),
        (
            "issuer: github, owner_id",
            "issuer: github, service_connection: x, owner_id",
            "do not tell `service_connection`",
        ),
        (
            "\"ops-*/**\"",
            "\"*-db/**\"",
            "names of team `ops` may be names of team `pay`",
        ),
        (
            "groups: [pay_ro, pay_owner], at_least: moderate",
            "groups: [pay_ro]",
            "key `at_least` is missing",
        ),
        ("databases: [pay]", "scopes: [pay]", "unknown key `scopes`"),
        (
            "audiences: [",
            "groups: [x], audiences: [",
            "unknown key `groups`",
        ),
        (
            "borrows: [app-db/read]",
            "borrows: [app-db/reed]",
            "unknown credential `app-db/reed` in `borrows`",
        ),
        (
            "may: { max_ttl: 30m }",
            "may: { max_tll: 30m }",
            "unknown key `max_tll`",
        ),
    ] {
        let root = ROOT.replacen(from, to, 1);
        assert_ne!(root, ROOT, "{from}");
        let said = said_of(&[("root.yaml", &root), ("teams/pay/pay.yaml", PAY)]);
        assert!(said.contains(expected), "{to}: {said}");
        assert!(!said.contains("sub-folder"), "no follow-on errors: {said}");
    }
}

/// T-120: as a reviewer sees it.
#[test]
fn check_shows_the_violation_and_the_limit() {
    let file = PAY.replace("group: pay_owner", "group: app_owner");
    let dir = folder(&[
        ("policies/root.yaml", ROOT),
        ("policies/teams/pay/pay.yaml", &file),
    ]);
    let output = hallpass(&["policy", "check", "policies"], dir.path());
    assert_eq!(output.status.code(), Some(4));
    insta::assert_snapshot!(text(&output.stdout), @r"
    error[team-limit]: `group` is `app_owner`, which team `pay` may not use
     --> policies/teams/pay/pay.yaml:2:75
      |
    2 |   pay-db/migrate: { kind: postgres, target: pay-db, database: pay, group: app_owner, max_ttl: 30m, owner: team-pay, purpose: migrations, class: moderate }
      |                                                                           ^^^^^^^^^
      = help: the limit is at policies/root.yaml:10:43

    policies: 1 error
    ");
}
