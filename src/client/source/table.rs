//! The table of sources: how each CI is recognised, how its token is obtained, and who chooses the audience.

use super::command::Helper;
use super::service::{Asks, Service};
use super::{Audience, Level, Mark, Source, Way};

/// Every source. Those of an earlier [`Level`] come before those of a later one.
pub const SOURCES: &[Source] = &[
    Source {
        name: "environment",
        title: "The job's own variables",
        provider: None,
        level: Level::Ours,
        marks: &[],
        way: Way::Ours,
        audience: Audience::Job,
        makes_new_tokens: false,
        job: &[],
        setup: "set HALLPASS_ID_TOKEN or HALLPASS_ID_TOKEN_FILE to an ID token of your CI whose audience is `{audience}`",
    },
    Source {
        name: "github",
        title: "GitHub Actions",
        provider: Some("github"),
        level: Level::Ci,
        marks: &[Mark::Is("GITHUB_ACTIONS", "true")],
        way: Way::Service(GITHUB),
        audience: Audience::Requested,
        makes_new_tokens: true,
        // The request token differs between jobs, also between two of one matrix, which share all ids.
        // The ids are for runners that would not keep to that.
        job: &[
            GITHUB.bearer,
            "GITHUB_RUN_ID",
            "GITHUB_RUN_ATTEMPT",
            "GITHUB_JOB",
        ],
        setup: "is `id-token: write` missing? Add to the job:\n\n  permissions:\n    id-token: write\n    contents: read\n\n(a pull request from a fork gets no token at all)",
    },
    Source {
        name: "forgejo",
        title: "Forgejo Actions",
        provider: Some("forgejo"),
        level: Level::Ci,
        marks: &[Mark::Is("FORGEJO_ACTIONS", "true")],
        way: Way::Service(Service {
            who: "Forgejo's token service",
            ..GITHUB
        }),
        audience: Audience::Requested,
        makes_new_tokens: true,
        job: &[GITHUB.bearer, "GITHUB_RUN_ID", "GITHUB_JOB"],
        setup: "is `enable-openid-connect` missing? Add to the job or the workflow:\n\n  enable-openid-connect: true\n",
    },
    Source {
        name: "gitlab",
        title: "GitLab CI/CD",
        provider: Some("gitlab"),
        level: Level::Ci,
        marks: &[Mark::Is("GITLAB_CI", "true")],
        way: Way::Named,
        audience: Audience::Job,
        makes_new_tokens: false,
        job: &["CI_SERVER_URL", "CI_JOB_ID"],
        setup: "add to the job in .gitlab-ci.yml:\n\n  id_tokens:\n    {variable}:\n      aud: {audience}\n\n(another name: set HALLPASS_ID_TOKEN_VARIABLE to it)",
    },
    Source {
        name: "circleci",
        title: "CircleCI",
        provider: Some("circleci"),
        level: Level::Ci,
        marks: &[Mark::Is("CIRCLECI", "true")],
        way: Way::Helper(Helper {
            program: "circleci",
            arguments: |_, audience| {
                let claims = serde_json::json!({ "aud": audience }).to_string();
                words(&["run", "oidc", "get", "--claims", &claims])
            },
            shown: "`circleci run oidc get`",
        }),
        audience: Audience::Requested,
        makes_new_tokens: true,
        job: &["CIRCLE_WORKFLOW_JOB_ID"],
        setup: "it must run inside a CircleCI job, whose executor has the `circleci` command; $CIRCLE_OIDC_TOKEN_V2 is for another audience",
    },
    Source {
        name: "buildkite",
        title: "Buildkite",
        provider: Some("buildkite"),
        level: Level::Ci,
        marks: &[Mark::Is("BUILDKITE", "true")],
        way: Way::Helper(Helper {
            program: "buildkite-agent",
            // Without the ids the token names only the slugs, which can be registered again.
            arguments: |_, audience| {
                words(&[
                    "oidc",
                    "request-token",
                    "--audience",
                    audience,
                    "--claim",
                    "organization_id,pipeline_id",
                ])
            },
            shown: "`buildkite-agent oidc request-token`",
        }),
        audience: Audience::Requested,
        makes_new_tokens: true,
        job: &["BUILDKITE_JOB_ID"],
        setup: "it must run where the agent's environment is, with the `buildkite-agent` command: in a Docker container, use the plugin option `mount-buildkite-agent: true`",
    },
    Source {
        name: "bitbucket",
        title: "Bitbucket Pipelines",
        provider: Some("bitbucket"),
        level: Level::Ci,
        marks: &[Mark::Set("BITBUCKET_BUILD_NUMBER")],
        way: Way::Variables(&["BITBUCKET_STEP_OIDC_TOKEN"]),
        audience: Audience::Job,
        makes_new_tokens: false,
        job: &[],
        setup: "add to the step in bitbucket-pipelines.yml, and name no other audience:\n\n  oidc:\n    audiences: [ {audience} ]\n\n(if the token also has Bitbucket's own audience, allow that audience with `--allow-audience AUDIENCE`)",
    },
    Source {
        name: "azure-devops",
        title: "Azure Pipelines",
        provider: Some("azure-devops"),
        level: Level::Ci,
        marks: &[Mark::Is("TF_BUILD", "True")],
        way: Way::Service(Service {
            who: "Azure Pipelines' token service",
            url: "SYSTEM_OIDCREQUESTURI",
            path: "",
            query: &[("api-version", "7.1")],
            bearer: "SYSTEM_ACCESSTOKEN",
            header: ("authorization", "Bearer "),
            asks: Asks::Nothing,
            member: "oidcToken",
            is_for_tokens_only: false,
        }),
        audience: Audience::Fixed,
        makes_new_tokens: true,
        // A job's id is the same in each build of a pipeline.
        job: &[
            "SYSTEM_COLLECTIONURI",
            "BUILD_BUILDID",
            "SYSTEM_JOBID",
            "SYSTEM_JOBATTEMPT",
        ],
        setup: "a pipeline's own token (of the variable SYSTEM_ACCESSTOKEN, mapped by `env: { SYSTEM_ACCESSTOKEN: $(System.AccessToken) }`) is always for `api://AzureADTokenExchange`, which other parties accept too: use a token of a service connection for the audience `{audience}` in HALLPASS_ID_TOKEN, as the template deploy/ci/azure does (docs/ci/azure.md), or allow its audience with `--allow-audience api://AzureADTokenExchange`",
    },
    Source {
        name: "hcp-terraform",
        title: "HCP Terraform",
        provider: Some("hcp-terraform"),
        level: Level::Ci,
        marks: &[Mark::Set("TFC_RUN_ID")],
        way: Way::Variables(&[
            "TFC_WORKLOAD_IDENTITY_TOKEN_HALLPASS",
            "TFC_WORKLOAD_IDENTITY_TOKEN",
        ]),
        audience: Audience::Job,
        makes_new_tokens: false,
        job: &[],
        setup: "add the environment variable TFC_WORKLOAD_IDENTITY_AUDIENCE_HALLPASS with the value `{audience}` to the workspace",
    },
    Source {
        name: "spacelift",
        title: "Spacelift",
        provider: Some("spacelift"),
        level: Level::Ci,
        marks: &[Mark::Set("SPACELIFT_OIDC_TOKEN")],
        way: Way::Variables(&["SPACELIFT_OIDC_TOKEN"]),
        audience: Audience::Fixed,
        makes_new_tokens: false,
        job: &[],
        setup: FIXED,
    },
    Source {
        name: "semaphore",
        title: "Semaphore",
        provider: Some("semaphore"),
        level: Level::Ci,
        marks: &[Mark::Is("SEMAPHORE", "true")],
        way: Way::Variables(&["SEMAPHORE_OIDC_TOKEN"]),
        audience: Audience::Fixed,
        makes_new_tokens: false,
        job: &["SEMAPHORE_JOB_ID"],
        setup: FIXED,
    },
    Source {
        name: "codefresh",
        title: "Codefresh",
        provider: Some("codefresh"),
        level: Level::Ci,
        marks: &[Mark::Set("CF_BUILD_ID"), Mark::Set("CF_OIDC_REQUEST_URL")],
        way: Way::Service(Service {
            who: "Codefresh's token service",
            url: "CF_OIDC_REQUEST_URL",
            path: "",
            query: &[],
            bearer: "CF_OIDC_REQUEST_TOKEN",
            header: ("authorization", ""),
            asks: Asks::Query("audience"),
            member: "id_token",
            is_for_tokens_only: true,
        }),
        audience: Audience::Requested,
        makes_new_tokens: true,
        job: &["CF_OIDC_REQUEST_TOKEN", "CF_BUILD_ID"],
        setup: "Codefresh sets CF_OIDC_REQUEST_URL and CF_OIDC_REQUEST_TOKEN in the steps of a pipeline: run hallpass in a freestyle step, and pass both on to containers that it starts",
    },
    Source {
        name: "bitrise",
        title: "Bitrise",
        provider: Some("bitrise"),
        level: Level::Ci,
        marks: &[Mark::Is("BITRISE_IO", "true")],
        way: Way::Service(Service {
            who: "Bitrise's token service",
            url: "BITRISE_BUILD_URL",
            path: "/id_token.json",
            query: &[],
            bearer: "BITRISE_BUILD_API_TOKEN",
            header: ("build_api_token", ""),
            asks: Asks::Json("aud"),
            member: "id_token",
            is_for_tokens_only: false,
        }),
        audience: Audience::Requested,
        makes_new_tokens: true,
        job: &["BITRISE_BUILD_SLUG"],
        setup: "Bitrise sets BITRISE_BUILD_URL and BITRISE_BUILD_API_TOKEN in the steps of a build on bitrise.io: run hallpass there, not in a local build",
    },
    Source {
        name: "vercel",
        title: "Vercel",
        provider: Some("vercel"),
        level: Level::Ci,
        marks: &[Mark::Is("VERCEL", "1")],
        way: Way::VercelExchange,
        audience: Audience::Requested,
        makes_new_tokens: true,
        job: &["VERCEL_OIDC_TOKEN"],
        setup: "turn on \"Secure backend access with OIDC federation\" in the project's settings; a function has its token in the header `x-vercel-oidc-token`: set VERCEL_OIDC_TOKEN to it",
    },
    Source {
        name: "buddy",
        title: "Buddy",
        provider: Some("buddy"),
        level: Level::Ci,
        marks: &[Mark::Is("BUDDY", "true")],
        way: Way::Named,
        audience: Audience::Job,
        makes_new_tokens: false,
        job: &[],
        setup: "set {variable} to an ID token of the pipeline whose audience is `{audience}`",
    },
    Source {
        name: "jenkins",
        title: "Jenkins",
        provider: Some("jenkins"),
        level: Level::Ci,
        marks: &[Mark::Set("JENKINS_URL")],
        way: Way::Named,
        audience: Audience::Job,
        makes_new_tokens: false,
        job: &["JENKINS_URL", "BUILD_TAG"],
        setup: "bind a credential \"OpenID Connect id token\" (plugin oidc-provider) whose audience is `{audience}`:\n\n  withCredentials([string(credentialsId: 'hallpass-token', variable: '{variable}')]) { … }\n\n(for one of the kind \"id token as file\": `file(…, variable: 'HALLPASS_ID_TOKEN_FILE')`)",
    },
    Source {
        name: "kubernetes",
        title: "Kubernetes",
        provider: Some("kubernetes"),
        level: Level::Platform,
        marks: &[Mark::Set("KUBERNETES_SERVICE_HOST")],
        way: Way::File("/var/run/secrets/hallpass/token"),
        audience: Audience::Job,
        makes_new_tokens: false,
        job: &[],
        setup: "add to the pod, and mount the volume at /var/run/secrets/hallpass (another path: HALLPASS_ID_TOKEN_FILE):\n\n  volumes:\n    - name: hallpass\n      projected:\n        sources:\n          - serviceAccountToken: { audience: {audience}, expirationSeconds: 3600, path: token }\n",
    },
    Source {
        name: "fly",
        title: "Fly.io",
        provider: Some("fly"),
        level: Level::Platform,
        marks: &[Mark::Set("FLY_MACHINE_ID")],
        way: Way::FlySocket,
        audience: Audience::Requested,
        makes_new_tokens: true,
        job: &[],
        setup: "Fly.io has the socket /.fly/api in every machine; in a container inside of it, mount the socket and set HALLPASS_FLY_SOCKET to its path",
    },
    Source {
        name: "google",
        title: "Google Cloud",
        provider: Some("google"),
        level: Level::Platform,
        marks: &[
            Mark::Set("GCE_METADATA_HOST"),
            Mark::Set("K_SERVICE"),
            Mark::Set("CLOUD_RUN_JOB"),
        ],
        way: Way::GoogleMetadata,
        audience: Audience::Requested,
        // The server may keep a token and give it again.
        makes_new_tokens: false,
        job: &[],
        setup: "run it as a service account of your own; in Cloud Build, the account needs `iam.serviceAccounts.getOpenIdToken`",
    },
    Source {
        name: "aws",
        title: "AWS",
        provider: Some("aws"),
        level: Level::Platform,
        marks: &[Mark::Set("CODEBUILD_BUILD_ID")],
        way: Way::Helper(Helper {
            program: "aws",
            arguments: |_, audience| {
                words(&[
                    "sts",
                    "get-web-identity-token",
                    "--audience",
                    audience,
                    "--signing-algorithm",
                    "RS256",
                    "--duration-seconds",
                    "300",
                    "--query",
                    "WebIdentityToken",
                    "--output",
                    "text",
                ])
            },
            shown: "`aws sts get-web-identity-token`",
        }),
        audience: Audience::Requested,
        makes_new_tokens: true,
        job: &["CODEBUILD_BUILD_ID"],
        setup: "it needs a current AWS CLI with a region, outbound identity federation turned on in the account (`aws iam enable-outbound-web-identity-federation`), and a role that may `sts:GetWebIdentityToken`",
    },
    Source {
        name: "spiffe",
        title: "SPIFFE",
        provider: Some("spiffe"),
        level: Level::Platform,
        marks: &[Mark::Set("SPIFFE_ENDPOINT_SOCKET")],
        way: Way::Helper(Helper {
            program: "spire-agent",
            arguments: |environment, audience| {
                let mut all = words(&["api", "fetch", "jwt", "-audience", audience]);
                let socket = environment.get("SPIFFE_ENDPOINT_SOCKET").map(|socket| {
                    let path = socket.strip_prefix("unix:").unwrap_or(socket);
                    path.strip_prefix("//").unwrap_or(path)
                });
                if let Some(path) = socket {
                    all.extend(words(&["-socketPath", path]));
                }
                all
            },
            shown: "`spire-agent api fetch jwt`",
        }),
        audience: Audience::Requested,
        makes_new_tokens: true,
        job: &[],
        setup: "it needs the `spire-agent` command, and an entry of the workload in SPIRE; or have spiffe-helper write a JWT-SVID for the audience `{audience}` to a file, and set HALLPASS_ID_TOKEN_FILE to its path",
    },
];

