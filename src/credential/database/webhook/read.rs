//! Reads a webhook target of the settings, and says what it is to the policies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use url::{Host, Url};

use super::settings::{MAX_LIVE, WebhookSettings};
use super::{Webhook, WebhookDefinition};
use crate::credential::database::fields::{prefix, set};
use crate::credential::database::{Database, Logins};
use crate::credential::target::{
    self, Destination, Finding, InstallText, Installation, Target, TargetKind, TargetSettings, With,
};
use crate::network;
use crate::outgoing::SystemLookup;
use crate::policy::{CredentialDefinition, PolicySet};
use crate::text::escape;
use crate::token::keys::remote::address;
use crate::yaml::scalar::scalar;
use crate::yaml::settings::{Item, Section};

/// `kind: webhook`.
pub const TARGET: TargetKind = TargetKind {
    name: "webhook",
    read: |section| webhook(section).map(|settings| Arc::new(settings) as Arc<dyn TargetSettings>),
};

#[async_trait]
impl TargetSettings for WebhookSettings {
    /// Two targets with one prefix would end each other's leases.
    fn clash(&self, name: &str, other: &dyn TargetSettings) -> Option<(String, &'static str)> {
        let other = other.of::<Self>()?;
        (self.url == other.url && self.prefix == other.prefix).then(|| {
            (
                format!(
                    "target `{name}` has the URL `{}` with the prefix `{}` too",
                    escape(&self.url),
                    self.prefix
                ),
                "make one target of them, with several `groups`",
            )
        })
    }

    /// Also another spelling, and what is below it (T-453).
    fn is_addressed_by(&self, audience: &str) -> bool {
        let plain = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
        let (audience, ours) = (plain(audience), plain(&self.url));
        let rest = audience.strip_prefix(&ours);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
    }

    fn destination(&self, _credential: &CredentialDefinition) -> Vec<(&'static str, Destination)> {
        let text = |text: &str| Destination::Text(scalar(text));
        let networks: Vec<String> = self.networks.iter().map(IpNet::to_string).collect();
        let mut keys = vec![
            ("kind", text(TARGET.name)),
            ("url", text(&self.url)),
            ("networks", text(&networks.join(" "))),
            ("prefix", text(&self.prefix)),
        ];
        let ca = self.ca.clone();
        keys.extend(ca.map(|path| ("ca", Destination::Certificates(path))));
        if let Some((cert, key)) = self.client.clone() {
            keys.push(("client_cert", Destination::Certificates(cert)));
            keys.push(("client_key", Destination::Key(key)));
        }
        keys
    }

    fn files(&self) -> Vec<PathBuf> {
        let client = self.client.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(client).cloned().collect()
    }

    fn admits(&self, name: &str, credential: &CredentialDefinition) -> Result<(), String> {
        let definition: &WebhookDefinition = target::made_here(name, credential)?;
        if self.groups.contains(&definition.group) {
            return Ok(());
        }
        let groups: Vec<String> = self.groups.iter().map(|name| format!("`{name}`")).collect();
        Err(format!(
            "credential `{}` of the policies is for group `{}`, which target `{name}` does not list; write one of {}, or add it to `groups` of the target",
            credential.name,
            escape(&definition.group),
            groups.join(", ")
        ))
    }

    fn connect(&self, name: &str, with: &With<'_>) -> Result<Arc<dyn Target>, String> {
        let connect = || Ok(Arc::new(self.webhook(name, with)?) as Arc<dyn Database>);
        let logins = Logins::new(name, self.sweep, with, connect)?;
        Ok(Arc::new(logins))
    }

    async fn check(&self, _name: &str, _policies: &PolicySet) -> Result<Vec<Finding>, String> {
        Err(UNSIGNED.to_owned())
    }

    async fn check_signed(
        &self,
        name: &str,
        policies: &PolicySet,
        with: &With<'_>,
    ) -> Result<Vec<Finding>, String> {
        for credential in policies.credentials() {
            if credential.target() == Some(name) {
                self.admits(name, credential)?;
            }
        }
        let webhook = self.webhook(name, with)?;
        Ok(webhook.check((name, with.root_keys)).await)
    }

    async fn check_contract(&self, name: &str, with: &With<'_>) -> Result<Vec<Finding>, String> {
        let webhook = self.webhook(name, with)?;
        Ok(webhook.check_contract((name, with.root_keys)).await)
    }

    fn installation(&self, _wanted: &Installation<'_>) -> Result<InstallText, String> {
        Err(
            "there is nothing to install: the other side of a webhook keeps the contract in docs/databases/webhook.md, and `hallpass target check --contract` says whether it does"
                .to_owned(),
        )
    }
}

impl WebhookSettings {
    fn webhook(&self, name: &str, with: &With<'_>) -> Result<Webhook, String> {
        let keys = with.signing.ok_or_else(|| UNSIGNED.to_owned())?;
        let clock = Arc::clone(with.clock);
        let lookup = Arc::new(SystemLookup);
        Webhook::new(self.clone(), name, Arc::clone(keys), clock, lookup)
    }
}

