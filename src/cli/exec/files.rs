//! `exec --file`: credentials as files, written before the command starts, renewed while it runs and
//! removed when it ends.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::super::broker::failure;
use super::super::deliver::Delivery;
use super::super::wanted::Wanted;
use super::super::{Failure, Terminal};
use crate::client::format::{self, FORMATS, Format, Prefix};
use crate::client::{Ask, Client, ClientError, Obtained, Received, RunFile, Sharing};
use crate::secret::Secret;
use crate::text::escape;

/// What `--file` asks for.
#[derive(Clone, Debug)]
pub(super) struct FileArg {
    prefix: Option<Prefix>,
    format: &'static Format,
    path: PathBuf,
}

/// Reads `[PREFIX:]FORMAT=PATH`.
pub(super) fn parse(text: &str) -> Result<FileArg, String> {
    let (format, path) = text
        .split_once('=')
        .filter(|(_, path)| !path.is_empty())
        .ok_or("expected [PREFIX:]FORMAT=PATH, like `json=/run/login.json`")?;
    let (prefix, format) = match format.split_once(':') {
        Some((prefix, format)) => (Some(Prefix::parse(prefix)?), format),
        None => (None, format),
    };
    let format = format::find(format).ok_or_else(|| {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        format!(
            "no format `{}`; expected one of {}",
            escape(format),
            names.join(", ")
        )
    })?;
    Ok(FileArg {
        prefix,
        format,
        path: path.into(),
    })
}

/// The files of one run, by the credential that they hold.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<SecretFile>);

#[derive(Debug)]
struct SecretFile {
    /// The index of the credential.
    of: usize,
    format: &'static Format,
    file: RunFile,
    beside: Option<RunFile>,
}

impl Files {
    /// Checks each path before any credential is requested.
    pub(super) fn new(wishes: &[FileArg], credentials: &[Wanted]) -> Result<Self, Failure> {
        let file = |wish: &FileArg| {
            let beside = wish.format.beside.map(|(suffix, _)| {
                let mut path = wish.path.clone().into_os_string();
                path.push(suffix);
                RunFile::new(Path::new(&path))
            });
            Ok::<_, Failure>(SecretFile {
                of: credential_of(wish, credentials)?,
                format: wish.format,
                file: RunFile::new(&wish.path)?,
                beside: beside.transpose()?,
            })
        };
        let files: Vec<_> = wishes.iter().map(file).collect::<Result<_, _>>()?;
        let paths = files.iter().flat_map(SecretFile::paths);
        let paths: std::collections::BTreeSet<_> = paths.collect();
        let count: usize = files.iter().map(|file| file.paths().count()).sum();
        if paths.len() == count {
            Ok(Self(files))
        } else {
            Err(Failure::Usage(
                "two files of `--file` have the same path".to_owned(),
            ))
        }
    }

    /// The formats that a credential is written in.
    pub(super) fn formats(&self, of: usize) -> Vec<&'static Format> {
        self.of(of).map(|file| file.format).collect()
    }

    /// The path of a file that holds the credential, for a message.
    pub(super) fn path(&self, of: usize) -> Option<&Path> {
        self.of(of).next().map(|file| file.file.path())
    }

    /// Whether a file of the credential is replaced by one of a new credential. Two files of a key pair
    /// cannot be replaced in one step.
    pub(super) fn are_renewable(&self, of: usize) -> bool {
        self.of(of).any(SecretFile::is_renewable)
    }

    /// Writes the files of a credential: all of them, or those that are renewed.
    pub(super) fn write(
        &mut self,
        of: usize,
        wanted: &Wanted,
        received: &Received,
        client: &Client,
        only_renewable: bool,
    ) -> Result<(), Failure> {
        let files = self.0.iter_mut().filter(|file| file.of == of);
        for file in files.filter(|file| !only_renewable || file.is_renewable()) {
            let delivery = Delivery {
                client,
                format: file.format,
                prefix: wanted.prefix.as_ref(),
                database_ca: None,
            };
            let text = delivery.text(received, None)?;
            let with_end = |text: &Secret<String>| Secret::new(format!("{}\n", text.expose()));
            file.file.write(with_end(&text).expose().as_bytes())?;
            if let (Some(beside), Some((_, member))) = (&mut file.beside, file.format.beside)
                && let Some(text) = received.members.text(member)
            {
                beside.write(with_end(text).expose().as_bytes())?;
            }
        }
        Ok(())
    }

    /// Removes every file.
    pub(super) fn remove(&mut self, out: &mut Terminal) {
        for file in &mut self.0 {
            for removed in [Some(&mut file.file), file.beside.as_mut()]
                .into_iter()
                .flatten()
            {
                if let Err(error) = removed.remove() {
                    out.error(&format!("hallpass: warning: {error}"));
                }
            }
        }
    }

    fn of(&self, of: usize) -> impl Iterator<Item = &SecretFile> {
        self.0.iter().filter(move |file| file.of == of)
    }
}

