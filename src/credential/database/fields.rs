//! Settings that every kind of database has, and how each is read. Not: what only one kind has.

use std::net::IpAddr;

use crate::text::escape;
use crate::yaml::settings::Item;

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// TLS, with certificate and name checked.
    VerifyFull,
    /// None. For a server on the same machine only.
    Disable,
}

impl Tls {
    /// The word in the settings, which is also libpq's for `sslmode`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VerifyFull => "verify-full",
            Self::Disable => "disable",
        }
    }
}

/// TLS can be switched off for the machine itself, and nowhere else.
pub(super) fn tls(item: &Item<'_>, host: Option<&str>) -> Option<Tls> {
    match item.text()?.as_str() {
        "verify-full" => Some(Tls::VerifyFull),
        "disable" if host.is_some_and(is_here) => Some(Tls::Disable),
        "disable" => item.wrong(
            "`tls: disable` would send logins over the network in the clear",
            "write `tls: verify-full`; only a server on a loopback address can do without",
        ),
        other => item.wrong(
            &format!("`tls` cannot be `{}`", escape(other)),
            "write `verify-full`, or `disable` for a server on the same machine",
        ),
    }
}

/// Whether the host is the machine itself.
pub(super) fn is_here(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What names of leases begin with: all of a name has to stay recognisable. It may not begin with one of
/// `reserved`.
pub(super) fn prefix(item: &Item<'_>, reserved: &[&str]) -> Option<String> {
    let text = item.text()?;
    let fits = (2..=5).contains(&text.len())
        && text.ends_with('_')
        && text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && !reserved.iter().any(|start| text.starts_with(start))
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if fits {
        return Some(text);
    }
    item.wrong(
        &format!("`prefix` is `{}`", escape(&text)),
        "write 2 to 5 of a-z, 0-9 and `_` that begin with a letter and end in `_`, e.g. `hp_`",
    )
}

/// A number from 1 on.
pub(super) fn number(item: &Item<'_>, most: u16) -> Option<u16> {
    u16::try_from(item.number(1, u64::from(most))?).ok()
}

/// Sets what was given; `None` if it was given and is wrong.
#[expect(clippy::option_option, reason = "not given, given and wrong, or right")]
pub(super) fn set<T>(field: &mut T, given: Option<Option<T>>) -> Option<()> {
    if let Some(value) = given {
        *field = value?;
    }
    Some(())
}

/// `host`, `host:port`, or an IPv6 address, which has brackets around it where a port follows.
pub(super) fn host_and_port(text: &str, usual: u16) -> Option<(String, u16)> {
    let whole = without_brackets(text);
    if whole.parse::<IpAddr>().is_ok() || !text.contains(':') {
        return (!whole.is_empty()).then(|| (whole.to_owned(), usual));
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = without_brackets(host);
    let is_host = !host.is_empty() && (!host.contains(':') || host.parse::<IpAddr>().is_ok());
    Some((is_host.then(|| host.to_owned())?, port.parse().ok()?))
}

/// The host without the brackets that an IPv6 address has in a URL.
pub(super) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

/// A host, the same for every spelling of it: in other letters, with a dot at its end, or as an IPv4
/// address inside IPv6.
pub(super) fn usual_spelling(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}
