//! The leases that are there: for the list, the sweep, and the places that are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Redis;
use super::create::refused;
use super::node::Node;
use super::settings::MAX_LIVE;
use super::user::{self, Record, User};
use super::view::{View, Whole};
use crate::clock::Timestamp;
use crate::credential::database::{DatabaseError, RefusalKind};
use crate::credential::target::{LeaseRow, LeaseState};

/// What a replica of the broker knows of users, so that each is read once: only a broker makes them, and
/// none is ever changed.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Users>);

#[derive(Debug, Default)]
struct Users {
    leases: BTreeMap<String, Lease>,
    /// Until when each claim stays.
    claims: BTreeMap<String, i64>,
    read_at: Option<Instant>,
    /// Logins that are being made, with their holders, until a listing has them.
    places: BTreeMap<String, (String, Instant)>,
    /// What the pass of the sweep found to be over.
    ended: Vec<String>,
}

#[derive(Clone, Debug)]
struct Lease {
    is_on: bool,
    /// None where it was not made by a broker.
    record: Option<Record>,
    holder: String,
}

impl Known {
    fn locked(&self) -> MutexGuard<'_, Users> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self, login: &str) {
        let mut users = self.locked();
        users.leases.remove(login);
        users.places.remove(login);
    }
}

impl Redis {
    /// Takes a place for a login, where there is one. Other replicas' logins count from the last listing
    /// on.
    pub(super) async fn take_place(
        &self,
        whole: &Whole<'_>,
        login: &str,
        holder: &str,
    ) -> Result<(), DatabaseError> {
        let read_at = self.known.locked().read_at;
        if read_at.is_none_or(|at| at.elapsed() > self.settings.sweep) {
            self.read(whole.decider).await?;
        }
        let mut users = self.known.locked();
        let made = users
            .leases
            .iter()
            .map(|(name, lease)| (name, &lease.holder));
        let places = users
            .places
            .iter()
            .map(|(name, (holder, _))| (name, holder));
        let places = places.filter(|(name, _)| !users.leases.contains_key(*name));
        let (mut all, mut of_holder) = (0_u32, 0_u32);
        for (name, whose) in made.chain(places) {
            let is_live = self.names.end(name).is_some_and(|end| end > whole.time);
            if is_live && name != login {
                all = all.saturating_add(1);
                of_holder = of_holder.saturating_add(u32::from(whose == holder));
            }
        }
        if all >= MAX_LIVE {
            let message = format!("there are {all} live logins, at most {MAX_LIVE} are made");
            return Err(refused(RefusalKind::Full, "FULL", message));
        }
        let most = self.settings.places_per_repository;
        if of_holder >= most {
            let message =
                format!("the repository has {of_holder} live logins, at most {most} are made");
            return Err(refused(RefusalKind::RepositoryFull, "PLACES", message));
        }
        let place = (holder.to_owned(), Instant::now());
        users.places.insert(login.to_owned(), place);
        Ok(())
    }

    pub(super) fn give_place(&self, login: &str) {
        self.known.forget(login);
    }

    /// Reads the users of a server that were not read before, and forgets those that are gone.
    async fn read(&self, node: &Node) -> Result<(), DatabaseError> {
        let before: BTreeSet<String> = {
            let users = self.known.locked();
            let read = users
                .leases
                .iter()
                .filter(|(_, lease)| lease.record.is_some());
            let names = read.map(|(name, _)| name).chain(users.claims.keys());
            names.cloned().collect()
        };
        // A login that is made meanwhile has its place and is not listed yet.
        let there: BTreeSet<String> = node.users().await?.into_iter().collect();
        let ours = |name: &&String| self.names.end(name).is_some() || self.names.is_claim(name);
        let new: Vec<&String> = there
            .iter()
            .filter(ours)
            .filter(|name| !before.contains(*name))
            .collect();
        let mut found = Vec::new();
        for page in new.chunks(PAGE) {
            let asked = page.iter().map(async |name| {
                let answer = node.ask(&user::get_user(name)).await?;
                Ok::<_, DatabaseError>(((*name).clone(), User::read(&answer)))
            });
            for user in join_all(asked).await {
                found.push(user?);
            }
        }
        let mut users = self.known.locked();
        users.leases.retain(|name, _| there.contains(name));
        users
            .places
            .retain(|name, (_, at)| !there.contains(name) && at.elapsed() < LONGEST_MINT);
        users.claims.retain(|name, _| there.contains(name));
        for (name, user) in found {
            let Some(user) = user else { continue };
            if self.names.is_claim(&name) {
                let until = user.claim().map_or(0, |claim| claim.until);
                users.claims.insert(name, until);
            } else {
                let record = user.record();
                let holder = record.as_ref().map(|record| record.holder.clone());
                let lease = Lease {
                    is_on: user.is_on,
                    holder: holder.unwrap_or_default(),
                    record,
                };
                users.leases.insert(name, lease);
            }
        }
        users.read_at = Some(Instant::now());
        Ok(())
    }

