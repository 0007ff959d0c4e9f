//! Where requests go, over what, and how much of an answer is read.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hallpass::clock::{Clock, SystemClock};
use hallpass::credential::database::Database as _;
use hallpass::credential::database::webhook::{Webhook, WebhookSettings};
use hallpass::credential::target::TargetSettings as _;
use hallpass::token::keys::remote::Lookup;

use super::broken::{Broken, Fault};
use super::stage::{
    Certificates, SIGNING, Stage, fresh_random, logins, made, order, targets, with_keys,
};
use crate::support::hostile_issuer::{FakeResolver, Trap};
use crate::support::leaks;

async fn mint(settings: &WebhookSettings) -> (&'static str, bool) {
    let broker = targets(settings, &SIGNING);
    let mint = logins(&broker).make(order("reader", 600, &fresh_random()));
    match made(mint.await) {
        Ok(_) => ("made", false),
        Err(error) => (error.reason.code(), error.nothing_made),
    }
}

/// T-454
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_of_the_other_side_is_not_followed() {
    let (side, trap) = (Broken::start().await, Trap::start().await);
    let to = |url: String| -> &'static str { format!("Location: {url}\r\n").leak() };
    let elsewhere = to(format!("https://localhost:{}/create", trap.address.port()));
    let itself = to(format!("{}/create", side.settings.url));
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        for location in [elsewhere, itself] {
            let before = side.requests("/create").len();
            let redirect = Fault::Say(status, location, Vec::new());
            side.faults("/create", &[redirect.clone(), redirect]);
            assert_eq!(mint(&side.settings).await, ("database.unknown", true));
            assert_eq!(side.requests("/create").len(), before + 2);
        }
    }
    assert_eq!(trap.heard(), Vec::<Vec<u8>>::new());
    assert_eq!(side.users(), Vec::<String>::new());
}

/// T-454: `localhost` is permitted by the network in the settings alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_inside_is_asked_only_where_the_settings_name_its_network() {
    let side = Broken::start().await;
    assert_eq!(mint(&side.settings).await.0, "made");
    let mut outside = side.settings.clone();
    outside.networks = Vec::new();
    assert_eq!(mint(&outside).await, ("database.unreachable", true));
    outside.networks = vec!["10.0.0.0/8".parse().unwrap()];
    assert_eq!(mint(&outside).await, ("database.unreachable", true));
    // A name that leads inward when it is connected to.
    for inward in [
        "169.254.169.254",
        "10.1.2.3",
        "::1",
        "::ffff:127.0.0.1",
        "fd00::1",
    ] {
        let resolver = Arc::new(FakeResolver::answering(&[&[inward]]));
        let mut settings = side.settings.clone();
        settings.networks = Vec::new();
        settings.url = format!("https://logins.example:{}/hallpass", side.port);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let lookup = Arc::clone(&resolver) as Arc<dyn Lookup>;
        let webhook = Webhook::new(settings, "app", Arc::clone(&SIGNING), clock, lookup).unwrap();
        let error = webhook.leases().await.unwrap_err().to_string();
        assert!(
            error.contains("no address that is globally routable"),
            "{inward}: {error}"
        );
        assert_eq!(resolver.asked(), ["logins.example"]);
        assert!(inward.parse::<IpAddr>().is_ok());
    }
}

/// T-454: in a process of its own, whose environment names a proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_of_the_environment_is_not_asked() {
    let (side, trap) = (Broken::start().await, Trap::start().await);
    let folder = super::operator::folder(&side.settings, &side.certificates);
    let proxy = format!("http://{}", trap.address);
    let output = tokio::task::spawn_blocking(move || {
        use crate::support::leaks::Observed as _;
        std::process::Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(["target", "check", "app"])
            .current_dir(folder.path())
            .env_clear()
            .envs(
                ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"]
                    .map(|name| (name, &proxy)),
            )
            .observed()
    });
    let output = output.await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(trap.heard(), Vec::<Vec<u8>>::new());
}

/// T-454
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_than_of_the_targets_ca_is_refused() {
    let side = Broken::start().await;
    let other = Certificates::new();
    for ca in [Some(other.path("ca.pem")), None] {
        let mut settings = side.settings.clone();
        settings.ca = ca;
        assert_eq!(mint(&settings).await, ("database.unreachable", true));
    }
    let mut renamed = side.settings.clone();
    renamed.url = format!("https://127.0.0.1:{}/hallpass", side.port);
    assert_eq!(mint(&renamed).await, ("database.unreachable", true));
    assert_eq!(side.requests("/create").len(), 0);
}

