//! `hallpass policy fmt`: the spacing of policy and test files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::edit::{Change, LARGEST};
use crate::cli::{Failure, Terminal};
use crate::file::read_text;
use crate::text::escape;
use crate::yaml::Diagnostics;
use crate::yaml::diagnostic::{Problems, Source};
use crate::yaml::format::format;

/// Formats the spacing of policy and test files
///
/// Comments, order, quotes and indentation stay as they are, and so does what the files mean. Exit
/// code 0: all files are formatted; 4: a file does not parse, or would change with `--check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy fmt policies
  hallpass policy fmt --check policies")]
pub(super) struct Args {
    /// Folders and files
    #[arg(default_value = "policies", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write nothing; list the files that would change
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in &args.paths {
        if path.is_dir() {
            let unreadable = |error: io::Error| unreadable(path, &error);
            walk(path, 0, &mut files).map_err(unreadable)?;
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    files.dedup();
    let problems = Problems::default();
    let mut changed = 0_usize;
    for path in &files {
        let shown = path.display().to_string();
        let before = read_text(path, LARGEST).map_err(|error| unreadable(path, &error))?;
        let source = Source::new(&shown, &shown, before);
        let Some(after) = format(&source, &problems) else {
            continue;
        };
        if after == source.text() {
            continue;
        }
        changed = changed.saturating_add(1);
        if !args.check {
            let dir = path.parent().filter(|dir| *dir != Path::new(""));
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let change = Change {
                name: &name,
                before: Some(source.text()),
                after: &after,
            };
            change.write(dir.unwrap_or(Path::new(".")))?;
        }
        out.line(&escape(&shown));
    }
    let found = Diagnostics::from(problems);
    if found.has_errors() {
        out.error_report(&found.render(true));
        let message = "the files with errors are left as they are";
        return Err(Failure::Findings(message.to_owned()));
    }
    if args.check && changed > 0 {
        let message = "the listed files are not formatted; run `hallpass policy fmt` on them";
        return Err(Failure::Findings(message.to_owned()));
    }
    Ok(())
}

/// The policy and test files of a folder. Links and hidden files are left out.
fn walk(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() && depth < MAX_DEPTH {
            walk(&path, depth.saturating_add(1), files)?;
        } else if kind.is_file() && path.extension().is_some_and(|ending| ending == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let shown = escape(&path.display().to_string());
    Failure::Local(format!("`{shown}` cannot be read: {error}"))
}

/// The maximum depth of sub-folders, as for the policies of a broker.
const MAX_DEPTH: usize = 8;
