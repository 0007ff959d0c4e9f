//! Policies of a folder, or of a revision of a git repository. Git only reads objects: no hook, filter,
//! diff driver, monitor or file of the working tree of the repository runs or is read.

use std::path::{Path, PathBuf};

use super::git::git;
use super::place::Place;
use super::{load, names, nothing_in};
use crate::cli::{Failure, Terminal};
use crate::policy::PolicySet;
use crate::policy::examples::{TestFile, test_files, test_files_of_texts};
use crate::text::escape;
use crate::yaml::Diagnostics;

/// A set, and its test files or what is wrong in them.
pub(super) struct Revision {
    pub(super) set: PolicySet,
    pub(super) tests: Result<Vec<TestFile>, Diagnostics>,
    /// The id of its commit; `None`: it is a folder.
    pub(super) commit: Option<String>,
}

/// Which of the two sides of a comparison it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// A commit may be older than the policies.
    Old,
    New,
}

/// The policies of `name`: a folder, or else a revision of the repository of `folder`.
///
/// Who writes a branch can name a folder like a commit. So a name that is both is an error, unless it is
/// a path by its spelling.
pub(super) fn read(
    name: &str,
    folder: &Path,
    side: Side,
    out: &mut Terminal,
) -> Result<Revision, Failure> {
    let path = Path::new(name);
    if path.is_dir() {
        Place::of(path).map_err(Failure::Local)?;
        let is_path = path.is_absolute() || name.starts_with("./") || name.starts_with("../");
        if !is_path && is_commit(name, folder)? {
            let name = escape(name);
            return Err(Failure::Usage(format!(
                "`{name}` is both a folder and a revision; write `./{name}` for the folder"
            )));
        }
        let set = load(path, out)?;
        let tests = test_files(path, &set);
        let commit = None;
        return Ok(Revision { set, tests, commit });
    }
    read_commit(name, folder, side, out)
}

/// The policies of a revision, also where a folder has its name.
pub(super) fn read_commit(
    name: &str,
    folder: &Path,
    side: Side,
    out: &mut Terminal,
) -> Result<Revision, Failure> {
    let repository = Repository::of(name, folder)?;
    let texts = repository.texts(side)?;
    let borrowed: Vec<(&str, &str)> = texts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let loaded = PolicySet::from_texts(&borrowed).map(|loaded| loaded.set);
    let nothing = |set: &PolicySet| match side {
        Side::Old => None,
        Side::New => nothing_in(folder, set),
    };
    let set = loaded.and_then(|set| nothing(&set).map_or(Ok(set), Err));
    let set = set.map_err(|errors: Diagnostics| {
        out.error_report(&errors.render(true));
        let name = escape(name);
        Failure::Findings(format!("the policies of revision `{name}` do not load"))
    })?;
    Ok(Revision {
        tests: test_files_of_texts(&borrowed, &set),
        set,
        commit: Some(repository.commit),
    })
}

/// Whether it names a commit of the repository of `folder`.
fn is_commit(name: &str, folder: &Path) -> Result<bool, Failure> {
    let place = Place::of(folder).map_err(Failure::Local)?;
    let Some(place) = place else {
        return Ok(false);
    };
    let commit = names::commit(name, &place.top).map_err(Failure::Usage)?;
    Ok(commit.is_some())
}

struct Repository {
    top: PathBuf,
    /// The folder's path in the repository; empty: it is the top.
    prefix: String,
    /// The full id of the commit.
    commit: String,
}

