//! The search and the decision against other solvers: each reads the questions that the export wrote.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::random::{Random, policies};
use super::worlds::{Topic, WORLDS};
use super::*;
use crate::policy::proof::export::{Compared, Direction, Question as Exported, Status};
use crate::policy::proof::render::set;
use crate::token::json::{Limits, parse_object};

/// T-300
#[test]
fn z3_answers_like_the_search() {
    agrees(3, 50, 400_000);
}

/// T-300
#[test]
#[ignore = "takes minutes: make test-long"]
fn long_z3_answers_like_the_search() {
    agrees(4, 500, 2_000_000);
}

/// `limit`: what z3 may do for one question, in its own count, so that a busy machine changes nothing.
fn agrees(seed: u64, pairs: usize, limit: u32) {
    let mut z3 = Z3::start(limit);
    let mut tally = Tally::default();
    for_each_pair(seed, pairs, |about, old, new| {
        tally.check(&mut z3, old, new, about);
    });
    tally.finish(pairs);
}

fn for_each_pair(seed: u64, pairs: usize, mut check: impl FnMut(&str, &PolicySet, &PolicySet)) {
    let mut random = Random(seed);
    for number in 0..pairs {
        let world = &WORLDS[number % WORLDS.len()];
        let mut topics: Vec<&Topic> = world.topics.iter().take(2).collect();
        let said: Vec<&Topic> = world.topics[2..]
            .iter()
            .filter(|one| one.is_of_claims())
            .collect();
        topics.extend((0..2).map(|_| *random.pick(&said)));
        let (old, new) = loop {
            let texts = [(), ()].map(|()| policies(&mut random, world, &topics));
            let [old, new] = texts.each_ref().map(|text| load(&[("root.yaml", text)]));
            if let (Ok(old), Ok(new)) = (old, new) {
                break ((texts[0].clone(), old), (texts[1].clone(), new));
            }
        };
        let about = format!(
            "pair {number} of seed {seed}:\nOLD\n{}\nNEW\n{}",
            old.0, new.0
        );
        check(&about, &old.1, &new.1);
    }
}

fn load(texts: &[(&str, &str)]) -> Result<PolicySet, String> {
    let loaded = PolicySet::from_texts(texts).map(|loaded| loaded.set);
    loaded.map_err(|errors| errors.to_string())
}

/// What was asked and answered.
#[derive(Debug, Default)]
struct Tally {
    sat: usize,
    unsat: usize,
    /// The solver came to no end.
    unknown: usize,
    /// Models that were decided as jobs.
    models: usize,
}

impl Tally {
    fn check(&mut self, z3: &mut Z3, old: &PolicySet, new: &PolicySet, about: &str) {
        for question in exported(old, new) {
            let answer = z3.answer(&question.text);
            let text = &question.text;
            match (&question.status, answer.as_str()) {
                (Status::Sat, "sat") => self.sat += 1,
                (Status::Unsat, "unsat") => self.unsat += 1,
                (Status::Sat | Status::Unsat, "unknown") => self.unknown += 1,
                // A condition that is left open may be true or false there.
                (Status::Unsat, "sat") if !question.unsaid.is_empty() => continue,
                (status, answer) => panic!("{status:?}, but z3 says {answer}:\n{text}\n{about}"),
            }
            if answer == "sat" && question.unsaid.is_empty() {
                let model = z3.model(&question.text);
                let (granting, other) = match question.direction {
                    Direction::Gained => (new, old),
                    Direction::Lost => (old, new),
                };
                if let Some((claims, ask, at)) = job(&model, &question, granting) {
                    let about = format!("{claims}\n{text}\n{about}");
                    decide(granting, other, &claims, &ask, at, &about);
                    self.models += 1;
                }
            }
        }
    }

    fn finish(&self, pairs: usize) {
        assert!(self.sat > pairs && self.unsat > pairs, "{self:?}");
        assert!(self.unknown * 6 <= self.sat + self.unsat, "{self:?}");
        assert!(self.models * 10 >= self.sat * 9, "{self:?}");
    }
}

fn exported(old: &PolicySet, new: &PolicySet) -> Vec<Exported> {
    let mut questions = Vec::new();
    let compared = Compared { old, new, at: NOW };
    let was = old.credential("api").map(|_| "api");
    let done = compared.questions(was, "api", &mut |question| {
        questions.push(question);
        Ok::<_, ()>(())
    });
    done.unwrap();
    questions
}