    /// Names of leases that are over, on any server. One listing serves all pages of a pass.
    pub(super) async fn list_ended(
        &self,
        after: &str,
        most: u32,
    ) -> Result<Vec<String>, DatabaseError> {
        if after.is_empty() {
            let view = self.look().await;
            let now = time(&view)?;
            let mut ended = BTreeSet::new();
            for node in view.masters.iter().chain(&view.replicas) {
                // One that does not answer has its turn in the next pass.
                let names = node.users().await.unwrap_or_default().into_iter();
                let is_over = |name: &String| self.names.end(name).is_some_and(|end| end <= now);
                ended.extend(names.filter(is_over));
            }
            self.known.locked().ended = ended.into_iter().collect();
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let users = self.known.locked();
        let page = users.ended.iter().filter(|name| name.as_str() > after);
        Ok(page.take(most).cloned().collect())
    }

    /// Every lease of the deciding master. Without one, there is nothing to list: a server that lost its
    /// users lets no user in.
    pub(super) async fn list_leases(&self) -> Result<Vec<LeaseRow>, DatabaseError> {
        let view = self.look().await;
        let now = time(&view)?;
        let mut servers = view.masters.iter().chain(&view.replicas);
        if let Some(node) = servers.next() {
            self.read(node).await?;
        }
        let users = self.known.locked();
        let rows = users.leases.iter().filter_map(|(name, lease)| {
            let ends = self.names.end(name)?;
            let ended = ends <= now;
            Some(LeaseRow {
                login: name.clone(),
                expires_at: Timestamp::from_unix(ends),
                ended,
                can_login: lease.is_on,
                groups: lease
                    .record
                    .iter()
                    .map(|record| record.group.clone())
                    .collect(),
                state: if ended || !lease.is_on {
                    LeaseState::Closing
                } else {
                    LeaseState::Live
                },
                sessions: Vec::new(),
                leftovers: Vec::new(),
                record: lease
                    .record
                    .as_ref()
                    .map_or_else(String::new, |record| record.text.clone()),
            })
        });
        Ok(rows.collect())
    }

    /// Deletes logins that another server has and the deciding master does not: a revocation did not reach
    /// that server, or a broker died. What another server lists was asked for first, so a login made
    /// meanwhile, which the master gets first, is on the master too. Claims whose time is over go as well.
    pub(super) async fn delete_strays(&self) -> Result<u32, DatabaseError> {
        let Ok(whole) = self.whole().await else {
            // Without a master there is nothing to compare with; the next pass comes.
            return Ok(0);
        };
        let others = whole.others.iter().chain(&whole.replicas);
        let mut listed = Vec::new();
        for node in others {
            listed.push((*node, node.users().await?));
        }
        let there: BTreeSet<String> = whole.decider.users().await?.into_iter().collect();
        let mut strays = 0_u32;
        for (node, names) in &listed {
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.retain(|name| self.names.end(name).is_some() && !there.contains(*name));
            for page in names.chunks(PAGE) {
                node.ask(&user::delete_users(page)).await?;
            }
            strays = strays.saturating_add(u32::try_from(names.len()).unwrap_or(u32::MAX));
        }
        self.read(whole.decider).await?;
        let over: Vec<String> = {
            let users = self.known.locked();
            let over = users
                .claims
                .iter()
                .filter(|(_, until)| **until <= whole.time);
            over.map(|(name, _)| name.clone()).collect()
        };
        let names: Vec<&str> = over.iter().map(String::as_str).collect();
        for page in names.chunks(PAGE) {
            for node in whole
                .others
                .iter()
                .chain(&whole.replicas)
                .chain([&whole.decider])
            {
                node.ask(&user::delete_users(page)).await?;
            }
        }
        // Claims that only another server has: its master deleted them while it was away.
        for (node, names) in &listed {
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.retain(|name| self.names.is_claim(name) && !there.contains(*name));
            for page in names.chunks(PAGE) {
                node.ask(&user::delete_users(page)).await?;
            }
        }
        Ok(strays)
    }
}

fn time(view: &View<'_>) -> Result<i64, DatabaseError> {
    match (view.time, view.missing.first()) {
        (Some(time), _) => Ok(time),
        (None, Some((_, error))) => Err(error.clone()),
        (None, None) => Err(DatabaseError::Unreachable("no server is listed".to_owned())),
    }
}

/// Users in one command, and commands at once.
const PAGE: usize = 100;
/// A login that no listing has by then was not made.
const LONGEST_MINT: Duration = Duration::from_secs(30);
