//! The way to the server: one connection, and the task that keeps it.
//!
//! The task looks at the server now and then, and connects again, ever more slowly, when it is gone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::connection::{self, Connection};
use super::entry::{self, GiveBack, Names};
use super::{RedisSettings, server};
use crate::clock::Clock;
use crate::reason::Reason;

/// How a call went wrong.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not made.
    Unreachable(String),
    /// It was made, and the server said no: nothing was changed.
    Refused(String),
    /// It was made, and nobody knows what became of it.
    Lost(String),
}

/// The connection, and the task that keeps it.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    settings: RedisSettings,
    names: Names,
    clock: Arc<dyn Clock>,
    state: watch::Sender<State>,
    places: Semaphore,
    owed: Mutex<VecDeque<GiveBack>>,
    /// The server's clock may have ended live entries: what it holds begins anew.
    begins_anew: AtomicBool,
    /// The times of the connection before, to see a step of the server's clock between two.
    before: Mutex<Option<Times>>,
}

/// Both clocks when a connection was made.
#[derive(Clone, Copy, Debug)]
struct Times {
    there: Duration,
    here: Duration,
}

impl Times {
    /// The server ends entries by its own clock: one that ran ahead of ours by more than the margin
    /// may have ended live ones.
    fn ran_ahead(self, now: Self) -> bool {
        let there = now.there.saturating_sub(self.there);
        let here = now.here.saturating_sub(self.here);
        there.saturating_sub(here) >= MARGIN
    }
}

#[derive(Clone, Debug)]
enum State {
    /// For the first time, or at once after a connection broke: worth waiting for.
    Connecting,
    Live(Arc<Live>),
    Down(String),
}

/// A connection to a server that was looked at.
#[derive(Debug)]
pub(super) struct Live {
    connection: Connection,
    /// When its time was looked at.
    made: Times,
}

impl Live {
    /// The run the server is in.
    pub(super) fn run(&self) -> &str {
        &self.connection.about.run
    }

    /// Whether the server's clock ran ahead since the connection was made.
    fn ran_ahead(&self, time: &Value, here: Duration) -> bool {
        server::time(time).is_none_or(|there| self.made.ran_ahead(Times { there, here }))
    }
}

impl Link {
    pub(super) fn start(
        settings: RedisSettings,
        names: Names,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let tls = if settings.tls {
            Some(connection::tls(settings.ca.as_deref())?)
        } else {
            None
        };
        let shared = Arc::new(Shared {
            settings,
            names,
            clock,
            state: watch::Sender::new(State::Connecting),
            places: Semaphore::new(PLACES),
            owed: Mutex::default(),
            begins_anew: AtomicBool::new(false),
            before: Mutex::default(),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared), tls));
        Ok(Self { shared, keeper })
    }

    /// The connection; one that is being made is waited for.
    pub(super) async fn live(&self, deadline: Instant) -> Result<Arc<Live>, Failure> {
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting));
        match timeout_at(deadline, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Live(live) => Ok(Arc::clone(live)),
                State::Down(problem) => Err(Failure::Unreachable(problem.clone())),
                State::Connecting => Err(Failure::Unreachable(SLOW.to_owned())),
            },
            Ok(Err(_)) | Err(_) => Err(Failure::Unreachable(SLOW.to_owned())),
        }
    }

    /// One script, by the deadline.
    pub(super) async fn call(
        &self,
        live: &Arc<Live>,
        script: &Cmd,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let place = timeout_at(deadline, self.shared.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Failure::Unreachable("is too busy".to_owned()));
        };
        self.shared.call(live, script, deadline).await
    }

    /// A use to give back when the server answers again. As many are kept as could be under way.
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
            State::Live(_) => None,
            State::Connecting => Some("is not connected yet".to_owned()),
            State::Down(problem) => Some(problem.clone()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    async fn call(
        &self,
        live: &Arc<Live>,
        script: &Cmd,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let called = timeout_at(deadline, live.connection.ask_with_time(script)).await;
        let failure = match called {
            // Asked again, it would find its own use and not the one that was ended.
            Ok(Ok((time, _))) if self.ran_ahead(live, &time) => {
                Failure::Refused(RAN_AHEAD.to_owned())
            }
            Ok(Ok((_, answer))) => return Ok(answer),
            Ok(Err(error)) if server::is_answer(&error) => {
                return Err(Failure::Refused(server::said(&error)));
            }
            Ok(Err(error)) if server::is_refusal(&error) => Failure::Refused(server::said(&error)),
            Ok(Err(error)) => Failure::Lost(connection::failed(&error)),
            Err(_) => Failure::Lost(SLOW.to_owned()),
        };
        self.leave(live);
        Err(failure)
    }

    /// Lets the keeper connect again.
    fn leave(&self, broken: &Arc<Live>) {
        self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Live(live) if Arc::ptr_eq(live, broken));
            if is_it {
                *state = State::Connecting;
            }
            is_it
        });
    }

    fn owed(&self) -> MutexGuard<'_, VecDeque<GiveBack>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, tls: Option<&TlsConnector>) -> Result<Arc<Live>, String> {
        let here = self.clock.monotonic();
        let connection = Connection::open(&self.settings, tls).await?;
        let there = connection.time;
        let made = Times { there, here };
        if self.ran_ahead_between(made) {
            self.begins_anew.store(true, Ordering::SeqCst);
        }
        let live = Arc::new(Live { connection, made });
        self.look(&live).await?;
        Ok(live)
    }

    /// Whether the server's clock ran ahead since the connection before was made, also while there was
    /// none: its run says nothing of that.
    fn ran_ahead_between(&self, made: Times) -> bool {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let before = before.replace(made);
        before.is_some_and(|before| before.ran_ahead(made))
    }

    fn ran_ahead(&self, live: &Live, time: &Value) -> bool {
        let ran_ahead = live.ran_ahead(time, self.clock.monotonic());
        if ran_ahead {
            self.begins_anew.store(true, Ordering::SeqCst);
        }
        ran_ahead
    }

    /// Looks whether the server still is what it was; a run that nobody saw before begins now.
    async fn look(&self, live: &Arc<Live>) -> Result<(), String> {
        let anew = self.begins_anew.load(Ordering::SeqCst);
        let script = entry::look(&self.names, live.run(), self.clock.now(), anew);
        let said = live.connection.ask(&script).await;
        let said = said.map_err(|error| connection::failed(&error))?;
        match entry::as_text(&said) {
            Some("kept") => Ok(()),
            Some("began") => {
                self.begins_anew.store(false, Ordering::SeqCst);
                tracing::warn!(
                    reason = Reason::ReplayBegan.code(),
                    run = live.run(),
                    "the store of used tokens is new, or lost what it held: tokens issued until now are refused"
                );
                Ok(())
            }
            Some(_) | None => Err(super::FOREIGN.to_owned()),
        }
    }

    async fn look_again(&self, live: &Arc<Live>) -> Result<(), String> {
        let asked = live.connection.ask_with_time(&redis::cmd("INFO")).await;
        let (time, info) = asked.map_err(|error| connection::failed(&error))?;
        let about = server::about(&info)?;
        if self.ran_ahead(live, &time) {
            return Err(RAN_AHEAD.to_owned());
        }
        if about.run != live.connection.about.run {
            return Err("is another one than before".to_owned());
        }
        self.look(live).await
    }

    async fn give_back(&self, live: &Arc<Live>) {
        // Taken from the front one by one: what cannot be given back now waits for its turn.
        for _ in 0..MOST_OWED {
            let Some(owed) = self.owed().front().cloned() else {
                return;
            };
            if live.connection.ask(&owed.script(live.run())).await.is_err() {
                return;
            }
            self.owed().pop_front();
        }
    }
}

