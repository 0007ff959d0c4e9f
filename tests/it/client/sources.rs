//! The job's token in each CI: small servers that answer as the CI's own endpoint does, fake programs
//! in PATH, and what is said when either fails.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::fake::{Asked, Fake, Reply, hallpass, stderr, stdout, token_for, told};
use crate::support::leaks::{self, Observed as _};
use crate::support::wait::until;

/// The secret that authenticates the job at its CI.
const BEARER: &str = "canary-71b0d9c4e2f8a6";

/// A CI's service: the variables of a job, with the server's address for `URL`, and the shape of what it
/// is asked and answers.
struct Service {
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    method: &'static str,
    path: &'static str,
    /// Where the bearer token is.
    header: Option<(&'static str, &'static str)>,
    /// The member that holds the token; none where the whole body is it.
    member: Option<&'static str>,
    /// What errors call it.
    who: &'static str,
}

const SERVICES: [Service; 6] = [
    Service {
        name: "github",
        variables: &[
            ("GITHUB_ACTIONS", "true"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", "URL/ci?api-version=2.0"),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", BEARER),
        ],
        method: "GET",
        path: "/ci",
        header: Some(("authorization", "bearer ")),
        member: Some("value"),
        who: "GitHub's token service",
    },
    Service {
        name: "forgejo",
        variables: &[
            ("GITHUB_ACTIONS", "true"),
            ("FORGEJO_ACTIONS", "true"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", "URL/ci?x=y"),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", BEARER),
        ],
        method: "GET",
        path: "/ci",
        header: Some(("authorization", "bearer ")),
        member: Some("value"),
        who: "Forgejo's token service",
    },
    Service {
        name: "azure-devops",
        variables: &[
            ("TF_BUILD", "True"),
            ("SYSTEM_OIDCREQUESTURI", "URL/ci"),
            ("SYSTEM_ACCESSTOKEN", BEARER),
        ],
        method: "POST",
        path: "/ci",
        header: Some(("authorization", "Bearer ")),
        member: Some("oidcToken"),
        who: "Azure Pipelines' token service",
    },
    Service {
        name: "codefresh",
        variables: &[
            ("CF_BUILD_ID", "6512bd43d9caa6e02c990b0a"),
            ("CF_OIDC_REQUEST_URL", "URL/ci"),
            ("CF_OIDC_REQUEST_TOKEN", BEARER),
        ],
        method: "GET",
        path: "/ci",
        header: Some(("authorization", "")),
        member: Some("id_token"),
        who: "Codefresh's token service",
    },
    Service {
        name: "bitrise",
        variables: &[
            ("BITRISE_IO", "true"),
            ("BITRISE_BUILD_URL", "URL/build/5f1a"),
            ("BITRISE_BUILD_API_TOKEN", BEARER),
        ],
        method: "POST",
        path: "/build/5f1a/id_token.json",
        header: Some(("build_api_token", "")),
        member: Some("id_token"),
        who: "Bitrise's token service",
    },
    Service {
        name: "google",
        variables: &[("K_SERVICE", "migrate"), ("GCE_METADATA_HOST", "HOST")],
        method: "GET",
        path: "/computeMetadata/v1/instance/service-accounts/default/identity",
        header: None,
        member: None,
        who: "Google's metadata server",
    },
];

impl Service {
    /// A job of this CI that asks `fake` for a credential, and whose CI is at `address`.
    fn job(&self, fake: &Fake, address: &str) -> Command {
        leaks::secret("a request token", BEARER);
        let mut command = fake.hallpass(&["get", "shop-db/migrate", "--timeout", "2s"]);
        let host = address.trim_start_matches("http://");
        command.envs(
            self.variables
                .iter()
                .map(|(name, value)| (name, value.replace("URL", address).replace("HOST", host))),
        );
        command
    }

    fn reply(&self, token: &str) -> Reply {
        match self.member {
            Some(member) => Reply::json(200, &json!({ member: token, "expires_in": 300 })),
            None => Reply {
                body: token.as_bytes().to_vec(),
                ..Reply::json(200, &Value::Null)
            },
        }
    }
}

