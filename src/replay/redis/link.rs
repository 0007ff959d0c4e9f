//! The connection to the server, and the task that checks the server every two seconds.
//!
//! [`ConnectionManager`] connects, logs in and reconnects. A check that fails replaces it by a new
//! one, which reads the password again. Until a check succeeds, no script runs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, ConnectionInfo, RedisConnectionInfo, RedisError, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::entry::{self, GiveBack, Names};
use super::{RedisSettings, server};
use crate::clock::Clock;
use crate::reason::Reason;

/// Why a script has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The script changed nothing, or was not sent.
    Refused(String),
    /// The script may have run.
    Lost(String),
}

impl Failure {
    fn of(error: &RedisError) -> Self {
        if server::is_refusal(error) {
            Self::Refused(server::said(error))
        } else {
            Self::Lost(server::said(error))
        }
    }

    pub(super) fn problem(self) -> String {
        match self {
            Self::Refused(problem) | Self::Lost(problem) => problem,
        }
    }
}

/// The connection, and the task that checks it. Dropped, it closes the connection.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    checker: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    settings: RedisSettings,
    server: ConnectionInfo,
    names: Names,
    clock: Arc<dyn Clock>,
    state: watch::Sender<LinkState>,
    owed: Mutex<VecDeque<GiveBack>>,
    /// The server's clock ran ahead and may have ended live entries: a new record must begin.
    ran_ahead: AtomicBool,
}

/// The result of the last check; none while a check decides.
type LinkState = Option<Result<Live, String>>;

/// A server that passed its check.
#[derive(Clone, Debug)]
struct Live {
    manager: ConnectionManager,
    /// The least that the server's clock was ahead of our uptime at a check.
    offset: Duration,
}

