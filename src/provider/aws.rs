//! AWS outbound identity federation: roles, for `CodeBuild`, EC2 and Lambda.

use super::address::Customers::One;
use super::address::between;
use super::claims::ClaimType::{List, Object, Text};
use super::need::{Misleading, Need, Wanted, always};
use super::table::{Claim, chosen, context, id, name, sent};
use super::{Fact, Guide, Provider, Rules};
use crate::token::Algorithm;
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "aws",
    title: "AWS outbound identity federation",
    usual_issuer: None,
    issuers: &[between("", ".tokens.sts.global.api.aws", One)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId, Fact::OwnerId],
    rules: Rules {
        algorithms: &[Algorithm::RS256, Algorithm::ES384],
        max_age: 600,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: NEEDS,
    misleading: MISLEADING,
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("sub", Text, &[sent(Fact::Project)]),
    context("https://sts.amazonaws.com/", Object, &[]),
    id(
        "/https:~1~1sts.amazonaws.com~1/aws_account",
        Text,
        &[sent(Fact::Owner), sent(Fact::OwnerId)],
    ),
    id(
        "/https:~1~1sts.amazonaws.com~1/org_id",
        Text,
        &[sent(Fact::TenantId)],
    ),
    context("/https:~1~1sts.amazonaws.com~1/ou_path", List, &[]),
    context("/https:~1~1sts.amazonaws.com~1/source_region", Text, &[]),
    name("/https:~1~1sts.amazonaws.com~1/principal_id", Text, &[]),
    context("/https:~1~1sts.amazonaws.com~1/principal_tags", Object, &[]),
    chosen("/https:~1~1sts.amazonaws.com~1/request_tags", Object, &[]),
];

const NEEDS: &[Need] = &[always(
    &[Wanted::Exact(Fact::Project)],
    Severity::Error,
    "does not name its role exactly: those who can create a role choose its name and path",
    "add `project`, the ARN of one role",
)];

const MISLEADING: &[Misleading] = &[Misleading {
    claim: "/https:~1~1sts.amazonaws.com~1/request_tags",
    why: "is chosen by the caller",
    instead: "name `project`, and tags of the principal",
}];

const GUIDE: Guide = Guide {
    token: r"# In CodeBuild; elsewhere on AWS add `--source aws`. The AWS CLI asks for the token.
hallpass exec deploy-api -- ./deploy.sh",
    issuer: "url: https://a1ebc705-cd4d-42b4-93b5-96e93acfb431.tokens.sts.global.api.aws",
    when: r#"owner_id: "123456789012"
tenant_id: o-0x3t8umolz
project: arn:aws:iam::123456789012:role/ci/release-runner"#,
    limits: &[
        "A role that is deleted and created again has the same ARN.",
        "The caller chooses `request_tags`: no policy should read them.",
    ],
};
