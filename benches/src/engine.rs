//! The databases whose logins are measured: each a private server with what hallpass installs in it.

mod mariadb;
mod postgres;
mod redis;

use std::fs;
use std::path::Path;
use std::process::Command;

use tokio::runtime::{self, Runtime};

use crate::Result;
use crate::broker::{Bench, Own};

/// Makes the login of that number.
pub(crate) type MakeOne = dyn FnMut(usize) -> Result<()>;

pub(crate) trait Engine: Sync {
    /// The target `shop-db` of the broker's settings.
    fn target(&self) -> String;

    /// A client that makes logins with the statement that the broker sends, on a connection that is open.
    fn client(&self) -> Result<Box<MakeOne>>;

    /// Removes all logins, so that each measurement begins alike.
    fn clean(&self) -> Result<()>;
}

/// An engine by its name, the kind of its credentials, and how it is started.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// What `kind` of a credential is.
    pub(crate) word: &'static str,
    start: fn(&Place<'_>) -> Result<Box<dyn Engine>>,
}

pub(crate) const KINDS: [Kind; 3] = [
    Kind {
        name: "PostgreSQL",
        word: "postgres",
        start: |place| Ok(Box::new(postgres::Postgres::start(place)?)),
    },
    Kind {
        name: "MariaDB",
        word: "mysql",
        start: |place| Ok(Box::new(mariadb::MariaDb::start(place)?)),
    },
    Kind {
        name: "Redis",
        word: "redis",
        start: |place| Ok(Box::new(redis::Redis::start(place)?)),
    },
];

impl Kind {
    pub(crate) fn start(&self, bench: &Bench) -> Result<Box<dyn Engine>> {
        let folder = bench.folder.path().join(self.word);
        let own = Own {
            repositories: bench.ci.jobs().repositories,
            ssh: false,
            database: Some(self.word),
        };
        bench.write_policies(&folder.join("policies"), own.repositories, own)?;
        let place = Place {
            hallpass: &bench.hallpass,
            folder: &folder,
        };
        place.say(&["keys", "generate", "--out", "root.key"])?;
        (self.start)(&place)
    }
}

/// Where an engine keeps its files, and a broker's settings for it.
pub(crate) struct Place<'a> {
    hallpass: &'a Path,
    folder: &'a Path,
}

impl Place<'_> {
    /// The settings with this target.
    fn write(&self, target: &str) -> Result<()> {
        let settings = format!(
            "issuer: https://hallpass.acme.dev\nroot_key: {{ file: root.key }}\npolicies: {{ path: policies }}\n\
             audit: {{ sinks: [ {{ kind: stdout, required: true }} ] }}\ntargets:\n{target}"
        );
        Ok(fs::write(self.folder.join("hallpass.yaml"), settings)?)
    }

    /// What hallpass prints.
    fn say(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.hallpass);
        output(command.args(arguments).current_dir(self.folder))
    }
}

/// What a program prints, if it succeeds.
fn output(command: &mut Command) -> Result<String> {
    let ended = command
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        return Err(format!("{}: {said}", command.get_program().display()).into());
    }
    Ok(String::from_utf8(ended.stdout)?)
}

fn runtime() -> Result<Runtime> {
    Ok(runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// Of the broker's login: no secret, since the servers are gone with the run.
const PASSWORD: &str = "of-a-server-that-is-gone-with-the-run";
const GROUP: &str = "shop_app";
/// Repositories that hold the logins.
const HOLDERS: usize = 10;
/// When tokens can no longer be used, in seconds since 1970.
const UNTIL: i64 = 2_000_000_000;
/// A record is as long as the broker's.
const RECORD_BYTES: usize = 400;
