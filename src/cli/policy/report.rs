//! Findings in the formats of other programs: SARIF 2.1.0, annotations of GitHub Actions, the code
//! quality report of GitLab. Not: what is found.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::length_prefix;
use crate::policy::lint;
use crate::text::{escape_up_to, url_path};
use crate::yaml::diagnostic::{Diagnostic, Diagnostics, Severity};

/// A SARIF 2.1.0 log with one run.
pub(super) fn sarif(found: &Diagnostics) -> Value {
    let ids: BTreeSet<&str> = found.iter().map(|one| one.rule).collect();
    let index: BTreeMap<&str, usize> = ids.iter().zip(0..).map(|(id, at)| (*id, at)).collect();
    let rules: Vec<Value> = ids.iter().map(|id| sarif_rule(id)).collect();
    let results = with_fingerprints(found).map(|(one, fingerprint)| {
        let location = json!({ "artifactLocation": { "uri": uri(one.place.file()) } });
        let mut location = json!({ "physicalLocation": location });
        if let (Some(region), Some(physical)) =
            (region(one), location.pointer_mut("/physicalLocation"))
            && let Some(members) = physical.as_object_mut()
        {
            members.insert("region".to_owned(), region);
        }
        json!({
            "ruleId": one.rule,
            "ruleIndex": index.get(one.rule),
            "level": one.severity.name(),
            "message": { "text": sentence(one) },
            "locations": [location],
            "partialFingerprints": { "hallpassLine/v1": fingerprint },
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "hallpass",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

/// A rule of the list, or an error of the reader, which has no entry there.
fn sarif_rule(id: &str) -> Value {
    match lint::find(id) {
        Some(rule) => json!({
            "id": rule.id,
            "shortDescription": { "text": rule.summary },
            "fullDescription": { "text": rule.why },
            "help": { "text": rule.why },
            "defaultConfiguration": { "level": rule.severity.name() },
        }),
        None => json!({
            "id": id,
            "shortDescription": { "text": format!("a policy file does not load: {id}") },
            "defaultConfiguration": { "level": Severity::Error.name() },
        }),
    }
}

fn region(one: &Diagnostic) -> Option<Value> {
    let ((line, column), (last, end)) = (one.place.position(), one.place.end());
    let has_text = !one.place.source().text().is_empty();
    has_text.then(
        || json!({ "startLine": line, "startColumn": column, "endLine": last, "endColumn": end }),
    )
}

/// A path as a relative reference, or as a `file` URL if it is absolute.
fn uri(path: &str) -> String {
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    format!("{scheme}{}", url_path(relative(path)))
}

/// A path without the `./` in front, which CI systems do not match with a path of the repository.
fn relative(path: &str) -> &str {
    let mut path = path;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    path
}

/// One workflow command of GitHub Actions per finding.
pub(super) fn github(found: &Diagnostics) -> impl Iterator<Item = String> {
    found.iter().map(|one| {
        let command = match one.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let mut text = format!("::{command} file={}", property(relative(one.place.file())));
        if !one.place.source().text().is_empty() {
            let ((line, column), (last, end)) = (one.place.position(), one.place.end());
            let lines = format!(",line={line},endLine={last},col={column}");
            text.push_str(&lines);
            // GitHub refuses columns of a finding that has more than one line.
            if line == last {
                text.extend([",endColumn=", &end.to_string()]);
            }
        }
        text.extend([",title=", &property(one.rule), "::", &data(&sentence(one))]);
        text
    })
}

/// The text of a workflow command. Only printable ASCII is left (T-271).
fn data(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| escape_up_to(line, LONGEST).replace('%', "%25"))
        .collect();
    lines.join("%0A")
}

/// A property of a workflow command, which also ends at `:` and `,`.
fn property(text: &str) -> String {
    let text = escape_up_to(text, LONGEST).replace('%', "%25");
    text.replace(':', "%3A").replace(',', "%2C")
}

/// A report of GitLab's code quality.
pub(super) fn gitlab(found: &Diagnostics) -> Value {
    let entries = with_fingerprints(found).map(|(one, fingerprint)| {
        let severity = match one.severity {
            Severity::Error => "critical",
            Severity::Warning => "minor",
            Severity::Note => "info",
        };
        json!({
            "description": sentence(one),
            "check_name": one.rule,
            "fingerprint": fingerprint,
            "severity": severity,
            "location": {
                "path": relative(one.place.file()),
                "lines": { "begin": one.place.position().0 },
            },
        })
    });
    entries.collect()
}

fn sentence(one: &Diagnostic) -> String {
    match &one.help {
        Some(help) => format!("{}\nhelp: {help}", one.message),
        None => one.message.clone(),
    }
}

/// Each finding with a fingerprint that stays while lines are added above it: of its rule, its file
/// and the text of its line, and of its number among equal ones.
fn with_fingerprints(found: &Diagnostics) -> impl Iterator<Item = (&Diagnostic, String)> {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    found.iter().map(move |one| {
        let place = &one.place;
        let line = place.line().unwrap_or(&one.message).trim();
        let file = relative(place.file());
        let digest = |parts: [&str; 4]| {
            let mut context = digest::Context::new(&digest::SHA256);
            length_prefix::update_with(parts, |bytes| context.update(bytes));
            HEXLOWER.encode(context.finish().as_ref())
        };
        let count = seen.entry(digest([one.rule, file, line, ""])).or_default();
        *count = count.saturating_add(1);
        let number = count.to_string();
        (one, digest([one.rule, file, line, &number]))
    })
}

/// Bytes of one line of an annotation.
const LONGEST: usize = 4_096;
