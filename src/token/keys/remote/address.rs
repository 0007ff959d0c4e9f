//! Which hosts and addresses an issuer's documents may come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::Url;

use super::KeyError;
use crate::token::{TrustedIssuer, issuer};

/// Whether a connection to this address may be made for an issuer: it is globally routable, or the
/// issuer's settings name its network (T-56).
pub(crate) fn is_permitted(ip: IpAddr, networks: &[IpNet]) -> bool {
    is_within(ip, networks) || is_global(ip)
}

/// Whether a network contains the address or the IPv4 address embedded in it.
pub(crate) fn is_within(ip: IpAddr, networks: &[IpNet]) -> bool {
    let inner = unmapped(ip);
    networks
        .iter()
        .any(|network| network.contains(&ip) || network.contains(&inner))
}

/// Whether text names a host, with a port or without: lower-case, no address, nothing else.
pub(in crate::token) fn is_host(text: &str) -> bool {
    let spelling = format!("https://{text}/");
    Url::parse(&spelling).is_ok_and(|url| {
        url.as_str() == spelling
            && host_and_port(&url).as_deref() == Some(text)
            && issuer::literal(&url).is_none()
    })
}

/// The address of an issuer's key set, as its discovery document gives it (T-54).
pub(super) fn key_set_url(text: &str, issuer: &TrustedIssuer) -> Result<Url, KeyError> {
    let wrong = |problem: &str| {
        Err(KeyError::Address(format!(
            "`jwks_uri` in the discovery document {problem}"
        )))
    };
    let Ok(url) = Url::parse(text) else {
        return wrong("is not a URL");
    };
    if url.scheme() != "https" {
        return wrong("is not an https URL");
    }
    if url.as_str() != text {
        return wrong("is not written canonically");
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return wrong("has user information or a fragment");
    }
    if issuer::literal(&url).is_some_and(|ip| !is_within(ip, &issuer.networks)) {
        return wrong("has an IP address as its host");
    }
    let host = host_and_port(&url);
    let own = Url::parse(&issuer.url)
        .ok()
        .and_then(|url| host_and_port(&url));
    let is_named = |host: &String| issuer.key_hosts.iter().any(|named| named == host);
    if host.is_none() || (host != own && !host.as_ref().is_some_and(is_named)) {
        return wrong(
            "is on another host than the issuer; name that host in `key_hosts` if it is right",
        );
    }
    Ok(url)
}

/// `host`, or `host:port` where the port is not 443.
fn host_and_port(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// The IPv4 address inside an IPv6 one that is only its wrapping: mapped (RFC 4291), NAT64 (RFC
/// 6052), 6to4 (RFC 3056).
fn unmapped(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(wrapping) = ip else {
        return ip;
    };
    let inner = match wrapping.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, _, _, _, _, _] => Some((high, low)),
        _ => None,
    };
    inner.map_or(ip, |(high, low)| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d).into()
    })
}

fn is_global(ip: IpAddr) -> bool {
    match unmapped(ip) {
        IpAddr::V4(ip) => !LOCAL_V4.iter().any(|network| network.contains(&ip)),
        IpAddr::V6(ip) => {
            GLOBAL_V6.contains(&ip) && !LOCAL_V6.iter().any(|network| network.contains(&ip))
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// IANA's special-purpose IPv4 registry, multicast, and Azure's metadata address, which looks global.
const LOCAL_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(168, 63, 129, 16, 32),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];
/// The only part of IPv6 that is handed out for use on the internet.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);
/// Parts of it that are not: protocol assignments with Teredo, documentation.
const LOCAL_V6: [Ipv6Net; 3] = [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x3fff, 0, 20)];

#[cfg(test)]
mod tests {
    use super::*;

    /// T-54, T-56: also where the settings name the address as a host of keys.
    #[test]
    fn an_address_is_a_host_of_keys_only_within_named_networks() {
        let mut issuer = TrustedIssuer::new("ci", "https://ci.example");
        issuer.key_hosts = vec!["10.1.2.3".to_owned()];
        let found = key_set_url("https://10.1.2.3/keys", &issuer).unwrap_err();
        assert!(
            found.to_string().ends_with("has an IP address as its host"),
            "{found}"
        );
        issuer.networks = vec!["10.0.0.0/8".parse().unwrap()];
        assert!(key_set_url("https://10.1.2.3/keys", &issuer).is_ok());
    }

    /// T-56
    #[test]
    fn only_globally_routable_addresses_are_permitted() {
        for inward in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(!is_permitted(inward.parse().unwrap(), &[]), "{inward}");
        }
        for global in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "140.82.121.3",
            "168.63.129.15",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:200::1",
            "3ffe::1",
        ] {
            assert!(is_permitted(global.parse().unwrap(), &[]), "{global}");
        }
    }

    /// T-56
    #[test]
    fn a_named_network_permits_itself_and_its_wrappings_only() {
        let networks = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for inside in [
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "64:ff9b::10.1.2.3",
            "fd12::1",
        ] {
            assert!(is_permitted(inside.parse().unwrap(), &networks), "{inside}");
        }
        for outside in ["127.0.0.1", "192.168.0.1", "::1", "169.254.169.254"] {
            assert!(
                !is_permitted(outside.parse().unwrap(), &networks),
                "{outside}"
            );
        }
    }

    /// T-54
    #[test]
    fn a_key_set_is_on_the_issuers_host_or_a_named_one() {
        let mut issuer = TrustedIssuer::new("example", "https://ci.example/a");
        issuer.key_hosts = vec!["keys.example".to_owned(), "keys.example:8443".to_owned()];
        for fine in [
            "https://ci.example/jwks",
            "https://ci.example/",
            "https://ci.example/a?b=c",
            "https://keys.example/x",
            "https://keys.example:8443/x",
        ] {
            assert!(key_set_url(fine, &issuer).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "jwks",
            "/jwks",
            "//ci.example/jwks",
            "http://ci.example/jwks",
            "file:///etc/passwd",
            "data:application/json,{}",
            "ftp://ci.example/",
            "https://ci.example:8443/jwks",
            "https://ci.example:443/jwks",
            "https://CI.example/jwks",
            "https://ci.example",
            "https://ci.example./jwks",
            "https://ci.example.evil.example/jwks",
            "https://evil.example/jwks",
            "https://evil.example/?https://ci.example/",
            "https://ci.example@evil.example/jwks",
            "https://u@ci.example/jwks",
            "https://u:p@ci.example/jwks",
            "https://ci.example/jwks#x",
            "https://ci.example/jwks#",
            "https://ci.example\\@evil.example/",
            "https:\\\\ci.example\\jwks",
            "https://ci.example/\tjwks",
            " https://ci.example/jwks",
            "https://ci.example/jwks\n",
            "https://ci.example/a/../jwks",
            "https://127.0.0.1/jwks",
            "https://[::1]/jwks",
            "https://0x7f000001/",
            "https://keys.example:9/x",
            "https://xkeys.example/",
        ] {
            assert!(
                matches!(key_set_url(wrong, &issuer), Err(KeyError::Address(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_key_host_is_a_name_with_or_without_a_port() {
        for host in ["keys.example", "keys.example:8443", "a"] {
            assert!(is_host(host), "{host}");
        }
        for odd in [
            "",
            "Keys.example",
            "keys.example/",
            "keys.example/x",
            "u@keys.example",
            "keys.example:443",
            "127.0.0.1",
            "[::1]",
            "a b",
            "a?b",
            "a#",
        ] {
            assert!(!is_host(odd), "{odd}");
        }
    }
}
