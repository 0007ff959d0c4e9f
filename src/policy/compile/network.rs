//! Patterns for addresses: a network, a list of networks, or `{ not: … }` of these.

use ipnet::IpNet;

use crate::policy::pattern::{Operator, Pattern};
use crate::yaml::reader::{MAX_TEXT, NodeReader};
use crate::yaml::{Node, NodeKind};

/// The pattern of a condition on `what`.
pub(super) fn pattern(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Pattern> {
    match &node.kind {
        NodeKind::Scalar(_) | NodeKind::List(_) => networks(yaml, node, what),
        NodeKind::Map(_) => {
            let of = format!("the pattern of `{what}`");
            let fields = yaml.fields(node, &of, &["not"])?;
            let not = yaml.required(&fields, "not", &of, node.span)?;
            let pattern = networks(yaml, not, what)?;
            Some(Pattern::All(vec![Operator::Not(Box::new(pattern))]))
        }
    }
}

/// A network, or a list of them.
fn networks(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Pattern> {
    let NodeKind::List(_) = &node.kind else {
        return network(yaml, node, what);
    };
    let items = yaml.items(node, format!("the list of `{what}`"))?;
    let read: Vec<_> = items.iter().map(|item| network(yaml, item, what)).collect();
    let read = read.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Pattern::Any(read))
}

fn network(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Pattern> {
    let text = yaml.ascii(node, format!("a network of `{what}`"), MAX_TEXT)?;
    match parse(text) {
        Ok(network) => Some(Pattern::Network(network)),
        Err((problem, help)) => {
            let message = format!("`{what}`: `{text}` {problem}");
            yaml.error_help("network", node.span, message, Some(help));
            None
        }
    }
}

/// A network in its only spelling. The error is the end of a sentence, and what to write.
fn parse(text: &str) -> Result<IpNet, (&'static str, String)> {
    let Some(network) = crate::network::parse(text) else {
        let address: Result<std::net::IpAddr, _> = text.parse();
        return Err(match address {
            Ok(address) => (
                "is an address, expected a network",
                format!("write {}", IpNet::from(address.to_canonical())),
            ),
            Err(_) => (
                "is not a network",
                "write an address and a prefix length without leading zeros, such as 10.0.0.0/8"
                    .to_owned(),
            ),
        });
    };
    if network.prefix_len() == 0 {
        return Err((
            "is every address, which is no limit",
            "leave the line out, or write the networks that are meant".to_owned(),
        ));
    }
    if let IpNet::V6(mapped) = network
        && let Some(v4) = mapped.addr().to_ipv4_mapped()
        && let Some(length) = mapped.prefix_len().checked_sub(MAPPED)
    {
        let own = ipnet::Ipv4Net::new(v4, length).map(|own| own.trunc());
        let help = own.map_or_else(
            |_| "write it as IPv4".to_owned(),
            |own| format!("write {own}"),
        );
        return Err((
            "is a network of IPv4 addresses in the spelling of IPv6",
            help,
        ));
    }
    if network.trunc() != network {
        return Err((
            "has bits set after the prefix",
            format!(
                "write {} for the network, or {} for the one address",
                network.trunc(),
                IpNet::from(network.addr())
            ),
        ));
    }
    if network.to_string() != text {
        let help = format!("write {network}");
        return Err(("is not the usual spelling of the network", help));
    }
    Ok(network)
}

/// Length of the prefix of IPv4 addresses in IPv6 (RFC 4291 section 2.5.5.2).
const MAPPED: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str =
        "write an address and a prefix length without leading zeros, such as 10.0.0.0/8";

    /// T-291
    #[test]
    fn a_network_has_one_spelling() {
        for text in [
            "10.0.0.0/8",
            "192.0.2.7/32",
            "2001:db8::/32",
            "2001:db8::7/128",
            "0.0.0.0/1",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for (text, expected) in [
            (
                "10.1.2.3/8",
                "write 10.0.0.0/8 for the network, or 10.1.2.3/32 for the one address",
            ),
            (
                "2001:db8::1/32",
                "write 2001:db8::/32 for the network, or 2001:db8::1/128 for the one address",
            ),
            ("10.1.2.3", "write 10.1.2.3/32"),
            ("2001:db8::7", "write 2001:db8::7/128"),
            ("::ffff:10.1.2.3", "write 10.1.2.3/32"),
            ("::ffff:10.1.0.0/112", "write 10.1.0.0/16"),
            ("::ffff:10.1.2.3/128", "write 10.1.2.3/32"),
            (
                "0.0.0.0/0",
                "leave the line out, or write the networks that are meant",
            ),
            (
                "::/0",
                "leave the line out, or write the networks that are meant",
            ),
            ("10.0.0.0/33", NONE),
            ("10.0.0/8", NONE),
            ("10.0.0.*", NONE),
            ("010.0.0.0/8", NONE),
            ("10.0.0.0/255.0.0.0", NONE),
            ("10.0.0.0/08", NONE),
            ("2001:DB8:0::/32", "write 2001:db8::/32"),
            ("fe80::1%eth0", NONE),
            ("acme.dev", NONE),
        ] {
            let (_, help) = parse(text).unwrap_err();
            assert_eq!(help, expected, "{text}");
        }
    }
}
