//! From `uses:` to the end of the job, with a real broker and real servers.

use std::fs;
use std::process::{Command, Stdio};

use hallpass::clock::{Clock as _, SystemClock};
use hallpass::dev::issuer::{GithubJob, github_claims};
use hallpass::dev::stage::Stage;
use serde_json::{Value, json};

use super::runner::{Job, mode, node, on_page};
use crate::client::fake::{Fake, LEASE, PASSWORD, Reply, login};
use crate::client::real::Broker;
use crate::ssh::real::POLICIES;
use crate::ssh::stage::keygen;
use crate::support::leaks;
use crate::support::leaks::Observed as _;
use crate::support::sources::root;

const REQUEST_TOKEN: &str = "canary-77b0e4c19d";

/// A job of the environment `production`, at a broker with a database.
fn production(stage: &Stage, credentials: &str) -> Job {
    let mut claims = GithubJob::new(
        stage.issuer("github").unwrap().url(),
        "",
        SystemClock::new().now(),
    );
    claims.repository_id = "702114500".to_owned();
    claims.owner_id = "65923871".to_owned();
    claims.environment = Some("production".to_owned());
    let url = stage
        .issuer("github")
        .unwrap()
        .offer(REQUEST_TOKEN, github_claims(&claims));
    let mut job = Job::new(&stage.url, credentials);
    job.tokens(&url, REQUEST_TOKEN);
    let ca = job.path("ca.pem");
    fs::write(&ca, stage.issuer("github").unwrap().ca_pem()).unwrap();
    job.set("NODE_EXTRA_CA_CERTS", ca.to_str().unwrap());
    job
}

/// The step after the action's, as the page has it.
fn later(job: &Job) -> Command {
    let mut shell = job.later_step("bash");
    shell.args(["-e", "-c", &on_page("github", "- run: ")]);
    shell
}

/// T-200, T-201, T-202, T-203
#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_its_login_in_private_files_and_the_login_ends_with_the_job() {
    let _leaks = leaks::watch();
    let stage = Stage::start().await.unwrap();
    let job = production(&stage, &on_page("github", "credentials: "));
    let ran = job.main();
    assert_eq!(ran.code, Some(0), "{}", ran.log);

    let outputs = job.entries("OUTPUT");
    let names: Vec<&str> = outputs.keys().map(String::as_str).collect();
    assert_eq!(names, ["credentials", "leases"]);
    let shown: Value = serde_json::from_str(&outputs["credentials"]).unwrap();
    let shown = &shown["shop-db/migrate"];
    assert_eq!(shown["policy"], "shop-migrate");
    let user = shown["username"].as_str().unwrap();
    let pgpass = fs::read_to_string(shown["files"]["pgpass"].as_str().unwrap()).unwrap();
    let password = pgpass.trim().rsplit(':').next().unwrap();
    let lease = fs::read_to_string(&outputs["leases"]).unwrap();
    leaks::secret("a password", password);
    leaks::prefixed("a lease handle", lease.trim());

    // Neither is anywhere but in the private files and in the state for the post step.
    for secret in [password, lease.trim()] {
        assert!(ran.masks(secret));
        for file in ["ENV", "OUTPUT", "STEP_SUMMARY"] {
            let text = fs::read_to_string(job.path(file)).unwrap();
            assert!(!text.contains(secret), "`{file}` has it");
        }
    }
    for file in job.secret_files() {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(fs::read_dir(job.path("workspace")).unwrap().count(), 0);
    let summary = fs::read_to_string(job.path("STEP_SUMMARY")).unwrap();
    assert!(summary.contains("<td>shop-migrate</td>"), "{summary}");

    let output = later(&job).observed();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), user);

    let post = job.post();
    assert_eq!(post.code, Some(0), "{}", post.log);
    assert!(
        post.log.contains("the lease of `shop-db/migrate` is gone"),
        "{}",
        post.log
    );
    assert_eq!(job.secret_files(), Vec::<std::path::PathBuf>::new());
    let output = later(&job).env("PGPASSWORD", password).observed();
    assert!(!output.status.success());
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("authentication failed"), "{why}");
    stage.stop().await;
}

