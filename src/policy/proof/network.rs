//! Addresses of requests: one of each kind that the named networks tell apart.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::lang::Lang;
use super::value::ValueSet;
use crate::policy::literals::Constraint;
use crate::policy::pattern::Observed;

/// The addresses. The networks cut the addresses into ranges, and each range begins at the first address
/// of all, the first of a network, or the first after one.
#[derive(Clone, Debug)]
pub(super) struct Addresses(BTreeSet<IpAddr>);

impl Default for Addresses {
    fn default() -> Self {
        let first = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            IpAddr::V6(AFTER_IPV4),
        ];
        Self(first.into_iter().chain(USUAL).collect())
    }
}

impl Addresses {
    /// Tells the addresses of the network from the others.
    pub(super) fn name(&mut self, network: IpNet) {
        let found = [Some(network.network()), after(network.broadcast())];
        // An address of IPv4 in the form of IPv6 is one of IPv4.
        let own = |address: &IpAddr| address.to_canonical() == *address;
        self.0.extend(found.into_iter().flatten().filter(own));
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

/// Addresses for documentation (RFC 5737, RFC 3849), which are shown where they fit.
pub(super) const USUAL: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
];

/// The first address of IPv6 after those that are of IPv4.
const AFTER_IPV4: Ipv6Addr = Ipv6Addr::from_bits(1 << 48);

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
