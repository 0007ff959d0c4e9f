//! The review of policies in CI: the script of the action and the component for GitLab, with a release and
//! an API of servers of ours, in a repository with history.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::fake::told;
use crate::support::leaks::{self, Observed as _};
use crate::support::sources::root;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const TOKEN: &str = "ghs_q7Rk2mVx8LwTz4Nc";
const MARKER: &str = "<!-- hallpass policy review: policies -->";
const POLICIES: &str = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", ref: refs/heads/main }
    grant: [ { credential: app, ttl: 5m } ]
"#;
const TESTS: &str = r#"tests:
  - name: main gets it
    job: { like: github-push, repository: acme/app, repository_id: "702114500", owner: acme, owner_id: "65923871", ref: refs/heads/main }
    asks: { credential: app }
    gets: { policy: app }
"#;

/// What the API was asked, and the comments that it has.
#[derive(Default)]
struct State {
    asked: Vec<(String, String, String)>,
    comments: Vec<Value>,
    /// The token may only read.
    is_fork: bool,
    files: Vec<(&'static str, Vec<u8>)>,
}

/// Releases, GitHub's and GitLab's comments.
struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &mut shared.lock().unwrap());
            }
        });
        Self { address, state }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    fn bodies(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let bodies = state.comments.iter().map(|one| one["body"].as_str());
        bodies.map(|body| body.unwrap().to_owned()).collect()
    }
}

fn answer(mut stream: &TcpStream, state: &mut State) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).unwrap() > 2 {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let mut first = head.split(' ');
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let (status, answer) = respond(state, method, path, &head, &body);
    let line = format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(line.as_bytes()).unwrap();
    stream.write_all(&answer).unwrap();
}

fn respond(state: &mut State, method: &str, path: &str, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let file = path.rsplit('/').next().unwrap();
    if let Some((_, content)) = state.files.iter().find(|(name, _)| *name == file) {
        return (200, content.clone());
    }
    let line = format!("{method} {path}");
    let asked = String::from_utf8(body.to_vec()).unwrap();
    state.asked.push((line.clone(), head.to_owned(), asked));
    let list = [
        "/repos/acme/app/issues/7/comments",
        "/projects/12/merge_requests/7/notes",
    ];
    let plain = path.split('?').next().unwrap();
    if method != "GET" && state.is_fork {
        return (403, b"{}".to_vec());
    }
    let text = || serde_json::from_slice::<Value>(body).unwrap()["body"].clone();
    let user = json!({ "login": "github-actions[bot]", "id": 41 });
    match method {
        "GET" if path == "/user" => (200, user.to_string().into_bytes()),
        "GET" if list.contains(&plain) => (
            200,
            Value::Array(state.comments.clone())
                .to_string()
                .into_bytes(),
        ),
        "POST" if list.contains(&plain) => {
            let id = 100 + state.comments.len();
            let comment = json!({ "id": id, "body": text(), "user": user, "author": user });
            state.comments.push(comment);
            (201, b"{}".to_vec())
        }
        "PATCH" | "PUT" => {
            let id = file.parse::<u64>().unwrap();
            let found = state
                .comments
                .iter_mut()
                .find(|one| one["id"] == id)
                .unwrap();
            found["body"] = text();
            (200, b"{}".to_vec())
        }
        _ => (404, b"{}".to_vec()),
    }
}

/// A pull request: a repository with a base and a change, checked out.
struct PullRequest {
    folder: TempDir,
    server: Server,
    sha256: String,
    fail_on_wider: &'static str,
    base: &'static str,
    _leaks: leaks::Guard,
}