/// T-200, T-205
#[tokio::test(flavor = "multi_thread")]
async fn several_credentials_have_a_prefix_each_and_secrets_are_exported_on_request() {
    let _leaks = leaks::watch();
    let stage = Stage::start().await.unwrap();
    let mut job = production(&stage, "SHOP=shop-db/migrate\nAPI=deploy-api");
    job.input("export-env", "true");
    let ran = job.main();
    // Scopes are those of the grant, and a token is none of a database's.
    assert_eq!(ran.code, Some(0), "{}", ran.log);
    let exported = job.entries("ENV");
    let names: Vec<&str> = exported.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "API_HALLPASS_TOKEN",
            "API_HALLPASS_TOKEN_FILE",
            "SHOP_DATABASE_URL",
            "SHOP_PGDATABASE",
            "SHOP_PGHOST",
            "SHOP_PGOPTIONS",
            "SHOP_PGPASSFILE",
            "SHOP_PGPASSWORD",
            "SHOP_PGPORT",
            "SHOP_PGSSLMODE",
            "SHOP_PGUSER",
        ]
    );
    for name in ["API_HALLPASS_TOKEN", "SHOP_DATABASE_URL", "SHOP_PGPASSWORD"] {
        assert!(ran.masks(&exported[name]), "{name}");
    }
    let file = fs::read_to_string(&exported["API_HALLPASS_TOKEN_FILE"]).unwrap();
    assert_eq!(file, exported["API_HALLPASS_TOKEN"]);
    let address = &exported["SHOP_DATABASE_URL"];
    let output = Command::new("psql")
        .args(["--no-psqlrc", "-Atwc", "select 1", address])
        .observed();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n");
    assert_eq!(job.post().code, Some(0));
    stage.stop().await;
}

/// T-200, T-206
#[test]
fn a_key_of_several_lines_stays_one_variable_and_fits_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    keygen(&folder.path().join("ca"), &["-t", "ed25519"]);
    let targets = "targets:\n  web-hosts: { kind: ssh-ca, key: { file: ca } }\n";
    let broker = Broker::start_with(POLICIES, targets, folder);
    let fake = Fake::start();
    fake.next(
        "/idtoken",
        Reply::json(200, &json!({ "value": broker.token(|_| {}) })),
    );
    let mut job = Job::new(&broker.url, "deploy-host");
    job.tokens(&format!("{}/idtoken", fake.url()), REQUEST_TOKEN);
    job.input("export-env", "true");
    let ran = job.main();
    assert_eq!(ran.code, Some(0), "{}", ran.log);
    let exported = job.entries("ENV");
    let path = &exported["HALLPASS_SSH_KEY_FILE"];
    let key = fs::read_to_string(path).unwrap();
    assert!(key.lines().count() > 5);
    assert_eq!(exported["HALLPASS_PRIVATE_KEY"], key);
    assert!(ran.masks(&key));
    let shown = |arguments: &[&str]| {
        let output = Command::new("ssh-keygen").args(arguments).observed();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    };
    let certificate = shown(&["-L", "-f", &format!("{path}-cert.pub")]);
    let public = shown(&["-y", "-f", path]);
    let public_path = job.path("public");
    fs::write(&public_path, public).unwrap();
    let fingerprint = shown(&["-l", "-f", public_path.to_str().unwrap()]);
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    assert!(certificate.contains(fingerprint), "{certificate}");
    assert_eq!(job.post().code, Some(0));
}

/// T-200
#[test]
fn a_secret_that_cannot_be_masked_is_neither_written_nor_exported() {
    let fake = Fake::start();
    let answer = login("shop-db/migrate")["hallpass"].clone();
    let busy = json!({ "error": "temporarily_unavailable", "retryable": true });
    let busy = Reply::json(503, &busy).with("retry-after", "2");
    fake.next("/api/credentials", busy);
    fake.next("/api/credentials", Reply::json(200, &answer));
    let mut job = Job::new(&fake.url(), "shop-db/migrate");
    job.tokens(&format!("{}/idtoken", fake.url()), REQUEST_TOKEN);
    job.input("export-env", "true");
    let mut main = job.command("main");
    main.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut main = main.spawn().unwrap();
    // The log is gone before the credential comes.
    fake.wait_for("/api/credentials", 1);
    drop(main.stdout.take());
    assert!(!main.wait().unwrap().success());
    assert_eq!(fake.asked("/api/credentials").len(), 2);
    for file in ["ENV", "OUTPUT", "STEP_SUMMARY"] {
        let text = fs::read_to_string(job.path(file)).unwrap();
        assert!(!text.contains(PASSWORD) && !text.contains(LEASE), "{file}");
    }
    for file in job.secret_files() {
        assert!(!fs::read_to_string(&file).unwrap().contains(PASSWORD));
    }
    assert_eq!(job.post().code, Some(0));
    assert_eq!(fake.asked("/revoke")[0].form["token"], LEASE);
}

