//! The embedded issuer's HTTPS side: certificates, routes, connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{IssuerError, Shared};

/// A server certificate for this machine under an authority made for it alone.
pub(super) struct Certificate {
    pub(super) ca_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// For servers of these names.
    pub(super) fn generate(names: &[&str]) -> Result<Self, IssuerError> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.distinguished_name
            .push(DnType::CommonName, "hallpass dev issuer");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names)?.signed_by(&key, &ca)?;
        Ok(Self {
            ca_pem: ca.pem(),
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    pub(super) fn to_kept(&self) -> KeptTls {
        KeptTls {
            ca: self.ca_pem.clone(),
            chain: self.chain.iter().map(|one| BASE64.encode(one)).collect(),
            key: BASE64.encode(self.key.secret_der()),
        }
    }

    pub(super) fn from_kept(kept: &KeptTls) -> Result<Self, IssuerError> {
        let decode = |text: &String| BASE64.decode(text.as_bytes());
        let damaged = |_| IssuerError::Kept("its TLS certificate is damaged".to_owned());
        let chain = kept.chain.iter().map(decode);
        let chain: Vec<Vec<u8>> = chain.collect::<Result<_, _>>().map_err(damaged)?;
        let key = decode(&kept.key).map_err(damaged)?;
        Ok(Self {
            ca_pem: kept.ca.clone(),
            chain: chain.into_iter().map(CertificateDer::from).collect(),
            key: PrivatePkcs8KeyDer::from(key).into(),
        })
    }

    pub(super) fn acceptor(self) -> Result<TlsAcceptor, IssuerError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// The certificate of an issuer that starts again, with its key. No `Debug`.
#[derive(Deserialize, Serialize)]
pub struct KeptTls {
    ca: String,
    chain: Vec<String>,
    key: String,
}

/// Serves until its task is stopped; its connections stop with it.
pub(super) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(|request| {
        let answer = answer(&shared, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    // A client that breaks off is its own business.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().strip_prefix(shared.path.as_str());
    match (request.method(), path) {
        (&Method::GET, Some(DISCOVERY_PATH)) => {
            shared.discovery_requests.fetch_add(1, Ordering::Relaxed);
            reply(StatusCode::OK, &shared.discovery())
        }
        (&Method::GET, Some(JWKS_PATH)) => {
            shared.key_set_requests.fetch_add(1, Ordering::Relaxed);
            reply(StatusCode::OK, &shared.jwks())
        }
        (&Method::GET, Some(ID_TOKEN_PATH)) => id_token(
            shared,
            request.headers(),
            request.uri().query().unwrap_or(""),
        ),
        _ => reply(StatusCode::NOT_FOUND, &json!({ "message": "not found" })),
    }
}

fn id_token(shared: &Shared, headers: &HeaderMap, query: &str) -> Response<Full<Bytes>> {
    let request_token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        // RFC 9110 section 11.1: the name of a scheme is case-insensitive.
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token);
    let audience = url::form_urlencoded::parse(query.as_bytes())
        .find_map(|(name, value)| (name == "audience").then(|| value.into_owned()));
    let token = request_token.and_then(|token| shared.id_token(token, audience.as_deref()));
    match token {
        Some(Ok(token)) => reply(StatusCode::OK, &json!({ "value": token })),
        Some(Err(error)) => reply(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({ "message": error.to_string() }),
        ),
        None => reply(
            StatusCode::UNAUTHORIZED,
            &json!({ "message": "the request token is not one of a running job" }),
        ),
    }
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Where the key set is.
pub(super) const JWKS_PATH: &str = "/.well-known/jwks";
/// Where jobs fetch their tokens.
pub(super) const ID_TOKEN_PATH: &str = "/token";
