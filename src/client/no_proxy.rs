//! `NO_PROXY`: which hosts are asked without the proxy.
//!
//! No standard defines the variable. It is read as curl, Go and Python agree. Ports (curl, Go) and `*.`
//! (Go) are accepted too, because they are unambiguous.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use crate::network;

/// The hosts that are asked without the proxy.
#[derive(Clone, Debug)]
pub(super) struct NoProxy(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    hosts: Hosts,
    /// Every port without it.
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Hosts {
    Every,
    Network(IpNet),
    /// The name and whatever is below it.
    Name(String),
}

impl NoProxy {
    /// This machine, and what `named` lists. An entry that is no host covers nothing.
    ///
    /// This machine is always in it: plain http is for this machine only and carries the job's
    /// request token, which a proxy elsewhere would read, to connect to its own loopback (T-108).
    pub(super) fn new(named: Option<&str>) -> Self {
        let named = named.unwrap_or_default();
        let entries = named.split(|at: char| at == ',' || at.is_whitespace());
        Self(
            THIS_MACHINE
                .into_iter()
                .chain(entries)
                .filter_map(Entry::parse)
                .collect(),
        )
    }

    /// The address is asked without the proxy.
    pub(super) fn covers(&self, url: &Url) -> bool {
        let Some(host) = url.host() else {
            return false;
        };
        let port = url.port_or_known_default();
        let is_port_of = |entry: &Entry| entry.port.is_none() || entry.port == port;
        self.0
            .iter()
            .any(|entry| is_port_of(entry) && entry.hosts.contain(&host))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if let Some(hosts) = Hosts::parse(text) {
            return Some(Self { hosts, port: None });
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = Some(port.parse().ok()?);
        Hosts::parse(host).map(|hosts| Self { hosts, port })
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Every);
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = bare.unwrap_or(text);
        if let Some(network) = network::parse(address) {
            return Some(Self::Network(network));
        }
        if let Ok(address) = address.parse::<IpAddr>() {
            return Some(Self::Network(address.into()));
        }
        let name = text.strip_prefix('*').unwrap_or(text);
        let name = name.strip_prefix('.').unwrap_or(name);
        match Host::parse(name).ok()? {
            Host::Domain(name) => Some(Self::Name(without_dot(&name).to_owned())),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    fn contain(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::Every, _) => true,
            (Self::Network(network), Host::Ipv4(address)) => {
                network.contains(&IpAddr::V4(*address))
            }
            (Self::Network(network), Host::Ipv6(address)) => {
                network.contains(&address.to_canonical()) || network.contains(&IpAddr::V6(*address))
            }
            (Self::Name(name), Host::Domain(host)) => {
                let above = without_dot(host).strip_suffix(name.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            (Self::Network(_), Host::Domain(_)) | (Self::Name(_), _) => false,
        }
    }
}

/// The root's dot says that a name is whole, and changes nothing.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

const THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.0/8", "::1"];

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(named: &str, url: &str) -> bool {
        NoProxy::new(Some(named)).covers(&Url::parse(url).unwrap())
    }

    #[test]
    fn an_entry_covers_the_hosts_it_names() {
        for (named, url) in [
            ("*", "https://hallpass.test"),
            ("*", "https://192.0.2.1"),
            ("*", "https://[2001:db8::1]"),
            ("hallpass.test", "https://hallpass.test"),
            ("hallpass.test", "https://HALLPASS.test:8443/token"),
            ("HallPass.Test", "https://hallpass.test"),
            ("hallpass.test.", "https://hallpass.test"),
            ("hallpass.test", "https://hallpass.test."),
            ("test", "https://hallpass.test"),
            (".test", "https://hallpass.test"),
            ("*.test", "https://a.hallpass.test"),
            ("*.hallpass.test", "https://hallpass.test"),
            ("hallpass.test:443", "https://hallpass.test"),
            ("hallpass.test:8443", "https://hallpass.test:8443"),
            ("*.test:8443", "https://hallpass.test:8443"),
            ("b\u{fc}cher.test", "https://b\u{fc}cher.test"),
            ("192.0.2.1", "https://192.0.2.1"),
            ("192.0.2.1:8443", "https://192.0.2.1:8443"),
            ("192.0.2.0/24", "https://192.0.2.1"),
            ("192.0.2.0/24", "https://[::ffff:192.0.2.1]"),
            ("2001:db8::1", "https://[2001:db8::1]"),
            ("[2001:db8::1]", "https://[2001:db8::1]"),
            ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("2001:db8::/32", "https://[2001:db8::1]"),
            ("x,, hallpass.test ,y", "https://hallpass.test"),
            ("x hallpass.test", "https://hallpass.test"),
        ] {
            assert!(covers(named, url), "{named} {url}");
        }
    }

    /// T-299
    #[test]
    fn an_entry_covers_no_other_host() {
        for (named, url) in [
            ("", "https://hallpass.test"),
            ("010.0.0.0/8", "https://10.1.2.3"),
            ("010.0.0.0/8", "https://8.1.2.3"),
            (",", "https://hallpass.test"),
            ("pass.test", "https://hallpass.test"),
            ("hallpass.test", "https://hallpass.test.example"),
            ("a.hallpass.test", "https://hallpass.test"),
            ("hallpass.test:8443", "https://hallpass.test"),
            ("hallpass.test:x", "https://hallpass.test"),
            ("hallpass.test:", "https://hallpass.test"),
            ("https://hallpass.test", "https://hallpass.test"),
            ("192.0.2.1", "https://192.0.2.10"),
            ("192.0.2.0/33", "https://192.0.2.1"),
            ("192.0.2.1:8443", "https://192.0.2.1"),
            ("2001:db8::1", "https://[2001:db8::2]"),
            ("2.1", "https://192.0.2.1"),
        ] {
            assert!(!covers(named, url), "{named} {url}");
        }
    }

    /// T-108
    #[test]
    fn this_machine_is_always_covered() {
        for url in [
            "http://127.0.0.1:80",
            "http://127.9.9.9",
            "http://localhost",
            "http://[::1]:1",
        ] {
            assert!(
                NoProxy::new(None).covers(&Url::parse(url).unwrap()),
                "{url}"
            );
        }
    }
}
