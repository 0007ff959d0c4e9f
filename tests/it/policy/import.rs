//! `hallpass policy import`, by the real binary: what it prints loads, and lets in no job that the other
//! system kept out.

use std::process::Output;

use hallpass::policy::PolicySet;
use tempfile::TempDir;

use super::{folder, hallpass, text};

const ROOT: &str = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
  gitlab: { provider: gitlab, url: https://gitlab.com, tenants: [ { owner: acme, owner_id: "9133570" } ] }
credentials:
  deploy-api: { kind: jwt, audience: https://app.acme.dev, max_ttl: 1h, owner: team-app, purpose: calls, class: low }
"#;

const ROLE: &str = r#"{ "request_id": "1", "data": {
  "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["https://vault.acme.dev"],
  "bound_claims_type": "glob",
  "bound_claims": {
    "repository_owner": "acme",
    "repository": ["acme/shop", "acme/web"],
    "ref": "refs/heads/*",
    "event_name": ["push", "pull_request"],
    "ref_protected": true,
    "runner_environment": "github-hosted",
    "job_workflow_ref": "acme/ci/.github/workflows/deploy.yml@refs/heads/main",
    "workflow": "deploy"
  },
  "token_policies": ["default", "shop-db", "shop-more"], "token_ttl": 7200 } }"#;

const POLICY: &str = r#"# Logins and some secrets.
path "database/creds/shop" { capabilities = ["read"] }
path "database/creds/other-*" { capabilities = ["read"] }
path "secret/data/shop/*" {
  capabilities = ["read", "list"]
}
path "auth/token/renew-self" { capabilities = ["update"] }
path "sys/*" { capabilities = ["deny"] }
"#;

const DATABASE: &str = r#"{ "data": { "db_name": "shop-db", "default_ttl": 900, "max_ttl": 86400, "creation_statements": [
  "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT shop_owner TO \"{{name}}\";"] } }"#;

/// The output of an import of these files, by their names.
fn import(files: &[(&str, &str)], more: &[&str]) -> (TempDir, Output) {
    let dir = folder(files);
    let mut arguments = vec!["policy", "import"];
    arguments.extend(more);
    let output = hallpass(&arguments, dir.path());
    (dir, output)
}

