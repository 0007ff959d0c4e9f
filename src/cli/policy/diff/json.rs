//! The difference of two sets for programs.

use serde_json::{Map, Value, json};

use crate::policy::diff::{CredentialChange, DefaultChange, Diff, Gained, Given, KeyChange, Rows};
use crate::provider::Facts;

/// `commits` are the ids of the two sides, if they are commits.
pub(super) fn document(
    diff: &Diff,
    [old_commit, new_commit]: [Option<&str>; 2],
    are_targets_compared: bool,
) -> Value {
    let issuers = diff.issuers.iter().map(|one| {
        json!({
            "issuer": one.name,
            "was": one.was,
            "url": one.url,
            "change": one.change.name(),
            "keys": keys(&one.keys),
            "wider_credentials": one.widened,
        })
    });
    let lines = diff.lines.iter().map(|one| {
        json!({
            "kind": one.kind.name(),
            "name": one.name,
            "place": one.place,
            "change": if one.is_removed { "removed" } else { "loosened" },
            "was": one.was,
            "because": one.because,
            "keys": keys(&one.keys),
            "uncovered": one.uncovered,
        })
    });
    let waivers = diff.waivers.iter().map(|one| {
        json!({
            "rule": one.rule,
            "place": one.place,
            "until": one.until.to_string(),
            "was_until": one.was_until.map(|until| until.to_string()),
            "because": one.because,
        })
    });
    let tests = diff.removed_tests.iter().map(|one| {
        json!({
            "file": one.file,
            "tests": one.names,
            "is_file_removed": one.is_file_removed,
        })
    });
    let shadowed = diff.shadowed.iter();
    let shadowed = shadowed.map(|(sort, name)| json!({ "sort": sort, "name": name }));
    let entries = diff.entries.iter().map(|one| {
        json!({
            "sort": one.sort,
            "name": one.name,
            "change": one.change.name(),
            "keys": keys(&one.keys),
        })
    });
    json!({
        "at": diff.at.to_string(),
        "old_commit": old_commit,
        "new_commit": new_commit,
        "is_wider": diff.is_wider(),
        "is_decided": !diff.is_undecided(),
        "issuers": issuers.collect::<Vec<_>>(),
        "credentials": diff.credentials.iter().map(credential).collect::<Vec<_>>(),
        "lines": lines.collect::<Vec<_>>(),
        "lines_compared": !diff.are_lines_unread,
        "waivers": waivers.collect::<Vec<_>>(),
        "removed_tests": tests.collect::<Vec<_>>(),
        "shadowed": shadowed.collect::<Vec<_>>(),
        "entries": entries.collect::<Vec<_>>(),
        "settings": keys(&diff.settings),
        "targets_compared": are_targets_compared,
    })
}

fn credential(one: &CredentialChange) -> Value {
    json!({
        "credential": one.name,
        "was": one.was,
        "change": one.change.name(),
        "is_wider": one.is_wider(),
        "keys": keys(&one.keys),
        "granted_by": one.granted_by,
        "gained": one.gained.iter().map(gained).collect::<Vec<_>>(),
        "defaults": one.defaults.iter().map(default).collect::<Vec<_>>(),
        "lost": one.lost,
        "undecided": one.undecided,
        "notes": one.notes,
        "rows": rows(&one.rows),
    })
}

fn gained(one: &Gained) -> Value {
    json!({
        "policy": one.policy,
        "place": one.place.to_string(),
        "ttl_seconds": one.ttl.as_secs(),
        "scopes": one.scopes,
        "witness": {
            "issuer": one.found.witness.facts.issuer(),
            "facts": facts(&one.found.witness.facts),
            "claims": one.found.witness.claims,
            "at": one.found.at.to_string(),
        },
    })
}

fn default(one: &DefaultChange) -> Value {
    let given = |given: &Given| {
        json!({
            "policy": given.policy,
            "ttl_seconds": given.ttl.as_secs(),
            "scopes": given.scopes,
        })
    };
    json!({
        "old": given(&one.old),
        "new": given(&one.new),
        "witness": { "issuer": one.job.issuer(), "facts": facts(&one.job), "claims": one.job.claims().to_json() },
    })
}

fn facts(job: &Facts) -> Map<String, Value> {
    let facts = job.iter();
    facts
        .map(|(fact, value)| (fact.name().to_owned(), json!(value)))
        .collect()
}

fn keys(all: &[KeyChange]) -> Vec<Value> {
    let all = all.iter();
    all.map(|one| json!({ "key": one.key, "old": one.old, "new": one.new }))
        .collect()
}

fn rows(all: &Rows) -> Vec<Value> {
    let all = all.iter();
    all.map(
        |(roster, rows)| json!({ "roster": roster, "touched": rows.touched.len(), "of": rows.of }),
    )
    .collect()
}
