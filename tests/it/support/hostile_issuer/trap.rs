//! A port that nobody should come to. Whoever does is heard out.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) struct Trap {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Trap {
    /// Says nothing.
    pub(crate) async fn start() -> Self {
        Self::saying(Vec::new()).await
    }

    /// Answers whatever comes first with these bytes, and listens on.
    pub(crate) async fn saying(bytes: Vec<u8>) -> Self {
        Self::at("127.0.0.1:0", bytes).await
    }

    /// At that address, and its port if it is not 0.
    pub(crate) async fn at(address: &str, bytes: Vec<u8>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (record, bytes) = (Arc::clone(&record), bytes.clone());
                let at = {
                    let mut all = record.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                tokio::spawn(async move {
                    let mut buffer = [0; 4_096];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        let is_first = {
                            let mut all = record.lock().unwrap();
                            let is_first = all[at].is_empty();
                            all[at].extend_from_slice(&buffer[..count]);
                            is_first
                        };
                        if is_first {
                            let _ = stream.write_all(&bytes).await;
                        }
                    }
                });
            }
        });
        Self {
            address,
            heard,
            task,
        }
    }

    /// What came on each connection, in their order. Empty if there was none.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.task.abort();
    }
}
