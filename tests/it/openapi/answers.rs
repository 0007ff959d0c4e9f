//! Each documented answer, from the real router.

use std::collections::BTreeSet;
use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::config::Limits;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::routes::{Route, routes};
use super::{check, document, responses};
use crate::support::TestBroker;
use crate::support::client::{Answer, form, read_all, request};
use crate::support::database::Mood;

type Pair = (&'static str, &'static str);

const FORM: Pair = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: Pair = ("Content-Type", "application/json");

/// What was answered, by path and status.
#[derive(Default)]
struct Seen(BTreeSet<(String, String)>);

impl Seen {
    /// `request` compared the body with the document already.
    fn note(&mut self, path: &str, answer: &Answer) {
        self.0.insert((path.to_owned(), answer.status.to_string()));
    }
}

fn media(path: &str) -> Pair {
    if path.starts_with("/api/") {
        JSON
    } else {
        FORM
    }
}

/// A good request for a route that takes a token or a handle.
async fn ask(broker: &TestBroker, path: &str, credential: &str) -> Answer {
    let token = broker.github(|_| {});
    match path {
        "/token" => broker.exchange(&token, credential).await,
        "/revoke" => {
            let lease = lease(broker).await;
            request(
                broker.public(),
                "POST",
                path,
                &[FORM],
                form(&[("token", &lease)]).as_bytes(),
            )
            .await
        }
        _ => {
            broker
                .ask(path, &token, &json!({ "credential": credential }))
                .await
        }
    }
}

async fn lease(broker: &TestBroker) -> String {
    let token = broker.github(|_| {});
    let answer = broker.credentials(&token, "shop-db/read").await;
    answer.text("/lease")
}

/// The refusals that any route gives, before it is known what is asked of it.
async fn of_any(broker: &TestBroker, route: &Route, seen: &mut Seen) {
    let address = if route.is_public {
        broker.public()
    } else {
        broker.operator()
    };
    let method = route.method.to_uppercase();
    let fields: Vec<(String, String)> = (0..100)
        .map(|n| (format!("X-{n}"), "x".to_owned()))
        .collect();
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    seen.note(
        &route.path,
        &request(address, &method, &route.path, &fields, b"").await,
    );
    // A transfer coding that two readers would read differently.
    let odd = [("Transfer-Encoding", "gzip, chunked")];
    seen.note(
        &route.path,
        &request(address, &method, &route.path, &odd, b"").await,
    );
}

/// Those of routes with a body.
async fn of_bodies(broker: &TestBroker, path: &str, seen: &mut Seen) {
    let address = broker.public();
    let long = "a=".to_owned() + &"b".repeat(70_000);
    let bearer = ("Authorization", "Bearer a.b.c");
    for (headers, body) in [
        (vec![media(path), bearer], long.as_str()),
        (vec![("Content-Type", "text/plain"), bearer], "x"),
        (vec![media(path), bearer], "{"),
    ] {
        let answer = request(address, "POST", path, &headers, body.as_bytes()).await;
        seen.note(path, &answer);
    }
    // Half a body.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (name, value) = media(path);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\nAuthorization: Bearer a.b.c\r\nContent-Length: 9\r\n\r\na"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = Answer::parse(&read_all(&mut stream).await).unwrap();
    check("POST", path, answer.status, &answer.body);
    seen.note(path, &answer);
}

/// Programs for jobs: as they are, and after each became a link, which is never followed.
async fn clients(seen: &mut Seen) {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<String> = routes().into_iter().map(|route| route.path).collect();
    let paths = || {
        paths
            .iter()
            .filter_map(|path| Some((path, path.strip_prefix("/client/")?)))
    };
    for (_, file) in paths() {
        std::fs::write(folder.path().join(file), "program").unwrap();
    }
    let setting = format!("clients: {{ folder: {} }}", folder.path().display());
    let broker = TestBroker::builder().setting(&setting).start().await;
    for links in [false, true] {
        for (path, file) in paths() {
            if links {
                let file = folder.path().join(file);
                std::fs::rename(&file, folder.path().join("elsewhere")).unwrap();
                std::os::unix::fs::symlink("elsewhere", &file).unwrap();
            }
            seen.note(path, &request(broker.public(), "GET", path, &[], b"").await);
        }
    }
}

