//! Hostile brokers, token services and inputs.

use std::fs;

use serde_json::json;

use super::runner::{Job, Ran};
use crate::client::fake::{Fake, LEASE, PASSWORD, Reply, login, token_for};

const HOSTILE: &str = "x\r\n::set-output name=credentials::y\n::add-mask::a\n##[add-mask]e\u{1b}[2J\u{202e}<script>\nPATH=/tmp";

fn at(fake: &Fake) -> Job {
    let mut job = Job::new(&fake.url(), "shop-db/migrate");
    job.tokens(&format!("{}/idtoken", fake.url()), "canary-3b1f90ad27");
    job
}

/// Only commands of ours are in the log, and no control character.
fn is_harmless(job: &Job, ran: &Ran) {
    for command in &ran.commands {
        let known = ["add-mask", "error", "warning"].contains(&command.name.as_str());
        assert!(known, "{}", ran.log);
        assert!(!command.text.contains('\u{1b}') && !command.text.contains('\u{202e}'));
    }
    let masks = ran.texts("add-mask");
    assert!(!masks.contains(&"a") && !masks.contains(&"e"), "{masks:?}");
    let names = |file| job.entries(file).into_keys().collect::<Vec<_>>();
    assert!(!names("ENV").contains(&"PATH".to_owned()));
    let outputs = names("OUTPUT");
    assert!(
        outputs
            .iter()
            .all(|name| name == "credentials" || name == "leases")
    );
    let summary = fs::read_to_string(job.path("STEP_SUMMARY")).unwrap();
    assert!(!summary.contains("<script>"), "{summary}");
}

/// T-204
#[test]
fn a_refusal_of_a_hostile_broker_commands_nothing() {
    let fake = Fake::start();
    let condition = json!({ "policy": HOSTILE, "fact": HOSTILE, "expected": HOSTILE, "actual": HOSTILE, "hint": HOSTILE });
    let refusal = json!({
        "error": HOSTILE,
        "error_description": HOSTILE,
        "reason": HOSTILE,
        "request_id": HOSTILE,
        "failed_conditions": [condition, null, 3],
        "when": HOSTILE,
    });
    fake.next("/api/credentials", Reply::json(400, &refusal));
    let job = at(&fake);
    let ran = job.main();
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    is_harmless(&job, &ran);
    assert_eq!(ran.texts("error").len(), 1);
}

/// T-204, T-205
#[test]
fn a_credential_of_a_hostile_broker_sets_no_variable_of_its_own() {
    let set = |pointer: &str, value: serde_json::Value| {
        let mut answer = login("shop-db/migrate")["hallpass"].clone();
        *answer.pointer_mut(pointer).unwrap() = value;
        answer
    };
    let mut refused = vec![
        set("/credential/kind", json!("constructor")),
        set("/credential/kind", json!(HOSTILE)),
        set("/credential/name", json!(HOSTILE)),
        set("/credential/port", json!("5432")),
        set("/expires_at", json!(HOSTILE)),
        set("/credential", json!(null)),
    ];
    for name in [
        "host", "username", "database", "sslmode", "options", "password",
    ] {
        refused.push(set(&format!("/credential/{name}"), json!(HOSTILE)));
    }
    for name in ["policy", "policies_revision", "decision"] {
        refused.push(set(&format!("/{name}"), json!(HOSTILE)));
    }
    for answer in refused {
        let fake = Fake::start();
        fake.next("/api/credentials", Reply::json(200, &answer));
        let mut job = at(&fake);
        job.input("export-env", "true");
        let ran = job.main();
        assert_eq!(ran.code, Some(1), "{answer}: {}", ran.log);
        let names = job.entries("ENV");
        assert!(names.is_empty(), "{names:?}");
        // It was made all the same, so it is ended.
        assert_eq!(job.post().code, Some(0));
        assert_eq!(fake.asked("/revoke")[0].form["token"], LEASE);
    }
    let mut answer = login("shop-db/migrate")["hallpass"].clone();
    for name in [
        "PATH",
        "NODE_OPTIONS",
        "LD_PRELOAD",
        "BASH_ENV",
        "GITHUB_ENV",
        "__proto__",
    ] {
        answer["credential"][name] = json!("/tmp/evil");
    }
    let fake = Fake::start();
    fake.next("/api/credentials", Reply::json(200, &answer));
    let mut job = at(&fake);
    job.input("export-env", "true");
    let ran = job.main();
    assert_eq!(ran.code, Some(0), "{}", ran.log);
    is_harmless(&job, &ran);
    for (name, value) in job.entries("ENV") {
        assert!(name.starts_with("PG") || name == "DATABASE_URL", "{name}");
        assert!(!value.contains("evil"), "{name}");
    }
}

