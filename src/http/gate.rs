//! Checks every request before routing: one host, bounded headers, unambiguous body framing (RFC 9112
//! sections 3.2, 6.3).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::Request;
use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version, header};
use ipnet::IpNet;

use super::Peer;
use super::request::RequestError;
use crate::config::OperatorHost;

#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) fields: usize,
    pub(super) bytes: usize,
}

/// Checks a request's head.
///
/// # Errors
/// Names the first thing that is wrong.
pub(super) fn check(parts: &Parts, limits: HeadLimits) -> Result<(), RequestError> {
    check_size(parts, limits)?;
    check_host(parts)?;
    check_framing(parts)?;
    check_coding(&parts.headers)
}

/// What follows it may have been framed in two ways: after the answer nothing more of this connection
/// is read. hyper drops `Content-Length` where `Transfer-Encoding` is, before we can compare; and what
/// follows a CONNECT is meant for another server (T-08).
pub(super) fn is_last(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::CONNECT || headers.contains_key(header::TRANSFER_ENCODING)
}

fn check_size(parts: &Parts, limits: HeadLimits) -> Result<(), RequestError> {
    let refused = RequestError::Headers {
        limit: limits.fields,
    };
    if parts.headers.len() > limits.fields {
        return Err(refused);
    }
    let bytes = head_size(&parts.method, &parts.uri, &parts.headers);
    if bytes > limits.bytes {
        return Err(refused);
    }
    Ok(())
}

/// The bytes of a head as clients write it: a field is its name, `: `, its value and a line end.
pub(super) fn head_size(method: &Method, uri: &Uri, headers: &HeaderMap) -> usize {
    // Two spaces, the version and two line ends: that of the request line and the empty line.
    let line = [method.as_str().len(), uri.to_string().len(), 14];
    let fields = headers
        .iter()
        .flat_map(|(name, value)| [name.as_str().len(), value.len(), 4]);
    line.into_iter()
        .chain(fields)
        .fold(0, usize::saturating_add)
}