/// T-383
#[test]
fn each_service_is_asked_as_its_ci_documents() {
    for service in &SERVICES {
        let fake = Fake::start();
        let token = fake.token("1");
        fake.next(service.path, service.reply(&token));
        let output = service.job(&fake, &fake.url()).observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let asked: Asked = fake.asked(service.path).remove(0);
        assert_eq!(asked.method, service.method, "{}", service.name);
        if let Some((header, scheme)) = service.header {
            assert_eq!(asked.headers[header], format!("{scheme}{BEARER}"));
        }
        assert!(!asked.query.values().any(|value| value.contains(BEARER)));
        let audience = match service.name {
            "azure-devops" => {
                assert_eq!(asked.query["api-version"], "7.1");
                assert_eq!(asked.body, b"");
                None
            }
            "bitrise" => {
                let body: Value = serde_json::from_slice(&asked.body).unwrap();
                assert_eq!(body.as_object().unwrap().len(), 1);
                Some(body["aud"].as_str().unwrap().to_owned())
            }
            _ => asked.query.get("audience").cloned(),
        };
        if service.name != "azure-devops" {
            assert_eq!(audience, Some(fake.url()), "{}", service.name);
        }
        if service.name == "google" {
            assert_eq!(asked.headers["metadata-flavor"], "Google");
            assert_eq!(asked.query["format"], "full");
        }
        assert_eq!(fake.asked("/token")[0].form["subject_token"], token);
    }
}

/// T-383
#[test]
fn what_a_service_answers_instead_of_a_token_ends_in_the_fix_and_is_not_repeated() {
    const SECRET: &str = "canary-5d88f0b1a7e3c9";
    for service in &SERVICES {
        let fake = Fake::start();
        leaks::secret("an answer of a CI", SECRET);
        let status = |status| Reply::json(status, &json!({ "message": SECRET }));
        let cases = [
            (status(401), 5, "gave no token: it answers 401; "),
            (status(404), 5, "gave no token: it answers 404; "),
            (
                status(500),
                5,
                "gave no token: it answers 500; run the job again",
            ),
            (
                status(302).with("location", "https://evil.example/"),
                3,
                "status 302 is a redirect, which hallpass does not follow\n",
            ),
            (service.reply(SECRET), 5, "has no ID token: expected a JWT"),
            (
                Reply {
                    body: vec![b'x'; 300_000],
                    ..status(200)
                },
                3,
                "it is longer than 262144 bytes",
            ),
        ];
        for (reply, code, expected) in cases {
            fake.next(service.path, reply);
            let output = service.job(&fake, &fake.url()).observed();
            assert_eq!(output.status.code(), Some(code), "{}", told(&output));
            let said = stderr(&output);
            assert!(said.contains(expected), "{}: {said}", service.name);
            assert!(said.contains(service.who), "{}: {said}", service.name);
        }
        // What a service says of repeats is the broker's word only, and is neither heeded nor shown.
        let says = json!({ "error": SECRET, "error_description": SECRET, "retryable": true });
        fake.next(service.path, Reply::json(403, &says));
        let refused = service.job(&fake, &fake.url()).observed();
        assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
        let expected = "gave no token: it answers 403; ";
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
        assert_eq!(fake.asked("/token").len(), 0);
    }
}

/// T-383
#[test]
fn a_service_that_does_not_answer_is_given_up_in_time() {
    // Connections are accepted by the system, and nothing reads them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    for service in &SERVICES {
        let fake = Fake::start();
        let output = service.job(&fake, &address).observed();
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
        let expected = format!(
            "hallpass: {} could not be reached: it did not answer in time\n",
            service.who
        );
        assert_eq!(stderr(&output), expected);
    }
}

/// T-383
#[test]
fn what_a_service_that_stays_busy_says_is_not_shown() {
    let (fake, service) = (Fake::start(), &SERVICES[0]);
    let says = json!({ "error": BEARER, "retryable": true });
    for _ in 0..40 {
        fake.next(service.path, Reply::json(503, &says));
    }
    let output = service.job(&fake, &fake.url()).observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let said = stderr(&output);
    // The last try may have no time left for an answer.
    let expected = ["it answers 503\n", "it did not answer in time\n"]
        .map(|how| format!("hallpass: {} could not be reached: {how}", service.who));
    assert!(expected.contains(&said), "{said}");
}

/// T-383
#[test]
fn a_service_that_is_busy_is_asked_again() {
    for service in &SERVICES {
        let fake = Fake::start();
        let token = fake.token("1");
        fake.next(service.path, Reply::json(503, &Value::Null));
        fake.next(service.path, service.reply(&token));
        let output = service.job(&fake, &fake.url()).observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }
}

