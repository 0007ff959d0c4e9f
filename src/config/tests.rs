use super::*;
use crate::credential::database::postgres::{ChannelBinding, PostgresSettings};
use crate::credential::jwt::SigningAlgorithm;

mod redis;
mod webhook;

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

fn postgres(settings: &Settings) -> &PostgresSettings {
    let target = &settings.targets["shop-db"];
    target.of().unwrap()
}

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
    let target = postgres(&settings);
    let cleaner = &target.cleaner;
    assert_eq!(cleaner.password.read().unwrap().expose(), "canary-81f2");
    assert!(!format!("{settings:?}").contains("canary"));
}

#[test]
fn an_unknown_key_is_shown_with_its_place_and_what_was_meant() {
    let text = parse(&GOOD.replace("disclose:", "disclos:")).unwrap_err();
    insta::assert_snapshot!(text, @r"
    error[unknown-key]: unknown key `disclos` in the settings
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
    error[wrong-value]: `RS256` cannot be derived from the root key
    error[duration]: `epoch`: `7` has no unit; write `7s` for seconds, `7m` for minutes
    ");
}

#[test]
fn what_is_planned_is_refused_and_not_ignored() {
    insta::assert_snapshot!(problems("path: policies", "path: policies, reload: 100ms"), @"`reload` must be from 1s to 1h, found `100ms`");
    insta::assert_snapshot!(problems("path: policies", "path: policies, reload: never"), @"`reload`: `never` is not a duration such as `30s`, `15m`, `1h30m` or `7d`");
    insta::assert_snapshot!(problems("disclose: never", "blocked: { keys: [ { issuer: github } ] }"), @"key `kid` is missing from an entry of `keys`");
    insta::assert_snapshot!(problems("epoch: 7d", "epoch: 7d, kind: file"), @"`kind` is not supported yet");
    insta::assert_snapshot!(problems("user: hallpass", "user: hallpass, mode: direct"), @"`mode` must be `definer` or `certificate`");
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
    insta::assert_snapshot!(problems("request_time: 500ms", "request_time: 1h"), @"`request_time` must be from 50ms to 1m, found `1h`");
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
        (
            "epoch: 7d",
            "epoch: 7d, also: [ { kind: file, algorithm: RS256, key: { file: rsa.key } } ]",
            "signing.also",
        ),
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

#[test]
fn a_key_for_rs256_is_one_entry_with_one_file_or_two() {
    let also = |text: &str| problems("epoch: 7d", &format!("epoch: 7d, also: {text}"));
    let entry = "{ kind: file, algorithm: RS256, key: { file: rsa.key } }";
    let text = GOOD.replacen(
        "epoch: 7d",
        "epoch: 7d, also: [ { kind: file, algorithm: RS256, key: { file: a.key }, next: { file: b.key } } ]",
        1,
    );
    let files = parse(&text).unwrap().signing.rs256.unwrap();
    assert_eq!(files.key, Path::new("/etc/hallpass/a.key"));
    assert_eq!(
        files.next.as_deref(),
        Some(Path::new("/etc/hallpass/b.key"))
    );
    assert_eq!(
        also(&format!("[ {entry}, {entry} ]")),
        "a second entry of `also` for `RS256`"
    );
    insta::assert_snapshot!(also("[]"), @"`also` is empty");
    insta::assert_snapshot!(also("[ { kind: file, algorithm: RS256 } ]"), @"key `key` is missing from an entry of `also`");
    insta::assert_snapshot!(also("[ { kind: file, algorithm: ES256, key: { file: k } } ]"), @"a key under `also` does not sign with `ES256`");
    insta::assert_snapshot!(also("[ { kind: kms, algorithm: RS256, key: { file: k } } ]"), @"unknown kind of key `kms`");
    insta::assert_snapshot!(also("[ { kind: file, algorithm: RS256, key: \"-----BEGIN\" } ]"), @"`key` must say which file it is in");
}

/// The target of [`GOOD`] after a change.
fn target(from: &str, to: &str) -> PostgresSettings {
    assert!(GOOD.contains(from), "{from}");
    let settings = parse(&GOOD.replacen(from, to, 1)).unwrap();
    postgres(&settings).clone()
}

/// What is wrong with [`GOOD`] once `setting` stands in its target.
fn target_problems(setting: &str) -> String {
    problems("user: hallpass", &format!("user: hallpass, {setting}"))
}

#[test]
fn a_target_has_defaults_for_what_is_left_out() {
    let target = target("disclose: never", "disclose: never");
    assert_eq!(target.control_database, "hallpass");
    assert_eq!(target.channel_binding, ChannelBinding::Prefer);
    assert_eq!(target.places_per_repository, 250);
    assert_eq!((target.brokers, target.broker_connections), (2, 6));
    assert_eq!(target.broker_connection_limit(), 12);
    assert_eq!(target.cleaner_connection_limit(), 4);
    assert!(target.event_triggers.is_empty() && target.open_databases.is_empty());
}

#[test]
fn a_target_reads_what_managed_and_shared_servers_need() {
    let target = target(
        "user: hallpass",
        "user: hallpass, brokers: 6, broker_connections: 10, cleaner_connections: 3, places_per_repository: 40, event_triggers: [pgrst_ddl_watch], open_databases: [postgres, template1], control_database: broker, channel_binding: require, standbys: [db-2.acme.dev, \"db-3.acme.dev:6432\", \"::1\", \"[::1]\", \"[2001:db8::2]:6432\"]",
    );
    assert_eq!(target.broker_connection_limit(), 60);
    assert_eq!(target.cleaner_connection_limit(), 18);
    assert_eq!(target.places_per_repository, 40);
    assert_eq!(target.event_triggers, ["pgrst_ddl_watch"]);
    assert_eq!(target.open_databases, ["postgres", "template1"]);
    assert_eq!(target.control_database, "broker");
    assert_eq!(target.channel_binding, ChannelBinding::Require);
    let standbys = [
        ("db-2.acme.dev", 5_432),
        ("db-3.acme.dev", 6_432),
        ("::1", 5_432),
        ("::1", 5_432),
        ("2001:db8::2", 6_432),
    ];
    assert_eq!(
        target.standbys,
        standbys.map(|(host, port)| (host.to_owned(), port))
    );
}

#[test]
fn replicas_is_another_word_for_standbys() {
    let target = target(
        "user: hallpass",
        "user: hallpass, replicas: [db-2.acme.dev]",
    );
    assert_eq!(target.standbys, [("db-2.acme.dev".to_owned(), 5_432)]);
    insta::assert_snapshot!(target_problems("replicas: [a], standbys: [b]"), @"`replicas` is the old name of `standbys`, and both are there");
    insta::assert_snapshot!(target_problems("standbys: [\"a:b:1\"]"), @"a standby is `host` or `host:port`");
    insta::assert_snapshot!(target_problems("standbys: [\"[::1\", \":5432\"]"), @"a standby is `host` or `host:port`");
}

#[test]
fn a_setting_of_a_target_that_cannot_be_is_refused() {
    insta::assert_snapshot!(target_problems("brokers: 0"), @"`brokers` must be a number from 1 to 50, found `0`");
    insta::assert_snapshot!(target_problems("brokers: 51"), @"`brokers` must be a number from 1 to 50, found `51`");
    insta::assert_snapshot!(target_problems("broker_connections: 2"), @"`broker_connections` must be a number from 4 to 50, found `2`");
    let same = GOOD.replace("cleaner: { user: c,", "cleaner: { user: hallpass,");
    let text = parse(&same).unwrap_err();
    assert!(
        text.contains("`hallpass` is `user` of the target too"),
        "{text}"
    );
    insta::assert_snapshot!(target_problems("cleaner_connections: 11"), @"`cleaner_connections` must be a number from 1 to 10, found `11`");
    insta::assert_snapshot!(target_problems("places_per_repository: 501"), @"`places_per_repository` must be a number from 1 to 500, found `501`");
    insta::assert_snapshot!(target_problems("event_triggers: [a, a]"), @"`a` is listed twice");
    insta::assert_snapshot!(target_problems("open_databases: [shop]"), @"`shop` is under `databases` and `open_databases`");
    insta::assert_snapshot!(target_problems("control_database: shop"), @"`shop` is under `databases` too, and no lease can enter the control database");
    insta::assert_snapshot!(target_problems("control_database: template1"), @"`template1` is what new databases are copied from");
    insta::assert_snapshot!(target_problems("control_database: \"a; DROP\""), @"`control_database` is `a; DROP`, expected 1 to 63 letters, digits, `_` or `-`");
    insta::assert_snapshot!(target_problems("channel_binding: maybe"), @"`channel_binding` cannot be `maybe`");
    insta::assert_snapshot!(problems("host: db.acme.dev,", "host: localhost, tls: disable, channel_binding: require,"), @"`channel_binding: require` needs TLS, and `tls` is `disable`");
    insta::assert_snapshot!(problems("[shop]", "[shop, shop]"), @"`shop` is listed twice");
    insta::assert_snapshot!(problems("[shop]", "[\"\"]"), @"an entry of `databases` is empty");
}

/// [`GOOD`] with a second target.
fn two(host: &str, more: &str) -> Result<Settings, String> {
    let second = format!(
        "  other: {{ kind: postgres, host: \"{host}\", databases: [other], user: hallpass, password: {{ file: db }}, cleaner: {{ user: c, password: {{ file: c }} }}, {more} }}\nsigning:"
    );
    parse(&GOOD.replacen("signing:", &second, 1))
}

/// T-120: `uses` of a team names targets and kinds by one word each.
#[test]
fn no_target_has_the_name_of_a_kind() {
    for kind in ["jwt", "postgres", "postgres-cert", "redis", "ssh"] {
        let found = problems("shop-db:", &format!("{kind}:"));
        let expected = format!("target `{kind}` has the name of the credential kind `{kind}`");
        assert_eq!(found, expected);
    }
}

#[test]
fn one_server_is_one_target() {
    for host in ["db.acme.dev", "DB.acme.dev", "db.acme.dev."] {
        let text = two(host, "prefix: hp_").unwrap_err();
        assert!(text.contains("is on the same server"), "{text}");
        let text = two(host, "prefix: hq_").unwrap_err();
        assert!(
            text.contains("with the control database `hallpass`"),
            "{text}"
        );
        let text = two(host, "prefix: hq_, control_database: other_control");
        assert!(text.is_ok(), "{text:?}");
    }
    assert!(two("db2.acme.dev", "prefix: hp_").is_ok());
    assert!(two("db.acme.dev", "port: 5433").is_ok());
    let spelled = [
        ("2001:db8::1", "[2001:DB8:0::1]"),
        ("10.0.0.1", "::ffff:10.0.0.1"),
    ];
    for (one, other) in spelled {
        let first = GOOD.replace("host: db.acme.dev", &format!("host: \"{one}\""));
        let second = format!(
            "  other: {{ kind: postgres, host: \"{other}\", databases: [shop], user: h, password: {{ file: db }}, cleaner: {{ user: c, password: {{ file: c }} }}, prefix: hq_, control_database: x }}\nsigning:"
        );
        let text = parse(&first.replacen("signing:", &second, 1)).unwrap_err();
        assert!(text.contains("with the database `shop`"), "{text}");
    }
}

/// T-118, T-299
#[test]
fn who_may_ask_the_operator_listener_is_a_name_an_address_or_a_network() {
    let listen = "proxies: [10.0.0.0/8]";
    let hosts =
        "operator_hosts: [ops, \"ops:80\", 10.1.2.3, 10.0.0.0/8, \"::1\", \"[::1]\", \"fd00::/8\"]";
    let settings = parse(&GOOD.replacen(listen, hosts, 1)).unwrap();
    assert_eq!(settings.listen.operator_hosts.len(), 7);
    let wrong = |entry: &str| problems(listen, &format!("operator_hosts: [\"{entry}\"]"));
    insta::assert_snapshot!(wrong("*"), @"`*` is not a host name, an address or a network");
    for entry in [
        "*.acme.dev",
        "a/b",
        "http://ops",
        "ops:x",
        "ops:99999",
        "a b",
        "[ops]",
        "10.0.0.0/33",
        "010.0.0.0/8",
        "10.0.0.0/08",
    ] {
        let text = wrong(entry);
        assert!(
            text.ends_with("is not a host name, an address or a network"),
            "{entry}: {text}"
        );
    }
    for entry in ["0.0.0.0/0", "::/0"] {
        assert_eq!(wrong(entry), format!("`{entry}` is every address"));
    }
}

/// T-299
#[test]
fn a_proxy_is_an_address_or_a_network_without_leading_zeros() {
    let of = |entry: &str| format!("proxies: [\"{entry}\"]");
    let listen = "proxies: [10.0.0.0/8]";
    for entry in ["10.0.0.0/8", "10.1.2.3", "::1", "[::1]", "fd00::/8"] {
        let settings = parse(&GOOD.replacen(listen, &of(entry), 1)).unwrap();
        assert_eq!(settings.listen.proxies.len(), 1, "{entry}");
    }
    for entry in ["010.0.0.0/8", "10.0.0.0/08", "010.1.2.3", "10.0.0.0/33"] {
        let found = problems(listen, &of(entry));
        assert_eq!(found, format!("`{entry}` is not a network"));
    }
}

/// T-231
#[test]
fn a_link_to_policies_has_a_commit_and_holds_no_secret() {
    let with = |more: &str| problems("path: policies", &format!("path: policies, {more}"));
    let url = "url: \"https://git.acme.dev/blob/{commit}/{path}\"";
    let commit = "commit: { file: policies.commit }";
    let right = GOOD.replace(
        "path: policies",
        &format!("path: policies, {url}, {commit}"),
    );
    let links = parse(&right).unwrap().policy_url.unwrap();
    assert_eq!(links.commit, PathBuf::from("/etc/hallpass/policies.commit"));
    insta::assert_snapshot!(with(url), @"`policies.url` is set without `policies.commit`");
    insta::assert_snapshot!(with(commit), @"`policies.commit` is set without `policies.url`");
    let branch = url.replace("{commit}", "main");
    insta::assert_snapshot!(with(&format!("{branch}, {commit}")), @"line 5, column 34: `url` lacks `{commit}`: a link to a branch shows policies that did not decide");
    for secret in ["https://robot:hunter2@git", "https://git/?token=hunter2&x="] {
        let wrong = right.replace("https://git", secret);
        let text = parse(&wrong).unwrap_err();
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn one_port_for_both_listeners_is_found_in_the_settings() {
    let public = "public: 0.0.0.0:8443";
    let text = problems(public, "public: 0.0.0.0:8081");
    insta::assert_snapshot!(text, @"`listen.public` is `0.0.0.0:8081` and `listen.operator` is `127.0.0.1:8081`: two listeners cannot have one port");
    // Also where one of them is the default.
    let text = problems(
        "public: 0.0.0.0:8443, operator: 127.0.0.1:8081",
        "operator: 127.0.0.1:8080",
    );
    assert!(
        text.contains("two listeners cannot have one port"),
        "{text}"
    );
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
        assert_eq!(problem, "`host` has no value, expected text", "{empty:?}");
    }
}

#[test]
fn a_time_without_a_unit_is_told_its_spelling() {
    insta::assert_snapshot!(problems("request_time: 500ms", "request_time: 10"), @"`request_time`: `10` has no unit; write `10s` for seconds, `10m` for minutes");
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
        let settings = settings.unwrap();
        let target = postgres(&settings);
        let password = target.cleaner.password.read().unwrap();
        assert_eq!(password.expose(), "canary-81f2", "{value:?}");
    }
}
