use super::*;
use crate::credential::database::postgres::ChannelBinding::{Disable, Prefer, Require};
use crate::credential::database::postgres::{Cleaner, Tls};
use crate::dev::postgres::{Options, Server};
use crate::secret::Secret;

const LOGIN: &str = "CREATE ROLE app LOGIN PASSWORD 'p' CONNECTION LIMIT 2";

fn password() -> SecretSource {
    SecretSource::Value(Secret::new("p".to_owned()))
}

async fn server() -> (Server, PostgresSettings) {
    let server = Server::start(&Options::default()).await.unwrap();
    let superuser = server.connect("postgres").await.unwrap();
    superuser.batch_execute(LOGIN).await.unwrap();
    for database in ["one", "two"] {
        let sql = format!("CREATE DATABASE {database}");
        superuser.batch_execute(&sql).await.unwrap();
    }
    let cleaner = Cleaner {
        user: "app".to_owned(),
        password: password(),
    };
    let login = ("app".to_owned(), password());
    let databases = vec!["one".to_owned()];
    let settings = PostgresSettings {
        port: server.port(),
        tls: Tls::Disable,
        ..PostgresSettings::new("127.0.0.1".to_owned(), databases, login, cleaner)
    };
    (server, settings)
}

fn connections(settings: &PostgresSettings, most: usize, idle: Option<Duration>) -> Connections {
    let login = Login::new(settings, ("app", &password())).unwrap();
    Connections::of(Arc::new(Pool::new(login, most, idle)), "postgres")
}

/// The databases that the login has sessions in, by the server's account.
async fn sessions(server: &Server) -> String {
    let superuser = server.connect("postgres").await.unwrap();
    let sql = "SELECT string_agg(datname::text, ' ' ORDER BY datname) FROM pg_stat_activity WHERE usename = 'app'";
    let row = superuser.query_one(sql, &[]).await.unwrap();
    row.get::<_, Option<String>>(0).unwrap_or_default()
}

async fn until_there_are(server: &Server, expected: &str) {
    for _ in 0..400 {
        if sessions(server).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sessions(server).await, expected);
}

#[tokio::test]
async fn a_connection_closes_when_nobody_uses_it_and_a_held_one_stays() {
    let (server, settings) = server().await;
    let idle = connections(&settings, 1, Some(Duration::from_millis(300)));
    let held = Connections::held(&settings, "one", ("app", &password())).unwrap();
    held.hold().await.unwrap();
    // It closes again after each use.
    for _ in 0..2 {
        idle.hold().await.unwrap();
        until_there_are(&server, "one").await;
    }
    let mut status = ConnectionStatus::default();
    idle.add_to(&mut status);
    held.add_to(&mut status);
    assert_eq!((status.open, status.most, status.problem), (1, 2, None));
}

#[tokio::test]
async fn databases_share_a_limit_and_the_least_recently_used_makes_room() {
    let (server, settings) = server().await;
    let here = connections(&settings, 2, None);
    let (one, two) = (here.to("one"), here.to("two"));
    for connections in [&here, &one, &here] {
        connections.hold().await.unwrap();
    }
    until_there_are(&server, "one postgres").await;
    // The server allows two, so that each of these has to wait until another is closed.
    two.hold().await.unwrap();
    until_there_are(&server, "postgres two").await;
    for _ in 0..5 {
        for connections in [&one, &two, &here] {
            connections.hold().await.unwrap();
        }
    }
    let all = tokio::join!(one.hold(), two.hold(), here.hold(), one.hold());
    assert_eq!(all, (Ok(()), Ok(()), Ok(()), Ok(())));
    let mut status = ConnectionStatus::default();
    here.add_to(&mut status);
    assert_eq!((status.open, status.problem), (2, None));
}

/// T-104
#[tokio::test]
async fn sessions_begin_with_our_settings_whatever_the_login_and_the_database_say() {
    let (server, settings) = server().await;
    let superuser = server.connect("postgres").await.unwrap();
    for setting in [
        "standard_conforming_strings = off",
        "idle_in_transaction_session_timeout = 1",
        "search_path = x",
        "hallpass.connection = 'x'",
    ] {
        for of in ["ROLE app", "DATABASE postgres"] {
            let sql = format!("ALTER {of} SET {setting}");
            superuser.batch_execute(&sql).await.unwrap();
        }
    }
    let connections = connections(&settings, 1, None);
    let sql = "SELECT concat_ws(' ', current_setting('standard_conforming_strings'), current_setting('idle_in_transaction_session_timeout'), current_setting('search_path'))";
    let rows = connections.query(sql, &[]).await.unwrap();
    let found = column::<String>(&rows[0], 0).unwrap();
    assert_eq!(found, "on 15s pg_catalog,pg_temp");
}

#[tokio::test]
async fn a_login_that_must_be_bound_to_tls_is_refused_without_it() {
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let options = Options {
        tls: Some((key.cert.pem(), key.signing_key.serialize_pem())),
        // A login that needs no password has nothing to bind.
        access: vec!["hostssl all open 127.0.0.1/32 trust".to_owned()],
        ..Options::default()
    };
    let server = Server::start(&options).await.unwrap();
    let superuser = server.connect("postgres").await.unwrap();
    let sql = "CREATE ROLE app LOGIN PASSWORD 'p'; CREATE ROLE open LOGIN";
    superuser.batch_execute(sql).await.unwrap();
    // A bundle, as providers give it out: the server's authority is the second one.
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, format!("{}{}", other.cert.pem(), key.cert.pem())).unwrap();
    let cleaner = Cleaner {
        user: "app".to_owned(),
        password: password(),
    };
    let login = ("app".to_owned(), password());
    let mut settings = PostgresSettings {
        port: server.port(),
        ca: Some(ca.clone()),
        ..PostgresSettings::new("127.0.0.1".to_owned(), Vec::new(), login, cleaner)
    };
    for (channel_binding, open) in [(Require, false), (Prefer, true), (Disable, true)] {
        settings.channel_binding = channel_binding;
        for (user, works) in [("app", true), ("open", open)] {
            let login = (user, &password());
            let connections = Connections::held(&settings, "postgres", login).unwrap();
            let held = connections.hold().await;
            assert_eq!(held.is_ok(), works, "{channel_binding:?} {user} {held:?}");
        }
    }
    std::fs::write(&ca, other.cert.pem()).unwrap();
    let stranger = Connections::held(&settings, "postgres", ("app", &password())).unwrap();
    assert!(stranger.hold().await.is_err());
}