/// T-381
#[test]
fn a_request_token_is_sent_to_no_plain_http_address() {
    for service in SERVICES.iter().filter(|service| service.header.is_some()) {
        let fake = Fake::start();
        let output = service.job(&fake, "http://ci.example").observed();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
        let said = stderr(&output);
        assert!(said.contains("is not an https address"), "{said}");
    }
}

/// T-381
#[test]
fn the_metadata_server_is_a_host_and_no_address() {
    let fake = Fake::start();
    for host in ["evil.example/x?", "user@evil.example", "a b", "x#"] {
        let output = fake
            .hallpass(&["get", "shop-db/migrate"])
            .env("GCE_METADATA_HOST", host)
            .observed();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
        assert!(stderr(&output).contains("GCE_METADATA_HOST is not a host name"));
    }
}

/// T-108
#[test]
fn a_token_whose_audience_no_job_can_choose_is_not_sent() {
    let fake = Fake::start();
    let azure = &SERVICES[2];
    let other = token_for(&"api://AzureADTokenExchange".into(), "1");
    fake.next(azure.path, azure.reply(&other));
    let output = azure.job(&fake, &fake.url()).observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert!(stderr(&output).contains("use a token of a service connection"));
    for (mark, name) in [
        (("SPACELIFT_OIDC_TOKEN", "x"), "SPACELIFT_OIDC_TOKEN"),
        (("SEMAPHORE", "true"), "SEMAPHORE_OIDC_TOKEN"),
    ] {
        let output = fake
            .hallpass(&["get", "shop-db/migrate"])
            .env(mark.0, mark.1)
            .env(name, token_for(&"acme.semaphoreci.com".into(), "1"))
            .observed();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
        assert!(stderr(&output).contains("which no job can choose"));
    }
    assert_eq!(fake.asked("/token").len(), 0);
}

