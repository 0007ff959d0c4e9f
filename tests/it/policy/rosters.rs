//! Rosters: one text for many repositories, with errors at template and row.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::policy::{Ask, Loaded, PolicySet};
use serde_json::{Value, json};

use super::{folder, repository, rules, write};
use crate::provider::object;

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

const COMPANY: &str = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
rosters:
  apps: { key: repository_id, file: apps.csv }
credentials:
  "{app}-db/migrate-{tier}":
    each: { roster: apps, tier: [dev, staging, production] }
    kind: postgres
    target: "{app}-{tier}"
    group: "{app}_owner"
    act_as_group: true
    max_ttl: 15m
    owner: team-platform
    purpose: migrations of {app}
    class: moderate
policies:
  - name: "{app}-migrate-{tier}"
    each: { roster: apps, tier: [dev, staging, production] }
    issuer: github
    when: { repository: "{repository}", repository_id: "{repository_id}", environment: "{tier}", ref: refs/heads/main }
    grant: [ { credential: "{app}-db/migrate-{tier}", ttl: 15m } ]
"#;

/// A roster of so many applications.
fn apps(count: usize) -> String {
    let rows = (1..=count).map(|number| {
        let id = 702_114_000 + number;
        format!("app{number},acme/app{number},{id}\n")
    });
    std::iter::once("app,repository,repository_id\n".to_owned())
        .chain(rows)
        .collect()
}

fn load(files: &[(&str, &str)]) -> Result<Loaded, String> {
    PolicySet::from_texts(files).map_err(|errors| errors.to_string())
}

fn set(files: &[(&str, &str)]) -> PolicySet {
    load(files).unwrap_or_else(|errors| panic!("{errors}")).set
}

/// The error of a company with this roster, without paths of this machine.
fn refused(company: &str, roster: &str) -> String {
    load(&[("root.yaml", company), ("apps.csv", roster)]).unwrap_err()
}

fn job(repository: &str, id: &str, environment: &str) -> Value {
    json!({
        "iss": "https://token.actions.githubusercontent.com",
        "repository": repository, "repository_id": id,
        "repository_owner": "acme", "repository_owner_id": "65923871",
        "ref": "refs/heads/main", "environment": environment, "event_name": "push",
    })
}

fn gets(set: &PolicySet, job: &Value, credential: &str) -> bool {
    let reader = set.readers().first().unwrap();
    let facts = reader.facts(object(job)).unwrap();
    let ask = Ask {
        credential: credential.to_owned(),
        ..Ask::default()
    };
    set.explain(&facts, &ask, NOW).is_permitted()
}

#[test]
fn forty_repositories_in_three_environments_take_fewer_than_forty_lines() {
    assert!(COMPANY.lines().count() < 40);
    let set = set(&[("root.yaml", COMPANY), ("apps.csv", &apps(40))]);
    assert_eq!(set.credentials().count(), 120);
    assert_eq!(set.policies().len(), 120);
    let first = set.credential("app1-db/migrate-dev").unwrap();
    assert_eq!(first.target(), Some("app1-dev"));
    assert_eq!(first.purpose, "migrations of app1");
    assert_eq!(first.max_ttl, Duration::from_secs(900));
    let job = job("acme/app7", "702114007", "staging");
    assert!(gets(&set, &job, "app7-db/migrate-staging"));
    for other in ["app7-db/migrate-production", "app8-db/migrate-staging"] {
        assert!(!gets(&set, &job, other), "{other}");
    }
}

/// A law of the language: expansion equals writing it out.
#[test]
fn an_expanded_entry_is_the_same_as_the_written_one() {
    let expanded = set(&[("root.yaml", COMPANY), ("apps.csv", &apps(3))]);
    let (head, rest) = COMPANY.split_once("rosters:\n").unwrap();
    let (credentials, policies) = rest.split_once("policies:\n").unwrap();
    let credential = credentials.split_once("credentials:\n").unwrap().1;
    let (mut made, mut allowed) = (String::new(), String::new());
    for number in 1..=3 {
        for tier in ["dev", "staging", "production"] {
            let fill = |text: &str| {
                text.lines()
                    .filter(|line| !line.trim().starts_with("each:"))
                    .map(|line| {
                        line.replace("{repository_id}", &format!("{}", 702_114_000 + number))
                            .replace("{repository}", &format!("acme/app{number}"))
                            .replace("{app}", &format!("app{number}"))
                            .replace("{tier}", tier)
                            + "\n"
                    })
                    .collect::<String>()
            };
            made.push_str(&fill(credential));
            allowed.push_str(&fill(policies));
        }
    }
    let text = format!("{head}credentials:\n{made}policies:\n{allowed}");
    let written = set(&[("root.yaml", &text)]);
    assert_eq!(expanded.policies(), written.policies());
    let all = |set: &PolicySet| set.credentials().cloned().collect::<Vec<_>>();
    assert_eq!(all(&expanded), all(&written));
}

