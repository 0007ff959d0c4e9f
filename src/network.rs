//! Reads networks in CIDR notation, the same way in policies, settings and the environment.

use std::net::IpAddr;

use ipnet::IpNet;

/// The network that the text names; `None` if it is none.
///
/// A number with a leading zero is refused: `ipnet` reads `010.0.0.0/8` as `10.0.0.0/8`, and programs
/// that take the zero for octal read it as `8.0.0.0/8` (T-299).
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    // The standard library refuses leading zeros in IPv4 addresses.
    let address: IpAddr = address.parse().ok()?;
    let bits: u8 = length.parse().ok()?;
    let network = IpNet::new(address, bits).ok()?;
    (bits.to_string() == length).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-299
    #[test]
    fn a_number_of_a_network_has_no_leading_zero() {
        for text in [
            "10.0.0.0/8",
            "10.1.2.3/8",
            "0.0.0.0/0",
            "192.0.2.7/32",
            "2001:db8::/32",
            "::/0",
        ] {
            let network = parse(text).unwrap();
            assert_eq!(network.to_string(), text);
        }
        assert_eq!(parse("FD00::/8").unwrap().to_string(), "fd00::/8");
        for text in [
            "010.0.0.0/8",
            "10.00.0.0/8",
            "10.0.0.08/32",
            "10.0.0.0/08",
            "10.0.0.0/00",
            "10.0.0.0/+8",
            "::ffff:010.0.0.0/104",
            "2001:db8::/032",
            "0xa.0.0.0/8",
            "10.0.0/8",
            "10.0.0.0/33",
            "10.0.0.0/255.0.0.0",
            "2001:db8::/129",
            "[2001:db8::]/32",
            "fe80::1%eth0/64",
            " 10.0.0.0/8",
            "10.0.0.0/8/8",
            "10.0.0.0",
            "10.0.0.0/",
            "/8",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
