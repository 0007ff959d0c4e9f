//! The definition of an `ssh` credential: what a job may do on a host.
//!
//! Every value is checked when the policies are loaded, so signing a certificate needs no quoting
//! or escaping.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::text::is_printable;

/// What a certificate of one credential says beside whose key it is and how long it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshDefinition {
    /// The target in the settings whose CA signs.
    pub target: String,
    /// Whom the certificate logs in as.
    pub principals: Principals,
    /// What a session may use; nothing unless listed.
    pub extensions: BTreeSet<Extension>,
    /// The only command that the host runs.
    pub force_command: Option<ForceCommand>,
    /// The networks that the login may come from; any without.
    pub source_address: Option<SourceAddress>,
}

/// The names in a certificate that a host compares with a user name, or with the lines of its
/// `AuthorizedPrincipalsFile`: at least one, since a certificate without any is valid for every user
/// on older hosts (T-145).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principals(Vec<String>);

impl Principals {
    /// Takes 1 to 16 different names.
    ///
    /// # Errors
    /// There is none, there are too many, one is not a principal, or one is there twice.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, DefinitionError> {
        let mut principals: Vec<String> = Vec::new();
        for name in names {
            check_principal(name)?;
            if principals.iter().any(|other| other == name) {
                return Err(DefinitionError::Twice(name.to_owned()));
            }
            principals.push(name.to_owned());
        }
        match principals.len() {
            0 => Err(DefinitionError::NoPrincipal),
            1..=MOST_PRINCIPALS => Ok(Self(principals)),
            count => Err(DefinitionError::PrincipalCount { count }),
        }
    }

    /// The names in the order of the definition.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

/// No comma or blank, which separate names in files of OpenSSH; no `*`, `?` or `!`, which are patterns
/// in some of its lists; and nothing that begins like a comment or an option.
fn check_principal(name: &str) -> Result<(), DefinitionError> {
    let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_plain = |byte: u8| is_first(byte) || b"-.@:/+".contains(&byte);
    let is_name = (1..=LONGEST_PRINCIPAL).contains(&name.len())
        && name.bytes().next().is_some_and(is_first)
        && name.bytes().all(is_plain);
    if is_name {
        Ok(())
    } else {
        Err(DefinitionError::Principal(name.to_owned()))
    }
}

/// What a session may use: the extensions that OpenSSH knows and that take no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extension {
    /// Forward the agent to the host.
    AgentForwarding,
    PortForwarding,
    Pty,
    /// Run the `~/.ssh/rc` of the host's user.
    UserRc,
    /// Forward X11.
    X11Forwarding,
}

impl Extension {
    /// Every extension.
    pub const ALL: [Self; 5] = [
        Self::AgentForwarding,
        Self::PortForwarding,
        Self::Pty,
        Self::UserRc,
        Self::X11Forwarding,
    ];

    /// The name in a certificate.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AgentForwarding => "permit-agent-forwarding",
            Self::PortForwarding => "permit-port-forwarding",
            Self::Pty => "permit-pty",
            Self::UserRc => "permit-user-rc",
            Self::X11Forwarding => "permit-X11-forwarding",
        }
    }
}

impl FromStr for Extension {
    type Err = DefinitionError;

    fn from_str(text: &str) -> Result<Self, DefinitionError> {
        Self::ALL
            .into_iter()
            .find(|extension| extension.name() == text)
            .ok_or_else(|| DefinitionError::Extension(text.to_owned()))
    }
}

/// A command that the host runs instead of the client's. The login shell of the host's user
/// interprets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceCommand(String);

impl ForceCommand {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ForceCommand {
    type Err = DefinitionError;

    /// One line of printable ASCII: a line end would begin a second command.
    fn from_str(text: &str) -> Result<Self, DefinitionError> {
        let is_line = is_printable(text);
        let is_trimmed = text == text.trim();
        if !text.is_empty() && text.len() <= LONGEST_COMMAND && is_line && is_trimmed {
            Ok(Self(text.to_owned()))
        } else {
            Err(DefinitionError::ForceCommand)
        }
    }
}

/// The networks that a login may come from, as in the critical option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceAddress(String);

impl SourceAddress {
    /// Takes 1 to 32 addresses or networks, each as `192.0.2.7`, `192.0.2.0/24` or their like in IPv6.
    ///
    /// # Errors
    /// The list is empty or too long, or an entry is not a network that a host accepts.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, DefinitionError> {
        let networks: Vec<String> = texts
            .into_iter()
            .map(|text| network(text).map(|network| network.to_string()))
            .collect::<Result<_, _>>()?;
        if (1..=MOST_NETWORKS).contains(&networks.len()) {
            Ok(Self(networks.join(",")))
        } else {
            Err(DefinitionError::NetworkCount {
                count: networks.len(),
            })
        }
    }

    /// The networks, with commas between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn network(text: &str) -> Result<IpNet, DefinitionError> {
    let wrong = |problem| DefinitionError::Network {
        text: text.to_owned(),
        problem,
    };
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => crate::network::parse(text).ok_or_else(|| {
            wrong("expected an IP address or a network like `192.0.2.0/24`, without leading zeros")
        })?,
    };
    if network != network.trunc() {
        return Err(wrong(
            "it has bits set after the prefix, and a host would refuse the certificate",
        ));
    }
    if network.prefix_len() == 0 {
        return Err(wrong(
            "it matches every address; leave `source_address` out",
        ));
    }
    let is_mapped =
        |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if is_mapped(network.addr()) {
        return Err(wrong(
            "it is an IPv4 address written as IPv6; write it as IPv4",
        ));
    }
    Ok(network)
}

