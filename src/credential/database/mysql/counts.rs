//! Why the broker's login got no more connections, and how often.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::credential::target::ConnectionStatus;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    /// `MAX_USER_CONNECTIONS` of the login.
    Login,
    /// `max_connections` of the server.
    Server,
}

impl Shortage {
    const ALL: [Self; 2] = [Self::Login, Self::Server];

    pub(super) fn of(error: &mysql_async::Error) -> Option<Self> {
        match error {
            mysql_async::Error::Server(server) => match server.code {
                1_203 | 1_226 => Some(Self::Login),
                1_040 => Some(Self::Server),
                _ => None,
            },
            mysql_async::Error::Driver(_)
            | mysql_async::Error::Io(_)
            | mysql_async::Error::Other(_)
            | mysql_async::Error::Url(_) => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Login => "login_limit",
            Self::Server => "server_full",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    refused: [AtomicU64; Shortage::ALL.len()],
    problem: Mutex<Option<(Instant, String)>>,
}

impl Counts {
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

    pub(super) fn add_to(&self, status: &mut ConnectionStatus) {
        for (of, counter) in Shortage::ALL.iter().zip(&self.refused) {
            let sum = status.refused.entry(of.name()).or_default();
            *sum = sum.saturating_add(counter.load(Ordering::Relaxed));
        }
        let last = self.last();
        let recent = last
            .as_ref()
            .filter(|(since, _)| since.elapsed() < REMEMBERED);
        let problem = recent.map(|(_, problem)| problem.clone());
        status.problem = status.problem.take().or(problem);
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a refusal is told of when nobody wants a connection after it.
const REMEMBERED: Duration = Duration::from_secs(60);
