//! Hashes of all loaded files, to notice changes.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use nix::fcntl::OFlag;

use crate::config::Settings;
use crate::file::open_at_once;
use crate::policy::Scan;
use crate::secret::Secret;

/// Every file of a version, with the hash of its content.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::broker) struct FileSnapshot {
    folders: BTreeMap<PathBuf, Scan>,
    files: BTreeMap<PathBuf, FileState>,
}

impl FileSnapshot {
    /// Scans the settings file and every file that it names, both as it is now and as it was
    /// loaded.
    pub(in crate::broker) fn of(loaded: &Settings) -> Self {
        let mut seen = Self {
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        seen.add(loaded);
        if let Some(file) = &loaded.file
            && let Ok(now) = Settings::load(file)
        {
            seen.add(&now);
        }
        seen
    }

    fn add(&mut self, settings: &Settings) {
        let folder = &settings.policies;
        self.folders
            .entry(folder.clone())
            .or_insert_with(|| Scan::of(folder));
        for file in files(settings) {
            self.files
                .entry(file)
                .or_insert_with_key(|file| FileState::at(file));
        }
    }
}

/// Passwords are not included, because they are read at each use.
fn files(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    let tls = settings.listen.tls.iter();
    let tls = tls.flat_map(|files| [&files.cert, &files.key]);
    let targets = settings.targets.values();
    let of_targets = targets.flat_map(|target| target.files());
    let rs256 = settings.signing.rs256.iter();
    let rs256 = rs256.flat_map(|files| std::iter::once(&files.key).chain(&files.next));
    let commit = settings.policy_url.iter().map(|links| &links.commit);
    let settings = settings.file.iter().chain(&settings.root_keys);
    settings
        .chain(commit)
        .chain(tls)
        .chain(rs256)
        .cloned()
        .chain(of_targets)
}

/// The state of one file: a hash, because it may be a secret.
#[derive(Clone, PartialEq, Eq)]
enum FileState {
    File { mode: u32, hash: Vec<u8> },
    Unreadable(io::ErrorKind),
}

impl FileState {
    fn at(path: &Path) -> Self {
        Self::try_at(path).unwrap_or_else(|error| Self::Unreadable(error.kind()))
    }

    fn try_at(path: &Path) -> io::Result<Self> {
        let file = open_at_once(path, OFlag::empty())?;
        let metadata = file.metadata()?;
        let mut bytes = Vec::new();
        if metadata.is_file() {
            file.take(MOST).read_to_end(&mut bytes)?;
        }
        let bytes = Secret::new(bytes);
        let hash = digest::digest(&digest::SHA256, bytes.expose());
        Ok(Self::File {
            mode: metadata.mode(),
            hash: hash.as_ref().to_vec(),
        })
    }
}

/// The most bytes that are hashed. A longer file does not load.
const MOST: u64 = 2 << 20;
