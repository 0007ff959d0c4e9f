//! What every store must do, run against each.

use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hallpass::clock::Timestamp;
use hallpass::dev::issuer::{GithubJob, GitlabJob, github_claims, gitlab_claims};
use hallpass::policy::Ask;
use hallpass::replay::{ReplayError, Reserved};
use hallpass::token::Algorithm;
use serde_json::json;

use super::stage::{DEPLOY, READ, Stage, ask, key};
use crate::support::broker::{GITHUB, GITLAB};
use crate::support::tokens::{AUDIENCE, NOW, TestKey};

macro_rules! on_every_store {
    ($($(#[$attribute:meta])* $name:ident($stage:ident) $body:block)*) => {
        mod memory {
            use super::*;
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { let $stage = Stage::memory().await; $body })*
        }
        mod redis {
            use super::*;
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { let $stage = Stage::redis().await; $body })*
        }
    };
}

fn is_replay(given: &Result<Reserved, ReplayError>) -> bool {
    matches!(given, Err(ReplayError::Replayed { .. }))
}

/// `n - s`, with `n` the order of P-256: as good a signature as the one with `s`.
fn negate(s: &mut [u8]) {
    let n = HEXLOWER
        .decode(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
        .unwrap();
    let mut borrow = 0;
    for (s, n) in s.iter_mut().zip(n).rev() {
        let left = i16::from(n) - i16::from(*s) - borrow;
        borrow = i16::from(left < 0);
        *s = u8::try_from(left.rem_euclid(256)).unwrap();
    }
}

on_every_store! {
    /// T-69
    of_one_hundred_parallel_uses_one_is_taken(stage) {
        let token = stage.broker.github(|_| {});
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (permit, store) = (stage.permit(&token, READ).await, stage.store.clone());
            asked.spawn(async move { store.reserve(permit, None, "req_x").await });
        }
        let given = asked.join_all().await;
        assert_eq!(given.iter().filter(|given| given.is_ok()).count(), 1);
        assert!(given.iter().all(|given| given.is_ok() || is_replay(given)));
    }

    /// T-69
    the_second_use_names_the_first(stage) {
        let token = stage.broker.github(|_| {});
        stage.take(&token, READ).await.unwrap();
        let permit = stage.permit(&token, READ).await;
        let again = stage.store.reserve(permit, None, "req_second").await.unwrap_err();
        assert_eq!(again, ReplayError::Replayed { credential: READ.to_owned(), first_request_id: "req_first".to_owned() });
    }

    /// T-71
    the_same_jti_of_two_issuers_is_two_tokens_and_two_credentials_are_two_uses(stage) {
        let now = Timestamp::from_unix(NOW);
        let mut github = github_claims(&GithubJob::new(GITHUB, AUDIENCE, now));
        let mut gitlab = gitlab_claims(&GitlabJob::new(GITLAB, AUDIENCE, now));
        for claims in [&mut github, &mut gitlab] {
            claims["jti"] = json!("one-and-the-same");
        }
        let (github, gitlab) = (stage.broker.key.token(&github), stage.broker.key.token(&gitlab));
        stage.take(&github, DEPLOY).await.unwrap();
        stage.take(&gitlab, DEPLOY).await.unwrap();
        stage.take(&github, READ).await.unwrap();
        assert!(is_replay(&stage.take(&github, DEPLOY).await));
        assert!(is_replay(&stage.take(&gitlab, DEPLOY).await));
    }

    /// T-71
    without_a_jti_the_signed_part_of_a_token_is_what_is_used(stage) {
        let now = Timestamp::from_unix(NOW);
        let mut claims = github_claims(&GithubJob::new(GITHUB, AUDIENCE, now));
        claims.as_object_mut().unwrap().remove("jti");
        let token = stage.broker.key.token(&claims);
        stage.take(&token, DEPLOY).await.unwrap();
        assert!(is_replay(&stage.take(&token, DEPLOY).await));
        claims["run_id"] = json!("another");
        stage.take(&stage.broker.key.token(&claims), DEPLOY).await.unwrap();
    }

    /// T-71
    an_es256_token_with_the_other_s_is_the_same_token(stage) {
        let key = TestKey::p256("k1");
        let mut claims = github_claims(&GithubJob::new(GITHUB, AUDIENCE, Timestamp::from_unix(NOW)));
        claims.as_object_mut().unwrap().remove("jti");
        let token = key.sign(Algorithm::ES256, r#"{"alg":"ES256","kid":"k1"}"#, &claims.to_string());
        let first = stage.permit_by(&key, &token).await;
        stage.store.reserve(first, None, "req_first").await.unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        negate(&mut signature[32..]);
        let twin = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
        assert_ne!(token, twin);
        let twin = stage.permit_by(&key, &twin).await;
        assert!(is_replay(&stage.store.reserve(twin, None, "req_twin").await));
    }

    /// T-70
    a_use_is_remembered_as_long_as_the_token_can_be_used(stage) {
        // It ends five minutes after it was issued, and is taken for thirty seconds more.
        for after in [0, 299, 300, 329] {
            let token = stage.broker.github(|_| {});
            let again = stage.permit(&token, READ).await;
            stage.take(&token, READ).await.unwrap();
            stage.clock().advance(Duration::from_secs(after));
            let given = stage.store.reserve(again, None, "req_again").await;
            assert!(is_replay(&given), "{after}");
            stage.clock().step(Timestamp::from_unix(NOW));
        }
    }

    /// T-73
    a_clock_that_jumps_on_and_back_opens_no_token(stage) {
        let token = stage.broker.github(|_| {});
        let other = stage.permit(&stage.broker.github(|_| {}), READ).await;
        stage.take(&token, READ).await.unwrap();
        stage.clock().step(Timestamp::from_unix(NOW + 100_000));
        stage.store.reserve(other, None, "req_other").await.unwrap();
        stage.clock().step(Timestamp::from_unix(NOW));
        assert!(is_replay(&stage.take(&token, READ).await));
    }

    /// T-110
    the_key_decides_what_a_second_use_is(stage) {
        let token = stage.broker.github(|_| {});
        let first = stage.take_with(&token, "k1").await.unwrap();
        assert!(!first.is_repeat());
        stage.clock().advance(Duration::from_secs(7));
        let again = stage.take_with(&token, "k1").await.unwrap();
        assert!(again.is_repeat());
        assert_eq!((again.minted_at(), again.expires_at()), (first.minted_at(), first.expires_at()));
        assert!(is_replay(&stage.take_with(&token, "k2").await));
        assert!(is_replay(&stage.take(&token, DEPLOY).await));
        let narrower = Ask { scopes: Some(vec!["deploy:staging".to_owned()]), ..ask(DEPLOY) };
        let permit = stage.permit_for(&token, narrower).await;
        let other = stage.store.reserve(permit, Some(key("k1")), "req_other").await;
        assert_eq!(other.unwrap_err(), ReplayError::KeyReused);
        let inputs = [("public_key".to_owned(), "a".to_owned())].into();
        let permit = stage.permit_for(&token, Ask { inputs, ..ask(DEPLOY) }).await;
        let other = stage.store.reserve(permit, Some(key("k1")), "req_other").await;
        assert_eq!(other.unwrap_err(), ReplayError::KeyReused);
        // The credential lives five minutes; past its end there is nothing to give again.
        let late = stage.permit(&token, DEPLOY).await;
        stage.clock().advance(Duration::from_secs(293));
        assert!(is_replay(&stage.store.reserve(late, Some(key("k1")), "req_late").await));
        let keyless = stage.broker.github(|_| {});
        stage.clock().step(Timestamp::from_unix(NOW));
        stage.take(&keyless, DEPLOY).await.unwrap();
        assert!(is_replay(&stage.take_with(&keyless, "k1").await));
    }

    /// T-69
    a_use_that_made_nothing_is_given_back_by_its_holder(stage) {
        let token = stage.broker.github(|_| {});
        let first = stage.take(&token, DEPLOY).await.unwrap();
        stage.store.release(&first.slot()).await;
        let second = stage.take(&token, DEPLOY).await.unwrap();
        // The first holder has nothing to give back any more.
        stage.store.release(&first.slot()).await;
        assert!(is_replay(&stage.take(&token, DEPLOY).await));
        stage.store.release(&second.slot()).await;
        stage.take(&token, DEPLOY).await.unwrap();
    }

    /// T-90
    a_repeated_use_is_never_given_back(stage) {
        let token = stage.broker.github(|_| {});
        let first = stage.take_with(&token, "k1").await.unwrap();
        let again = stage.take_with(&token, "k1").await.unwrap();
        stage.store.release(&again.slot()).await;
        stage.store.release(&first.slot()).await;
        assert!(is_replay(&stage.take_with(&token, "k2").await));
        assert!(stage.take_with(&token, "k1").await.unwrap().is_repeat());
    }
}
