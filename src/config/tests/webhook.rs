//! Targets of kind `webhook`.

use std::time::Duration;

use super::{GOOD, Settings, parse};
use crate::credential::database::webhook::WebhookSettings;

/// [`GOOD`] with a webhook target.
fn with(keys: &str) -> Result<Settings, String> {
    let target = format!("  logins: {{ kind: webhook, {keys} }}\nsigning:");
    parse(&GOOD.replacen("signing:", &target, 1))
}

/// What is wrong with it, on one line.
fn problem(keys: &str) -> String {
    let text = with(keys).unwrap_err();
    let line = text.lines().find_map(|line| line.strip_prefix("error["));
    let message = line.unwrap().split_once("]: ").unwrap().1;
    // Where a value may hold a secret, the message has its place and not its text.
    let place = message.strip_prefix("line ");
    let rest = place.and_then(|place| place.split_once(": "));
    rest.map_or(message, |(_, rest)| rest).to_owned()
}

const URL: &str = "url: \"https://logins.acme.dev/hallpass\"";
const GROUPS: &str = "groups: [reader]";

#[test]
fn a_webhook_target_has_a_url_and_groups() {
    let settings = with(&format!("{URL}, {GROUPS}")).unwrap();
    let target: &WebhookSettings = settings.targets["logins"].of().unwrap();
    assert_eq!(target.url, "https://logins.acme.dev/hallpass");
    assert!(target.networks.is_empty() && target.client.is_none());
    assert_eq!(target.timeout, Duration::from_secs(3));
    let more =
        "networks: [10.0.0.0/8], client_cert: c.pem, client_key: { file: k.pem }, timeout: 500ms";
    let settings = with(&format!("{URL}, {GROUPS}, {more}")).unwrap();
    let target: &WebhookSettings = settings.targets["logins"].of().unwrap();
    assert_eq!(target.networks.len(), 1);
    assert!(target.client.is_some());
}

/// T-454
#[test]
fn a_webhook_is_reached_over_https_at_one_spelling_of_its_url() {
    let url = |url: &str| problem(&format!("url: \"{url}\", {GROUPS}"));
    insta::assert_snapshot!(url("http://logins.acme.dev/hallpass"), @"`url` is not an https URL");
    insta::assert_snapshot!(url("https://user:qzjxwv-canary@logins.acme.dev/hallpass"), @"`url` has user information");
    insta::assert_snapshot!(url("https://logins.acme.dev/hallpass/"), @"`url` is not written canonically, or ends in `/`");
    insta::assert_snapshot!(url("https://LOGINS.acme.dev/hallpass"), @"`url` is not written canonically, or ends in `/`");
    insta::assert_snapshot!(url("https://logins.acme.dev/a?b=c"), @"`url` has a query or a fragment, or more than 256 bytes");
    insta::assert_snapshot!(url("https://10.0.0.1/hallpass"), @"`url` has an IP address as its host, which is in none of the target's `networks`");
    insta::assert_snapshot!(url("logins"), @"`url` is not a URL");
    assert!(
        with(&format!(
            "url: \"https://10.0.0.1/hallpass\", networks: [10.0.0.0/8], {GROUPS}"
        ))
        .is_ok()
    );
}

#[test]
fn what_is_wrong_with_a_webhook_target_is_named() {
    insta::assert_snapshot!(problem(&format!("{URL}, groups: []")), @"`groups` has 0 entries, expected 1 to 100");
    insta::assert_snapshot!(problem(&format!("{URL}, groups: [\"a b\"]")), @"`a b` is not a name of a group");
    insta::assert_snapshot!(problem(&format!("{URL}, {GROUPS}, client_cert: c.pem")), @"`client_cert` and `client_key` go together, and only one of them is there");
    insta::assert_snapshot!(problem(&format!("{URL}, {GROUPS}, networks: [0.0.0.0/0]")), @"`0.0.0.0/0` is no network");
    insta::assert_snapshot!(problem(&format!("{URL}, {GROUPS}, client_cert: c.pem, client_key: qzjxwv-canary")), @"`client_key` must say which file it is in");
}

#[test]
fn a_url_with_one_prefix_is_one_target() {
    let other = |more: &str| {
        with(&format!(
            "{URL}, {GROUPS} }}\n  other: {{ kind: webhook, {URL}, {GROUPS}{more}"
        ))
    };
    let text = other("").unwrap_err();
    assert!(text.contains("with the prefix `hp_` too"), "{text}");
    assert!(other(", prefix: hq_").is_ok());
}
