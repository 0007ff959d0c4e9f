//! Formats with their real consumers: libpq reads what we wrote, from variables, file and address.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use serde_json::json;

use super::fake::{Fake, LEASE, PASSWORD, Reply, login, stderr, stdout, told};
use crate::support::leaks::Observed as _;

/// What libpq told a server that asked for its password in plain text.
#[derive(Debug)]
struct Login {
    parameters: BTreeMap<String, String>,
    password: String,
}

/// Listens as PostgreSQL would, hears one login, and hangs up.
fn hear_login(listener: &TcpListener) -> Login {
    let (mut stream, _) = listener.accept().unwrap();
    let startup = message(&mut stream);
    let mut texts = startup[4..]
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8(text.to_vec()).unwrap());
    let mut parameters = BTreeMap::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        parameters.insert(name, value);
    }
    // AuthenticationCleartextPassword.
    stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]).unwrap();
    let mut kind = [0];
    stream.read_exact(&mut kind).unwrap();
    assert_eq!(kind, [b'p']);
    let mut password = message(&mut stream);
    assert_eq!(password.pop(), Some(0));
    Login {
        parameters,
        password: String::from_utf8(password).unwrap(),
    }
}

fn message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
    stream.read_exact(&mut body).unwrap();
    body
}

const HARD_PASSWORD: &str = r#"p'a:s\s$(id)`w"d/@?#%&= "#;

/// A broker whose login leads to `listener`, with a password that everything must quote.
fn broker_for(listener: &TcpListener) -> Fake {
    let fake = Fake::start();
    let mut answer = login("shop-db/migrate");
    let credential = &mut answer["hallpass"]["credential"];
    credential["host"] = "127.0.0.1".into();
    credential["port"] = listener.local_addr().unwrap().port().into();
    credential["sslmode"] = "disable".into();
    credential["password"] = HARD_PASSWORD.into();
    fake.next("/token", Reply::json(200, &answer));
    fake
}

fn heard_by_server(listener: &TcpListener, mut client: Command) {
    let mut child = client
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let login = hear_login(listener);
    child.wait().unwrap();
    assert_eq!(login.password, HARD_PASSWORD);
    assert_eq!(login.parameters["user"], "hp_abc1234_x");
    assert_eq!(login.parameters["database"], "shop");
}

#[test]
fn psql_logs_in_with_the_variables_that_a_shell_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fake = broker_for(&listener);
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--format", "env"])
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "eval \"$VARIABLES\" && exec psql -c 'select 1'"])
        .env("VARIABLES", stdout(&output));
    heard_by_server(&listener, shell);
}

/// What the job set for another server, and libpq would obey before the login's own.
const FOR_ANOTHER_SERVER: [(&str, &str); 6] = [
    ("PGHOSTADDR", "192.0.2.1"),
    ("PGSERVICE", "theirs"),
    ("PGSERVICEFILE", "/nowhere"),
    ("PGOPTIONS", "-c role=theirs"),
    ("PGSSLCERT", "/nowhere"),
    ("PGTARGETSESSIONATTRS", "standby"),
];

#[test]
fn variables_for_another_server_do_not_win_over_the_login() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fake = broker_for(&listener);
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--format", "env"])
        .observed();
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", "eval \"$VARIABLES\" && exec psql -c 'select 1'"])
        .env("VARIABLES", stdout(&output))
        .envs(FOR_ANOTHER_SERVER);
    heard_by_server(&listener, shell);
    let fake = broker_for(&listener);
    let mut exec = fake.on_github(&["exec", "shop-db/migrate", "--", "psql", "-c", "select 1"]);
    exec.envs(FOR_ANOTHER_SERVER);
    heard_by_server(&listener, exec);
}

