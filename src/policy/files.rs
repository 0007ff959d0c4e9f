//! Reads the folder of policies, and checks that its files are those that were reviewed (T-78).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use nix::fcntl::OFlag;

use crate::file::{open_at_once, read_up_to};
use crate::length_prefix;
use crate::yaml::diagnostic::{Diagnostic, Place, Source, Span};

/// The texts of a folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) policies: Vec<Arc<Source>>,
    /// Other texts that policy files can refer to, such as certificates and rosters.
    others: BTreeMap<String, String>,
    /// The folder, with links resolved; `None` for texts.
    root: Option<PathBuf>,
    /// The folder as the user named it.
    shown: PathBuf,
    /// The names of the others that were referred to.
    referred: BTreeSet<String>,
    /// Where the files really are, with links resolved, by name.
    real: BTreeMap<String, PathBuf>,
    visited: Visited,
    /// The bytes read so far.
    size: u64,
}

impl Folder {
    /// Uses texts in memory, by name.
    pub(super) fn of_texts(texts: &[(&str, &str)], problems: &mut Vec<Diagnostic>) -> Self {
        let mut folder = Self {
            policies: Vec::new(),
            others: BTreeMap::new(),
            root: None,
            shown: PathBuf::new(),
            referred: BTreeSet::new(),
            real: BTreeMap::new(),
            visited: Visited::default(),
            size: 0,
        };
        for (name, text) in texts {
            if Self::counts(name, name, problems) {
                folder
                    .policies
                    .push(Source::new(name, name, (*text).to_owned()));
            } else {
                folder.others.insert((*name).to_owned(), (*text).to_owned());
            }
        }
        folder.policies.sort_by(|a, b| a.name().cmp(b.name()));
        folder
    }

    /// Reads the files of a folder.
    pub(super) fn read(dir: &Path, problems: &mut Vec<Diagnostic>) -> Self {
        let mut folder = Self {
            policies: Vec::new(),
            others: BTreeMap::new(),
            root: None,
            shown: dir.to_owned(),
            referred: BTreeSet::new(),
            real: BTreeMap::new(),
            visited: Visited::default(),
            size: 0,
        };
        let shown = dir.display().to_string();
        let root = match dir.canonicalize() {
            Ok(root) if root.is_dir() => root,
            Ok(_) => {
                problems.push(about(&shown, "folder", "is not a folder".to_owned()));
                return folder;
            }
            Err(error) => {
                problems.push(about(&shown, "folder", format!("cannot be read: {error}")));
                return folder;
            }
        };
        if writable_by_others(&root) {
            let problem = "is writable by every user of this machine".to_owned();
            problems.push(about(&shown, "writable", problem).help(format!("chmod o-w {shown}")));
        }
        folder.walk(&root, dir, "", 0, problems);
        folder.policies.sort_by(|a, b| a.name().cmp(b.name()));
        if folder.policies.len() > MAX_FILES {
            let problem = format!("holds more than {MAX_FILES} policy files");
            problems.push(about(&shown, "too-many", problem));
        }
        folder
    }

    /// Adds policy files that are in memory, instead of those of their names.
    pub(super) fn add(&mut self, files: &[(String, String)]) {
        let is_added = |name: &str| files.iter().any(|(added, _)| added == name);
        self.policies.retain(|source| !is_added(source.name()));
        let sources = files.iter();
        let sources = sources.map(|(name, text)| Source::new(name, name, text.clone()));
        self.policies.extend(sources);
        self.policies.sort_by(|a, b| a.name().cmp(b.name()));
    }

    /// Reads a file that a policy file refers to, such as a CA's certificates. It must be in the
    /// folder and is checked like a policy file.
    pub(super) fn other(&mut self, name: &str) -> Result<String, String> {
        self.referred.insert(name.to_owned());
        if let Some(text) = self.others.get(name) {
            return Ok(text.clone());
        }
        let Some(root) = self.root.clone() else {
            return Err("is not among the files".to_owned());
        };
        let (real, text) = read_within(&root, &root.join(name))?;
        self.count(&text)?;
        self.real.insert(name.to_owned(), real);
        self.others.insert(name.to_owned(), text.clone());
        Ok(text)
    }

