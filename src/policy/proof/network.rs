//! Addresses of requests: one of each kind that the named networks tell apart.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::lang::Lang;
use super::value::ValueSet;
use crate::policy::Block;
use crate::policy::literals::{Constraint, Literal};
use crate::policy::pattern::{Observed, Operator, Pattern};

/// The addresses. The networks cut the addresses into ranges, and each range begins at the first address
/// of all, the first of a network, or the first after one.
#[derive(Clone, Debug)]
pub(super) struct Addresses(BTreeSet<IpAddr>);

impl Addresses {
    pub(super) fn new<'l>(constraints: impl Iterator<Item = &'l Constraint<'l>>) -> Self {
        let first = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        let mut found = Self(BTreeSet::from(first));
        for constraint in constraints {
            match constraint {
                Constraint::Pattern(pattern) => found.pattern(pattern),
                Constraint::Operator(operator) => found.operator(operator),
                Constraint::Words(_) => {}
            }
        }
        // An address of IPv4 in the form of IPv6 is one of IPv4.
        found.0.retain(|address| address.to_canonical() == *address);
        found
    }

    /// Of blocks and literals.
    pub(super) fn of<'l>(
        literals: impl Iterator<Item = &'l Literal<'l>>,
        blocks: &[&Block],
    ) -> Self {
        let mut found = Self::new(literals.map(|literal| &literal.constraint));
        for block in blocks {
            let literals = block.literals();
            let of_block = Self::new(literals.iter().map(|literal| &literal.constraint));
            found.0.extend(of_block.0);
        }
        found
    }

    fn pattern(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Network(network) => {
                self.0.insert(network.network());
                self.0.extend(after(network.broadcast()));
            }
            Pattern::Any(patterns) => patterns.iter().for_each(|one| self.pattern(one)),
            Pattern::All(operators) => operators.iter().for_each(|one| self.operator(one)),
            Pattern::Exact(_)
            | Pattern::Is(_)
            | Pattern::Present(_)
            | Pattern::Workflow { .. }
            | Pattern::Time(_)
            | Pattern::Age(_) => {}
        }
    }

    fn operator(&mut self, operator: &Operator) {
        match operator {
            Operator::Not(pattern) => self.pattern(pattern),
            Operator::Glob(_) | Operator::Under(_) | Operator::Member(_) => {}
        }
    }

    /// All of them, and none.
    pub(super) fn domain(&self) -> ValueSet {
        ValueSet::optional(Lang::words(self.0.iter().map(IpAddr::to_string)))
    }

    /// Those that satisfy the constraint.
    pub(super) fn fitting(&self, constraint: &Constraint<'_>) -> ValueSet {
        let fits = |address: &&IpAddr| constraint.fits(Observed::Address(**address));
        let words = self.0.iter().filter(fits).map(IpAddr::to_string);
        let mut set = ValueSet::texts(Lang::words(words));
        set.absent = constraint.fits(Observed::Absent);
        set
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let next = address.to_bits().checked_add(1)?;
            Some(Ipv4Addr::from_bits(next).into())
        }
        IpAddr::V6(address) => {
            let next = address.to_bits().checked_add(1)?;
            Some(Ipv6Addr::from_bits(next).into())
        }
    }
}

/// The pointer of the address among the claims: that of no claim.
pub(super) const ADDRESS: &str = "";
