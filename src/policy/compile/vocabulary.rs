//! The words of a loaded set, with which files beside the policies select credentials and describe jobs.

use super::conditions::{self, About};
use super::credentials::Credentials;
use super::issuers::Issuers;
use super::requirements;
use super::time::Zone;
use crate::policy::{Block, PolicySet, Selector};
use crate::yaml::Node;
use crate::yaml::reader::NodeReader;

/// The credentials and issuers of a set, as readers of conditions take them.
pub(in crate::policy) struct Vocabulary {
    issuers: Issuers,
    credentials: Credentials,
    zone: Zone,
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
