//! Where a folder or a file is in a git repository, by its spelling. Who writes a branch can replace a
//! folder by a link or by a submodule: then both sides of a comparison would be read from elsewhere. So
//! neither git nor the system resolves a path below the top of the repository.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::git::git;
use crate::text::escape;

/// A path in the working tree of a repository.
pub(super) struct Place {
    /// The top of the working tree.
    pub(super) top: PathBuf,
    /// The path below it, without `/` at the end; empty: the top itself.
    pub(super) path: String,
}

impl Place {
    /// `None`: it is in no repository.
    ///
    /// # Errors
    /// A part of the path below the top is a link, or it is in a submodule.
    pub(super) fn of(path: &Path) -> Result<Option<Self>, String> {
        let shown = escape(&path.display().to_string());
        let absolute = start(path)?.join(path);
        let mut full = PathBuf::new();
        for part in absolute.components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => {
                    full.pop();
                }
                Component::Prefix(_) | Component::RootDir => full.push(part),
                Component::Normal(name) => {
                    let is_in_repository = top_of(&full).is_some();
                    full.push(name);
                    if !full.is_symlink() {
                        continue;
                    }
                    if is_in_repository {
                        let link = escape(&full.display().to_string());
                        return Err(format!(
                            "`{shown}` leads through the link `{link}`, which a change can point elsewhere; \
                             name the path without the link, or remove the link"
                        ));
                    }
                    full = full
                        .canonicalize()
                        .map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
                }
            }
        }
        let Some(top) = top_of(&full) else {
            return Ok(None);
        };
        // Git must take the same folder for the top, and no repository may be around it.
        let ask = [
            "rev-parse",
            "--show-prefix",
            "--show-superproject-working-tree",
        ];
        let outer = git(top, &ask);
        if outer.is_some_and(|outer| !outer.trim_ascii().is_empty()) {
            return Err(format!(
                "`{shown}` is in a submodule, so a commit of the repository around it does not have it; \
                 run the command in a clone of the submodule's own repository"
            ));
        }
        let below = full.strip_prefix(top).ok().and_then(Path::to_str);
        Ok(Some(Self {
            path: below
                .ok_or_else(|| format!("the path `{shown}` is not UTF-8"))?
                .to_owned(),
            top: top.to_owned(),
        }))
    }

    /// Checks that no part of the path is a link or a submodule at a commit.
    ///
    /// # Errors
    /// One is, or git cannot say it.
    pub(super) fn check_at(&self, commit: &str) -> Result<(), String> {
        let ends = self.path.match_indices('/').map(|(end, _)| end);
        for end in ends.chain([self.path.len()]) {
            let part = self.path.get(..end).unwrap_or_default();
            if part.is_empty() {
                continue;
            }
            let command = ["--literal-pathspecs", "ls-tree", "--full-tree", "-z"];
            let entry = git(&self.top, &[&command[..], &[commit, "--", part]].concat());
            let shown = escape(part);
            let entry = entry.ok_or_else(|| format!("git cannot read `{shown}` at that commit"))?;
            let sort = if entry.starts_with(b"120000 ") {
                "a link"
            } else if entry.starts_with(b"160000 ") {
                "a submodule"
            } else {
                continue;
            };
            return Err(format!(
                "`{shown}` at commit {commit} is {sort}, which is not followed; name the path without it, \
                 or compare two folders"
            ));
        }
        Ok(())
    }
}

/// The folder from which a relative path is read: as the shell names it, if it is the same folder.
#[expect(
    clippy::disallowed_methods,
    reason = "no setting: the system knows the folder without the links that led to it"
)]
fn start(path: &Path) -> Result<PathBuf, String> {
    if path.is_absolute() {
        return Ok(PathBuf::new());
    }
    let current = std::env::current_dir()
        .map_err(|error| format!("the current folder cannot be read: {error}"))?;
    let named = std::env::var_os("PWD").map(PathBuf::from);
    let is_current = |named: &PathBuf| {
        named.is_absolute() && named.canonicalize().is_ok_and(|real| real == current)
    };
    Ok(named.filter(is_current).unwrap_or(current))
}

/// The nearest folder that is the top of a working tree.
fn top_of(path: &Path) -> Option<&Path> {
    path.ancestors()
        .find(|folder| folder.join(OsStr::new(".git")).symlink_metadata().is_ok())
}