/// T-204, T-236
#[test]
fn a_link_of_a_hostile_broker_is_not_shown() {
    let fake = Fake::start();
    let page = |link: serde_json::Value| {
        let mut answer = login("shop-db/migrate")["hallpass"].clone();
        answer["policy_url"] = link;
        fake.next("/api/credentials", Reply::json(200, &answer));
        let job = at(&fake);
        let ran = job.main();
        assert_eq!(ran.code, Some(0), "{}", ran.log);
        let output = job.entries("OUTPUT")["credentials"].clone();
        (
            fs::read_to_string(job.path("STEP_SUMMARY")).unwrap(),
            output,
        )
    };
    let right = "https://git.acme.dev/acme/policies/blob/0a1b/shop.yaml#L7";
    let (summary, output) = page(json!(right));
    let cell = format!("<td><a href=\"{right}\">shop-migrate</a></td>");
    assert!(summary.contains(&cell), "{summary}");
    assert!(output.contains(right), "{output}");
    for link in [
        json!(HOSTILE),
        json!("javascript:alert(1)"),
        json!("https://evil.example/\" onclick=\"x"),
        json!("https://git.acme.dev@evil.example/"),
        json!("https://evil.example/)[x](https://evil.example"),
        json!(["https://evil.example/"]),
    ] {
        let (summary, output) = page(link);
        assert!(summary.contains("<td>shop-migrate</td>"), "{summary}");
        assert!(
            !summary.contains("href") && !output.contains("policy_url"),
            "{output}"
        );
    }
}

/// T-205
#[test]
fn a_prefix_makes_no_variable_of_the_runner() {
    let fake = Fake::start();
    for prefix in ["GITHUB", "runner", "ACTIONS_ID", "INPUT_", "1A", "A-B"] {
        let mut job = at(&fake);
        job.input("credentials", &format!("{prefix}=shop-db/migrate"));
        let ran = job.main();
        assert_eq!(ran.code, Some(1), "{prefix}: {}", ran.log);
        assert!(job.entries("ENV").is_empty(), "{prefix}");
    }
    assert!(fake.asked("/idtoken").is_empty());
}

/// T-207
#[test]
fn a_token_is_fetched_for_and_sent_to_the_brokers_own_address_only() {
    // A server that calls itself by another name.
    let fake = Fake::start();
    let other = Fake::start();
    let metadata = json!({ "issuer": other.url() });
    fake.next(
        "/.well-known/openid-configuration",
        Reply::json(200, &metadata),
    );
    let ran = at(&fake).main();
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    assert!(
        ran.texts("error")[0].contains("calls itself"),
        "{}",
        ran.log
    );
    assert!(fake.asked("/idtoken").is_empty());

    // Redirects, of each request that has a secret.
    for path in ["/idtoken", "/api/explain", "/api/credentials"] {
        for status in [302, 307] {
            let fake = Fake::start();
            let elsewhere = format!("{}{path}", other.url());
            fake.next(
                path,
                Reply::json(status, &json!({})).with("location", &elsewhere),
            );
            let ran = at(&fake).main();
            assert_eq!(ran.code, Some(1), "{}", ran.log);
            assert!(
                ran.texts("error")[0].contains("not followed"),
                "{}",
                ran.log
            );
        }
        assert!(other.asked(path).is_empty(), "{path}");
    }

    // A token that is good elsewhere too.
    for case in 0..3 {
        let fake = Fake::start();
        let audience = match case {
            0 => json!([]),
            1 => json!("https://other.example"),
            _ => json!([fake.url(), "https://other.example"]),
        };
        let token = token_for(&audience, "jti");
        fake.next("/idtoken", Reply::json(200, &json!({ "value": token })));
        let ran = at(&fake).main();
        assert_eq!(ran.code, Some(1), "{}", ran.log);
        assert!(fake.asked("/api/explain").is_empty());
        assert!(fake.asked("/api/credentials").is_empty());
    }

    // Plain http, of the broker and of the token service.
    let mut job = at(&fake);
    job.input("broker", "http://hallpass.example");
    let ran = job.main();
    assert!(ran.texts("error")[0].contains("plain http"), "{}", ran.log);
    let mut job = at(&fake);
    job.tokens("http://runner.example/idtoken", "canary-3b1f90ad27");
    let ran = job.main();
    assert!(
        ran.texts("error")[0].contains("is not an https address"),
        "{}",
        ran.log
    );
}

/// T-202
#[test]
fn a_temporary_folder_in_the_workspace_is_not_used() {
    let fake = Fake::start();
    let mut job = at(&fake);
    let inside = job.path("workspace").join("temp");
    fs::create_dir(&inside).unwrap();
    job.set("RUNNER_TEMP", inside.to_str().unwrap());
    let ran = job.main();
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    assert!(
        ran.texts("error")[0].contains("is in the workspace"),
        "{}",
        ran.log
    );
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
    assert!(fake.asked("/idtoken").is_empty());
    assert!(!ran.log.contains(PASSWORD));
}
