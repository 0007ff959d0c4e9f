//! GitLab jobs: the happy path, then one test per claim that can fail.

use hallpass::dev::issuer::GitlabJob;

use crate::support::TestBroker;

#[tokio::test]
async fn a_job_on_the_protected_main_gets_a_token() {
    let broker = TestBroker::start().await;
    let answer = broker.exchange(&broker.gitlab(|_| {}), "deploy-api").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.text("/hallpass/policy"), "shop-deploy-gitlab");
    assert_eq!(answer.text("/scope"), "deploy:staging");
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