#[test]
fn variables_for_another_server_are_told_where_they_cannot_be_unset() {
    let fake = Fake::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    let told_of = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = fake
            .on_gitlab(arguments, &fake.token("1"))
            .env("GITHUB_ENV", file.path())
            .envs(variables.iter().copied())
            .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        stderr(&output)
    };
    let get = |more: &[&'static str]| [&["get", "shop-db/migrate"], more].concat();
    let several = &FOR_ANOTHER_SERVER[..2];
    insta::assert_snapshot!(told_of(&get(&["--format", "url"]), several), @"hallpass: warning: libpq may use PGHOSTADDR, PGSERVICE of this environment instead of the values of `shop-db/migrate`, even with DATABASE_URL; unset them where the login is used");
    let exec = [
        "exec",
        "A=shop-db/migrate",
        "--",
        "sh",
        "-c",
        "test -n \"$PGSERVICE\"",
    ];
    for arguments in [
        &get(&["--format", "dotenv"])[..],
        &get(&["--github-env"]),
        &get(&["--format", "env", "--prefix", "A"]),
        &exec,
    ] {
        let text = told_of(arguments, several);
        assert!(
            text.contains("libpq may use PGHOSTADDR, PGSERVICE of"),
            "{text}"
        );
    }
    for arguments in [&get(&["--format", "env"])[..], &get(&["--format", "json"])] {
        assert_eq!(told_of(arguments, several), "");
    }
    // The login has its own, and tokens have nothing that libpq could obey.
    assert_eq!(
        told_of(&get(&["--format", "url"]), &[("PGOPTIONS", "x")]),
        ""
    );
    assert_eq!(told_of(&["get", "deploy-api", "--github-env"], several), "");
}

#[test]
fn psql_logs_in_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fake = broker_for(&listener);
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--format", "url"])
        .observed();
    let mut psql = Command::new("psql");
    psql.arg(stdout(&output).trim());
    heard_by_server(&listener, psql);
}

#[test]
fn psql_logs_in_with_the_password_file() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fake = broker_for(&listener);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgpass");
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--format", "pgpass", "--out"])
        .arg(&file)
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "");
    let mut psql = Command::new("psql");
    let port = listener.local_addr().unwrap().port();
    psql.arg(format!(
        "host=127.0.0.1 port={port} user=hp_abc1234_x dbname=shop sslmode=disable"
    ))
    .env("PGPASSFILE", &file);
    heard_by_server(&listener, psql);
}

/// libpq cuts spaces off the end of a line, so this password ends in something else.
#[test]
fn psql_logs_in_with_the_service_file() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fake = Fake::start();
    let mut answer = login("shop-db/migrate");
    let credential = &mut answer["hallpass"]["credential"];
    credential["host"] = "127.0.0.1".into();
    credential["port"] = listener.local_addr().unwrap().port().into();
    credential["sslmode"] = "disable".into();
    credential["password"] = HARD_PASSWORD.trim_end().into();
    fake.next("/token", Reply::json(200, &answer));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services");
    let inner = "PGSERVICEFILE=\"$0\" PGSERVICE=shop-db/migrate exec env -u PGHOST -u PGPORT -u PGUSER -u PGPASSWORD -u PGDATABASE -u PGSSLMODE psql -c 'select 1'";
    let wanted = format!("pg-service={}", file.display());
    let mut exec = fake.on_github(&[
        "exec",
        "shop-db/migrate",
        "--file",
        &wanted,
        "--",
        "sh",
        "-c",
        inner,
    ]);
    let mut child = exec
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let heard = hear_login(&listener);
    child.wait().unwrap();
    assert_eq!(heard.password, HARD_PASSWORD.trim_end());
    assert_eq!(heard.parameters["user"], "hp_abc1234_x");
    assert_eq!(heard.parameters["database"], "shop");
    assert!(!file.exists());
}

/// Answers HTTP requests until one carries credentials, which it returns.
fn hear_authorization(listener: &TcpListener) -> String {
    loop {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        // A client that tries TLS first begins with a byte that begins no request.
        if reader.fill_buf().unwrap().first() == Some(&TLS_HANDSHAKE) {
            continue;
        }
        let mut authorization = None;
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some((name, value)) = line.trim().split_once(": ")
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = Some(value.to_owned());
            }
            line.clear();
        }
        drop(reader);
        let answer = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        (&stream).write_all(answer.as_bytes()).unwrap();
        if let Some(authorization) = authorization {
            return authorization;
        }
    }
}

const TLS_HANDSHAKE: u8 = 0x16;

