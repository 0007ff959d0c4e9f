//! Random numbers, policies and jobs.

use std::fmt::Write as _;

/// Numbers that follow from a seed (`SplitMix64`).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn number(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(below).unwrap()).unwrap()
    }

    pub(super) fn one_in(&mut self, of: usize) -> bool {
        self.number(of) == 0
    }

    pub(super) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.number(from.len())]
    }
}

/// A subject of conditions: lines for policies, and values of the claims that they are about.
pub(super) struct Topic {
    pub(super) lines: &'static [&'static str],
    /// A claim's pointer, and its values as JSON. It may also be absent.
    pub(super) claims: &'static [(&'static str, &'static [&'static str])],
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
        issuer: "provider: github, url: https://ghe.acme.dev/_services/token",
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
                claims: &[(
                    "/event_name",
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
                claims: &[("/repository_owner", &["\"acme\"", "\"other\"", "\"oo\""])],
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
                claims: &[(
                    "/repository",
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
                claims: &[
                    (
                        "/ref",
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
                    ("/ref_type", &["\"branch\"", "\"tag\"", "\"x\""]),
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
                claims: &[("/ref_protected", &["\"true\"", "\"false\""])],
            },
            Topic {
                lines: &[
                    "runner: hosted",
                    "runner: [hosted, self-hosted]",
                    "runner: { present: false }",
                    "claim: { /runner_environment: { not: github-hosted } }",
                ],
                claims: &[(
                    "/runner_environment",
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
                claims: &[(
                    "/workflow_ref",
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
                claims: &[(
                    "/x",
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
                claims: &[(
                    "/pipeline_source",
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
                claims: &[("/namespace_path", &["\"acme\"", "\"acme/a\"", "\"b\""])],
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
                claims: &[
                    ("/project_id", &["\"1\"", "\"2\"", "\"3\"", "\"4\""]),
                    ("/job_project_id", &["\"1\"", "\"2\"", "\"3\"", "\"4\""]),
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
                ],
                claims: &[
                    ("/ref", &["\"main\"", "\"a\"", "\"\""]),
                    ("/ref_type", &["\"branch\"", "\"tag\"", "\"x\""]),
                    (
                        "/ref_path",
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
                claims: &[(
                    "/ci_config_ref_uri",
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
        ],
    },
    World {
        issuer: "provider: generic, url: https://ci.acme.dev, facts: { repository: /a/repo, actor_id: /id, event: /why, trigger: /kind, debug_session: /debug, ref_protected: /flag }, types: { actor_id: number, ref_protected: text }",
        url: "https://ci.acme.dev",
        tenants: &[""],
        topics: &[
            Topic {
                lines: &["trigger: push", "trigger: [schedule, other]", "event: push"],
                claims: &[
                    ("/why", &["\"push\"", "\"x\"", "\"pull_request\""]),
                    ("/kind", &["\"push\"", "\"y\"", "\"schedule\""]),
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
                claims: &[(
                    "/a",
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
                claims: &[("/id", &["7", "70", "-8", "0"])],
            },
            Topic {
                lines: &["debug_session: true", "debug_session: { present: false }"],
                claims: &[("/debug", &["true", "false"])],
            },
            Topic {
                lines: &["ref_protected: false", "ref_protected: { present: true }"],
                claims: &[("/flag", &["\"true\"", "\"false\""])],
            },
        ],
    },
];

/// A block of some lines of the topics, none twice.
pub(super) fn block(random: &mut Random, topics: &[&Topic]) -> String {
    let count = random.number(3) + 1;
    let mut lines: Vec<&str> = Vec::new();
    for _ in 0..count {
        let lines_of = random.pick(topics).lines;
        let line = random.pick(lines_of);
        let key = |line: &str| line.split(':').next().unwrap().to_owned();
        if lines.iter().all(|other| key(other) != key(line)) {
            lines.push(line);
        }
    }
    format!("{{ {} }}", lines.join(", "))
}

/// Policies for jobs of the world that differ in these topics.
pub(super) fn policies(random: &mut Random, world: &World, topics: &[&Topic]) -> String {
    let tenants = random.pick(world.tenants);
    let mut text = format!("issuers:\n  ci: {{ {}{tenants} }}\n", world.issuer);
    let most = random.pick(&["5m", "10m"]);
    let _ = write!(
        text,
        "credentials:\n  api: {{ kind: jwt, audience: https://api.acme.dev, scopes: [a, b], max_ttl: {most}, owner: o, purpose: p, class: low }}\n"
    );
    let requirements = random.number(3).saturating_sub(1);
    if requirements > 0 {
        text.push_str("require:\n");
    }
    for number in 0..requirements {
        let jobs = block(random, topics).replacen('{', "{ issuer: ci,", 1);
        let unless = if random.one_in(2) {
            let unless = block(random, topics).replacen('{', "{ issuer: ci,", 1);
            format!("unless: {unless}, ")
        } else {
            String::new()
        };
        let shadow = shadow(random);
        let _ = writeln!(
            text,
            "  - {{ name: r{number}, of: all, jobs: {jobs}, {unless}{shadow}because: b }}"
        );
    }
    text.push_str("policies:\n");
    for number in 0..=random.number(4) {
        let blocks: Vec<String> = (0..=random.number(2))
            .map(|_| block(random, topics))
            .collect();
        let until = random.pick(&[
            "",
            "",
            "",
            "until: 2026-01-01T00:00:00Z, ",
            "until: 2027-01-01T00:00:00Z, ",
            "until: 2028-01-01T00:00:00Z, ",
        ]);
        let ttl = random.pick(&["2m", "5m", "10m"]);
        let scopes = random.pick(&["[a]", "[b]", "[a, b]"]);
        let shadow = shadow(random);
        let _ = writeln!(
            text,
            "  - {{ name: p{number}, issuer: ci, when: [{}], {until}{shadow}grant: [ {{ credential: api, ttl: {ttl}, scopes: {scopes} }} ] }}",
            blocks.join(", ")
        );
    }
    text
}

fn shadow(random: &mut Random) -> &'static str {
    if random.one_in(8) {
        "shadow_until: 2029-01-01T00:00:00Z, "
    } else {
        ""
    }
}
