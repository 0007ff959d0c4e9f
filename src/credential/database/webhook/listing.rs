//! The leases that the other side has: for the list, the sweep, and the places that are taken.

use super::contract::{LIST, LONG, Lease, Leases, List, PAGE};
use super::{Webhook, refused};
use crate::credential::database::{DatabaseError, RefusalKind};
use crate::credential::target::{LeaseRow, LeaseState};

impl Webhook {
    /// Every lease, page after page. What is no lease of this target is left out: it is never ended
    /// (T-463).
    pub(super) async fn list(&self) -> Result<Vec<Lease>, DatabaseError> {
        let mut all = Vec::new();
        let mut after = String::new();
        for _ in 0..MOST_PAGES {
            let page = self.page(&after, PAGE).await?;
            let is_last = page.len() < PAGE;
            if let Some(last) = page.last() {
                after.clone_from(&last.name);
            }
            let ours = page.into_iter();
            all.extend(ours.filter(|lease| self.ours(&lease.name).is_some()));
            if is_last {
                self.memory.note_listing(&all);
                return Ok(all);
            }
        }
        let most = PAGE.saturating_mul(MOST_PAGES);
        Err(wrong(&format!("it has {most} leases and more")))
    }

    /// Some leases after a name. A list that does not continue from there would never end (T-464).
    pub(super) async fn page(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Lease>, DatabaseError> {
        let prefix = &self.settings.prefix;
        let ask = List {
            prefix,
            after,
            limit,
        };
        let Leases { leases } = self.peer.ask(LIST, &ask, LONG).await?;
        if leases.len() > limit {
            return Err(wrong("it has more entries than were asked for"));
        }
        let mut before = after;
        for lease in &leases {
            let names = [&lease.name, &lease.group, &lease.holder];
            if lease.record.len() > LONGEST_RECORD
                || names.iter().any(|text| text.len() > LONGEST_NAME)
            {
                return Err(wrong("an entry is longer than what hallpass sends"));
            }
            if lease.name.as_str() <= before {
                return Err(wrong(
                    "its names are not sorted, or not after the one asked for",
                ));
            }
            before = &lease.name;
        }
        Ok(leases)
    }

    /// Names of leases that are over, or that may have been made and that no job got. One listing serves
    /// all pages of a pass.
    pub(super) async fn list_ended(
        &self,
        after: &str,
        most: u32,
    ) -> Result<Vec<String>, DatabaseError> {
        if after.is_empty() {
            let now = self.clock.now();
            let mut ended = self.memory.owed(now);
            let leases = self.list().await?.into_iter();
            let is_over = |lease: &Lease| {
                let name = self.ours(&lease.name);
                name.is_some_and(|name| name.expires_at() <= now)
            };
            ended.extend(leases.filter(is_over).map(|lease| lease.name));
            ended.sort();
            ended.dedup();
            self.memory.note_ended(ended);
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(self.memory.ended(after, most))
    }

    pub(super) async fn list_leases(&self) -> Result<Vec<LeaseRow>, DatabaseError> {
        let now = self.clock.now();
        let leases = self.list().await?.into_iter();
        let rows = leases.filter_map(|lease| {
            let expires_at = self.ours(&lease.name)?.expires_at();
            let ended = expires_at <= now;
            Some(LeaseRow {
                login: lease.name,
                expires_at,
                ended,
                can_login: !ended,
                groups: vec![lease.group],
                state: if ended {
                    LeaseState::Closing
                } else {
                    LeaseState::Live
                },
                sessions: Vec::new(),
                leftovers: Vec::new(),
                record: lease.record,
            })
        });
        Ok(rows.collect())
    }
}

fn wrong(problem: &str) -> DatabaseError {
    let message = format!("the list of leases is not of the contract: {problem}");
    refused(RefusalKind::Other, "LIST", message)
}

/// Brokers make at most 500 leases; others may be over and not ended yet.
const MOST_PAGES: usize = 20;
/// Bytes.
const LONGEST_RECORD: usize = 2_048;
const LONGEST_NAME: usize = 128;
