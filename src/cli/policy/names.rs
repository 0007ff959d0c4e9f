//! Names of commits that mean one thing. Git takes a tag before a branch of the same name, and a ref
//! before a short id, so who may push any of them could choose what is compared.

use std::path::Path;

use super::git::git;
use crate::provider::is_commit_id;
use crate::text::escape;

/// The full id of a commit; `None`: there is none of that name.
///
/// # Errors
/// The name is that of two things.
pub(super) fn commit(name: &str, top: &Path) -> Result<Option<String>, String> {
    let Some(id) = resolved(name, top) else {
        return Ok(None);
    };
    if !is_commit_id(name) {
        check(name, top)?;
    }
    Ok(Some(id))
}

fn resolved(name: &str, top: &Path) -> Option<String> {
    let spec = format!("{name}^{{commit}}");
    let command = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
    let id = git(top, &[&command[..], &[spec.as_str()]].concat())?;
    let id = String::from_utf8(id).ok()?.trim().to_owned();
    is_commit_id(&id).then_some(id)
}

/// Checks that the name before `~`, `^` or `@{` is that of one thing.
fn check(name: &str, top: &Path) -> Result<(), String> {
    let ends = [name.find(['~', '^']), name.find("@{")];
    let end = ends.into_iter().flatten().min();
    let name = end.and_then(|end| name.get(..end)).unwrap_or(name);
    // Git reads these before any ref of the name.
    if matches!(
        name,
        "" | "@" | "HEAD" | "FETCH_HEAD" | "ORIG_HEAD" | "MERGE_HEAD"
    ) {
        return Ok(());
    }
    let refs = [
        ("a ref", format!("refs/{name}")),
        ("a tag", format!("refs/tags/{name}")),
        ("a branch", format!("refs/heads/{name}")),
        ("a remote branch", format!("refs/remotes/{name}")),
        ("a remote", format!("refs/remotes/{name}/HEAD")),
    ];
    let is_full = name.starts_with("refs/");
    let patterns = refs.iter().map(|(_, full)| full.as_str());
    let command = ["for-each-ref", "--format=%(refname)"].into_iter();
    let command = command.chain(patterns).chain(is_full.then_some(name));
    let command: Vec<&str> = command.collect();
    let found = git(top, &command).and_then(|found| String::from_utf8(found).ok());
    let shown = escape(name);
    let found = found.ok_or_else(|| format!("git cannot list the refs of the name `{shown}`"))?;
    let exists = |full: &str| found.lines().any(|line| line == full);
    if is_full {
        // A full name comes before all others, if it is there.
        return if exists(name) {
            Ok(())
        } else {
            Err(format!("there is no ref `{shown}`"))
        };
    }
    let all = refs.into_iter().filter(|(_, full)| exists(full));
    let mut all: Vec<(&str, String)> = all.collect();
    let full = all.last().map(|(_, full)| escape(full));
    if is_short_id(name, top) {
        all.push(("a short commit id", String::new()));
    }
    match (all.as_slice(), full) {
        ([(first, _), .., (last, _)], Some(full)) => Err(format!(
            "`{shown}` is both {first} and {last}; write `{full}`, or the full id of the commit"
        )),
        _ => Ok(()),
    }
}

/// Whether it is the start of the id of a commit, alone or at the end of a name by `git describe`.
fn is_short_id(name: &str, top: &Path) -> bool {
    let start = name.rsplit_once("-g").map_or(name, |(_, start)| start);
    if start.len() < 4 || !start.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return false;
    }
    let objects = git(top, &["rev-parse", &format!("--disambiguate={start}")]);
    let objects = objects.and_then(|objects| String::from_utf8(objects).ok());
    let objects = objects.unwrap_or_default();
    let is_commit =
        |id: &str| git(top, &["cat-file", "-t", id]).is_some_and(|sort| sort == b"commit\n");
    objects.lines().any(is_commit)
}
