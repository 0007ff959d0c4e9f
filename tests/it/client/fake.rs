//! A broker that is not one: it answers what a test tells it to, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::support::leaks;

pub(crate) const PASSWORD: &str = "canary-9f27c4d1e6b3";
pub(crate) const LEASE: &str = "hpl_canary-51c8e07a2f";
const ACCESS: &str = "canary.5d2e9c.a07f13";
const REQUEST_TOKEN: &str = "canary-e81d07b4c2";

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) form: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        }
    }

    pub(crate) fn of_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// The fake, on a free port of this machine, until it is dropped.
pub(crate) struct Fake {
    address: SocketAddr,
    state: Arc<State>,
    _leaks: leaks::Guard,
}

#[derive(Default)]
struct State {
    asked: Mutex<Vec<Asked>>,
    news: Condvar,
    /// Answers by path that come before the usual one.
    next: Mutex<BTreeMap<String, VecDeque<Reply>>>,
    closed: std::sync::atomic::AtomicBool,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let guard = leaks::watch();
        leaks::secret("a password", PASSWORD);
        leaks::prefixed("a lease handle", LEASE);
        leaks::secret("a token", ACCESS);
        leaks::secret("a request token", REQUEST_TOKEN);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closed.load(std::sync::atomic::Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&shared, address, stream.unwrap()));
            }
        });
        Self {
            address,
            state,
            _leaks: guard,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request for `path` gets this instead of the usual answer.
    pub(crate) fn next(&self, path: &str, reply: Reply) -> &Self {
        let mut next = self.state.next.lock().unwrap();
        next.entry(path.to_owned()).or_default().push_back(reply);
        drop(next);
        self
    }

    /// What was asked of `path` so far.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.state.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| asked.path == path)
            .cloned()
            .collect()
    }

    /// Waits until `path` was asked for `count` times.
    pub(crate) fn wait_for(&self, path: &str, count: usize) {
        let asked = self.state.asked.lock().unwrap();
        let (_asked, time) = self
            .state
            .news
            .wait_timeout_while(asked, Duration::from_secs(60), |asked| {
                asked.iter().filter(|asked| asked.path == path).count() < count
            })
            .unwrap();
        assert!(!time.timed_out(), "`{path}` was not asked for");
    }

    /// The real binary with these arguments, a scrubbed environment and this broker.
    pub(crate) fn hallpass(&self, arguments: &[&str]) -> Command {
        let mut command = hallpass(arguments);
        command.env("HALLPASS_BROKER", self.url());
        command
    }

    /// The same as a job of GitHub's.
    pub(crate) fn on_github(&self, arguments: &[&str]) -> Command {
        let mut command = self.hallpass(arguments);
        command
            .env("GITHUB_ACTIONS", "true")
            .env(
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                format!("{}/idtoken?api-version=2.0", self.url()),
            )
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN)
            .envs([
                ("GITHUB_RUN_ID", "9001"),
                ("GITHUB_RUN_ATTEMPT", "1"),
                ("GITHUB_JOB", "deploy"),
            ]);
        command
    }

    /// The same as a job of GitLab's, with this token.
    pub(crate) fn on_gitlab(&self, arguments: &[&str], token: &str) -> Command {
        let mut command = self.hallpass(arguments);
        command
            .env("GITLAB_CI", "true")
            .env("HALLPASS_ID_TOKEN", token);
        command
    }

    /// A token for this broker.
    pub(crate) fn token(&self, id: &str) -> String {
        token(&self.url(), id)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state
            .closed
            .store(true, std::sync::atomic::Ordering::SeqCst);
        // Wakes the listener, so that its thread sees the flag.
        drop(TcpStream::connect(self.address));
    }
}

/// The real binary, which sees nothing of this process's environment but where programs are.
pub(crate) fn hallpass(arguments: &[&str]) -> Command {
    let path = std::env::vars_os()
        .find(|(name, _)| name == "PATH")
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    command.args(arguments).env_clear().env(path.0, path.1);
    command
}

/// An unsigned token: the client reads it, the fake does not.
pub(crate) fn token(audience: &str, id: &str) -> String {
    token_for(&audience.into(), id)
}

