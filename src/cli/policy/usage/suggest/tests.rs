//! Random policies and logs: a suggestion takes nothing from a job of the log.

use std::fmt::Write as _;

use super::*;
use crate::audit::{RecordedLine, Said};

const ROOT: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  api: { kind: jwt, audience: https://api.acme.dev, scopes: [a, b, c], max_ttl: 8m, owner: o, purpose: p, class: low }
  plain: { kind: jwt, audience: https://plain.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: low }
"#;
/// Of the last event.
const END: Timestamp = Timestamp::from_unix(1_795_000_000);
const DAY: i64 = 86_400;

struct Random(u64);

impl Random {
    fn below(&mut self, number: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % number
    }

    fn is(&mut self, one_of: u64) -> bool {
        self.below(one_of) == 0
    }

    fn one<'t>(&mut self, list: &[&'t str]) -> &'t str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    /// Some of the list, at least one.
    fn some<'t>(&mut self, list: &[&'t str]) -> Vec<&'t str> {
        let some: Vec<_> = list.iter().copied().filter(|_| self.is(2)).collect();
        if some.is_empty() {
            vec![self.one(list)]
        } else {
            some
        }
    }

    fn list(&mut self, list: &[&str]) -> String {
        match self.some(list).as_slice() {
            [one] if self.is(2) => (*one).to_owned(),
            some => format!("[{}]", some.join(", ")),
        }
    }
}

const REPOSITORIES: &[&str] = &["acme/a", "acme/b", "acme/c"];
const BRANCHES: &[&str] = &["refs/heads/main", "refs/heads/dev", "refs/heads/rel/1"];
const TRIGGERS: &[&str] = &["push", "manual", "schedule"];
const SCOPES: &[&str] = &["a", "b", "c"];

fn block(random: &mut Random) -> String {
    let mut block = format!("repository: {}", random.list(REPOSITORIES));
    if !random.is(4) {
        let refs = [BRANCHES[0], BRANCHES[1], "{ glob: \"refs/heads/rel/*\" }"];
        write!(block, ", ref: {}", random.list(&refs)).unwrap();
    }
    if random.is(2) {
        write!(block, ", trigger: {}", random.list(TRIGGERS)).unwrap();
    }
    block
}

fn policies(random: &mut Random) -> String {
    let mut text = "policies:\n".to_owned();
    for number in 0..=random.below(4) {
        write!(
            text,
            "  # The jobs of p{number}.\n  - name: p{number}\n    issuer: github\n"
        )
        .unwrap();
        if random.is(4) {
            let until = END.plus(-DAY * i64::try_from(random.below(150)).unwrap());
            writeln!(text, "    until: {until}").unwrap();
        }
        if random.is(2) {
            writeln!(text, "    when: {{ {} }}", block(random)).unwrap();
        } else {
            text.push_str("    when:\n");
            for _ in 0..=random.below(3) {
                writeln!(text, "      - {{ {} }} # some", block(random)).unwrap();
            }
        }
        text.push_str("    grant:\n");
        for _ in 0..=random.below(2) {
            let (ttl, scopes) = (1 + random.below(10), random.some(SCOPES).join(", "));
            if random.is(2) {
                writeln!(
                    text,
                    "      - {{ credential: api, ttl: {ttl}m, scopes: [{scopes}] }}"
                )
            } else {
                writeln!(
                    text,
                    "      - credential: plain\n        ttl: {ttl}m # long"
                )
            }
            .unwrap();
        }
        if random.is(2) {
            text.push('\n');
        }
    }
    text
}

fn load(text: &str) -> PolicySet {
    let loaded = PolicySet::from_texts(&[("root.yaml", ROOT), ("more.yaml", text)]);
    loaded
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
        .set
}

/// A random request, as policies `then` decided it.
fn decision(random: &mut Random, then: &PolicySet) -> RecordedDecision {
    let credential = random.one(&["api", "plain"]);
    let mut asked = json!({});
    if random.is(2) {
        asked["ttl"] = format!("{}s", 30 + random.below(400)).into();
    }
    if credential == "api" && random.is(2) {
        let scopes = random.some(SCOPES);
        asked["scopes"] = json!({ "first": scopes, "total": scopes.len() });
    }
    let time = END.plus(-i64::try_from(random.below(200)).unwrap() * DAY);
    let mut line = json!({
        "v": 1, "time": time.to_string(), "chain": "test", "boot": "b", "seq": 1, "prev": "",
        "event": "denial", "reason": "policy.any",
        "issuer": "https://token.actions.githubusercontent.com",
        "job": {
            "owner": "acme", "owner_id": "65923871", "repository": random.one(REPOSITORIES),
            "ref": random.one(BRANCHES), "trigger": random.one(TRIGGERS),
        },
        "claims": {}, "credential": credential, "asked": asked, "revision": "r",
    });
    let read = |line: &Value| {
        let text = line.to_string();
        let line = RecordedLine::parse(text.as_bytes()).unwrap();
        match line.said().unwrap() {
            Said::Decision(decision) => *decision,
            Said::Policies { .. } | Said::Other => panic!("{text}"),
        }
    };
    let draft = read(&line);
    let Ok(Now::Granted {
        policy,
        ttl,
        scopes,
        ..
    }) = again(then, &draft)
    else {
        return draft;
    };
    line["event"] = "intent".into();
    line["policy"] = policy.into();
    line["scopes"] = scopes.into();
    line["ttl"] = crate::yaml::duration::print(ttl).into();
    // As earlier versions wrote it.
    if random.is(4) {
        let members = line.as_object_mut().unwrap();
        members.remove("asked");
        members.remove("ttl");
        let seconds = i64::try_from(ttl.as_secs()).unwrap();
        let end = time.plus(seconds - i64::try_from(random.below(3)).unwrap());
        line["expires_at"] = end.to_string().into();
    }
    read(&line)
}