impl Repository {
    fn of(name: &str, folder: &Path) -> Result<Self, Failure> {
        let shown = escape(name);
        let unknown = || {
            let shallow = git(folder, &["rev-parse", "--is-shallow-repository"]);
            let is_shallow = shallow.is_some_and(|said| said.starts_with(b"true"));
            let folder = escape(&folder.display().to_string());
            let fix = if is_shallow {
                "the clone is shallow: fetch the whole history, with `fetch-depth: 0` of \
                 actions/checkout, `GIT_DEPTH: 0` in GitLab, or `git fetch --unshallow`"
            } else {
                "fetch the commit, or name the folder of the policies with `--policies`"
            };
            Failure::Usage(format!(
                "`{shown}` is neither a folder nor a revision of the git repository of `{folder}`; {fix}"
            ))
        };
        // Git would take the folder itself for a repository, with the settings in it.
        if folder.join("HEAD").exists() && folder.join("objects").exists() {
            let folder = escape(&folder.display().to_string());
            return Err(Failure::Local(format!(
                "`{folder}` looks like a git repository itself; remove `HEAD` and `objects` from the \
                 folder of policies"
            )));
        }
        let place = Place::of(folder).map_err(Failure::Local)?;
        let place = place.ok_or_else(unknown)?;
        let commit = names::commit(name, &place.top).map_err(Failure::Usage)?;
        let commit = commit.ok_or_else(unknown)?;
        place.check_at(&commit).map_err(Failure::Local)?;
        Ok(Self {
            top: place.top,
            prefix: place.path,
            commit,
        })
    }

    /// Whether the commit has no such folder. Where git cannot say, it is not so.
    fn is_without_folder(&self) -> bool {
        let path = self.prefix.as_str();
        let found = git(
            &self.top,
            &[
                "--literal-pathspecs",
                "ls-tree",
                "--full-tree",
                &self.commit,
                "--",
                path,
            ],
        );
        !path.is_empty() && found.is_some_and(|entry| entry.is_empty())
    }

    /// The files of the folder at that commit, by their path below it.
    fn texts(&self, side: Side) -> Result<Vec<(String, String)>, Failure> {
        if side == Side::Old && self.is_without_folder() {
            return Ok(Vec::new());
        }
        let tree = format!("{}:{}", self.commit, self.prefix);
        let list = git(
            &self.top,
            &[
                "--literal-pathspecs",
                "ls-tree",
                "--full-tree",
                "-r",
                "-z",
                "-l",
                &tree,
            ],
        )
        .ok_or_else(|| {
            Failure::Local(format!(
                "commit {} has no folder `{}`",
                self.commit,
                escape(&self.prefix)
            ))
        })?;
        let list = String::from_utf8(list).map_err(|_| {
            Failure::Local("a file of the folder has a name that is not UTF-8".to_owned())
        })?;
        let mut texts = Vec::new();
        let mut total: u64 = 0;
        for line in list.split('\0').filter(|line| !line.is_empty()) {
            let Some((about, name)) = line.split_once('\t') else {
                continue;
            };
            let about: Vec<&str> = about.split_whitespace().collect();
            // A file that no policy set reads.
            if name.split('/').any(|part| part.starts_with('.')) {
                continue;
            }
            let [blob, length] = match about.as_slice() {
                [mode, "blob", blob, length] if mode.starts_with("100") => [blob, length],
                // A folder follows links, and refuses what is no file: nothing may be left out here.
                _ => {
                    let (name, commit) = (escape(name), &self.commit);
                    return Err(Failure::Local(format!(
                        "`{name}` at commit {commit} is a link or a submodule, which a revision does \
                         not follow; compare the folder instead"
                    )));
                }
            };
            total = total.saturating_add(length.parse().unwrap_or(u64::MAX));
            if total > MAX_FOLDER || texts.len() >= MAX_FILES {
                let commit = &self.commit;
                return Err(Failure::Local(format!(
                    "the folder of policies at commit {commit} is larger than 64 MiB or has more \
                     than {MAX_FILES} files"
                )));
            }
            let text = git(&self.top, &["cat-file", "blob", blob]);
            let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| {
                let name = escape(name);
                Failure::Local(format!(
                    "`{name}` at commit {} is not UTF-8 text",
                    self.commit
                ))
            })?;
            texts.push((name.to_owned(), text));
        }
        Ok(texts)
    }
}

/// As of a folder: see `policy::files`.
const MAX_FOLDER: u64 = 64 * 1_024 * 1_024;
const MAX_FILES: usize = 10_000;
