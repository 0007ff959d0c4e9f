//! The source address of the request as constants.

use ipnet::IpNet;

use super::term::{all, equal, not};

/// That the address is known and in the network.
pub(super) fn within(network: &IpNet) -> String {
    let (is_kind, value, bits, width) = match network {
        IpNet::V4(network) => {
            let bits = u128::from(network.network().to_bits());
            (not(IS_V6), "address4", bits, 32_u8)
        }
        IpNet::V6(network) => {
            let bits = network.network().to_bits();
            (IS_V6.to_owned(), "address6", bits, 128)
        }
    };
    let mut terms = vec![IS_KNOWN.to_owned(), is_kind];
    let length = network.prefix_len();
    if length > 0 {
        let rest = width.saturating_sub(length);
        let last = width.saturating_sub(1);
        let prefix = bits.checked_shr(u32::from(rest)).unwrap_or_default();
        let found = format!("((_ extract {last} {rest}) {value})");
        terms.push(equal(&found, &format!("(_ bv{prefix} {length})")));
    }
    all(&terms)
}

/// The constants, and what holds of them: an address of IPv4 in the form of IPv6 is one of IPv4.
pub(super) const DECLARATIONS: &str = "(declare-const address-is-known Bool)
(declare-const address-is-v6 Bool)
(declare-const address4 (_ BitVec 32))
(declare-const address6 (_ BitVec 128))
(assert (not (= ((_ extract 127 32) address6) #x00000000000000000000ffff)))
";
pub(super) const IS_KNOWN: &str = "address-is-known";
const IS_V6: &str = "address-is-v6";