/// What is printed, if it loads beside issuers.
fn loaded(output: &Output) -> (String, PolicySet) {
    let printed = text(&output.stdout);
    let leaves_all_out = printed.contains(" is left out: ") && !printed.contains("\npolicies:\n");
    let code = if leaves_all_out { 4 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    let loaded = PolicySet::from_texts(&[("root.yaml", ROOT), ("imported.yaml", &printed)]);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
    (printed, loaded.set)
}

#[test]
fn a_role_of_vault_becomes_a_policy_and_a_login() {
    let files = [
        ("shop.json", ROLE),
        ("shop-db.hcl", POLICY),
        ("db/shop.json", DATABASE),
    ];
    let (_dir, output) = import(
        &files,
        &["vault", "shop.json", "shop-db.hcl", "db/shop.json"],
    );
    let (printed, set) = loaded(&output);
    insta::assert_snapshot!(printed, @r##"
    # Imported from the JWT role `shop` of Vault or OpenBao. Read every line before you use it.
    #
    # NOT CARRIED OVER:
    #   - policy `shop-more` of the role was not given; save it with `vault policy read shop-more > shop-more.hcl`
    #   - `database/creds/other-*` (read): a policy of hallpass names each credential; import them one by one
    #   - `secret/data/shop/*` (read, list): hallpass issues nothing of this kind
    #   - `sys/*` (deny): hallpass has no rule that denies; what no policy grants is refused

    credentials:
      shop:
        kind: postgres
        target: shop-db
        database: shop-db # not in Vault's role
        group: shop_owner
        max_ttl: 1h
        owner: CHANGE_ME
        purpose: "imported from Vault's `database/creds/shop`"
        class: moderate

    policies:
      # the audience there was https://vault.acme.dev; jobs now ask their CI for the broker's URL
      # the lifetime was 2h; jobs request a new credential instead
      - name: shop
        issuer: github
        when:
          event: [push, pull_request]
          # outsiders can start such runs: hallpass lets them in only where a policy names the trigger
          trigger: [pull_request, push]
          job_workflow: { path: acme/ci/.github/workflows/deploy.yml, ref: refs/heads/main }
          ref: { glob: "refs/heads/**" }
          # a boolean here, text in the token
          ref_protected: true
          repository: [acme/shop, acme/web]
          owner: acme
          runner: hosted
          claim:
            "/workflow": deploy
        grant:
          - { credential: shop, ttl: 15m }
    "##);
    insta::assert_snapshot!(text(&output.stderr), @r##"
    hallpass: 4 not carried over:
      - policy `shop-more` of the role was not given; save it with `vault policy read shop-more > shop-more.hcl`
      - `database/creds/other-*` (read): a policy of hallpass names each credential; import them one by one
      - `secret/data/shop/*` (read, list): hallpass issues nothing of this kind
      - `sys/*` (deny): hallpass has no rule that denies; what no policy grants is refused
    "##);
    assert_eq!(set.policies().len(), 1);
}

#[test]
fn a_trust_policy_of_aws_becomes_a_policy_for_each_statement() {
    let role = r#"{ "Role": { "RoleName": "deploy", "Arn": "arn:aws:iam::123456789012:role/deploy",
      "MaxSessionDuration": 3600, "AssumeRolePolicyDocument": { "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "Federated": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" },
          "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {
            "StringEquals": { "token.actions.githubusercontent.com:aud": "sts.amazonaws.com" },
            "StringLike": { "token.actions.githubusercontent.com:sub": ["repo:acme/shop:ref:refs/heads/*", "repo:acme/web:environment:production"] } } },
        { "Effect": "Allow", "Principal": { "Federated": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" },
          "Action": ["sts:AssumeRoleWithWebIdentity"], "Condition": {
            "StringNotLike": { "token.actions.githubusercontent.com:ref": "refs/heads/x*" },
            "StringEquals": { "token.actions.githubusercontent.com:sub": "repo:acme/shop:environment:production" } } },
        { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::123456789012:root" }, "Action": "sts:AssumeRole" } ] } } }"#;
    let (_dir, output) = import(&[("deploy.json", role)], &["aws", "deploy.json"]);
    let (printed, _) = loaded(&output);
    insta::assert_snapshot!(printed, @r##"
    # Imported from the trust policy of the AWS role `deploy`. Read every line before you use it.
    #
    # NOT CARRIED OVER:
    #   - policy `deploy-2`: `StringNotLike` also lets tokens in that do not have the claim
    #   - statement 3: it allows sts:AssumeRole, which is not for tokens of a CI

    credentials:
      deploy:
        # add the broker as an OIDC provider in AWS, and let arn:aws:iam::123456789012:role/deploy trust it alone:
        # its `sub` is `credential/deploy`, its `aud` is `sts.amazonaws.com`
        kind: jwt
        audience: sts.amazonaws.com
        max_ttl: 1h
        owner: CHANGE_ME
        purpose: "sessions of arn:aws:iam::123456789012:role/deploy"
        class: moderate

    policies:
      - name: deploy
        issuer: github
        when:
          - repository: acme/shop
            ref: { glob: "refs/heads/**" }
            # GitHub writes the environment into `sub` instead, if the job has one
            environment: { present: false }
          - repository: acme/web
            # pull requests and other runs that outsiders can start stay refused: name them under `trigger` if they should get it
            environment: production
        grant:
          - { credential: deploy, ttl: 1h }

    # Policy deploy-2 is left out: `StringNotLike` also lets tokens in that do not have the claim.
    "##);
}

#[test]
fn a_trust_policy_of_octo_sts_grants_a_credential_of_ours() {
    let policy = "issuer: https://token.actions.githubusercontent.com
subject_pattern: repo:acme/shop:ref:refs/tags/v.+
claim_pattern:
  job_workflow_ref: acme/ci/\\.github/workflows/(build|deploy)\\.yml@refs/heads/main
permissions:
  contents: read
";
    let files = [("release.sts.yaml", policy)];
    let (_dir, output) = import(
        &files,
        &["octo-sts", "--credential", "deploy-api", "release.sts.yaml"],
    );
    let (printed, _) = loaded(&output);
    insta::assert_snapshot!(printed, @r##"
    # Imported from the trust policy `release` of octo-sts. Read every line before you use it.
    #
    # NOT CARRIED OVER:
    #   - `permissions` (contents: read): what a job gets is in the definition of `deploy-api`

    policies:
      # `+` fits at least one character there; `*` and `**` here also fit none
      - name: release
        issuer: github
        when:
          - repository: acme/shop
            ref: { glob: "refs/tags/v**" }
            # GitHub writes the environment into `sub` instead, if the job has one
            environment: { present: false }
            job_workflow: { path: acme/ci/.github/workflows/build.yml, ref: refs/heads/main }
          - repository: acme/shop
            ref: { glob: "refs/tags/v**" }
            # GitHub writes the environment into `sub` instead, if the job has one
            environment: { present: false }
            job_workflow: { path: acme/ci/.github/workflows/deploy.yml, ref: refs/heads/main }
        grant:
          - { credential: deploy-api, ttl: 15m }
    "##);

    let (_dir, output) = import(&files, &["octo-sts", "release.sts.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("--credential NAME"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_placeholder_that_was_left_over_is_an_error() {
    let files = [("shop.json", ROLE), ("shop-db.hcl", POLICY)];
    let (_dir, output) = import(&files, &["vault", "shop.json", "shop-db.hcl"]);
    let printed = text(&output.stdout);
    assert!(printed.contains("group: shop_CHANGE_ME"), "{printed}");
    let owned = printed.replace("owner: CHANGE_ME", "owner: team-shop");
    let done = owned.replace("shop_CHANGE_ME", "shop_owner");
    for (imported, found) in [
        (&printed, Some("has the placeholder `CHANGE_ME`")),
        (&owned, Some("has the placeholder `shop_CHANGE_ME`")),
        (&done, None),
    ] {
        let dir = folder(&[
            ("policies/root.yaml", ROOT),
            ("policies/imported.yaml", imported),
        ]);
        let output = hallpass(&["policy", "check"], dir.path());
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(
            said.contains("error[placeholder]"),
            found.is_some(),
            "{said}"
        );
        assert!(said.contains(found.unwrap_or("policies: ")), "{said}");
    }
}

/// T-290: a policy without one of its conditions would let more jobs in.
#[test]
fn a_condition_that_cannot_be_carried_over_leaves_its_policy_out() {
    let role = |change: &str| {
        format!(
            r#"{{ "data": {{ "user_claim": "sub", "bound_claims": {{ "repository": "acme/shop" }}, {change} }} }}"#
        )
    };
    for change in [
        r#""token_bound_cidrs": ["10.0.0.0/8"]"#,
        r#""bound_claims_type": "regex""#,
        r#""bound_subject": "repo:acme/shop""#,
        r#""bound_claims": { "repository": "acme/shop", "run_id": 7 }"#,
        r#""bound_claims": { "repository": "acme/shop", "ref": "main" }"#,
        r#""bound_claims": { "repository": "acme/sh[op" }, "bound_claims_type": "glob", "bound_subject": "repo:*""#,
        r#""bound_claims": {}"#,
        // Compared as written there: a star is a star, and no job has one.
        r#""bound_subject": "repo:acme/*:environment:prod""#,
        r#""bound_claims": { "sub": "repo:acme/shop:**" }"#,
        r#""bound_claims": { "job_workflow_ref": "acme/ci/.github/workflows/d.yml@**" }"#,
        // Of another shape than Vault writes: each could hold a condition.
        r#""bound_claims": ["repository"]"#,
        r#""bound_subject": ["repo:acme/shop:environment:prod"]"#,
        r#""bound_claims": { "repository": "acme/shop", "ref_protected": [] }"#,
        r#""token_bound_cidrs": { "a": "10.0.0.0/8" }"#,
    ] {
        let files = [("shop.json", role(change))];
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let (_dir, output) = import(
            &files,
            &["vault", "--credential", "deploy-api", "shop.json"],
        );
        let (printed, set) = loaded(&output);
        assert!(set.policies().is_empty(), "{change}: {printed}");
        assert!(printed.contains("NOT CARRIED OVER"), "{change}: {printed}");
        assert!(text(&output.stderr).contains("policy `shop`"), "{change}");
    }
}

/// T-290: a policy for another issuer, or with a condition in a shape that is not known, lets nobody in.
#[test]
fn a_policy_of_another_issuer_or_shape_is_left_out() {
    let octo = |lines: &str| format!("subject: repo:acme/shop:environment:prod\n{lines}\n");
    let aws = |host: &str, condition: &str| {
        format!(
            r#"{{ "Statement": [ {{ "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
              "Principal": {{ "Federated": "arn:aws:iam::1:oidc-provider/{host}" }}, "Condition": {condition} }} ] }}"#
        )
    };
    let github = "token.actions.githubusercontent.com";
    let sub = |sub: &str| format!(r#"{{ "StringEquals": {{ "{github}:sub": "{sub}" }} }}"#);
    for (name, system, text, is_kept) in [
        (
            "a.yaml",
            "octo-sts",
            octo("issuer: https://token.actions.githubusercontent.com"),
            true,
        ),
        (
            "b.yaml",
            "octo-sts",
            octo("issuer: https://idp.evil.example"),
            false,
        ),
        (
            "c.yaml",
            "octo-sts",
            octo("issuer: https://token.actions.githubusercontent.com\nclaim_pattern: [a]"),
            false,
        ),
        (
            "a.json",
            "aws",
            aws(github, &sub("repo:acme/shop:environment:prod")),
            true,
        ),
        (
            "b.json",
            "aws",
            aws("gitlab.com", &sub("repo:acme/shop:environment:prod")),
            false,
        ),
        (
            "c.json",
            "aws",
            aws(github, &sub("repo:acme/*:ref:refs/heads/main")),
            false,
        ),
        (
            "d.json",
            "aws",
            aws(github, r#"{ "Bool": [ { "x": "true" } ] }"#),
            false,
        ),
        ("e.json", "aws", aws(github, r#"["x"]"#), false),
    ] {
        let (_dir, output) = import(
            &[(name, &text)],
            &[system, "--credential", "deploy-api", name],
        );
        let (printed, set) = loaded(&output);
        assert_eq!(
            set.policies().len(),
            usize::from(is_kept),
            "{name}: {printed}"
        );
    }
}

/// T-290: text of another system stays in comments and in quotes.
#[test]
fn no_text_of_a_file_becomes_yaml_of_its_own() {
    let hostile = "x\npolicies:\n  - name: all\n    issuer: github";
    let role = serde_json::json!({ "data": {
        "user_claim": "sub",
        "bound_claims": { "repository": "acme/shop", "note": "a\" }, \"/b\": { present: true" },
        "bound_audiences": [hostile],
        "token_policies": [hostile],
    }});
    let policy = serde_json::json!({ "path": { (format!("secret/{hostile}")): { "capabilities": [hostile] } } });
    let files = [
        ("shop.json", role.to_string()),
        ("p.json", policy.to_string()),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    for more in [&["--credential", "deploy-api"][..], &[]] {
        let arguments = [&["vault", "shop.json", "p.json"], more].concat();
        let (_dir, output) = import(&files, &arguments);
        let (printed, set) = loaded(&output);
        let names: Vec<_> = set
            .policies()
            .iter()
            .map(|policy| policy.name.as_str())
            .collect();
        assert!(names.iter().all(|name| *name == "shop"), "{printed}");
        assert!(!printed.contains("\n  - name: all"), "{printed}");
    }
}

#[test]
fn what_is_no_such_file_is_said() {
    for (name, content, system, expected) in [
        ("a.json", "{}", "vault", "is none of"),
        ("a.hcl", "path {", "vault", "neither JSON nor HCL"),
        ("a.hcl", "x = 1", "vault", "has no `path"),
        ("a.json", ROLE, "octo-sts", "is no trust policy"),
        (
            "a.yaml",
            "issuer: https://x.test",
            "octo-sts",
            "is no trust policy",
        ),
        (
            "a.json",
            r#"{ "Statement": [ { "Effect": "Allow", "Action": "s3:*", "Resource": "*" } ] }"#,
            "aws",
            "no statement has a `Principal`",
        ),
        ("a.json", "[", "aws", "is not JSON"),
        ("a.json", "{}", "aws", "has no `Statement`"),
        ("a.yaml", "- x", "octo-sts", "expected a mapping"),
    ] {
        let (_dir, output) = import(
            &[(name, content)],
            &[system, "--credential", "deploy-api", name],
        );
        assert_eq!(
            output.status.code(),
            Some(5),
            "{content}: {}",
            text(&output.stderr)
        );
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{content}: {said}");
    }
}

/// A script that imports must not take a file without a policy for a result.
#[test]
fn an_import_that_carries_nothing_over_fails() {
    let policy = "issuer: https://token.actions.githubusercontent.com
subject_pattern: repo:acme/shop:ref:refs/tags/v.+
claim_pattern:
  job_workflow_ref: (?i)x
permissions:
  contents: read
";
    let (_dir, output) = import(
        &[("shop.sts.yaml", policy)],
        &["octo-sts", "--credential", "deploy-api", "shop.sts.yaml"],
    );
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let told = text(&output.stderr);
    assert!(told.contains("no policy could be imported"), "{told}");
    assert!(text(&output.stdout).contains("is left out"), "{output:?}");
}