    /// The same, as a source of positions.
    pub(super) fn other_source(&mut self, name: &str) -> Result<Arc<Source>, String> {
        let text = self.other(name)?;
        let shown = self.shown.join(name).display().to_string();
        Ok(Source::new(name, &shown, text))
    }

    /// The names of the policy files, and of the others that policies refer to.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let policies = self.policies.iter().map(|source| source.name());
        policies.chain(self.referred())
    }

    /// The names of the files that policies refer to.
    pub(super) fn referred(&self) -> impl Iterator<Item = &str> {
        self.referred.iter().map(String::as_str)
    }

    /// Where the file really is, with links resolved; its name for texts.
    pub(super) fn real(&self, name: &str) -> PathBuf {
        let known = self.real.get(name).cloned();
        known.unwrap_or_else(|| self.root.clone().unwrap_or_default().join(name))
    }

    /// Where a sub-folder really is, if it exists; its name for texts.
    pub(super) fn real_folder(&self, name: &str) -> Option<PathBuf> {
        match &self.root {
            Some(root) => root.join(name).canonicalize().ok(),
            None => Some(PathBuf::from(name)),
        }
    }

    /// Adds to the size of the folder, which is limited.
    fn count(&mut self, text: &str) -> Result<(), String> {
        let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.size = self.size.saturating_add(size);
        if self.size > MAX_FOLDER {
            let limit = MAX_FOLDER.checked_div(MIB).unwrap_or_default();
            return Err(format!(
                "makes the folder larger than {limit} MiB, the most it may have"
            ));
        }
        Ok(())
    }

    /// `sha256:` over names and contents of all files, independent of their order, and the version of
    /// the zone database if decisions read it.
    pub(super) fn revision(&self, zones: Option<&str>) -> String {
        let policies = self
            .policies
            .iter()
            .map(|source| (source.name(), source.text()));
        let others = self
            .others
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        let mut files: Vec<_> = policies.chain(others).collect();
        files.sort_unstable();
        let mut context = digest::Context::new(&digest::SHA256);
        // No file has an empty name.
        files.extend(zones.map(|version| ("", version)));
        let parts = files.into_iter().flat_map(|(name, text)| [name, text]);
        length_prefix::update_with(parts, |bytes| context.update(bytes));
        format!("sha256:{}", HEXLOWER.encode(context.finish().as_ref()))
    }

    fn walk(
        &mut self,
        root: &Path,
        shown: &Path,
        prefix: &str,
        depth: usize,
        problems: &mut Vec<Diagnostic>,
    ) {
        self.root = Some(root.to_owned());
        match self.visited.enter(root, &root.join(prefix)) {
            Ok(Entered::New(_)) => {}
            Ok(Entered::Again(_)) => return,
            Err(problem) => {
                let place = shown.join(prefix).display().to_string();
                return problems.push(about(&place, "folder", problem));
            }
        }
        let Ok(entries) = fs::read_dir(root.join(prefix)) else {
            problems.push(about(
                &shown.join(prefix).display().to_string(),
                "folder",
                "cannot be read".to_owned(),
            ));
            return;
        };
        let mut names: Vec<String> = Vec::new();
        for (count, entry) in entries.enumerate() {
            // An ignored entry could be a requirement.
            let unseen = match &entry {
                Ok(_) if count < MAX_ENTRIES => None,
                Ok(_) => Some(format!("holds more than {MAX_ENTRIES} entries")),
                Err(error) => Some(format!("cannot be read to its end: {error}")),
            };
            let (Ok(entry), None) = (entry, &unseen) else {
                let place = shown.join(prefix).display().to_string();
                problems.push(about(&place, "folder", unseen.unwrap_or_default()));
                return;
            };
            match entry.file_name().into_string() {
                // Hidden entries are git's, editors' and Kubernetes' (`..data`).
                Ok(name) if !name.starts_with('.') => names.push(name),
                Ok(_) => {}
                Err(name) => {
                    let path = Path::new(&name);
                    let is_hidden = name.as_encoded_bytes().starts_with(b".");
                    if !is_hidden
                        && (looks_like_yaml(path) || root.join(prefix).join(path).is_dir())
                    {
                        let place = shown.join(prefix).join(path).display().to_string();
                        let problem = "has a name that is not UTF-8".to_owned();
                        problems.push(about(&place, "file-name", problem));
                    }
                }
            }
        }
        names.sort_unstable();
        for name in names {
            let name = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            let path = root.join(&name);
            let seen = shown.join(&name).display().to_string();
            if path.is_dir() {
                if depth < MAX_DEPTH {
                    self.walk(root, shown, &name, depth.saturating_add(1), problems);
                } else {
                    let problem = format!("is more than {MAX_DEPTH} folders deep");
                    problems.push(about(&seen, "folder", problem));
                }
            } else if Self::counts(&name, &seen, problems) {
                let found = read_within(root, &path).and_then(|(home, text)| {
                    self.count(&text)?;
                    Ok((home, text))
                });
                match found {
                    Ok((home, text)) => {
                        self.policies.push(Source::new(&name, &seen, text));
                        self.real.insert(name, home);
                    }
                    Err(problem) => problems.push(about(&seen, "unreadable", problem)),
                }
            }
        }
    }

    /// Whether it is a policy file. Names that only look like one are reported, not skipped: a
    /// requirement in an ignored file protects nothing (T-76).
    fn counts(name: &str, shown: &str, problems: &mut Vec<Diagnostic>) -> bool {
        if name.ends_with(".test.yaml") {
            // Tests: see `examples`.
            return false;
        }
        let stem = Path::new(name).with_extension("");
        let extension = Path::new(name).extension().unwrap_or_default();
        if looks_like_yaml(Path::new(name)) && extension != "yaml" {
            let fix = format!("rename it to {}.yaml", stem.display());
            problems
                .push(about(shown, "file-name", "does not end in `.yaml`".to_owned()).help(fix));
            return false;
        }
        extension == "yaml"
    }
}

