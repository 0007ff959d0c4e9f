//! `GET /client/<os>-<arch>`: the command line for jobs, from the folder that the settings name.
//!
//! A name is one of a fixed list and opens that file of the folder, never through a link. A file is opened
//! for each request, so an upgrade is a rename. Its digest is in the head, and what is sent is compared with
//! it before the last chunk: a complete response is the file that the digest names. No client address
//! takes more than its share of the downloads (T-213). The module leaves it to [`super::connection`] to
//! end a download that takes longer than [`SENDING`] allows.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream};
use http::{HeaderName, HeaderValue, header};
use nix::fcntl::OFlag;
use tokio::io::AsyncReadExt as _;
use tokio::task::spawn_blocking;

use super::Shared;
use super::answer::{Context, Refusal};
use super::connection::SendingTime;
use super::request::RequestError;
use crate::file::open_at_once;
use crate::reason::Reason;

/// A platform that a client can be served for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    LinuxX86,
    LinuxArm,
    MacX86,
    MacArm,
}

impl Client {
    const ALL: [Self; 4] = [Self::LinuxX86, Self::LinuxArm, Self::MacX86, Self::MacArm];

    /// The file's name, which is also the last part of the path.
    const fn file(self) -> &'static str {
        match self {
            Self::LinuxX86 => "linux-x86_64",
            Self::LinuxArm => "linux-aarch64",
            Self::MacX86 => "macos-x86_64",
            Self::MacArm => "macos-aarch64",
        }
    }
}

/// The downloads in progress and the digests of their files. Survives reloads.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    /// The source of each download in progress.
    sources: Mutex<Vec<IpAddr>>,
    /// The digest of each client's file as it was read last.
    known: Mutex<[Option<(Identity, Digest)>; Client::ALL.len()]>,
}

impl Downloads {
    fn known(&self, client: Client, identity: &Identity) -> Option<Digest> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(client as usize)?.as_ref()?;
        (entry.0 == *identity).then_some(entry.1)
    }

    fn sources(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, client: Client, entry: Option<(Identity, Digest)>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = known.get_mut(client as usize) {
            *slot = entry;
        }
    }
}

/// One of the downloads in progress, until it is dropped.
struct Slot {
    downloads: Arc<Downloads>,
    source: IpAddr,
}

impl Slot {
    /// A slot for a client at this address, or why there is none.
    fn take(downloads: &Arc<Downloads>, address: IpAddr) -> Result<Self, &'static str> {
        let source = source(address);
        let mut sources = downloads.sources();
        let own = sources.iter().filter(|other| **other == source).count();
        if own >= SLOTS_OF_A_SOURCE {
            return Err("too many downloads at once from this address; try again in a second");
        }
        if sources.len() >= SLOTS {
            return Err("too many downloads at once; try again in a second");
        }
        sources.push(source);
        drop(sources);
        Ok(Self {
            downloads: Arc::clone(downloads),
            source,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut sources = self.downloads.sources();
        if let Some(index) = sources.iter().position(|other| *other == self.source) {
            sources.swap_remove(index);
        }
    }
}

/// What shares slots: an IPv4 address, or the first 64 bits of an IPv6 address, which is what one machine
/// may have.
fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK_OF_IPV6).into(),
    }
}

/// Which state of which file was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// SHA-256.
type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// A client's file, open, with the digest of what it held.
struct Opened {
    file: File,
    identity: Identity,
    digest: Digest,
}

/// Serves `client`.
pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    context: Context,
    client: Client,
) -> Response {
    let Some(folder) = shared.clients.clone() else {
        return RequestError::Path.into_response();
    };
    let address = context.client.address();
    let slot = match Slot::take(&shared.downloads, address) {
        Ok(slot) => slot,
        Err(text) => return Refusal::new(Reason::LimitBusy, text).into_response(),
    };
    // The slot goes along: a request that ended early leaves no reader behind that is not counted.
    let opened = spawn_blocking(move || (opened(&folder, client, &slot.downloads), slot)).await;
    match opened {
        Ok((Ok(opened), slot)) => response(opened, client, slot),
        Ok((Err(error), _)) if error.kind() == io::ErrorKind::NotFound => {
            let text = "this broker has no binary for this platform";
            Refusal::new(Reason::RequestPath, text).into_response()
        }
        Ok((Err(error), _)) => {
            let text = "this client cannot be served; the log of the broker says why";
            let mut refusal = Refusal::new(Reason::ClientsFile, text);
            refusal.verdict.detail = Some(format!("client `{}`: {error}", client.file()));
            refusal.into_response()
        }
        Err(_) => Refusal::bug(Reason::BugPanic).into_response(),
    }
}

fn response(opened: Opened, client: Client, slot: Slot) -> Response {
    let digest = data_encoding::BASE64.encode(&opened.digest);
    let size = opened.identity.size;
    let body = Body::from_stream(content(opened, client, slot));
    let mut response = Response::new(body);
    response.extensions_mut().insert(SENDING);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    if let Ok(value) = HeaderValue::from_str(&format!("sha-256=:{digest}:")) {
        headers.insert(CONTENT_DIGEST, value);
    }
    response
}

/// A download in progress.
struct Download {
    file: tokio::fs::File,
    left: u64,
    seen: digest::Context,
    expected: Digest,
    client: Client,
    slot: Slot,
}

