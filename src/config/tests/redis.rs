//! Targets of kind `redis`.

use super::{GOOD, Settings, parse};
use crate::credential::database::redis::RedisServers;
use crate::secret::SecretSource;

/// [`GOOD`] with a Redis target.
fn with(keys: &str) -> Result<Settings, String> {
    let target = format!("  cache: {{ kind: redis, {keys} }}\nsigning:");
    parse(&GOOD.replacen("signing:", &target, 1))
}

fn target(keys: &str) -> RedisServers {
    let settings = with(keys).unwrap();
    settings.targets["cache"]
        .of::<RedisServers>()
        .unwrap()
        .clone()
}

/// What is wrong with it, on one line.
fn problem(keys: &str) -> String {
    let text = with(keys).unwrap_err();
    let line = text.lines().find_map(|line| line.strip_prefix("error["));
    line.unwrap().split_once("]: ").unwrap().1.to_owned()
}

const LOGIN: &str = "user: hallpass, password: { file: p }";
const GROUPS: &str = r#"groups: { ro: { keys: ["%R~app:*"], commands: [+@read] } }"#;

#[test]
fn a_target_has_one_server_or_a_list_in_one_order() {
    let one = target(&format!("host: Cache.acme.dev., {LOGIN}, {GROUPS}"));
    assert_eq!(one.nodes, [("cache.acme.dev".to_owned(), 6_379)]);
    assert!(one.tls && one.masters == 1 && one.prefix == "hp_");
    assert!(matches!(one.password, SecretSource::File(_)));
    let nodes = r#"nodes: ["b.acme.dev:6380", a.acme.dev, "[::1]:7000", "::1"], masters: 2"#;
    let several = target(&format!("{nodes}, {LOGIN}, {GROUPS}"));
    let names: Vec<String> = several
        .nodes
        .iter()
        .map(|(host, port)| format!("{host} {port}"))
        .collect();
    assert_eq!(
        names,
        ["::1 6379", "::1 7000", "a.acme.dev 6379", "b.acme.dev 6380"]
    );
    assert_eq!(several.masters, 2);
}

#[test]
fn what_is_wrong_with_a_redis_target_is_named() {
    let wrong = |keys: &str| problem(keys);
    insta::assert_snapshot!(wrong(&format!("host: a.acme.dev, tls: disable, {LOGIN}, {GROUPS}")), @"`tls: disable` would send logins over the network in the clear");
    insta::assert_snapshot!(wrong(&format!("host: a.acme.dev, nodes: [a], {LOGIN}, {GROUPS}")), @"`host` and `nodes` are both there");
    insta::assert_snapshot!(wrong(&format!("nodes: [a, A], {LOGIN}, {GROUPS}")), @"`A` is listed twice");
    insta::assert_snapshot!(wrong(&format!("nodes: [a, b], masters: 3, {LOGIN}, {GROUPS}")), @"`masters` must be a number from 1 to 2, found `3`");
    insta::assert_snapshot!(wrong(&format!("host: \"a b\", {LOGIN}, {GROUPS}")), @"`host` is `a b`");
    insta::assert_snapshot!(wrong(&format!("host: a, user: \"x on nopass\", password: {{ file: p }}, {GROUPS}")), @"`user` is `x on nopass`, expected 1 to 63 letters, digits, `.`, `_` or `-`");
    insta::assert_snapshot!(wrong(&format!("host: a, {LOGIN}, groups: {{}}")), @"`groups` is empty");
    assert!(
        wrong("host: a, user: u, password: secret-canary, groups: {}")
            .contains("must say where the secret is")
    );
}

/// T-420, T-421
#[test]
fn the_words_of_a_group_are_checked_when_settings_load() {
    let group = |keys: &str, commands: &str| {
        let groups = format!("groups: {{ rw: {{ keys: [{keys}], commands: [{commands}] }} }}");
        problem(&format!("host: a, {LOGIN}, {groups}"))
    };
    insta::assert_snapshot!(group("\"~app:* +@all\"", "+@read"), @r"`~app:* +@all` is no key pattern; write `~`, `%R~` or `%W~` and a pattern, like `%R~app:*`, of 1 to 256 printable ASCII characters without blanks, quotes, parentheses and `\`");
    insta::assert_snapshot!(group("\"~app:*\"", "+@dangerous"), @"`+@dangerous` is for administrators, and no lease gets it");
    insta::assert_snapshot!(group("\"~app:*\"", "+function|load"), @"`+function|load` is for administrators, and no lease gets it");
    assert!(group("\"~app:*\"", "nopass").contains("is no command"));
    assert!(group("\"~app:*\"", "\"#0000\"").contains("is no command"));
    let named = format!("host: a, {LOGIN}, groups: {{ \"a:b\": {{ commands: [+get] }} }}");
    insta::assert_snapshot!(problem(&named), @"`a:b` is not a name of a group");
}

#[test]
fn a_server_with_one_prefix_is_one_target() {
    let other = |nodes: &str, more: &str| {
        with(&format!(
            "host: a, {LOGIN}, {GROUPS} }}\n  other: {{ kind: redis, {nodes}, {LOGIN}, {GROUPS}{more}"
        ))
    };
    let text = other("nodes: [b, \"A.:6379\"]", "").unwrap_err();
    assert!(
        text.contains("has the server a:6379 with the prefix `hp_` too"),
        "{text}"
    );
    assert!(other("host: a", ", prefix: hq_").is_ok());
    assert!(other("host: a, port: 6380", "").is_ok());
}

/// T-428: what fills its memory must not be able to stop every mint.
#[test]
fn the_store_of_used_tokens_is_no_server_of_a_target() {
    let store = |url: &str| {
        let target =
            format!("  cache: {{ kind: redis, host: 127.0.0.1, {LOGIN}, {GROUPS} }}\nsigning:");
        let text = GOOD.replacen("signing:", &target, 1);
        parse(&text.replacen("store: memory", &format!("store: redis, url: \"{url}\""), 1))
    };
    let text = store("redis://127.0.0.1:6379").unwrap_err();
    assert!(
        text.contains("target `cache` is on the same server as the store of used tokens"),
        "{text}"
    );
    assert!(store("redis://127.0.0.1:6380").is_ok());
}
