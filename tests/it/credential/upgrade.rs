//! From the file of the first release to today's, with leases alive.

use hallpass::clock::Timestamp;
use hallpass::credential::Revoked;
use hallpass::lease::LeaseContents;
use tokio_postgres::Client;

use super::on_both_versions;
use super::prepared::Installer;
use super::stage::{PASSWORD, Stage, Version, connect, fresh_random, order};

/// The file of the first release (`CONTRACT` 1) for the stage's target. Only what differs between versions is left out.
const CLUSTER: &str = include_str!("fixtures/first_release/cluster.sql");
const CONTROL: &str = include_str!("fixtures/first_release/control.sql");
const DATABASE: &str = include_str!("fixtures/first_release/database.sql");

/// Of [`PASSWORD`].
const VERIFIER: &str = "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$NtnZtX2ygxTllN3zBXs+eBBaiYQvS8LMSfpK4OFmkxg=:1HihEZ6EKVvHXKGvc/gPfdDCc6/YHWiY1YQUHv2KvWQ=";

fn fill(text: &str, version: Version, database: &str) -> String {
    let is_new = version == Version::V18;
    let either = |new: &'static str, old: &'static str| if is_new { new } else { old };
    let words = [
        ("version", version.number().to_string()),
        ("signal_options", either(" WITH INHERIT TRUE, SET FALSE", "").to_owned()),
        ("admin_grants", either("GRANT hallpass_connect, hallpass_quarantine, app_owner, app_rw, app_ro TO hallpass_definer WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;\n", "").to_owned()),
        ("grant_group", either("  EXECUTE format('GRANT %I TO %I WITH INHERIT %s, SET %s', p_group, name, CASE WHEN p_act_as_group THEN 'FALSE' ELSE 'TRUE' END, CASE WHEN p_act_as_group THEN 'TRUE' ELSE 'FALSE' END);", "  EXECUTE format('GRANT %I TO %I', p_group, name);").to_owned()),
        ("check_members", String::new()),
        ("acting_membership", either(" AND m.set_option", "").to_owned()),
        ("borrow_options", either(" WITH INHERIT TRUE, SET TRUE", "").to_owned()),
        ("lend_options", either(" WITH INHERIT TRUE, SET FALSE", "").to_owned()),
        ("take_back_options", either(" GRANTED BY CURRENT_USER", "").to_owned()),
        ("more_settings", either(" SET createrole_self_grant = ''", "").to_owned()),
        ("database", format!("\"{}\"", database.replace('"', "\"\""))),
    ];
    words.iter().fold(text.to_owned(), |text, (name, word)| {
        text.replace(&format!("{{{{{name}}}}}"), word)
    })
}

/// Removes today's installation and installs the first release's, which wanted a superuser.
async fn install_first_release(stage: &mut Stage) {
    stage.close_brokers().await;
    stage.psql(&stage.uninstall_file()).unwrap();
    stage.installer = Installer::Superuser;
    stage
        .superuser("postgres", "CREATE DATABASE hallpass")
        .await;
    let version = stage.version;
    stage
        .superuser("postgres", &fill(CLUSTER, version, ""))
        .await;
    stage
        .superuser("hallpass", &fill(CONTROL, version, ""))
        .await;
    for database in &stage.settings.databases {
        stage
            .superuser(database, &fill(DATABASE, version, database))
            .await;
    }
    stage.set_passwords().await;
}

/// A login as the first release's broker made it, with a session in which it made a large object.
async fn first_mint(stage: &Stage, group: &str, object: u32) -> (LeaseContents, Client) {
    let acts = group == "app_owner";
    let record = format!(r#"{{"cred":"app/login","grp":"{group}","own":{acts},"v":1}}"#);
    let random = fresh_random();
    let broker = stage.thief().await;
    let sql = "SELECT login, ends FROM hallpass.mint($1, $2, 600, $3, $4, 5, $5, true)";
    let row = broker
        .query_one(sql, &[&random, &VERIFIER, &group, &acts, &record])
        .await
        .unwrap();
    let contents = LeaseContents {
        target: "app".to_owned(),
        name: row.get(0),
        expires_at: Timestamp::from_unix(row.get(1)),
        policy: "test".to_owned(),
        issuer: "https://ci.test".to_owned(),
        subject: "job".to_owned(),
        repository: None,
    };
    let session = enter(stage, &contents).await.unwrap();
    session
        .batch_execute(&format!("SELECT lo_create({object})"))
        .await
        .unwrap();
    (contents, session)
}

async fn enter(stage: &Stage, lease: &LeaseContents) -> Result<Client, tokio_postgres::Error> {
    connect(&stage.server.login("app", &lease.name, PASSWORD)).await
}

on_both_versions! {
    an_older_installation_ends_its_leases_and_is_upgraded_in_place(stage) {
        install_first_release(stage).await;
        let (ended, session) = first_mint(stage, "app_owner", 4711).await;
        let (acting, _acts) = first_mint(stage, "app_owner", 4712).await;
        let (reading, _reads) = first_mint(stage, "app_ro", 4713).await;

        // The new broker with the old functions: no new login, and an end without the clean-up that ran jobs' code.
        let error = stage.try_mint(order("app_ro", 600, &fresh_random())).await.err().unwrap();
        assert!(error.nothing_made && error.reason.code() == "database.outdated", "{error:?}");
        let revoked = stage.databases.revoke(&ended).await.unwrap();
        assert_ne!(revoked, Revoked::Gone);
        assert!(session.simple_query("SELECT 1").await.is_err());
        assert!(enter(stage, &ended).await.is_err());
        stage.databases.sweep("app").await.unwrap();
        let owner = |object: u32| format!("SELECT pg_get_userbyid(lomowner)::text FROM pg_largeobject_metadata WHERE oid = {object}");
        assert_eq!(stage.read("app", &owner(4711)).await, ended.name);
        let errors = stage.errors().await;
        assert!(errors.iter().any(|error| error.fix.contains("hallpass target install")), "{errors:?}");

        stage.psql(&stage.install_file()).unwrap();
        stage.databases.sweep("app").await.unwrap();
        assert_eq!(stage.read("app", &owner(4711)).await, "app_owner");
        assert_eq!(stage.leases().await, "2");
        for lease in [&acting, &reading] {
            enter(stage, lease).await.unwrap();
            assert_eq!(stage.databases.revoke(lease).await.unwrap(), Revoked::Gone);
            assert!(enter(stage, lease).await.is_err());
        }
        assert_eq!(stage.read("app", &owner(4712)).await, "app_owner");
        assert_eq!(stage.read("app", &owner(4713)).await, "hallpass_quarantine");
        assert_eq!(stage.leases().await, "0");
        stage.superuser("postgres", "REVOKE ALL ON DATABASE neighbour FROM PUBLIC").await;
        assert_eq!(stage.errors().await, Vec::new());
        stage.mint("app_ro", 600).await;
    }
}