/// The job and the request of a model. `None`: no token of a few lines is like it.
fn job(
    model: &Model,
    question: &Exported,
    granting: &PolicySet,
) -> Option<(Value, Ask, Timestamp)> {
    if model.get("address-is-known").is_some_and(|is| is == "true") {
        return None;
    }
    let url = granting.readers()[0].issuer.url.as_str();
    let mut claims = json!({ "iss": url });
    let kinds = model.iter().filter_map(|(constant, kind)| {
        let pointer = constant.strip_prefix("kind ")?;
        Some((pointer, kind.as_str()))
    });
    for (pointer, kind) in kinds {
        let of = |what: &str| model.get(&format!("{what} {pointer}"));
        let has = format!("has {pointer} ");
        let named = model.iter().filter_map(|(constant, is)| {
            let entry = constant.strip_prefix(&has)?;
            (is == "true").then_some(entry)
        });
        let value = match kind {
            "absent" => continue,
            "truth" => json!(of("truth")? == "true"),
            "text" => json!(of("text")?),
            "number" => match of("number") {
                Some(number) => json!(number.parse::<i64>().ok()?),
                None => json!(of("text")?.parse::<i64>().unwrap_or(1)),
            },
            "list" => match of("listed").map(String::as_str) {
                Some("false") => json!(["\u{e4}"]),
                _ => json!(named.chain(["zz"]).collect::<Vec<_>>()),
            },
            "object" => json!({}),
            "foreign" => {
                let listed = of("listed").is_some_and(|is| is == "true");
                let entries = named.chain(listed.then_some("zz")).chain(["\u{e4}"]);
                json!(entries.collect::<Vec<_>>().join(","))
            }
            other => panic!("{other}"),
        };
        // An object comes before its members.
        set(&mut claims, pointer, value)?;
    }
    let scopes = model.iter().filter_map(|(constant, is)| {
        let scope = constant.strip_prefix("scope ")?;
        (is == "true").then(|| scope.to_owned())
    });
    let ask = Ask {
        credential: question.credential.clone(),
        scopes: Some(scopes.collect()),
        ttl: Some(Duration::from_secs(model["life"].parse().unwrap())),
        inputs: Inputs::new(),
        seal_to: None,
    };
    let at = Timestamp::from_unix(model["time"].parse().ok()?);
    Some((claims, ask, at))
}

/// The decision itself agrees with the model.
fn decide(
    granting: &PolicySet,
    other: &PolicySet,
    claims: &Value,
    ask: &Ask,
    at: Timestamp,
    about: &str,
) {
    let permits = |set: &PolicySet| {
        let object = parse_object(claims.to_string().as_bytes(), &Limits::default()).unwrap();
        let facts = set.readers()[0].facts(object);
        facts.map(|facts| set.permits(&facts, ask, at))
    };
    assert!(permits(granting).unwrap(), "not permitted: {about}");
    assert!(!permits(other).unwrap_or_default(), "not refused: {about}");
}

/// The values of constants, by name.
type Model = BTreeMap<String, String>;

/// A process that answers one question after the other.
struct Z3 {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// What it may do for one question.
    limit: u32,
}

impl Z3 {
    fn start(limit: u32) -> Self {
        let program = solvers().join("z3");
        let mut child = Command::new(&program)
            .arg("-in")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program:?}: {error}; run deploy/dev/smt-solvers.sh"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
            limit,
        }
    }

    fn ask(&mut self, text: &str) -> String {
        let mut input = self.input.as_ref().unwrap();
        writeln!(input, "{text}\n(echo \"{END}\")").unwrap();
        let mut answer = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "{answer}");
            if line.trim_end() == END {
                return answer;
            }
            answer.push_str(&line);
        }
    }

    /// `sat`, `unsat` or `unknown`; what it says otherwise.
    fn answer(&mut self, text: &str) -> String {
        let text = text.replace("(get-model)", "");
        let limit = self.limit;
        let said = self.ask(&format!("(reset)\n(set-option :rlimit {limit})\n{text}"));
        said.trim().to_owned()
    }

    /// The values that it found for the constants of the last question.
    fn model(&mut self, text: &str) -> Model {
        let declared = text.lines().filter_map(|line| {
            let (constant, sort) = line.strip_prefix("(declare-const ")?.rsplit_once(' ')?;
            let is_read = ["Kind)", "String)", "Bool)", "Int)"].contains(&sort);
            is_read.then(|| constant.trim_matches('|').to_owned())
        });
        let declared: Vec<String> = declared.collect();
        let mut asked = String::new();
        for constant in &declared {
            writeln!(asked, "(get-value (|{constant}|))").unwrap();
        }
        let said = self.ask(&asked);
        let values = said.lines().map(value);
        declared.into_iter().zip(values).collect()
    }
}