#[test]
fn a_token_in_a_variable_or_file_of_the_ci_is_found() {
    let fake = Fake::start();
    let token = fake.token("1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let file = file.to_str().unwrap();
    let jobs: [&[(&str, &str)]; 6] = [
        &[
            ("BITBUCKET_BUILD_NUMBER", "7"),
            ("BITBUCKET_STEP_OIDC_TOKEN", &token),
        ],
        &[
            ("TFC_RUN_ID", "run-1"),
            ("TFC_WORKLOAD_IDENTITY_TOKEN", "for another"),
            ("TFC_WORKLOAD_IDENTITY_TOKEN_HALLPASS", &token),
        ],
        &[("BUDDY", "true"), ("HALLPASS_ID_TOKEN", &token)],
        &[
            ("JENKINS_URL", "https://jenkins.example/"),
            ("HALLPASS_ID_TOKEN_VARIABLE", "TOKEN"),
            ("TOKEN", &token),
        ],
        &[
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("HALLPASS_ID_TOKEN_FILE", file),
        ],
        // A job on a cluster: the CI comes first.
        &[
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("GITLAB_CI", "true"),
            ("HALLPASS_ID_TOKEN", &token),
        ],
    ];
    for variables in jobs {
        let before = fake.asked("/token").len();
        let output = fake
            .hallpass(&["get", "shop-db/migrate"])
            .envs(variables.iter().copied())
            .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert_eq!(fake.asked("/token")[before].form["subject_token"], token);
    }
    let output = fake
        .hallpass(&["get", "shop-db/migrate", "--source", "kubernetes"])
        .env("HALLPASS_ID_TOKEN_FILE", file)
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn half_of_a_set_up_names_the_missing_variable_and_the_fix() {
    let fake = Fake::start();
    let said = |variables: &[(&str, &str)]| {
        let output = fake
            .hallpass(&["get", "shop-db/migrate"])
            .envs(variables.iter().copied())
            .observed();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
        stderr(&output).replace(&fake.url(), "http://broker")
    };
    insta::assert_snapshot!(said(&[("BITBUCKET_BUILD_NUMBER", "7")]), @r"
    hallpass: BITBUCKET_STEP_OIDC_TOKEN is not set; add to the step in bitbucket-pipelines.yml, and name no other audience:

      oidc:
        audiences: [ http://broker ]

    (if the token also has Bitbucket's own audience, allow that audience with `--allow-audience AUDIENCE`)
    ");
    insta::assert_snapshot!(said(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]), @r"
    hallpass: file `/var/run/secrets/hallpass/token` does not exist; add to the pod, and mount the volume at /var/run/secrets/hallpass (another path: HALLPASS_ID_TOKEN_FILE):

      volumes:
        - name: hallpass
          projected:
            sources:
              - serviceAccountToken: { audience: http://broker, expirationSeconds: 3600, path: token }
    ");
    let half = [
        ("CF_BUILD_ID", "1"),
        ("CF_OIDC_REQUEST_URL", "https://g.codefresh.io/x"),
    ];
    insta::assert_snapshot!(said(&half), @"hallpass: CF_OIDC_REQUEST_TOKEN is not set; Codefresh sets CF_OIDC_REQUEST_URL and CF_OIDC_REQUEST_TOKEN in the steps of a pipeline: run hallpass in a freestyle step, and pass both on to containers that it starts");
    insta::assert_snapshot!(said(&[("FLY_MACHINE_ID", "1")]), @"hallpass: socket `/.fly/api` does not exist; Fly.io has the socket /.fly/api in every machine; in a container inside of it, mount the socket and set HALLPASS_FLY_SOCKET to its path");
}

/// Fly.io's socket: passes each connection on to the fake.
fn fly(fake: &Fake, socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let address = fake.url().trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let far = TcpStream::connect(&address).unwrap();
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (mut from, mut to) = (far, near);
            if std::io::copy(&mut from, &mut to).is_err() {}
        }
    });
}

#[test]
fn fly_is_asked_over_its_socket() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api");
    fly(&fake, &socket);
    let get = || {
        fake.hallpass(&["get", "shop-db/migrate"])
            .env("FLY_MACHINE_ID", "683d314fdd4d68")
            .env("HALLPASS_FLY_SOCKET", &socket)
            // The platform is never asked through the proxy.
            .env("HALLPASS_PROXY", "http://127.0.0.1:1")
            .observed()
    };
    let token = fake.token("1");
    let body = token.as_bytes().to_vec();
    let reply = Reply::json(200, &Value::Null);
    fake.next("/v1/tokens/oidc", Reply { body, ..reply });
    let output = get();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let asked = fake.asked("/v1/tokens/oidc").remove(0);
    assert_eq!(asked.method, "POST");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body, json!({ "aud": fake.url() }));
    assert_eq!(fake.asked("/token")[0].form["subject_token"], token);
    let output = get();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert!(stderr(&output).contains("Fly.io's API gave no token: it answers 404; "));
}

/// A CI's program that prints tokens: its variables, its name, and the line that it must be called with.
struct Program {
    variables: &'static [(&'static str, &'static str)],
    name: &'static str,
    line: &'static str,
}

const PROGRAMS: [Program; 4] = [
    Program {
        variables: &[("CIRCLECI", "true")],
        name: "circleci",
        line: r#"run oidc get --claims {"aud":"BROKER"}"#,
    },
    Program {
        variables: &[("BUILDKITE", "true")],
        name: "buildkite-agent",
        line: "oidc request-token --audience BROKER --claim organization_id,pipeline_id",
    },
    Program {
        variables: &[("CODEBUILD_BUILD_ID", "shop:1")],
        name: "aws",
        line: "sts get-web-identity-token --audience BROKER --signing-algorithm RS256 --duration-seconds 300 --query WebIdentityToken --output text",
    },
    Program {
        variables: &[("SPIFFE_ENDPOINT_SOCKET", "unix:///run/spire/agent.sock")],
        name: "spire-agent",
        line: "api fetch jwt -audience BROKER -socketPath /run/spire/agent.sock",
    },
];

impl Program {
    /// A job whose PATH has the program `script` before the system's.
    fn job(&self, fake: &Fake, folder: &Path, script: &str) -> Output {
        write_program(&folder.join(self.name), script);
        fake.hallpass(&["get", "shop-db/migrate", "--timeout", "2s"])
            .envs(self.variables.iter().copied())
            .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
            .observed()
    }
}

/// T-382
#[tokio::test]
async fn a_program_that_takes_too_long_is_ended_with_what_it_started() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let note = folder.path().join("started");
    let script = format!("sleep 600 &\necho $! > {}\nwait", note.display());
    let output = PROGRAMS[0].job(&fake, folder.path(), &script);
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    let id = fs::read_to_string(note).unwrap();
    let stat = format!("/proc/{}/stat", id.trim());
    // The system may keep the entry of an ended process until its new parent looks.
    let lives = || fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z"));
    until("its child is ended", async || !lives()).await;
}

