//! The difference of two sets for people: text, and Markdown for a comment.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::policy::markdown::fence;
use crate::policy::diff::{
    Change, CredentialChange, Diff, EntryChange, IssuerChange, KeyChange, LineChange, RemovedTests,
    WaiverChange,
};
use crate::text::{count, escape};

mod credential;

/// How the parts of a report are spelled.
pub(super) struct Style {
    name: fn(&str) -> String,
    /// A sentence with names in it.
    sentence: fn(&str) -> String,
    heading: &'static str,
    section: &'static str,
    fence: &'static str,
    /// Credentials with a section of their own; the others are named.
    sections: usize,
    /// Jobs that are shown for one credential.
    witnesses: usize,
    /// Jobs that are shown with a line for each fact; the others are one line.
    blocks: usize,
}

pub(super) const TEXT: Style = Style {
    name: plain,
    sentence: harmless,
    heading: "",
    section: "",
    fence: "",
    sections: usize::MAX,
    witnesses: 3,
    blocks: usize::MAX,
};

/// A comment is read by people who have more to read.
pub(super) const MARKDOWN: Style = Style {
    name: code,
    sentence: code,
    heading: "## ",
    section: "### ",
    fence: "  ```\n",
    sections: 12,
    witnesses: 1,
    blocks: 3,
};

/// A name for people.
fn plain(name: &str) -> String {
    format!("`{}`", harmless(name))
}

/// A name as a code span of Markdown: nothing in it is markup, a link or a mention.
fn code(name: &str) -> String {
    let name = harmless(name);
    let fence = fence(&name, 1);
    if name.starts_with('`') || name.ends_with('`') {
        format!("{fence} {name} {fence}")
    } else {
        format!("{fence}{name}{fence}")
    }
}

/// One line that is no command to a CI's runner, which reads `##[` anywhere.
fn harmless(text: &str) -> String {
    escape(text).replace("##", "#\\u{23}")
}

/// A value on its line, in quotes.
fn quoted(value: &str) -> String {
    harmless(&Value::from(value).to_string())
}

/// The word for people.
fn word(change: Change) -> String {
    change.name().replace('_', " ")
}

/// A side of the comparison.
pub(super) enum Side {
    /// By its full id.
    Commit(String),
    Folder(String),
}

/// The report. `context` are sentences about how the two sides were compared.
pub(super) fn report(diff: &Diff, style: &Style, sides: &[Side; 2], context: &[String]) -> String {
    let mut report = Report {
        style,
        text: String::new(),
        witnesses: BTreeMap::new(),
    };
    report.all(diff, sides, context);
    report.text
}

struct Report<'a> {
    style: &'a Style,
    text: String,
    /// The credential that each witness was shown for.
    witnesses: BTreeMap<String, String>,
}

