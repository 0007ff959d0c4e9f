//! What `hallpass` prints about itself: version, completions, manual.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::leaks::Observed as _;
use crate::support::sources::root;

fn hallpass(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    command.args(arguments).observed()
}

fn printed(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.observed();
    let errors = String::from_utf8(stderr).unwrap();
    assert!(
        status.success() && errors.is_empty(),
        "{command:?}: {errors}"
    );
    String::from_utf8(stdout).unwrap()
}

#[test]
fn the_version_says_what_the_binary_was_built_from() {
    let short = String::from_utf8(hallpass(&["-V"]).stdout).unwrap();
    assert_eq!(short, concat!("hallpass ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = String::from_utf8(hallpass(&["--version"]).stdout).unwrap();
    let names: Vec<&str> = long
        .lines()
        .skip(1)
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(names, ["commit", "build date", "features", "TLS", "target"]);
    assert!(long.starts_with(short.trim()), "{long}");
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let (_, rest) = lock
        .split_once("name = \"aws-lc-rs\"\nversion = \"")
        .unwrap();
    let version = rest.split('"').next().unwrap();
    assert!(
        long.contains(&format!("with aws-lc-rs {version}\n")),
        "{long}"
    );
    let dev = cfg!(feature = "dev");
    assert_eq!(
        long.lines()
            .any(|line| line.starts_with("features:") && line.contains("dev")),
        dev
    );
}

/// Compiles the build script and runs it in `folder` as cargo does for a release.
fn build_script(script: &Path, folder: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(script);
    command.current_dir(folder).env_clear();
    // Programs that it calls, such as git.
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
        .env("PROFILE", "release")
        .envs(variables.iter().copied());
    let lines = printed(&mut command);
    let lines = lines
        .lines()
        .filter_map(|line| line.strip_prefix("cargo::rustc-env=HALLPASS_BUILD_"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_build_has_its_commit_and_no_time_or_place_of_the_build() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("build-script");
    let mut compile = Command::new("rustc");
    compile.args(["--edition", "2024", "--cap-lints", "allow", "-o"]);
    printed(compile.arg(&script).arg(root().join("build.rs")));
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let lock = "[[package]]\nname = \"rustls\"\nversion = \"0.23.9\"\n\n[[package]]\nname = \"aws-lc-rs\"\nversion = \"1.2.3\"\n";
    fs::write(source.join("Cargo.lock"), lock).unwrap();
    let run = |variables: &[(&str, &str)]| build_script(&script, &source, variables);
    insta::assert_snapshot!(run(&[]), @"
    COMMIT=unknown
    DATE=unknown
    FEATURES=none
    TLS=rustls 0.23.9 with aws-lc-rs 1.2.3
    TARGET=unknown
    ");
    let given = [
        ("HALLPASS_COMMIT", "abc"),
        ("SOURCE_DATE_EPOCH", "1709210096"),
        ("CARGO_FEATURE_DEFAULT", "1"),
        ("CARGO_FEATURE_DEV", "1"),
        ("CARGO_FEATURE_SOME_OTHER", "1"),
        ("TARGET", "x86_64-unknown-linux-musl"),
    ];
    insta::assert_snapshot!(run(&given), @"
    COMMIT=abc
    DATE=2024-02-29
    FEATURES=dev, some-other
    TLS=rustls 0.23.9 with aws-lc-rs 1.2.3
    TARGET=x86_64-unknown-linux-musl
    ");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&source)
            .args(["-c", "user.name=x", "-c", "user.email=x"]);
        command.env("GIT_COMMITTER_DATE", "2025-01-31T12:00:00Z");
        printed(command.args(arguments))
    };
    git(&["init", "--quiet"]);
    git(&["add", "Cargo.lock"]);
    git(&["commit", "--quiet", "--message", "x"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let lines = run(&[]);
    let expected = format!("COMMIT={}\nDATE=2025-01-31\n", commit.trim());
    assert!(lines.starts_with(&expected), "{lines}");
    assert_eq!(run(&[]), lines);
    fs::write(source.join("Cargo.lock"), "").unwrap();
    let lines = run(&[]);
    assert!(
        lines.starts_with(&format!("COMMIT={} with changes\n", commit.trim())),
        "{lines}"
    );
    // A day before and after each end of a year, and a text that is no time.
    for (seconds, date) in [
        ("0", "1970-01-01"),
        ("951782400", "2000-02-29"),
        ("4102444799", "2099-12-31"),
        ("4107542400", "2100-03-01"),
        ("1735689599", "2024-12-31"),
        ("1735689600", "2025-01-01"),
        ("18446744073709551615", "9999-12-31"),
        ("soon", "unknown"),
    ] {
        let lines = run(&[("SOURCE_DATE_EPOCH", seconds)]);
        assert!(
            lines.contains(&format!("DATE={date}\n")),
            "{seconds}: {lines}"
        );
    }
}

/// A completion script in a file, as an installation has it.
fn script(folder: &Path, shell: &str, name: &str) -> String {
    let output = hallpass(&["completions", shell]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{shell}"
    );
    let path = folder.join(name);
    fs::write(&path, output.stdout).unwrap();
    path.display().to_string()
}

#[test]
fn the_completions_of_bash_complete_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let file = script(folder.path(), "bash", "hallpass");
    let run = |line: &str| {
        let code = format!(
            ". {file}; complete -p hallpass >/dev/null; COMP_WORDS=({line}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _hallpass hallpass \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        printed(Command::new("bash").args(["--norc", "-c", &code]))
    };
    assert_eq!(run("hallpass ex").trim(), "exec");
    assert_eq!(run("hallpass policy ch").trim(), "check");
    assert_eq!(run("hallpass serve --ch").trim(), "--check");
}

#[test]
fn the_completions_of_zsh_load() {
    let folder = tempfile::tempdir().unwrap();
    script(folder.path(), "zsh", "_hallpass");
    let code = "fpath=($1 $fpath); autoload -Uz compinit; compinit -D -u; print $_comps[hallpass]; \
                autoload +X _hallpass && _hallpass_commands() { }; print ${(k)functions[(I)_hallpass]}";
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-c", code, "zsh"]).arg(folder.path());
    assert_eq!(printed(&mut zsh), "_hallpass\n_hallpass\n");
    printed(
        Command::new("zsh")
            .args(["-f", "-n"])
            .arg(folder.path().join("_hallpass")),
    );
}

#[test]
fn the_completions_of_fish_complete_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let file = script(folder.path(), "fish", "hallpass.fish");
    let run = |line: &str| {
        let code = format!("source {file}; complete --do-complete '{line}'");
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", &code])
            .env("HOME", folder.path());
        printed(&mut fish)
    };
    assert!(run("hallpass ex").starts_with("exec\t"));
    assert!(run("hallpass serve --ch").starts_with("--check\t"));
}

#[test]
fn every_shell_has_its_completions() {
    for (shell, begins) in [
        ("powershell", "using namespace System.Management.Automation"),
        ("elvish", "use builtin;"),
    ] {
        let output = hallpass(&["completions", shell]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.trim_start().starts_with(begins), "{text}");
    }
    assert_eq!(hallpass(&["completions", "csh"]).status.code(), Some(2));
}

#[test]
fn the_manual_has_a_page_for_each_command_and_mandoc_finds_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let mut write = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    printed(write.args(["man", "--out"]).arg(&pages));
    let mut names: Vec<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in ["hallpass.1", "hallpass-exec.1", "hallpass-policy-check.1"] {
        assert!(names.iter().any(|one| one == name), "{name}: {names:?}");
    }
    let mut lint = Command::new("mandoc");
    lint.args(["-T", "lint", "-W", "warning"])
        .current_dir(&pages);
    let findings = lint.args(&names).observed();
    let findings = String::from_utf8(findings.stdout).unwrap();
    // The date is that of a release; other builds have none.
    let findings = findings
        .lines()
        .filter(|line| !line.contains("missing date"));
    assert_eq!(findings.collect::<Vec<_>>(), Vec::<&str>::new());
    let mut shown = Command::new("mandoc");
    shown
        .args(["-T", "ascii", "hallpass-exec.1"])
        .current_dir(&pages);
    let text = printed(&mut shown);
    assert!(text.contains("hallpass-exec(1)"), "{text}");
    assert!(
        text.contains("       hallpass exec deploy-host -- ssh deploy@web1.acme.dev\n"),
        "{text}"
    );
    // Without a folder, the page of the program.
    let output = hallpass(&["man"]);
    assert_eq!(output.stdout, fs::read(pages.join("hallpass.1")).unwrap());
    let output = hallpass(&["man", "--out", "/dev/null/man"]);
    assert_eq!(output.status.code(), Some(5));
}
