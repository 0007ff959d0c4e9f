//! Headers and claims by chance, validly signed: what we accept, everybody accepts.

use hallpass::token::Algorithm;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::case::{Case, OPINIONS, Verdict};
use crate::generated::{case, good_claims, good_header, good_token, parts, signed};
use crate::tokens::{AUDIENCE, ISSUER};

fn values() -> impl Strategy<Value = Value> {
    select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(4_102_444_800_u64),
        json!(""),
        json!("x"),
        json!("JWT"),
        json!("EdDSA"),
        json!("ed25519"),
        json!(ISSUER),
        json!(AUDIENCE),
        json!([AUDIENCE]),
        json!([AUDIENCE, "x"]),
        json!([]),
        json!({}),
        json!({ "x": [null] }),
    ])
}

/// Members to set, in order; `None` takes one away.
fn changes(names: &[&'static str]) -> impl Strategy<Value = Vec<(&'static str, Option<Value>)>> {
    let change = (
        select(names.to_vec()),
        prop::option::weighted(0.8, values()),
    );
    prop::collection::vec(change, 0..4)
}

fn changed(mut object: Value, changes: Vec<(&'static str, Option<Value>)>) -> Value {
    let members = object.as_object_mut().unwrap();
    for (name, value) in changes {
        match value {
            Some(value) => members.insert(name.to_owned(), value),
            None => members.remove(name),
        };
    }
    object
}

/// What the table says of `null`, which alone would be a disagreement.
fn is_known(claims: &Value) -> bool {
    claims.get("nbf").is_some_and(Value::is_null)
}

fn accepted_by_all_if_by_us(case: &Case) -> Result<bool, TestCaseError> {
    let [ours, others @ ..] = &OPINIONS;
    let accepts = (ours.of_token)(case) != Verdict::Refuses;
    if accepts {
        for other in others {
            let verdict = (other.of_token)(case);
            prop_assert!(
                verdict != Verdict::Refuses,
                "{} refuses {}",
                other.name,
                case.token
            );
        }
    }
    Ok(accepts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// T-19, T-20, T-22, T-23, T-41, T-42, T-43, T-46
    #[test]
    fn what_we_accept_everybody_accepts(
        header in changes(&["alg", "kid", "typ", "cty", "crit", "b64", "enc", "jku", "nonsense"]),
        claims in changes(&["iss", "aud", "sub", "exp", "nbf", "iat", "nonsense"]),
    ) {
        let header = changed(good_header(Algorithm::EdDSA), header);
        let claims = changed(good_claims(), claims);
        prop_assume!(!is_known(&claims));
        let token = signed(Algorithm::EdDSA, &header.to_string(), &claims.to_string());
        accepted_by_all_if_by_us(&case("by chance", true, token))?;
    }

    /// T-14
    #[test]
    fn no_other_text_than_the_issuers_is_accepted(
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        letter in "[A-Za-z0-9_=.+/ -]{0,2}",
        removed in 0_usize..3,
    ) {
        let token = good_token(Algorithm::EdDSA);
        let mut text = token.clone();
        for place in places {
            let from = place.index(text.len());
            let to = text.len().min(from + removed);
            text.replace_range(from..to, &letter);
        }
        let accepts = accepted_by_all_if_by_us(&case("by chance", false, text.clone()))?;
        prop_assert_eq!(accepts, text == token);
    }

    /// T-14, T-25
    #[test]
    fn parts_of_two_tokens_make_no_third(first in 0_usize..9, second in 0_usize..9, which in 1_usize..7) {
        let pair = [Algorithm::ALL[first], Algorithm::ALL[second]];
        prop_assume!(pair[0] != pair[1]);
        let tokens = pair.map(good_token);
        let [one, other] = [parts(&tokens[0]), parts(&tokens[1])];
        let mixed: Vec<&str> = (0..3)
            .map(|part| if which >> part & 1 == 1 { one[part] } else { other[part] })
            .collect();
        let text = mixed.join(".");
        // The claims of both are the same: only then is it the other's token.
        let is_genuine = tokens.contains(&text);
        let accepts = accepted_by_all_if_by_us(&case("by chance", is_genuine, text))?;
        prop_assert_eq!(accepts, is_genuine);
    }
}
