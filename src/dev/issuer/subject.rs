//! Claims that a CI makes of other ones, such as `sub`: written as it writes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::provider::{Fact, FactValue, pointer};

/// A claim of a provider, and its forms: the first counts whose parts are all there. `{NAME}` is a claim,
/// `{NAME?}` one that may be missing, `{=FACT}` a fact. `{NAME==TEXT}` is nothing, where the claim is that
/// text. `{NAME#TEXT}` is what follows the first TEXT in the claim, and `{NAME<LENGTH}` the claim without
/// `:`, cut to that length.
const FORMS: &[(&str, &str, &[&str])] = &[
    (
        "forgejo",
        "sub",
        &[
            "{event_name==pull_request}repo:{repository}:pull_request",
            "repo:{repository}:ref:{ref}",
        ],
    ),
    (
        "circleci",
        "sub",
        &[
            "org/{oidc.circleci.com/org-id}/project/{oidc.circleci.com/project-id}/user/{=actor_id}/vcs-origin/{oidc.circleci.com/vcs-origin}/vcs-ref/{oidc.circleci.com/vcs-ref}",
            "org/{oidc.circleci.com/org-id}/project/{oidc.circleci.com/project-id}/user/{=actor_id}",
        ],
    ),
    (
        "buildkite",
        "sub",
        &[
            "organization:{organization_slug}:pipeline:{pipeline_slug}:ref:{=ref}:commit:{build_commit}:step:{step_key?}",
        ],
    ),
    (
        "azure-devops",
        "rpo_uri",
        &["https://github.com/{rpo_id}.git"],
    ),
    (
        "bitbucket",
        "sub",
        &[
            "{repositoryUuid}:{deploymentEnvironmentUuid}:{stepUuid}",
            "{repositoryUuid}:{stepUuid}",
        ],
    ),
    (
        "kubernetes",
        "sub",
        &["system:serviceaccount:{/kubernetes.io/namespace}:{/kubernetes.io/serviceaccount/name}"],
    ),
    ("google", "azp", &["{sub}"]),
    (
        "hcp-terraform",
        "terraform_full_workspace",
        &[
            "organization:{terraform_organization_name}:project:{terraform_project_name}:workspace:{terraform_workspace_name}",
        ],
    ),
    (
        "hcp-terraform",
        "sub",
        &["{terraform_full_workspace}:run_phase:{terraform_run_phase}"],
    ),
    (
        "spacelift",
        "sub",
        &["space:{spaceId}:{callerType}:{callerId}:run_type:{runType}:scope:{scope}"],
    ),
    (
        "aws",
        "/https:~1~1sts.amazonaws.com~1/principal_id",
        &["{sub}"],
    ),
    ("semaphore", "repo", &["{repo_slug#/}"]),
    ("semaphore", "tag", &["{ref_type==tag}{ref#refs/tags/}", ""]),
    (
        "semaphore",
        "sub",
        &["org:{org}:project:{prj_id}:repo:{repo}:ref_type:{ref_type}:ref:{ref}"],
    ),
    (
        "semaphore",
        "sub127",
        &[
            "{ref_type==branch}{org<25}:{prj_id}:{repo<25}:br:{ref#refs/<35}",
            "{ref_type==pull-request}{org<25}:{prj_id}:{repo<25}:pr:{ref#refs/<35}",
        ],
    ),
    (
        "codefresh",
        "sub",
        &[
            "account:{account_id}:pipeline:{pipeline_id}:scm_repo_url:{scm_repo_url}:scm_user_name:{scm_user_name}:scm_ref:{scm_ref}:scm_pull_request_target_branch:{scm_pull_request_target_branch}",
            "account:{account_id}:pipeline:{pipeline_id}:scm_repo_url:{scm_repo_url}:scm_user_name:{scm_user_name}:scm_ref:{scm_ref}",
            "account:{account_id}:pipeline:{pipeline_id}:initiator:{initiator}",
            "account:{account_id}:pipeline:{pipeline_id}",
        ],
    ),
    (
        "bitrise",
        "repository_url",
        &["https://github.com/{repository_owner}/{repository_slug}.git"],
    ),
    ("bitrise", "sub", &["app:{app_slug}:workflow:{workflow}"]),
    (
        "vercel",
        "sub",
        &["owner:{owner}:project:{project}:environment:{environment}"],
    ),
    ("fly", "sub", &["{org_name}:{app_name}:{machine_name}"]),
    (
        "buddy",
        "sub",
        &["{base_url}/{workspace_domain}/{project_name}/pipelines/pipeline/{pipeline_id}"],
    ),
];

/// Writes the claims that follow from others. One of no known form is left out, unless it is `sub`.
pub(super) fn write(
    provider: &str,
    claims: &mut Map<String, Value>,
    facts: &BTreeMap<Fact, FactValue>,
) {
    for (_, claim, forms) in FORMS.iter().filter(|(name, ..)| *name == provider) {
        let mut whole = Value::Object(claims.clone());
        let mut texts = forms.iter().filter_map(|form| filled(form, &whole, facts));
        match (texts.next(), claim.starts_with('/')) {
            (Some(text), false) => {
                claims.insert((*claim).to_owned(), text.into());
            }
            (Some(text), true) => {
                if let Some(member) = whole.pointer_mut(claim) {
                    *member = text.into();
                }
                if let Value::Object(written) = whole {
                    *claims = written;
                }
            }
            (None, _) if *claim == "sub" => {}
            (None, _) => {
                claims.remove(*claim);
            }
        }
    }
}

