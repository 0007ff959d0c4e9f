//! The exchange itself: what is sent, what a busy broker gets, what a denial looks like.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::json;

use super::fake::{Fake, PASSWORD, Reply, hallpass, refusal, stderr, stdout, told};
use super::real::Broker;
use crate::support::TestBroker;
use crate::support::database::Mood;
use crate::support::leaks::Observed as _;

#[test]
fn a_github_job_gets_a_login_with_one_command() {
    let fake = Fake::start();
    let output = fake
        .on_github(&[
            "get",
            "shop-db/migrate",
            "--ttl",
            "10m",
            "--scope",
            "a",
            "--scope",
            "b",
        ])
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let document: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(document["credential"]["password"], PASSWORD);
    let asked = fake.asked("/token").remove(0);
    assert_eq!(
        asked.form["grant_type"],
        "urn:ietf:params:oauth:grant-type:token-exchange"
    );
    assert_eq!(
        asked.form["subject_token_type"],
        "urn:ietf:params:oauth:token-type:id_token"
    );
    assert_eq!(asked.form["audience"], "shop-db/migrate");
    assert_eq!(asked.form["scope"], "a b");
    assert_eq!(asked.form["ttl"], "600s");
    assert_eq!(asked.headers["idempotency-key"].len(), 43);
}

/// T-110
#[test]
fn a_busy_broker_is_asked_again_with_the_same_key() {
    let fake = Fake::start();
    let busy = json!({ "error": "temporarily_unavailable" });
    fake.next("/token", Reply::json(503, &busy).with("retry-after", "0"))
        .next("/token", Reply::json(429, &busy).with("retry-after", "0"));
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let asked = fake.asked("/token");
    assert_eq!(asked.len(), 3);
    let same = |name: &str| {
        asked
            .iter()
            .all(|one| one.headers[name] == asked[0].headers[name])
    };
    assert!(same("idempotency-key"));
    assert!(
        asked
            .iter()
            .all(|one| one.form["subject_token"] == asked[0].form["subject_token"])
    );
}

/// A wait of nothing is no wait: the client's own pause stands.
#[test]
fn a_broker_that_asks_for_no_wait_is_not_asked_in_a_loop() {
    let fake = Fake::start();
    let busy = json!({ "error": "temporarily_unavailable", "retryable": true });
    for _ in 0..200 {
        fake.next("/token", Reply::json(503, &busy).with("retry-after", "0"));
    }
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--timeout", "3s"])
        .observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    // 0.25 to 0.5 s, then twice that each time.
    assert!(
        fake.asked("/token").len() <= 5,
        "{}",
        fake.asked("/token").len()
    );
}

#[test]
fn a_refusal_that_says_retryable_is_asked_for_again_whatever_its_status() {
    let fake = Fake::start();
    let slow = json!({ "error": "invalid_request", "reason": "request.slow", "retryable": true });
    fake.next("/token", Reply::json(408, &slow));
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let asked = fake.asked("/token");
    assert_eq!(asked.len(), 2);
    let key = |one: usize| &asked[one].headers["idempotency-key"];
    assert_eq!(key(0), key(1));
}

#[test]
fn a_refusal_that_lasts_is_not_asked_for_again() {
    for (status, code) in [(429, 1), (502, 3), (503, 3), (504, 3)] {
        let fake = Fake::start();
        let refusal = json!({
            "error": "temporarily_unavailable",
            "error_description": "target `shop-db` allows less than the policies grant",
            "reason": "database.ceiling", "request_id": "req_7", "retryable": false,
        });
        fake.next("/token", Reply::json(status, &refusal));
        let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        assert_eq!(fake.asked("/token").len(), 1, "{status}");
        let said = stderr(&output);
        assert!(
            said.contains("allows less than the policies grant"),
            "{said}"
        );
    }
}

/// The broker's own answer, as it leaves the router, for a target that allows less than the policies.
#[tokio::test]
async fn a_lasting_503_of_a_broker_is_not_asked_for_again() {
    let broker = TestBroker::start().await;
    broker.database.mood(Mood::RefusesForGood);
    let answer = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.header("retry-after"), None, "{}", answer.head);
    let fake = Fake::start();
    fake.next("/token", Reply::json(answer.status, &answer.json()));
    let output = fake.on_github(&["get", "shop-db/read"]).observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert_eq!(fake.asked("/token").len(), 1);
    assert!(stderr(&output).contains("database.ceiling"));
}

#[test]
fn a_broker_that_is_busy_for_longer_than_we_have_is_given_up_at_once() {
    let fake = Fake::start();
    let busy = json!({
        "error": "temporarily_unavailable", "error_description": "too many requests",
        "reason": "limit.rate", "request_id": "req_9",
    });
    fake.next(
        "/token",
        Reply::json(429, &busy).with("retry-after", "3600"),
    );
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert_eq!(fake.asked("/token").len(), 1);
    insta::assert_snapshot!(stderr(&output), @"hallpass: the broker answers 429: too many requests (limit.rate, request req_9)");
}

