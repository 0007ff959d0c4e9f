//! Makes a login on every master, or on none; or finds the one that was made before.

use std::time::Duration;

use futures_util::future::join_all;

use super::Redis;
use super::node::Node;
use super::rules::Group;
use super::user::{self, Claim, Record, User};
use super::view::Whole;
use crate::clock::Timestamp;
use crate::credential::database::order::CLOCKS_DIFFER;
use crate::credential::database::{DatabaseError, Found, Given, NewLogin, RefusalKind};
use crate::lease::LeaseName;
use crate::reason::Reason;

impl Redis {
    pub(super) async fn make(&self, login: &NewLogin<'_>) -> Result<Option<Found>, DatabaseError> {
        let Some(group) = self.settings.groups.get(login.group) else {
            return Err(refused(
                RefusalKind::GroupUnfit,
                "GROUP",
                format!(
                    "group `{}` is not under `groups` of the target",
                    login.group
                ),
            ));
        };
        let whole = self.whole().await?;
        self.remember_master(whole.decider);
        let claim_name = self.names.claim(login.random);
        let before = self.claim_of(whole.decider, &claim_name).await?;
        let mine = user::mark(login.record);
        let claim = match before {
            Some(claim) if claim.mark == mine => claim,
            Some(claim) => return self.find(&whole, &claim).await,
            None if !login.may_create => return Ok(None),
            None => {
                self.check_clock(whole.time)?;
                let ends = whole.time.saturating_add(i64::from(login.life));
                let name = self.name(ends, login.random)?;
                let claim = Claim {
                    login: name,
                    until: login.used_until.unix().saturating_add(MARGIN).max(ends),
                    made_at: whole.time,
                    mark: mine.clone(),
                };
                self.take_place(&whole, &claim.login, login.holder).await?;
                let first = self.claim(&whole, &claim_name, &claim).await;
                match first {
                    Ok(first) if first.mark == mine => first,
                    Ok(first) => {
                        self.give_place(&claim.login);
                        return self.find(&whole, &first).await;
                    }
                    Err(error) => {
                        self.give_place(&claim.login);
                        return Err(error);
                    }
                }
            }
        };
        if !login.may_create {
            return self.find(&whole, &claim).await;
        }
        if self
            .names
            .end(&claim.login)
            .is_none_or(|ends| ends <= whole.time)
        {
            return Ok(None);
        }
        let made = self.write(&whole, &claim_name, &claim, login, group).await;
        match made {
            Ok(()) => Ok(self.names.end(&claim.login).map(|ends| Found {
                created: true,
                login: claim.login,
                expires_at: Timestamp::from_unix(ends),
                is_usable: true,
                groups: vec![login.group.to_owned()],
                acts_as_group: false,
                record: login.record.to_owned(),
                given: Given::default(),
            })),
            Err(error) => Err(self.roll_back(&whole, &claim_name, &claim, error).await),
        }
    }

    fn name(&self, ends: i64, random: &str) -> Result<String, DatabaseError> {
        let name = LeaseName::new(&self.settings.prefix, Timestamp::from_unix(ends), random);
        name.map(|name| name.to_string())
            .map_err(|error| refused(RefusalKind::Other, "NAME", error.to_string()))
    }

    /// Names are made of the server's clock, and records of ours.
    pub(super) fn check_clock(&self, time: i64) -> Result<(), DatabaseError> {
        let ahead = time.saturating_sub(self.clock.now().unix());
        if ahead.unsigned_abs() <= CLOCKS_DIFFER.unsigned_abs() {
            return Ok(());
        }
        Err(refused(
            RefusalKind::Other,
            "CLOCK",
            format!(
                "the clock of the server differs from the broker's by {} s, at most {CLOCKS_DIFFER} s are allowed",
                ahead.unsigned_abs()
            ),
        ))
    }

    async fn claim_of(&self, node: &Node, name: &str) -> Result<Option<Claim>, DatabaseError> {
        let answer = node.ask(&user::get_user(name)).await?;
        match User::read(&answer) {
            None => Ok(None),
            Some(user) => user.claim().map(Some).ok_or_else(|| {
                refused(
                    RefusalKind::Other,
                    "FOREIGN",
                    format!("user `{name}` was not made by a broker; delete it"),
                )
            }),
        }
    }

