//! Revocation (RFC 7009): a lease handle ends its lease, also when it ended already.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use super::answer::{Answer, Context, Verdict};
use super::form::Form;
use super::request::{self, RequestError};
use super::token::{FORM, object};
use super::{Shared, body, error};
use crate::credential::Revoked;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::wire::{LeaseState, RevokeAnswer};

/// `POST /revoke`. Whoever holds a handle may use it: it opens nothing, it only ends.
pub(super) async fn post(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let context = Context::of(&request);
    let answer = match read(&shared, request).await {
        Ok(handle) => revoke(&shared, &handle, &context).await,
        Err(error) => error.into(),
    };
    answer.into_response(&context.id)
}

async fn revoke(shared: &Shared, handle: &Secret<String>, context: &Context) -> Answer {
    // A database that hangs is one that cannot be reached: the answer says so before the request's
    // own time is up.
    let patience = shared.limits.request_time.mul_f64(PATIENCE);
    let exchange = &shared.exchange;
    let ended = exchange.revoke(handle, context.id.as_str(), patience).await;
    match ended {
        Ok((Revoked::Gone, lease)) => done(StatusCode::OK, LeaseState::Gone, lease),
        Ok((Revoked::Closed, lease)) => done(StatusCode::OK, LeaseState::Closed, lease),
        Ok((Revoked::Pending, lease)) => done(StatusCode::ACCEPTED, LeaseState::Pending, lease),
        Err(refused) => error::revocation(&refused),
    }
}

fn done(status: StatusCode, state: LeaseState, lease: String) -> Answer {
    let mut answer = Answer::with_status(status, object(&RevokeAnswer { lease: state }));
    answer.verdict = Verdict {
        lease: Some(lease),
        ..Verdict::new(Reason::Success)
    };
    answer
}

async fn read(shared: &Shared, request: Request) -> Result<Secret<String>, RequestError> {
    let (parts, body) = request.into_parts();
    if parts.uri.query().is_some() {
        return Err(RequestError::Query);
    }
    request::media_type(&parts.headers, FORM)?;
    let bytes = body::read(body, shared.limits.body).await?;
    let form = Form::parse(&bytes)?;
    form.one("token_type_hint")?;
    let text = form.required("token")?;
    if text.starts_with("hpl_") {
        Ok(Secret::new(text.to_owned()))
    } else if text.bytes().filter(|byte| *byte == b'.').count() == 2 {
        Err(RequestError::LeaseType)
    } else {
        Err(RequestError::Lease)
    }
}

/// The part of a request's time that a revocation is waited for.
const PATIENCE: f64 = 0.8;
