//! All that this process and its children say, searched for all that is secret.
//!
//! Secrets are registered where they are made or received; log lines, events, answers, panics and
//! what children print are put in where they appear. Both orders are found, since both sides are
//! kept: a piece of [`PIECE`] bytes that is on both sides is a leak (T-92). What tests hold
//! ([`Guard`]) looks for one when it is dropped, and fails the test.
//!
//! Public, and so not registered: the header of a token (all tokens share it), the prefixes of
//! lease handles and root keys, and pieces of fewer than five different bytes, which say nothing.
//! What a token says of its job is public too once it is decoded; its text is not.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::panic::PanicHookInfo;
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex, Once};

use hallpass::http::log_subscriber;
use serde_json::Value;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Bytes of a secret that appear nowhere.
const PIECE: usize = 8;

/// Looks for leaks when it is dropped; whoever holds one sees everything captured.
#[derive(Debug)]
pub(crate) struct Guard(());

/// From now on everything this process says is captured.
pub(crate) fn watch() -> Guard {
    install();
    Guard(())
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            check();
        }
    }
}

/// Fails if any secret of the process so far is in anything it has said so far.
#[track_caller]
pub(crate) fn check() {
    let leaks = std::mem::take(&mut lock().leaks);
    assert!(leaks.is_empty(), "secrets leaked:\n{}", leaks.join("\n"));
}

/// Registers a secret of which every part is secret. One that a test chooses has no words in it: a
/// piece of a word is found wherever the word is printed.
pub(crate) fn secret(kind: &'static str, text: &str) {
    install();
    lock().register(kind, text.as_bytes());
}

/// Registers a token: its payload and signature, or all of what only goes for one.
pub(crate) fn token(text: &str) {
    let parts = text.split_once('.').map_or(text, |(_, parts)| parts);
    secret("a token", parts);
}

/// Registers a root key or a lease handle, without the prefix that all share.
pub(crate) fn prefixed(kind: &'static str, text: &str) {
    let start = ["hallpass-root-1:", "hpl_"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    secret(kind, start.unwrap_or(text));
}

/// Registers a private key in PEM: the part of PKCS#8 that holds a P-256 scalar. What stands before
/// it is the same in all keys, and what stands behind is the public half.
pub(crate) fn private_key(pem: &str) {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    secret("a private key", body.get(48..88).unwrap_or(&body));
}

/// Puts in what was said; `place` is told with a leak.
pub(crate) fn said(place: &str, bytes: &[u8]) {
    install();
    lock().put_in(place, bytes);
}

/// Registers what a request carries to the broker.
pub(crate) fn sent(request: &[u8]) {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    for (name, value) in head.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("idempotency-key") {
            secret("an idempotency key", value);
        } else if name.eq_ignore_ascii_case("authorization") {
            token(value.split_once(' ').map_or(value, |(_, token)| token));
        }
    }
    for (name, value) in url::form_urlencoded::parse(body.as_bytes()) {
        match &*name {
            "subject_token" | "actor_token" => token(&value),
            "token" if value.len() >= 2 * PIECE => prefixed("a lease handle", &value),
            _ => {}
        }
    }
}

/// What a broker answered: its secrets are registered, everything else was said.
pub(crate) fn answered(text: &str) {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return said("an answer", text.as_bytes());
    };
    said("the head of an answer", head.as_bytes());
    let json = serde_json::from_str::<Value>(body).unwrap_or(Value::Null);
    let mut rest = body.to_owned();
    if head
        .split(' ')
        .nth(1)
        .is_some_and(|status| status.starts_with('2'))
    {
        for text in handed_out(&json) {
            rest = rest.replace(text, "");
        }
    }
    said("the body of an answer", rest.as_bytes());
}

/// Registers the secrets of a credential, in any form that our programs print one in.
fn handed_out(answer: &Value) -> Vec<&str> {
    let text = |pointer| answer.pointer(pointer).and_then(Value::as_str);
    let mut found = Vec::new();
    for pointer in HANDED_OUT {
        let Some(value) = text(pointer) else {
            continue;
        };
        if let Some((header, _)) = sealed(value) {
            found.push(header);
            continue;
        }
        if pointer.ends_with("lease") {
            prefixed("a lease handle", value);
        } else if value.starts_with("eyJ") {
            token(value);
        } else if value.starts_with("ssh-") {
            // A certificate is public. What it says of the job, in base64, may be spelled as in a token.
        } else {
            secret("a password", value);
        }
        found.push(value);
    }
    // An address holds the password, which must go first.
    found.extend(
        ["/hallpass/credential/url", "/credential/url"]
            .into_iter()
            .filter_map(text),
    );
    found.sort_by_key(|text| std::cmp::Reverse(text.len()));
    found
}

/// The header of a sealed message, and the rest. All of it is public, so no secret must be found in it;
/// but pieces of the header are spelled as in any token.
fn sealed(text: &str) -> Option<(&str, &str)> {
    let is_sealed = text.starts_with("eyJ") && text.split('.').count() == 5;
    is_sealed.then(|| text.split_once('.')).flatten()
}

const HANDED_OUT: [&str; 12] = [
    "/access_token",
    "/hallpass/lease",
    "/hallpass/credential/token",
    "/hallpass/credential/password",
    "/lease",
    "/credential/token",
    "/credential/password",
    "/hallpass/credential/certificate",
    "/credential/certificate",
    "/credential/sealed",
    "/token",
    "/password",
];

