//! What `serve` would refuse, found without serving: nothing is listened on and nothing is written.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpSocket;

use super::assemble::{Loaded, Overrides, StartError};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::credential::jwt::Keys;
use crate::credential::target::With;
use crate::replay::StoreSettings;

/// Goes through what [`start`](super::start) opens, in its order. Gives back what only looks wrong: a port
/// that is taken may be a running broker's own.
pub(super) fn check(settings: &Settings) -> Result<Vec<String>, StartError> {
    let mut remarks = Vec::new();
    let listen = &settings.listen;
    for (address, key) in [(listen.public, "public"), (listen.operator, "operator")] {
        remarks.extend(check_address(address, key)?);
    }
    let loaded = Loaded::read(settings, &Overrides::default())?;
    for sink in &settings.sinks {
        sink.settings.check()?;
    }
    if let StoreSettings::Redis(redis) = &settings.replay {
        redis.check().map_err(StartError::Replay)?;
    }
    let signing = &settings.signing;
    Keys::new(
        loaded.roots.clone(),
        signing.algorithm,
        signing.epoch,
        SystemClock::new().now(),
    )?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let with = With {
        root_keys: &loaded.roots,
        clock: &clock,
        before: None,
    };
    for (name, target) in &settings.targets {
        let connected = target.connect(name, &with);
        // A running broker says in its readiness that a password is missing, since secrets may be
        // mounted late; a check says it at once.
        let checked = connected.and_then(|_| target.check_secrets());
        checked.map_err(|problem| StartError::TargetSettings {
            target: name.clone(),
            problem,
        })?;
    }
    Ok(remarks)
}

/// Takes the address and gives it back at once, without listening on it.
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
