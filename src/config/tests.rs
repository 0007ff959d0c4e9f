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
    error[wrong-value]: `epoch` is not a time: `7`
    ");
}

#[test]
fn what_is_planned_is_refused_and_not_ignored() {
    insta::assert_snapshot!(problems("path: policies", "path: policies, reload: 10s"), @"`reload` is not supported yet");
    insta::assert_snapshot!(problems("store: memory", "store: redis"), @"a replay store in Redis is not supported yet");
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