    /// Adds a claim, and returns the first one.
    async fn claim(
        &self,
        whole: &Whole<'_>,
        name: &str,
        claim: &Claim,
    ) -> Result<Claim, DatabaseError> {
        let rules = ["off", "-@all", &claim.pattern()];
        whole.decider.ask(&user::set_user(name, rules)).await?;
        let first = self.claim_of(whole.decider, name).await?;
        first.ok_or_else(|| {
            DatabaseError::Unknown(format!("user `{name}` is gone from {}", whole.decider.name))
        })
    }

    /// The login of a claim. Who made the claim a moment ago may be about to make the login.
    async fn find(&self, whole: &Whole<'_>, claim: &Claim) -> Result<Option<Found>, DatabaseError> {
        let Some(ends) = self.names.end(&claim.login) else {
            return Ok(None);
        };
        let is_new = whole.time.saturating_sub(claim.made_at) <= MOMENT;
        let mut attempts = if is_new { ATTEMPTS } else { 1 };
        loop {
            let answer = whole.decider.ask(&user::get_user(&claim.login)).await?;
            let user = User::read(&answer);
            if let Some((user, record)) = user.and_then(|user| Some((user.is_on, user.record()?))) {
                return Ok(Some(Found {
                    created: false,
                    login: claim.login.clone(),
                    expires_at: Timestamp::from_unix(ends),
                    is_usable: user && ends > whole.time,
                    groups: vec![record.group],
                    acts_as_group: false,
                    record: record.text,
                    given: Given::default(),
                }));
            }
            attempts = attempts.saturating_sub(1);
            if attempts == 0 {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The deciding master first: what is on another server and not there is swept.
    async fn write(
        &self,
        whole: &Whole<'_>,
        claim_name: &str,
        claim: &Claim,
        login: &NewLogin<'_>,
        group: &Group,
    ) -> Result<(), DatabaseError> {
        let record = Record {
            group: login.group.to_owned(),
            holder: login.holder.to_owned(),
            text: login.record.to_owned(),
        };
        let (password, selector) = (user::password_rule(login.password), record.selector());
        let mut rules = vec!["reset", "on", &password];
        rules.extend(group.rules());
        rules.push(&selector);
        let login_rules = user::set_user(&claim.login, rules);
        let pattern = claim.pattern();
        let claim_rules = user::set_user(claim_name, ["off", "-@all", &pattern]);
        whole.decider.ask(&login_rules).await?;
        let on_node = async |node: &Node| {
            node.ask(&claim_rules).await?;
            node.ask(&login_rules).await
        };
        let made = join_all(whole.others.iter().map(|node| on_node(node))).await;
        for made in made {
            made?;
        }
        let made = join_all(whole.replicas.iter().map(|node| on_node(node))).await;
        for error in made.into_iter().filter_map(Result::err) {
            warn_of_replica(&error);
        }
        Ok(())
    }

    /// Takes back what was made. If that cannot be confirmed, the claim stays, so that nothing else is
    /// made for the token.
    async fn roll_back(
        &self,
        whole: &Whole<'_>,
        claim_name: &str,
        claim: &Claim,
        error: DatabaseError,
    ) -> DatabaseError {
        let others = whole.others.iter().rev().copied();
        let mut is_gone = true;
        for node in others.chain([whole.decider]) {
            let deleted = node.ask(&user::delete_users(&[&claim.login])).await;
            is_gone &= deleted.is_ok();
        }
        if !is_gone {
            return DatabaseError::Unknown(error.to_string());
        }
        self.give_place(&claim.login);
        for node in whole.others.iter().copied().chain([whole.decider]) {
            // One that stays ends with its token.
            let _ = node.ask(&user::delete_users(&[claim_name])).await;
        }
        error
    }
}

pub(super) fn refused(kind: RefusalKind, code: &str, message: String) -> DatabaseError {
    DatabaseError::Refused {
        kind,
        code: code.to_owned(),
        message,
    }
}

pub(super) fn warn_of_replica(error: &DatabaseError) {
    tracing::warn!(
        reason = Reason::DatabaseStandby.code(),
        problem = %crate::text::escape(&error.to_string()),
        "a replica has other users than its master until the next sweep"
    );
}

/// Seconds that a claim outlives its token.
const MARGIN: i64 = 60;
/// Seconds in which a login may still be made after its claim.
const MOMENT: i64 = 3;
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);
