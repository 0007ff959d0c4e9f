//! GitHub's runner, as far as an action can tell: the variables it sets, the files and lines it reads.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::leaks;
use crate::support::sources::root;

/// A job that runs one step of the action.
pub(crate) struct Job {
    folder: TempDir,
    inputs: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
}

/// One workflow command on standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The result of `main` or `post`.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
    pub(crate) commands: Vec<Line>,
}

impl Job {
    /// A job for this broker, with the defaults of `action.yml`.
    pub(crate) fn new(broker: &str, credentials: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["temp", "workspace"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut job = Self {
            folder,
            inputs: defaults(),
            environment: BTreeMap::new(),
        };
        for (variable, path) in [
            ("RUNNER_TEMP", job.temp()),
            ("GITHUB_WORKSPACE", job.path("workspace")),
        ] {
            job.set(variable, path.to_str().unwrap());
        }
        for name in FILES {
            fs::write(job.path(name), "").unwrap();
            let path = job.path(name);
            job.set(&format!("GITHUB_{name}"), path.to_str().unwrap());
        }
        job.set("GITHUB_ACTIONS", "true");
        job.input("broker", broker);
        job.input("credentials", credentials);
        job
    }

    pub(crate) fn input(&mut self, name: &str, value: &str) -> &mut Self {
        self.inputs.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// `id-token: write`: where the job can fetch ID tokens.
    pub(crate) fn tokens(&mut self, url: &str, request_token: &str) -> &mut Self {
        self.set("ACTIONS_ID_TOKEN_REQUEST_URL", url);
        self.set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", request_token)
    }

    pub(crate) fn temp(&self) -> PathBuf {
        self.path("temp")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn main(&self) -> Ran {
        Ran::of(&self.command("main").output().unwrap())
    }

    pub(crate) fn post(&self) -> Ran {
        Ran::of(&self.command("post").output().unwrap())
    }

    /// `main` or `post`, as `action.yml` names them.
    pub(crate) fn command(&self, step: &str) -> Command {
        let file = setting(&format!("  {step}: "));
        let mut command = Command::new(node());
        command
            .arg(root().join("github-action").join(file))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(&self.environment);
        for (name, value) in &self.inputs {
            command.env(format!("INPUT_{}", name.to_uppercase()), value);
        }
        if step == "post" {
            let state = self.entries("STATE");
            command.envs(
                state
                    .iter()
                    .map(|(name, value)| (format!("STATE_{name}"), value)),
            );
        }
        command
    }

    /// The entries of one of the runner's files. The last one of a name counts.
    pub(crate) fn entries(&self, file: &str) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.path(file)).unwrap();
        let mut entries = BTreeMap::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let (name, value) = match (line.split_once("<<"), line.split_once('=')) {
                (Some((name, end)), _) => {
                    let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
                    (name, value.join("\n"))
                }
                (None, Some((name, value))) => (name, value.to_owned()),
                (None, None) => panic!("`{file}` has a line without a name"),
            };
            entries.insert(name.to_owned(), value);
        }
        entries
    }

    /// A program of a later step, with the variables that the action exported.
    pub(crate) fn later_step(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.entries("ENV"));
        command
    }

    /// Every file that the action left in the temporary folder.
    pub(crate) fn secret_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.temp()).unwrap() {
            let folder = folder.unwrap().path();
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
            for file in fs::read_dir(folder).unwrap() {
                found.push(file.unwrap().path());
            }
        }
        found.sort();
        found
    }
}

impl Ran {
    fn of(output: &Output) -> Self {
        let log = String::from_utf8(output.stdout.clone()).unwrap();
        let error = String::from_utf8(output.stderr.clone()).unwrap();
        leaks::said("standard error of the action", error.as_bytes());
        let mut commands = Vec::new();
        for line in log.lines() {
            let command = line.trim_start().strip_prefix("::").and_then(|rest| {
                let (head, text) = rest.split_once("::")?;
                let name = head.split(' ').next()?.to_owned();
                let text = text.replace("%0D", "\r").replace("%0A", "\n");
                let text = text.replace("%25", "%");
                Some(Line { name, text })
            });
            let is_mask = command.as_ref().is_some_and(|line| line.name == "add-mask");
            if !is_mask {
                // The old form of a command counts anywhere in a line that is not a new one.
                assert!(!line.contains("##["), "{line}");
                leaks::said("the log of the action", line.as_bytes());
            }
            commands.extend(command);
        }
        leaks::check();
        assert_eq!(error, "", "{log}");
        Self {
            code: output.status.code(),
            log,
            commands,
        }
    }

    /// The texts of all commands of that name.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        let lines = self.commands.iter().filter(|line| line.name == name);
        lines.map(|line| line.text.as_str()).collect()
    }

    /// Each line of it is masked.
    pub(crate) fn masks(&self, secret: &str) -> bool {
        let masks = self.texts("add-mask");
        let mut lines = secret.lines().filter(|line| !line.trim().is_empty());
        lines.all(|line| masks.contains(&line))
    }
}

/// The job of a page of `docs/ci`.
pub(crate) fn job_of_page(page: &str) -> String {
    let text = fs::read_to_string(root().join(format!("docs/ci/{page}.md"))).unwrap();
    let (_, text) = text.split_once("\n```").unwrap();
    let (_, text) = text.split_once('\n').unwrap();
    let (job, _) = text.split_once("\n```").unwrap();
    assert!(job.contains(PAGES_BROKER), "{page}");
    format!("{job}\n")
}

/// What follows `start` in that job, without quotes and brackets.
pub(crate) fn on_page(page: &str, start: &str) -> String {
    let job = job_of_page(page);
    let (_, rest) = job.split_once(start).unwrap();
    let line = rest.lines().next().unwrap().trim().trim_end_matches(',');
    let line = match line.strip_prefix('[') {
        Some(list) => list.trim_end_matches(']').trim(),
        None => line,
    };
    match line.strip_prefix('\'') {
        Some(text) => text.trim_end_matches('\'').to_owned(),
        None => line.to_owned(),
    }
}

/// The broker of the pages.
pub(crate) const PAGES_BROKER: &str = "https://hallpass.acme.dev";

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Node 24, as `deploy/dev/github-action.sh` fetches it.
pub(crate) fn node() -> PathBuf {
    let path = root().join("github-action/node_modules/node/bin/node");
    assert!(
        path.exists(),
        "there is no Node 24: run deploy/dev/github-action.sh install"
    );
    path
}

fn action() -> String {
    fs::read_to_string(root().join("github-action/action.yml")).unwrap()
}

/// The rest of the one line that begins so.
fn setting(start: &str) -> String {
    let text = action();
    let found = text.lines().find_map(|line| line.strip_prefix(start));
    found.unwrap().to_owned()
}

/// The inputs with their defaults.
fn defaults() -> BTreeMap<String, String> {
    let text = action();
    let (_, inputs) = text.split_once("\ninputs:\n").unwrap();
    let (inputs, _) = inputs.split_once("\n\n").unwrap();
    let mut found = BTreeMap::new();
    let mut name = String::new();
    for line in inputs.lines() {
        if let Some(value) = line.strip_prefix("    default: ") {
            found.insert(name.clone(), value.trim_matches('"').to_owned());
        } else if !line.starts_with("    ") {
            name = line.trim().trim_end_matches(':').to_owned();
            found.insert(name.clone(), String::new());
        }
    }
    assert!(found.len() > 5, "the inputs were not read");
    found
}

const FILES: [&str; 4] = ["ENV", "OUTPUT", "STATE", "STEP_SUMMARY"];