/// Connects, watches, and connects again, until it is dropped.
async fn keep(shared: Arc<Shared>, tls: Option<TlsConnector>) {
    let mut pause = FIRST_PAUSE;
    let mut warned = false;
    let mut told = String::new();
    loop {
        let connected = timeout(CONNECT_TIME, shared.connect(tls.as_ref())).await;
        let problem = match connected.unwrap_or_else(|_| Err(SLOW.to_owned())) {
            Ok(live) => {
                pause = FIRST_PAUSE;
                told.clear();
                if !live.connection.about.says_policy && !warned {
                    warned = true;
                    tracing::warn!(
                        reason = Reason::ReplayPolicy.code(),
                        "the store of used tokens does not say its `maxmemory-policy`: see that it is `noeviction`"
                    );
                }
                shared.state.send_replace(State::Live(Arc::clone(&live)));
                tracing::info!(store = "redis", "the store of used tokens is there");
                let problem = watch_over(&shared, &live).await;
                shared.leave(&live);
                tracing::warn!(
                    reason = Reason::LimitReplay.code(),
                    problem,
                    "the store of used tokens was lost"
                );
                continue;
            }
            Err(problem) => problem,
        };
        if problem != told {
            tracing::warn!(
                reason = Reason::LimitReplay.code(),
                problem,
                "nothing is minted: the store of used tokens cannot be used"
            );
            told.clone_from(&problem);
        }
        shared.state.send_replace(State::Down(problem));
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Until the connection is over, somebody leaves it, or the server is not what it was.
async fn watch_over(shared: &Arc<Shared>, live: &Arc<Live>) -> String {
    let mut state = shared.state.subscribe();
    loop {
        let look = async {
            shared.give_back(live).await;
            shared.look_again(live).await
        };
        match timeout(CONNECT_TIME, look).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => return problem,
            Err(_) => return SLOW.to_owned(),
        }
        let left =
            state.wait_for(|state| !matches!(state, State::Live(same) if Arc::ptr_eq(same, live)));
        if timeout(LOOK, left).await.is_ok() || live.connection.is_over() {
            return "closed the connection or did not answer in time".to_owned();
        }
    }
}

const MARGIN: Duration = Duration::from_secs(entry::MARGIN.unsigned_abs());
const SLOW: &str = "did not answer in time";
const RAN_AHEAD: &str = "has a clock that ran ahead by ten minutes or more";
/// Between two looks at the server.
const LOOK: Duration = Duration::from_secs(2);
/// For connecting, logging in and looking.
const CONNECT_TIME: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Calls at once; each waits a second at most.
const PLACES: usize = 128;
const MOST_OWED: usize = 4_096;
