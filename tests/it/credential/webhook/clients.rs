//! What a job gets, from a real broker and the example of the other side.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use super::broken::{Broken, Fault};
use super::forged::parts;
use super::stage::{Certificates, Example, client_tls, free_port};
use crate::client::real::Broker;
use crate::support::leaks::Observed as _;

pub(super) const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
credentials:
  app/read:
    kind: webhook
    target: app
    group: reader
    max_ttl: 10m
    owner: team-shop
    purpose: reads the application
    class: moderate
policies:
  - name: shop-read
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589", ref: refs/heads/main }
    grant: [ { credential: app/read, ttl: 5m } ]
"#;

fn target(certificates: &Certificates, port: u16) -> String {
    format!(
        "targets: {{ app: {{ kind: webhook, url: \"https://localhost:{port}/hallpass\", ca: {}, networks: [127.0.0.0/8], groups: [reader, writer] }} }}\n",
        certificates.path("ca.pem").display()
    )
}

struct Side {
    certificates: Certificates,
    broker: Broker,
    _example: Example,
}

/// A broker, and an example that reads its published keys.
fn side() -> Side {
    let certificates = Certificates::new();
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(POLICIES, &target(&certificates, port), folder);
    let keys = format!("{}/.well-known/jwks.json", broker.url);
    let example = Example::start(&certificates, port, (&broker.url, &keys), &[]);
    Side {
        certificates,
        broker,
        _example: example,
    }
}

fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn curl_logs_in_with_what_exec_gives_it() {
    let side = side();
    let ca = side.certificates.path("ca.pem");
    let script = format!(
        r#"curl -sS --cacert {0} -u "$HALLPASS_USERNAME:$HALLPASS_PASSWORD" "$HALLPASS_LOGIN_URL"; curl -sS --cacert {0} -H "Authorization: Basic $HALLPASS_LOGIN_BASIC" "$HALLPASS_LOGIN_URL""#,
        ca.display()
    );
    let token = side.broker.token(|_| {});
    let mut job = side
        .broker
        .command(&token, &["exec", "app/read", "--", "sh", "-c", &script]);
    let text = stdout(&job.env("PATH", "/usr/bin:/bin").observed());
    assert_eq!(text.matches(r#""group": "reader""#).count(), 2, "{text}");
}

/// T-92, T-460: what the other side calls secret is masked like the password.
#[test]
fn secrets_of_the_other_side_are_masked_and_in_no_variable_of_its_choice() {
    let side = side();
    let token = side.broker.token(|_| {});
    let get = |arguments: &[&str]| {
        let arguments = [&["get", "app/read"], arguments].concat();
        stdout(&side.broker.command(&token, &arguments).observed())
    };
    let document: Value = serde_json::from_str(&get(&["--format", "json"])).unwrap();
    let credential = &document["credential"];
    assert_eq!(credential["kind"], "webhook");
    let basic = credential["secrets"]["basic"].as_str().unwrap();
    assert!(
        credential["members"]["url"]
            .as_str()
            .unwrap()
            .ends_with("/whoami")
    );
    let names: Vec<String> = get(&["--format", "dotenv"])
        .lines()
        .map(|line| line.split('=').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "HALLPASS_USERNAME",
            "HALLPASS_PASSWORD",
            "HALLPASS_LOGIN_URL",
            "HALLPASS_LOGIN_BASIC"
        ]
    );
    let file = side.broker.folder.path().join("github-env");
    fs::write(&file, "").unwrap();
    let mut job = side
        .broker
        .command(&token, &["get", "app/read", "--github-env"]);
    let job = job.env("GITHUB_ACTIONS", "true").env("GITHUB_ENV", &file);
    let done = job.observed();
    let said = stdout(&done) + &String::from_utf8_lossy(&done.stderr);
    for secret in [basic, credential["password"].as_str().unwrap()] {
        assert!(said.contains(&format!("::add-mask::{secret}")), "{said}");
    }
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("HALLPASS_LOGIN_BASIC")
    );
}

