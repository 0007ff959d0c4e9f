//! The command tree; the one writer to the terminal. One file per command.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use nix::sys::signal::{SigSet, Signal};

use crate::client::FileError;
use crate::config::Settings;
use crate::secret::Secret;
use crate::stdio::check_open;
use crate::text::{ascii_json, escape};

pub mod audit;
mod audit_file;
mod broker;
pub mod completions;
mod deliver;
#[cfg(feature = "dev")]
pub mod demo;
#[cfg(feature = "dev")]
pub mod dev;
pub mod doctor;
pub mod exec;
pub mod get;
pub mod init;
mod inputs;
mod job;
pub mod keys;
pub mod leases;
pub mod list;
pub mod man;
pub mod policy;
pub mod provider;
pub mod revoke;
pub mod serve;
mod signals;
mod table;
pub mod target;
pub mod unseal;
mod version;
mod wanted;
mod wrap;

/// Runs the command that the arguments name; the exit code is 0; 1 denied; 2 usage;
/// 3 broker unreachable or busy; 4 findings; 5 local failure; 6 not decided.
#[must_use]
pub fn run() -> ExitCode {
    // Before anything else, so that no command can find another one, or none.
    crate::broker::install_crypto_provider();
    survive_full_files();
    let mut out = Terminal::new();
    let result = match Cli::try_parse() {
        Ok(cli) => cli.command.run(&mut out),
        Err(message) => out.clap_message(&message),
    };
    // What was not written changes no other failure, which is printed and has its own code.
    match result.and_then(|()| out.check()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&mut out),
    }
}

/// The command tree, for the reference in `docs/cli.md`.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// A file that may not grow (`ulimit -f`) would end us with SIGXFSZ in the middle of a write: blocked,
/// the write fails and is dealt with like any other (T-137). Children do not inherit it.
fn survive_full_files() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    if signals.thread_block().is_err() {
        // Only a bad set of signals is refused, and this one is good.
    }
}

/// A CI identity broker: a job's OIDC token in, a short-lived scoped credential out
///
/// Exit codes: 0 done; 1 denied; 2 usage; 3 broker unreachable or busy; 4 findings; 5 local failure;
/// 6 not decided.
/// `exec` returns its command's own.
#[derive(Debug, Parser)]
#[command(
    name = "hallpass",
    version,
    long_version = version::LONG,
    propagate_version = true,
    after_help = "Example, in a job:
  export HALLPASS_BROKER=https://hallpass.example
  hallpass exec shop-db/migrate -- ./migrate.sh"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Get(get::Args),
    Unseal(unseal::Args),
    Exec(exec::Args),
    List(list::Args),
    Revoke(revoke::Args),
    Doctor(doctor::Args),
    Policy(policy::Args),
    Provider(provider::Args),
    Init(init::Args),
    Target(target::Args),
    Leases(leases::Args),
    Audit(audit::Args),
    Keys(keys::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[cfg(feature = "dev")]
    Demo(demo::Args),
    #[cfg(feature = "dev")]
    Dev(dev::Args),
}

impl Command {
    fn run(self, out: &mut Terminal) -> Result<(), Failure> {
        match self {
            Self::Serve(args) => serve::run(args, out),
            Self::Get(args) => get::run(&args, out),
            Self::Unseal(args) => unseal::run(&args, out),
            Self::Exec(args) => exec::run(&args, out),
            Self::List(args) => list::run(&args, out),
            Self::Revoke(args) => revoke::run(args, out),
            Self::Doctor(args) => doctor::run(&args, out),
            Self::Policy(args) => policy::run(args, out),
            Self::Provider(args) => provider::run(&args, out),
            Self::Init(args) => init::run(&args, out),
            Self::Target(args) => target::run(args, out),
            Self::Leases(args) => leases::run(args, out),
            Self::Audit(args) => audit::run(args, out),
            Self::Keys(args) => keys::run(args, out),
            Self::Completions(args) => completions::run(&args, out),
            Self::Man(args) => man::run(&args, out),
            #[cfg(feature = "dev")]
            Self::Demo(args) => demo::run(&args, out),
            #[cfg(feature = "dev")]
            Self::Dev(args) => dev::run(args, out),
        }
    }
}

/// Where commands wait for networks and signals.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Local(format!("cannot start the async runtime: {error}")))
}

/// The settings of `--config`.
fn settings(config: &Path) -> Result<Settings, Failure> {
    Settings::load(config).map_err(|error| Failure::Local(error.with_option("--config")))
}

/// A target was named that the settings do not have.
fn no_target(settings: &Settings, name: &str) -> Failure {
    let known: Vec<&str> = settings.targets.keys().map(String::as_str).collect();
    Failure::Usage(format!(
        "no target `{}` in the settings; expected one of: {}",
        escape(name),
        known.join(", ")
    ))
}

/// How a command prints its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    #[value(alias = "human")]
    Text,
    /// One JSON document, for programs
    Json,
}

