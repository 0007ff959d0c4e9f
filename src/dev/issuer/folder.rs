//! The issuer of a folder: the keys, certificate and name of a CI on this machine, kept between starts.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, ToSocketAddrs as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use tokio::net::TcpListener;
use url::Url;

use super::server::Certificate;
use super::{Issuer, IssuerError, SigningKey};
use crate::client::write_private_new;
use crate::dev::state::{Ci, State, check_folder};
use crate::text::escape;

/// How an issuer is started.
#[derive(Clone, Copy, Debug)]
pub struct OfFolder<'a> {
    /// Holds its keys; made at the first start.
    pub folder: &'a Path,
    /// Its host name, which must resolve to loopback; found if it is not given.
    pub host: Option<&'a str>,
    /// At the first start, `PORT` if it is not given.
    pub port: Option<u16>,
    /// The usual audience of its tokens.
    pub broker: &'a str,
}

impl Issuer {
    /// Starts the issuer of a folder, on loopback. At the first start its keys are made; later it has the
    /// same keys and the same URL. It serves discovery and keys only: whoever can read the folder signs.
    ///
    /// # Errors
    /// No host name leads to loopback, the port is in use, or the folder cannot be used.
    pub async fn of_folder(wanted: &OfFolder<'_>) -> Result<Self, IssuerError> {
        match State::read(wanted.folder) {
            Ok(kept) => again(wanted, &kept).await,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => first(wanted).await,
            Err(error) => Err(unusable(wanted.folder, &error)),
        }
    }
}

async fn first(wanted: &OfFolder<'_>) -> Result<Issuer, IssuerError> {
    let host = match wanted.host {
        Some(host) => host.to_ascii_lowercase(),
        None => name_of_this_machine()
            .map(|(name, _)| name)
            .ok_or_else(|| IssuerError::Kept(NO_NAME.to_owned()))?,
    };
    let listener = listen(&host, wanted.port.unwrap_or(PORT)).await?;
    let port = listener.local_addr()?.port();
    let certificate = Certificate::generate(&[&host])?;
    let (kept, ca) = (certificate.to_kept(), certificate.ca_pem.clone());
    let key = SigningKey::generate(KID_PREFIX)?;
    let url = format!("https://{host}:{port}");
    let issuer = Issuer::serve(url, "", key, certificate, listener)?;
    let state = State {
        broker: wanted.broker.to_owned(),
        issuers: BTreeMap::from([("ci".to_owned(), Ci::of(&issuer, None)?)]),
        tls: Some(kept),
    };
    let write = || {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(wanted.folder)?;
        check_folder(wanted.folder)?;
        write_private_new(&wanted.folder.join(CA), ca.as_bytes(), 0o644)?;
        state.write(wanted.folder)
    };
    write().map_err(|error| unusable(wanted.folder, &error))?;
    Ok(issuer)
}

async fn again(wanted: &OfFolder<'_>, kept: &State) -> Result<Issuer, IssuerError> {
    let damaged = || unusable(wanted.folder, &std::io::Error::other("it is damaged"));
    let (Some(tls), Some(ci)) = (&kept.tls, kept.issuers.get("ci")) else {
        return Err(IssuerError::Kept(format!(
            "`{}` is the folder of a running `hallpass dev`; choose another folder",
            escape(&wanted.folder.to_string_lossy())
        )));
    };
    let url = Url::parse(&ci.url).map_err(|_| damaged())?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(damaged());
    };
    let is_same_host = wanted
        .host
        .is_none_or(|wanted| wanted.eq_ignore_ascii_case(host));
    if !is_same_host || wanted.port.is_some_and(|wanted| wanted != port) {
        return Err(IssuerError::Kept(format!(
            "the issuer of `{}` is {}; choose another folder for another address",
            escape(&wanted.folder.to_string_lossy()),
            ci.url
        )));
    }
    let certificate = Certificate::from_kept(tls)?;
    let listener = listen(host, port).await?;
    Issuer::serve(ci.url.clone(), "", ci.signing_key()?, certificate, listener)
}

/// Listens on the loopback address of a host name, and on no other.
async fn listen(host: &str, port: u16) -> Result<TcpListener, IssuerError> {
    let address = loopback(host).ok_or_else(|| {
        IssuerError::Kept(format!(
            "`{}` is no host name that resolves to this machine alone; {ADD_NAME}",
            escape(host)
        ))
    })?;
    let address = SocketAddr::from((address, port));
    TcpListener::bind(address).await.map_err(|error| {
        IssuerError::Kept(format!(
            "the issuer cannot listen on {address}: {error}; choose another port with `--port`"
        ))
    })
}

/// The loopback address of a host name other than `localhost`, if all its addresses are loopback.
fn loopback(name: &str) -> Option<IpAddr> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_local = name == "localhost" || name.ends_with(".localhost");
    if name.is_empty() || is_local || !name.bytes().all(is_plain) || name.parse::<IpAddr>().is_ok()
    {
        return None;
    }
    let addresses: Vec<IpAddr> = (name, 0)
        .to_socket_addrs()
        .ok()?
        .map(|address| address.ip())
        .collect();
    let is_here = |ip: &IpAddr| ip.is_loopback() && StdListener::bind((*ip, 0)).is_ok();
    addresses
        .first()
        .copied()
        .filter(|_| addresses.iter().all(is_here))
}

/// A host name of this machine that resolves to loopback, and the address. `serve` refuses `localhost` as
/// an issuer (T-117).
#[must_use]
pub fn name_of_this_machine() -> Option<(String, IpAddr)> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().filter_map(|line| line.split('#').next());
    let listed = lines.flat_map(|line| line.split_whitespace().skip(1));
    let mut names = std::iter::once(host.trim()).chain(listed);
    names.find_map(|name| {
        let name = name.to_ascii_lowercase();
        loopback(&name).map(|address| (name, address))
    })
}

fn unusable(folder: &Path, error: &std::io::Error) -> IssuerError {
    IssuerError::Kept(format!(
        "the issuer's folder `{}` cannot be used: {error}",
        escape(&folder.to_string_lossy())
    ))
}

const ADD_NAME: &str =
    "add one: `echo 127.0.0.1 ci.test | sudo tee -a /etc/hosts`, then use `--host ci.test`";
const NO_NAME: &str = "no host name but `localhost` resolves to this machine; add one: \
     `echo 127.0.0.1 ci.test | sudo tee -a /etc/hosts`";
/// The certificate of the authority, for `ca` in the policies.
const CA: &str = "ca.pem";
/// Not the prefix that `serve` refuses.
const KID_PREFIX: &str = "own-";
/// The usual port.
const PORT: u16 = 9443;
