//! GitLab jobs: the happy path, then one test per claim that can fail.

use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::dev::issuer::{GitlabJob, gitlab_claims};

use crate::support::TestBroker;
use crate::support::broker::{GITLAB, POLICIES};
use crate::support::tokens::{AUDIENCE, NOW};

#[tokio::test]
async fn a_job_on_the_protected_main_gets_a_token() {
    let broker = TestBroker::start().await;
    let answer = broker.exchange(&broker.gitlab(|_| {}), "deploy-api").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.text("/hallpass/policy"), "shop-deploy-gitlab");
    assert_eq!(answer.text("/scope"), "deploy:staging");
}

/// A token of GitLab lives as long as its job may run: three hours here, and a month at most.
#[tokio::test]
async fn a_job_with_a_long_timeout_gets_a_token() {
    let broker = TestBroker::start().await;
    let lives = |seconds: i64| {
        let job = GitlabJob::new(GITLAB, AUDIENCE, Timestamp::from_unix(NOW));
        let mut claims = gitlab_claims(&job);
        claims["exp"] = (NOW + seconds).into();
        claims["jti"] = format!("lives-{seconds}").into();
        broker.key.token(&claims)
    };
    for seconds in [3 * 3_600, 30 * 86_400] {
        let answer = broker.exchange(&lives(seconds), "deploy-api").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let answer = broker.exchange(&lives(32 * 86_400), "deploy-api").await;
    assert_eq!(answer.reason(), "token.lifetime");
    insta::assert_snapshot!(answer.text("/error_description"), @"the subject token lives for 2764800 s, expected 1 to 2678400 s; `max_lifetime` of its issuer in the policies is the limit");
}

/// A job's token is as old as the job. In its first hour it still gets a credential, and after
/// hours if the policies say so.
#[tokio::test]
async fn a_job_that_runs_for_hours_gets_a_credential_late() {
    let late = POLICIES.replace(
        "gitlab: { provider: gitlab,",
        "gitlab: { provider: gitlab, max_age: 3h,",
    );
    assert_ne!(late, POLICIES);
    for (policies, age, reason) in [
        (POLICIES, 3_590, ""),
        (POLICIES, 3_700, "token.age"),
        (&late, 10_700, ""),
    ] {
        let broker = TestBroker::builder().policies(policies).start().await;
        let job = GitlabJob::new(GITLAB, AUDIENCE, Timestamp::from_unix(NOW));
        let mut claims = gitlab_claims(&job);
        // The timeout of the job.
        claims["exp"] = (NOW + 3 * 3_600).into();
        let token = broker.key.token(&claims);
        broker.clock.advance(Duration::from_secs(age));
        let answer = broker.exchange(&token, "deploy-api").await;
        assert_eq!(answer.reason(), reason, "{age}: {}", answer.body);
    }
}

/// What a job with one claim changed is told.
async fn told(change: impl FnOnce(&mut GitlabJob)) -> String {
    let broker = TestBroker::start().await;
    let answer = broker.exchange(&broker.gitlab(change), "deploy-api").await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    format!("{}: {}", answer.reason(), answer.text("/error_description"))
}

#[tokio::test]
async fn another_branch_is_denied() {
    let text = told(|job| job.r#ref = "feature".to_owned()).await;
    insta::assert_snapshot!(text, @"policy.conditions: fact `ref` is `refs/heads/feature`, policy `shop-deploy-gitlab` wants `refs/heads/main`");
}

#[tokio::test]
async fn an_unprotected_ref_is_denied() {
    let text = told(|job| job.ref_protected = false).await;
    insta::assert_snapshot!(text, @"policy.conditions: fact `ref_protected` is `false`, policy `shop-deploy-gitlab` wants `true`");
}

/// T-50
#[tokio::test]
async fn a_project_of_the_same_path_and_another_id_is_a_stranger() {
    let text = told(|job| job.project_id = "1".to_owned()).await;
    assert!(text.starts_with("policy.denied: "), "{text}");
}

/// T-49
#[tokio::test]
async fn a_group_that_is_no_tenant_is_a_stranger() {
    let text = told(|job| job.namespace_id = "1".to_owned()).await;
    assert!(text.starts_with("policy.denied: "), "{text}");
}

/// T-52
#[tokio::test]
async fn a_merge_request_is_denied_where_no_policy_names_it() {
    let text = told(|job| job.source = "merge_request_event".to_owned()).await;
    assert!(text.starts_with("policy."), "{text}");
}