fn filled(form: &str, claims: &Value, facts: &BTreeMap<Fact, FactValue>) -> Option<String> {
    let claim = |name: &str| match claims.pointer(&pointer(name))? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    let mut text = String::new();
    let mut rest = form;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (name, after) = after.split_once('}')?;
        if let Some((name, wanted)) = name.split_once("==") {
            claim(name).filter(|found| found == wanted)?;
        } else if let Some(fact) = name.strip_prefix('=') {
            text.push_str(&facts.get(&Fact::from_name(fact)?)?.to_string());
        } else if let Some(name) = name.strip_suffix('?') {
            text.push_str(&claim(name).unwrap_or_default());
        } else {
            let (name, length) = match name.split_once('<') {
                Some((name, length)) => (name, Some(length.parse().ok()?)),
                None => (name, None),
            };
            let part = match name.split_once('#') {
                Some((name, start)) => claim(name)?.split_once(start)?.1.to_owned(),
                None => claim(name)?,
            };
            match length {
                Some(length) => text.extend(part.chars().filter(|one| *one != ':').take(length)),
                None => text.push_str(&part),
            }
        }
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Reader;
    use crate::token::json::{Limits, parse_object};

    fn sample(name: &str) -> Value {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/ci-tokens");
        let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The sample's claims, written again.
    fn again(provider: &str, sample: &Value) -> Map<String, Value> {
        let found = crate::provider::find(provider).unwrap();
        let url = sample["iss"].as_str().unwrap_or_default();
        let object = parse_object(sample.to_string().as_bytes(), &Limits::default()).unwrap();
        let facts = Reader::usual(found, url).facts(object).unwrap();
        let facts = facts
            .iter()
            .map(|(fact, value)| (fact, value.clone()))
            .collect();
        let mut claims = sample.as_object().unwrap().clone();
        write(provider, &mut claims, &facts);
        claims
    }

    #[test]
    fn each_form_writes_what_the_ci_wrote() {
        for (provider, name) in [
            ("forgejo", "forgejo-actions"),
            ("circleci", "circleci"),
            ("circleci", "circleci.root-issuer"),
            ("buildkite", "buildkite"),
            ("azure-devops", "azure-devops"),
            ("bitbucket", "bitbucket-pipelines"),
            ("bitbucket", "bitbucket-pipelines.default-audience"),
            ("kubernetes", "kubernetes-serviceaccount"),
            ("google", "google-compute-identity"),
            ("aws", "aws-iam-outbound"),
            ("hcp-terraform", "hcp-terraform"),
            ("spacelift", "spacelift"),
            ("semaphore", "semaphore"),
            ("semaphore", "semaphore.pull-request"),
            ("codefresh", "codefresh"),
            ("bitrise", "bitrise"),
            ("vercel", "vercel"),
            ("fly", "fly-io"),
            ("buddy", "buddy"),
        ] {
            let sample = sample(name);
            assert_eq!(Value::Object(again(provider, &sample)), sample, "{name}");
        }
        let seen = FORMS.iter().map(|(provider, ..)| *provider);
        assert!(
            seen.clone()
                .all(|name| crate::provider::find(name).is_some())
        );
    }

    #[test]
    fn a_form_follows_the_claims() {
        let subject = |provider: &str, name: &str, change: &[(&str, Value)]| {
            let mut sample = sample(name);
            for (claim, value) in change {
                sample[*claim] = value.clone();
            }
            again(provider, &sample)["sub"].as_str().unwrap().to_owned()
        };
        let pull = [("event_name", "pull_request".into())];
        assert_eq!(
            subject("forgejo", "forgejo-actions", &pull),
            "repo:platform/widget-api:pull_request"
        );
        let origin = "oidc.circleci.com/vcs-origin";
        let by_webhook = subject("circleci", "circleci", &[(origin, Value::Null)]);
        assert!(by_webhook.ends_with("/user/3b5d7f91-a2c4-4e68-9d0b-1f3e5a7c9b24"));
        let by_hand = ["scm_repo_url", "scm_user_name"].map(|name| (name, Value::Null));
        assert_eq!(
            subject("codefresh", "codefresh", &by_hand),
            "account:5f30ebd303aa7213ae7f0148:pipeline:64f0c40800aafd14555669be"
        );
        let changed = |change: &[(&str, &str)], claim: &str| {
            let mut sample = sample("semaphore");
            for (name, value) in change {
                sample[*name] = (*value).into();
            }
            let found = again("semaphore", &sample);
            found
                .get(claim)
                .map(|text| text.as_str().unwrap().to_owned())
        };
        let tag = [("ref", "refs/tags/v1"), ("ref_type", "tag")];
        assert_eq!(changed(&tag, "tag").as_deref(), Some("v1"));
        assert_eq!(changed(&tag, "sub127"), None);
        let other = [
            ("org", "an-organisation:with-a-long-name"),
            ("repo_slug", "acme-corp/shop"),
            ("ref", "refs/heads/a-branch:with-a-name-that-is-too-long"),
        ];
        assert_eq!(changed(&other, "repo").as_deref(), Some("shop"));
        assert_eq!(
            changed(&other, "sub127").as_deref(),
            Some(
                "an-organisationwith-a-lon:1e1fcfb5-09c0-487e-b051-2d0b5514c42a:shop:br:heads/a-branchwith-a-name-that-is-t"
            )
        );
        let mut role = sample("aws-iam-outbound");
        role["sub"] = "arn:aws:iam::123456789012:role/other".into();
        let own = &again("aws", &role)["https://sts.amazonaws.com/"];
        assert_eq!(own["principal_id"], role["sub"]);
        let tag = [("step_key", Value::Null), ("build_tag", "v1".into())];
        assert_eq!(
            subject("buildkite", "buildkite", &tag),
            "organization:acme-inc:pipeline:widget-api:ref:refs/tags/v1:commit:5f0c1d9e7a2b48c36d41f8e90ab7c2d35e6f1a04:step:"
        );
    }
}