fn check_host(parts: &Parts) -> Result<(), RequestError> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return if may_leave_host_out(parts.version) {
            Ok(())
        } else {
            Err(RequestError::Host {
                found: "found none",
            })
        };
    };
    if hosts.next().is_some() {
        return Err(RequestError::Host {
            found: "found several",
        });
    }
    let host = host
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(is_host_byte))
        .ok_or(RequestError::Host {
            found: "found text that is not a host",
        })?;
    match parts.uri.authority() {
        Some(authority) if !authority.as_str().eq_ignore_ascii_case(host) => {
            Err(RequestError::Host {
                found: "found another host in the request line",
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// HTTP/1.0 has no `Host` field. Load balancers still check health with it (RFC 9112 section 3.2).
fn may_leave_host_out(version: Version) -> bool {
    version == Version::HTTP_10
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
}

fn check_framing(parts: &Parts) -> Result<(), RequestError> {
    let headers = &parts.headers;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let is_chunked = coding
            .to_str()
            .is_ok_and(|text| text.eq_ignore_ascii_case("chunked"));
        if !is_chunked || codings.next().is_some() || parts.version != Version::HTTP_11 {
            return Err(RequestError::TransferCoding);
        }
    }
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers
            .get_all(header::CONTENT_LENGTH)
            .iter()
            .any(|length| length.as_bytes() != b"0");
    if has_body && parts.method != Method::POST {
        return Err(RequestError::Body);
    }
    Ok(())
}

/// Nothing a caller sends is ever inflated (T-10).
fn check_coding(headers: &HeaderMap) -> Result<(), RequestError> {
    let is_plain = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_plain {
        Ok(())
    } else {
        Err(RequestError::ContentEncoding)
    }
}

/// Where a request came from: the peer, or what a configured proxy says of its peer (T-09).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ClientAddress {
    Known(IpAddr),
    /// A proxy did not say. Its own address, for the log.
    Behind(IpAddr),
    /// The connection has no address.
    #[default]
    None,
}

impl ClientAddress {
    /// For the log, and for shares of each address.
    pub(super) fn address(self) -> IpAddr {
        match self {
            Self::Known(address) | Self::Behind(address) => address,
            Self::None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// For decisions. The address of a proxy is not that of a job behind it (T-292).
    pub(super) const fn known(self) -> Option<IpAddr> {
        match self {
            Self::Known(address) => Some(address),
            Self::Behind(_) | Self::None => None,
        }
    }
}

/// Where a request came from, as [`client`].
pub(super) fn client_of(request: &Request, proxies: &[IpNet]) -> ClientAddress {
    match request.extensions().get::<Peer>() {
        Some(peer) => client(peer.0.ip(), request.headers(), proxies),
        None => ClientAddress::None,
    }
}

/// The last address of `X-Forwarded-For` that is not itself a configured proxy. The
/// entries before it are untrusted.
fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> ClientAddress {
    let is_proxy = |address: IpAddr| {
        proxies
            .iter()
            .any(|network| network.contains(&address.to_canonical()))
    };
    let mut client = peer.to_canonical();
    // From the end, and no further than it is believed: a caller may send thousands of entries.
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let chain = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.rsplit(','))
        .map(str::trim);
    for text in chain {
        if !is_proxy(client) {
            break;
        }
        match forwarded_address(text) {
            Some(address) => client = address.to_canonical(),
            None => return ClientAddress::Behind(client),
        }
    }
    ClientAddress::Known(client)
}

/// An entry of `X-Forwarded-For`: an address, which some proxies write with its port, and IPv6 with
/// brackets.
fn forwarded_address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip()).ok();
    bracketed(text)
        .or_else(|| text.parse().ok())
        .or_else(with_port)
}

fn bracketed(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse().ok().map(IpAddr::V6)
}

/// The `Host` of a request to the operator listener is a loopback name or one of `allowed`: a web
/// page that re-binds its name to our address is refused (T-118). A request without one is HTTP/1.0,
/// which no web page can send.
pub(super) fn is_operator_host(headers: &HeaderMap, allowed: &[OperatorHost]) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    let address = bracketed(name).or_else(|| name.parse().ok().map(IpAddr::V4));
    let address = address.map(|address| address.to_canonical());
    name.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|address| address.is_loopback())
        || allowed.iter().any(|allowed| match allowed {
            OperatorHost::Network(network) => {
                address.is_some_and(|address| network.contains(&address))
            }
            OperatorHost::Name(known, None) => known.eq_ignore_ascii_case(name),
            OperatorHost::Name(known, Some(known_port)) => {
                known.eq_ignore_ascii_case(name)
                    && port.is_some_and(|port| port.parse() == Ok(*known_port))
            }
        })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn forwarded(text: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static(text));
        headers
    }

    /// T-09
    #[test]
    fn a_forwarding_header_counts_only_from_a_configured_proxy() {
        let peer: IpAddr = "10.1.2.3".parse().unwrap();
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let seen = |text, proxies: &[IpNet]| {
            let client = client(peer, &forwarded(text), proxies);
            client.address().to_string()
        };
        assert_eq!(seen("192.0.2.7", &[]), "10.1.2.3");
        assert_eq!(seen("192.0.2.7", &proxies), "192.0.2.7");
        assert_eq!(seen("198.51.100.1, 192.0.2.7", &proxies), "192.0.2.7");
        assert_eq!(seen("192.0.2.7, 10.9.9.9", &proxies), "192.0.2.7");
        assert_eq!(seen("<script>", &proxies), "10.1.2.3");
        assert_eq!(seen("192.0.2.7:51234", &[]), "10.1.2.3");
    }

    /// T-09
    #[test]
    fn an_address_is_taken_with_its_port_and_in_brackets() {
        let peer: IpAddr = "10.1.2.3".parse().unwrap();
        let proxies = [
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8:ff::/48".parse().unwrap(),
        ];
        let seen = |text| {
            client(peer, &forwarded(text), &proxies)
                .address()
                .to_string()
        };
        for (text, client) in [
            ("192.0.2.7:51234", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("[::ffff:192.0.2.7]:443", "192.0.2.7"),
            ("192.0.2.7:1, [2001:db8:ff::1]:443", "192.0.2.7"),
            ("198.51.100.1, 192.0.2.7:1, 10.9.9.9:80", "192.0.2.7"),
            // What is no address ends the look: nothing before it can be believed.
            ("192.0.2.7, unknown", "10.1.2.3"),
            ("192.0.2.7:99999", "10.1.2.3"),
            ("[192.0.2.7]", "10.1.2.3"),
            ("2001:db8::7]:443", "10.1.2.3"),
            ("fe80::1%eth0", "10.1.2.3"),
        ] {
            assert_eq!(seen(text), client, "{text}");
        }
    }

    /// T-292
    #[test]
    fn an_address_that_a_proxy_does_not_say_is_not_known() {
        let peer: IpAddr = "10.1.2.3".parse().unwrap();
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let seen = |headers: &HeaderMap| client(peer, headers, &proxies).known();
        let none = HeaderMap::new();
        // A request of the proxy's own network, which no proxy passed on.
        assert_eq!(seen(&none), Some(peer));
        assert_eq!(seen(&forwarded("192.0.2.7")), "192.0.2.7".parse().ok());
        // The caller's own entry comes before the one of the proxy.
        assert_eq!(
            seen(&forwarded("unknown, 192.0.2.7")),
            "192.0.2.7".parse().ok()
        );
        for text in [
            "unknown",
            "_hidden",
            "192.0.2.7, unknown",
            "unknown, 10.9.9.9",
            "",
        ] {
            assert_eq!(seen(&forwarded(text)), None, "{text}");
        }
        // What a peer says that is no proxy is not read.
        let other = "192.0.2.9".parse().unwrap();
        let found = client(other, &forwarded("10.1.2.3"), &proxies);
        assert_eq!(found.known(), Some(other));
    }

    /// T-118
    #[test]
    fn the_operator_listener_knows_loopback_and_configured_hosts() {
        let verdict = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            let allowed = [
                OperatorHost::Name("hallpass-ops.acme.dev".to_owned(), None),
                OperatorHost::Name("ops".to_owned(), Some(9_000)),
                OperatorHost::Network("10.20.0.0/16".parse().unwrap()),
                OperatorHost::Network("2001:db8::/32".parse().unwrap()),
            ];
            is_operator_host(&headers, &allowed)
        };
        for host in [
            "localhost",
            "localhost:8081",
            "127.0.0.1:8081",
            "127.9.9.9",
            "[::1]:8081",
            "[::1]",
            "hallpass-ops.acme.dev:8081",
            "ops:9000",
            "10.20.3.4",
            "10.20.3.4:8081",
            "[2001:db8::7]:8081",
            "[::ffff:10.20.3.4]:8081",
        ] {
            assert!(verdict(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "10.21.0.1:8081",
            "[2001:db9::7]:8081",
            "10.20.3.4.evil.example",
            "ops",
            "ops:9001",
            "",
        ] {
            assert!(!verdict(host), "{host}");
        }
    }
}
