//! The connections of one login to one server, whatever database each is to: never more than the login
//! may have, and none that nobody needed for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::counts::Counts;
use super::login::{Login, Refused, Session};

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) login: Login,
    pub(super) most: usize,
    pub(super) counts: Counts,
    /// How long one stays open that nobody uses; without, for ever.
    idle_time: Option<Duration>,
    places: Semaphore,
    idle: Mutex<IdleSessions>,
}

#[derive(Debug, Default)]
struct IdleSessions {
    /// The one that was used last comes last.
    sessions: Vec<Idle>,
    /// A task closes what nobody uses.
    is_watched: bool,
}

#[derive(Debug)]
struct Idle {
    database: String,
    session: Session,
    since: Instant,
}

impl Pool {
    pub(super) fn new(login: Login, most: usize, idle_time: Option<Duration>) -> Self {
        Self {
            login,
            most,
            counts: Counts::default(),
            idle_time,
            places: Semaphore::new(most),
            idle: Mutex::default(),
        }
    }

    /// Waits for the right to use a connection.
    pub(super) async fn place(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.places.acquire().await
    }

    /// For the next one who needs it.
    pub(super) fn put_back(self: &Arc<Self>, database: &str, session: Session) {
        let mut idle = self.idle();
        idle.sessions.push(Idle {
            database: database.to_owned(),
            session,
            since: Instant::now(),
        });
        if let Some(idle_time) = self.idle_time
            && !idle.is_watched
        {
            idle.is_watched = true;
            tokio::spawn(watch(Arc::downgrade(self), idle_time));
        }
    }

    /// Opens a connection, for whoever holds a place. When the server has none left for us, another may be given back soon: a
    /// broker that closes one, or the server that has not yet noticed that we did.
    pub(super) async fn open(&self, database: &str) -> Result<Session, Refused> {
        self.make_room().await;
        let mut pause = SHORTEST_WAIT;
        loop {
            let opened = self.login.open(database, &self.counts).await;
            let Err(Refused::Full(shortage, problem)) = &opened else {
                return opened;
            };
            self.counts.refuse(*shortage, problem);
            if pause > LONGEST_WAIT {
                return opened;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }

    /// An open connection to that database that nobody uses.
    pub(super) fn take_idle(&self, database: &str) -> Option<Session> {
        let mut idle = self.idle();
        idle.sessions
            .retain(|idle| !idle.session.client.is_closed());
        let found = idle
            .sessions
            .iter()
            .rposition(|idle| idle.database == database)?;
        Some(idle.sessions.remove(found).session)
    }

    /// Closes idle connections of an earlier login or password.
    pub(super) fn close_old(&self) {
        self.idle()
            .sessions
            .retain(|idle| self.login.is_current(&idle.session));
    }

    /// Closes idle connections to other databases, the least recently used first, until one more is
    /// within the limit.
    async fn make_room(&self) {
        while let Some(idle) = self.superfluous() {
            idle.session.close().await;
        }
    }

    fn superfluous(&self) -> Option<Idle> {
        let mut idle = self.idle();
        let in_use = self.most.saturating_sub(self.places.available_permits());
        let all = in_use.saturating_add(idle.sessions.len());
        (all > self.most && !idle.sessions.is_empty()).then(|| idle.sessions.remove(0))
    }

    fn idle(&self) -> MutexGuard<'_, IdleSessions> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what was not used since `idle_time`; when to look again, unless nothing is left.
    fn close_unused(&self, idle_time: Duration) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.idle();
        idle.sessions
            .retain(|idle| now.saturating_duration_since(idle.since) < idle_time);
        let next = idle
            .sessions
            .first()
            .map(|idle| idle.since.checked_add(idle_time).unwrap_or(now));
        idle.is_watched = next.is_some();
        next
    }
}

async fn watch(pool: Weak<Pool>, idle_time: Duration) {
    tokio::time::sleep(idle_time).await;
    loop {
        let next = pool.upgrade().and_then(|pool| pool.close_unused(idle_time));
        let Some(next) = next else { return };
        tokio::time::sleep_until(next).await;
    }
}

const SHORTEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(800);