impl PullRequest {
    fn new() -> Self {
        let guard = leaks::watch();
        leaks::secret("a token of the forge", TOKEN);
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start();
        let archive = archive(folder.path());
        let sha256 = HEXLOWER.encode(digest(&SHA256, &archive).as_ref());
        let installer = fs::read(root().join("deploy/install.sh")).unwrap();
        let name = format!("hallpass-{VERSION}-linux-{}.tar.gz", std::env::consts::ARCH);
        server.state.lock().unwrap().files =
            vec![(name.leak(), archive), ("install.sh", installer)];
        let request = Self {
            folder,
            server,
            sha256,
            fail_on_wider: "false",
            base: "HEAD~1",
            _leaks: guard,
        };
        for name in ["checkout/policies", "temp"] {
            fs::create_dir_all(request.path(name)).unwrap();
        }
        fs::write(request.path("summary"), "").unwrap();
        fs::write(
            request.path("event.json"),
            r#"{"pull_request":{"number":7}}"#,
        )
        .unwrap();
        request.git(&["init", "-q", "-b", "main"]);
        // The commit before that of the policies.
        request.git(&["commit", "-q", "--allow-empty", "-m", "first"]);
        request.commit(&[
            ("policies/root.yaml", POLICIES),
            ("policies/app.test.yaml", TESTS),
        ]);
        request
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, args: &[&str]) {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@acme.example"];
        let done = Command::new("git")
            .args(identity)
            .args(args)
            .current_dir(self.path("checkout"))
            .observed();
        assert!(done.status.success(), "{}", told(&done));
    }

    fn commit(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.path("checkout").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "-q", "-m", "policies"]);
    }

    fn command(&self, script: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .arg(script)
            .current_dir(self.path("checkout"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("HALLPASS_VERSION", VERSION)
            .env("HALLPASS_SHA256", &self.sha256)
            .env("HALLPASS_FOLDER", "policies")
            .env("HALLPASS_RELEASES", self.server.url());
        command
    }

    /// Runs the action's step as GitHub's runner does.
    fn github(&self) -> Output {
        let action = root().join("github-action/policy-review");
        self.command(&action.join("review.sh"))
            .env("GITHUB_ACTION_PATH", &action)
            .env("RUNNER_TEMP", self.path("temp"))
            .env("GITHUB_STEP_SUMMARY", self.path("summary"))
            .env("GITHUB_EVENT_PATH", self.path("event.json"))
            .env("GITHUB_API_URL", self.server.url())
            .env("GITHUB_REPOSITORY", "acme/app")
            .env("HALLPASS_AUTHOR", "github-actions[bot]")
            .env("HALLPASS_BASE", self.base)
            .env("HALLPASS_FAIL_ON_WIDER", self.fail_on_wider)
            .env("GITHUB_TOKEN", TOKEN)
            .observed()
    }

    /// Runs the script of the component as a runner of GitLab does.
    fn gitlab(&self, token: Option<&str>) -> Output {
        let component = root().join("deploy/gitlab/templates/policy-review.yml");
        let text = fs::read_to_string(component).unwrap();
        let (_, script) = text.split_once("    - |\n").unwrap();
        let lines = script.lines();
        let lines: Vec<&str> = lines
            .map_while(|line| line.strip_prefix("      "))
            .collect();
        let script = lines.join("\n");
        fs::write(self.path("script.sh"), script).unwrap();
        let installer = fs::read(root().join("deploy/install.sh")).unwrap();
        let installer = HEXLOWER.encode(digest(&SHA256, &installer).as_ref());
        let mut command = self.command(&self.path("script.sh"));
        command
            .env("CI_PROJECT_DIR", self.path("checkout"))
            .env("CI_JOB_ID", "5")
            .env("CI_API_V4_URL", self.server.url())
            .env("CI_MERGE_REQUEST_PROJECT_ID", "12")
            .env("CI_MERGE_REQUEST_IID", "7")
            .env("CI_MERGE_REQUEST_DIFF_BASE_SHA", self.base)
            .env("HALLPASS_FAIL_ON_WIDER", self.fail_on_wider)
            .env(
                "HALLPASS_INSTALLER",
                format!("{}/install.sh", self.server.url()),
            )
            .env("HALLPASS_INSTALLER_SHA256", installer);
        if let Some(token) = token {
            command.env("HALLPASS_REVIEW_TOKEN", token);
        }
        command.observed()
    }

    fn summary(&self) -> String {
        fs::read_to_string(self.path("summary")).unwrap()
    }
}

/// A release's archive, whose program starts the one of the tests.
fn archive(folder: &Path) -> Vec<u8> {
    let name = format!("hallpass-{VERSION}-linux-{}", std::env::consts::ARCH);
    let inner = folder.join(&name);
    fs::create_dir(&inner).unwrap();
    let program = inner.join("hallpass");
    let text = format!(
        "#!/bin/sh\nexec '{}' \"$@\"\n",
        env!("CARGO_BIN_EXE_hallpass")
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let packed = folder.join("packed");
    let mut pack = Command::new("tar");
    pack.arg("-czf")
        .arg(&packed)
        .arg("-C")
        .arg(folder)
        .arg(name);
    let packing = pack.observed();
    assert!(packing.status.success(), "{}", told(&packing));
    fs::read(packed).unwrap()
}

/// T-348
#[test]
fn a_pull_request_has_one_comment_of_ours_which_is_updated() {
    let request = PullRequest::new();
    // Others may write our marker, and change their comments later.
    let foreign = json!({ "id": 1, "body": format!("{MARKER}\nall is well"), "user": { "login": "mallory", "id": 9 } });
    request
        .server
        .state
        .lock()
        .unwrap()
        .comments
        .push(foreign.clone());
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    let bodies = request.server.bodies();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert!(bodies[1].starts_with(MARKER), "{}", bodies[1]);
    for part in ["### Check: passed", "### Tests: passed", "main gets it"] {
        assert!(bodies[1].contains(part), "{}", bodies[1]);
        assert!(request.summary().contains(part), "{}", request.summary());
    }
    for (line, head, _) in request.server.asked() {
        assert!(
            head.contains(&format!("authorization: Bearer {TOKEN}")),
            "{line}"
        );
        assert!(!line.contains(TOKEN), "{line}");
    }

    request.commit(&[(
        "policies/app.test.yaml",
        &TESTS.replace("gets: { policy: app }", "gets: { policy: other }"),
    )]);
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(4), "{}", told(&ran));
    let bodies = request.server.bodies();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert!(bodies[1].contains("### Tests: failed"), "{}", bodies[1]);
    assert_eq!(bodies[0], foreign["body"]);
}

/// T-349
#[test]
fn a_pull_request_from_a_fork_has_a_summary_and_an_exit_code() {
    let request = PullRequest::new();
    request.server.state.lock().unwrap().is_fork = true;
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert!(
        told(&ran).contains("the token may not write comments"),
        "{}",
        told(&ran)
    );
    assert!(request.summary().contains("### Check: passed"));
    request.commit(&[("policies/root.yaml", "issuers: [\n")]);
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(4), "{}", told(&ran));
    assert!(request.summary().contains("### Check: failed"));
    assert!(request.server.bodies().is_empty());
    // Nothing of ours asks to run with the base's secrets.
    for file in [
        "github-action/policy-review/action.yml",
        "docs/ci/policy-review.md",
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let yaml = text.lines().filter(|line| !line.contains("never"));
        assert!(
            !yaml.collect::<String>().contains("pull_request_target"),
            "{file}"
        );
    }
}

