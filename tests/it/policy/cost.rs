//! What it costs to say where thousands of findings are.

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

#[test]
fn thousands_of_findings_are_shown_each_with_its_place() {
    let text = policies(2_000, "\n");
    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", &text)]);
    let output = hallpass(&["policy", "check", "."], dir.path());
    let said = String::from_utf8(output.stdout).unwrap();
    let tally = said.lines().last().unwrap();
    assert!(tally.ends_with("2000 warnings"), "{tally}");
    for line in [2, 1_000, 2_001] {
        assert!(said.contains(&format!("app.yaml:{line}:")), "{line}");
    }
}