/// T-203
#[test]
fn a_job_that_is_cancelled_while_it_waits_ends_what_it_has() {
    let fake = Fake::start();
    let answer = login("shop-db/migrate")["hallpass"].clone();
    let busy = json!({ "error": "temporarily_unavailable", "retryable": true });
    fake.next("/api/credentials", Reply::json(200, &answer));
    fake.next(
        "/api/credentials",
        Reply::json(503, &busy).with("retry-after", "50"),
    );
    let mut job = Job::new(&fake.url(), "A=shop-db/migrate\nB=deploy-api");
    job.tokens(&format!("{}/idtoken", fake.url()), REQUEST_TOKEN);
    let mut main = job.command("main");
    let mut main = main.stdout(Stdio::null()).spawn().unwrap();
    fake.wait_for("/api/credentials", 2);
    main.kill().unwrap();
    main.wait().unwrap();
    assert_eq!(job.post().code, Some(0));
    let revoked = fake.asked("/revoke");
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].form["token"], LEASE);
}

/// T-203
#[test]
fn a_lease_that_cannot_be_revoked_is_a_warning_with_its_expiry() {
    let fake = Fake::start();
    let answer = login("shop-db/migrate")["hallpass"].clone();
    fake.next("/api/credentials", Reply::json(200, &answer));
    let refusal =
        json!({ "error": "invalid_request", "error_description": "no", "reason": "request.lease" });
    fake.next("/revoke", Reply::json(400, &refusal));
    let mut job = Job::new(&fake.url(), "shop-db/migrate");
    job.tokens(&format!("{}/idtoken", fake.url()), REQUEST_TOKEN);
    assert_eq!(job.main().code, Some(0));
    let post = job.post();
    assert_eq!(post.code, Some(0));
    assert_eq!(
        post.texts("warning"),
        [
            "the lease of `shop-db/migrate` was not revoked and ends at 2099-01-01T00:00:00Z: no (request.lease)"
        ]
    );
    assert!(job.secret_files().is_empty());
}

/// T-386
#[test]
fn a_shared_login_is_left_to_its_other_holders_when_the_job_ends() {
    let fake = Fake::start();
    let mut answer = login("shop-db/migrate")["hallpass"].clone();
    answer["shared"] = json!(true);
    fake.next("/api/credentials", Reply::json(200, &answer));
    let mut job = Job::new(&fake.url(), "shop-db/migrate");
    job.tokens(&format!("{}/idtoken", fake.url()), REQUEST_TOKEN);
    assert_eq!(job.main().code, Some(0));
    let leases = fs::read_to_string(&job.entries("OUTPUT")["leases"]).unwrap();
    assert_eq!(leases, "");
    let post = job.post();
    assert_eq!(post.code, Some(0), "{}", post.log);
    assert!(post.masks(LEASE));
    let expected = "the lease of `shop-db/migrate` is not revoked, because other tokens of this subject have the same login; it ends at 2099-01-01T00:00:00Z";
    assert!(post.log.contains(expected), "{}", post.log);
    assert_eq!(fake.asked("/revoke").len(), 0);
    assert!(job.secret_files().is_empty());
}

/// T-209
#[test]
fn the_bundle_is_what_the_source_builds() {
    let folder = tempfile::tempdir().unwrap();
    let built = Command::new(node())
        .arg(root().join("github-action/build.ts"))
        .arg(folder.path())
        .observed();
    let error = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "{error}");
    for name in ["main.js", "post.js"] {
        let ours = fs::read(root().join("github-action/dist").join(name)).unwrap();
        let theirs = fs::read(folder.path().join(name)).unwrap();
        assert!(
            ours == theirs,
            "{name}; run deploy/dev/github-action.sh build"
        );
    }
}
