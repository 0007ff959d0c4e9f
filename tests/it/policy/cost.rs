//! What it costs to say where thousands of findings are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hallpass::policy::PolicySet;
use hallpass::yaml::Severity;

use super::{folder, hallpass};

const ROOT: &str = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
"#;

/// Policies with one warning each, one a line or all in one line.
fn policies(count: usize, between: &str) -> String {
    let mut text = "policies: [\n".to_owned();
    for number in 0..count {
        write!(
            text,
            "  {{ name: p{number}, issuer: github, when: {{ repository: acme/app, repository_id: \"7\", environment: e{number} }}, grant: [ {{ credential: app, ttl: 5m }} ] }},{between}"
        )
        .unwrap();
    }
    text + "  ]\n"
}

/// T-132: a file is read once for all its lines; a position then takes a look at a few bytes.
#[test]
fn positions_of_thousands_of_findings_read_a_file_once() {
    for between in ["\n", " "] {
        let text = policies(3_000, between);
        let loaded = PolicySet::from_texts(&[("root.yaml", ROOT), ("app.yaml", &text)]).unwrap();
        let findings = loaded.findings;
        assert_eq!(findings.count(Severity::Warning), 3_000);
        let source = findings.iter().next().unwrap().place.source();
        assert_eq!(source.scanned(), 0, "nothing is shown yet");
        let shown = findings.render(false);
        let json = findings.to_json();
        assert_eq!(json.as_array().unwrap().len(), 3_000);
        // Three positions of each: its line, its place, and in JSON.
        let most = text.len() + 3_000 * 3 * 512;
        assert!(source.scanned() <= u64::try_from(most).unwrap());
        assert!(shown.len() < 3_000 * 2_500, "{}", shown.len());
    }
}

/// T-132: the first thousand of a rule for people, and all of them for programs.
#[test]
fn thousands_of_findings_are_shown_in_part_and_counted_whole() {
    let text = policies(2_000, "\n");
    let root = format!(
        "{ROOT}  spare: {{ kind: jwt, audience: https://spare.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: low }}\n"
    );
    let dir = folder(&[("root.yaml", &root), ("app.yaml", &text)]);
    let output = hallpass(&["policy", "check", "."], dir.path());
    let said = String::from_utf8(output.stdout).unwrap();
    let last: Vec<_> = said.lines().rev().take(2).collect();
    assert!(last[0].ends_with("2001 warnings"), "{last:?}");
    assert_eq!(
        last[1],
        "1000 more of rule `environment-without-ref` are not shown; `--output json` lists all"
    );
    for (line, is_shown) in [(2, true), (1_001, true), (1_002, false), (2_001, false)] {
        let place = format!("app.yaml:{line}:");
        assert_eq!(said.contains(&place), is_shown, "{line}");
    }
    assert!(said.contains("[unused-credential]"));
    let output = hallpass(&["policy", "check", ".", "--output", "json"], dir.path());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["findings"].as_array().unwrap().len(), 2_001);
    // Errors all come together.
    let text = text.replace("credential: app", "credential: nap");
    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", &text)]);
    let output = hallpass(&["policy", "check", "."], dir.path());
    let said = String::from_utf8(output.stdout).unwrap();
    for line in [2, 1_002, 2_001] {
        assert!(said.contains(&format!("app.yaml:{line}:")), "{line}");
    }
}

/// The root file, and so many others with 5,000 policies each.
fn files_of_policies(files: usize) -> Vec<(String, String)> {
    let text = policies(5_000, "\n");
    let mut all = vec![("root.yaml".to_owned(), ROOT.to_owned())];
    all.extend((0..files).map(|file| {
        let text = text.replace("name: p", &format!("name: p{file}-"));
        (format!("app{file}.yaml"), text)
    }));
    all
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    let files = files.iter();
    files
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect()
}

/// T-132: twice the policies are twice the bytes that are looked at, up to 100,000 with a finding each,
/// and what is shown of them stays the same.
#[test]
#[ignore = "takes a minute: `make test-long`"]
fn a_long_check_of_100_000_policies_is_linear_and_its_text_bounded() {
    let looked_at = |files: usize| {
        let texts = files_of_policies(files);
        let loaded = PolicySet::from_texts(&borrowed(&texts)).unwrap();
        let findings = &loaded.findings;
        assert_eq!(findings.count(Severity::Warning), files * 5_000);
        assert!(findings.render(false).len() > files);
        let places = findings.iter().map(|one| one.place.source());
        let by_file: BTreeMap<_, _> = places.map(|one| (one.name(), one.scanned())).collect();
        assert_eq!(by_file.len(), files);
        by_file.values().sum::<u64>()
    };
    let (half, whole) = (looked_at(10), looked_at(20));
    assert!(whole <= half * 2 + half / 50, "{half} then {whole}");
    let dir = folder(&borrowed(&files_of_policies(20)));
    let output = hallpass(&["policy", "check", "."], dir.path());
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.len() < 1 << 20, "{}", output.stdout.len());
}