impl SecretFile {
    const fn is_renewable(&self) -> bool {
        self.beside.is_none()
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.file), self.beside.as_ref()]
            .into_iter()
            .flatten()
            .map(RunFile::path)
    }
}

/// The credential that a file holds: the one of its prefix, or the only one.
fn credential_of(wish: &FileArg, credentials: &[Wanted]) -> Result<usize, Failure> {
    let of_prefix = credentials.iter().position(|one| one.prefix == wish.prefix);
    match (of_prefix, &wish.prefix, credentials) {
        (Some(of), _, _) => Ok(of),
        (None, None, [_]) => Ok(0),
        (None, _, _) => Err(Failure::Usage(format!(
            "`--file` for `{}` names no credential of this command; with several credentials write PREFIX:FORMAT=PATH",
            escape(&wish.path.to_string_lossy())
        ))),
    }
}

/// New credentials for files, each before the one before it expires.
pub(super) struct Renewals<'a> {
    client: &'a Client,
    due: Vec<Due>,
    /// Kept here, so that no answer is lost when a caller stops waiting for it.
    in_flight: Option<(usize, Exchange<'a>)>,
}

type Exchange<'a> = Pin<Box<dyn Future<Output = Result<Obtained, ClientError>> + 'a>>;

struct Due {
    of: usize,
    ask: Ask,
    formats: Vec<&'static Format>,
    at: Instant,
    expires: Instant,
}

impl<'a> Renewals<'a> {
    pub(super) const fn new(client: &'a Client) -> Self {
        Self {
            client,
            due: Vec::new(),
            in_flight: None,
        }
    }

    /// Renews a credential from now on, when two thirds of its life are over.
    pub(super) fn add(
        &mut self,
        of: usize,
        ask: &Ask,
        formats: Vec<&'static Format>,
        received: &Received,
    ) {
        let now = Instant::now();
        let mut due = Due {
            of,
            ask: ask.clone(),
            formats,
            at: now,
            expires: now,
        };
        due.set(now, self.life(received));
        self.due.push(due);
    }

    /// The next credential and its index. Never, if none is renewed. May be dropped and called again.
    pub(super) async fn next(&mut self) -> (usize, Result<Obtained, ClientError>) {
        loop {
            if let Some((of, exchange)) = &mut self.in_flight {
                let (of, result) = (*of, exchange.await);
                self.in_flight = None;
                return (of, result);
            }
            let Some(due) = self.due.iter().min_by_key(|due| due.at) else {
                return std::future::pending().await;
            };
            sleep_until(due.at).await;
            let (client, ask, formats) = (self.client, due.ask.clone(), due.formats.clone());
            let exchange =
                Box::pin(async move { client.obtain(&ask, Sharing::None, &formats).await });
            self.in_flight = Some((due.of, exchange));
        }
    }

    /// The files hold the new credential.
    pub(super) fn renewed(&mut self, of: usize, received: &Received) {
        let life = self.life(received);
        if let Some(due) = self.due.iter_mut().find(|due| due.of == of) {
            due.set(Instant::now(), life);
        }
    }

    /// The files do not hold a new credential: when the next attempt is, if there is one.
    pub(super) fn failed(&mut self, of: usize, is_lasting: bool) -> Option<Duration> {
        let now = Instant::now();
        let due = self.due.iter_mut().find(|due| due.of == of)?;
        if is_lasting {
            self.due.retain(|due| due.of != of);
            return None;
        }
        let left = due.expires.saturating_duration_since(now);
        let pause = (left / 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        due.at = now.checked_add(pause).unwrap_or(now);
        Some(pause)
    }

    /// Waits for an exchange that was begun, since its login has to be revoked.
    pub(super) async fn finish(&mut self, patience: Duration) -> Option<Obtained> {
        let (_, exchange) = self.in_flight.take()?;
        timeout(patience, exchange).await.ok()?.ok()
    }

    fn life(&self, received: &Received) -> Duration {
        let left = received.expires_at.since(self.client.clock().now());
        Duration::from_secs(u64::try_from(left).unwrap_or(0))
    }
}

impl Due {
    fn set(&mut self, now: Instant, life: Duration) {
        let wait = (life / 3).saturating_mul(2).max(SHORTEST_WAIT);
        self.at = now.checked_add(wait).unwrap_or(now);
        self.expires = now.checked_add(life).unwrap_or(now);
    }
}

/// Why a credential was not renewed, for standard error.
pub(super) fn not_renewed(name: &str, error: ClientError, next: Option<Duration>) -> String {
    let next = match next {
        Some(pause) => format!("next attempt in {} s", pause.as_secs()),
        None => "it is not tried again".to_owned(),
    };
    format!(
        "`{}` is not renewed; {next}: {}",
        escape(name),
        failure(error)
    )
}

/// A credential that lives shorter than this is still not renewed more often.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
