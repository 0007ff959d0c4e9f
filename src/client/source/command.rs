//! Programs of a CI that print an ID token: run without a shell, with a deadline and bounded output.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::{Environment, Fetch, Source, SourceError};
use crate::client::token::IdToken;
use crate::secret::Secret;

/// A command that prints the token on a line of its own.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    pub program: &'static str,
    /// The rest of the command line for an audience. It holds no secret: other users can read it.
    pub(super) arguments: fn(&Environment, &str) -> Vec<String>,
    /// The same for the documentation.
    pub shown: &'static str,
}

impl Helper {
    /// The program in PATH. Relative entries are skipped: the files of a checkout are not the CI's
    /// (T-382).
    pub(super) fn find(&self, environment: &Environment) -> Option<PathBuf> {
        let folders = environment.get_os("PATH")?;
        let is_program = |path: &PathBuf| {
            let metadata = path.metadata();
            metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        std::env::split_paths(folders)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(self.program))
            .find(is_program)
    }

    pub(super) async fn fetch(
        &self,
        source: &Source,
        fetch: &Fetch<'_>,
    ) -> Result<IdToken, SourceError> {
        let refused = |problem: &str| SourceError::Refused {
            who: self.shown,
            fix: format!(
                "{problem}; {}",
                source.fix(fetch.environment, fetch.audience.as_str())
            ),
        };
        let path = self
            .find(fetch.environment)
            .ok_or_else(|| refused("it is not in PATH"))?;
        let arguments = (self.arguments)(fetch.environment, fetch.audience.as_str());
        // Its messages may hold secrets, so they are not printed (T-382).
        let mut child = Command::new(path)
            .args(arguments)
            .env_clear()
            .envs(fetch.environment.all())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .map_err(|error| refused(&format!("it cannot be started ({})", error.kind())))?;
        let mut group = Group::of(&child);
        let output = child.stdout.take();
        let work = async {
            let mut bytes = Vec::with_capacity(USUAL_OUTPUT);
            if let Some(output) = output {
                let read = output.take(MAX_OUTPUT.saturating_add(1));
                tokio::pin!(read);
                read.read_to_end(&mut bytes).await?;
            }
            let bytes = Secret::new(bytes);
            if u64::try_from(bytes.expose().len()).is_ok_and(|length| length > MAX_OUTPUT) {
                return Ok((bytes, None));
            }
            Ok((bytes, Some(child.wait().await?)))
        };
        let patience = fetch.connection.left(fetch.deadline);
        let done: std::io::Result<_> = tokio::time::timeout(patience, work)
            .await
            .map_err(|_| refused("it did not finish in time"))?;
        let (output, status) = done.map_err(|_| refused("its output cannot be read"))?;
        if status.is_some() {
            group.has_ended();
        }
        match status {
            None => return Err(refused("its output is longer than 64 KiB")),
            Some(status) if !status.success() => {
                let how = status.code().map_or_else(
                    || "a signal ended it".to_owned(),
                    |code| format!("it exited with {code}"),
                );
                return Err(refused(&format!(
                    "{how} (its messages are not shown, since they may hold secrets: run it in the job)"
                )));
            }
            Some(_) => {}
        }
        self.token(&output)
    }

    /// The one line that is a token: some programs print other lines too.
    fn token(&self, output: &Secret<Vec<u8>>) -> Result<IdToken, SourceError> {
        let origin = format!("the output of {}", self.shown);
        let text = std::str::from_utf8(output.expose()).unwrap_or_default();
        let mut tokens = text
            .lines()
            .filter_map(|line| IdToken::parse(Secret::new(line.trim().to_owned()), &origin).ok());
        match (tokens.next(), tokens.next()) {
            (Some(token), None) => Ok(token),
            (Some(_), Some(_)) => Err(SourceError::Refused {
                who: self.shown,
                fix: "it printed several tokens; choose one and set HALLPASS_ID_TOKEN_FILE to a file with it".to_owned(),
            }),
            (None, _) => Err(SourceError::NotAToken { origin }),
        }
    }
}

/// A program and what it started: all of it is ended with this, unless the program ended first (T-382).
struct Group(Option<Pid>);

impl Group {
    /// The group of a program that leads one.
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.map(Pid::from_raw))
    }

    /// The program was waited for, so its id may be another's.
    const fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It fails only if nothing is left of it.
            killpg(group, Signal::SIGKILL).unwrap_or_default();
        }
    }
}

const MAX_OUTPUT: u64 = 64 * 1024;
const USUAL_OUTPUT: usize = 16 * 1024;