impl Drop for Z3 {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

/// The value in `((|name| value))`.
fn value(line: &str) -> String {
    let inner = line
        .strip_prefix("((")
        .and_then(|line| line.strip_suffix("))"));
    let inner = inner.unwrap_or_else(|| panic!("{line}"));
    let after = match inner.strip_prefix('|') {
        Some(quoted) => quoted.split_once("| ").unwrap().1,
        None => inner.split_once(' ').unwrap().1,
    };
    if let Some(number) = after.strip_prefix("(- ") {
        return format!("-{}", number.trim_end_matches(')'));
    }
    let Some(text) = after
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    else {
        return after.to_owned();
    };
    let mut plain = text.replace("\"\"", "\"");
    while let Some((before, rest)) = plain.split_once("\\u{") {
        let (code, rest) = rest.split_once('}').unwrap();
        let code = u32::from_str_radix(code, 16).unwrap();
        // The only one that texts of the domain have.
        assert_eq!(code, 0x5c, "{line}");
        plain = format!("{before}\u{1}{rest}");
    }
    plain.replace('\u{1}', "\\")
}

fn solvers() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/smt-solvers/bin")
}

const END: &str = "end of the answer";

/// A case: an issuer, the lines before and after, and what a solver must say of what jobs gain.
type Case = (&'static str, &'static str, &'static str, &'static str);

const GITHUB: &str = "provider: github, url: https://ghe.acme.dev/_services/token, properties: { tier: text, team: list, pci: boolean }";
const GITLAB: &str = "provider: gitlab, url: https://gitlab.acme.dev";
const LISTS: &str = "provider: generic, url: https://ci.acme.dev, facts: { repository: /repo, actor: /who }, types: { actor: list }";
const PEOPLE: &str = "provider: people, url: https://id.acme.dev, client_id: hallpass";