impl Report<'_> {
    fn all(&mut self, diff: &Diff, sides: &[Side; 2], context: &[String]) {
        let heading = self.style.heading;
        self.push(&format!("{heading}Policies: {}\n\n", summary(diff)));
        for setting in &diff.settings {
            let values = self.values(setting);
            self.push(&format!("- setting {values}\n"));
        }
        for issuer in &diff.issuers {
            self.issuer(issuer);
        }
        for line in &diff.lines {
            self.line(line);
        }
        for waiver in &diff.waivers {
            self.waiver(waiver);
        }
        for tests in &diff.removed_tests {
            self.removed(tests);
        }
        for entry in &diff.entries {
            self.entry(entry);
        }
        for (sort, name) in &diff.shadowed {
            let name = self.name(name);
            self.push(&format!(
                "- {sort} {name} has `shadow_until`, so it has no effect; `--as-if-enforced` shows what it would change\n"
            ));
        }
        if self.text.ends_with('\n') && !self.text.ends_with("\n\n") {
            self.push("\n");
        }
        let groups = groups(&diff.credentials);
        for group in groups.iter().take(self.style.sections) {
            self.group(group);
        }
        let rest = groups.iter().skip(self.style.sections);
        let rest: Vec<_> = rest.collect();
        for group in &rest {
            let Some(first) = group.first() else { continue };
            let (name, change) = (self.name(&first.name), word(first.change));
            let more = match group.len().saturating_sub(1) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.push(&format!("- {name}{more}: {change}\n"));
        }
        if !rest.is_empty() {
            self.push("\n");
        }
        if diff.are_lines_unread {
            self.push(
                "Not decided: the old test files do not load, so their lines are not compared.\n",
            );
        }
        if !diff.is_wider() && !diff.is_undecided() {
            self.push("Proven: no job gains anything.\n");
        }
        let [old, new] = sides.each_ref().map(|side| match side {
            Side::Commit(id) => format!("commit {id}"),
            Side::Folder(name) => format!("the folder {}", self.name(name)),
        });
        self.push(&format!("Compared {old} with {new}"));
        self.push(&format!(", for every request from {} on.", diff.at));
        for sentence in context {
            self.push(" ");
            self.push(sentence);
        }
        self.push("\n");
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn name(&self, name: &str) -> String {
        (self.style.name)(name)
    }

    fn names<'n>(&self, all: impl ExactSizeIterator<Item = &'n str>) -> String {
        let number = all.len();
        let some: Vec<_> = all.take(SHOWN).map(|name| self.name(name)).collect();
        let more = match number.checked_sub(SHOWN) {
            Some(rest @ 1..) => format!(" and {rest} more"),
            Some(_) | None => String::new(),
        };
        format!("{}{more}", some.join(", "))
    }

    fn issuer(&mut self, issuer: &IssuerChange) {
        let (name, url) = (self.name(&issuer.name), self.name(&issuer.url));
        let change = word(issuer.change);
        self.push(&format!("- issuer {name} ({url}): **{change}**\n"));
        if let Some(was) = &issuer.was {
            let was = self.name(was);
            self.push(&format!("  - renamed from {was}\n"));
        }
        for key in &issuer.keys {
            self.push("  ");
            self.key(key);
        }
        if issuer.widened > 0 && issuer.keys.iter().any(|one| one.key == "tenants") {
            let credentials = count(issuer.widened, "credential");
            self.push(&format!("  - its jobs get more of {credentials}\n"));
        }
    }

    fn entry(&mut self, entry: &EntryChange) {
        let (sort, name) = (entry.sort, self.name(&entry.name));
        let change = if entry.change == Change::Redefined {
            "changed".to_owned()
        } else {
            word(entry.change)
        };
        self.push(&format!("- {sort} {name}: {change}\n"));
        if entry.change != Change::Added {
            for key in &entry.keys {
                self.push("  ");
                self.key(key);
            }
        }
    }

    fn key(&mut self, change: &KeyChange) {
        let values = self.values(change);
        self.push(&format!("- {values}\n"));
    }

    /// A key with both values.
    fn values(&self, change: &KeyChange) -> String {
        let key = self.name(&change.key);
        let value = |value: &Option<String>| match value {
            Some(value) => self.name(&shortened(value)),
            None => "not given".to_owned(),
        };
        let (old, new) = (value(&change.old), value(&change.new));
        format!("{key}: {old} before, {new} now")
    }

    fn line(&mut self, line: &LineChange) {
        let (kind, name) = (line.kind, self.name(&line.name));
        let (was, because) = (self.name(&shortened(&line.was)), self.name(&line.because));
        let place = self.name(&line.place);
        let names = self.names(line.uncovered.iter().map(String::as_str));
        if line.is_removed {
            let about = match names.as_str() {
                "" => String::new(),
                names => format!("; it was about {names}"),
            };
            self.push(&format!(
                "- `{kind}` line {name} ({place}): **removed**{about}\n  - it was {was}, because {because}\n"
            ));
            return;
        }
        self.push(&format!("- `{kind}` line {name} ({place}): **loosened**\n"));
        for key in &line.keys {
            self.push("  ");
            self.key(key);
        }
        if !names.is_empty() {
            self.push(&format!("  - it is not about {names} any more\n"));
        }
        self.push(&format!("  - its reason: {because}\n"));
    }

    fn waiver(&mut self, waiver: &WaiverChange) {
        let (rule, place) = (self.name(waiver.rule), self.name(&waiver.place));
        let change = match waiver.was_until {
            None => "**added**".to_owned(),
            Some(was) => format!("**prolonged** from {was}"),
        };
        let (until, because) = (waiver.until, self.name(&waiver.because));
        self.push(&format!(
            "- waiver of lint rule {rule} ({place}): {change}, until {until}, because {because}\n"
        ));
    }

    fn removed(&mut self, tests: &RemovedTests) {
        let file = self.name(&tests.file);
        let names = self.names(tests.names.iter().map(String::as_str));
        let number = count(tests.names.len(), "test");
        match (tests.is_file_removed, tests.names.is_empty()) {
            (true, true) => self.push(&format!("- test file {file}: **removed**\n")),
            (true, false) => self.push(&format!(
                "- test file {file}: **removed** with {number}: {names}\n"
            )),
            (false, _) => self.push(&format!("- test file {file}: {number} removed: {names}\n")),
        }
    }
}

