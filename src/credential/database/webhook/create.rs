//! Makes a lease, or finds the one that was made before; and ends what may have been made where no answer
//! says so.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::contract::{CREATE, Create, Made, SHORT};
use super::settings::MAX_LIVE;
use super::{Webhook, refused};
use crate::clock::Timestamp;
use crate::credential::database::{DatabaseError, Found, NewLogin, RefusalKind};
use crate::lease::LeaseName;

impl Webhook {
    pub(super) async fn make(&self, login: &NewLogin<'_>) -> Result<Option<Found>, DatabaseError> {
        if !self
            .settings
            .groups
            .iter()
            .any(|group| group == login.group)
        {
            let message = format!(
                "group `{}` is not under `groups` of the target",
                login.group
            );
            return Err(refused(RefusalKind::GroupUnfit, "GROUP", message));
        }
        // What may have been made for this token is still to be ended. For a later request it is over, which says
        // nothing about the other side: nothing was sent.
        match self.memory.owes(login.random) {
            Some(record) if record == login.record => {
                let message = "an earlier attempt for this token is still to be ended";
                return Err(DatabaseError::Unknown(message.to_owned()));
            }
            Some(_) => return Ok(None),
            None => {}
        }
        let ends = self.clock.now().plus(i64::from(login.life));
        let name = LeaseName::new(&self.settings.prefix, ends, login.random);
        let name = name.map_err(|error| refused(RefusalKind::Other, "NAME", error.to_string()))?;
        let text = name.to_string();
        if login.may_create {
            self.take_place(&text, login.holder).await?;
        }
        let ask = Create {
            name: &text,
            id: login.random,
            group: login.group,
            password: login.password.expose(),
            expires_at: ends.unix(),
            remember_until: login.used_until.unix().max(ends.unix()),
            record: login.record,
            holder: login.holder,
            may_create: login.may_create,
        };
        let made = self.ask_to_create(&ask).await;
        let found = made.and_then(|made| self.found(login, &name, made));
        let error = match found {
            Ok(found) => {
                if found.login != text {
                    self.memory.forget(&text);
                }
                return Ok(Some(found));
            }
            Err(error) => error,
        };
        match error {
            // It is over, or a repeat that finds nothing.
            DatabaseError::Refused {
                kind: RefusalKind::Gone,
                ..
            } => {
                self.memory.forget(&text);
                Ok(None)
            }
            DatabaseError::Unknown(problem) if login.may_create => {
                Err(self.roll_back((&text, ends), login.record, problem).await)
            }
            DatabaseError::Unknown(_) => Err(error),
            DatabaseError::Refused { .. } | DatabaseError::Unreachable(_) => {
                self.memory.forget(&text);
                Err(error)
            }
        }
    }

    /// Asks again at once where a connection broke, which does no harm: a lease is made once. Both
    /// attempts have the time of one. What is only to be found is asked for again by the caller.
    async fn ask_to_create(&self, ask: &Create<'_>) -> Result<Made, DatabaseError> {
        let first = self.peer.ask_with(CREATE, ask, SHORT, Some(ask.password));
        let Some(deadline) = Instant::now().checked_add(self.settings.timeout) else {
            return first.await;
        };
        match first.await {
            Err(DatabaseError::Unknown(problem)) if ask.may_create && Instant::now() < deadline => {
                let again = timeout_at(
                    deadline,
                    self.peer.ask_with(CREATE, ask, SHORT, Some(ask.password)),
                )
                .await;
                match again {
                    // The first one may have been done.
                    Err(_)
                    | Ok(Err(DatabaseError::Unreachable(_) | DatabaseError::Refused { .. })) => {
                        Err(DatabaseError::Unknown(problem))
                    }
                    Ok(again) => again,
                }
            }
            answered => answered,
        }
    }

    /// The lease of an answer, if it is about the one that was asked for (T-456).
    fn found(
        &self,
        login: &NewLogin<'_>,
        asked: &LeaseName,
        mut made: Made,
    ) -> Result<Found, DatabaseError> {
        let wrong = |problem: &str| {
            DatabaseError::Unknown(format!("the answer is not of the contract: {problem}"))
        };
        let name = self.ours(&made.name);
        let Some(name) = name.filter(|name| name.rand13() == login.random) else {
            return Err(wrong("it is about another lease"));
        };
        // A second attempt finds what the first one made: its record has a nonce.
        let is_mine = made.record == login.record;
        if (made.created || is_mine) && (name != *asked || made.group != login.group || !is_mine) {
            return Err(wrong(
                "it has another name, group or record than was asked for",
            ));
        }
        if made.created && !login.may_create {
            return Err(wrong("it made what it was only to find"));
        }
        let given = made.given().map_err(|problem| wrong(&problem))?;
        Ok(Found {
            created: is_mine,
            login: made.name,
            expires_at: name.expires_at(),
            is_usable: name.expires_at() > self.clock.now(),
            groups: vec![made.group],
            acts_as_group: false,
            record: made.record,
            given,
        })
    }

    /// Ends what may have been made. If that is not confirmed, the sweep keeps trying, and nothing is
    /// handed out for the token meanwhile (T-457).
    async fn roll_back(
        &self,
        (name, ends): (&str, Timestamp),
        record: &str,
        problem: String,
    ) -> DatabaseError {
        self.memory.owe(name, ends, record);
        match self.end(name).await {
            Ok(ended) if ended.ended => refused(
                RefusalKind::RolledBack,
                "ENDED",
                format!("{problem}; what may have been made was ended"),
            ),
            Ok(_) | Err(_) => DatabaseError::Unknown(problem),
        }
    }

    /// Lists, unless another request just did: a long list is not asked for by all at once (T-464).
    async fn list_once(&self) -> Result<(), DatabaseError> {
        let late = |_| DatabaseError::Unknown("the list takes too long".to_owned());
        let most = self.settings.timeout.saturating_mul(2);
        let _one = timeout(most, self.listing.lock()).await.map_err(late)?;
        if self.memory.is_fresh(JUST_NOW) {
            return Ok(());
        }
        timeout(most, self.list()).await.map_err(late)??;
        Ok(())
    }

    async fn take_place(&self, name: &str, holder: &str) -> Result<(), DatabaseError> {
        let now = self.clock.now();
        let is_live = |name: &str| self.ours(name).is_some_and(|name| name.expires_at() > now);
        let most = (MAX_LIVE, self.settings.places_per_repository);
        let mut taken = Err((0, 0));
        if self.memory.is_fresh(self.settings.sweep) {
            taken = self.memory.take_place(name, holder, most, is_live);
        }
        // Refused by what is there now, and not by what was: some may have ended since.
        if taken.is_err() {
            // Nothing was asked to be made.
            let listed = self.list_once().await;
            listed.map_err(|error| DatabaseError::Unreachable(error.to_string()))?;
            taken = self.memory.take_place(name, holder, most, is_live);
        }
        taken.map_err(|(all, of_holder)| {
            if all >= MAX_LIVE {
                let message = format!("there are {all} live logins, at most {MAX_LIVE} are made");
                return refused(RefusalKind::Full, "FULL", message);
            }
            let most = self.settings.places_per_repository;
            let message =
                format!("the repository has {of_holder} live logins, at most {most} are made");
            refused(RefusalKind::RepositoryFull, "PLACES", message)
        })
    }
}

const JUST_NOW: Duration = Duration::from_secs(1);
