//! The words of a loaded set, with which files beside the policies select credentials and describe jobs.

use std::sync::Arc;

use super::conditions::{self, About};
use super::credentials::Credentials;
use super::each::Expansion;
use super::issuers::Issuers;
use super::requirements;
use super::teams::is_below;
use super::time::Zone;
use crate::policy::parse::Realm;
use crate::policy::{Block, PolicySet, Selector};
use crate::yaml::Node;
use crate::yaml::diagnostic::Row;
use crate::yaml::reader::NodeReader;

/// The credentials and issuers of a set, as readers of conditions take them.
pub(in crate::policy) struct Vocabulary {
    issuers: Issuers,
    credentials: Credentials,
    zone: Zone,
}

impl PolicySet {
    /// Calls `read` for each entry that an item of a file beside the policies stands for: itself, or one
    /// for each row of its `each`.
    pub(in crate::policy) fn each_row(
        &self,
        yaml: &NodeReader<'_>,
        file: &str,
        item: &Node,
        read: impl FnMut(&Node, Option<&Arc<Row>>),
    ) {
        let mut folders = self.team_folders.iter();
        let team = folders.position(|folder| is_below(file, folder));
        let realm = team.map_or(Realm::Root, Realm::Team);
        Expansion::new(&self.rosters).items(yaml, realm, item, read);
    }

    /// The folder of the team whose file it is.
    pub(in crate::policy) fn team_of(&self, file: &str) -> Option<&str> {
        let mut folders = self.team_folders.iter().map(String::as_str);
        folders.find(|folder| is_below(file, folder))
    }
}

impl Vocabulary {
    pub(in crate::policy) fn of(set: &PolicySet) -> Self {
        Self {
            issuers: Issuers::of(set.issuers.clone()),
            credentials: Credentials::of(set),
            zone: set.zone.clone(),
        }
    }

    /// `of`, as in a requirement.
    pub(in crate::policy) fn selector(
        &self,
        yaml: &NodeReader<'_>,
        node: &Node,
        what: &str,
    ) -> Option<Selector> {
        requirements::selector(yaml, node, what, &self.credentials)
    }

    /// `jobs`, as in a requirement.
    pub(in crate::policy) fn jobs(
        &self,
        yaml: &NodeReader<'_>,
        node: &Node,
        what: &str,
    ) -> Option<Block> {
        conditions::block(
            yaml,
            node,
            &About::requirement(what, &self.issuers, &self.zone),
        )
    }
}
