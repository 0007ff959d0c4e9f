//! Hashes every file of the policy folder, to notice when it is no longer changing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::files::{Entered, MAX_DEPTH, MAX_ENTRIES, Visited, read_within};

/// The hash or read error of each file in a folder, by name.
///
/// A half-finished checkout can be valid and lack a requirement. So two scans, some time apart,
/// must be equal before the folder is loaded (T-77).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scan(BTreeMap<String, String>);

impl Scan {
    /// Scans every file that is not hidden, whatever its name, because policies can refer to other
    /// files.
    #[must_use]
    pub(crate) fn of(dir: &Path) -> Self {
        let mut scan = Self(BTreeMap::new());
        match dir.canonicalize() {
            Ok(root) => {
                let mut visited = Visited::default();
                scan.look_into(&root, "", 0, &mut visited);
            }
            Err(error) => scan.note("", error.to_string()),
        }
        scan
    }

    /// Scans a folder, unless a link leads back to it or outside.
    fn look_into(&mut self, root: &Path, name: &str, depth: usize, visited: &mut Visited) {
        match visited.enter(root, &root.join(name)) {
            Ok(Entered::New(real)) => {
                self.note(name, format!("folder {}", real.display()));
                self.walk(root, name, depth, visited);
            }
            Ok(Entered::Again(real)) => self.note(name, format!("folder {}", real.display())),
            Err(problem) => self.note(name, problem),
        }
    }

    fn walk(&mut self, root: &Path, prefix: &str, depth: usize, visited: &mut Visited) {
        let entries = match fs::read_dir(root.join(prefix)) {
            Ok(entries) => entries,
            Err(error) => return self.note(prefix, error.to_string()),
        };
        for entry in entries.take(MAX_ENTRIES) {
            if self.0.len() >= MAX_IN_ALL {
                return;
            }
            let Ok(entry) = entry else {
                self.note(prefix, "has an entry that cannot be read".to_owned());
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let name = match prefix {
                "" => name,
                _ => format!("{prefix}/{name}"),
            };
            self.look_at(root, &name, depth, visited);
        }
    }

    fn look_at(&mut self, root: &Path, name: &str, depth: usize, visited: &mut Visited) {
        let path = root.join(name);
        if path.is_dir() {
            if depth < MAX_DEPTH {
                self.look_into(root, name, depth.saturating_add(1), visited);
            } else {
                self.note(name, "folder".to_owned());
            }
            return;
        }
        let seen = read_within(root, &path).map_or_else(
            |problem| problem,
            |(_, text)| HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()),
        );
        self.note(name, seen);
    }

    fn note(&mut self, name: &str, seen: String) {
        self.0.insert(name.to_owned(), seen);
    }
}

/// Entries in all sub-folders together. Policies beyond this limit do not load.
const MAX_IN_ALL: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// T-77
    #[test]
    fn every_change_of_a_file_shows_and_hidden_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.yaml", "a");
        fs::create_dir(folder.path().join("certs")).unwrap();
        write("certs/ca.pem", "one");
        let first = Scan::of(folder.path());
        assert_eq!(first, Scan::of(folder.path()));
        write(".swap", "x");
        assert_eq!(first, Scan::of(folder.path()));
        write("certs/ca.pem", "two");
        let second = Scan::of(folder.path());
        assert_ne!(first, second);
        fs::rename(folder.path().join("a.yaml"), folder.path().join("b.yaml")).unwrap();
        let third = Scan::of(folder.path());
        assert_ne!(second, third);
        fs::remove_dir_all(folder.path()).unwrap();
        assert_ne!(third, Scan::of(folder.path()));
    }

    /// T-78
    #[test]
    fn a_pipe_in_the_folder_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("p.yaml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let scan = Scan::of(folder.path());
        assert_eq!(scan.0["p.yaml"], "is not a regular file");
    }

    /// T-77, T-78
    #[test]
    fn a_link_to_another_folder_shows_and_none_leads_round_in_circles_or_out() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("x.yaml"), "x").unwrap();
        for version in ["..1", "..2"] {
            fs::create_dir(folder.path().join(version)).unwrap();
            fs::write(folder.path().join(version).join("ca.pem"), "ca").unwrap();
        }
        let link = |to: &Path, name: &str| {
            std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
        };
        for name in 0..20 {
            link(Path::new("."), &format!("round{name}"));
        }
        link(outside.path(), "out");
        link(Path::new("..1"), "certs");
        let first = Scan::of(folder.path());
        assert!(first.0.contains_key("certs/ca.pem"));
        assert_eq!(
            first.0["out"],
            "is a symbolic link that leads out of the folder"
        );
        assert!(first.0.len() < 30, "{}", first.0.len());
        fs::remove_file(folder.path().join("certs")).unwrap();
        link(Path::new("..2"), "certs");
        assert_ne!(first, Scan::of(folder.path()));
    }
}
