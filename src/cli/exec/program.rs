//! Which file a command names, found before anything is minted: one that cannot be started costs no login.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::text::escape_up_to;

/// Why a command cannot be started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("no command `{}`", shown(.0))]
    Missing(OsString),
    #[error("`{}` is not executable; `chmod +x` it, or name the program that reads it", shown(.0.as_os_str()))]
    NotExecutable(PathBuf),
    /// A script whose first line names a program that cannot be run.
    #[error("the first line of `{}` names `{}`, which cannot be run", shown(.script.as_os_str()), shown(.interpreter.as_os_str()))]
    Interpreter {
        script: PathBuf,
        /// What its first line names.
        interpreter: PathBuf,
    },
}

impl Refused {
    /// As in a shell: 127 there is none, 126 it cannot be run.
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Missing(_) => 127,
            Self::NotExecutable(_) | Self::Interpreter { .. } => 126,
        }
    }
}

fn shown(text: &OsStr) -> String {
    escape_up_to(&text.to_string_lossy(), 120)
}

/// The file that `program` names: itself where it has a `/`, else the first executable one in `path`.
pub(super) fn find(program: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Refused> {
    let mut candidates = Vec::new();
    if program.as_bytes().contains(&b'/') {
        candidates.push(PathBuf::from(program));
    } else if !program.is_empty() {
        let folders = std::env::split_paths(path.unwrap_or(OsStr::new(USUAL_PATH)));
        // An empty entry of PATH is the current folder.
        candidates.extend(folders.map(|folder| Path::new(".").join(folder).join(program)));
    }
    let mut there = None;
    for candidate in candidates {
        if !candidate.is_file() {
            continue;
        }
        if is_executable(&candidate) {
            return check_interpreter(candidate);
        }
        there.get_or_insert(candidate);
    }
    Err(there.map_or_else(
        || Refused::Missing(program.to_owned()),
        Refused::NotExecutable,
    ))
}

fn check_interpreter(path: PathBuf) -> Result<PathBuf, Refused> {
    match interpreter(&path) {
        Some(interpreter) if !(interpreter.is_file() && is_executable(&interpreter)) => {
            Err(Refused::Interpreter {
                script: path,
                interpreter,
            })
        }
        Some(_) | None => Ok(path),
    }
}

/// What follows `#!`, to the first blank, as the kernel reads it (execve(2)). A file that we cannot
/// read may be run all the same.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    let mut file = File::open(path).ok()?.take(FIRST_LINE);
    file.read_to_end(&mut start).ok()?;
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    let name = words.into_iter().find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// By the rights that we act with, and not from a file system that runs nothing.
fn is_executable(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    let access = nix::unistd::eaccess(path, nix::unistd::AccessFlags::X_OK);
    #[cfg(not(target_os = "linux"))]
    let access = {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
    };
    access.is_ok()
}

/// Where the C library looks when there is no PATH.
const USUAL_PATH: &str = "/bin:/usr/bin";
const FIRST_LINE: u64 = 256;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn found(program: &str, path: &OsStr) -> Result<PathBuf, Refused> {
        find(OsStr::new(program), Some(path))
    }

    #[test]
    fn the_first_executable_file_of_the_path_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join(OsStr::from_bytes(b"b\xff"));
        let (first, second) = (folder.path().join("a"), odd);
        for folder in [&first, &second] {
            fs::create_dir(folder).unwrap();
        }
        write(&first.join("run"), "", 0o644);
        write(&second.join("run"), "", 0o755);
        let path = std::env::join_paths([&first, &second]).unwrap();
        assert_eq!(found("run", &path), Ok(second.join("run")));
        fs::remove_file(second.join("run")).unwrap();
        assert_eq!(
            found("run", &path),
            Err(Refused::NotExecutable(first.join("run")))
        );
        fs::remove_file(first.join("run")).unwrap();
        assert_eq!(found("run", &path), Err(Refused::Missing("run".into())));
        assert_eq!(found("", &path), Err(Refused::Missing("".into())));
        assert_eq!(found("/", &path), Err(Refused::Missing("/".into())));
        assert!(find(OsStr::new("sh"), None).is_ok());
    }

    #[test]
    fn a_script_needs_what_its_first_line_names() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        for (text, named) in [
            ("#!/bin/sh\n", None),
            ("#! /bin/sh -eu\n", None),
            ("#!/bin/sh\r\n", Some("/bin/sh\r")),
            ("#!/no/such/program\n", Some("/no/such/program")),
            ("echo\n", None),
            ("", None),
        ] {
            write(&script, text, 0o755);
            let expected = match named {
                None => Ok(script.clone()),
                Some(named) => Err(Refused::Interpreter {
                    script: script.clone(),
                    interpreter: named.into(),
                }),
            };
            assert_eq!(found(script.to_str().unwrap(), OsStr::new("")), expected);
        }
        let refused = Refused::Interpreter {
            script: "./migrate.sh".into(),
            interpreter: "/bin/sh\r".into(),
        };
        insta::assert_snapshot!(refused, @r"the first line of `./migrate.sh` names `/bin/sh\u{d}`, which cannot be run");
    }
}