/// Why a command did not do what it was asked, with the exit code that says so.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The broker refused: exit code 1.
    #[error("{0}")]
    Denied(String),
    /// The command line is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The broker cannot be reached, or is busy: exit code 3.
    #[error("{0}")]
    Unreachable(String),
    /// Something was found that should be looked at; it is printed already: exit code 4.
    #[error("{0}")]
    Findings(String),
    /// Settings, a file, a port: exit code 5.
    #[error("{0}")]
    Local(String),
    /// A question was not decided: exit code 6.
    #[error("{0}")]
    Undecided(String),
    /// A child process ended with this code; nothing more to say.
    #[error("")]
    Child(u8),
}

impl Failure {
    fn local(error: impl fmt::Display) -> Self {
        Self::Local(error.to_string())
    }

    fn usage(error: impl fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Denied(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Findings(_) => 4,
            Self::Local(_) => 5,
            Self::Undecided(_) => 6,
            Self::Child(code) => *code,
        }
    }

    fn report(&self, out: &mut Terminal) -> ExitCode {
        let text = self.to_string();
        if !text.is_empty() {
            out.error_report(&format!("hallpass: {text}"));
        }
        ExitCode::from(self.code())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Local(error.to_string())
    }
}

/// The one writer to the terminal. Answers go to standard output, everything else to standard error.
///
/// A write to standard output that fails is remembered, and fails the command (T-137).
#[derive(Debug)]
pub struct Terminal {
    /// Whether standard output shows colours.
    colours: bool,
    /// Whether standard error does.
    error_colours: bool,
    /// The failure that came first.
    failed: Option<io::Error>,
}

impl Terminal {
    fn new() -> Self {
        Self {
            colours: AutoStream::choice(&io::stdout()) != ColorChoice::Never,
            error_colours: AutoStream::choice(&io::stderr()) != ColorChoice::Never,
            failed: None,
        }
    }

    /// Whether all of the answer so far was written.
    ///
    /// # Errors
    /// It was not: exit code 5.
    pub fn check(&self) -> Result<(), Failure> {
        match &self.failed {
            None => Ok(()),
            Some(error) => Err(Failure::Local(format!(
                "standard output cannot be written, so the output is incomplete: {error}"
            ))),
        }
    }

    /// Help, the version, or a slip on the command line, as clap words it.
    fn clap_message(&mut self, message: &clap::Error) -> Result<(), Failure> {
        let printed = message.print().and_then(|()| io::stdout().flush());
        if message.use_stderr() {
            return Err(Failure::Child(USAGE));
        }
        self.note(printed);
        Ok(())
    }

    /// A line of the answer, in colour where standard output shows it, made harmless: nothing in it drives a terminal or a CI's runner.
    pub fn line(&mut self, text: &str) {
        let text = shown(text, self.colours);
        self.answer(&text);
    }

    /// An answer in JSON, for programs.
    pub fn json(&mut self, json: &str) {
        self.answer(&ascii_json(json));
    }

    /// An answer exactly as it is, since a program reads it: a credential, a token, SQL. It exists
    /// nowhere else, so an output that keeps nothing is a failure.
    pub fn verbatim(&mut self, text: &str) {
        let written = check_open(&io::stdout()).and_then(|()| write_line(&io::stdout(), text));
        self.note(written);
    }

    /// Whether [`Self::verbatim`] can hand over anything: asked before it is made.
    ///
    /// # Errors
    /// Standard output is closed, or cannot be told from a closed one: exit code 5.
    pub fn can_hand_over(&mut self) -> Result<(), Failure> {
        let open = check_open(&io::stdout());
        self.note(open);
        self.check()
    }

    /// A line about the answer: progress, warnings, errors. A failure to write it
    /// changes nothing.
    pub fn error(&mut self, text: &str) {
        let text = shown(text, self.error_colours);
        if write_line(&io::stderr(), &text).is_err() {
            // The exit code says what it can.
        }
    }

    /// A command of ours to the CI's runner, which reads both outputs.
    ///
    /// # Errors
    /// It was not written, so the runner does not know.
    pub fn command(&mut self, text: &str) -> Result<(), Failure> {
        check_open(&io::stderr())
            .and_then(|()| write_line(&io::stderr(), text))
            .map_err(|error| Failure::Local(format!("standard error cannot be written: {error}")))
    }

    fn answer(&mut self, text: &str) {
        let written = write_line(&io::stdout(), text);
        self.note(written);
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }
}

/// In one write and past the standard library's buffer, which would keep a copy of a secret, and
/// which takes an output that is open for reading only for written.
fn write_line(out: &impl AsFd, text: &str) -> io::Result<()> {
    let line = Secret::new(format!("{text}\n"));
    File::from(out.as_fd().try_clone_to_owned()?).write_all(line.expose().as_bytes())
}