/// How many uses were kept, and how many changes were suggested.
fn check(seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let earlier = load(&policies(&mut random));
    let text = policies(&mut random);
    let set = load(&text);
    let mut decisions = Vec::new();
    for _ in 0..random.below(30) {
        let then = if random.is(3) { &earlier } else { &set };
        decisions.push(decision(&mut random, then));
    }
    let mut needed = Needed::of(&set);
    for decision in &decisions {
        needed.add(decision);
    }
    let cutoff = END.plus(-i64::try_from(random.below(200)).unwrap() * DAY);
    let narrowing = needed.usage.narrow(cutoff, |_| None);
    assert!(narrowing.left.is_empty(), "{:?}\n{text}", narrowing.left);
    let [file] = narrowing.files.as_slice() else {
        assert!(narrowing.files.is_empty());
        return (0, 0);
    };
    let after = apply(file.source.text(), &file.edits);
    let narrow = load(&after);
    let diff = Diff::of(&set, &narrow, END, &[]);
    let shown = || format!("seed {seed}\n{text}\n{after}");
    assert!(!diff.is_wider() && !diff.is_undecided(), "{}", shown());
    let mut kept = 0;
    for decision in decisions.iter().filter(|one| one.time >= cutoff) {
        let Ok(Now::Granted {
            ttl,
            scopes,
            is_open,
            ..
        }) = again(&set, decision)
        else {
            continue;
        };
        let now = again(&narrow, decision).unwrap();
        let Now::Granted {
            ttl: life,
            scopes: some,
            ..
        } = now
        else {
            panic!("{now}\n{decision:?}\n{}", shown());
        };
        let RecordedOutcome::Granted { ttl: had, .. } = &decision.outcome else {
            continue;
        };
        let needs = if is_open { ttl.min(*had) } else { ttl };
        assert!(
            life >= needs,
            "{life:?} {needs:?} {decision:?}\n{}",
            shown()
        );
        if !is_open {
            assert_eq!(scopes, some, "{decision:?}\n{}", shown());
        }
        kept += 1;
    }
    (kept, narrowing.changes.len())
}

/// T-319, T-320
#[test]
fn a_suggestion_takes_nothing_from_a_job_of_the_log() {
    let found: Vec<_> = (0..150).map(check).collect();
    let kept: usize = found.iter().map(|(kept, _)| kept).sum();
    let changes: usize = found.iter().map(|(_, changes)| changes).sum();
    assert!(kept > 150 && changes > 300, "{kept} {changes}");
}

/// T-319, T-320
#[test]
#[ignore = "minutes: part of make test-long"]
fn long_a_suggestion_takes_nothing_from_a_job_of_the_log() {
    for seed in 1_000..6_000 {
        check(seed);
    }
}

/// T-319
#[test]
fn what_is_not_proven_narrower_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let policies = |ttl: &str, refs: &str| {
        format!(
            "policies:\n  - name: p\n    issuer: github\n    when: {{ repository: acme/a, ref: {refs} }}\n    grant: [ {{ credential: plain, ttl: {ttl} }} ]\n"
        )
    };
    let was = policies("5m", "[refs/heads/main, refs/heads/dev]");
    file("root.yaml", ROOT);
    file("more.yaml", &was);
    let set = PolicySet::load(dir.path()).unwrap().set;
    let prove = |text: &str| {
        let texts = vec![("more.yaml".to_owned(), text.to_owned())];
        Suggestion::default().prove(dir.path(), &set, texts)
    };
    prove(&policies("5m", "refs/heads/dev")).unwrap();
    prove(&policies("4m", "[refs/heads/main, refs/heads/dev]")).unwrap();
    for (text, why) in [
        (
            policies("6m", "refs/heads/dev"),
            "calls `plain` wider and narrower",
        ),
        (
            policies("5m", "{ under: refs/heads }"),
            "calls `plain` wider",
        ),
        (
            was.replace("credential: plain", "credential: nothing"),
            "do not load",
        ),
        (was.replace("name: p\n", "name: [\n"), "do not load"),
    ] {
        let error = prove(&text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let texts = vec![(
        "root.yaml".to_owned(),
        ROOT.replace("acme, owner", "other, owner"),
    )];
    let refused = Suggestion::default().prove(dir.path(), &set, texts);
    assert!(refused.is_err(), "an issuer is not the same");
}