/// A value that is not too long for a line.
fn shortened(value: &str) -> String {
    if value.len() <= LONGEST_VALUE {
        return value.to_owned();
    }
    let start: String = value.chars().take(LONGEST_VALUE).collect();
    format!("{start}...")
}

fn summary(diff: &Diff) -> String {
    let of = |change: Change| {
        let all = diff.credentials.iter();
        all.filter(|one| one.change == change).count()
    };
    let changes = [
        Change::Redefined,
        Change::Wider,
        Change::WiderAndNarrower,
        Change::Added,
        Change::NotDecided,
        Change::Narrower,
        Change::Removed,
    ];
    let parts = changes.map(|change| (of(change), change));
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<_> = parts
        .map(|(number, change)| format!("{number} {}", word(change)))
        .collect();
    let all = count(diff.compared, "credential");
    let credentials = if parts.is_empty() {
        format!("the same for {all}")
    } else {
        format!("{} of {all}", parts.join(", "))
    };
    let tests: usize = diff.removed_tests.iter().map(|one| one.names.len()).sum();
    let others = [
        (diff.settings.len(), "changed setting"),
        (diff.issuers.len(), "changed issuer"),
        (diff.lines.len(), "line removed or loosened"),
        (diff.waivers.len(), "waiver added or prolonged"),
        (tests, "test removed"),
    ];
    let others = others.into_iter().filter(|(number, _)| *number > 0);
    let others = others.map(|(number, noun)| match noun.split_once(' ') {
        Some((noun, rest)) if noun != "changed" => format!("{} {rest}", count(number, noun)),
        Some(_) | None => count(number, noun),
    });
    let parts: Vec<_> = others.chain([credentials]).collect();
    parts.join("; ")
}

/// Credentials that one entry makes and that have the same change. The order of the first of each stays.
fn groups(all: &[CredentialChange]) -> Vec<Vec<&CredentialChange>> {
    let mut groups: Vec<Vec<&CredentialChange>> = Vec::new();
    let mut by_entry = BTreeMap::new();
    for one in all {
        let place = one.place.as_ref().filter(|place| place.row().is_some());
        let entry = place.map(|place| (place.source().name(), place.span().start, one.change));
        let known = entry.and_then(|entry| by_entry.get(&entry).copied());
        if let Some(group) = known.and_then(|number: usize| groups.get_mut(number)) {
            group.push(one);
            continue;
        }
        if let Some(entry) = entry {
            by_entry.insert(entry, groups.len());
        }
        groups.push(vec![one]);
    }
    groups
}

/// Names, ways and policies that are shown of one list.
const SHOWN: usize = 3;
/// Letters of a value that are shown.
const LONGEST_VALUE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    /// T-334
    #[test]
    fn a_name_is_one_code_span_whatever_it_is() {
        for name in ["a", "`", "``x`", "a`b``c", "@team", "<b>", "|", "\n# x"] {
            let span = code(name);
            assert!(!span.contains('\n'), "{span}");
            let fence = span.len() - span.trim_start_matches('`').len();
            let inner = &span.get(fence..span.len() - fence).unwrap();
            let runs = inner.split(|letter| letter != '`').map(str::len);
            assert!(runs.max() != Some(fence), "{span}");
        }
    }
}