/// `text` for a stream: without its colours where they are not shown.
fn shown(text: &str, colours: bool) -> String {
    if colours {
        harmless(text, true)
    } else {
        harmless(&strip_str(text).to_string(), false)
    }
}

/// The last look at text for people (T-91). Outside text was escaped where it came in; here
/// whatever escaped that is spelled out, and so are the marks by which GitHub's and Azure's runners
/// know a command to themselves in a job's output: `::` that begins a line, and `##[` or `##vso[`
/// anywhere.
fn harmless(text: &str, with_colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let body = line.trim_start();
        let indent = line.len().saturating_sub(body.len());
        out.extend(std::iter::repeat_n(' ', indent));
        if let Some(rest) = body.strip_prefix("::") {
            out.push_str("\\u{3a}:");
            push_harmless(&mut out, rest, with_colours);
        } else {
            push_harmless(&mut out, body, with_colours);
        }
    }
    out
}

fn push_harmless(out: &mut String, text: &str, with_colours: bool) {
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("##") {
            out.push_str("#\\u{23}");
            rest = after;
            continue;
        }
        if let Some((colour, after)) = with_colours.then(|| split_colour(rest)).flatten() {
            out.push_str(colour);
            rest = after;
            continue;
        }
        match character {
            ' '..='~' => out.push(character),
            ours if OURS.contains(&ours) => out.push(ours),
            '\t' => out.push(' '),
            outside => out.push_str(&escape(outside.encode_utf8(&mut [0; 4]))),
        }
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
    }
}

/// A sequence that sets a colour and does nothing else.
fn split_colour(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix("\u{1b}[")?;
    let digits = body.find(|letter: char| !(letter.is_ascii_digit() || letter == ';'))?;
    let is_colour = body.get(digits..)?.starts_with('m');
    let end = digits.checked_add(3)?;
    is_colour.then(|| text.split_at_checked(end)).flatten()
}

/// The exit code of a slip on the command line.
const USAGE: u8 = 2;

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();

/// What our own texts have beside ASCII.
const OURS: [char; 3] = ['✓', '✗', '…'];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn output_for_people_has_its_earlier_name_too() {
        for name in ["text", "human"] {
            assert_eq!(Output::from_str(name, false), Ok(Output::Text));
        }
    }

    /// T-91
    #[test]
    fn what_would_drive_a_terminal_is_spelled_out() {
        let text = harmless(
            "a\u{1b}[2J\r\u{7f}\u{9b}\u{85}\u{202e}\u{2028}\u{e9}\n\tb ✓",
            true,
        );
        assert_eq!(
            text,
            "a\\u{1b}[2J\\u{d}\\u{7f}\\u{9b}\\u{85}\\u{202e}\\u{2028}\\u{e9}\n b ✓"
        );
        assert_eq!(
            harmless("\u{1b}[31mred\u{1b}[0m", true),
            "\u{1b}[31mred\u{1b}[0m"
        );
        assert_eq!(harmless("\u{1b}[31mred", false), "\\u{1b}[31mred");
    }

    /// T-91
    #[test]
    fn a_colour_that_is_not_shown_hides_no_command() {
        for text in ["\u{1b}[31m::set-env", " \u{1b}[0m::x", "#\u{1b}[0m#[error]"] {
            let plain = shown(text, false);
            assert!(
                !plain.contains(['\u{1b}']) && !plain.contains("##"),
                "{plain}"
            );
            assert!(!plain.trim_start().starts_with("::"), "{plain}");
        }
        assert_eq!(shown(&format!("{GREEN}ok{GREEN:#}"), false), "ok");
    }

    /// T-91
    #[test]
    fn no_text_is_a_command_to_the_jobs_runner() {
        let texts = [
            (
                "::set-env name=PATH::/tmp",
                "\\u{3a}:set-env name=PATH::/tmp",
            ),
            ("x\n  ::stop-commands::y", "x\n  \\u{3a}:stop-commands::y"),
            ("\t::add-mask::", " \\u{3a}:add-mask::"),
            ("a ##[set-output name=b]c", "a #\\u{23}[set-output name=b]c"),
            (
                "a ##vso[task.setvariable]c",
                "a #\\u{23}vso[task.setvariable]c",
            ),
            ("###[error]", "#\\u{23}#[error]"),
            ("refs/heads/main, a::b", "refs/heads/main, a::b"),
        ];
        for (text, shown) in texts {
            assert_eq!(harmless(text, false), shown);
        }
    }

    proptest! {
        /// T-91
        #[test]
        fn any_text_is_printable_and_commands_nobody(text in "(?s)[\u{0}-\u{ff}#:\\[ \n]{0,60}|.{0,40}") {
            for line in harmless(&text, false).split('\n') {
                prop_assert!(line.chars().all(|letter| matches!(letter, ' '..='~') || OURS.contains(&letter)));
                prop_assert!(!line.trim_start().starts_with("::"));
                prop_assert!(!line.contains("##"));
            }
        }
    }
}