/// T-347
#[test]
fn texts_of_a_pull_request_are_no_markup_no_mention_and_no_command() {
    let request = PullRequest::new();
    let name = "x ``` @acme/all <img src=x> ::error::x ##[error]x /close [l](https://evil.test)";
    request.commit(&[
        (
            "policies/app.test.yaml",
            &TESTS.replace("main gets it", &format!("'{name}'")),
        ),
        ("policies/@all`<b>.yaml", "policies: {}\n"),
    ]);
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(4), "{}", told(&ran));
    request.commit(&[(
        "policies/@all`<b>.yaml",
        &format!("# {name}\n{}", "waive: []\n"),
    )]);
    request.github();
    fs::remove_file(request.path("checkout/policies/@all`<b>.yaml")).unwrap();
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    let printed = told(&ran);
    assert!(
        !printed
            .lines()
            .any(|line| line.trim_start().starts_with("::error::x")),
        "{printed}"
    );
    assert!(!printed.contains("##[error]"), "{printed}");
    for body in [&request.server.bodies()[0], &request.summary()] {
        assert!(body.contains("@acme/all"), "{body}");
        // What is outside of blocks is ours.
        let mut fence = None;
        for line in body.lines() {
            let run = line.len() - line.trim_start_matches('`').len();
            match fence {
                None if run >= 3 => fence = Some(run),
                Some(open) if run >= open && line.len() == run => fence = None,
                None => assert!(!line.contains('@') && !line.contains("<img"), "{line}"),
                Some(_) => {}
            }
        }
        assert_eq!(fence, None, "{body}");
    }
}