fn webhook(section: &Section<'_>) -> Option<WebhookSettings> {
    let networks = section.optional("networks").map(|item| all(&item, network));
    let known = networks.clone().flatten().unwrap_or_default();
    let url = section.required("url").and_then(|item| url(&item, &known));
    let ca = section.optional("ca").map(|item| item.path().map(Some));
    let cert = section.optional("client_cert");
    let key = section.optional("client_key");
    let client = match (&cert, &key) {
        (None, None) => Some(None),
        (Some(cert), Some(key)) => client(cert, key).map(Some),
        (Some(one), None) | (None, Some(one)) => one.wrong(
            "`client_cert` and `client_key` go together, and only one of them is there",
            "write both, or none",
        ),
    };
    let timeout = section
        .optional("timeout")
        .map(|item| item.duration(Duration::from_millis(100), Duration::from_secs(5)));
    let groups = section.required("groups").and_then(|item| groups(&item));
    let prefix = section.optional("prefix").map(|item| prefix(&item, &[]));
    let sweep = section
        .optional("sweep")
        .map(|item| item.duration(Duration::from_secs(1), Duration::from_secs(60)));
    let places = section
        .optional("places_per_repository")
        .map(|item| u32::try_from(item.number(1, u64::from(MAX_LIVE))?).ok());
    section.finish();
    let mut target = WebhookSettings::new(url?, groups?);
    target.client = client?;
    set(&mut target.networks, networks)?;
    set(&mut target.ca, ca)?;
    set(&mut target.timeout, timeout)?;
    set(&mut target.prefix, prefix)?;
    set(&mut target.sweep, sweep)?;
    set(&mut target.places_per_repository, places)?;
    Some(target)
}

/// It is the audience of requests, and compared as text, so it has one spelling. It is not repeated where
/// it may hold a password.
fn url(item: &Item<'_>, networks: &[IpNet]) -> Option<String> {
    let text = item.text()?;
    let help = "write the base of the four paths, e.g. `https://logins.acme.dev/hallpass`";
    let Ok(url) = Url::parse(&text) else {
        return item.wrong_unseen("is not a URL", help);
    };
    if !url.username().is_empty() || url.password().is_some() {
        return item.wrong_unseen(
            "has user information",
            "leave it out: requests are signed with the broker's keys",
        );
    }
    if url.scheme() != "https" {
        return item.wrong_unseen("is not an https URL", help);
    }
    if url.query().is_some() || url.fragment().is_some() || text.len() > LONGEST_URL {
        return item.wrong_unseen("has a query or a fragment, or more than 256 bytes", help);
    }
    if text.ends_with('/') || url.as_str().trim_end_matches('/') != text {
        return item.wrong_unseen("is not written canonically, or ends in `/`", help);
    }
    let literal = match url.host() {
        Some(Host::Ipv4(ip)) => Some(ip.into()),
        Some(Host::Ipv6(ip)) => Some(ip.into()),
        Some(Host::Domain(_)) | None => None,
    };
    // A host that is an address never passes through the resolver (T-454).
    if literal.is_some_and(|ip| !address::is_within(ip, networks)) {
        return item.wrong_unseen(
            "has an IP address as its host, which is in none of the target's `networks`",
            "write a host name, or add the network",
        );
    }
    Some(text)
}

fn client(cert: &Item<'_>, key: &Item<'_>) -> Option<(PathBuf, PathBuf)> {
    let cert = cert.path();
    let section = key.section_or_secret("client_key")?;
    let key = section.required("file").and_then(|item| item.path());
    section.finish();
    Some((cert?, key?))
}

fn network(item: &Item<'_>) -> Option<IpNet> {
    let text = item.text()?;
    match network::parse(&text) {
        Some(network) if network.prefix_len() > 0 => Some(network),
        Some(_) | None => item.wrong(
            &format!("`{}` is no network", escape(&text)),
            "write e.g. `10.0.0.0/8`",
        ),
    }
}

fn groups(item: &Item<'_>) -> Option<Vec<String>> {
    let groups = all(item, |entry| {
        let text = entry.text()?;
        let is_name = (1..=LONGEST_GROUP).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if is_name {
            return Some(text);
        }
        entry.wrong(
            &format!("`{}` is not a name of a group", escape(&text)),
            "write 1 to 63 letters, digits, `.`, `_` or `-`",
        )
    })?;
    if groups.is_empty() || groups.len() > MOST_GROUPS {
        return item.wrong(
            &format!(
                "`groups` has {} entries, expected 1 to {MOST_GROUPS}",
                groups.len()
            ),
            "list the groups of the other side that credentials name",
        );
    }
    Some(groups)
}

fn all<T>(item: &Item<'_>, read: impl Fn(&Item<'_>) -> Option<T>) -> Option<Vec<T>> {
    let entries: Vec<Option<T>> = item.list()?.iter().map(read).collect();
    entries.into_iter().collect()
}

const UNSIGNED: &str =
    "requests are signed with the broker's keys, and the root key cannot be read here";
const LONGEST_URL: usize = 256;
const LONGEST_GROUP: usize = 63;
const MOST_GROUPS: usize = 100;
