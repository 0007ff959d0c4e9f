//! Answers that are lost, wrong or about something else leave no user behind.

use std::time::Duration;

use hallpass::credential::Revoked;
use serde_json::json;

use super::broken::{Broken, Fault};
use super::stage::{contents, fresh_random, keyed, logins, made, order};

const HTML: &[u8] = b"<html><h1>upstream connect error or disconnect</h1></html>";

fn page(status: &'static str) -> Fault {
    Fault::SayAfter(status, "Content-Type: text/html\r\n", HTML.to_vec())
}

fn answer(members: serde_json::Value) -> Fault {
    Fault::WithAfter(members)
}

/// What may have been made is ended in the same request, whatever was answered for it.
///
/// T-457
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_whose_answer_is_lost_leaves_no_user() {
    let side = Broken::start().await;
    let broker = side.broker();
    let gzip = "Content-Encoding: gzip\r\n";
    let faults = [
        [Fault::CutAfter, Fault::CutAfter],
        [Fault::CutBefore, Fault::CutAfter],
        [Fault::CutAfter, Fault::CutBefore],
        [Fault::CutAfter, Fault::HangAfter],
        [Fault::HangAfter, Fault::HangAfter],
        [Fault::FloodAfter, Fault::FloodAfter],
        [page("500 Internal Server Error"), page("500 Oops")],
        [page("502 Bad Gateway"), page("503 Service Unavailable")],
        [page("401 Unauthorized"), page("404 Not Found")],
        [page("200 OK"), page("201 Created")],
        [
            Fault::SayAfter("200 OK", gzip, b"{}".to_vec()),
            Fault::SayAfter("200 OK", "", b"{}".to_vec()),
        ],
        [
            Fault::SayAfter("500 Oops", "", br#"{"error":"full"}"#.to_vec()),
            Fault::SayAfter("200 OK", "", br#"{"error":"full"}"#.to_vec()),
        ],
    ];
    for faults in faults {
        let token = fresh_random();
        side.faults("/create", &faults);
        let before = side.made();
        let mint = logins(&broker).make(keyed("reader", &token, "one", false));
        let error = made(mint.await).unwrap_err();
        assert_eq!(error.reason.code(), "database.unknown", "{faults:?}");
        assert_eq!(side.users(), Vec::<String>::new(), "{faults:?}");
        assert!(side.made() > before, "nothing was made: {faults:?}");
        // The lease is over: nothing is made for the token again.
        side.faults("/create", &[]);
        let again = logins(&broker).make(keyed("reader", &token, "one", false));
        assert_eq!(made(again.await).unwrap_err().reason.code(), "lease.over");
        assert_eq!(side.users(), Vec::<String>::new());
    }
}

/// One lost answer costs the job nothing: the request is sent again, and finds what was made.
///
/// T-457
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lost_answer_is_made_up_for() {
    let side = Broken::start().await;
    let broker = side.broker();
    for fault in [Fault::CutAfter, Fault::CutBefore, page("502 Bad Gateway")] {
        side.faults("/create", std::slice::from_ref(&fault));
        let mint = logins(&broker).make(order("reader", 600, &fresh_random()));
        let login = made(mint.await).unwrap();
        assert_eq!(side.users(), [login.username.as_str()], "{fault:?}");
        broker.revoke(&contents(&login)).await.unwrap();
    }
    assert_eq!(side.users(), Vec::<String>::new());
}

/// Where the end is lost too, it is owed: the sweep sends it again, and nothing is handed out for the token
/// meanwhile.
///
/// T-457
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_lost_too_is_owed() {
    let side = Broken::start().await;
    let broker = side.broker();
    let token = fresh_random();
    side.faults("/create", &[Fault::CutAfter, Fault::CutAfter]);
    side.faults("/end", &[Fault::CutBefore, Fault::CutBefore]);
    let mint = logins(&broker).make(keyed("reader", &token, "one", false));
    let error = made(mint.await).unwrap_err();
    assert_eq!(error.reason.code(), "database.unknown");
    assert!(!error.nothing_made);
    assert_eq!(side.users().len(), 1);
    let again = logins(&broker).make(keyed("reader", &token, "one", false));
    assert_eq!(made(again.await).unwrap_err().reason.code(), "lease.over");
    side.faults("/end", &[]);
    let report = broker.sweep("app").await.unwrap();
    assert_eq!(report.removed.len(), 1);
    assert_eq!(side.users(), Vec::<String>::new());
    let late = logins(&broker).make(keyed("reader", &token, "one", false));
    assert_eq!(made(late.await).unwrap_err().reason.code(), "lease.over");
}

/// A request that only looks for a lease ends none, whatever is answered.
///
/// T-110, T-457
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_whose_answer_is_lost_ends_nothing() {
    let side = Broken::start().await;
    let broker = side.broker();
    let token = fresh_random();
    let first = logins(&broker).make(keyed("reader", &token, "one", false));
    let first = made(first.await).unwrap();
    side.faults("/create", &[Fault::CutAfter, Fault::CutAfter]);
    let repeat = logins(&broker).make(keyed("reader", &token, "one", true));
    assert_eq!(
        made(repeat.await).unwrap_err().reason.code(),
        "database.unknown"
    );
    assert_eq!(side.users(), [first.username.as_str()]);
    let repeat = logins(&broker).make(keyed("reader", &token, "one", true));
    assert_eq!(made(repeat.await).unwrap().username, first.username);
}

/// T-456
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_about_another_lease_is_none() {
    let side = Broken::start().await;
    let broker = side.broker();
    let victim = logins(&broker).make(order("writer", 600, &fresh_random()));
    let victim = made(victim.await).unwrap();
    let later = format!("hp_vvvvvv0_{}", victim.username.rsplit('_').next().unwrap());
    for wrong in [
        json!({ "name": victim.username }),
        json!({ "name": later }),
        json!({ "name": "root" }),
        json!({ "name": "hq_0000007_0123456789abc" }),
        json!({ "group": "writer" }),
        json!({ "record": "{}" }),
        json!({ "created": false, "record": "{}", "name": victim.username }),
        json!({ "created": "yes" }),
        json!({ "username": "a\nb" }),
        json!({ "members": { "PATH": "/tmp" } }),
        json!({ "secrets": { "password": "x" } }),
    ] {
        side.faults("/create", &[answer(wrong.clone()), answer(wrong.clone())]);
        let mint = logins(&broker).make(order("reader", 600, &fresh_random()));
        let error = made(mint.await).unwrap_err();
        assert_eq!(error.reason.code(), "database.unknown", "{wrong}");
        // The other lease is as it was.
        assert_eq!(side.users(), [victim.username.as_str()], "{wrong}");
    }
}

/// A login that was there before is given only by the record that a broker signed for it.
///
/// T-104, T-456
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_a_record_of_no_broker_is_not_handed_out() {
    let side = Broken::start().await;
    let broker = side.broker();
    let token = fresh_random();
    let first = logins(&broker).make(keyed("reader", &token, "one", false));
    let first = made(first.await).unwrap();
    for wrong in [
        json!({ "record": "{}" }),
        json!({ "group": "writer" }),
        json!({ "record": r#"{"v":1,"pol":"p","mac":"00"}"# }),
    ] {
        side.faults("/create", std::slice::from_ref(&answer(wrong.clone())));
        let again = logins(&broker).make(keyed("reader", &token, "one", true));
        assert_eq!(
            made(again.await).unwrap_err().reason.code(),
            "token.replayed",
            "{wrong}"
        );
    }
    assert_eq!(side.users(), [first.username.as_str()]);
}

/// T-457: what the other side says in the words of the contract was not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_contract_is_believed() {
    let side = Broken::start().await;
    let broker = side.broker();
    for (status, error, reason) in [
        ("503 Busy", "busy", "database.unreachable"),
        ("429 Busy", "busy", "database.refused"),
        ("422 No", "full", "database.full"),
        ("422 No", "repository_full", "database.repository_full"),
        ("422 No", "group", "database.group"),
        ("422 No", "ceiling", "database.ceiling"),
        ("401 No", "token", "database.refused"),
        ("400 No", "something-of-its-own", "database.refused"),
    ] {
        let body = json!({ "error": error }).to_string().into_bytes();
        side.faults("/create", &[Fault::Say(status, "Retry-After: 7\r\n", body)]);
        let mint = logins(&broker).make(order("reader", 600, &fresh_random()));
        let failed = made(mint.await).unwrap_err();
        assert_eq!(failed.reason.code(), reason, "{error}");
        assert!(failed.nothing_made, "{error}");
    }
    assert_eq!(side.requests("/end").len(), 0);
}

/// T-461
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_in_the_words_of_the_other_side_is_withheld() {
    let side = Broken::start().await;
    let broker = side.broker();
    // The second one would be cut within the password.
    for letters in [0, 185] {
        let order = order("reader", 600, &fresh_random());
        crate::support::leaks::secret("a password", order.password.expose());
        side.faults("/create", &[Fault::EchoPassword(letters)]);
        let error = made(logins(&broker).make(order).await).unwrap_err();
        assert_eq!(error.reason.code(), "database.full");
    }
}

/// The end takes time: the lease is owed until it is confirmed.
///
/// T-77
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_takes_time_is_waited_for_and_then_owed() {
    let side = Broken::start().await;
    let broker = side.broker();
    let mint = || async {
        let mint = logins(&broker).make(order("reader", 600, &fresh_random()));
        made(mint.await).unwrap()
    };
    let later = json!({ "ended": false, "reason": "a backup runs" });
    let later = Fault::Say("200 OK", "", later.to_string().into_bytes());
    let login = mint().await;
    side.faults("/end", &vec![later.clone(); 3]);
    assert_eq!(
        broker.revoke(&contents(&login)).await.unwrap(),
        Revoked::Gone
    );
    let login = mint().await;
    side.faults("/end", &vec![later; 200]);
    assert_eq!(
        broker.revoke(&contents(&login)).await.unwrap(),
        Revoked::Pending
    );
    side.faults("/end", &[]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let report = broker.sweep("app").await.unwrap();
    assert_eq!(report.removed, [login.username]);
    assert_eq!(side.users(), Vec::<String>::new());
}
