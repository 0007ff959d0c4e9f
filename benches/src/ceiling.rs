//! The ceiling: the same request through axum and hyper, one signature verified and one made.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use tokio::net::TcpListener;

use crate::Result;
use crate::tls::Listener;

struct Keys {
    theirs: ParsedPublicKey,
    ours: EcdsaKeyPair,
    random: SystemRandom,
}

/// Serves until it is stopped; over TLS with this chain and its key.
pub(crate) fn serve(address: SocketAddr, key: &str, tls: Option<(&Path, &Path)>) -> Result<()> {
    let key = HEXLOWER.decode(key.as_bytes())?;
    let keys = Keys {
        theirs: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)?,
        ours: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
        random: SystemRandom::new(),
    };
    let router = Router::new()
        .route("/token", post(exchange))
        .route("/echo", post(async |body: Bytes| answer(body.to_vec())))
        .with_state(Arc::new(keys));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        match tls {
            None => axum::serve(listener, router).await?,
            Some((chain, key)) => {
                axum::serve(Listener::new(listener, chain, key)?, router).await?;
            }
        }
        Ok(())
    })
}

async fn exchange(State(keys): State<Arc<Keys>>, body: Bytes) -> impl IntoResponse {
    let answered = verify_and_sign(&keys, &body);
    let status = if answered.is_some() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    (status, answer(answered.unwrap_or_default()))
}

/// The token of a form is verified, and as many bytes as an answer has are signed.
fn verify_and_sign(keys: &Keys, form: &[u8]) -> Option<Vec<u8>> {
    let form = std::str::from_utf8(form).ok()?;
    let (_, token) = form.split_once("subject_token=")?;
    let token = token.split('&').next()?;
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
    keys.theirs.verify_sig(signed.as_bytes(), &signature).ok()?;
    let message = signed.as_bytes().get(..ANSWER)?;
    let signature = keys.ours.sign(&keys.random, message).ok()?;
    let mut answer = message.to_vec();
    answer.extend(BASE64URL_NOPAD.encode(signature.as_ref()).into_bytes());
    Some(answer)
}

fn answer(body: Vec<u8>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], body)
}

/// Bytes that are signed: as the broker's own token has.
const ANSWER: usize = 700;