/// T-434
#[tokio::test]
async fn a_program_is_ended_with_what_it_started_when_the_client_is_interrupted() {
    for (command, signal) in [
        ("get", Signal::SIGINT),
        ("list", Signal::SIGTERM),
        ("doctor", Signal::SIGHUP),
        ("exec", Signal::SIGINT),
    ] {
        let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
        let note = folder.path().join("started");
        let script = format!(
            "sleep 600 &\necho $! > {}.new && mv {0}.new {0}\nwait",
            note.display()
        );
        write_program(&folder.path().join("spire-agent"), &script);
        let arguments: &[&str] = match command {
            "get" => &["shop-db/migrate"],
            "exec" => &["shop-db/migrate", "--", "true"],
            _ => &[],
        };
        let mut child = fake
            .hallpass(&[&[command, "--source", "spiffe"], arguments].concat())
            .env("SPIFFE_ENDPOINT_SOCKET", "unix:///run/spire/agent.sock")
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the program has started", async || note.exists()).await;
        let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(id, signal).unwrap();
        let status = child.wait().unwrap();
        let ended = match command {
            "exec" => status.code() == Some(128 + signal as i32),
            _ => status.signal() == Some(signal as i32),
        };
        assert!(ended, "{command}: {status}");
        let id = fs::read_to_string(note).unwrap();
        let stat = format!("/proc/{}/stat", id.trim());
        let lives = || fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z"));
        until("its child is ended", async || !lives()).await;
    }
}

/// T-434: as `nohup` ignores SIGHUP, and a shell SIGINT for what it runs with `&`.
#[tokio::test]
async fn a_signal_that_the_caller_ignores_ends_no_program() {
    for (command, name, signal) in [
        ("get", "INT", Signal::SIGINT),
        ("exec", "HUP", Signal::SIGHUP),
    ] {
        let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
        let (note, go) = (folder.path().join("started"), folder.path().join("go"));
        let script = format!(
            "touch {}\nwhile [ ! -e {} ]; do sleep 0.05; done\necho '{}'",
            note.display(),
            go.display(),
            fake.token("1")
        );
        write_program(&folder.path().join("spire-agent"), &script);
        let mut arguments = vec![command, "--source", "spiffe", "shop-db/migrate"];
        if command == "exec" {
            arguments.extend(["--", "true"]);
        }
        let inner = fake.hallpass(&arguments);
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("trap '' {name}; exec \"$@\""), "sh"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_clear()
            .envs(
                inner
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("SPIFFE_ENDPOINT_SOCKET", "unix:///run/spire/agent.sock")
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the program has started", async || note.exists()).await;
        let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(id, signal).unwrap();
        // A client that the signal ends has ended by then, or is ended after its grace.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        fs::write(&go, "").unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{command}: {status}");
    }
}

/// T-392
#[test]
fn on_a_platform_a_later_build_never_gets_the_token_of_an_earlier_one() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let next = folder.path().join("next");
    let script = format!(
        "read -r token < {0} && printf '%s\\n' \"$token\" && sed -i 1d {0}",
        next.display()
    );
    write_program(&folder.path().join("spire-agent"), &script);
    let tokens: Vec<String> = (1..=6).map(|id| fake.token(&id.to_string())).collect();
    fs::write(&next, tokens.join("\n") + "\n").unwrap();
    let get = |build: Option<&str>| {
        let mut job = fake.hallpass(&["get", "shop-db/migrate", "--source", "spiffe"]);
        if let Some(build) = build {
            job.env("JENKINS_URL", "https://jenkins.example")
                .env("BUILD_TAG", build);
        }
        let output = job
            .env("SPIFFE_ENDPOINT_SOCKET", "unix:///run/spire/agent.sock")
            .env("HALLPASS_JOB_DIR", folder.path())
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
            .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let asked = fake.asked("/token");
        asked.last().unwrap().form["subject_token"].clone()
    };
    let used = [
        None,
        None,
        Some(""),
        Some("jenkins-shop-7"),
        Some("jenkins-shop-7"),
        Some("jenkins-shop-8"),
    ];
    let used = used.map(get);
    assert_eq!(used[3], used[4], "steps of one build share their login");
    let all: std::collections::BTreeSet<_> = used.iter().collect();
    assert_eq!(all.len(), 5);
}

