//! What the test files of the old side ask and those of the new side do not: `never:` and `only:` lines,
//! and tests.

use std::collections::BTreeSet;

use super::{Diff, KeyChange};
use crate::policy::examples::{Line, LineKind, TestFile};
use crate::policy::{Block, CredentialDefinition, PolicySet};
use crate::yaml::duration;
use crate::yaml::scalar::list;

/// A `never:` or `only:` line that was removed or loosened.
#[derive(Debug)]
pub struct LineChange {
    pub kind: LineKind,
    pub name: String,
    /// Its place in the new set if it was loosened, else in the old one.
    pub place: String,
    /// The old line, without name and reason.
    pub was: String,
    /// The reason of the old line.
    pub because: String,
    /// The line is still there, with these keys changed.
    pub keys: Vec<KeyChange>,
    /// Credentials that it was about and is not about any more, by their new names.
    pub uncovered: Vec<String>,
    pub is_removed: bool,
}

/// Tests of one file that the new side does not have under that name, in any file.
#[derive(Debug)]
pub struct RemovedTests {
    /// The path of the file in the folder of policies.
    pub file: String,
    pub names: Vec<String>,
    pub is_file_removed: bool,
}

/// One side: its policies and its test files.
#[derive(Clone, Copy, Debug)]
pub struct Tested<'a> {
    pub set: &'a PolicySet,
    pub files: &'a [TestFile],
}

impl Tested<'_> {
    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.files.iter().flat_map(|file| &file.lines)
    }
}

impl Diff {
    /// Compares the test files.
    pub fn compare_tests(&mut self, old: Tested<'_>, new: Tested<'_>) {
        let positions = self.positions();
        // Credentials of both sides, by their old and new names.
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for credential in new.set.credentials() {
            let now = credential.name.as_str();
            let change = positions
                .get(now)
                .and_then(|number| self.credentials.get(*number));
            let was = change.and_then(|one| one.was.as_deref()).unwrap_or(now);
            if old.set.credential(was).is_some() {
                pairs.push((was, now));
            }
        }
        let comparison = Comparison { old, new, pairs };
        self.lines = old
            .lines()
            .filter_map(|line| comparison.line(line))
            .collect();
        self.removed_tests = removed_tests(old.files, new.files);
    }
}

struct Comparison<'a> {
    old: Tested<'a>,
    new: Tested<'a>,
    pairs: Vec<(&'a str, &'a str)>,
}