/// T-260
#[test]
fn a_cell_is_exact_text_and_never_a_pattern_or_another_type() {
    let company = COMPANY.replace(
        "ref: refs/heads/main",
        "ref: { glob: \"refs/heads/{app}-*\" }",
    );
    let star = "app,repository,repository_id\na*,acme/a,1\n";
    let said = refused(&company, star);
    assert!(
        said.contains("`app` is `a*`, which must not contain `*` where it fills in a `glob`"),
        "{said}"
    );
    let company = COMPANY.replace(
        "repository: \"{repository}\"",
        "owner: { under: \"{repository}\" }",
    );
    for cell in ["acme/*", "acme/"] {
        let said = refused(
            &company,
            &format!("app,repository,repository_id\na,{cell},1\n"),
        );
        assert!(
            said.contains("which must not contain `*` or end in `/`"),
            "{said}"
        );
    }
    // As exact text, a star is a star.
    let set = set(&[
        ("root.yaml", COMPANY),
        (
            "apps.csv",
            "app,repository,repository_id\na,acme/*,702114001\n",
        ),
    ]);
    assert!(!gets(
        &set,
        &job("acme/a", "702114001", "dev"),
        "a-db/migrate-dev"
    ));
    // Text of a cell is never a boolean, a time or a second placeholder.
    let company = COMPANY.replace("act_as_group: true", "act_as_group: \"{app}\"");
    let said = refused(&company, "app,repository,repository_id\ntrue,acme/a,1\n");
    assert!(said.contains("must be `true` or `false`"), "{said}");
    let company = COMPANY.replace(
        "    issuer: github\n    when",
        "    issuer: github\n    until: \"{app}\"\n    when",
    );
    let said = refused(
        &company,
        "app,repository,repository_id\n2027-01-31T18:00:00Z,acme/a,1\n",
    );
    assert!(said.contains("`until`"), "{said}");
    let said = refused(
        COMPANY,
        "app,repository,repository_id\n{repository},acme/a,1\n",
    );
    assert!(said.contains("which must not contain `{` or `}`"), "{said}");
}