/// Runs a child to its end, and puts in what it printed.
pub(crate) trait Observed {
    /// As `output`.
    fn observed(&mut self) -> Output;
}

impl Observed for Command {
    #[track_caller]
    fn observed(&mut self) -> Output {
        let output = self.output().unwrap();
        if self.get_program() == env!("CARGO_BIN_EXE_hallpass") {
            let name = self.get_args().next().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            said_by_child(&name, &output.stdout, &output.stderr);
        }
        check();
        output
    }
}

/// Puts in what `hallpass name` printed. Some print secrets on standard output, that being what
/// they are for, and mask them for GitHub on the other.
pub(crate) fn said_by_child(name: &str, stdout: &[u8], stderr: &[u8]) {
    if PRINTS_SECRETS.contains(&name) {
        let text = String::from_utf8_lossy(stdout);
        if let Some((_, content)) = sealed(text.trim()) {
            said(&format!("standard output of `{name}`"), content.as_bytes());
        } else if text.starts_with("eyJ") {
            token(text.trim());
        }
        handed_out(&serde_json::from_str(&text).unwrap_or(Value::Null));
    } else {
        said(&format!("standard output of `{name}`"), stdout);
    }
    let place = format!("standard error of `{name}`");
    for line in stderr.split(|byte| *byte == b'\n') {
        if !line.starts_with(b"::add-mask::") {
            said(&place, line);
        }
    }
}

const PRINTS_SECRETS: [&str; 5] = ["get", "unseal", "exec", "dev", "keys"];

/// Everything written to the log so far by this thread's test alone, as a test reads it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(std::sync::Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        said("a log line", bytes);
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What the process logs is what the broker would.
struct Everything;

impl io::Write for Everything {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        said("a log line", bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn install() {
    INSTALLED.call_once(|| {
        if log_subscriber("trace", || Everything).try_init().is_err() {
            // A child that a test started for this has its own.
        }
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            remember(panic);
            usual(panic);
        }));
    });
}

/// The message of a panic that is not a test's own assertion.
fn remember(panic: &PanicHookInfo<'_>) {
    let is_ours = panic
        .location()
        .is_some_and(|place| place.file().starts_with("tests/"));
    if let Some(message) = panic.payload_as_str().filter(|_| !is_ours) {
        lock().put_in("the message of a panic", message.as_bytes());
    }
}

static INSTALLED: Once = Once::new();
static STORE: LazyLock<Mutex<Store>> = LazyLock::new(Mutex::default);

fn lock() -> std::sync::MutexGuard<'static, Store> {
    STORE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Both sides, by piece.
#[derive(Default)]
struct Store {
    secret: HashMap<u64, u32, Cheap>,
    said: HashMap<u64, u32, Cheap>,
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    leaks: Vec<String>,
}

impl Store {
    fn register(&mut self, kind: &str, bytes: &[u8]) {
        let name = self.number(kind);
        let mut leaked = None;
        for piece in bytes.windows(PIECE).filter(|piece| says_something(piece)) {
            let piece = number(piece);
            if let Some(place) = self.said.get(&piece) {
                leaked = Some(*place);
            }
            self.secret.entry(piece).or_insert(name);
        }
        if let Some(place) = leaked {
            self.leaked(name, place, "it was registered afterwards");
        }
    }

    fn put_in(&mut self, place: &str, bytes: &[u8]) {
        let place = self.number(place);
        let mut leaked = None;
        let mut rolling = 0_u64;
        for (index, byte) in bytes.iter().enumerate() {
            rolling = rolling << 8 | u64::from(*byte);
            if index + 1 < PIECE {
                continue;
            }
            if self.said.insert(rolling, place).is_none()
                && leaked.is_none()
                && let Some(kind) = self.secret.get(&rolling)
            {
                leaked = Some((*kind, index + 1 - PIECE));
            }
        }
        if let Some((kind, at)) = leaked {
            // What stands before is no part of it.
            let before = String::from_utf8_lossy(&bytes[at.saturating_sub(160)..at]).into_owned();
            self.leaked(kind, place, &format!("after {before:?}"));
        }
    }

    fn leaked(&mut self, kind: u32, place: u32, how: &str) {
        let name = |number: u32| &self.names[number as usize];
        let leak = format!("a piece of {} in {}, {how}", name(kind), name(place));
        self.leaks.push(leak);
    }

    /// A name with the test it belongs to.
    fn number(&mut self, name: &str) -> u32 {
        let thread = std::thread::current();
        let name = format!(
            "{name} (thread {})",
            thread.name().unwrap_or("without a name")
        );
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }
}

fn number(piece: &[u8]) -> u64 {
    piece
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn says_something(piece: &[u8]) -> bool {
    let different = (0..piece.len()).filter(|at| !piece[..*at].contains(&piece[*at]));
    different.count() > 4
}

type Cheap = BuildHasherDefault<Mixed>;

/// Pieces are numbers already; nobody chooses them to collide.
#[derive(Default)]
struct Mixed(Cell<u64>);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(number(bytes));
    }

    fn write_u64(&mut self, number: u64) {
        let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0.set(number ^ number >> 32);
    }

    fn finish(&self) -> u64 {
        self.0.get()
    }
}
