//! A proxy in front of a server that loses, changes or keeps back what the server says.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(super) struct Proxy {
    pub(super) port: u16,
    wishes: Arc<Wishes>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Wishes {
    /// Cut the connection instead of passing on the next answer to a use that is taken.
    cut: AtomicBool,
    /// Accept and say nothing.
    silent: AtomicBool,
    /// Seconds that the server's clock is ahead.
    ahead: AtomicU64,
    /// Connections so far.
    connections: AtomicU64,
    /// All connections end now.
    end: tokio::sync::Notify,
}

impl Proxy {
    pub(super) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wishes = Arc::new(Wishes::default());
        let all = Arc::clone(&wishes);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                all.connections.fetch_add(1, Ordering::SeqCst);
                let wishes = Arc::clone(&all);
                connections.spawn(async move {
                    tokio::select! {
                        () = wishes.end.notified() => {}
                        () = pass(client, server, Arc::clone(&wishes)) => {}
                    }
                });
            }
        });
        Self { port, wishes, task }
    }

    pub(super) fn cut_the_next_answer(&self) {
        self.wishes.cut.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_cut(&self) -> bool {
        !self.wishes.cut.load(Ordering::SeqCst)
    }

    /// Ends every connection there is.
    pub(super) fn cut_all(&self) {
        self.wishes.end.notify_waiters();
    }

    /// Connections so far.
    pub(super) fn connections(&self) -> u64 {
        self.wishes.connections.load(Ordering::SeqCst)
    }

    pub(super) fn silence(&self, is_silent: bool) {
        self.wishes.silent.store(is_silent, Ordering::SeqCst);
    }

    pub(super) fn clock_is_ahead(&self, seconds: u64) {
        self.wishes.ahead.store(seconds, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, server: u16, wishes: Arc<Wishes>) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else {
        return;
    };
    let (mut asked, mut said) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut takes_a_use = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                takes_a_use |= contains(&asked[..read], b"hallpass:used:");
                if wishes.silent.load(Ordering::SeqCst) {
                    continue;
                }
                if server.write_all(&asked[..read]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut said) => {
                let Ok(read @ 1..) = read else { return };
                if takes_a_use && wishes.cut.swap(false, Ordering::SeqCst) {
                    return;
                }
                set_ahead(&mut said[..read], wishes.ahead.load(Ordering::SeqCst));
                if client.write_all(&said[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Changes the seconds of the server's time, which begins the answer of a script.
fn set_ahead(said: &mut [u8], ahead: u64) {
    const FRONT: &[u8] = b"*2\r\n*2\r\n$10\r\n";
    if ahead == 0 || !said.starts_with(FRONT) {
        return;
    }
    let digits = &mut said[FRONT.len()..FRONT.len() + 10];
    let seconds: u64 = std::str::from_utf8(digits).unwrap().parse().unwrap();
    digits.copy_from_slice(format!("{:010}", seconds + ahead).as_bytes());
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