/// T-455
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_read_up_to_its_limits_of_bytes_and_time() {
    let side = Broken::start().await;
    side.faults("/create", &[Fault::FloodAfter, Fault::FloodAfter]);
    assert_eq!(mint(&side.settings).await, ("database.unknown", true));
    // What the buffers of both ends hold is more than what is read.
    assert!(side.sent() < 10 * 1_024 * 1_024, "{}", side.sent());
    side.faults("/create", &[Fault::HangAfter]);
    let began = tokio::time::Instant::now();
    assert_eq!(mint(&side.settings).await, ("database.unknown", true));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let long = vec![b' '; 64 * 1_024 + 1];
    let long = Fault::SayAfter("200 OK", "", long);
    side.faults("/create", &[long.clone(), long]);
    assert_eq!(mint(&side.settings).await, ("database.unknown", true));
    assert_eq!(side.users(), Vec::<String>::new());
}

/// T-464
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_never_ends_is_broken_off() {
    let side = Broken::start().await;
    side.list_without_end();
    let error = side.broker().sweep("app").await.unwrap_err();
    assert!(error.contains("2000 leases and more"), "{error}");
    assert_eq!(side.requests("/list").len(), 20);
    let same = br#"{"leases":[{"name":"a","group":"","record":"","holder":""},{"name":"a","group":"","record":"","holder":""}]}"#;
    let side = Broken::start().await;
    side.faults("/list", &[Fault::Say("200 OK", "", same.to_vec())]);
    let error = side.broker().sweep("app").await.unwrap_err();
    assert!(error.contains("not sorted"), "{error}");
}

/// T-463
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_lease_of_the_target_is_never_ended() {
    let side = Broken::start().await;
    side.list_also(&[
        "admin",
        "hp_",
        "hp_0000007_0123456789ab",
        "hp_0000007_0123456789abcd",
        "hpx_0000007_0123456789abc",
        "hq_0000007_0123456789abc",
        "postgres",
        "HP_0000007_0123456789abc",
    ]);
    let broker = side.broker();
    let report = broker.sweep("app").await.unwrap();
    assert_eq!(report.removed, Vec::<String>::new());
    assert_eq!(side.requests("/end").len(), 0);
    let database = Arc::clone(logins(&broker).database());
    for name in ["admin", "hq_0000007_0123456789abc", ""] {
        assert!(database.disable(name).await.is_err(), "{name}");
    }
    assert_eq!(side.requests("/end").len(), 0);
}

/// T-462
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_tls_lets_in_the_broker_with_its_certificate_only() {
    let mut stage = Stage::with(&SIGNING, &[("TLS_CLIENT_CA", "CA")], |_| {});
    let (code, _) = mint(&stage.settings).await;
    assert!(code.starts_with("database."), "{code}");
    let others = Certificates::new();
    stage.settings.client = Some((others.path("broker.pem"), others.path("broker.key")));
    assert_ne!(mint(&stage.settings).await.0, "made");
    assert_eq!(stage.users(), Vec::<String>::new());
    let path = |name: &str| stage.certificates.path(name);
    stage.settings.client = Some((path("broker.pem"), path("broker.key")));
    assert_eq!(mint(&stage.settings).await.0, "made");
    // A key that does not go with the certificate, or is none, is an error before anything is sent.
    let problem = |cert: &Path, key: &Path| {
        let mut settings = stage.settings.clone();
        settings.client = Some((cert.to_owned(), key.to_owned()));
        with_keys(&SIGNING, |with| settings.connect("app", with).unwrap_err())
    };
    assert!(problem(&path("broker.pem"), &path("server.key")).contains("does not go with the key"));
    let canary = "-----BEGIN PRIVATE KEY-----\nqzjxwvkqpzpzqkvwxjzq\n-----END PRIVATE KEY-----\n";
    leaks::private_key(canary);
    fs::write(path("odd.key"), canary).unwrap();
    let text = problem(&path("broker.pem"), &path("odd.key"));
    assert!(text.contains("odd.key") && !text.contains("qzjx"), "{text}");
    assert!(problem(&path("none.pem"), &path("broker.key")).contains("cannot be read"));
}

/// A certificate that is renewed in its file is taken with the next reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_text_in_a_file_of_the_target_is_noticed() {
    let side = Broken::start().await;
    let broker = side.broker();
    let target = broker.get("app").unwrap();
    assert!(target.has_same_files());
    let other = Certificates::new();
    fs::copy(other.path("ca.pem"), side.certificates.path("ca.pem")).unwrap();
    assert!(!target.has_same_files());
}
