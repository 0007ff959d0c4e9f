//! Asks git about a folder. What the repository says runs nothing: no hook, monitor, fetch or prompt, and
//! no repository that a folder brings within itself.

use std::path::Path;
use std::process::{Command, Stdio};

/// What git prints; `None` without git, outside a repository, and if the command fails.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
    let output = Command::new("git")
        .args(["--no-pager", "--no-replace-objects"])
        .args(settings)
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        // Objects that are missing are not fetched.
        .env("GIT_NO_LAZY_FETCH", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then_some(output.stdout)
}

const SETTINGS: [&str; 5] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "log.showSignature=false",
    "protocol.allow=never",
    "safe.bareRepository=explicit",
];
