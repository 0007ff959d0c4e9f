//! Records what a binary was built from, for `hallpass --version`.
//!
//! Nothing here depends on the machine or the time of the build, so two builds of one commit are equal.
//! A build without git has what `HALLPASS_COMMIT` and `SOURCE_DATE_EPOCH` say, or nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script reads the environment of cargo, and prints what cargo reads"
)]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    let commit = given("HALLPASS_COMMIT").or_else(commit);
    let seconds = given("SOURCE_DATE_EPOCH").or_else(|| git(&["show", "-s", "--format=%ct"]));
    let date = seconds.and_then(|text| text.parse().ok()).map(date);
    let unknown = || "unknown".to_owned();
    for (name, value) in [
        ("COMMIT", commit.unwrap_or_else(unknown)),
        ("DATE", date.unwrap_or_else(unknown)),
        ("FEATURES", features()),
        ("TLS", tls()),
        ("TARGET", given("TARGET").unwrap_or_else(unknown)),
    ] {
        println!("cargo::rustc-env=HALLPASS_BUILD_{name}={value}");
    }
    for file in ["build.rs", "Cargo.lock", "Cargo.toml", "src"] {
        println!("cargo::rerun-if-changed={file}");
    }
}

/// A variable with one line of text.
fn given(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    let value = env::var(name).ok()?;
    let is_line = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    is_line.then_some(value)
}

/// The commit, and whether files differ from it.
fn commit() -> Option<String> {
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    let is_changed = changes.is_none_or(|changes| !changes.is_empty());
    Some(commit + if is_changed { " with changes" } else { "" })
}

/// What git prints, if this folder is the root of a checkout. Only for release builds: each commit would
/// otherwise build everything again.
fn git(arguments: &[&str]) -> Option<String> {
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if !is_release || !Path::new(".git").exists() {
        return None;
    }
    let head = run(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={head}");
    run(arguments)
}

fn run(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The features of the package, by name.
fn features() -> String {
    let mut names: Vec<String> = env::vars()
        .filter_map(|(name, _)| {
            let name = name.strip_prefix("CARGO_FEATURE_")?;
            Some(name.to_ascii_lowercase().replace('_', "-"))
        })
        .filter(|name| name != "default")
        .collect();
    names.sort();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// The TLS library and its provider, with the versions of the lock file.
fn tls() -> String {
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        rest.split('"').next().map(|version| format!(" {version}"))
    };
    let [rustls, provider] = ["rustls", "aws-lc-rs"].map(|name| version(name).unwrap_or_default());
    format!("rustls{rustls} with aws-lc-rs{provider}")
}

/// The day of a time in Unix seconds, as `YYYY-MM-DD`.
fn date(seconds: u64) -> String {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    // No build is of a later time than the years that four digits hold.
    let (mut day, mut year) = ((seconds / 86_400).min(2_932_896), 1970);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}
