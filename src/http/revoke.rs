//! Revocation (RFC 7009): a lease handle ends its lease, also when it ended already.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;

use super::answer::{Answer, Context, Reply};
use super::form::Form;
use super::request::RequestError;
use super::{Shared, error};
use crate::credential::Revoked;
use crate::secret::Secret;
use crate::wire::{LeaseState, RevokeAnswer};

/// `POST /revoke`. Whoever holds a handle may use it: it opens nothing, it only ends.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    context: Context,
    form: Form,
) -> Answer {
    let handle = read(&form);
    drop(form);
    match handle {
        Ok(handle) => revoke(&shared, &handle, &context).await,
        Err(error) => error.into(),
    }
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
        Err(refused) => error::revocation(&refused).into(),
    }
}

fn done(status: StatusCode, state: LeaseState, lease: String) -> Answer {
    let mut reply = Reply::ok(&RevokeAnswer { lease: state });
    reply.status = status;
    reply.verdict.lease = Some(lease);
    reply.into()
}

fn read(form: &Form) -> Result<Secret<String>, RequestError> {
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