/// What a program that is started with the job's environment sends to a server that wants credentials.
fn sent_by(
    fake: &Fake,
    program: &str,
    arguments: &[&str],
    path: Option<&Path>,
    listener: &TcpListener,
) -> String {
    let job = fake.on_github(&[]);
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(
        job.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    if let Some(path) = path {
        command.env("PATH", path).env("HOME", path);
    }
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let heard = hear_authorization(listener);
    let _ = child.kill();
    child.wait().unwrap();
    heard
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_registrys_client_logs_in_by_the_credential_helper() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = listener.local_addr().unwrap().to_string();
    let hallpass = env!("CARGO_BIN_EXE_hallpass");
    let helper =
        format!("#!/bin/sh\n/bin/cat >/dev/null\nexec {hallpass} get deploy-api --format docker\n");
    write_program(&folder.path().join("docker-credential-hallpass"), &helper);
    let config = json!({ "credHelpers": { &registry: "hallpass" } });
    fs::write(folder.path().join("auth.json"), config.to_string()).unwrap();
    let authfile = folder.path().join("auth.json");
    let image = format!("docker://{registry}/image:tag");
    let arguments = [
        "inspect",
        "--tls-verify=false",
        "--authfile",
        authfile.to_str().unwrap(),
        &image,
    ];
    let skopeo = "/usr/bin/skopeo";
    let sent = sent_by(&fake, skopeo, &arguments, Some(folder.path()), &listener);
    let basic = BASE64.encode(b"hallpass:canary.5d2e9c.a07f13");
    assert_eq!(sent, format!("Basic {basic}"));
}

/// Debian's kubectl is older than `client.authentication.k8s.io/v1`, so this needs one of another source.
#[test]
#[ignore = "needs a kubectl of 1.22 or later in PATH"]
fn kubectl_sends_the_token() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": server } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        "users": [{ "name": "u", "user": { "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
            "command": env!("CARGO_BIN_EXE_hallpass"),
            "args": ["get", "deploy-api", "--format", "kube-exec"],
        } } }],
    });
    let path = folder.path().join("config");
    fs::write(&path, config.to_string()).unwrap();
    let arguments = [
        "--kubeconfig",
        path.to_str().unwrap(),
        "get",
        "--raw",
        "/version",
    ];
    let sent = sent_by(&fake, "kubectl", &arguments, None, &listener);
    assert_eq!(sent, "Bearer canary.5d2e9c.a07f13");
}

#[test]
fn a_file_is_for_its_owner_alone() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("login.json");
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--out"])
        .arg(&file)
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

/// T-92
#[test]
fn on_github_secrets_are_masked_on_standard_error_first() {
    let fake = Fake::start();
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    insta::assert_snapshot!(stderr(&output), @r"
    ::add-mask::canary-9f27c4d1e6b3
    ::add-mask::hpl_canary-51c8e07a2f
    ::add-mask::postgresql://hp_abc1234_x:canary-9f27c4d1e6b3@db.acme.dev:5432/shop?sslmode=verify-full&options=-c%2520role%253Dshop_owner
    ");
    assert!(!stdout(&output).contains("::add-mask::"));
}

#[test]
fn elsewhere_nothing_is_masked() {
    let fake = Fake::start();
    let output = fake
        .on_gitlab(&["get", "shop-db/migrate"], &fake.token("1"))
        .observed();
    assert_eq!(stderr(&output), "");
}

#[test]
fn later_steps_on_github_get_the_variables() {
    let fake = Fake::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "BEFORE=1\n").unwrap();
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--github-env", "--prefix", "SHOP"])
        .env("GITHUB_ENV", file.path())
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "");
    let text = fs::read_to_string(file.path()).unwrap();
    assert!(
        text.starts_with("BEFORE=1\nSHOP_PGHOST<<hallpass_"),
        "{text}"
    );
    assert!(text.contains(&format!("\n{PASSWORD}\nhallpass_")), "{text}");
}

#[test]
fn the_databases_ca_is_written_for_libpq() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let mut answer = login("shop-db/migrate");
    answer["hallpass"]["credential"]["ca"] = "-----BEGIN CERTIFICATE-----\nx\n".into();
    fake.next("/token", Reply::json(200, &answer));
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--format", "dotenv"])
        .env("RUNNER_TEMP", folder.path())
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = stdout(&output);
    let path = text
        .lines()
        .find_map(|line| line.strip_prefix("PGSSLROOTCERT="))
        .unwrap();
    assert!(path.starts_with(folder.path().to_str().unwrap()));
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "-----BEGIN CERTIFICATE-----\nx\n"
    );
}

#[test]
fn what_cannot_be_handed_over_is_not_asked_for_or_is_revoked() {
    let fake = Fake::start();
    let arguments = ["get", "shop-db/migrate", "--format", "kube-exec"];
    let output = fake.on_github(&arguments).observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(fake.asked("/token").is_empty());
    // A broker that does not say what kind it is.
    for reply in [
        Reply::json(200, &json!({ "credentials": [] })),
        Reply::json(404, &json!({ "error": "invalid_request" })),
        Reply::json(200, &json!([])),
    ] {
        fake.next("/api/explain", reply);
        let output = fake.on_github(&arguments).observed();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    }
    assert_eq!(fake.asked("/revoke").len(), 3);
    assert_eq!(fake.asked("/revoke")[0].form["token"], LEASE);
}