#[tokio::test]
async fn every_documented_answer_is_one_of_the_real_router() {
    let mut seen = Seen::default();
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        TestBroker::builder().limits(limits)
    };
    let slow = limits(|limits| limits.request_time = Duration::from_millis(300))
        .start()
        .await;
    for route in routes() {
        of_any(&slow, &route, &mut seen).await;
        let address = if route.is_public {
            slow.public()
        } else {
            slow.operator()
        };
        if route.method == "post" {
            of_bodies(&slow, &route.path, &mut seen).await;
        } else {
            let method = route.method.to_uppercase();
            seen.note(
                &route.path,
                &request(address, &method, &route.path, &[], b"").await,
            );
        }
    }
    let broker = TestBroker::start().await;
    let posts: Vec<Route> = routes()
        .into_iter()
        .filter(|one| one.method == "post")
        .collect();
    for route in &posts {
        for credential in ["shop-db/read", "deploy-api", "unknown"] {
            seen.note(&route.path, &ask(&broker, &route.path, credential).await);
        }
    }
    seen.note(
        "/api/explain",
        &broker
            .ask("/api/explain", &broker.github(|_| {}), &json!({}))
            .await,
    );
    let lease = lease(&broker).await;
    broker.database.down(true);
    let body = form(&[("token", &lease)]);
    seen.note(
        "/revoke",
        &request(broker.public(), "POST", "/revoke", &[FORM], body.as_bytes()).await,
    );
    broker.database.revocations_panic(true);
    seen.note(
        "/revoke",
        &request(broker.public(), "POST", "/revoke", &[FORM], body.as_bytes()).await,
    );
    broker.database.mood(Mood::Panics);
    for path in ["/token", "/api/credentials"] {
        seen.note(path, &ask(&broker, path, "shop-db/read").await);
    }
    let rare = limits(|limits| limits.per_repository = 1).start().await;
    for route in posts.iter().filter(|one| one.is_exchange) {
        for _ in 0..2 {
            seen.note(&route.path, &ask(&rare, &route.path, "deploy-api").await);
        }
    }
    let lost = TestBroker::start().await;
    lost.clock.step(Timestamp::from_unix(0));
    for route in posts.iter().filter(|one| one.is_exchange) {
        seen.note(&route.path, &ask(&lost, &route.path, "deploy-api").await);
    }
    seen.note(
        "/readyz",
        &request(lost.operator(), "GET", "/readyz", &[], b"").await,
    );

    clients(&mut seen).await;

    let document = document(false);
    let missing: Vec<_> = responses(&document)
        .into_iter()
        .map(|(path, _, status, _)| (path, status))
        .filter(|(_, status)| status != "default")
        .filter(|one| !seen.0.contains(one))
        .collect();
    assert_eq!(
        missing,
        [],
        "no answer here has a status that is documented"
    );
    let listed: BTreeSet<_> = responses(&document)
        .into_iter()
        .map(|(path, _, status, _)| (path, status))
        .collect();
    let more: Vec<_> = seen.0.iter().filter(|one| !listed.contains(*one)).collect();
    assert!(more.is_empty(), "not documented: {more:?}");
}

/// The other way round: what is documented as a request is accepted, and what is not is refused.
#[tokio::test]
async fn documented_members_of_requests_are_those_that_the_router_takes() {
    let document = document(false);
    let schema = |name: &str| document["components"]["schemas"][name]["properties"].clone();
    let broker = TestBroker::start().await;
    let example = |name: &str| match name {
        "credential" => json!("deploy-api"),
        "scopes" => json!(["deploy:staging"]),
        "ttl" => json!("1m"),
        "inputs" => json!({}),
        "response_encryption_jwk" => json!({ "kty": "EC", "crv": "P-256" }),
        other => panic!("`{other}` has no example here"),
    };
    let members = schema("CredentialRequest");
    let names: Vec<&String> = members.as_object().unwrap().keys().collect();
    let request: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| ((*name).clone(), example(name)))
        .collect();
    let answer = broker
        .ask(
            "/api/credentials",
            &broker.github(|_| {}),
            &request.clone().into(),
        )
        .await;
    // Sealing is a feature, which refuses this key in any build, and knows the member.
    assert_eq!(answer.reason(), "request.sealed", "{}", answer.body);
    let mut plain = request.clone();
    plain.remove("response_encryption_jwk");
    let answer = broker
        .ask("/api/credentials", &broker.github(|_| {}), &plain.into())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut more = request;
    more.insert("other".to_owned(), json!("x"));
    let answer = broker
        .ask("/api/credentials", &broker.github(|_| {}), &more.into())
        .await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (400, "request.json")
    );
    let parameters = schema("TokenRequest");
    // Sent twice, a parameter is refused only if the router knows it.
    for name in parameters.as_object().unwrap().keys().map(String::as_str) {
        let twice = [(name, "x"), (name, "x")];
        let answer = broker
            .exchange_with("a.b.c", "deploy-api", &twice, &[])
            .await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(
            matches!(
                answer.reason().as_str(),
                "request.repeated" | "request.target"
            ),
            "{name}: {}",
            answer.body
        );
    }
}