/// T-261
#[test]
fn an_error_points_at_the_template_and_at_the_row() {
    let roster =
        "app,repository,repository_id\nshop,acme/shop,702114500\nbad name,acme/bad,702114501\n";
    let company = COMPANY.replace(
        "policies:\n",
        "  other: { kind: jwt, audience: https://a.acme.dev, max_ttl: 5m, owner: o, purpose: p, class: low }\npolicies:\n",
    );
    let said = refused(&company, roster);
    let first: Vec<_> = said.lines().take(6).collect();
    insta::assert_snapshot!(first.join("\n"), @r#"
    error[name]: credential `bad name-db/migrate-dev` must be at most 128 letters, digits, `-`, `_`, `.` and `/`
     --> root.yaml:6:3 (row apps.csv:3:1)
      |
    6 |   "{app}-db/migrate-{tier}":
      |   ^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    let said = refused(
        COMPANY,
        "app,repository,repository_id\na,acme/a,1\na,acme/b,1\n",
    );
    assert!(
        said.contains("two rows of roster `apps` have the `repository_id` `1`"),
        "{said}"
    );
    assert!(
        said.contains("apps.csv:3:1") && said.contains("the other row is at apps.csv:2:1"),
        "{said}"
    );
    let said = refused(
        COMPANY,
        "app,repository,repository_id\na,acme/a,1\na,acme/b,2\n",
    );
    assert!(
        said.contains("credential `a-db/migrate-dev` is defined twice"),
        "{said}"
    );
    assert!(said.contains("root.yaml:6:3 (row apps.csv:3:1)"), "{said}");
    assert!(
        said.contains("the other definition is at root.yaml:6:3 (row apps.csv:2:1)"),
        "{said}"
    );
}

/// T-261
#[test]
fn a_mistake_of_a_template_is_reported_once_or_for_the_first_rows() {
    let company = COMPANY.replace("{app}_owner", "{appp}_owner");
    let said = refused(&company, &apps(3_000));
    assert_eq!(said.matches("unknown column `appp`").count(), 1, "{said}");
    assert!(said.contains("did you mean `{app}`?"), "{said}");
    assert_eq!(
        said.matches("error[").count(),
        1,
        "no follow-on errors: {said}"
    );
    let company = COMPANY.replace("max_ttl: 15m", "max_ttl: 15 minutes");
    let said = refused(&company, &apps(3_000));
    assert_eq!(said.matches("error[duration]").count(), 3, "{said}");
    assert!(
        said.contains("8997 more rows have the same problem"),
        "{said}"
    );
    assert_eq!(
        said.matches("error[").count(),
        3,
        "no follow-on errors: {said}"
    );
}

/// T-261
#[test]
fn a_roster_that_is_not_a_table_is_refused_at_its_row() {
    for (roster, expected) in [
        ("", "`apps.csv` is empty"),
        ("app,repository,repository_id\n", "has a header but no rows"),
        (
            "app,repository\na,acme/a\n",
            "has no column `repository_id`",
        ),
        (
            "app,app,repository_id\na,b,1\n",
            "two columns are named `app`",
        ),
        ("app,,repository_id\na,b,1\n", "the column `` must be"),
        (
            "app,roster,repository_id\na,b,1\n",
            "the column `roster` must be",
        ),
        (
            "app,repository,repository_id\na,acme/a\n",
            "the row has 2 values, the header has 3",
        ),
        (
            "app,repository,repository_id\n\na,acme/a,1\n",
            "the row has 1 values, the header has 3",
        ),
        (
            "app,repository,repository_id\na,,1\n",
            "`repository` is empty",
        ),
        (
            "app,repository,repository_id\na,\"acme/a,1\n",
            "the quote that is opened here is not closed",
        ),
        (
            "app,repository,repository_id\na,acme/\u{430},1\n",
            "`repository` has characters outside printable ASCII",
        ),
        (
            "\u{feff}app,repository,repository_id\na,acme/a,1\n",
            "the column `\\u{feff}app` must be",
        ),
    ] {
        let said = refused(COMPANY, roster);
        assert!(said.contains(expected), "{roster:?}: {said}");
        assert_eq!(said.matches("error[").count(), 1, "{roster:?}: {said}");
    }
    let long = format!("app,repository,repository_id\na,{},1\n", "x".repeat(257));
    assert!(refused(COMPANY, &long).contains("`repository` has 257 bytes"));
}

#[test]
fn a_template_is_refused_where_it_says_nothing_or_too_much() {
    for (from, to, expected) in [
        ("{app}_owner", "{app_owner", "has `{` without a closing `}`"),
        (
            "{app}_owner",
            "app}_owner",
            "has `}` without an opening `{`",
        ),
        (
            "{app}_owner",
            "{}_owner",
            "has braces without the name of a column",
        ),
        (
            "group: \"{app}_owner\"",
            "group: {app}",
            "`{app}` without quotes is a mapping",
        ),
        (
            "environment: \"{tier}\"",
            "claim: { \"/{tier}\": x }",
            "the key `/{tier}` has a placeholder",
        ),
        ("roster: apps", "roster: appz", "unknown roster `appz`"),
        (
            "tier: [dev, staging, production]",
            "tier: [dev, dev]",
            "`dev` is given twice",
        ),
        (
            "tier: [dev, staging, production]",
            "app: [dev]",
            "the roster has a column `app` too",
        ),
        (
            "tier: [dev, staging, production]",
            "Tier: [dev]",
            "`Tier` in `each` is not the name of a column",
        ),
        ("tier: [dev, staging, production]", "tier: []", "is empty"),
        (
            "each: { roster: apps, tier: [dev, staging, production] }",
            "each: {}",
            "`each` is empty",
        ),
        (
            "    each: { roster: apps, tier: [dev, staging, production] }\n",
            "",
            "but the entry has no `each`",
        ),
        (
            "file: apps.csv",
            "file: ../apps.csv",
            "expected a path within the folder",
        ),
        (
            "file: apps.csv",
            "file: apps.csv, rows: [ { app: a } ]",
            "has both `file` and `rows`",
        ),
        ("file: apps.csv", "files: apps.csv", "unknown key `files`"),
    ] {
        let company = COMPANY.replacen(from, to, 1);
        assert_ne!(company, COMPANY, "{from}");
        let said = refused(&company, &apps(2));
        assert!(said.contains(expected), "{to}: {said}");
    }
}

/// T-260: `each` has no meaning elsewhere, so nothing else is filled in.
#[test]
fn issuers_and_requirements_have_no_rows() {
    let company = COMPANY.replace(
        "credentials:\n",
        "require:\n  - { name: r, each: { roster: apps }, of: all, jobs: { ref: \"{repository}\" }, because: so }\ncredentials:\n",
    );
    assert!(refused(&company, &apps(1)).contains("unknown key `each`"));
}

#[test]
fn rows_may_be_written_in_the_file_itself() {
    let rows = "rows: [ { app: a, repository: acme/a, repository_id: \"1\" }, { app: b, repository: acme/b, repository_id: \"2\" } ]";
    let company = COMPANY.replace("file: apps.csv", rows);
    let set = set(&[("root.yaml", &company)]);
    assert!(gets(&set, &job("acme/b", "2", "dev"), "b-db/migrate-dev"));
    for (from, to, expected) in [
        ("repository_id: \"2\"", "repository_id: 2", "quote it"),
        ("repository: acme/b, ", "", "key `repository` is missing"),
        ("app: b,", "app: b, more: x,", "unknown key `more`"),
    ] {
        let said = load(&[("root.yaml", &company.replacen(from, to, 1))]).unwrap_err();
        assert!(said.contains(expected), "{to}: {said}");
    }
}

/// T-262
#[test]
fn a_roster_file_is_read_like_a_policy_file() {
    let dir = folder(&[("root.yaml", COMPANY), ("apps.csv", &apps(2))]);
    assert_eq!(rules(dir.path()), [""; 0]);
    let before = PolicySet::load(dir.path())
        .unwrap()
        .set
        .revision()
        .to_owned();
    write(dir.path(), "apps.csv", &apps(3));
    let after = PolicySet::load(dir.path())
        .unwrap()
        .set
        .revision()
        .to_owned();
    assert_ne!(before, after, "a roster is part of the revision");
    let outside = folder(&[("apps.csv", &apps(2))]);
    fs::remove_file(dir.path().join("apps.csv")).unwrap();
    assert_eq!(rules(dir.path()), ["roster"], "a missing file");
    symlink(outside.path().join("apps.csv"), dir.path().join("apps.csv")).unwrap();
    assert_eq!(rules(dir.path()), ["roster"], "a link out of the folder");
}

/// T-263: the work of a roster grows with its rows, and one text cannot grow without limit.
#[test]
fn a_roster_of_three_thousand_rows_loads() {
    let set = set(&[("root.yaml", COMPANY), ("apps.csv", &apps(3_000))]);
    assert_eq!(set.policies().len(), 9_000);
    let job = job("acme/app2999", "702116999", "production");
    assert!(gets(&set, &job, "app2999-db/migrate-production"));
    let before = set.work().candidates;
    assert!(gets(&set, &job, "app2999-db/migrate-production"));
    assert!(
        set.work().candidates - before <= 3,
        "the index finds the policies of a repository"
    );
}

/// T-263
#[test]
fn what_rosters_write_out_is_limited() {
    let bomb = "[a, b, c, d, e, f, g, h, i, j]";
    let columns: Vec<_> = (0..9).map(|number| format!("c{number}: {bomb}")).collect();
    let each = format!("each: {{ {} }}", columns.join(", "));
    let company = COMPANY
        .replace(
            "each: { roster: apps, tier: [dev, staging, production] }",
            &each,
        )
        .replace("{app}", "{c0}")
        .replace("{tier}", "{c1}")
        .replace("{repository}", "{c2}")
        .replace("{repository_id}", "{c3}");
    let said = refused(&company, &apps(1));
    assert!(
        said.contains("`each` makes more than 100000 entries"),
        "{said}"
    );
    assert_eq!(said.matches("error[").count(), 2, "{said}");
}

#[test]
fn the_worked_example_of_this_repository_has_a_roster() {
    let set = PolicySet::load(&repository().join("policies")).unwrap().set;
    assert!(
        set.policies()
            .iter()
            .any(|policy| policy.place.row().is_some())
    );
}
