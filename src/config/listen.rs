//! `listen:`: where the broker is asked, and whom it believes there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::network;
use crate::yaml::settings::{Item, Section};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub public: SocketAddr,
    pub operator: SocketAddr,
    /// What `Host` may name on the operator listener beside loopback (T-118).
    pub operator_hosts: Vec<OperatorHost>,
    /// TLS on the public listener; without it a proxy in front must do it.
    pub tls: Option<TlsFiles>,
    /// Proxies whose `X-Forwarded-For` is believed (T-09).
    pub proxies: Vec<IpNet>,
}

/// What the `Host` of a request to the operator listener may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorHost {
    /// A name; with a port, at that port only.
    Name(String, Option<u16>),
    /// An address of this network.
    Network(IpNet),
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            public: SocketAddr::from((Ipv4Addr::LOCALHOST, 8_080)),
            operator: SocketAddr::from((Ipv4Addr::LOCALHOST, 8_081)),
            operator_hosts: Vec::new(),
            tls: None,
            proxies: Vec::new(),
        }
    }
}

/// Reads `listen:`.
pub(super) fn read(section: &Section<'_>) -> Option<Listen> {
    let mut listen = Listen::default();
    let (public_item, operator_item) = (section.optional("public"), section.optional("operator"));
    let public = public_item.as_ref().map(address);
    let operator = operator_item.as_ref().map(address);
    section.set("operator_hosts", &mut listen.operator_hosts, |item| {
        all(item, operator_host)
    });
    section.set("tls", &mut listen.tls, |item| {
        let section = item.section()?;
        let cert = section.required("cert").and_then(|item| item.path());
        let key = section.required("key").and_then(|item| item.path());
        section.finish();
        Some(Some(TlsFiles {
            cert: cert?,
            key: key?,
        }))
    });
    section.set("proxies", &mut listen.proxies, |item| all(item, network));
    section.finish();
    if let Some(public) = public {
        listen.public = public?;
    }
    if let Some(operator) = operator {
        listen.operator = operator?;
    }
    if let Some(item) = operator_item.or(public_item)
        && overlap(listen.public, listen.operator)
    {
        return item.wrong(
            &format!(
                "`listen.public` is `{}` and `listen.operator` is `{}`: two listeners cannot have one port",
                listen.public, listen.operator
            ),
            "choose another port for one of them",
        );
    }
    Some(listen)
}

/// Whether no two sockets can have these addresses: one port, and one address or all of them. Port 0
/// is any free one.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    // `[::]` is also every IPv4 address on the systems we know.
    let covers = |all: IpAddr, one: IpAddr| {
        all.is_unspecified() && (all.is_ipv6() || all.is_ipv4() == one.is_ipv4())
    };
    let (ip, other_ip) = (one.ip(), other.ip());
    one.port() == other.port()
        && one.port() != 0
        && (ip == other_ip || covers(ip, other_ip) || covers(other_ip, ip))
}

fn address(item: &Item<'_>) -> Option<SocketAddr> {
    let text = item.text()?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => item.wrong(
            &format!("`{text}` is not an address and port"),
            "write e.g. `0.0.0.0:8443` or `[::]:8443`",
        ),
    }
}

/// A name, an address or a network. One that fits everything would let any web page in whose name
/// leads to this listener.
fn operator_host(item: &Item<'_>) -> Option<OperatorHost> {
    let text = item.text()?;
    if let Some(network) = parse_network(&text) {
        return if network.prefix_len() == 0 {
            item.wrong(
                &format!("`{text}` is every address"),
                "name the networks that ask, e.g. `10.0.0.0/8`",
            )
        } else {
            Some(OperatorHost::Network(network))
        };
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok().map(Some)),
        None => (text.as_str(), Some(None)),
    };
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    match port {
        Some(port) if is_name => Some(OperatorHost::Name(name.to_owned(), port)),
        Some(_) | None => item.wrong(
            &format!("`{text}` is not a host name, an address or a network"),
            "write e.g. `hallpass-ops.acme.dev`, `10.1.2.3` or `10.0.0.0/8`; there is no wildcard",
        ),
    }
}

fn network(item: &Item<'_>) -> Option<IpNet> {
    let text = item.text()?;
    match parse_network(&text) {
        Some(network) => Some(network),
        None => item.wrong(
            &format!("`{text}` is not a network"),
            "write e.g. `10.0.0.0/8`, without leading zeros",
        ),
    }
}

/// A network or one address, IPv6 with or without the brackets it has in a URL.
fn parse_network(text: &str) -> Option<IpNet> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>();
    network::parse(text).or_else(|| address.ok().map(IpNet::from))
}

/// Reads every entry of a list, so that what is wrong in it comes together.
fn all<T>(item: &Item<'_>, read: fn(&Item<'_>) -> Option<T>) -> Option<Vec<T>> {
    let read: Vec<_> = item.list()?.iter().map(read).collect();
    read.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_is_for_one_listener() {
        let both = |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
        for (one, other) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("127.0.0.1:80", "0.0.0.0:80"),
            ("[::]:80", "127.0.0.1:80"),
            ("[::1]:80", "[::]:80"),
        ] {
            assert!(both(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:80", "127.0.0.1:81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:80", "[::1]:80"),
        ] {
            assert!(!both(one, other), "{one} {other}");
        }
    }
}