/// The same for an `aud` of any shape.
pub(crate) fn token_for(audience: &Value, id: &str) -> String {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let claims = json!({
        "iss": "https://token.actions.githubusercontent.com",
        "aud": audience,
        "jti": id,
        "iat": 1_790_000_000,
        "exp": 4_102_444_800_u64,
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "repository": "acme/shop",
        "repository_id": "702114589",
        "repository_owner": "acme",
        "repository_owner_id": "48213377",
        "ref": "refs/heads/main",
        "event_name": "push",
        "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        "job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
    });
    let token = format!(
        "{}.{}.{}",
        part(r#"{"alg":"RS256"}"#),
        part(&claims.to_string()),
        part("canary-signature-of-a-token")
    );
    leaks::token(&token);
    token
}

/// The answer of the token endpoint for a database.
pub(crate) fn login(credential: &str) -> Value {
    json!({
        "access_token": PASSWORD,
        "issued_token_type": "urn:hallpass:credential:postgres",
        "token_type": "N_A",
        "expires_in": 600,
        "hallpass": {
            "credential": {
                "kind": "postgres", "name": credential, "username": "hp_abc1234_x",
                "password": PASSWORD, "host": "db.acme.dev", "port": 5432, "database": "shop",
                "sslmode": "verify-full", "ca": null, "options": "-c role=shop_owner",
                "url": "postgresql://ignored",
            },
            "expires_at": "2099-01-01T00:00:00Z",
            "lease": LEASE,
            "policy": "shop-migrate",
            "policies_revision": "sha256:00",
            "decision": "dec_1",
        },
    })
}

/// The answer of the token endpoint for a signed token.
pub(crate) fn jwt(credential: &str) -> Value {
    json!({
        "access_token": ACCESS,
        "issued_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "deploy:staging",
        "hallpass": {
            "credential": { "kind": "jwt", "name": credential, "token": ACCESS },
            "expires_at": "2099-01-01T00:00:00Z",
            "lease": null,
            "policy": "shop-deploy",
            "policies_revision": "sha256:00",
            "decision": "dec_2",
        },
    })
}

/// A refusal of the broker.
pub(crate) fn refusal(reason: &str) -> Reply {
    Reply::json(
        400,
        &json!({
            "error": "invalid_request",
            "error_description": "this job may not have it",
            "reason": reason,
            "request_id": "req_1",
        }),
    )
}

/// Both streams and the exit code, for the message of a failed assertion.
pub(crate) fn told(output: &Output) -> String {
    format!(
        "exit {:?}\n--- stdout\n{}\n--- stderr\n{}",
        output.status.code(),
        stdout(output),
        stderr(output)
    )
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn serve(state: &State, address: SocketAddr, stream: TcpStream) {
    let Some(asked) = read(&stream) else {
        return;
    };
    let path = asked.path.clone();
    let reply = {
        let mut next = state.next.lock().unwrap();
        next.get_mut(&path).and_then(VecDeque::pop_front)
    }
    .unwrap_or_else(|| usual(address, state, &asked));
    state.asked.lock().unwrap().push(asked);
    state.news.notify_all();
    write(stream, &reply);
}

fn usual(address: SocketAddr, state: &State, asked: &Asked) -> Reply {
    match asked.path.as_str() {
        "/.well-known/openid-configuration" => {
            Reply::json(200, &json!({ "issuer": format!("http://{address}") }))
        }
        "/idtoken" => {
            let count = state.asked.lock().unwrap().len();
            let token = token(&asked.query["audience"], &format!("jti-{count}"));
            Reply::json(200, &json!({ "value": token }))
        }
        "/token" if asked.form["audience"] == "deploy-api" => Reply::json(200, &jwt("deploy-api")),
        "/token" => Reply::json(200, &login(&asked.form["audience"])),
        "/revoke" => Reply::json(200, &json!({})),
        "/api/explain" => Reply::json(
            200,
            &json!({ "credentials": [{
                "credential": "shop-db/migrate", "kind": "postgres", "policy": "shop-migrate",
                "ttl": 900, "scopes": [], "purpose": "schema migrations",
            }] }),
        ),
        _ => Reply::json(404, &json!({ "error": "invalid_request" })),
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("idempotency-key") {
            leaks::secret("an idempotency key", value);
        }
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = |text: &[u8]| url::form_urlencoded::parse(text).into_owned().collect();
    Some(Asked {
        method,
        path: path.to_owned(),
        query: pairs(query.as_bytes()),
        headers,
        form: pairs(&body),
        body,
    })
}

/// A client that has heard enough may hang up: that is not the fake's problem.
fn write(mut stream: TcpStream, reply: &Reply) {
    let mut head = format!(
        "HTTP/1.1 {} Told\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head = format!("{head}{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    if stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&reply.body))
        .is_err()
    {}
}
