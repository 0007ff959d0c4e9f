//! The keys in which two versions of the settings differ, and which of them need a restart.

use super::{AuditSink, Listen, Settings};
use crate::replay::StoreSettings;
use crate::secret::SecretSource;

/// A key whose value changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key in the settings file, e.g. `listen.public`.
    pub key: &'static str,
    /// Old and new value, for a key that needs a restart.
    pub restart: Option<(String, String)>,
}

impl Settings {
    /// Every key that differs in `new`. Values are included only for keys that need a restart; none of
    /// those is a secret.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let fixed = |key, old: String, new: String| Change {
            key,
            restart: (old != new).then_some((old, new)),
        };
        let restarts = [
            fixed("issuer", self.issuer.clone(), new.issuer.clone()),
            fixed("replica", self.replica.clone(), new.replica.clone()),
            fixed(
                "listen.public",
                self.listen.public.to_string(),
                new.listen.public.to_string(),
            ),
            fixed(
                "listen.operator",
                self.listen.operator.to_string(),
                new.listen.operator.to_string(),
            ),
            fixed("listen.tls", tls(&self.listen), tls(&new.listen)),
            fixed("audit.sinks", sinks(&self.sinks), sinks(&new.sinks)),
            // Another store does not know the tokens that were used.
            fixed("replay", store(&self.replay), store(&new.replay)),
            // Lower, it would bring back keys that were withdrawn.
            fixed(
                "signing.generation",
                self.signing.generation.to_string(),
                self.signing
                    .generation
                    .min(new.signing.generation)
                    .to_string(),
            ),
        ];
        let restarts = restarts.into_iter().filter(|one| one.restart.is_some());
        let (old_tls, new_tls) = (&self.listen.tls, &new.listen.tls);
        let (old, now) = (&self.signing, &new.signing);
        let others = [
            ("root_key", self.root_keys != new.root_keys),
            (
                "listen.tls",
                old_tls != new_tls && old_tls.is_some() == new_tls.is_some(),
            ),
            (
                "listen.operator_hosts",
                self.listen.operator_hosts != new.listen.operator_hosts,
            ),
            ("listen.proxies", self.listen.proxies != new.listen.proxies),
            (
                "policies",
                (&self.policies, &self.policy_url, self.reload)
                    != (&new.policies, &new.policy_url, new.reload),
            ),
            ("targets", self.targets != new.targets),
            ("signing.algorithm", old.algorithm != now.algorithm),
            ("signing.epoch", old.epoch != now.epoch),
            ("signing.generation", old.generation < now.generation),
            ("signing.also", old.rs256 != now.rs256),
            ("limits", self.limits != new.limits),
            ("disclose", self.disclose != new.disclose),
            ("blocked", self.blocked != new.blocked),
            ("clients", self.clients != new.clients),
        ];
        let others = others.into_iter().filter(|(_, differs)| *differs);
        restarts
            .chain(others.map(|(key, _)| Change { key, restart: None }))
            .collect()
    }
}

/// Whether there is TLS at all; which files it has may change.
fn tls(listen: &Listen) -> String {
    if listen.tls.is_some() { "on" } else { "off" }.to_owned()
}

fn sinks(sinks: &[AuditSink]) -> String {
    let shown = sinks.iter().map(|sink| {
        let required = if sink.required { ", required" } else { "" };
        format!("{}{required}", sink.settings.description())
    });
    shown.collect::<Vec<_>>().join("; ")
}

/// Where used tokens are kept, and how the store is reached. Of the login, names only.
fn store(settings: &StoreSettings) -> String {
    let redis = match settings {
        StoreSettings::Memory { capacity } => return format!("memory, capacity {capacity}"),
        StoreSettings::Redis(redis) => redis,
    };
    let scheme = if redis.tls { "rediss" } else { "redis" };
    let (host, port, database) = (&redis.host, redis.port, redis.database);
    let mut text = format!(
        "{scheme}://{host}:{port}/{database}, prefix {}",
        redis.prefix
    );
    if let Some(user) = &redis.user {
        text.extend([", user ", user]);
    }
    match &redis.password {
        Some(SecretSource::File(path)) => {
            text.extend([", password from ", &path.to_string_lossy()]);
        }
        Some(SecretSource::Value(_)) => text.push_str(", password from the environment"),
        None => {}
    }
    if let Some(ca) = &redis.ca {
        text.extend([", ca ", &ca.to_string_lossy()]);
    }
    text
}