const GITHUB: Service = Service {
    who: "GitHub's token service",
    url: "ACTIONS_ID_TOKEN_REQUEST_URL",
    path: "",
    query: &[],
    bearer: "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    header: ("authorization", "bearer "),
    asks: Asks::Query("audience"),
    member: "value",
    is_for_tokens_only: true,
};

const FIXED: &str = "it gives every job's token the same audience, which no job can choose, so that other services take the token too: use an ID token of another issuer for `{audience}` in HALLPASS_ID_TOKEN, or allow its audience with `--allow-audience AUDIENCE`";

fn words(words: &[&str]) -> Vec<String> {
    words.iter().copied().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::*;

    #[test]
    fn levels_are_in_order_and_names_differ() {
        for pair in SOURCES.windows(2) {
            assert!(pair[0].level <= pair[1].level, "{}", pair[1].name);
        }
        let names: std::collections::BTreeSet<_> =
            SOURCES.iter().map(|source| source.name).collect();
        assert_eq!(names.len(), SOURCES.len());
    }

    /// T-136
    #[test]
    fn a_ci_of_many_tokens_tells_its_jobs_apart() {
        let mut cis = SOURCES.iter().filter(|source| source.level == Level::Ci);
        assert!(cis.all(|source| !source.makes_new_tokens || !source.job.is_empty()));
    }

    /// T-382
    #[test]
    fn no_helper_has_a_secret_on_its_command_line() {
        let environment: Environment = [
            ("CIRCLE_OIDC_TOKEN_V2", "canary"),
            ("BUILDKITE_AGENT_ACCESS_TOKEN", "canary"),
            ("AWS_SESSION_TOKEN", "canary"),
            ("SPIFFE_ENDPOINT_SOCKET", "unix:///run/spire.sock"),
        ]
        .into_iter()
        .collect();
        for source in SOURCES {
            if let Way::Helper(helper) = source.way {
                let line = (helper.arguments)(&environment, "https://hallpass.example").join(" ");
                assert!(line.contains("https://hallpass.example"), "{line}");
                assert!(!line.contains("canary"), "{line}");
            }
        }
    }
}