#[test]
fn a_broker_that_is_not_there_is_unreachable() {
    let mut command = hallpass(&[
        "get",
        "a",
        "--broker",
        "http://127.0.0.1:1",
        "--timeout",
        "1s",
    ]);
    let output = command.env("GITHUB_ACTIONS", "true").observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: the broker could not be reached: connection refused; is it running, and is the port right?");
}

#[test]
fn a_denial_names_what_failed_in_a_table() {
    let fake = Fake::start();
    fake.next(
        "/token",
        Reply::json(
            400,
            &json!({
                "error": "invalid_request",
                "error_description": "fact `ref` is `refs/heads/dev`, policy `shop-migrate` wants `refs/heads/main`",
                "reason": "policy.condition",
                "request_id": "req_4",
                "failed_conditions": [
                    { "policy": "shop-migrate", "fact": "ref", "expected": "refs/heads/main", "actual": "refs/heads/dev" },
                    { "policy": "shop-migrate", "fact": "environment", "expected": "production", "actual": null, "hint": "the job names none" },
                ],
                "when": "when:\n  repository: acme/shop\n  ref: refs/heads/dev\n",
            }),
        ),
    );
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert_eq!(stdout(&output), "");
    insta::assert_snapshot!(stderr(&output), @r"
    hallpass: denied: fact `ref` is `refs/heads/dev`, policy `shop-migrate` wants `refs/heads/main` (policy.condition, request req_4)

      policy        fact         expected         actual
      shop-migrate  ref          refs/heads/main  refs/heads/dev
      shop-migrate  environment  production       (not said)  (the job names none)

    This job, as a policy would name it:

      when:
        repository: acme/shop
        ref: refs/heads/dev
    ");
}

/// T-92
#[test]
fn no_secret_is_in_the_text_of_any_failure() {
    let failures: Vec<(&str, Reply)> = vec![
        ("/token", refusal("policy.condition")),
        (
            "/token",
            Reply::json(500, &json!({ "error": "server_error" })),
        ),
        (
            "/token",
            Reply::json(200, &json!({ "access_token": PASSWORD })),
        ),
        (
            "/token",
            Reply::json(
                200,
                &json!({ "access_token": PASSWORD, "hallpass": PASSWORD }),
            ),
        ),
        (
            "/token",
            Reply::json(503, &json!({ "error": "x" })).with("retry-after", "999"),
        ),
        (
            "/idtoken",
            Reply::json(403, &json!({ "message": "canary" })),
        ),
        ("/idtoken", Reply::json(200, &json!({ "value": "canary" }))),
        (
            "/idtoken",
            Reply::json(200, &json!({ "value": ["canary"] })),
        ),
    ];
    for (path, reply) in failures {
        let fake = Fake::start();
        fake.next(path, reply);
        let output = fake
            .on_github(&["get", "shop-db/migrate"])
            .env("RUST_LOG", "trace")
            .observed();
        assert_ne!(output.status.code(), Some(0), "{}", told(&output));
        let text = told(&output);
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains("eyJ"), "{text}");
    }
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let fake = Fake::start();
    let output = fake
        .on_github(&["get", "shop-db/migrate"])
        .envs([
            ("http_proxy", "http://127.0.0.1:1"),
            ("HTTP_PROXY", "http://127.0.0.1:1"),
            ("ALL_PROXY", "http://127.0.0.1:1"),
        ])
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

/// The operator listener has no path that a client asks for.
#[test]
fn a_listener_that_is_not_public_is_named() {
    let fake = Fake::start();
    let refused = json!({
        "error": "invalid_request", "reason": "request.path", "request_id": "req_1",
        "error_description": "nothing is served at this path; the token endpoint is POST /token",
    });
    fake.next(
        "/.well-known/openid-configuration",
        Reply::json(404, &refused),
    );
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: nothing is served at this path: this is not the broker's public listener; set the broker's address to its setting `issuer`");
    assert!(fake.asked("/idtoken").is_empty());
}

#[test]
fn a_broker_of_plain_http_is_guessed_from_its_answer() {
    let broker = Broker::start();
    let get = ["get", "deploy-api", "--timeout", "5s"];
    let output = broker
        .command(&broker.token(|_| {}), &get)
        .env("HALLPASS_BROKER", broker.url.replace("http:", "https:"))
        .observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: the broker could not be reached: its answer is not TLS; does the broker speak plain http?");
}

#[test]
fn a_denial_says_so_once() {
    let fake = Fake::start();
    let refused = json!({
        "error": "access_denied", "reason": "policy.denied", "request_id": "req_1",
        "error_description": "access denied: no policy matches this job",
    });
    fake.next("/token", Reply::json(403, &refused));
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: denied: no policy matches this job (policy.denied, request req_1)");
}

/// Accepts connections as a proxy would, and answers none of them.
struct Proxy {
    listener: TcpListener,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// A connection waits here, whether or not it is still open.
    fn was_asked(&self) -> bool {
        self.listener.accept().is_ok()
    }
}

/// T-108: plain http carries the job's request token, and is for this machine only.
#[test]
fn a_broker_on_this_machine_is_asked_without_the_proxy() {
    let (fake, proxy) = (Fake::start(), Proxy::start());
    for name in ["127.0.0.1", "localhost"] {
        let url = fake.url().replace("127.0.0.1", name);
        let metadata = Reply::json(200, &json!({ "issuer": url }));
        fake.next("/.well-known/openid-configuration", metadata);
        let output = fake
            .on_github(&["get", "shop-db/migrate"])
            .env("HALLPASS_PROXY", proxy.url())
            .env("HALLPASS_BROKER", url)
            .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }
    assert_eq!(fake.asked("/idtoken").len(), 2);
    assert!(!proxy.was_asked());
}

#[test]
fn no_proxy_names_what_is_asked_without_the_proxy() {
    let asked_for = |broker: &str, no_proxy: &[(&str, &str)]| {
        let proxy = Proxy::start();
        let mut command = hallpass(&["list", "--broker", broker]);
        command
            .args(["--timeout", "1s", "--proxy", &proxy.url()])
            .env("HALLPASS_ID_TOKEN", "x")
            .envs(no_proxy.iter().copied());
        let output = command.observed();
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
        proxy.was_asked()
    };
    let asked = |no_proxy: &[(&str, &str)]| asked_for("https://hallpass.invalid", no_proxy);
    assert!(asked(&[]));
    assert!(asked(&[("NO_PROXY", "pass.invalid,other.example")]));
    assert!(asked(&[("NO_PROXY", "hallpass.invalid:8443")]));
    for direct in ["hallpass.invalid", "x, .invalid", "*", "*.invalid:443"] {
        assert!(!asked(&[("NO_PROXY", direct)]), "{direct}");
        assert!(!asked(&[("no_proxy", direct)]), "{direct}");
    }
    // Addresses for documentation, where no broker answers.
    assert!(asked_for("https://192.0.2.1", &[]));
    for direct in ["*", "192.0.2.1:443", "192.0.2.0/24"] {
        assert!(
            !asked_for("https://192.0.2.1", &[("NO_PROXY", direct)]),
            "{direct}"
        );
    }
}

#[test]
fn a_broker_with_a_ca_of_its_own_needs_that_ca() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let issuer = runtime
        .block_on(hallpass::dev::issuer::Issuer::start(""))
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), issuer.ca_pem()).unwrap();
    let run = |ca: Option<&str>| {
        let mut command = hallpass(&["doctor", "--broker", issuer.url()]);
        if let Some(ca) = ca {
            command.env("HALLPASS_CA", ca);
        }
        stdout(&command.observed())
    };
    assert!(run(None).contains("its certificate was rejected (UnknownIssuer); if a private CA issued it, set `--ca` or HALLPASS_CA"));
    assert!(run(file.path().to_str()).contains("answers, and calls itself by its address"));
}

