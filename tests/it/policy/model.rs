//! The decision, a second time: a slow model that shares no code with the broker, and random
//! companies, jobs and requests on which both must agree.

use std::fmt::Write as _;
use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::policy::decide::Verdict;
use hallpass::policy::{Ask, PolicySet, ShadowOutcome};
use serde_json::{Map, Value, json};

use super::{folder, write};
use crate::provider::object;

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % limit
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

#[derive(Clone)]
enum Pattern {
    Text(&'static str),
    List(Vec<&'static str>),
    Glob(&'static str),
    Not(&'static str),
    Present(bool),
    /// The cell of a row.
    Cell(&'static str),
    /// An entry of a list.
    Member(&'static str),
    Networks(Vec<&'static str>),
    OtherNetworks(Vec<&'static str>),
    /// Days, and minutes of the day.
    Window(Option<Vec<&'static str>>, Option<(u32, u32)>),
}

type Block = Vec<(&'static str, Pattern)>;

#[derive(Clone)]
struct Grant {
    credential: &'static str,
    ttl: u64,
    scopes: Vec<&'static str>,
}

#[derive(Clone)]
struct Policy {
    name: String,
    when: Vec<Block>,
    is_past: bool,
    is_shadowed: bool,
    home: Home,
    grants: Vec<Grant>,
}

/// Where a policy is defined.
#[derive(Clone, Copy, PartialEq)]
enum Home {
    Root,
    /// In the root, once for each row.
    Rows,
    Team,
}

struct Requirement {
    name: String,
    of: &'static str,
    jobs: Block,
    unless: Option<Block>,
    is_shadowed: bool,
}

struct Company {
    rows: Vec<[&'static str; 3]>,
    team: Block,
    policies: Vec<Policy>,
    requirements: Vec<Requirement>,
}

const REPOSITORIES: [[&str; 3]; 3] = [
    ["a", "acme/a", "10"],
    ["b", "acme/b", "11"],
    ["c", "acme/c", "12"],
];

impl Pattern {
    fn random(random: &mut Random, fact: &str, for_row: bool) -> Self {
        if fact == "property team" {
            return Self::Member(random.pick(&["pay", "ops"]));
        }
        if fact == "time" {
            let days = random.pick(&[None, Some(vec!["mon"]), Some(vec!["sat", "sun", "fri"])]);
            let hours = random.pick(&[
                None,
                Some((0, 60)),
                Some((120, 180)),
                Some((480, 973)),
                Some((973, 1_440)),
            ]);
            return match (&days, hours) {
                (None, None) => Self::Window(Some(vec!["mon", "thu"]), None),
                _ => Self::Window(days, hours),
            };
        }
        if fact == "source_ip" {
            let start = random.below(NETWORKS.len() - 1);
            let end = start + 1 + random.below(2);
            let names = NETWORKS[start..end].iter().map(|(network, _)| *network);
            return if random.one_in(3) {
                Self::OtherNetworks(names.collect())
            } else {
                Self::Networks(names.collect())
            };
        }
        let values: &[&str] = match fact {
            "property tier" => &["critical", "low", "none"],
            "repository" => &["acme/a", "acme/b", "acme/c"],
            "repository_id" => &["10", "11", "12"],
            "ref" => &["refs/heads/main", "refs/heads/x", "refs/tags/v1"],
            "environment" => &["dev", "prod"],
            "trigger" => &["push", "manual", "pull_request", "chained"],
            _ => &["hosted", "self-hosted"],
        };
        let globs: &[&str] = match fact {
            "ref" => &["refs/heads/*", "refs/**", "refs/tags/v*"],
            "repository" => &["acme/*", "**/a"],
            _ => &["*d*", "p*"],
        };
        let is_word = matches!(fact, "trigger" | "runner");
        match random.below(if is_word { 3 } else { 6 }) {
            0 if for_row && fact == "repository" => Self::Cell("repository"),
            0 if for_row && fact == "repository_id" => Self::Cell("repository_id"),
            0 => Self::Text(random.pick(values)),
            1 => {
                let start = random.below(values.len() - 1);
                Self::List(values[start..start + 2].to_vec())
            }
            2 => Self::Present(fact == "repository_id" || !random.one_in(3)),
            3 if !matches!(fact, "environment" | "repository_id" | "property tier") => {
                Self::Glob(random.pick(globs))
            }
            _ => Self::Not(random.pick(values)),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => format!("\"{text}\""),
            Self::List(list) | Self::Networks(list) => {
                format!("[\"{}\"]", list.join("\", \""))
            }
            Self::Glob(glob) => format!("{{ glob: \"{glob}\" }}"),
            Self::Not(text) => format!("{{ not: \"{text}\" }}"),
            Self::Present(value) => format!("{{ present: {value} }}"),
            Self::Cell(column) => format!("\"{{{column}}}\""),
            Self::Member(entry) => format!("{{ member: {entry} }}"),
            Self::Window(days, hours) => {
                let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
                let days = days
                    .as_ref()
                    .map(|days| format!("days: [{}]", days.join(", ")));
                let hours =
                    hours.map(|(from, to)| format!("hours: \"{}-{}\"", clock(from), clock(to)));
                let lines: Vec<_> = days.into_iter().chain(hours).collect();
                format!("{{ {} }}", lines.join(", "))
            }
            Self::OtherNetworks(list) => {
                format!("{{ not: [\"{}\"] }}", list.join("\", \""))
            }
        }
    }

    fn fits(&self, value: Option<&str>, row: Option<&[&str; 3]>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::Present(false));
        };
        match self {
            Self::Text(text) => *text == value,
            Self::List(list) => list.contains(&value),
            Self::Glob(glob) => glob_fits(glob.as_bytes(), value.as_bytes()),
            Self::Not(text) => *text != value,
            Self::Present(present) => *present,
            Self::Member(entry) => value.split(',').any(|one| one == *entry),
            Self::Cell("repository") => row.unwrap()[1] == value,
            Self::Cell(_) => row.unwrap()[2] == value,
            Self::Networks(list) => is_in(list, value),
            Self::Window(days, hours) => {
                let (_, day, minute) = instant(value);
                days.as_ref().is_none_or(|days| days.contains(&day))
                    && hours.is_none_or(|(from, to)| (from..to).contains(&minute))
            }
            Self::OtherNetworks(list) => !is_in(list, value),
        }
    }
}

/// Times, with the day and the minute of the day in Berlin, by another database of zones.
const INSTANTS: [(&str, i64, &str, u32); 7] = [
    ("an ordinary day", 1_790_000_000, "mon", 973),
    ("the first half past two", 1_792_888_200, "sun", 150),
    ("the second half past two", 1_792_891_800, "sun", 150),
    (
        "before the hour that is left out",
        1_806_195_599,
        "sun",
        119,
    ),
    ("after the hour that is left out", 1_806_195_600, "sun", 180),
    ("midnight", 1_798_758_000, "fri", 0),
    ("before midnight", 1_790_459_999, "sat", 1_439),
];

fn instant(name: &str) -> (Timestamp, &'static str, u32) {
    let found = INSTANTS.iter().find(|instant| instant.0 == name);
    let (_, at, day, minute) = found.unwrap();
    (Timestamp::from_unix(*at), *day, *minute)
}

/// Networks, and how the addresses in them begin.
const NETWORKS: [(&str, &str); 4] = [
    ("10.1.0.0/16", "10.1."),
    ("10.0.0.0/8", "10."),
    ("192.0.2.0/24", "192.0.2."),
    ("2001:db8::/32", "2001:db8:"),
];

fn is_in(networks: &[&str], address: &str) -> bool {
    NETWORKS
        .iter()
        .any(|(network, start)| networks.contains(network) && address.starts_with(start))
}

/// By the definition, with backtracking.
fn glob_fits(glob: &[u8], value: &[u8]) -> bool {
    match (glob, value) {
        ([b'*', b'*', rest @ ..], _) => {
            glob_fits(rest, value) || !value.is_empty() && glob_fits(glob, &value[1..])
        }
        ([b'*', rest @ ..], _) => {
            glob_fits(rest, value)
                || value.first().is_some_and(|byte| *byte != b'/') && glob_fits(glob, &value[1..])
        }
        ([one, rest @ ..], [two, more @ ..]) => one == two && glob_fits(rest, more),
        ([], []) => true,
        _ => false,
    }
}

fn block(random: &mut Random, facts: &[&'static str], for_row: bool) -> Block {
    let mut block = Block::new();
    for fact in facts {
        // Two lines or so: a job that meets all of many says little.
        if random.below(facts.len()) < 2 {
            block.push((fact, Pattern::random(random, fact, for_row)));
        }
    }
    if block.is_empty() {
        block.push(("ref", Pattern::random(random, "ref", for_row)));
    }
    block
}

fn block_text(block: &Block) -> String {
    let line = |name: &str, pattern: &Pattern| format!("{name}: {}", pattern.text());
    let mut lines = Vec::new();
    let mut properties = Vec::new();
    for (fact, pattern) in block {
        match fact.strip_prefix("property ") {
            Some(name) => properties.push(line(name, pattern)),
            None => lines.push(line(fact, pattern)),
        }
    }
    if !properties.is_empty() {
        lines.push(format!("property: {{ {} }}", properties.join(", ")));
    }
    format!("{{ {} }}", lines.join(", "))
}

/// A block of a requirement, which names the issuer of its properties.
fn required_text(block: &Block) -> String {
    let text = block_text(block);
    if text.contains("property: {") {
        return text.replacen('{', "{ issuer: github,", 1);
    }
    text
}

/// What conditions of a team name.
const FACTS: [&str; 8] = [
    "property tier",
    "property team",
    "repository",
    "repository_id",
    "ref",
    "environment",
    "trigger",
    "runner",
];
/// What conditions of a policy name.
const OF_REQUEST: [&str; 10] = [
    "property tier",
    "property team",
    "repository",
    "repository_id",
    "ref",
    "environment",
    "trigger",
    "runner",
    "source_ip",
    "time",
];
const WITHOUT_IDS: [&str; 8] = [
    "repository",
    "ref",
    "environment",
    "trigger",
    "runner",
    "property tier",
    "source_ip",
    "time",
];

impl Company {
    fn random(random: &mut Random) -> Self {
        let count = 1 + random.below(3);
        let policy = |random: &mut Random, name: &str, choices: &[Grant], home: Home| Policy {
            name: name.to_owned(),
            when: (0..=random.below(2))
                .map(|_| block(random, &OF_REQUEST, home == Home::Rows))
                .collect(),
            is_past: random.one_in(8),
            is_shadowed: random.one_in(3),
            home,
            grants: (0..=random.below(2))
                .map(|_| random.pick(choices))
                .collect(),
        };
        let grant = |credential, ttl, scopes: &[&'static str]| Grant {
            credential,
            ttl,
            scopes: scopes.to_vec(),
        };
        let of_root = [
            grant("a", 300, &["x"]),
            grant("a", 300, &["z"]),
            grant("a", 60, &["x", "z"]),
            grant("b", 600, &[]),
            grant("b", 120, &[]),
        ];
        let of_rows = [grant("{app}-c", 300, &[]), grant("b", 240, &[])];
        let of_team = [grant("t-c/d", 300, &[]), grant("b", 180, &[])];
        let mut policies: Vec<_> = (0..3)
            .map(|number| policy(random, &format!("p{number}"), &of_root, Home::Root))
            .collect();
        policies.push(policy(random, "r-{app}", &of_rows, Home::Rows));
        policies.push(policy(random, "t-p/q", &of_team, Home::Team));
        let requirements = (0..random.below(3)).map(|number| Requirement {
            name: format!("q{number}"),
            of: random.pick(&[
                "all",
                "{ class: critical }",
                "{ credential: [b, t-c/d] }",
                "{ owner: t }",
            ]),
            jobs: block(random, &WITHOUT_IDS, false),
            unless: random.one_in(3).then(|| block(random, &WITHOUT_IDS, false)),
            is_shadowed: random.one_in(2),
        });
        let requirements = requirements.collect();
        Self {
            rows: REPOSITORIES[..count].to_vec(),
            team: block(random, &FACTS, false),
            policies,
            requirements,
        }
    }

    /// The files of the root, and that of the team.
    fn texts(&self) -> (String, String, String) {
        let mut root = format!(
            r#"zone: Europe/Berlin
issuers:
  github: {{ provider: github, properties: {{ tier: text, team: list }}, tenants: [ {{ owner: acme }} ] }}
teams:
  t: {{ folder: teams/t, names: [ {{ glob: "t-*/*" }} ], jobs: {{ issuer: github, {}, uses: {{ jwt: {{ audiences: ["https://d.test"], at_least: low }} }}, owner: t, borrows: [b] }}
rosters:
  apps: {{ key: app, file: apps.csv }}
credentials:
  a: {{ kind: jwt, audience: "https://a.test", scopes: [x, z], max_ttl: 4m, owner: o, purpose: p, class: critical }}
  b: {{ kind: jwt, audience: "https://b.test", max_ttl: 10m, owner: o, purpose: p, class: low }}
  "{{app}}-c": {{ each: {{ roster: apps }}, kind: jwt, audience: "https://{{app}}.test", max_ttl: 10m, owner: o, purpose: p, class: critical }}
"#,
            block_text(&self.team).trim_start_matches("{ ")
        );
        let mut team = "credentials:\n  t-c/d: { kind: jwt, audience: \"https://d.test\", max_ttl: 5m, purpose: p, class: low }\npolicies:\n".to_owned();
        root.push_str("policies:\n");
        for policy in &self.policies {
            let text = if policy.home == Home::Team {
                &mut team
            } else {
                &mut root
            };
            let blocks: Vec<_> = policy.when.iter().map(block_text).collect();
            let grants = policy.grants.iter().map(|grant| {
                let scopes = match grant.scopes.join(", ") {
                    scopes if scopes.is_empty() => String::new(),
                    scopes => format!(", scopes: [{scopes}]"),
                };
                format!(
                    "{{ credential: \"{}\", ttl: {}s{scopes} }}",
                    grant.credential, grant.ttl
                )
            });
            let grants: Vec<_> = grants.collect();
            let until = if policy.is_past {
                "until: 2020-01-01T00:00:00Z, "
            } else {
                ""
            };
            let shadow = if policy.is_shadowed {
                "shadow_until: 2099-01-01T00:00:00Z, "
            } else {
                ""
            };
            let each = if policy.home == Home::Rows {
                "each: { roster: apps }, "
            } else {
                ""
            };
            writeln!(
                text,
                "  - {{ name: \"{}\", {each}issuer: github, {until}{shadow}when: [ {} ], grant: [ {} ] }}",
                policy.name,
                blocks.join(", "),
                grants.join(", ")
            )
            .unwrap();
        }
        if !self.requirements.is_empty() {
            root.push_str("require:\n");
        }
        for one in &self.requirements {
            let shadow = if one.is_shadowed {
                "shadow_until: 2099-01-01T00:00:00Z, "
            } else {
                ""
            };
            let unless = one
                .unless
                .as_ref()
                .map(|block| format!("unless: {}, ", required_text(block)));
            writeln!(
                root,
                "  - {{ name: {}, {shadow}of: {}, jobs: {}, {}because: so }}",
                one.name,
                one.of,
                required_text(&one.jobs),
                unless.unwrap_or_default()
            )
            .unwrap();
        }
        let rows = self.rows.iter().map(|row| row.join(",") + "\n");
        let csv = std::iter::once("app,repository,repository_id\n".to_owned()).chain(rows);
        (root, team, csv.collect())
    }
}

/// What a job says, by fact.
type Job = Vec<(&'static str, Option<&'static str>)>;

fn job(random: &mut Random) -> Job {
    let [_, repository, id] = random.pick(&REPOSITORIES);
    let owner = if random.one_in(12) { "other" } else { "acme" };
    let id = if random.one_in(4) { "13" } else { id };
    vec![
        ("owner", Some(owner)),
        (
            "repository",
            Some(if owner == "other" {
                "other/a"
            } else {
                repository
            }),
        ),
        ("repository_id", Some(id)),
        (
            "ref",
            Some(random.pick(&["refs/heads/main", "refs/heads/x", "refs/tags/v1"])),
        ),
        (
            "environment",
            random.pick(&[None, Some("dev"), Some("prod")]),
        ),
        (
            "trigger",
            Some(random.pick(&["push", "push", "manual", "pull_request", "chained", "other"])),
        ),
        (
            "runner",
            random.pick(&[None, Some("hosted"), Some("self-hosted")]),
        ),
        (
            "property tier",
            random.pick(&[None, Some("critical"), Some("low")]),
        ),
        (
            "property team",
            random.pick(&[None, Some("pay"), Some("ops,pay"), Some("payments")]),
        ),
        ("time", Some(random.pick(&INSTANTS).0)),
        (
            "source_ip",
            random.pick(&[
                None,
                Some("10.1.2.3"),
                Some("10.2.0.1"),
                Some("192.0.2.7"),
                Some("2001:db8::7"),
                Some("198.51.100.1"),
            ]),
        ),
    ]
}

fn value(job: &Job, fact: &str) -> Option<&'static str> {
    job.iter().find(|(name, _)| *name == fact).unwrap().1
}

fn claims(job: &Job) -> Value {
    let mut claims = Map::new();
    claims.insert(
        "iss".to_owned(),
        json!("https://token.actions.githubusercontent.com"),
    );
    for (fact, value) in job {
        let Some(value) = *value else { continue };
        let (name, value) = match *fact {
            // No claim of the token.
            "source_ip" | "time" => continue,
            "owner" => ("repository_owner", value),
            "runner" if value == "hosted" => ("runner_environment", "github-hosted"),
            "runner" => ("runner_environment", value),
            "property tier" => ("repo_property_tier", value),
            "property team" => ("repo_property_team", value),
            "trigger" => (
                "event_name",
                match value {
                    "manual" => "workflow_dispatch",
                    "chained" => "workflow_run",
                    "other" => "watch",
                    same => same,
                },
            ),
            same => (same, value),
        };
        claims.insert(name.to_owned(), json!(value));
    }
    Value::Object(claims)
}

fn holds(block: &Block, job: &Job, row: Option<&[&str; 3]>) -> bool {
    block
        .iter()
        .all(|(fact, pattern)| pattern.fits(value(job, fact), row))
}

/// Policy, life and scopes.
type Permit = (String, u64, Vec<String>);

/// One decision, with or without what is shadowed.
fn decide(company: &Company, job: &Job, ask: &Ask, shadowed: bool) -> Option<Permit> {
    if value(job, "owner") != Some("acme") {
        return None;
    }
    let mut found: Vec<(u64, usize, String, Vec<String>)> = Vec::new();
    for policy in company
        .policies
        .iter()
        .filter(|policy| shadowed || !policy.is_shadowed)
    {
        let rows: Vec<_> = if policy.home == Home::Rows {
            company.rows.iter().map(Some).collect()
        } else {
            vec![None]
        };
        for row in rows {
            let fill = |text: &str| text.replace("{app}", row.map_or("", |row| row[0]));
            let trigger = value(job, "trigger").unwrap();
            let lets_run = |block: &Block| {
                ["push", "manual"].contains(&trigger)
                    || block.iter().any(|(fact, pattern)| {
                        *fact == "trigger"
                            && match pattern {
                                Pattern::Text(text) => *text == trigger,
                                Pattern::List(list) => list.contains(&trigger),
                                Pattern::Glob(_)
                                | Pattern::Member(_)
                                | Pattern::Not(_)
                                | Pattern::Present(_)
                                | Pattern::Networks(_)
                                | Pattern::OtherNetworks(_)
                                | Pattern::Window(..)
                                | Pattern::Cell(_) => false,
                            }
                    })
            };
            let fits = policy
                .when
                .iter()
                .any(|block| holds(block, job, row) && lets_run(block));
            let is_outside = policy.home == Home::Team && !holds(&company.team, job, None);
            if policy.is_past || !fits || is_outside {
                continue;
            }
            for grant in &policy.grants {
                let most = match grant.credential {
                    "a" => 240,
                    "t-c/d" => 300,
                    _ => 600,
                };
                let longest = grant.ttl.min(most);
                let life = ask.ttl.map_or(longest, |ttl| ttl.as_secs());
                let has = |scope: &String| grant.scopes.contains(&scope.as_str());
                let scopes = ask.scopes.as_ref();
                if fill(grant.credential) == ask.credential
                    && life > 0
                    && life <= longest
                    && scopes.is_none_or(|scopes| scopes.iter().all(has))
                {
                    let all = grant.scopes.iter().map(|scope| (*scope).to_owned());
                    found.push((life, grant.scopes.len(), fill(&policy.name), all.collect()));
                }
            }
        }
    }
    found.sort_by(|one, two| {
        (two.0, two.1)
            .cmp(&(one.0, one.1))
            .then_with(|| (&one.2, &one.3).cmp(&(&two.2, &two.3)))
    });
    let (life, _, policy, scopes) = found.into_iter().next()?;
    if company
        .requirements
        .iter()
        .any(|one| (shadowed || !one.is_shadowed) && is_broken(one, job, ask))
    {
        return None;
    }
    let wanted = |scope: &String| {
        ask.scopes
            .as_ref()
            .is_none_or(|asked| asked.contains(scope))
    };
    Some((policy, life, scopes.into_iter().filter(wanted).collect()))
}

fn is_broken(one: &Requirement, job: &Job, ask: &Ask) -> bool {
    let selects = match one.of {
        "all" => true,
        "{ class: critical }" => ask.credential == "a" || ask.credential.ends_with("-c"),
        "{ owner: t }" => ask.credential == "t-c/d",
        _ => ["b", "t-c/d"].contains(&ask.credential.as_str()),
    };
    let is_exempt = one
        .unless
        .as_ref()
        .is_some_and(|unless| holds(unless, job, None));
    selects && !holds(&one.jobs, job, None) && !is_exempt
}

fn shadow(company: &Company, job: &Job, ask: &Ask) -> Option<ShadowOutcome> {
    let extent = |permit: &Permit| permit.1;
    match (
        decide(company, job, ask, false),
        decide(company, job, ask, true),
    ) {
        (Some(_), None) => {
            let mut broken = company
                .requirements
                .iter()
                .filter(|one| is_broken(one, job, ask));
            Some(ShadowOutcome::WouldRefuse {
                requirement: broken.next().unwrap().name.clone(),
            })
        }
        (None, Some((policy, ..))) => Some(ShadowOutcome::WouldGrant { policy }),
        (Some(one), Some(two))
            if extent(&two) > extent(&one)
                || ask.scopes.is_none() && two.1 == one.1 && two.2.len() > one.2.len() =>
        {
            Some(ShadowOutcome::WouldGrant { policy: two.0 })
        }
        _ => None,
    }
}

fn ask(random: &mut Random) -> Ask {
    let scopes = random.pick(&[None, Some(vec![]), Some(vec!["x"]), Some(vec!["x", "z"])]);
    Ask {
        credential: random
            .pick(&["a", "a", "b", "b", "a-c", "b-c", "t-c/d", "none"])
            .to_owned(),
        scopes: scopes.map(|list: Vec<&str>| list.into_iter().map(str::to_owned).collect()),
        ttl: random
            .pick(&[None, None, Some(30), Some(100), Some(250), Some(301)])
            .map(Duration::from_secs),
        ..Ask::default()
    }
}

/// Compares so many companies, with a hundred decisions each.
fn compare(companies: usize, seed: u64) {
    let mut random = Random(seed);
    let (mut permits, mut shadows) = (0, 0);
    for _ in 0..companies {
        let company = Company::random(&mut random);
        let (root, team, csv) = company.texts();
        let dir = folder(&[("root.yaml", &root), ("apps.csv", &csv)]);
        write(dir.path(), "teams/t/t.yaml", &team);
        // Rules of lint refuse some of these, which decide all the same.
        let loaded =
            PolicySet::load(dir.path()).unwrap_or_else(|errors| panic!("{errors}\n{root}{team}"));
        let set = loaded.set;
        let reader = set.readers().first().unwrap();
        for _ in 0..100 {
            let (job, ask) = (job(&mut random), ask(&mut random));
            let facts = reader.facts(object(&claims(&job))).unwrap();
            let address = value(&job, "source_ip").map(|address| address.parse().unwrap());
            let facts = facts.from_address(address);
            let (now, ..) = instant(value(&job, "time").unwrap());
            let decision = set.explain_nearest(&facts, &ask, now);
            let found = match decision.verdict {
                Verdict::Permitted {
                    policy,
                    ttl,
                    scopes,
                } => Some((policy, ttl.as_secs(), scopes)),
                Verdict::Denied(_) => None,
            };
            let context = || format!("{root}{team}{csv}{}\n{ask:?}", claims(&job));
            let expected = decide(&company, &job, &ask, false);
            assert_eq!(found, expected, "{}", context());
            // With scopes asked, how many a grant has beside them is of no use to the job.
            if ask.scopes.is_none() {
                assert_eq!(
                    decision.shadow,
                    shadow(&company, &job, &ask),
                    "{}",
                    context()
                );
            }
            permits += usize::from(expected.is_some());
            shadows += usize::from(decision.shadow.is_some());
        }
    }
    assert!(permits > companies, "{permits} permits say too little");
    assert!(shadows > companies, "{shadows} shadows say too little");
}

/// T-264, T-267: 2,000 decisions.
#[test]
fn a_second_implementation_comes_to_the_same_decisions() {
    compare(20, 0x9e37_79b9_7f4a_7c15);
}

#[test]
#[ignore = "50,000 decisions: `make test-long`"]
fn a_long_second_implementation_comes_to_the_same_decisions() {
    compare(500, 0x1234_5678_9abc_def1);
}
