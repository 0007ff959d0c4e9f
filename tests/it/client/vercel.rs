//! Vercel: the job's token is for another audience, and is exchanged for one for the broker at Vercel's own
//! address. A proxy leads there, to a server whose certificate names that host.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::fake::{Fake, stderr, token, told};
use crate::support::leaks::Observed as _;

/// The server's configuration, and the certificate of its authority.
fn tls() -> (ServerConfig, String) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name
        .push(DnType::CommonName, "the test's authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["oidc.vercel.com".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        );
    (config.unwrap(), ca.pem())
}

/// The head of what was sent, and as much of the body as it says.
fn request(stream: &mut impl std::io::Read) -> (String, Vec<u8>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

/// A proxy that leads every connection to Vercel's service: one request, answered by `answer`.
fn vercel(
    config: ServerConfig,
    answer: (u16, Value),
) -> (String, JoinHandle<(String, String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut plain, _): (TcpStream, _) = listener.accept().unwrap();
        let (connect, _) = request(&mut plain);
        plain.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, plain);
        let (head, body) = request(&mut stream);
        let (status, body_out) = (answer.0, answer.1.to_string());
        let length = body_out.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body_out}"
        )
        .unwrap();
        stream.conn.send_close_notify();
        stream.flush().ok();
        (connect, head, serde_json::from_slice(&body).unwrap())
    });
    (address, served)
}

/// T-383
#[test]
fn vercels_token_is_exchanged_for_one_for_the_broker() {
    for (status, code) in [(200, 0), (401, 5)] {
        let fake = Fake::start();
        let (config, ca) = tls();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, ca).unwrap();
        let (own, ours) = (token("https://vercel.com/acme", "1"), fake.token("2"));
        let answer = json!({ "token": ours, "expiry": 4_102_444_800_u64 });
        let (proxy, served) = vercel(config, (status, answer));
        let output = fake
            .hallpass(&["get", "shop-db/migrate", "--timeout", "10s"])
            .env("VERCEL", "1")
            .env("VERCEL_OIDC_TOKEN", &own)
            .env("HALLPASS_PROXY", proxy)
            .env("HALLPASS_CA", &file)
            .observed();
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        let (connect, head, body) = served.join().unwrap();
        assert!(
            connect.starts_with("connect oidc.vercel.com:443 "),
            "{connect}"
        );
        assert!(head.starts_with("post /~token http/1.1\r\n"), "{head}");
        assert_eq!(body, json!({ "token": own, "aud": fake.url() }));
        if status == 200 {
            assert_eq!(fake.asked("/token")[0].form["subject_token"], ours);
        } else {
            let said = stderr(&output);
            assert!(
                said.contains("Vercel's token service gave no token: it answers 401; "),
                "{said}"
            );
            assert_eq!(fake.asked("/token").len(), 0);
        }
    }
}