/// The keys sign tokens for jobs too: one whose audience is the URL of a request makes nothing.
///
/// T-453
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_a_job_is_no_request() {
    let certificates = Certificates::new();
    let port = free_port();
    let url = format!("https://localhost:{port}/hallpass/create");
    let policies = POLICIES.replace(
        "  app/read:\n    kind: webhook\n    target: app\n    group: reader\n",
        &format!("  app/read:\n    kind: jwt\n    audience: \"{url}\"\n    claims: [repository]\n"),
    );
    let (broker, token, example) = {
        let certificates = &certificates;
        tokio::task::block_in_place(|| {
            let broker = Broker::start_with(&policies, "", tempfile::tempdir().unwrap());
            let keys = format!("{}/.well-known/jwks.json", broker.url);
            let example = Example::start(certificates, port, (&broker.url, &keys), &[]);
            let job = broker.token(|_| {});
            let got = broker.command(&job, &["get", "app/read"]).observed();
            let document: Value = serde_json::from_str(&stdout(&got)).unwrap();
            let token = document["credential"]["token"].as_str().unwrap().to_owned();
            (broker, token, example)
        })
    };
    let ca = fs::read(certificates.path("ca.pem")).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(client_tls(&ca))
        .no_proxy()
        .build()
        .unwrap();
    let body = json!({ "name": "hp_1lg7ei3_0123456789abc", "id": "0123456789abc", "group": "reader",
        "password": "p", "expires_at": 1, "remember_until": 1, "record": "{}", "holder": "h", "may_create": true });
    let sent = client.post(&url).bearer_auth(&token).body(body.to_string());
    let answer = sent.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    assert_eq!(answer.text().await.unwrap(), r#"{"error": "token"}"#);
    drop(example);
    tokio::task::block_in_place(|| drop(broker));
}

/// T-453: nothing that a job asks for has the address of the other side as its audience.
#[test]
fn settings_that_would_give_a_job_a_token_for_the_other_side_do_not_start() {
    let certificates = Certificates::new();
    let side = certificates.settings(8_443);
    for audience in [
        "https://localhost:8443/hallpass/create",
        "https://localhost:8443/hallpass",
        "https://LOCALHOST:8443/hallpass/",
    ] {
        let folder = super::operator::folder(&side, &certificates);
        let file = folder.path().join("policies/root.yaml");
        let more = format!(
            "credentials:\n  evil: {{ kind: jwt, audience: \"{audience}\", max_ttl: 1m, owner: o, purpose: p, class: low }}"
        );
        fs::write(&file, POLICIES.replacen("credentials:", &more, 1)).unwrap();
        let checked = std::process::Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(["serve", "--check"])
            .current_dir(folder.path())
            .env_clear()
            .observed();
        let text = String::from_utf8(checked.stderr).unwrap();
        assert!(
            text.contains("the audience of credential `evil` is the URL of target `app`"),
            "{text}"
        );
    }
}

/// T-453: what the other side gets from us is no token for a broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_the_broker_is_no_token_of_a_job() {
    let side = Broken::start().await;
    let line = target(&side.certificates, side.port);
    let broker = tokio::task::block_in_place(|| {
        let broker = Broker::start_with(POLICIES, &line, tempfile::tempdir().unwrap());
        let token = broker.token(|_| {});
        stdout(&broker.command(&token, &["get", "app/read"]).observed());
        broker
    });
    let (head, _) = side.requests("/create").remove(0);
    let (_, claims, stolen) = parts(&head);
    assert_eq!(claims["iss"], broker.url.as_str());
    let ca = fs::read(side.certificates.path("ca.pem")).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(client_tls(&ca))
        .no_proxy()
        .build()
        .unwrap();
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token={stolen}\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&audience=app%2Fread"
    );
    let answer = client
        .post(format!("{}/token", broker.url))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    let refusal: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert!(
        refusal["reason"].as_str().unwrap().starts_with("token."),
        "{refusal}"
    );
    assert_eq!(side.made(), 1);
    tokio::task::block_in_place(|| drop(broker));
}

/// T-460: names that programs of the job obey.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_side_sets_no_variable_that_a_program_obeys() {
    let side = Broken::start().await;
    let line = target(&side.certificates, side.port);
    let members = json!({ "members": { "path": "/evil", "ld_preload": "/evil.so", "broker": "https://evil.test", "id_token": "x" } });
    side.faults("/create", &[Fault::WithAfter(members)]);
    let text = tokio::task::block_in_place(|| {
        let broker = Broker::start_with(POLICIES, &line, tempfile::tempdir().unwrap());
        let token = broker.token(|_| {});
        let mut got = broker.command(&token, &["get", "app/read", "--format", "dotenv"]);
        stdout(&got.observed())
    });
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    assert_eq!(
        names,
        [
            "HALLPASS_USERNAME",
            "HALLPASS_PASSWORD",
            "HALLPASS_LOGIN_BROKER",
            "HALLPASS_LOGIN_ID_TOKEN",
            "HALLPASS_LOGIN_LD_PRELOAD",
            "HALLPASS_LOGIN_PATH"
        ]
    );
}
