//! How many connections a login has, and why it got no more.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::{DbError, SqlState};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    /// `CONNECTION LIMIT` of the login.
    Login,
    /// `CONNECTION LIMIT` of the database.
    Database,
    /// `max_connections` of the server, or what of it is not reserved.
    Server,
}

impl Shortage {
    const ALL: [Self; 3] = [Self::Login, Self::Database, Self::Server];

    /// Told by the place in the server's source: its messages come in many languages.
    pub(super) fn of(error: &DbError) -> Option<Self> {
        (*error.code() == SqlState::TOO_MANY_CONNECTIONS).then(|| match error.routine() {
            Some("InitializeSessionUserId") => Self::Login,
            Some("CheckMyDatabase") => Self::Database,
            Some(_) | None => Self::Server,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Login => "login_limit",
            Self::Database => "database_limit",
            Self::Server => "server_full",
        }
    }
}

/// Counted over all connections of a login to one server.
#[derive(Debug, Default)]
pub(super) struct Counts {
    open: Arc<AtomicUsize>,
    refused: [AtomicU64; Shortage::ALL.len()],
    problem: Mutex<Option<(Instant, String)>>,
}

#[derive(Debug)]
pub(super) struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counts {
    pub(super) fn open(&self) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.open))
    }

    pub(super) fn how_many_open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The server had no connection for us.
    pub(super) fn refuse(&self, shortage: Shortage, problem: &str) {
        let counters = Shortage::ALL.iter().zip(&self.refused);
        for (_, counter) in counters.filter(|(of, _)| **of == shortage) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        *self.last() = Some((Instant::now(), problem.to_owned()));
    }

    /// A connection was there for whoever wanted one.
    pub(super) fn serve(&self) {
        *self.last() = None;
    }

    /// Why the last one who wanted a connection got none, if that was a moment ago.
    pub(super) fn problem(&self) -> Option<String> {
        let last = self.last();
        let (since, problem) = last.as_ref()?;
        (since.elapsed() < REMEMBERED).then(|| problem.clone())
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = Shortage::ALL.iter().zip(&self.refused);
        counters.map(|(of, counter)| (of.name(), counter.load(Ordering::Relaxed)))
    }
}

/// How long a refusal is told of when nobody wants a connection after it.
const REMEMBERED: Duration = Duration::from_secs(60);
