//! Which servers are there, and which of them is the master now.
//!
//! Users are not replicated: each server has its own. A login is made on all masters or on none, and on
//! replicas where that works, so that it outlives a failover.

use std::collections::BTreeSet;

use ::redis::cmd;
use futures_util::future::join_all;

use super::Redis;
use super::node::{Node, Role};
use super::user::text;
use crate::credential::database::{DatabaseError, RefusalKind};

/// Every server, as it answered a moment ago.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// Masters in the order of the settings; the first one decides.
    pub(super) masters: Vec<&'a Node>,
    pub(super) replicas: Vec<&'a Node>,
    pub(super) missing: Vec<(&'a Node, DatabaseError)>,
    /// The clock of the first master, or of some server where there is no master.
    pub(super) time: Option<i64>,
}

/// A view in which every master is there.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    /// Decides which of two requests for one token came first.
    pub(super) decider: &'a Node,
    pub(super) others: Vec<&'a Node>,
    pub(super) replicas: Vec<&'a Node>,
    /// Seconds of the decider's clock, which names are made of.
    pub(super) time: i64,
}

impl Redis {
    pub(super) async fn look(&self) -> View<'_> {
        let looks = join_all(self.nodes.iter().map(Node::look)).await;
        let mut view = View {
            masters: Vec::new(),
            replicas: Vec::new(),
            missing: Vec::new(),
            time: None,
        };
        let mut other_time = None;
        for (node, look) in self.nodes.iter().zip(looks) {
            match look {
                Ok((time, Role::Master)) => {
                    view.time.get_or_insert(time);
                    view.masters.push(node);
                }
                Ok((time, Role::Replica | Role::Unknown)) => {
                    other_time.get_or_insert(time);
                    view.replicas.push(node);
                }
                Err(error) => view.missing.push((node, error)),
            }
        }
        view.time = view.time.or(other_time);
        view
    }

    /// A view with every master.
    ///
    /// # Errors
    /// One is not there, or there are more than the settings say.
    pub(super) async fn whole(&self) -> Result<Whole<'_>, DatabaseError> {
        let view = self.look().await;
        self.complete(view).await
    }

    pub(super) async fn complete<'a>(&self, view: View<'a>) -> Result<Whole<'a>, DatabaseError> {
        let mut masters = view.masters.into_iter();
        let (Some(decider), Some(time)) = (masters.next(), view.time) else {
            return Err(missing(view.missing, "no server of the target is a master"));
        };
        let others: Vec<&Node> = masters.collect();
        let about = decider.about().await?;
        if !about.is_supported() {
            return Err(DatabaseError::Refused {
                kind: RefusalKind::Outdated,
                code: "VERSION".to_owned(),
                message: format!(
                    "{} is {}; Redis 7.0 or Valkey is needed",
                    decider.name,
                    about.words()
                ),
            });
        }
        let found = others.len().saturating_add(1);
        if about.is_cluster {
            let all = [&[decider][..], &others].concat();
            if let Some(problem) = uncovered(decider, &all).await? {
                return Err(missing(view.missing, &problem));
            }
        } else if found < self.settings.masters {
            let problem = format!("{found} of {} masters are there", self.settings.masters);
            return Err(missing(view.missing, &problem));
        } else if found > self.settings.masters {
            return Err(DatabaseError::Unreachable(format!(
                "{found} servers say that they are masters, and `masters` of the target is {}; after a failover the old master must become a replica",
                self.settings.masters
            )));
        }
        Ok(Whole {
            decider,
            others,
            replicas: view.replicas,
            time,
        })
    }
}

/// Masters of a cluster with slots that are not among those seen.
async fn uncovered(decider: &Node, masters: &[&Node]) -> Result<Option<String>, DatabaseError> {
    let ids = join_all(masters.iter().map(async |node: &&Node| {
        let mut command = cmd("CLUSTER");
        command.arg("MYID");
        node.ask(&command).await
    }));
    let mut seen = BTreeSet::new();
    for id in ids.await {
        seen.extend(text(&id?).map(str::to_owned));
    }
    let mut command = cmd("CLUSTER");
    command.arg("NODES");
    let nodes = decider.ask(&command).await?;
    for line in text(&nodes).unwrap_or_default().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, address, flags, _, _, _, _, _, slots @ ..] = words.as_slice() else {
            continue;
        };
        let is_master = flags.split(',').any(|flag| flag == "master");
        if is_master && !slots.is_empty() && !seen.contains(*id) {
            let address = address.split('@').next().unwrap_or_default();
            return Ok(Some(format!(
                "master {} of the cluster is not under `nodes` of the target, or is not there",
                crate::text::escape(address)
            )));
        }
    }
    Ok(None)
}

fn missing(missing: Vec<(&Node, DatabaseError)>, problem: &str) -> DatabaseError {
    let mut words = vec![problem.to_owned()];
    words.extend(missing.into_iter().map(|(_, error)| match error {
        DatabaseError::Unreachable(problem) | DatabaseError::Unknown(problem) => problem,
        refused @ DatabaseError::Refused { .. } => refused.to_string(),
    }));
    DatabaseError::Unreachable(words.join("; "))
}