/// T-160: the token endpoint ignores parameters that it does not know, so a misspelt input would be
/// lost.
#[test]
fn an_input_that_no_kind_takes_is_a_slip_on_the_command_line() {
    let fake = Fake::start();
    for command in [
        &["get", "shop-db/migrate", "--input", "colour=red"][..],
        &[
            "exec",
            "shop-db/migrate",
            "--input",
            "colour=@/nowhere",
            "--",
            "true",
        ],
    ] {
        let output = fake.on_github(command).observed();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        let text = stderr(&output);
        assert!(
            text.contains("no kind of credential takes input `colour`"),
            "{text}"
        );
    }
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--input", "colour"])
        .observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: `--input colour` has no `=`; write NAME=VALUE or NAME=@FILE");
    assert!(fake.asked("/token").is_empty());
}

#[test]
fn a_broken_proxy_is_named_and_its_password_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = |text: &'static str| {
        let listener = listener.try_clone().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let read = stream.read(&mut [0; 4096]).unwrap();
            assert!(read > 0);
            stream.write_all(text.as_bytes()).unwrap();
        })
    };
    let problem = |option: bool, port: u16| {
        let url = format!("http://me:canary@127.0.0.1:{port}");
        let mut command = hallpass(&["list", "--broker", "https://hallpass.invalid"]);
        command
            .args(["--timeout", "1s"])
            .env("HALLPASS_ID_TOKEN", "x");
        if option {
            command.args(["--proxy", &url]);
        } else {
            command.env("HALLPASS_PROXY", &url);
        }
        let output = command.observed();
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
        assert!(!told(&output).contains("canary"));
        stderr(&output).replace(&port.to_string(), "PORT")
    };
    let refusing = answer("HTTP/1.1 407 no\r\n\r\n");
    insta::assert_snapshot!(problem(true, port), @"hallpass: the broker could not be reached through proxy `http://127.0.0.1:PORT` (`--proxy`): the proxy rejected the user and password in its address, or requires them");
    refusing.join().unwrap();
    drop(listener);
    insta::assert_snapshot!(problem(false, port), @"hallpass: the broker could not be reached through proxy `http://127.0.0.1:PORT` (HALLPASS_PROXY): connection refused; is it running, and is the port right?");
}
