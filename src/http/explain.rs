//! The decision without minting: what an exchange of this token would get, and why.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Context, object};
use super::credentials::{self, Asked};
use super::{Shared, error, token};
use crate::exchange::Explained;
use crate::policy::decide::Disclosed;
use crate::policy::{Ask, Available, Denial, Disclosure};
use crate::wire;

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
        inputs: asked.inputs,
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
        Ok(Explained::Permitted(decision)) => {
            let mut body = object(json!({ "permitted": true }));
            if let Some(decision) = decision.disclosed(shared.disclosure) {
                body.insert("decision".to_owned(), json(&decision));
            }
            Answer::ok(body)
        }
        Ok(Explained::Denied(denial)) => Answer::ok(denied(&denial, shared.disclosure)),
        Ok(Explained::Available(credentials)) => Answer::ok(token::object(&wire::Offers {
            credentials: credentials.into_iter().map(offer).collect(),
        })),
        Err(refused) => error::answer(&refused, shared.disclosure),
    }
}

/// The body of the denial an exchange would get, with the part of the decision that the job may
/// learn.
fn denied(denial: &Denial, disclosure: Disclosure) -> Map<String, Value> {
    let mut body = error::denied(denial, disclosure).body;
    body.insert("permitted".to_owned(), false.into());
    if let Some(decision) = denial.decision().disclosed(disclosure) {
        body.insert("decision".to_owned(), json(&decision));
    }
    body
}

fn json(decision: &Disclosed<'_>) -> Value {
    serde_json::to_value(decision).unwrap_or(Value::Null)
}

fn offer(one: Available) -> wire::Offer {
    wire::Offer {
        credential: one.credential.name.clone(),
        kind: one.credential.kind.name.to_owned(),
        policy: one.policy,
        ttl: one.ttl.as_secs(),
        scopes: one.scopes,
        purpose: one.credential.purpose.clone(),
    }
}
