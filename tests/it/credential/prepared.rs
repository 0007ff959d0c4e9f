//! Clusters with an application and the installed functions in them, made once and copied for each test.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use hallpass::credential::database::postgres::{GroupCeiling, PostgresSettings, install};
use hallpass::dev::postgres::{Options, Server};
use tokio::sync::Mutex;
use tokio_postgres::Client;

use super::stage::{PASSWORD, Version, WRITES, connect, groups, target};

/// What has been made so far. It is gone when no test has it: nothing is left behind.
#[derive(Default)]
pub(super) struct Prepared(Mutex<HashMap<(Version, Installer), Arc<Server>>>);

static PREPARED: LazyLock<std::sync::Mutex<Weak<Prepared>>> = LazyLock::new(Default::default);

impl Prepared {
    /// What tests that run now share.
    pub(super) fn now() -> Arc<Self> {
        let mut shared = PREPARED.lock().unwrap();
        if let Some(prepared) = shared.upgrade() {
            return prepared;
        }
        let prepared = Arc::new(Self::default());
        *shared = Arc::downgrade(&prepared);
        prepared
    }

    /// A server of its own for a test.
    pub(super) async fn server(
        &self,
        version: Version,
        installer: Installer,
        options: &Options,
    ) -> Server {
        let cluster = {
            let mut made = self.0.lock().await;
            if let Some(cluster) = made.get(&(version, installer)) {
                Arc::clone(cluster)
            } else {
                let cluster = Arc::new(prepare(version, installer, options).await);
                made.insert((version, installer), Arc::clone(&cluster));
                cluster
            }
        };
        cluster.start_copy(options).await.unwrap()
    }
}

/// A stopped server.
async fn prepare(version: Version, installer: Installer, options: &Options) -> Server {
    let options = Options {
        programs: options.programs.clone(),
        ..Options::default()
    };
    let mut server = Server::start(&options).await.unwrap();
    if installer != Installer::Superuser {
        superuser(&server, "postgres", installer.given()).await;
    }
    installer.run(&server, "postgres", GROUPS).await;
    superuser(&server, "postgres", APPLICATION_SERVER).await;
    if installer != Installer::Superuser {
        let enter = "GRANT CONNECT ON DATABASE postgres TO administrator";
        superuser(&server, "postgres", enter).await;
    }
    for name in ["app", "\"other \"\"db\"\"\n\"", "hallpass"] {
        let create = format!("CREATE DATABASE {name}");
        installer.run(&server, "postgres", &create).await;
    }
    let neighbour = "CREATE DATABASE neighbour OWNER neighbour_owner";
    superuser(&server, "postgres", neighbour).await;
    superuser(&server, "app", APPLICATION).await;
    if version == Version::V18 {
        superuser(&server, "app", WRITES).await;
        let revoke = "SET ROLE app_owner; REVOKE REFERENCES ON app.items FROM app_rw";
        superuser(&server, "app", revoke).await;
    }
    let files = (&target(server.port()), &groups()[..], version);
    installer.install(&server, files).await;
    server.stop();
    server
}

pub(super) async fn superuser(server: &Server, database: &str, sql: &str) {
    execute(&server.connect(database).await.unwrap(), sql).await;
}

async fn execute(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{error:?} in {sql}"));
}

/// Who installs hallpass, upgrades it and removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Installer {
    Superuser,
    /// Shaped like the master user of Amazon RDS.
    Rds,
    /// Shaped like an administrator of Cloud SQL, who cannot grant `pg_signal_backend`.
    CloudSql,
}

impl Installer {
    pub(super) const fn user(self) -> &'static str {
        match self {
            Self::Superuser => "postgres",
            Self::Rds | Self::CloudSql => "administrator",
        }
    }

    /// What the provider gives the administrator.
    const fn given(self) -> &'static str {
        match self {
            Self::Superuser => "",
            Self::Rds => {
                "CREATE ROLE administrator LOGIN CREATEROLE CREATEDB PASSWORD 'jvqzxkwpqy-xqzvjykwpq';
                 GRANT pg_monitor, pg_signal_backend TO administrator WITH ADMIN OPTION;
                 CREATE ROLE rds_password NOLOGIN; GRANT rds_password TO administrator WITH ADMIN OPTION;"
            }
            Self::CloudSql => {
                "CREATE ROLE cloudsqlsuperuser NOLOGIN CREATEROLE CREATEDB;
                 CREATE ROLE administrator LOGIN CREATEROLE CREATEDB IN ROLE cloudsqlsuperuser PASSWORD 'jvqzxkwpqy-xqzvjykwpq';"
            }
        }
    }

    /// How it logs in.
    pub(super) fn password(self, server: &Server) -> String {
        match self {
            Self::Superuser => server.password().expose().clone(),
            Self::Rds | Self::CloudSql => PASSWORD.to_owned(),
        }
    }

    pub(super) async fn run(self, server: &Server, database: &str, sql: &str) {
        let login = server.login(database, self.user(), &self.password(server));
        execute(&connect(&login).await.unwrap(), sql).await;
    }

    pub(super) async fn install(
        self,
        server: &Server,
        (settings, groups, version): (&PostgresSettings, &[GroupCeiling], Version),
    ) {
        for section in install::sections(settings, groups, version.number()).unwrap() {
            self.run(server, &section.database, &section.sql).await;
        }
        self.set_passwords(server).await;
    }

    pub(super) async fn set_passwords(self, server: &Server) {
        for login in ["hallpass", "hallpass_clean"] {
            let set = format!("ALTER ROLE {login} PASSWORD '{PASSWORD}'");
            self.run(server, "postgres", &set).await;
        }
    }
}

const GROUPS: &str =
    "CREATE ROLE app_owner NOLOGIN; CREATE ROLE app_rw NOLOGIN; CREATE ROLE app_ro NOLOGIN";

const APPLICATION_SERVER: &str = "
CREATE ROLE neighbour_owner LOGIN PASSWORD 'n';
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
";

const APPLICATION: &str = "
REVOKE ALL ON DATABASE app FROM PUBLIC;
GRANT CREATE, TEMPORARY ON DATABASE app TO app_owner;
CREATE SCHEMA app AUTHORIZATION app_owner;
CREATE SCHEMA shared AUTHORIZATION app_owner;
SET ROLE app_owner;
CREATE TABLE app.items (id int);
INSERT INTO app.items VALUES (1), (2);
GRANT USAGE ON SCHEMA app TO app_ro, app_rw;
GRANT SELECT ON app.items TO app_ro;
GRANT SELECT, INSERT ON app.items TO app_rw;
GRANT USAGE ON SCHEMA shared TO app_ro, app_rw;
RESET ROLE;
";
