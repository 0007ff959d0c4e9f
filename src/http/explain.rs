//! The decision without minting: what an exchange of this token would get, and why.

use std::sync::Arc;

use axum::extract::State;
use serde_json::Value;

use super::answer::{Answer, Context, Reply};
use super::credentials::Asked;
use super::{Shared, dialect, error};
use crate::exchange::Explained;
use crate::policy::{Ask, Available, Decision, Denial, Disclosure};
use crate::wire;

/// `POST /api/explain`: the input of the JSON endpoint; without `credential`, what the job may have.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    context: Context,
    asked: Asked,
) -> Answer {
    let ask = asked.credential.map(|credential| Ask {
        credential,
        scopes: asked.scopes,
        ttl: asked.ttl,
        inputs: asked.inputs,
    });
    let (id, token) = (context.id.as_str(), &asked.subject_token);
    let exchange = &shared.exchange;
    let explained = exchange.explain(id, token, ask.as_ref(), &context.caller);
    match explained.await {
        Ok(Explained::Permitted(decision)) => Reply::ok(&wire::Explanation {
            permitted: true,
            decision: disclosed(&decision, shared.disclosure),
            refusal: None,
        })
        .into(),
        Ok(Explained::Denied(denial)) => {
            let mut reply = Reply::ok(&denied(&denial, shared.disclosure));
            reply.verdict.credential = Some(denial.decision().credential.clone());
            reply.verdict.detail = Some(denial.reason().code().to_owned());
            reply.into()
        }
        Ok(Explained::Available(credentials)) => Reply::ok(&wire::Offers {
            credentials: credentials.into_iter().map(offer).collect(),
        })
        .into(),
        Err(refused) => error::refusal(&refused, shared.disclosure).into(),
    }
}

/// The denial an exchange would get, with the part of the decision that the job may learn.
fn denied(denial: &Denial, disclosure: Disclosure) -> wire::Explanation {
    wire::Explanation {
        permitted: false,
        decision: disclosed(denial.decision(), disclosure),
        refusal: Some(dialect::oauth(&error::denied(denial, disclosure), None)),
    }
}

fn disclosed(decision: &Decision, disclosure: Disclosure) -> Value {
    let decision = decision.disclosed(disclosure);
    decision.map_or(Value::Null, |decision| {
        serde_json::to_value(decision).unwrap_or(Value::Null)
    })
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
