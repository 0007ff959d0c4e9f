//! The decision without minting: what an exchange of this token would get, and why.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Context, object};
use super::credentials::{self, Asked};
use super::{Shared, error};
use crate::exchange::Explained;
use crate::policy::decide::BlockOutcome;
use crate::policy::{Ask, Available, Decision, Denial, Disclosure};

/// `POST /api/explain`: the input of the JSON door; without `credential`, what the job may have.
pub(super) async fn post(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let context = Context::of(&request);
    let answer = match credentials::asked(&shared, request).await {
        Ok(asked) => explain(&shared, asked, &context).await,
        Err(error) => error.into(),
    };
    answer.into_response(&context.id)
}

async fn explain(shared: &Shared, asked: Asked, context: &Context) -> Answer {
    let ask = asked.credential.map(|credential| Ask {
        credential,
        scopes: asked.scopes,
        ttl: asked.ttl,
    });
    let explained = shared
        .exchange
        .explain(
            context.id.as_str(),
            &asked.subject_token,
            ask.as_ref(),
            &context.seen,
        )
        .await;
    match explained {
        Ok(Explained::Permitted(decision)) => Answer::ok(object(json!({
            "permitted": true,
            "decision": told(&decision, shared.disclosure),
        }))),
        Ok(Explained::Denied(denial)) => Answer::ok(denied(&denial, shared.disclosure)),
        Ok(Explained::Available(credentials)) => Answer::ok(object(json!({
            "credentials": credentials.iter().map(available).collect::<Vec<_>>(),
        }))),
        Err(refused) => error::answer(&refused, shared.disclosure),
    }
}

/// The body of the denial an exchange would get, and, for a job that may hear it, every condition.
fn denied(denial: &Denial, disclosure: Disclosure) -> Map<String, Value> {
    let mut body = error::denied(denial, disclosure).body;
    body.insert("permitted".to_owned(), false.into());
    if denial.answer(disclosure).reason != STRANGER {
        body.insert("decision".to_owned(), told(denial.decision(), disclosure));
    }
    body
}

/// A decision without the policies that do not name the job's repository, and without other tenants:
/// those are nobody's business but their own repositories' (T-82).
fn told(decision: &Decision, disclosure: Disclosure) -> Value {
    let mut decision = decision.clone();
    match disclosure {
        Disclosure::Always => {}
        Disclosure::Repository => {
            decision
                .policies
                .retain(|policy| policy.names_repository || policy.holds());
            decision.tenants.retain(BlockOutcome::holds);
        }
        Disclosure::Never => {
            decision.policies.clear();
            decision.tenants.clear();
            decision.requirements.clear();
        }
    }
    serde_json::to_value(&decision).unwrap_or(Value::Null)
}

fn available(one: &Available) -> Value {
    json!({
        "credential": one.credential.name,
        "kind": one.credential.kind.name(),
        "policy": one.policy,
        "ttl": one.ttl.as_secs(),
        "scopes": one.scopes,
        "purpose": one.credential.purpose,
    })
}

/// The one reason that strangers hear.
const STRANGER: &str = "policy.denied";