impl Link {
    pub(super) fn start(
        settings: RedisSettings,
        names: Names,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            server: settings.server()?,
            settings,
            names,
            clock,
            state: watch::Sender::new(None),
            owed: Mutex::default(),
            ran_ahead: AtomicBool::new(false),
        });
        let checker = tokio::spawn(keep_checking(Arc::clone(&shared)));
        Ok(Self { shared, checker })
    }

    /// Runs a script by the deadline, and returns what it says.
    pub(super) async fn run(&self, script: &Cmd, deadline: Instant) -> Result<String, Failure> {
        let shared = &self.shared;
        let live = shared.live(deadline).await.map_err(Failure::Refused)?;
        let run = timeout_at(deadline, run(&live.manager, script)).await;
        let failure = match run.unwrap_or_else(|_| Err(Failure::Lost(SLOW.to_owned()))) {
            Ok((time, said)) if !shared.is_ahead(time, live.offset) => return Ok(said),
            // Run again, it would find its own use and not the one that was ended.
            Ok(_) => Failure::Refused(RAN_AHEAD.to_owned()),
            Err(Failure::Refused(problem)) => return Err(Failure::Refused(problem)),
            Err(lost) => lost,
        };
        shared.state.send_if_modified(|state| {
            let is_live = matches!(state, Some(Ok(_)));
            if is_live {
                *state = None;
            }
            is_live
        });
        Err(failure)
    }

    /// Keeps a use to give back when the server can be used again, up to [`MOST_OWED`].
    pub(super) fn owe(&self, give_back: GiveBack) {
        let mut owed = self.shared.owed();
        if owed.len() >= MOST_OWED {
            owed.pop_front();
        }
        owed.push_back(give_back);
    }

    /// Why nothing can be taken now.
    pub(super) fn problem(&self) -> Option<String> {
        match &*self.shared.state.borrow() {
            Some(Ok(_)) => None,
            Some(Err(problem)) => Some(problem.clone()),
            None => Some("is not connected yet".to_owned()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.checker.abort();
    }
}

impl Shared {
    async fn live(&self, deadline: Instant) -> Result<Live, String> {
        let mut state = self.state.subscribe();
        let checked = timeout_at(deadline, state.wait_for(Option::is_some)).await;
        let Ok(Ok(state)) = checked else {
            return Err(SLOW.to_owned());
        };
        state.clone().unwrap_or_else(|| Err(SLOW.to_owned()))
    }

    /// Whether the server's clock, which ends entries, ran ahead of ours by the margin or more.
    fn is_ahead(&self, time: Duration, offset: Duration) -> bool {
        let now = time.saturating_sub(self.clock.monotonic());
        let is_ahead = now.saturating_sub(offset) >= MARGIN;
        if is_ahead {
            self.ran_ahead.store(true, Ordering::SeqCst);
        }
        is_ahead
    }

    fn owed(&self) -> MutexGuard<'_, VecDeque<GiveBack>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A manager with the password as it is now; it connects when it is first used.
    fn open(&self) -> Result<ConnectionManager, String> {
        let settings = &self.settings;
        let mut login = RedisConnectionInfo::default()
            .set_db(settings.database.into())
            .set_skip_set_lib_name();
        if let Some(password) = settings.password()? {
            login = login.set_password(password.expose());
        }
        if let Some(user) = &settings.user {
            login = login.set_username(user);
        }
        // The checks are the retries, and each call has its own deadline.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(CHECK_TIME))
            .set_response_timeout(None)
            .set_concurrency_limit(MOST_CALLS);
        Client::open(self.server.clone().set_redis_settings(login))
            .and_then(|client| ConnectionManager::new_lazy_with_config(client, config))
            .map_err(|error| server::said(&error))
    }

    /// Checks the server, and begins a new record for a run that was not seen before.
    async fn check(
        &self,
        manager: &ConnectionManager,
        offset: Option<Duration>,
    ) -> Result<(Live, bool), Failure> {
        let refused = |problem: &str| Failure::Refused(problem.to_owned());
        let info = ask(manager, &redis::cmd("INFO")).await?;
        let about = server::about(&info).map_err(Failure::Refused)?;
        let begins = self.ran_ahead.load(Ordering::SeqCst);
        let look = entry::look(&self.names, self.clock.now(), begins);
        let (time, said) = run(manager, &look).await?;
        let now = time.saturating_sub(self.clock.monotonic());
        let mut offset = offset.unwrap_or(now);
        match said.as_str() {
            "kept" => {}
            "began" => {
                if begins {
                    self.ran_ahead.store(false, Ordering::SeqCst);
                    offset = now;
                }
                tracing::warn!(
                    reason = Reason::ReplayBegan.code(),
                    run = about.run,
                    "the store of used tokens is new, or lost what it held: tokens issued until now are rejected"
                );
            }
            _ => return Err(refused(super::FOREIGN)),
        }
        if self.is_ahead(time, offset) {
            return Err(refused(RAN_AHEAD));
        }
        let live = Live {
            manager: manager.clone(),
            offset: offset.min(now),
        };
        Ok((live, about.says_policy))
    }

    /// Gives back what is owed, until a script fails: the rest is for after the next check.
    async fn give_back(&self, manager: &ConnectionManager) {
        for _ in 0..MOST_OWED {
            let Some(owed) = self.owed().front().cloned() else {
                return;
            };
            if run(manager, &owed.script()).await.is_err() {
                return;
            }
            self.owed().pop_front();
        }
    }
}

async fn ask(manager: &ConnectionManager, command: &Cmd) -> Result<Value, Failure> {
    let mut manager = manager.clone();
    let said = manager.send_packed_command(command).await;
    said.and_then(Value::extract_error)
        .map_err(|error| Failure::of(&error))
}

/// What a script says, and the server's time then.
async fn run(manager: &ConnectionManager, script: &Cmd) -> Result<(Duration, String), Failure> {
    let said = ask(manager, script).await?;
    entry::timed(&said).ok_or_else(|| Failure::Refused(super::FOREIGN.to_owned()))
}

/// Checks the server every [`PAUSE`], and less and less often while it cannot be used.
async fn keep_checking(shared: Arc<Shared>) {
    let mut manager = shared.open();
    let mut offset = None;
    let mut pause = FIRST_PAUSE;
    let mut warned = false;
    let mut logged = Some(String::new());
    loop {
        let check = async {
            let manager = manager.as_ref().map_err(String::clone)?;
            shared
                .check(manager, offset)
                .await
                .map_err(Failure::problem)
        };
        let checked = timeout(CHECK_TIME, check).await;
        match checked.unwrap_or_else(|_| Err(SLOW.to_owned())) {
            Ok((live, says_policy)) => {
                offset = Some(live.offset);
                pause = FIRST_PAUSE;
                if logged.take().is_some() {
                    tracing::info!(store = "redis", "the store of used tokens can be used");
                }
                if !says_policy && !warned {
                    warned = true;
                    tracing::warn!(
                        reason = Reason::ReplayPolicy.code(),
                        "the store of used tokens does not report its `maxmemory-policy`; it must be `noeviction`"
                    );
                }
                let manager = live.manager.clone();
                shared.state.send_replace(Some(Ok(live)));
                let mut state = shared.state.subscribe();
                let until_lost = async {
                    shared.give_back(&manager).await;
                    let _ = state.wait_for(Option::is_none).await;
                };
                // Lost or not, a check comes next.
                let _ = timeout(PAUSE, until_lost).await;
            }
            Err(problem) => {
                if logged.as_ref() != Some(&problem) {
                    tracing::warn!(
                        reason = Reason::LimitReplay.code(),
                        problem,
                        "nothing is minted: the store of used tokens cannot be used"
                    );
                    logged = Some(problem.clone());
                }
                shared.state.send_replace(Some(Err(problem)));
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                manager = shared.open();
            }
        }
    }
}

const MARGIN: Duration = Duration::from_secs(entry::MARGIN.unsigned_abs());
const SLOW: &str = server::SLOW;
const RAN_AHEAD: &str = "has a clock that ran ahead by ten minutes or more";
/// Between two checks.
const PAUSE: Duration = Duration::from_secs(2);
/// For one check, connecting and logging in included.
const CHECK_TIME: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Calls at once.
const MOST_CALLS: usize = 128;
/// As many as could be under way.
const MOST_OWED: usize = 4_096;
