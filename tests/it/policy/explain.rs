//! `policy explain` from facts, from a token that is verified, and from an audited decision.

use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::json;

use super::*;
use crate::demo::wait_for;

const MAIN: &str = "like: github-push\nenvironment: production\n";

/// The exit code, standard output and standard error.
fn explain(dir: &Path, more: &[&str]) -> (i32, String, String) {
    let args = [&["policy", "explain"], more].concat();
    let output = hallpass(&args, dir);
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

#[test]
fn facts_in_a_file_are_explained_like_the_job_of_a_test() {
    let dir = company();
    write(dir.path(), "job.yaml", MAIN);
    write(
        dir.path(),
        "job.json",
        &json!({ "like": "github-push", "environment": "production" }).to_string(),
    );
    for file in ["job.yaml", "job.json"] {
        let (code, said, error) = explain(dir.path(), &["--facts", file, "shop-db/migrate"]);
        assert_eq!(code, 0, "{said}{error}");
        assert!(said.contains("PERMITTED by policy shop-migrate"), "{said}");
        assert!(
            said.contains("requirement hosted-runners") && said.contains(") met"),
            "{said}"
        );
        assert!(error.is_empty(), "{error}");
    }
    write(
        dir.path(),
        "job.yaml",
        "like: github-push\nref: refs/heads/try\nrunner: self-hosted\n",
    );
    let args = ["--facts", "job.yaml", "shop-db/migrate", "--output", "json"];
    let (code, said, _) = explain(dir.path(), &args);
    assert_eq!(code, 1, "{said}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["from"], "facts");
    assert_eq!(answer["verified"], false);
    assert_eq!(answer["decision"]["requirements"][0]["holds"], false);
    assert_eq!(
        answer["would_be_granted"],
        json!([
            "ref: refs/heads/main",
            "environment: production",
            "runner: hosted"
        ])
    );
    // A refusal for life or name says that, and no condition helps.
    write(dir.path(), "job.yaml", MAIN);
    for (args, expected) in [
        (&["shop-db/migrate", "--ttl", "2h"][..], "ttl: "),
        (&["shop-db/migrat"], "did you mean `shop-db/migrate`?"),
    ] {
        let args = [&["--facts", "job.yaml"], args].concat();
        let (code, said, _) = explain(dir.path(), &args);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("when:"), "{said}");
    }
    // Mistakes are pointed at, and jobs that no token can be of are refused.
    for (job, expected) in [
        (
            "like: github-push\nenviroment: x\n",
            "did you mean `environment`?",
        ),
        ("like: github-push\nowner: other\n", "is impossible"),
        ("like: [\n", "job.yaml:1"),
    ] {
        write(dir.path(), "job.yaml", job);
        let (code, said, error) = explain(dir.path(), &["--facts", "job.yaml", "deploy-api"]);
        assert_eq!(code, 5, "{said}{error}");
        assert!(error.contains(expected), "{error}");
    }
    let both = ["--facts", "job.yaml", "--claims", "x", "deploy-api"];
    assert_eq!(explain(dir.path(), &both).0, 2);
    assert_eq!(explain(dir.path(), &["--facts", "job.yaml"]).0, 2);
}

/// A running `hallpass dev issuer`, ended when it is dropped.
struct RunningIssuer(Child);

impl Drop for RunningIssuer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn issuer(dir: &Path) -> (RunningIssuer, String) {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut child = Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args([
            "dev",
            "issuer",
            "--port",
            &port.to_string(),
            "--folder",
            "ci",
        ])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = wait_for(&mut child, "Ctrl-C stops it");
    let url = lines[0].strip_prefix("The issuer ").unwrap();
    let url = url.strip_suffix(" is running.").unwrap().to_owned();
    (RunningIssuer(child), url)
}

const BROKER: &str = "https://hallpass.example";

/// T-324
#[test]
fn a_token_is_verified_with_the_keys_of_its_issuer() {
    let dir = company();
    let (running, url) = issuer(dir.path());
    let root = fs::read_to_string(dir.path().join("policies/root.yaml")).unwrap();
    let ours = format!(
        "provider: github\n    url: \"{url}\"\n    ca: ca.pem\n    networks: [127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]\n"
    );
    let other = root.replacen("provider: github\n", &ours, 1);
    assert_ne!(other, root);
    write(dir.path(), "policies/root.yaml", &other);
    fs::copy(
        dir.path().join("ci/ca.pem"),
        dir.path().join("policies/ca.pem"),
    )
    .unwrap();
    let token = |audience: &str, file: &str| {
        let args = [
            "dev",
            "token",
            "--folder",
            "ci",
            "--audience",
            audience,
            "--repository",
            "acme/shop",
            "--environment",
            "production",
        ];
        let output = hallpass(&args, dir.path());
        assert!(output.status.success(), "{output:?}");
        write(dir.path(), file, &text(&output.stdout));
        text(&output.stdout).trim().to_owned()
    };
    let good = token(BROKER, "good.jwt");
    let verify = |file: &str, more: &[&str]| {
        let args = [
            &["--token", file, "shop-db/migrate", "--output", "json"],
            more,
        ]
        .concat();
        explain(dir.path(), &args)
    };
    let with_broker = ["--broker", BROKER];
    let (code, said, error) = verify("good.jwt", &with_broker);
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{error}"));
    assert_eq!(answer["verified"], true, "{said}");
    assert_eq!(answer["from"], "token");
    assert!(
        error.is_empty() == (code == 0) && !error.contains("WARNING"),
        "{error}"
    );

    // Which broker it is for must be known.
    let (code, _, error) = verify("good.jwt", &[]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("HALLPASS_BROKER"), "{error}");
    // A token for another broker, and one with a changed signature, are rejected.
    token("https://other.example", "other.jwt");
    let (head, signature) = good.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let turned = format!("{first}{}", signature.get(1..).unwrap());
    write(dir.path(), "forged.jwt", &format!("{head}.{turned}"));
    for (file, expected) in [("other.jwt", "`aud`"), ("forged.jwt", "signature")] {
        let (code, said, error) = verify(file, &with_broker);
        assert_eq!(code, 1, "{error}");
        assert!(said.is_empty(), "{said}");
        assert!(
            error.contains(expected) && error.contains("--unverified"),
            "{error}"
        );
        // Decoding says loudly what it is, for people and programs.
        let (_, said, error) = verify(file, &["--unverified"]);
        assert!(
            error.starts_with("WARNING: ") && error.contains("not checked"),
            "{error}"
        );
        let answer: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(answer["verified"], false, "{said}");
        assert!(
            answer["warnings"][0]
                .as_str()
                .unwrap()
                .contains("not checked")
        );
    }
    // Without the issuer nothing can be verified.
    drop(running);
    let (code, said, error) = verify("good.jwt", &with_broker);
    assert_eq!(code, 5, "{said}{error}");
}

/// T-323
#[test]
fn a_token_on_the_command_line_is_refused_and_not_repeated() {
    let dir = company();
    write(dir.path(), "job.yaml", MAIN);
    let part = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
    let payload = part("{\"iss\":\"x\",\"canary\":1}");
    let token = format!(
        "{}.{payload}.{}",
        part("{\"alg\":\"RS256\"}"),
        part("signature")
    );
    for args in [
        &["explain", "--token", &token, "deploy-api"][..],
        &["explain", "--claims", &token, "deploy-api"],
        &["explain", "--facts", &token, "deploy-api"],
        &["explain", "--facts", "job.yaml", &token],
        &["new", "--from-token", &token, "deploy-api"],
    ] {
        let output = hallpass(&[&["policy"], args].concat(), dir.path());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(said.contains("standard input"), "{said}");
        assert!(!said.contains(&payload), "{said}");
    }
}