/// What is wrong with a key of a definition. The text completes a sentence that begins with the
/// key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// No principal.
    #[error("is empty, expected 1 to 16 names")]
    NoPrincipal,
    #[error("has {count} names, expected 1 to 16")]
    PrincipalCount { count: usize },
    /// Not a valid principal.
    #[error(
        "has `{0}`, expected names of 1 to 128 characters `A-Z a-z 0-9 _ - . @ : / +` that begin with a letter, a digit or `_`"
    )]
    Principal(String),
    #[error("has `{0}` twice")]
    Twice(String),
    /// Not one of the five.
    #[error(
        "has `{0}`, expected `permit-agent-forwarding`, `permit-port-forwarding`, `permit-pty`, `permit-user-rc` or `permit-X11-forwarding`"
    )]
    Extension(String),
    /// Not one line.
    #[error("must be one line of 1 to 1024 printable ASCII characters without blanks at its ends")]
    ForceCommand,
    /// Not a network.
    #[error("has `{text}`: {problem}")]
    Network {
        text: String,
        /// Why it cannot be used.
        problem: &'static str,
    },
    /// None or too many.
    #[error("has {count} networks, expected 1 to 32")]
    NetworkCount { count: usize },
}

const LONGEST_PRINCIPAL: usize = 128;
const MOST_PRINCIPALS: usize = 16;
const LONGEST_COMMAND: usize = 1_024;
const MOST_NETWORKS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// T-145
    #[test]
    fn a_certificate_is_never_for_every_user() {
        assert_eq!(Principals::new([]), Err(DefinitionError::NoPrincipal));
        let names: Vec<String> = (0..17).map(|index| format!("user{index}")).collect();
        let all = Principals::new(names.iter().map(String::as_str));
        assert_eq!(all, Err(DefinitionError::PrincipalCount { count: 17 }));
        let twice = Principals::new(["deploy", "deploy"]).unwrap_err();
        insta::assert_snapshot!(twice, @"has `deploy` twice");
    }

    /// T-145
    #[test]
    fn a_principal_is_one_plain_name() {
        for name in [
            "deploy",
            "_web",
            "deploy@shop.example",
            "role:web/eu-1",
            "a+b",
        ] {
            assert!(Principals::new([name]).is_ok(), "{name}");
        }
        let long = "a".repeat(129);
        for name in [
            "",
            " ",
            "a b",
            "root,deploy",
            "deploy\n",
            "*",
            "dep?oy",
            "!root",
            "#deploy",
            "-deploy",
            ".deploy",
            "deploy\0",
            "d\u{e9}ploy",
            "\"deploy\"",
            "from=\"*\"",
            "${USER}",
            "%u",
            &long,
        ] {
            let refused = Principals::new([name]);
            assert_eq!(refused, Err(DefinitionError::Principal(name.to_owned())));
        }
    }

    /// T-145
    #[test]
    fn only_the_five_extensions_of_openssh_are_known() {
        for extension in Extension::ALL {
            assert_eq!(extension.name().parse(), Ok(extension));
        }
        for name in [
            "",
            "pty",
            "permit-x11-forwarding",
            "no-touch-required",
            "permit-pty ",
        ] {
            assert!(name.parse::<Extension>().is_err(), "{name}");
        }
    }

    /// T-148
    #[test]
    fn a_forced_command_is_one_line() {
        for command in [
            "/usr/local/bin/deploy --to 'web 1'",
            "sh -c \"echo $SSH_ORIGINAL_COMMAND\"",
        ] {
            assert_eq!(command.parse::<ForceCommand>().unwrap().as_str(), command);
        }
        let long = "x".repeat(1_025);
        for command in [
            "",
            " ",
            " ls",
            "ls ",
            "ls\nrm",
            "ls\rrm",
            "ls\0",
            "ls\u{2028}rm",
            "l\u{e9}s",
            "\tls",
            &long,
        ] {
            assert!(command.parse::<ForceCommand>().is_err(), "{command:?}");
        }
    }

    /// T-148, T-299
    #[test]
    fn a_source_address_is_a_network_that_hosts_accept() {
        let accepted = SourceAddress::new(["192.0.2.7", "198.51.100.0/24", "2001:db8::/32"]);
        assert_eq!(
            accepted.unwrap().as_str(),
            "192.0.2.7/32,198.51.100.0/24,2001:db8::/32"
        );
        for text in [
            "",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.2.0/",
            "0.0.0.0/0",
            "::/0",
            "*",
            "192.0.2.*",
            "!192.0.2.0/24",
            "192.0.2.0/24,10.0.0.0/8",
            " 192.0.2.7",
            "host.example",
            "::ffff:192.0.2.7",
            "192.0.2.07",
            "010.0.0.0/8",
            "192.0.2.0/024",
            "fe80::1%eth0",
        ] {
            assert!(SourceAddress::new([text]).is_err(), "{text}");
        }
        assert!(SourceAddress::new([]).is_err());
        assert!(SourceAddress::new(vec!["192.0.2.7"; 33]).is_err());
        let host_bits = SourceAddress::new(["192.0.2.1/24"]).unwrap_err();
        insta::assert_snapshot!(host_bits, @"has `192.0.2.1/24`: it has bits set after the prefix, and a host would refuse the certificate");
    }
}