impl Comparison<'_> {
    /// `None`: a line of the new side asks at least as much.
    fn line(&self, line: &Line) -> Option<LineChange> {
        let same_kind = || self.new.lines().filter(|one| one.kind == line.kind);
        let file = line.place.source().name();
        let named = same_kind().filter(|one| one.name == line.name);
        let named = named.max_by_key(|one| one.place.source().name() == file);
        let others = same_kind().filter(|one| one.name != line.name);
        if named
            .into_iter()
            .chain(others)
            .any(|one| self.loosened(line, one).is_none())
        {
            return None;
        }
        let change = |place: &Line, keys, uncovered, is_removed| LineChange {
            kind: line.kind,
            name: line.name.clone(),
            place: place.place.to_string(),
            was: line.to_yaml(),
            because: line.because.clone(),
            keys,
            uncovered,
            is_removed,
        };
        if let Some(now) = named {
            let (keys, uncovered) = self.loosened(line, now)?;
            return Some(change(now, keys, uncovered, false));
        }
        let gone = self.gone(line);
        let gone = gone.filter(|one| self.new.set.credentials().any(|now| reaches_same(one, now)));
        let gone = gone.map(|one| one.name.as_str());
        let about: Vec<_> = self.selected(line).into_iter().chain(gone).collect();
        // It was about credentials that are gone, and about no other.
        let is_over = |names: Vec<&str>| {
            let mut kept = self.pairs.iter().map(|(was, _)| *was);
            !kept.any(|was| names.contains(&was))
        };
        if about.is_empty() && line.of.names().is_some_and(is_over) {
            return None;
        }
        let about = about.into_iter().map(str::to_owned).collect();
        Some(change(line, Vec::new(), about, true))
    }

    /// The credentials that the old line is about and that the new side does not have.
    fn gone(&self, line: &Line) -> impl Iterator<Item = &CredentialDefinition> {
        let old = self.old.set;
        let all = old.credentials();
        let gone = all.filter(|one| !self.pairs.iter().any(|(was, _)| *was == one.name));
        let selected = gone.filter(move |one| line.selects(old, one));
        selected.map(|one| &**one)
    }

    /// Credentials that the new line is not about and that reach what one of the old line reached that
    /// is gone. By the name of that one.
    fn replaced(&self, was: &Line, now: &Line) -> Vec<String> {
        let new = self.new.set;
        let added = new.credentials();
        let added = added.filter(|one| !self.pairs.iter().any(|(_, now)| *now == one.name));
        let outside: Vec<_> = added.filter(|one| !now.selects(new, one)).collect();
        self.gone(was)
            .filter(|one| outside.iter().any(|now| reaches_same(one, now)))
            .map(|one| one.name.clone())
            .collect()
    }

    /// The credentials that the old line is about, by their new names.
    fn selected(&self, line: &Line) -> Vec<&str> {
        let pairs = self.pairs.iter();
        let selected = pairs.filter(|(was, _)| {
            let credential = self.old.set.credential(was);
            credential.is_some_and(|one| line.selects(self.old.set, one))
        });
        selected.map(|(_, now)| *now).collect()
    }

    /// What the new line does not ask of what the old line asks; `None`: nothing.
    fn loosened(&self, was: &Line, now: &Line) -> Option<(Vec<KeyChange>, Vec<String>)> {
        let mut uncovered: Vec<String> = self
            .selected(was)
            .into_iter()
            .filter(|name| {
                let credential = self.new.set.credential(name);
                !credential.is_some_and(|one| now.selects(self.new.set, one))
            })
            .map(str::to_owned)
            .collect();
        uncovered.extend(self.replaced(was, now));
        let old_jobs = self.old.set.by_url(&was.jobs);
        let new_jobs = self.new.set.by_url(&now.jobs);
        let asks = match was.kind {
            LineKind::Never => old_jobs.implies(&new_jobs),
            LineKind::Only => new_jobs.implies(&old_jobs),
        };
        let (before, after) = self.jobs((was, &old_jobs), (now, &new_jobs));
        let has_scopes = now.scopes.is_empty()
            || (!was.scopes.is_empty() && was.scopes.iter().all(|one| now.scopes.contains(one)));
        let is_as_short = now
            .longer_than
            .is_none_or(|now| was.longer_than.is_some_and(|was| now <= was));
        let is_of_team = now.team.is_none() || now.team == was.team;
        let lifetime = |line: &Line| line.longer_than.map(duration::print);
        let keys = [
            (
                now.of.covers(&was.of),
                "of",
                Some(was.of.to_yaml()),
                Some(now.of.to_yaml()),
            ),
            (asks, "jobs", Some(before), Some(after)),
            (has_scopes, "scopes", scopes(was), scopes(now)),
            (is_as_short, "longer_than", lifetime(was), lifetime(now)),
            (is_of_team, "folder", was.team.clone(), now.team.clone()),
        ];
        let keys = keys.into_iter().filter(|(is_kept, ..)| !is_kept);
        let keys = keys.map(|(_, key, old, new)| KeyChange {
            key: key.to_owned(),
            old,
            new,
        });
        let keys: Vec<_> = keys.collect();
        (!keys.is_empty() || !uncovered.is_empty()).then_some((keys, uncovered))
    }

    /// The jobs of both lines as they are written, or, where that is alike, with what makes them others:
    /// the addresses of the issuers, or the zone.
    fn jobs(&self, (was, old): (&Line, &Block), (now, new): (&Line, &Block)) -> (String, String) {
        let written = (was.jobs.to_yaml(), now.jobs.to_yaml());
        if written.0 != written.1 {
            return written;
        }
        let by_url = (old.to_yaml(), new.to_yaml());
        if by_url.0 != by_url.1 {
            return by_url;
        }
        let zoned = |jobs: String, set: &PolicySet| match set.zone_name() {
            Some(zone) => format!("{jobs} in zone {zone}"),
            None => jobs,
        };
        (zoned(by_url.0, self.old.set), zoned(by_url.1, self.new.set))
    }
}

/// Whether both are of one kind and lead to one target or audience.
fn reaches_same(one: &CredentialDefinition, other: &CredentialDefinition) -> bool {
    let audience = |of: &CredentialDefinition| {
        let mut keys = of.specific.keys().into_iter();
        keys.find(|(key, _)| *key == "audience")
    };
    let is_same_audience = || audience(one).is_some() && audience(one) == audience(other);
    one.kind.name == other.kind.name
        && ((one.target().is_some() && one.target() == other.target()) || is_same_audience())
}

fn scopes(line: &Line) -> Option<String> {
    (!line.scopes.is_empty()).then(|| list(line.scopes.iter().map(String::as_str)))
}

impl Line {
    /// The line as a mapping, without its name and its reason.
    fn to_yaml(&self) -> String {
        let mut parts = vec![
            format!("of: {}", self.of.to_yaml()),
            format!("jobs: {}", self.jobs.to_yaml()),
        ];
        parts.extend(scopes(self).map(|scopes| format!("scopes: {scopes}")));
        let lifetime = self.longer_than.map(duration::print);
        parts.extend(lifetime.map(|lifetime| format!("longer_than: {lifetime}")));
        format!("{{ {} }}", parts.join(", "))
    }
}

fn removed_tests(old: &[TestFile], new: &[TestFile]) -> Vec<RemovedTests> {
    let kept: BTreeSet<&str> = new
        .iter()
        .flat_map(|file| &file.tests)
        .map(|test| test.name.as_str())
        .collect();
    let removed = old.iter().filter_map(|file| {
        let names = file.tests.iter().map(|test| test.name.clone());
        let names: Vec<String> = names.filter(|name| !kept.contains(name.as_str())).collect();
        let is_file_removed = !new.iter().any(|one| one.name == file.name);
        (is_file_removed || !names.is_empty()).then(|| RemovedTests {
            file: file.name.clone(),
            names,
            is_file_removed,
        })
    });
    removed.collect()
}
