//! The programs of `benches/peers`: token exchange as others would write it, with Node and with Python.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::ci::{AUDIENCE, Ci};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Verifies and signs, and no more: `node:http` with the library jose.
    Jose,
    /// The npm package of that name, an OAuth server, with token exchange.
    OidcProvider,
    /// Verifies and signs, and no more: Starlette on uvicorn, with the library joserfc.
    Starlette,
}

/// Installs what these need. Returns those that can run, and says what is left out.
pub(crate) fn install(wanted: impl Iterator<Item = Peer>) -> Vec<Peer> {
    let can_run = |peer: &Peer| {
        let installed = peer.install();
        if let Err(error) = &installed {
            eprintln!("skipped: peer {peer:?}, since {error}");
        }
        installed.is_ok()
    };
    wanted.filter(can_run).collect()
}

impl Peer {
    /// How it is started.
    pub(crate) fn command(self, address: SocketAddr, ci: &Ci) -> Result<Command> {
        let folder = std::path::absolute(self.folder())?;
        let mut command = match self {
            Self::Jose | Self::OidcProvider => Command::new("node"),
            Self::Starlette => Command::new(folder.join(PYTHON)),
        };
        command.arg(self.program()).current_dir(&folder);
        let port = address.port().to_string();
        command.args([&port, &ci.url, AUDIENCE, &ci.key_set().to_string()]);
        Ok(command)
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Jose => "jose.mjs",
            Self::OidcProvider => "oidc-provider.mjs",
            Self::Starlette => "starlette_peer.py",
        }
    }

    const fn language(self) -> &'static str {
        match self {
            Self::Jose | Self::OidcProvider => "node",
            Self::Starlette => "python",
        }
    }

    fn folder(self) -> PathBuf {
        Path::new(INSTALLED).join(self.language())
    }

    /// Copies its program below `target`, and installs its packages there.
    fn install(self) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder)?;
        for file in fs::read_dir(Path::new(SOURCES).join(self.language()))? {
            let file = file?;
            fs::copy(file.path(), folder.join(file.file_name()))?;
        }
        match self {
            Self::Jose | Self::OidcProvider => run(
                "npm",
                &["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                &folder,
            ),
            Self::Starlette => {
                if !folder.join(PYTHON).exists() {
                    run("python3", &["-m", "venv", "venv"], &folder)?;
                }
                let python = std::path::absolute(folder.join(PYTHON))?;
                let install = ["-m", "pip", "install", "--quiet", "-r", "requirements.txt"];
                run(&python.to_string_lossy(), &install, &folder)
            }
        }
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<()> {
    let mut command = Command::new(program);
    let ended = command.args(arguments).current_dir(folder).output();
    let ended = ended.map_err(|error| format!("`{program}` does not run: {error}"))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(format!(
        "`{program} {}` failed: {}",
        arguments.join(" "),
        said.trim()
    )
    .into())
}

/// From the repository's root, where `make` runs.
const SOURCES: &str = "benches/peers";
const INSTALLED: &str = "target/bench-peers";
const PYTHON: &str = "venv/bin/python";