#[test]
fn the_comment_says_whom_a_change_lets_in() {
    let mut request = PullRequest::new();
    request.base = "0123456789abcdef0123456789abcdef01234567";
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(5), "{}", told(&ran));
    let first = request.summary();
    assert!(first.contains("### Changes: not compared"), "{first}");
    assert!(first.contains("fetch the commit"), "{first}");
    request.base = "HEAD~1";
    let wider = POLICIES.replace(", ref: refs/heads/main", "");
    request.commit(&[("policies/root.yaml", &wider)]);
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    let bodies = request.server.bodies();
    let body = bodies.last().unwrap();
    for part in [
        "### Changes since ` HEAD~1 `",
        "`app`: wider",
        "repository: \"acme/app\"",
    ] {
        assert!(body.contains(part), "{body}");
    }
    request.fail_on_wider = "true";
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(4), "{}", told(&ran));
    // The other way round no job gains anything.
    request.commit(&[("policies/root.yaml", POLICIES)]);
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    let body = &request.server.bodies()[0];
    assert!(body.contains("Proven: no job gains anything"), "{body}");
    let ran = request.gitlab(None);
    assert!(
        told(&ran).contains("Proven: no job gains anything"),
        "{}",
        told(&ran)
    );
}

/// T-349
#[test]
fn what_is_not_the_pinned_release_is_not_run() {
    let mut request = PullRequest::new();
    request.sha256 = "0".repeat(64);
    let ran = request.github();
    assert_eq!(ran.status.code(), Some(1), "{}", told(&ran));
    assert_eq!(request.summary(), "");
    let ran = request.gitlab(Some(TOKEN));
    assert_eq!(ran.status.code(), Some(1), "{}", told(&ran));
    request.sha256 = String::new();
    let ran = request.github();
    assert!(
        told(&ran).contains("input sha256 is empty"),
        "{}",
        told(&ran)
    );
    assert!(request.server.asked().is_empty());
}

/// T-348
#[test]
fn a_change_that_must_not_be_wider_is_never_left_uncompared() {
    let mut request = PullRequest::new();
    (request.fail_on_wider, request.base) = ("true", "");
    for (done, expected) in [
        (request.github(), "fail-on-wider needs a commit"),
        (request.gitlab(None), "fail_on_wider needs the pipeline"),
    ] {
        assert_eq!(done.status.code(), Some(1), "{}", told(&done));
        assert!(told(&done).contains(expected), "{}", told(&done));
    }
}

/// T-348
#[test]
fn a_merge_request_has_one_note_of_ours_if_there_is_a_token() {
    let request = PullRequest::new();
    let ran = request.gitlab(None);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert!(told(&ran).contains("### Check: passed"), "{}", told(&ran));
    assert!(request.server.asked().is_empty());
    let report = fs::read(request.path("checkout/hallpass-code-quality.json")).unwrap();
    assert!(serde_json::from_slice::<Value>(&report).unwrap().is_array());

    let foreign =
        json!({ "id": 1, "body": format!("{MARKER}\nall is well"), "author": { "id": 9 } });
    request.server.state.lock().unwrap().comments.push(foreign);
    for _ in 0..2 {
        let ran = request.gitlab(Some(TOKEN));
        assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    }
    let bodies = request.server.bodies();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert!(bodies[1].contains("### Tests: passed"), "{}", bodies[1]);
    let asked = request.server.asked();
    assert!(asked.iter().any(|(line, _, _)| line.starts_with("PUT ")));
    assert!(
        asked
            .iter()
            .all(|(_, head, _)| head.contains(&format!("private-token: {TOKEN}")))
    );
    assert!(!request.path("checkout.tmp/hallpass-review-5").exists());
}
