//! Checks the settings as `serve` would, without listening or writing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpSocket;

use super::assemble::{LoadedConfig, Overrides, StartError};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::credential::jwt::Keys;
use crate::credential::target::With;
use crate::http::clients;
use crate::replay::StoreSettings;

/// Checks everything that [`start`](super::start) opens, in the same order. Returns warnings: a
/// port in use may be a running broker's own.
pub(super) fn check(settings: &Settings) -> Result<Vec<String>, StartError> {
    let mut remarks = Vec::new();
    let listen = &settings.listen;
    for (address, key) in [(listen.public, "public"), (listen.operator, "operator")] {
        remarks.extend(check_address(address, key)?);
    }
    let loaded = LoadedConfig::read(settings, &Overrides::default())?;
    remarks.extend(check_clients(settings)?);
    for sink in &settings.sinks {
        sink.settings.check()?;
    }
    if let StoreSettings::Redis(redis) = &settings.replay {
        redis.check().map_err(StartError::Replay)?;
    }
    let signing = Keys::new(
        loaded.roots.clone(),
        settings.signing.algorithm,
        settings.signing.epoch,
        SystemClock::new().now(),
    )?;
    let signing = Arc::new(signing);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let with = With {
        root_keys: &loaded.roots,
        signing: Some(&signing),
        clock: &clock,
        before: None,
    };
    for (name, target) in &settings.targets {
        let connected = target.connect(name, &with);
        // A running broker reports a missing password in its readiness, because secrets may be
        // mounted late. A check reports it immediately.
        let checked = connected.and_then(|_| target.check_secrets());
        checked.map_err(|problem| StartError::TargetSettings {
            target: name.clone(),
            problem,
        })?;
    }
    Ok(remarks)
}

/// Checks the clients that the settings serve. Returns a remark if some platforms have none.
pub(super) fn check_clients(settings: &Settings) -> Result<Option<String>, StartError> {
    let folder = settings.clients.as_deref();
    let checked = folder.map(clients::check).transpose();
    checked.map(Option::flatten).map_err(StartError::Clients)
}

/// Binds the address and releases it immediately, without listening.
fn check_address(address: SocketAddr, key: &'static str) -> Result<Option<String>, StartError> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // As the listeners do.
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    };
    match bind() {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(Some(format!(
            "`listen.{key}`: another process listens on {address}; unless it is the hallpass \
             that these settings replace, stop it or choose another port"
        ))),
        Err(error) => Err(super::cannot_listen(address, &error, key)),
    }
}