fn write_program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn each_program_is_called_as_its_ci_documents() {
    for program in &PROGRAMS {
        let fake = Fake::start();
        let folder = tempfile::tempdir().unwrap();
        let token = fake.token("1");
        let line = program.line.replace("BROKER", &fake.url());
        let printed = match program.name {
            "spire-agent" => format!(
                "token(spiffe://acme.dev/shop):\n\t{token}\nbundle(spiffe://acme.dev):\n\t{{\"keys\": []}}"
            ),
            _ => token.clone(),
        };
        let script = format!("[ \"$*\" = '{line}' ] || exit 9\nprintf '%s\\n' '{printed}'");
        let output = program.job(&fake, folder.path(), &script);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert_eq!(fake.asked("/token")[0].form["subject_token"], token);
    }
}

/// T-382
#[test]
fn a_program_that_fails_is_explained_and_what_it_prints_is_not_repeated() {
    const SECRET: &str = "canary-e0a4c7715b92d6";
    for program in &PROGRAMS {
        let fake = Fake::start();
        let folder = tempfile::tempdir().unwrap();
        leaks::secret("what a program printed", SECRET);
        let two = [fake.token("1"), fake.token("2")].join("\n");
        let several = format!("printf '%s\\n' '{two}'");
        let cases = [
            (
                "echo canary-e0a4c7715b92d6 >&2; echo canary-e0a4c7715b92d6; exit 3",
                "it exited with 3 (its messages are not shown",
            ),
            ("kill -9 $$", "a signal ended it"),
            ("exec sleep 600", "it did not finish in time"),
            (
                "exec yes canary-e0a4c7715b92d6",
                "its output is longer than 64 KiB",
            ),
            (
                "echo canary-e0a4c7715b92d6",
                "has no ID token: expected a JWT",
            ),
            (several.as_str(), "it printed several tokens"),
        ];
        for (script, expected) in cases {
            let output = program.job(&fake, folder.path(), script);
            assert_eq!(output.status.code(), Some(5), "{}", told(&output));
            let said = stderr(&output);
            assert!(said.contains(expected), "{}: {said}", program.name);
        }
        assert_eq!(fake.asked("/token").len(), 0);
    }
}

/// T-382
#[test]
fn a_program_of_the_checkout_is_not_the_cis() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    for program in &PROGRAMS {
        write_program(
            &folder.path().join(program.name),
            &format!("touch {}", ran.display()),
        );
        for path in ["", ".", "bin/..:"] {
            let output = fake
                .hallpass(&["get", "shop-db/migrate"])
                .envs(program.variables.iter().copied())
                .env("PATH", path)
                .current_dir(folder.path())
                .observed();
            assert_eq!(output.status.code(), Some(5), "{}", told(&output));
            let expected = format!(
                "command `{}` is not in an absolute folder of PATH",
                program.name
            );
            assert!(stderr(&output).contains(&expected), "{}", told(&output));
        }
    }
    assert!(!ran.exists());
}

/// T-93
#[test]
fn a_command_does_not_get_the_variables_that_give_tokens() {
    let fake = Fake::start();
    let variables = [
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "BITBUCKET_STEP_OIDC_TOKEN",
        "CF_OIDC_REQUEST_TOKEN",
        "HALLPASS_ID_TOKEN",
        "SEMAPHORE_OIDC_TOKEN",
        "SPACELIFT_OIDC_TOKEN",
        "TFC_WORKLOAD_IDENTITY_TOKEN",
        "VERCEL_OIDC_TOKEN",
    ];
    let names = ["sh", "-c", "env | cut -d= -f1"];
    let mut command = fake.hallpass(&["exec", "shop-db/migrate", "--"]);
    command.args(names);
    for name in variables {
        command.env(name, fake.token("1"));
    }
    let output = command.observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    for name in variables {
        assert!(!stdout(&output).lines().any(|line| line == name), "{name}");
    }
}

#[test]
fn a_source_that_does_not_exist_is_a_usage_error() {
    let output = hallpass(&["get", "a", "--source", "gihub"]).observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(stderr(&output).contains("a similar value exists: 'github'"));
}
