//! Finds and reads the test files of a folder of policies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Example, Line, read};
use crate::policy::PolicySet;
use crate::policy::compile::Vocabulary;
use crate::policy::files::{Entered, MAX_DEPTH, MAX_ENTRIES, Visited, about, read_within};
use crate::yaml::diagnostic::{Diagnostic, Diagnostics, Problems, Source};

/// A file of tests.
#[derive(Debug)]
pub struct TestFile {
    /// Its path in the folder of policies.
    pub name: String,
    /// Its path as given.
    pub shown: String,
    pub tests: Vec<Example>,
    /// Its `never:` and `only:` lines.
    pub lines: Vec<Line>,
}

/// Reads test files from texts by file name.
///
/// # Errors
/// All errors in all of them.
pub fn test_files_of_texts(
    texts: &[(&str, &str)],
    set: &PolicySet,
) -> Result<Vec<TestFile>, Diagnostics> {
    let texts = texts.iter().filter(|(name, _)| name.ends_with(ENDING));
    let sources = texts.map(|(name, text)| Source::new(name, name, (*text).to_owned()));
    read_all(&sources.collect::<Vec<_>>(), set, Problems::default())
}

fn read_all(
    sources: &[Arc<Source>],
    set: &PolicySet,
    problems: Problems,
) -> Result<Vec<TestFile>, Diagnostics> {
    let words = Vocabulary::of(set);
    let files = sources.iter();
    let files: Vec<_> = files
        .map(|source| read::file(source, set, &words, &problems))
        .collect();
    let found = Diagnostics::from(problems);
    if found.has_errors() {
        return Err(found);
    }
    Ok(files)
}

/// Reads every test file of a folder, in order of their names.
///
/// # Errors
/// All errors in all test files.
pub fn test_files(dir: &Path, set: &PolicySet) -> Result<Vec<TestFile>, Diagnostics> {
    let problems = Problems::default();
    let mut sources = Vec::new();
    match dir.canonicalize() {
        Ok(root) => {
            let mut walk = Walk {
                root: &root,
                visited: Visited::default(),
                problems: &problems,
                sources: &mut sources,
            };
            walk.folder(dir, &mut PathBuf::new(), 0);
        }
        Err(error) => problems.push(unreadable(dir, format!("cannot be read: {error}"))),
    }
    sources.sort_by(|a: &Arc<Source>, b| a.name().cmp(b.name()));
    read_all(&sources, set, problems)
}

struct Walk<'a> {
    root: &'a Path,
    visited: Visited,
    problems: &'a Problems,
    sources: &'a mut Vec<Arc<Source>>,
}

impl Walk<'_> {
    fn folder(&mut self, shown: &Path, below: &mut PathBuf, depth: usize) {
        let path = self.root.join(&below);
        match self.visited.enter(self.root, &path) {
            Ok(Entered::New(_)) => {}
            Ok(Entered::Again(_)) => return,
            Err(problem) => return self.problems.push(unreadable(&shown.join(&below), problem)),
        }
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => {
                let problem = format!("cannot be read: {error}");
                return self.problems.push(unreadable(&shown.join(&below), problem));
            }
        };
        let names = entries.take(MAX_ENTRIES).filter_map(Result::ok);
        let names: BTreeSet<_> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        for name in names {
            below.push(&name);
            let path = self.root.join(&below);
            if path.is_dir() {
                if depth < MAX_DEPTH {
                    self.folder(shown, below, depth.saturating_add(1));
                }
            } else if name.ends_with(ENDING) {
                self.file(shown, below);
            }
            below.pop();
        }
    }

    fn file(&mut self, shown: &Path, below: &Path) {
        let seen = shown.join(below);
        match read_within(self.root, &self.root.join(below)) {
            Ok((_, text)) => {
                let (name, seen) = (below.display().to_string(), seen.display().to_string());
                self.sources.push(Source::new(&name, &seen, text));
            }
            Err(problem) => self.problems.push(unreadable(&seen, problem)),
        }
    }
}

/// A file or folder that is not read, by its path as given.
fn unreadable(path: &Path, problem: String) -> Diagnostic {
    about(&path.display().to_string(), "unreadable", problem)
}

/// What the name of a test file ends in.
pub(super) const ENDING: &str = ".test.yaml";
