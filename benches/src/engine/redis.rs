//! A private Redis server.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Engine, GROUP, MakeOne, PASSWORD, Place, RECORD_BYTES};
use crate::Result;
use crate::process::{Process, free_address};

pub(super) struct Redis {
    _server: Process,
    port: u16,
    folder: PathBuf,
}

impl Redis {
    pub(super) fn start(place: &Place<'_>) -> Result<Self> {
        let folder = place.folder;
        let port = free_address()?.port();
        let mut server = Command::new("redis-server");
        server
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--dir", &folder.display().to_string()])
            .args(["--requirepass", PASSWORD]);
        let log = folder.join("redis.log");
        let server = Process::start_beside(server, &log, "Ready to accept connections")?;
        fs::write(folder.join("password"), PASSWORD)?;
        place.write(&target(port, folder))?;
        let mut client = open(port, &["AUTH", PASSWORD])?;
        for verb in ["install", "passwords"] {
            for line in place.say(&["target", verb, "shop-db"])?.lines() {
                if !line.is_empty() && !line.starts_with('#') {
                    ask(&mut client, &line.split(' ').collect::<Vec<_>>())?;
                }
            }
        }
        Ok(Self {
            _server: server,
            port,
            folder: folder.to_owned(),
        })
    }
}

impl Engine for Redis {
    fn target(&self) -> String {
        target(self.port, &self.folder)
    }

    /// The one command that makes a user with the group's rules and a record.
    fn client(&self) -> Result<Box<MakeOne>> {
        let mut client = open(self.port, &["AUTH", "hallpass", PASSWORD])?;
        let hash = format!("#{}", "a".repeat(64));
        let record = format!("(~{} -@all)", "x".repeat(RECORD_BYTES));
        Ok(Box::new(move |number| {
            let name = format!("hp_1lgzzzz_{number:013}");
            let user = ["ACL", "SETUSER", &name, "reset", "on", &hash];
            let rules = ["%R~app:*", "+@read", "-@admin", "-@dangerous", &record];
            ask(&mut client, &[&user[..], &rules].concat())
        }))
    }

    fn clean(&self) -> Result<()> {
        let mut client = open(self.port, &["AUTH", PASSWORD])?;
        send(&mut client, &["ACL", "USERS"])?;
        let users = answer(&mut client)?;
        for user in users.lines().filter(|user| user.starts_with("hp_")) {
            ask(&mut client, &["ACL", "DELUSER", user])?;
        }
        Ok(())
    }
}

fn open(port: u16, login: &[&str]) -> Result<TcpStream> {
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.set_nodelay(true)?;
    ask(&mut client, login)?;
    Ok(client)
}

fn ask(client: &mut TcpStream, words: &[&str]) -> Result<()> {
    send(client, words)?;
    let said = answer(client)?;
    if said.starts_with('-') {
        return Err(format!("{}: {said}", words[0]).into());
    }
    Ok(())
}

fn send(client: &mut TcpStream, words: &[&str]) -> Result<()> {
    let words = words
        .iter()
        .map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let words: Vec<String> = words.collect();
    let text = format!("*{}\r\n{}", words.len(), words.concat());
    Ok(client.write_all(text.as_bytes())?)
}

/// The lines of one answer, with their marks.
fn answer(client: &mut TcpStream) -> Result<String> {
    let mut said = String::new();
    let mut piece = [0; 16 << 10];
    loop {
        match client.read(&mut piece)? {
            0 => return Err("the server closed the connection".into()),
            count => said.push_str(std::str::from_utf8(&piece[..count])?),
        }
        if is_whole(&said) {
            return Ok(said);
        }
    }
}

/// A line, or a list of texts: each has two lines.
fn is_whole(said: &str) -> bool {
    let lines = said.matches("\r\n").count();
    match said.strip_prefix('*') {
        None => lines > 0,
        Some(rest) => {
            let count = rest
                .split("\r\n")
                .next()
                .and_then(|count| count.parse().ok());
            count.is_some_and(|count: usize| lines == 1 + 2 * count)
        }
    }
}

fn target(port: u16, folder: &Path) -> String {
    let password = folder.join("password");
    format!(
        "  shop-db: {{ kind: redis, host: 127.0.0.1, port: {port}, user: hallpass, password: {{ file: \"{}\" }}, tls: disable, sweep: 10m, groups: {{ {GROUP}: {{ keys: [\"%R~app:*\"], commands: [+@read] }} }} }}\n",
        password.display()
    )
}