const CASES: &[Case] = &[
    (
        GITHUB,
        "source_ip: 10.0.0.0/8",
        "source_ip: 10.0.0.0/7",
        "sat",
    ),
    (
        GITHUB,
        "source_ip: 10.0.0.0/7",
        "source_ip: 10.0.0.0/8",
        "unsat",
    ),
    (GITHUB, "source_ip: fd00::/9", "source_ip: fd00::/8", "sat"),
    (
        GITHUB,
        "source_ip: fd00::/8",
        "source_ip: fd00::/9",
        "unsat",
    ),
    (
        GITHUB,
        "source_ip: [10.0.0.0/9, 10.128.0.0/9]",
        "source_ip: 10.0.0.0/8",
        "unsat",
    ),
    (
        GITHUB,
        "source_ip: { not: 10.0.0.0/9 }",
        "source_ip: 10.0.0.0/8",
        "sat",
    ),
    (
        GITHUB,
        "property: { team: { member: a } }",
        "property: { team: { member: b } }",
        "sat",
    ),
    (
        GITHUB,
        "property: { team: { member: a } }",
        "property: { team: { member: b } }, claim: { /repo_property_team: \"a,b\" }",
        "unsat",
    ),
    (
        GITHUB,
        "property: { team: { member: a } }",
        "property: { team: { member: b } }, claim: { /repo_property_team: \"aa,b\" }",
        "sat",
    ),
    (
        GITHUB,
        "property: { pci: false, tier: [a, b] }",
        "property: { pci: false, tier: { not: [a, c] } }",
        "sat",
    ),
    (
        GITHUB,
        "property: { pci: { present: true } }",
        "property: { pci: true }",
        "unsat",
    ),
    (
        LISTS,
        "actor: [ { member: a }, { member: b } ]",
        "actor: { member: a }",
        "unsat",
    ),
    (
        LISTS,
        "actor: { member: a }",
        "actor: [ { member: a }, { member: b } ]",
        "sat",
    ),
    (
        LISTS,
        "actor: { present: true }",
        "actor: { not: { member: a } }",
        "unsat",
    ),
    (
        LISTS,
        "actor: { not: { member: a } }",
        "actor: { present: true }",
        "sat",
    ),
    (
        LISTS,
        "actor: { present: true }",
        "claim: { /who: { present: true } }",
        "sat",
    ),
    (
        GITHUB,
        r#"environment: "a\"b\\\\u{41}c;|d""#,
        r#"environment: { under: "a\"b\\\\u{41}c;|d" }"#,
        "sat",
    ),
    (
        GITHUB,
        r#"environment: { under: "a\"b\\\\u{41}c;|d" }"#,
        r#"environment: "a\"b\\\\u{41}c;|d""#,
        "unsat",
    ),
    (
        GITHUB,
        r#"claim: { "/a|b": x }"#,
        r#"claim: { "/a|b": x, "/c d\\": true, "/c d": true }"#,
        "unsat",
    ),
    (
        GITHUB,
        r#"claim: { "/a|b": x, "/c d\\": true, "/c d": false }"#,
        r#"claim: { "/a|b": x }"#,
        "sat",
    ),
    (
        GITHUB,
        "ref: { present: true }",
        "ref_type: { present: true }, claim: { /ref_type: { present: false } }",
        "unsat",
    ),
    (
        GITLAB,
        "ref: { present: true }",
        "ref_type: branch, claim: { /ref: main }",
        "unsat",
    ),
    (
        GITLAB,
        "ref: { glob: \"refs/heads/*\" }",
        "ref_type: branch, claim: { /ref: a/b }",
        "sat",
    ),
    (
        PEOPLE,
        "trigger: person, signed_in: { within: 1h }",
        "trigger: person, signed_in: { within: 2h }",
        "sat",
    ),
    (
        PEOPLE,
        "trigger: person, signed_in: { within: 2h }",
        "trigger: person, signed_in: { within: 1h }",
        "unsat",
    ),
    (
        PEOPLE,
        "trigger: person, mfa: { present: true }",
        "trigger: person, mfa: true",
        "unsat",
    ),
    (
        PEOPLE,
        "trigger: person, mfa: true",
        "trigger: person, mfa: { present: true }",
        "sat",
    ),
    (
        PEOPLE,
        "trigger: person, email: { present: false }",
        "trigger: person, claim: { /email: a@acme.dev, /email_verified: false }",
        "unsat",
    ),
    (
        PEOPLE,
        "trigger: person, email: a@acme.dev",
        "trigger: person, claim: { /email: { present: true }, /email_verified: true }",
        "sat",
    ),
    (
        PEOPLE,
        "trigger: person, groups: { member: a }",
        "trigger: person, groups: [ { member: a }, { member: \"b,c\" } ]",
        "sat",
    ),
    (
        PEOPLE,
        "trigger: person, user_id: a",
        "groups: { member: a }",
        "unsat",
    ),
];

