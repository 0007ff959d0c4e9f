//! Policy files: reading, compiling and looking for mistakes ends well or in sentences.

use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::policy::{Ask, PolicySet};
use hallpass::token::json::{self, Limits};
use hallpass::yaml::Diagnostics;

pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    for files in [
        &[("a.yaml", text)][..],
        &[("root.yaml", ROOT), ("p.yaml", text)],
    ] {
        match PolicySet::from_texts(files) {
            Ok(loaded) => {
                is_presentable(&loaded.findings, text);
                if files.len() > 1 {
                    strangers_get_nothing(&loaded.set);
                    printing_changes_nothing(&loaded.set);
                }
            }
            Err(problems) => {
                assert!(problems.has_errors());
                is_presentable(&problems, text);
            }
        }
    }
}

/// Every finding points into the text and can be shown on a terminal.
fn is_presentable(found: &Diagnostics, text: &str) {
    let lines = text.matches('\n').count() + 1;
    for finding in found.iter() {
        let (line, column) = finding.place.position();
        let most = lines.max(ROOT.matches('\n').count() + 1);
        assert!((1..=most).contains(&line) && column >= 1, "{line}:{column}");
        assert!(!finding.message.is_empty());
    }
    let shown = found.render(false);
    let odd = |character: char| character != '\n' && character.is_control();
    assert!(!shown.contains(odd), "{shown:?}");
    assert!(!shown.contains(['\u{202a}', '\u{202e}', '\u{2066}', '\u{200b}']));
    let json = found.to_json();
    assert_eq!(json.as_array().map(Vec::len), Some(found.iter().count()));
}

/// No policy reaches past the tenants of an issuer.
fn strangers_get_nothing(set: &PolicySet) {
    let stranger = r#"{"repository":"evil/x","repository_id":"6","repository_owner":"evil",
        "repository_owner_id":"666","event_name":"push","ref":"refs/heads/main"}"#;
    let claims = json::parse_object(stranger.as_bytes(), &Limits::default()).expect("JSON");
    let reader = set
        .readers()
        .iter()
        .find(|reader| reader.issuer.name == "github");
    let reader = reader.expect("the issuer of the first file");
    let facts = reader.facts(claims).expect("facts of a stranger");
    for credential in set.credentials() {
        let ask = Ask {
            credential: credential.name.clone(),
            scopes: None,
            ttl: Some(Duration::from_secs(1)),
            ..Ask::default()
        };
        let decision = set.explain(&facts, &ask, Timestamp::from_unix(1_790_000_000));
        assert!(!decision.is_permitted(), "{}", credential.name);
    }
}

/// A policy of the second file, printed and read again, is the same. Issuers and credentials have no
/// printed form, so a file that brings its own is left alone.
fn printing_changes_nothing(set: &PolicySet) {
    if set.readers().len() > 2 || set.credentials().count() > 2 {
        return;
    }
    // Each alone: one that names two issuers became two of one name.
    for policy in set.policies() {
        let text = format!("policies:\n{}", policy.to_yaml());
        let again = PolicySet::from_texts(&[("root.yaml", ROOT), ("p.yaml", &text)])
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(again.set.policies(), std::slice::from_ref(policy), "{text}");
    }
}

const ROOT: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "1" } ] }
  plain: { provider: generic, url: https://ci.acme.dev, facts: { repository: "/repository", event: "/event" } }
credentials:
  a: { kind: jwt, audience: https://a.acme.dev, scopes: [x, z], max_ttl: 10m, owner: o, purpose: p, class: low }
  b: { kind: jwt, audience: https://b.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: critical }
"#;
