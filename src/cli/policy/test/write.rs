//! Records the decisions of today as tests.

use std::collections::BTreeSet;

use super::Args;
use crate::cli::policy::edit::{Change, difference};
use crate::cli::{Failure, Terminal};
use crate::clock::Timestamp;
use crate::file::read_text;
use crate::policy::PolicySet;
use crate::policy::examples::{self, Coverage, TestFile};
use crate::text::{count, escape};

/// Adds a test for what no test exercises, or with `--dry-run` shows it.
pub(super) fn write(
    args: &Args,
    set: &PolicySet,
    files: &[TestFile],
    now: Timestamp,
    out: &mut Terminal,
) -> Result<(), Failure> {
    let tests = files.iter().flat_map(|file| &file.tests);
    let outcomes: Vec<_> = tests.map(|test| examples::run(set, test, now)).collect();
    let taken: BTreeSet<String> = outcomes
        .iter()
        .map(|one| one.example.name.clone())
        .collect();
    let recorded = examples::record(set, &Coverage::of(set, &outcomes), &taken, now);
    for skipped in &recorded.skipped {
        out.error(&format!("not recorded: {skipped}"));
    }
    let mut number = 0_usize;
    for (name, entries) in &recorded.files {
        let path = args.dir.join(name);
        let before = match path.try_exists() {
            Ok(false) => None,
            Ok(true) | Err(_) => Some(read_text(&path, LARGEST).map_err(|error| {
                Failure::Local(format!(
                    "`{}` cannot be read: {error}",
                    escape(&path.display().to_string())
                ))
            })?),
        };
        let after = appended(before.as_deref(), entries);
        let known = files
            .iter()
            .find(|file| file.shown == path.display().to_string());
        let known = known.map_or(0, |file| file.tests.len());
        let expected = known.saturating_add(entries.len());
        match examples::test_files_of_texts(&[(name.as_str(), after.as_str())], set) {
            Ok(files) if files.iter().map(|file| file.tests.len()).sum::<usize>() == expected => {}
            Ok(_) | Err(_) => {
                return Err(Failure::Local(format!(
                    "tests cannot be added to the end of `{}`: expected a list `tests:` there, indented by two spaces",
                    escape(&path.display().to_string())
                )));
            }
        }
        number = number.saturating_add(entries.len());
        if args.dry_run {
            out.line(&escape(&path.display().to_string()));
            for line in difference(before.as_deref().unwrap_or_default(), &after) {
                out.line(&line);
            }
            continue;
        }
        let change = Change {
            name,
            before: before.as_deref(),
            after: &after,
        };
        let path = change.write(&args.dir)?;
        out.line(&format!(
            "{}: {} recorded",
            escape(&path.display().to_string()),
            count(entries.len(), "test")
        ));
    }
    if number == 0 && recorded.skipped.is_empty() {
        out.line("every policy, condition and requirement has a test already");
    }
    Ok(())
}

fn appended(before: Option<&str>, entries: &[String]) -> String {
    let mut text = before.unwrap_or("tests:\n").to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in entries {
        text.push_str(entry);
    }
    text
}

/// The largest test file, in bytes.
const LARGEST: u64 = 16 * 1_024 * 1_024;
