//! Kubernetes service accounts: EKS, GKE, AKS and own clusters, with Argo Workflows, Tekton or runners.
//!
//! A token says nothing of repository, branch or workflow.

use super::address::Customers::Cluster;
use super::address::{at, between};
use super::claims::ClaimType::{Number, Object, Text};
use super::need::{Need, Wanted, always};
use super::table::{Agreement, Claim, Shape, chosen, context, id, name, sent};
use super::{Fact, Guide, Provider, Rules};
use crate::token::Algorithm;
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "kubernetes",
    title: "Kubernetes service accounts",
    usual_issuer: None,
    issuers: &[
        between("oidc.eks.", ".amazonaws.com", Cluster),
        at("container.googleapis.com", Cluster),
        between("", ".oic.prod-aks.azure.com", Cluster),
    ],
    claims: CLAIMS,
    agreements: &[
        Agreement {
            claim: "/kubernetes.io/namespace",
            with: "sub",
            shape: Shape("system:serviceaccount:<>:*"),
        },
        Agreement {
            claim: "/kubernetes.io/serviceaccount/name",
            with: "sub",
            shape: Shape("system:serviceaccount:*:<>"),
        },
    ],
    tenant_ids: &[Fact::ProjectId],
    rules: Rules {
        algorithms: &[Algorithm::RS256, Algorithm::ES256],
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: NEEDS,
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    id("iss", Text, &[sent(Fact::TenantId)]),
    context("kubernetes.io", Object, &[]),
    name("/kubernetes.io/namespace", Text, &[sent(Fact::Owner)]),
    context("/kubernetes.io/serviceaccount", Object, &[]),
    name(
        "/kubernetes.io/serviceaccount/name",
        Text,
        &[sent(Fact::Project)],
    ),
    id(
        "/kubernetes.io/serviceaccount/uid",
        Text,
        &[sent(Fact::ProjectId)],
    ),
    context("/kubernetes.io/pod", Object, &[]),
    chosen("/kubernetes.io/pod/name", Text, &[]),
    id("/kubernetes.io/pod/uid", Text, &[sent(Fact::JobId)]),
    context("/kubernetes.io/node", Object, &[]),
    name("/kubernetes.io/node/name", Text, &[]),
    id("/kubernetes.io/node/uid", Text, &[]),
    context("/kubernetes.io/secret", Object, &[]),
    context("/kubernetes.io/warnafter", Number, &[]),
];

const NEEDS: &[Need] = &[
    always(
        &[Wanted::Exact(Fact::Owner), Wanted::Exact(Fact::ProjectId)],
        Severity::Error,
        "names no namespace: every namespace can have a service account of that name",
        "add `owner`, the namespace",
    ),
    always(
        &[Wanted::Exact(Fact::Project), Wanted::Exact(Fact::ProjectId)],
        Severity::Error,
        "names no service account: those who can create one in the namespace choose its name",
        "add `project`, the name of the service account",
    ),
];

const GUIDE: Guide = Guide {
    token: r"# In the pod; the container mounts the volume at /var/run/secrets/hallpass and runs
#   hallpass exec deploy-api -- ./deploy.sh
volumes:
  - name: hallpass
    projected:
      sources:
        - serviceAccountToken: { audience: https://hallpass.example, expirationSeconds: 3600, path: token }",
    issuer: "url: https://oidc.eks.eu-west-1.amazonaws.com/id/B02C93B6A2D30341AD01E1B6D48164CB",
    when: r"owner: ci
project: release-runner
project_id: a087d5a0-e1dd-43ec-93ac-f13d89cd13af",
    limits: &[
        "Those who can create pods in the namespace choose the service account and the audience.",
        "Clusters with the default issuer all have the same address: set `--service-account-issuer`, and pin the keys with `jwks`.",
        "There is no repository, branch or workflow: use one service account for each repository.",
    ],
};
