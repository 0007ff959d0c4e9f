//! The action behind a proxy, and twice in one job.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use hallpass::clock::{Clock as _, SystemClock};
use hallpass::dev::issuer::{GithubJob, Issuer, github_claims};
use serde_json::json;

use super::runner::Job;
use crate::client::fake::{Fake, LEASE, Reply, login};

const REQUEST_TOKEN: &str = "canary-4d10b7e2c9";

/// A proxy that tunnels, and remembers where to and what it was sent before the tunnel.
struct Proxy {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let heads = Arc::clone(&shared);
                thread::spawn(move || tunnel(stream.unwrap(), &heads));
            }
        });
        Self { url, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn tunnel(mut stream: TcpStream, heads: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            return;
        }
    }
    heads.lock().unwrap().push(head.clone());
    let Some(target) = head.strip_prefix("CONNECT ") else {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        return;
    };
    let target = target.split(' ').next().unwrap();
    let mut other = TcpStream::connect(target).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let mut back = other.try_clone().unwrap();
    thread::spawn(move || std::io::copy(&mut back, &mut stream));
    let _ = std::io::copy(&mut reader, &mut other);
}

/// A job whose ID tokens come over TLS.
fn job(fake: &Fake, issuer: &Issuer) -> Job {
    let claims = GithubJob::new(issuer.url(), "", SystemClock::new().now());
    let url = issuer.offer(REQUEST_TOKEN, github_claims(&claims));
    let mut job = Job::new(&fake.url(), "shop-db/migrate");
    job.tokens(&url, REQUEST_TOKEN);
    let ca = job.path("ca.pem");
    fs::write(&ca, issuer.ca_pem()).unwrap();
    job.set("NODE_EXTRA_CA_CERTS", ca.to_str().unwrap());
    let answer = login("shop-db/migrate")["hallpass"].clone();
    fake.next("/api/credentials", Reply::json(200, &answer));
    job
}

/// T-237
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_action_tunnels_and_the_proxy_reads_nothing() {
    let (fake, proxy) = (Fake::start(), Proxy::start());
    let issuer = Issuer::start("").await.unwrap();
    let host = issuer.url().strip_prefix("https://").unwrap();
    for name in ["HTTPS_PROXY", "https_proxy"] {
        let mut job = job(&fake, &issuer);
        // Of no use for the broker on this machine.
        job.set("HTTP_PROXY", &proxy.url).set(name, &proxy.url);
        let before = proxy.heads().len();
        let ran = job.main();
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.log);
        let heads = proxy.heads().split_off(before);
        assert_eq!(heads.len(), 1, "{heads:?}");
        assert!(
            heads[0].starts_with(&format!("CONNECT {host} ")),
            "{heads:?}"
        );
        assert!(!heads[0].contains(REQUEST_TOKEN), "the proxy read a token");
        assert_eq!(job.post().code, Some(0));
    }
    // The proxy presents no certificate of its own: what it tunnels to must be the other side.
    let mut job = job(&fake, &issuer);
    job.set("HTTPS_PROXY", &proxy.url)
        .set("NODE_EXTRA_CA_CERTS", "");
    let ran = job.main();
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    assert!(ran.texts("error")[0].contains("certificate"), "{}", ran.log);
}

/// T-237
#[tokio::test(flavor = "multi_thread")]
async fn what_no_proxy_names_is_reached_directly() {
    let (fake, proxy) = (Fake::start(), Proxy::start());
    let issuer = Issuer::start("").await.unwrap();
    let name = issuer.url().strip_prefix("https://").unwrap();
    let name = name.rsplit_once(':').unwrap().0;
    let mut job = job(&fake, &issuer);
    job.set("HTTPS_PROXY", &proxy.url)
        .set("NO_PROXY", &format!("db.acme.dev,{name}"));
    let ran = job.main();
    assert_eq!(ran.code, Some(0), "{}", ran.log);
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

/// T-238
#[test]
fn two_uses_in_one_job_share_nothing_and_each_ends_its_own() {
    let fake = Fake::start();
    let mut first = Job::new(&fake.url(), "A=shop-db/migrate");
    first.tokens(&format!("{}/idtoken", fake.url()), REQUEST_TOKEN);
    // The runner gives both steps one temporary folder and a state each.
    let mut second = Job::new(&fake.url(), "B=shop-db/migrate");
    second.tokens(&format!("{}/idtoken", fake.url()), REQUEST_TOKEN);
    second.set("RUNNER_TEMP", first.temp().to_str().unwrap());
    let mut leases = Vec::new();
    for (number, job) in [&first, &second].into_iter().enumerate() {
        let mut answer = login("shop-db/migrate")["hallpass"].clone();
        let lease = format!("{LEASE}-{number}");
        answer["lease"] = json!(lease);
        leases.push(lease);
        fake.next("/api/credentials", Reply::json(200, &answer));
        let ran = job.main();
        assert_eq!(ran.code, Some(0), "{}", ran.log);
    }
    let asked = fake.asked("/api/credentials");
    let of = |name: &str| {
        asked
            .iter()
            .map(|one| one.headers[name].clone())
            .collect::<Vec<_>>()
    };
    for name in ["idempotency-key", "authorization"] {
        let sent = of(name);
        assert_ne!(sent[0], sent[1], "{name}");
    }
    let files = first.secret_files();
    let folders: std::collections::BTreeSet<_> = files.iter().map(|file| file.parent()).collect();
    assert_eq!(folders.len(), 2);
    // The runner ends the last step first.
    for (job, ended) in [(&second, 1), (&first, 0)] {
        assert_eq!(job.post().code, Some(0));
        let revoked = fake.asked("/revoke");
        assert_eq!(revoked.last().unwrap().form["token"], leases[ended]);
        assert_eq!(first.secret_files().is_empty(), ended == 0);
    }
    assert_eq!(fake.asked("/revoke").len(), 2);
}
