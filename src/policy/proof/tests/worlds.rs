//! Issuers, what policies may say of their jobs, and the jobs themselves.

/// A subject of conditions: lines for policies, and values of what they are about.
pub(super) struct Topic {
    pub(super) lines: &'static [&'static str],
    pub(super) parts: &'static [(Part, &'static [&'static str])],
}

impl Topic {
    /// Whether it is about claims and not about the request.
    pub(super) fn is_of_claims(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.all(|(part, _)| matches!(part, Part::Claim(_)))
    }
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A claim by its name, as JSON. It may also be absent.
    Claim(&'static str),
    /// Its address. It may also be not known.
    Address,
    /// When it is made.
    Moment,
    /// Seconds since the person signed in. The token may also not say it.
    Age,
}

/// An issuer, and what its jobs may differ in. The first topic is in every universe.
pub(super) struct World {
    pub(super) issuer: &'static str,
    pub(super) url: &'static str,
    pub(super) tenants: &'static [&'static str],
    pub(super) topics: &'static [Topic],
}

pub(super) const WORLDS: &[World] = &[
    World {
        issuer: "provider: github, url: https://ghe.acme.dev/_services/token, properties: { tier: text, team: list, pci: boolean }",
        url: "https://ghe.acme.dev/_services/token",
        tenants: &[
            "",
            ", tenants: [ { owner: acme } ]",
            ", tenants: [ { owner: acme }, { owner: { glob: \"o*\" } } ]",
        ],
        topics: &[
            Topic {
                lines: &[
                    "trigger: push",
                    "trigger: [push, pull_request]",
                    "trigger: [manual, comment, other]",
                    "event: push",
                    "event: { not: push }",
                    "event: { present: false }",
                ],
                parts: &[(
                    Part::Claim("event_name"),
                    &[
                        "\"push\"",
                        "\"pull_request\"",
                        "\"commit_comment\"",
                        "\"issues\"",
                        "\"workflow_dispatch\"",
                    ],
                )],
            },
            Topic {
                lines: &[
                    "owner: acme",
                    "owner: { not: acme }",
                    "owner: { glob: \"*r\" }",
                ],
                parts: &[(
                    Part::Claim("repository_owner"),
                    &["\"acme\"", "\"other\"", "\"oo\""],
                )],
            },
            Topic {
                lines: &[
                    "repository: acme/shop",
                    "repository: [acme/shop, acme/ci]",
                    "repository: { glob: \"acme/*\" }",
                    "repository: { under: acme }",
                    "repository: { not: acme/shop }",
                    "repository: { under: acme, not: { glob: \"*/shop\" } }",
                    "repository: [ { glob: \"*/ci\" }, acme/shop ]",
                    "repository: { present: true }",
                    "repository: { present: false }",
                ],
                parts: &[(
                    Part::Claim("repository"),
                    &[
                        "\"acme/shop\"",
                        "\"acme/ci\"",
                        "\"acme/a\"",
                        "\"b/ci\"",
                        "\"acme\"",
                        "\"x\"",
                        "\"b/shop\"",
                        "\"acme/a/b\"",
                        "\"acme/a/shop\"",
                    ],
                )],
            },
            Topic {
                lines: &[
                    "ref: refs/heads/main",
                    "ref: { glob: \"refs/heads/**\" }",
                    "ref: { glob: \"refs/tags/v*\", not: { glob: \"refs/tags/v*-*\" } }",
                    "ref_type: tag",
                    "ref_type: [branch, pull]",
                    "ref_type: other",
                    "ref_type: { present: false }",
                    "ref_type: { present: true }",
                ],
                parts: &[
                    (
                        Part::Claim("ref"),
                        &[
                            "\"refs/heads/main\"",
                            "\"refs/heads/a/b\"",
                            "\"refs/tags/v1\"",
                            "\"refs/tags/v1-a\"",
                            "\"refs/pull/1/merge\"",
                            "\"refs/x\"",
                            "\"main\"",
                        ],
                    ),
                    (Part::Claim("ref_type"), &["\"branch\"", "\"tag\"", "\"x\""]),
                ],
            },
            Topic {
                lines: &[
                    "ref_protected: true",
                    "ref_protected: false",
                    "ref_protected: { present: true }",
                    "ref_protected: { present: false }",
                    "claim: { /ref_protected: \"true\" }",
                ],
                parts: &[(Part::Claim("ref_protected"), &["\"true\"", "\"false\""])],
            },
            Topic {
                lines: &[
                    "runner: hosted",
                    "runner: [hosted, self-hosted]",
                    "runner: { present: false }",
                    "claim: { /runner_environment: { not: github-hosted } }",
                ],
                parts: &[(
                    Part::Claim("runner_environment"),
                    &["\"github-hosted\"", "\"self-hosted\"", "\"x\""],
                )],
            },
            Topic {
                lines: &[
                    "workflow: a.yml",
                    "workflow: { glob: \"*.yml\" }",
                    "workflow: { present: false }",
                    "entry_workflow: { path: acme/ci/a.yml }",
                    "entry_workflow: { path: { under: acme }, ref: refs/heads/main }",
                    "entry_workflow: { ref: { present: false } }",
                    "entry_workflow: { ref: { not: refs/heads/main } }",
                    "entry_workflow: { ref: { glob: \"refs/**\" } }",
                    "entry_workflow: { path: { not: { glob: \"**@**\" } } }",
                    "entry_workflow: { present: true }",
                    "entry_workflow: { present: false }",
                ],
                parts: &[(
                    Part::Claim("workflow_ref"),
                    &[
                        "\"acme/ci/a.yml\"",
                        "\"acme/ci/a.yml@refs/heads/main\"",
                        "\"acme/ci/b.yml@refs/heads/x\"",
                        "\"acme/ci/a.yml@0123456789012345678901234567890123456789\"",
                        "\"acme/ci/a@b.yml@refs/heads/main@refs/x\"",
                        "\"acme/ci/a@b.yml\"",
                        "\"@refs/heads/main\"",
                        "\"b\"",
                        "\"b@\"",
                        "\"b/c/\"",
                        "\"b/c/@refs/heads/main\"",
                        "\"acme@refs/heads/y\"",
                        "\"b/c/d\"",
                        "\"b@refs/heads/main\"",
                        "\"b@refs/heads/x\"",
                        "\"b@0123456789012345678901234567890123456789\"",
                    ],
                )],
            },
            Topic {
                lines: &[
                    "claim: { /x: a }",
                    "claim: { /x: true }",
                    "claim: { /x: { present: true } }",
                    "claim: { /x: { present: false } }",
                    "claim: { /x: { not: a } }",
                    "claim: { /x/y: a }",
                    "claim: { /x/y: { present: false } }",
                ],
                parts: &[(
                    Part::Claim("x"),
                    &[
                        "\"a\"",
                        "\"b\"",
                        "true",
                        "false",
                        "1",
                        "\"\u{e4}\"",
                        "{\"y\": \"a\"}",
                        "{\"y\": 1}",
                        "[]",
                    ],
                )],
            },
            Topic {
                lines: &[
                    "property: { team: { member: a } }",
                    "property: { team: { member: b } }",
                    "property: { team: { not: { member: a } } }",
                    "property: { team: { member: a, not: { member: b } } }",
                    "property: { team: [ { member: a }, { not: { member: b } } ] }",
                    "property: { team: { present: true } }",
                    "property: { team: { present: false } }",
                    "claim: { /repo_property_team: \"a,b\" }",
                    "claim: { /repo_property_team: { glob: \"a**\" } }",
                    "claim: { /repo_property_team: { present: false } }",
                    "claim: { /repo_property_team/0: b }",
                ],
                parts: &[(
                    Part::Claim("repo_property_team"),
                    &[
                        "\"a\"",
                        "\"b\"",
                        "\"a,b\"",
                        "\"ab\"",
                        "\"c\"",
                        "\",\"",
                        "\"\u{e4},a\"",
                        "\"\u{e4}\"",
                        "[\"a\"]",
                        "[\"b\", \"c\"]",
                        "[\"b\", \"a\"]",
                        "[\"c\"]",
                        "[\"\"]",
                        "[\"\", \"a\"]",
                        "[\"\u{e4}\"]",
                    ],
                )],
            },
            Topic {
                lines: &[
                    "property: { tier: high }",
                    "property: { tier: { not: high } }",
                    "property: { tier: { present: false } }",
                    "property: { pci: true }",
                    "property: { pci: { present: false } }",
                ],
                parts: &[
                    (Part::Claim("repo_property_tier"), &["\"high\"", "\"low\""]),
                    (Part::Claim("repo_property_pci"), &["\"true\"", "\"false\""]),
                ],
            },
            Topic {
                lines: &[
                    "time: { days: [mon, wed] }",
                    "time: { days: [wed], hours: \"09:00-17:00\" }",
                    "time: { hours: \"08:00-12:00\" }",
                    "time: { hours: \"11:00-24:00\" }",
                    "time: { days: [sat, sun] }",
                ],
                parts: &[(Part::Moment, &[])],
            },
            Topic {
                lines: &[
                    "source_ip: 10.0.0.0/8",
                    "source_ip: { not: 10.0.0.0/8 }",
                    "source_ip: [10.1.0.0/16, \"2001:db8::/32\"]",
                    "source_ip: { not: [10.1.0.0/16, 192.0.2.0/24] }",
                    "source_ip: { present: false }",
                ],
                parts: &[(
                    Part::Address,
                    &[
                        "10.0.0.1",
                        "10.1.2.3",
                        "10.2.0.0",
                        "192.0.2.9",
                        "203.0.113.1",
                        "2001:db8::1",
                        "fe80::1",
                    ],
                )],
            },
        ],
    },
    World {
        issuer: "provider: gitlab, url: https://gitlab.acme.dev",
        url: "https://gitlab.acme.dev",
        tenants: &["", ", tenants: [ { owner: { under: acme } } ]"],
        topics: &[
            Topic {
                lines: &[
                    "trigger: push",
                    "trigger: [push, pull_request]",
                    "trigger: [api, chained]",
                    "event: trigger",
                ],
                parts: &[(
                    Part::Claim("pipeline_source"),
                    &[
                        "\"push\"",
                        "\"merge_request_event\"",
                        "\"trigger\"",
                        "\"api\"",
                        "\"parent_pipeline\"",
                        "\"x\"",
                    ],
                )],
            },
            Topic {
                lines: &["owner: { under: acme }", "owner: { not: acme }"],
                parts: &[(
                    Part::Claim("namespace_path"),
                    &["\"acme\"", "\"acme/a\"", "\"b\""],
                )],
            },
            Topic {
                lines: &[
                    "from_fork: true",
                    "from_fork: false",
                    "from_fork: { present: true }",
                    "from_fork: { present: false }",
                    "repository_id: \"1\"",
                    "repository_id: [\"1\", \"2\"]",
                    "repository_id: { present: false }",
                    "run_repository_id: \"1\"",
                    "run_repository_id: { not: \"1\" }",
                ],
                parts: &[
                    (
                        Part::Claim("project_id"),
                        &["\"1\"", "\"2\"", "\"3\"", "\"4\""],
                    ),
                    (
                        Part::Claim("job_project_id"),
                        &["\"1\"", "\"2\"", "\"3\"", "\"4\""],
                    ),
                ],
            },
            Topic {
                lines: &[
                    "ref: refs/heads/main",
                    "ref: { not: refs/heads/main }",
                    "ref: { present: false }",
                    "ref_type: branch",
                    "ref_type: [tag, pull]",
                    "ref_type: { present: false }",
                    "claim: { /ref_path: { present: false } }",
                    "claim: { /ref: main }",
                ],
                parts: &[
                    (Part::Claim("ref"), &["\"main\"", "\"a\"", "\"\""]),
                    (Part::Claim("ref_type"), &["\"branch\"", "\"tag\"", "\"x\""]),
                    (
                        Part::Claim("ref_path"),
                        &[
                            "\"refs/heads/main\"",
                            "\"refs/merge-requests/1/head\"",
                            "\"refs/tags/a\"",
                            "\"x\"",
                        ],
                    ),
                ],
            },
            Topic {
                lines: &[
                    "workflow: .gitlab-ci.yml",
                    "workflow: { not: .gitlab-ci.yml }",
                    "workflow: { present: false }",
                    "entry_workflow: { path: { glob: \"**//.gitlab-ci.yml\" } }",
                ],
                parts: &[(
                    Part::Claim("ci_config_ref_uri"),
                    &[
                        "\"g.dev/a//.gitlab-ci.yml@refs/heads/main\"",
                        "\"g.dev/a//b//.gitlab-ci.yml\"",
                        "\"g.dev/a///x@refs/heads/main\"",
                        "\"a//\"",
                        "\"a\"",
                        "\"//a\"",
                    ],
                )],
            },
            Topic {
                lines: &[
                    "time: { days: [mon, wed] }",
                    "time: { days: [wed], hours: \"09:00-17:00\" }",
                    "time: { hours: \"08:00-12:00\" }",
                    "time: { hours: \"11:00-24:00\" }",
                    "time: { days: [sat, sun] }",
                ],
                parts: &[(Part::Moment, &[])],
            },
            Topic {
                lines: &[
                    "source_ip: 10.0.0.0/8",
                    "source_ip: { not: 10.0.0.0/8 }",
                    "source_ip: [10.1.0.0/16, \"2001:db8::/32\"]",
                    "source_ip: { not: [10.1.0.0/16, 192.0.2.0/24] }",
                    "source_ip: { present: false }",
                ],
                parts: &[(
                    Part::Address,
                    &[
                        "10.0.0.1",
                        "10.1.2.3",
                        "10.2.0.0",
                        "192.0.2.9",
                        "203.0.113.1",
                        "2001:db8::1",
                        "fe80::1",
                    ],
                )],
            },
        ],
    },
    World {
        issuer: "provider: generic, url: https://ci.acme.dev, facts: { repository: /a/repo, groups: /in, actor_id: /id, event: /why, trigger: /kind, debug_session: /debug, ref_protected: /flag }, types: { actor_id: number, ref_protected: text }",
        url: "https://ci.acme.dev",
        tenants: &[""],
        topics: &[
            Topic {
                lines: &["trigger: push", "trigger: [schedule, other]", "event: push"],
                parts: &[
                    (
                        Part::Claim("why"),
                        &["\"push\"", "\"x\"", "\"pull_request\""],
                    ),
                    (Part::Claim("kind"), &["\"push\"", "\"y\"", "\"schedule\""]),
                ],
            },
            Topic {
                lines: &[
                    "repository: a",
                    "repository: { not: a }",
                    "repository: { present: false }",
                    "claim: { /a: { present: true } }",
                    "claim: { /a: { present: false } }",
                    "claim: { /a/repo: b }",
                ],
                parts: &[(
                    Part::Claim("a"),
                    &["{\"repo\": \"a\"}", "{\"repo\": \"b\"}", "{}", "1", "\"t\""],
                )],
            },
            Topic {
                lines: &[
                    "actor_id: \"7\"",
                    "actor_id: { glob: \"7*\" }",
                    "actor_id: { not: \"7\" }",
                    "claim: { /id: { present: true } }",
                    "claim: { /id: \"7\" }",
                ],
                parts: &[(Part::Claim("id"), &["7", "70", "-8", "0"])],
            },
            Topic {
                lines: &["debug_session: true", "debug_session: { present: false }"],
                parts: &[(Part::Claim("debug"), &["true", "false"])],
            },
            Topic {
                lines: &["ref_protected: false", "ref_protected: { present: true }"],
                parts: &[(Part::Claim("flag"), &["\"true\"", "\"false\""])],
            },
            Topic {
                lines: &[
                    "groups: { member: a }",
                    "groups: { member: b }",
                    "groups: { not: { member: a } }",
                    "groups: { member: a, not: { member: b } }",
                    "groups: [ { member: a }, { not: { member: b } } ]",
                    "groups: { present: true }",
                    "groups: { present: false }",
                    "claim: { /in: { glob: \"*a*\" } }",
                    "claim: { /in: { present: true } }",
                    "claim: { /in/1: a }",
                ],
                parts: &[(
                    Part::Claim("in"),
                    &[
                        "\"a\"",
                        "\"b,a\"",
                        "\"xa\"",
                        "\"c\"",
                        "\",\"",
                        "\"\u{e4},a\"",
                        "\"\u{e4}\"",
                        "[]",
                        "[\"a\"]",
                        "[\"b\", \"a\"]",
                        "[\"c\"]",
                        "[\"c\", \"b\"]",
                        "[\"\"]",
                        "[\"c\", \"a\"]",
                    ],
                )],
            },
            Topic {
                lines: &[
                    "time: { days: [mon, wed] }",
                    "time: { days: [wed], hours: \"09:00-17:00\" }",
                    "time: { hours: \"08:00-12:00\" }",
                    "time: { hours: \"11:00-24:00\" }",
                    "time: { days: [sat, sun] }",
                ],
                parts: &[(Part::Moment, &[])],
            },
            Topic {
                lines: &[
                    "source_ip: 10.0.0.0/8",
                    "source_ip: { not: 10.0.0.0/8 }",
                    "source_ip: [10.1.0.0/16, \"2001:db8::/32\"]",
                    "source_ip: { not: [10.1.0.0/16, 192.0.2.0/24] }",
                    "source_ip: { present: false }",
                ],
                parts: &[(
                    Part::Address,
                    &[
                        "10.0.0.1",
                        "10.1.2.3",
                        "10.2.0.0",
                        "192.0.2.9",
                        "203.0.113.1",
                        "2001:db8::1",
                        "fe80::1",
                    ],
                )],
            },
        ],
    },
    World {
        issuer: "provider: people, url: https://id.acme.dev, client_id: hallpass, mfa: { amr: [otp], acr: [gold] }",
        url: "https://id.acme.dev",
        tenants: &[
            "",
            ", tenants: [ { user_id: u1 }, { groups: { member: a } } ]",
        ],
        topics: &[
            Topic {
                lines: &[
                    "trigger: person",
                    "trigger: person",
                    "trigger: person",
                    "trigger: push",
                ],
                parts: &[],
            },
            Topic {
                lines: &["user_id: u1", "user_id: { not: u1 }"],
                parts: &[(Part::Claim("sub"), &["\"u1\"", "\"u2\""])],
            },
            Topic {
                lines: &[
                    "groups: { member: a }",
                    "groups: { member: b }",
                    "groups: { not: { member: a } }",
                    "groups: { member: a, not: { member: b } }",
                    "groups: [ { member: a }, { not: { member: b } } ]",
                    "groups: { present: true }",
                    "groups: { present: false }",
                    "claim: { /groups: { present: false } }",
                    "claim: { /groups/0: b }",
                ],
                parts: &[(
                    Part::Claim("groups"),
                    &[
                        "[]",
                        "[\"a\"]",
                        "[\"b\", \"a\"]",
                        "[\"b\"]",
                        "[\"c\"]",
                        "[\"\"]",
                        "[\"c\", \"b\"]",
                    ],
                )],
            },
            Topic {
                lines: &[
                    "mfa: true",
                    "mfa: false",
                    "mfa: { present: true }",
                    "mfa: { present: false }",
                    "claim: { /acr: silver }",
                    "claim: { /amr: { present: false } }",
                    "claim: { /amr/0: pwd }",
                ],
                parts: &[
                    (Part::Claim("acr"), &["\"gold\"", "\"silver\"", "\"\""]),
                    (
                        Part::Claim("amr"),
                        &["[]", "[\"pwd\"]", "[\"otp\"]", "[\"pwd\", \"otp\"]", "[1]"],
                    ),
                ],
            },
            Topic {
                lines: &[
                    "email: a@acme.dev",
                    "email: { glob: \"*@acme.dev\" }",
                    "email: { not: a@acme.dev }",
                    "email: { present: false }",
                    "claim: { /email: { present: true } }",
                    "claim: { /email_verified: true }",
                ],
                parts: &[
                    (
                        Part::Claim("email"),
                        &[
                            "\"a@acme.dev\"",
                            "\"b@acme.dev\"",
                            "\"c@x.dev\"",
                            "\"\u{e4}@acme.dev\"",
                        ],
                    ),
                    (Part::Claim("email_verified"), &["true", "false"]),
                ],
            },
            Topic {
                lines: &[
                    "signed_in: { within: 1h }",
                    "signed_in: { within: 15m }",
                    "signed_in: { present: false }",
                    "claim: { /auth_time: { present: true } }",
                ],
                parts: &[(Part::Age, &["0", "900", "901", "3600", "3601", "86400"])],
            },
            Topic {
                lines: &[
                    "time: { days: [mon, wed] }",
                    "time: { days: [wed], hours: \"09:00-17:00\" }",
                    "time: { hours: \"08:00-12:00\" }",
                    "time: { hours: \"11:00-24:00\" }",
                    "time: { days: [sat, sun] }",
                ],
                parts: &[(Part::Moment, &[])],
            },
            Topic {
                lines: &[
                    "source_ip: 10.0.0.0/8",
                    "source_ip: { not: 10.0.0.0/8 }",
                    "source_ip: [10.1.0.0/16, \"2001:db8::/32\"]",
                    "source_ip: { not: [10.1.0.0/16, 192.0.2.0/24] }",
                    "source_ip: { present: false }",
                ],
                parts: &[(
                    Part::Address,
                    &[
                        "10.0.0.1",
                        "10.1.2.3",
                        "10.2.0.0",
                        "192.0.2.9",
                        "203.0.113.1",
                        "2001:db8::1",
                        "fe80::1",
                    ],
                )],
            },
        ],
    },
    World {
        issuer: "provider: bitrise, url: https://token.builds.bitrise.io",
        url: "https://token.builds.bitrise.io",
        tenants: &[
            ", tenants: [ { tenant_id: t1 } ]",
            ", tenants: [ { tenant_id: t1, owner: acme }, { repository: b/c } ]",
        ],
        topics: &[
            Topic {
                lines: &[
                    "repository: acme/shop",
                    "repository: [acme/shop, acme/team/x, b/c]",
                    "repository: { glob: \"acme/*\" }",
                    "repository: { glob: \"acme/**\" }",
                    "repository: { glob: \"*/shop\" }",
                    "repository: { under: acme }",
                    "repository: { under: acme/team }",
                    "repository: { not: acme/shop }",
                    "repository: { not: { under: acme/team } }",
                    "repository: { present: true }",
                    "repository: { present: false }",
                    "owner: acme",
                    "owner: { not: acme }",
                    "owner: { present: false }",
                    "claim: { /repository_slug: shop }",
                    "claim: { /repository_slug: { present: false } }",
                ],
                parts: &[
                    (
                        Part::Claim("repository_owner"),
                        &["\"acme\"", "\"acme/team\"", "\"b\"", "\"\""],
                    ),
                    (
                        Part::Claim("repository_slug"),
                        &["\"shop\"", "\"x\"", "\"c\"", "\"team/x\"", "\"\""],
                    ),
                    (Part::Claim("workspace_slug"), &["\"t1\"", "\"t2\""]),
                ],
            },
            Topic {
                lines: &[
                    "ref: refs/heads/main",
                    "ref: { glob: \"refs/tags/*\" }",
                    "ref_type: branch",
                    "ref_type: pull",
                    "trigger: pull_request",
                ],
                parts: &[
                    (Part::Claim("branch"), &["\"main\"", "\"dev\"", "\"\""]),
                    (Part::Claim("tag"), &["\"v1\"", "\"\""]),
                    (Part::Claim("branch_dest"), &["\"main\"", "\"\""]),
                ],
            },
            Topic {
                lines: &["workflow: deploy", "workflow: { not: deploy }"],
                parts: &[(Part::Claim("workflow"), &["\"deploy\"", "\"x\""])],
            },
            Topic {
                lines: &["actor: webhook", "actor: { present: false }"],
                parts: &[(Part::Claim("trigger_by"), &["\"webhook\"", "\"ann\""])],
            },
        ],
    },
];