fn looks_like_yaml(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ["yml", "yaml"]
        .iter()
        .any(|ending| extension.eq_ignore_ascii_case(ending))
}

/// Visited folders, with links resolved. Each is visited once, because a link back to a parent
/// would make an endless tree (T-78).
#[derive(Debug, Default)]
pub(super) struct Visited(BTreeSet<PathBuf>);

pub(super) enum Entered {
    New(PathBuf),
    /// It was visited before, under another name.
    Again(PathBuf),
}

impl Visited {
    /// Enters `path`.
    ///
    /// # Errors
    /// It is outside the root, or cannot be read.
    pub(super) fn enter(&mut self, root: &Path, path: &Path) -> Result<Entered, String> {
        let real = path
            .canonicalize()
            .map_err(|error| format!("cannot be read: {error}"))?;
        if !real.starts_with(root) {
            return Err(LINK_OUT.to_owned());
        }
        Ok(if self.0.insert(real.clone()) {
            Entered::New(real)
        } else {
            Entered::Again(real)
        })
    }
}

pub(super) fn about(shown: &str, rule: &'static str, problem: impl Display) -> Diagnostic {
    let place = Place::new(Source::new(shown, shown, String::new()), Span::default());
    Diagnostic::error(rule, place, format!("`{shown}` {problem}"))
}

/// Reads a file that is regular, in the folder after links are resolved, small enough, UTF-8, and
/// not writable by others.
pub(super) fn read_within(root: &Path, path: &Path) -> Result<(PathBuf, String), String> {
    let real = path
        .canonicalize()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if !real.starts_with(root) {
        return Err(LINK_OUT.to_owned());
    }
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let file = open_at_once(&real, OFlag::empty()).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if metadata.permissions().mode() & 0o002 != 0 {
        return Err(
            "is writable by every user of this machine; take that away with `chmod o-w`".to_owned(),
        );
    }
    let bytes = read_up_to(file, MAX_FILE).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    Ok((real, text))
}

fn writable_by_others(path: &Path) -> bool {
    // The sticky bit keeps others from replacing files, as in /tmp.
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o1_002 == 0o002)
}

const LINK_OUT: &str = "is a symbolic link that leads out of the folder";
const MIB: u64 = 1_024 * 1_024;
/// The largest policy file, in bytes.
const MAX_FILE: u64 = 16 * MIB;
/// The most bytes that all files of a folder may have.
const MAX_FOLDER: u64 = 64 * MIB;
/// The most policy files.
const MAX_FILES: usize = 10_000;
/// The most directory entries in one folder.
pub(super) const MAX_ENTRIES: usize = 20_000;
/// The maximum depth of sub-folders.
pub(super) const MAX_DEPTH: usize = 8;