/// The file in chunks. Ends with an error in place of the last chunk if the file is not what its digest
/// says.
fn content(opened: Opened, client: Client, slot: Slot) -> impl Stream<Item = io::Result<Bytes>> {
    let download = Download {
        file: tokio::fs::File::from_std(opened.file),
        left: opened.identity.size,
        seen: digest::Context::new(&digest::SHA256),
        expected: opened.digest,
        client,
        slot,
    };
    stream::try_unfold(download, |mut download| async move {
        if download.left == 0 {
            return Ok(None);
        }
        match download.next().await {
            Ok(chunk) => Ok(Some((chunk, download))),
            Err(error) => {
                // Whatever happened, the next request reads the file again.
                download.slot.downloads.keep(download.client, None);
                tracing::error!(
                    reason = Reason::ClientsFile.code(),
                    client = download.client.file(),
                    %error,
                    "download of a binary aborted"
                );
                Err(error)
            }
        }
    })
}

impl Download {
    async fn next(&mut self) -> io::Result<Bytes> {
        let changed = || io::Error::other("its file changed while it was sent");
        let size = self.left.min(CHUNK);
        let mut chunk = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let read = (&mut self.file).take(size).read_to_end(&mut chunk).await?;
        self.seen.update(&chunk);
        self.left = self
            .left
            .saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        if u64::try_from(read) != Ok(size) {
            return Err(changed());
        }
        let is_last = self.left == 0;
        if is_last && self.seen.clone().finish().as_ref() != self.expected {
            return Err(changed());
        }
        Ok(Bytes::from(chunk))
    }
}

/// Opens a client's file and takes its digest, unless that is known.
fn opened(folder: &Path, client: Client, downloads: &Downloads) -> io::Result<Opened> {
    let (mut file, identity) = open(folder, client)?;
    if let Some(digest) = downloads.known(client, &identity) {
        return Ok(Opened {
            file,
            identity,
            digest,
        });
    }
    let digest = digest_of(&mut file, identity.size)?;
    io::Seek::rewind(&mut file)?;
    downloads.keep(client, Some((identity.clone(), digest)));
    Ok(Opened {
        file,
        identity,
        digest,
    })
}

/// The file of that name in the folder itself, if it may be served.
fn open(folder: &Path, client: Client) -> io::Result<(File, Identity)> {
    let unfit = |problem: &str| Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    if is_writable_by_others(folder)? {
        return unfit("users other than its owner may write its folder");
    }
    let path = folder.join(client.file());
    let file = match open_at_once(&path, OFlag::O_NOFOLLOW) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
            return unfit("it is a symbolic link");
        }
        opened => opened?,
    };
    let about = file.metadata()?;
    if !about.is_file() {
        return unfit("it is not a regular file");
    }
    if about.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
        return unfit("users other than its owner may write it");
    }
    // Another name of the file may be that of a secret.
    if about.nlink() > 1 {
        return unfit("it has other names (hard links)");
    }
    match about.size() {
        0 => unfit("it is empty"),
        1..=MOST => Ok((
            file,
            Identity {
                device: about.dev(),
                inode: about.ino(),
                size: about.size(),
                modified: (about.mtime(), about.mtime_nsec()),
                changed: (about.ctime(), about.ctime_nsec()),
            },
        )),
        _ => unfit("it is larger than 256 MiB"),
    }
}

fn is_writable_by_others(folder: &Path) -> io::Result<bool> {
    let mode = folder.metadata()?.permissions().mode();
    Ok(mode & WRITABLE_BY_OTHERS != 0)
}

fn digest_of(file: &mut File, size: u64) -> io::Result<Digest> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut chunk = vec![0; 64 << 10];
    let mut source = file.take(size);
    loop {
        let read = source.read(&mut chunk)?;
        match chunk.get(..read) {
            Some(bytes) if !bytes.is_empty() => context.update(bytes),
            _ => break,
        }
    }
    let digest = context.finish();
    Digest::try_from(digest.as_ref()).map_err(io::Error::other)
}

/// Checks the folder as requests will. Returns a remark if some platforms have no client.
///
/// # Errors
/// The folder cannot be read, a client in it must not be served, or it has none.
pub(crate) fn check(folder: &Path) -> Result<Option<String>, String> {
    let shown = folder.display();
    let list = |clients: &[Client]| {
        let names = clients.iter().map(|client| format!("`{}`", client.file()));
        names.collect::<Vec<_>>().join(", ")
    };
    match folder.metadata() {
        Ok(about) if about.is_dir() => {}
        Ok(_) => return Err(format!("`{shown}` is not a folder")),
        Err(error) => return Err(format!("folder `{shown}` cannot be read: {error}")),
    }
    let mut missing = Vec::new();
    for client in Client::ALL {
        match open(folder, client) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(client),
            Err(error) => {
                let path = folder.join(client.file());
                return Err(format!(
                    "client `{}` cannot be served: {error}",
                    path.display()
                ));
            }
        }
    }
    if missing.len() == Client::ALL.len() {
        return Err(format!(
            "folder `{shown}` has no client; expected files named {}",
            list(&missing)
        ));
    }
    Ok((!missing.is_empty()).then(|| {
        format!(
            "`clients.folder`: `{shown}` has no {}; jobs on these platforms get 404",
            list(&missing)
        )
    }))
}

/// The most downloads at once.
const SLOTS: usize = 8;
/// The most downloads at once from one source.
const SLOTS_OF_A_SOURCE: usize = 2;
const NETWORK_OF_IPV6: u128 = u128::MAX << 64;
/// How long a job may take to read a client, 20 MB at 1.5 Mbit/s, and a chunk of it.
pub(super) const SENDING: SendingTime = SendingTime {
    whole: Duration::from_secs(120),
    chunk: Duration::from_secs(10),
};
/// What a download has in memory.
const CHUNK: u64 = 64 << 10;
/// The largest file that is served.
const MOST: u64 = 256 << 20;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
