//! The decision without minting: what an exchange of this token would get, and why.

use std::sync::Arc;

use axum::extract::State;
use serde_json::Value;

use super::answer::{Answer, Context, Refusal, Reply};
use super::credentials::Asked;
use super::{Shared, error, oauth};
use crate::exchange::Explained;
use crate::policy::{Ask, Available, Decision, Disclosure};
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
    let disclosure = shared.disclosure;
    match explained.await {
        Ok(Explained::Permitted(decision)) => explanation(&decision, None, disclosure),
        Ok(Explained::Denied(denial)) => {
            let refusal = error::denied(&denial, disclosure);
            explanation(denial.decision(), Some(&refusal), disclosure)
        }
        Ok(Explained::Unfit(decision, problem)) => {
            let refusal = error::refusal(&problem, disclosure);
            explanation(&decision, Some(&refusal), disclosure)
        }
        Ok(Explained::Available(credentials)) => Reply::ok(&wire::Offers {
            credentials: credentials.into_iter().map(offer).collect(),
        })
        .into(),
        Err(refused) => error::refusal(&refused, disclosure).into(),
    }
}

/// What an exchange would answer, with the part of the decision that the job may learn.
fn explanation(decision: &Decision, refusal: Option<&Refusal>, disclosure: Disclosure) -> Answer {
    let mut reply = Reply::ok(&wire::Explanation {
        permitted: refusal.is_none(),
        decision: disclosed(decision, disclosure),
        refusal: refusal.map(|refusal| oauth::body(refusal, None)),
    });
    if let Some(refusal) = refusal {
        reply.verdict.credential = Some(decision.credential.clone());
        reply.verdict.detail = Some(refusal.verdict.reason.code().to_owned());
    }
    reply.into()
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
        policy_url: one.policy_url,
        ttl: one.ttl.as_secs(),
        scopes: one.scopes,
        purpose: one.credential.purpose.clone(),
    }
}
