//! Finds the policies that may match a job, by issuer and exact repository.
//!
//! So a hundred thousand policies cost no more than ten.

use std::collections::HashMap;

use super::{Block, Policy};
use crate::provider::{Fact, Facts};

/// Policies of each issuer by the repositories they name.
#[derive(Debug, Default)]
pub(super) struct Index {
    issuers: HashMap<String, OfIssuer>,
}

#[derive(Debug, Default)]
struct OfIssuer {
    by_name: HashMap<String, Vec<usize>>,
    /// By the lower-case name, for names with capitals. No policy matches by it, but a denial can
    /// hint at a difference in case (T-48).
    by_folded: HashMap<String, Vec<usize>>,
    /// With whether the block names the repository as well, so that `by_name` has it too.
    by_id: HashMap<String, Vec<(usize, bool)>>,
    /// Policies with a block that names no repository exactly.
    rest: Vec<usize>,
}

impl Index {
    pub(super) fn build(issuers: &[&str], policies: &[Policy]) -> Self {
        let mut index = Self::default();
        for issuer in issuers {
            index
                .issuers
                .insert((*issuer).to_owned(), OfIssuer::default());
        }
        for (number, policy) in policies.iter().enumerate() {
            let of_issuer = index.issuers.entry(policy.issuer.clone()).or_default();
            for block in &policy.when {
                of_issuer.add(number, block);
            }
        }
        index
    }

    /// Every policy that may match the job, some perhaps twice.
    pub(super) fn candidates(&self, facts: &Facts) -> impl Iterator<Item = usize> {
        let of_issuer = self.issuers.get(facts.issuer());
        let name = facts.text(Fact::Repository).unwrap_or_default();
        let id = facts.text(Fact::RepositoryId).unwrap_or_default();
        let by_name = of_issuer
            .and_then(|all| all.by_name.get(name))
            .into_iter()
            .flatten();
        let by_id = of_issuer
            .and_then(|all| all.by_id.get(id))
            .into_iter()
            .flatten();
        let rest = of_issuer.map(|all| all.rest.as_slice()).unwrap_or_default();
        by_name
            .copied()
            .chain(by_id.filter(|(_, named)| !named).map(|(number, _)| *number))
            .chain(rest.iter().copied())
    }

    /// The same policies, and those that name the job's repository by another name or ID, each once
    /// and in order. For denials, which report near misses too.
    pub(super) fn about(&self, facts: &Facts) -> Candidates {
        let Some(of_issuer) = self.issuers.get(facts.issuer()) else {
            return Candidates::default();
        };
        let name = facts.text(Fact::Repository).unwrap_or_default();
        let id = facts.text(Fact::RepositoryId).unwrap_or_default();
        let by_name = of_issuer.by_name.get(name).into_iter().flatten().copied();
        let by_id = of_issuer.by_id.get(id).into_iter().flatten();
        let mut own: Vec<_> = by_name.chain(by_id.map(|(number, _)| *number)).collect();
        own.sort_unstable();
        own.dedup();
        let is_other = |number: &usize| own.binary_search(number).is_err();
        let folded = name.to_ascii_lowercase();
        let alike = [
            of_issuer.by_name.get(&folded),
            of_issuer.by_folded.get(&folded),
        ];
        let alike = alike.into_iter().flatten().flatten();
        let mut wide: Vec<_> = of_issuer.rest.iter().chain(alike).copied().collect();
        wide.retain(is_other);
        wide.sort_unstable();
        wide.dedup();
        Candidates { own, wide }
    }
}

/// The policies that may match a job, in the order of files and lines.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Policies with a block that names its repository by name or ID.
    pub(super) own: Vec<usize>,
    /// Other policies: for any repository, or for one whose name differs only in case.
    pub(super) wide: Vec<usize>,
}

impl OfIssuer {
    fn add(&mut self, number: usize, block: &Block) {
        let names = block.exact(Fact::Repository);
        let ids = block.exact(Fact::RepositoryId);
        if names.is_none() && ids.is_none() {
            push(&mut self.rest, number);
        }
        for id in ids.into_iter().flatten() {
            push(
                self.by_id.entry(id.to_owned()).or_default(),
                (number, names.is_some()),
            );
        }
        for name in names.into_iter().flatten() {
            push(self.by_name.entry(name.to_owned()).or_default(), number);
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                let folded = name.to_ascii_lowercase();
                push(self.by_folded.entry(folded).or_default(), number);
            }
        }
    }
}

fn push<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if list.last() != Some(&item) {
        list.push(item);
    }
}
