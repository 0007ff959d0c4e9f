use super::*;

const GOOD: &str = "
issuer: https://hallpass.acme.dev
root_key: { file: /run/secrets/root, previous: [ { file: old.key } ] }
listen: { public: 0.0.0.0:8443, operator: 127.0.0.1:8081, tls: { cert: c.pem, key: k.pem }, proxies: [10.0.0.0/8] }
policies: { path: policies }
targets:
  shop-db: { kind: postgres, host: db.acme.dev, databases: [shop], user: hallpass, password: { file: db }, cleaner: { user: c, password: \"${env:CLEANER}\" } }
signing: { algorithm: EdDSA, epoch: 7d, generation: 2 }
replay: { store: memory }
audit: { sinks: [ { kind: file, path: a.jsonl, required: true }, { kind: stdout } ] }
limits: { connections: 64, request_time: 500ms, body_bytes: 4096 }
disclose: never
";

fn parse(text: &str) -> Result<Settings, String> {
    let environment = |name: &str| (name == "CLEANER").then(|| "canary-81f2".to_owned());
    Settings::parse(
        "hallpass.yaml",
        text.to_owned(),
        Path::new("/etc/hallpass"),
        &environment,
    )
    .map_err(|problems| problems.to_string())
}

/// What is wrong with [`GOOD`] after a change: one message per line.
fn problems(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let text = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
    let lines = text.lines().filter_map(|line| line.strip_prefix("error["));
    let lines = lines.map(|line| line.split_once("]: ").unwrap().1);
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_full_file_is_read_with_paths_relative_to_its_folder() {
    let settings = parse(GOOD).unwrap();
    assert_eq!(settings.issuer, "https://hallpass.acme.dev");
    assert_eq!(
        settings.root_keys,
        [
            PathBuf::from("/run/secrets/root"),
            PathBuf::from("/etc/hallpass/old.key")
        ]
    );
    assert_eq!(settings.policies, PathBuf::from("/etc/hallpass/policies"));
    assert_eq!(settings.signing.algorithm, SigningAlgorithm::EdDsa);
    assert_eq!(settings.signing.epoch, Duration::from_secs(604_800));
    assert_eq!(settings.limits.request_time, Duration::from_millis(500));
    assert_eq!(settings.limits.idle_time, Limits::default().idle_time);
    assert_eq!(settings.disclose, Disclosure::Never);
    assert_eq!(settings.sinks.len(), 2);
    assert_eq!(settings.reload, Some(Duration::from_secs(10)));
    let Target::Postgres(target) = &settings.targets["shop-db"];
    let cleaner = &target.cleaner;
    assert_eq!(cleaner.password.read().unwrap().expose(), "canary-81f2");
    assert!(!format!("{settings:?}").contains("canary"));
}

#[test]
fn an_unknown_key_is_shown_with_its_place_and_what_was_meant() {
    let text = parse(&GOOD.replace("disclose:", "disclos:")).unwrap_err();
    insta::assert_snapshot!(text, @r"
    error[unknown-key]: unknown key `disclos`
      --> hallpass.yaml:12:1
       |
    12 | disclos: never
       | ^^^^^^^
       = help: did you mean `disclose`?
    ");
}

#[test]
fn all_that_is_wrong_comes_together() {
    let text = GOOD
        .replace("https://hallpass.acme.dev", "http://hallpass.acme.dev")
        .replace("EdDSA", "RS256")
        .replace("0.0.0.0:8443", "8443")
        .replace("epoch: 7d", "epoch: 7");
    let text = parse(&text).unwrap_err();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("error["))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    error[wrong-value]: `issuer` is not an https URL
    error[wrong-value]: `8443` is not an address and port
    error[wrong-value]: we do not sign with `RS256`
    error[wrong-value]: `epoch` has no unit: `7`
    ");
}

#[test]
fn what_is_planned_is_refused_and_not_ignored() {
    insta::assert_snapshot!(problems("path: policies", "path: policies, reload: 100ms"), @"`reload` must be from 1s to 3600s, found `100ms`");
    insta::assert_snapshot!(problems("path: policies", "path: policies, reload: never"), @"`reload` is not a time: `never`");
    insta::assert_snapshot!(problems("disclose: never", "blocked: { keys: [ { issuer: github } ] }"), @"key `kid` is missing");
    insta::assert_snapshot!(problems("epoch: 7d", "epoch: 7d, kind: file"), @"`kind` is not supported yet");
    insta::assert_snapshot!(problems("user: hallpass", "user: hallpass, mode: direct"), @"only `mode: definer` is supported");
}

/// T-92
#[test]
fn a_secret_in_clear_is_refused_and_not_repeated() {
    let text = GOOD.replace("password: { file: db }", "password: canary-5d1f4c7e");
    let text = parse(&text).unwrap_err();
    assert!(!text.contains("canary"), "{text}");
    assert!(
        text.contains("must say where the secret is, not what it is"),
        "{text}"
    );
    let text = GOOD.replace(
        "{ file: /run/secrets/root, previous: [ { file: old.key } ] }",
        "abc",
    );
    assert!(parse(&text).is_err());
}

#[test]
fn the_environment_is_for_secrets_only() {
    insta::assert_snapshot!(problems("${env:CLEANER}", "${env:NOBODY}"), @"environment variable `NOBODY` is not set");
    insta::assert_snapshot!(problems("db.acme.dev", "\"${env:HOST}\""), @"`host` cannot come from the environment");
}

/// T-40
#[test]
fn our_own_name_has_one_spelling() {
    for wrong in [
        "https://hallpass.acme.dev/",
        "https://Hallpass.acme.dev",
        "https://hallpass.acme.dev:443",
        "https://user@hallpass.acme.dev",
        "https://hallpass.acme.dev?x",
        "http://10.0.0.1",
        "hallpass.acme.dev",
        "ftp://localhost",
    ] {
        let text = problems("https://hallpass.acme.dev", wrong);
        assert!(text.starts_with("`issuer` "), "{wrong}: {text}");
    }
    for right in [
        "http://127.0.0.1:8080",
        "http://localhost:8080",
        "https://x.dev/hallpass",
    ] {
        assert!(
            parse(&GOOD.replace("https://hallpass.acme.dev", right)).is_ok(),
            "{right}"
        );
    }
}

/// T-89
#[test]
fn without_a_required_sink_there_is_no_broker() {
    insta::assert_snapshot!(problems(", required: true", ""), @"no sink is required: credentials could be minted that nothing records");
    insta::assert_snapshot!(problems("[ { kind: file, path: a.jsonl, required: true }, { kind: stdout } ]", "[]"), @"`sinks` is empty: nothing would be recorded");
}

/// T-74
#[test]
fn no_setting_passes_its_ceiling() {
    insta::assert_snapshot!(problems("connections: 64", "connections: 1000000"), @"`connections` must be a number from 16 to 65536, found `1000000`");
    insta::assert_snapshot!(problems("request_time: 500ms", "request_time: 1h"), @"`request_time` must be from 50ms to 60s, found `1h`");
    assert!(parse(&GOOD.replace("body_bytes: 4096", "body_bytes: 99999999999999999999")).is_err());
}

#[test]
fn an_empty_file_says_how_to_begin() {
    for text in ["", "\n", "# nothing\n"] {
        assert!(
            parse(text)
                .unwrap_err()
                .contains("the settings file is empty"),
            "{text:?}"
        );
    }
}

#[test]
fn reload_can_be_switched_off() {
    let off = parse(&GOOD.replace("path: policies", "path: policies, reload: off")).unwrap();
    assert_eq!(off.reload, None);
}

/// What [`Settings::changes`] says of a change of [`GOOD`].
fn change(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let new = parse(&GOOD.replacen(from, to, 1)).unwrap();
    let changes = parse(GOOD).unwrap().changes(&new).into_iter();
    let lines = changes.map(|change| match change.restart {
        Some((old, new)) => format!("{}: {old} -> {new}", change.key),
        None => change.key.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// T-77
#[test]
fn every_change_is_named_and_what_takes_a_restart_with_both_values() {
    let restarts = [
        (
            "issuer: https://hallpass.acme.dev",
            "issuer: https://other.acme.dev",
            "issuer: https://hallpass.acme.dev -> https://other.acme.dev",
        ),
        (
            "disclose: never",
            "disclose: never\nreplica: two",
            "replica: ",
        ),
        (
            "0.0.0.0:8443",
            "0.0.0.0:9443",
            "listen.public: 0.0.0.0:8443 -> 0.0.0.0:9443",
        ),
        (
            "127.0.0.1:8081",
            "127.0.0.1:9081",
            "listen.operator: 127.0.0.1:8081 -> 127.0.0.1:9081",
        ),
        (
            "tls: { cert: c.pem, key: k.pem }, ",
            "",
            "listen.tls: on -> off",
        ),
        (
            ", { kind: stdout }",
            "",
            "audit.sinks: file /etc/hallpass/a.jsonl, required; stdout -> file /etc/hallpass/a.jsonl, required",
        ),
        (
            "generation: 2",
            "generation: 1",
            "signing.generation: 2 -> 1",
        ),
    ];
    for (from, to, expected) in restarts {
        let found = change(from, to);
        assert!(found.starts_with(expected), "{found}");
    }
    let others = [
        ("file: old.key", "file: older.key", "root_key"),
        ("cert: c.pem", "cert: d.pem", "listen.tls"),
        (
            "proxies: [10.0.0.0/8]",
            "operator_hosts: [h]",
            "listen.operator_hosts\nlisten.proxies",
        ),
        ("path: policies", "path: other", "policies"),
        ("path: policies", "path: policies, reload: 20s", "policies"),
        ("host: db.acme.dev", "host: db2.acme.dev", "targets"),
        ("algorithm: EdDSA", "algorithm: ES256", "signing.algorithm"),
        ("epoch: 7d", "epoch: 8d", "signing.epoch"),
        ("generation: 2", "generation: 3", "signing.generation"),
        ("connections: 64", "connections: 65", "limits"),
        ("disclose: never", "disclose: always", "disclose"),
        (
            "disclose: never",
            "disclose: never\nblocked: { issuers: [github] }",
            "blocked",
        ),
        ("disclose: never", "disclose: never\n", ""),
    ];
    for (from, to, expected) in others {
        assert_eq!(change(from, to), expected, "{to}");
    }
    assert!(!change("${env:CLEANER}", "${env:CLEANER}").contains("canary"));
}

/// A number in quotes is text for one reader and a number for another, and so are digits with a sign
/// or a zero in front.
#[test]
fn a_number_is_plain_digits_without_quotes() {
    let port = |text: &str| {
        problems(
            "host: db.acme.dev,",
            &format!("host: db.acme.dev, port: {text},"),
        )
    };
    insta::assert_snapshot!(port("\"56432\""), @r#"`port` must be a number, found the text "56432""#);
    for text in ["056432", "+56432", "0x50", "5_432", "1e3", "5432.0"] {
        let problem = port(text);
        assert!(
            problem.starts_with("`port` must be a number from 1 to 65535"),
            "{problem}"
        );
    }
    let help = parse(&GOOD.replace("host: db.acme.dev,", "host: db.acme.dev, port: \"56432\","));
    assert!(help.unwrap_err().contains("write it without quotes: 56432"));
}

#[test]
fn a_value_that_was_left_out_is_said_to_be() {
    for empty in ["", "~", "null"] {
        let problem = problems("host: db.acme.dev", &format!("host: {empty}"));
        assert_eq!(problem, "`host` has no value", "{empty:?}");
    }
}

#[test]
fn a_time_without_a_unit_is_told_its_spelling() {
    insta::assert_snapshot!(problems("request_time: 500ms", "request_time: 10"), @"`request_time` has no unit: `10`");
    let help = parse(&GOOD.replace("request_time: 500ms", "request_time: 10")).unwrap_err();
    assert!(help.contains("write `10s` for seconds"), "{help}");
}

/// A variable that a file with CRLF set keeps its CR.
#[test]
fn a_secret_of_the_environment_ends_before_its_line_end() {
    for value in ["canary-81f2\r", "canary-81f2\r\n", "canary-81f2\n"] {
        let environment = |name: &str| (name == "CLEANER").then(|| value.to_owned());
        let folder = Path::new("/etc/hallpass");
        let settings = Settings::parse("hallpass.yaml", GOOD.to_owned(), folder, &environment);
        let Target::Postgres(target) = &settings.unwrap().targets["shop-db"];
        let password = target.cleaner.password.read().unwrap();
        assert_eq!(password.expose(), "canary-81f2", "{value:?}");
    }
}
