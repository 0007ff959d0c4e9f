//! Certificates with one thing wrong each, and a server that is too old.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// What can be wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    Good,
    OtherName,
    Expired,
    NotYet,
    SelfSigned,
}

/// The server's side, and the authority that a client would have to trust.
pub(super) fn acceptor(certificate: Certificate) -> (TlsAcceptor, String) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = parameters(certificate);
    let leaf = match certificate {
        Certificate::SelfSigned => leaf.self_signed(&key).unwrap(),
        Certificate::Good | Certificate::OtherName | Certificate::Expired | Certificate::NotYet => {
            leaf.signed_by(&key, &ca).unwrap()
        }
    };
    (with(leaf.der().clone(), &key), ca.pem())
}

/// The same with a good certificate for that name.
pub(super) fn acceptor_for(host: &str) -> (TlsAcceptor, String) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
    (
        with(leaf.signed_by(&key, &ca).unwrap().der().clone(), &key),
        ca.pem(),
    )
}

fn parameters(certificate: Certificate) -> CertificateParams {
    let names: &[&str] = match certificate {
        Certificate::OtherName => &["other.example"],
        Certificate::Good
        | Certificate::Expired
        | Certificate::NotYet
        | Certificate::SelfSigned => &["localhost", "ci.example"],
    };
    let names = names
        .iter()
        .map(|name| (*name).to_owned())
        .collect::<Vec<_>>();
    let mut leaf = CertificateParams::new(names).unwrap();
    match certificate {
        Certificate::Expired => {
            leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
            leaf.not_after = rcgen::date_time_ymd(2020, 1, 2);
        }
        Certificate::NotYet => leaf.not_before = rcgen::date_time_ymd(3_000, 1, 1),
        Certificate::Good | Certificate::OtherName | Certificate::SelfSigned => {}
    }
    leaf
}

fn with(leaf: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What a server answers to any client when it knows this version and nothing later, e.g.
/// `[3, 2]` for TLS 1.1 (RFC 4346 section 7.4.1.3).
pub(crate) fn old_server_hello(version: [u8; 2]) -> Vec<u8> {
    // ECDHE_RSA_WITH_AES_128_CBC_SHA, no session, no compression, no extensions.
    let body = [&version[..], &[7; 32], &[0], &[0xC0, 0x13], &[0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    let message = [&[2, 0, 0, length], body.as_slice()].concat();
    let [major, minor] = version;
    [&[22, major, minor, 0, length + 4], message.as_slice()].concat()
}