fn set_of(issuer: &str, when: &str) -> PolicySet {
    let text = format!(
        "issuers:\n  ci: {{ {issuer} }}\ncredentials:\n  api: {{ kind: jwt, audience: https://api.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: low }}\npolicies:\n  - {{ name: p, issuer: ci, when: {{ {when} }}, grant: [ {{ credential: api, ttl: 5m }} ] }}\n"
    );
    load(&[("root.yaml", &text)]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// T-300: each type of fact, and texts that mean something in SMT-LIB.
#[test]
fn z3_knows_what_jobs_gain_by_each_type_of_fact() {
    let mut z3 = Z3::start(10_000_000);
    for (issuer, before, after, expected) in CASES {
        let (old, new) = (set_of(issuer, before), set_of(issuer, after));
        for question in exported(&old, &new) {
            let text = &question.text;
            let about = format!("{before} to {after}");
            let answer = z3.answer(text);
            assert!(text.is_ascii(), "{about}");
            assert!(question.unsaid.is_empty(), "{about}: {text}");
            // Only what jobs gain must be decided.
            let may_be_open = answer == "unknown" && question.direction == Direction::Lost;
            if !may_be_open && !matches!(question.status, Status::Unknown(_)) {
                assert_eq!(question.status.name(), answer, "{about}: {text}");
            }
            let (granting, other) = match question.direction {
                Direction::Gained => (&new, &old),
                Direction::Lost => (&old, &new),
            };
            if question.direction == Direction::Gained {
                assert_eq!(&answer, expected, "{about}: {text}");
            }
            if answer == "sat"
                && let Some((claims, ask, at)) = job(&z3.model(text), &question, granting)
            {
                decide(
                    granting,
                    other,
                    &claims,
                    &ask,
                    at,
                    &format!("{claims}\n{about}\n{text}"),
                );
            }
        }
    }
}

/// T-302
#[test]
fn a_condition_without_a_term_is_left_open() {
    let mut z3 = Z3::start(10_000_000);
    let zone = "zone: Europe/Berlin\n";
    let policies = |when: &str| {
        let text = format!(
            "{zone}issuers:\n  ci: {{ {GITHUB} }}\ncredentials:\n  api: {{ kind: jwt, audience: https://api.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: low }}\npolicies:\n  - {{ name: p, issuer: ci, when: {{ {when} }}, grant: [ {{ credential: api, ttl: 5m }} ] }}\n"
        );
        load(&[("root.yaml", &text)]).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let element = "claim: { /groups/0: a }";
    let (list, more) = (LISTS.replace("/who", "/groups"), "repository: a, ");
    let lists = |more: &str| set_of(&list, &format!("{more}{element}"));
    let early = "time: { hours: \"08:00-12:00\" }";
    let timed = |more: &str| policies(&format!("{more}{early}"));
    for (old, new) in [(timed(""), timed(more)), (lists(""), lists(more))] {
        let questions = exported(&old, &new);
        // The same condition is one constant, so the other lines decide: of what jobs gain, and lose.
        let answers: Vec<String> = questions.iter().map(|one| z3.answer(&one.text)).collect();
        assert_eq!(answers, ["unsat", "sat"]);
        for question in questions {
            assert_eq!(question.unsaid.len(), 1, "{}", question.text);
            assert!(
                question
                    .text
                    .contains(&format!("; {}\n", question.unsaid[0]))
            );
            assert!(question.text.contains("sat is none"), "{}", question.text);
        }
    }
    let late = policies("time: { hours: \"12:00-18:00\" }");
    for question in exported(&timed(""), &late) {
        assert_eq!(question.unsaid.len(), 2, "{}", question.text);
        assert_eq!(z3.answer(&question.text), "sat", "{}", question.text);
    }
}

/// T-300
#[test]
#[ignore = "takes minutes: make test-long"]
fn long_cvc5_answers_like_the_search() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for_each_pair(5, 60, |_, old, new| {
        for question in exported(old, new) {
            let path = folder.path().join(format!("{}.smt2", expected.len()));
            std::fs::write(&path, &question.text).unwrap();
            expected.push((path, question.status.name()));
        }
    });
    let output = Command::new(solvers().join("python"))
        .args(["-c", ASK_CVC5])
        .args(expected.iter().map(|(path, _)| path))
        .output()
        .unwrap_or_else(|error| panic!("{error}; run deploy/dev/smt-solvers.sh"));
    assert!(output.status.success(), "{output:?}");
    let answers = String::from_utf8(output.stdout).unwrap();
    let mut unknown = 0;
    for (answer, (path, expected)) in answers.lines().zip(&expected) {
        if answer == "unknown" {
            unknown += 1;
            continue;
        }
        let text = || std::fs::read_to_string(path).unwrap();
        assert_eq!(answer, *expected, "{}", text());
    }
    assert_eq!(answers.lines().count(), expected.len());
    assert!(
        unknown * 10 <= expected.len(),
        "{unknown} of {}",
        expected.len()
    );
}

/// Prints the answer to each file.
const ASK_CVC5: &str = r#"
import sys, cvc5
for path in sys.argv[1:]:
    manager = cvc5.TermManager()
    solver = cvc5.Solver(manager)
    solver.setOption("tlimit-per", "2000")
    parser = cvc5.InputParser(solver)
    parser.setFileInput(cvc5.InputLanguage.SMT_LIB_2_6, path)
    symbols = parser.getSymbolManager()
    while True:
        command = parser.nextCommand()
        if command.isNull():
            break
        said = command.invoke(solver, symbols)
        if command.getCommandName() == "check-sat":
            print(said.strip(), flush=True)
            break
"#;
