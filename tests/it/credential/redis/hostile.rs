//! What a job tries with its login, against every rule that is meant to hold it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hallpass::credential::Revoked;

use super::on_both;
use super::stage::{Flavour, Login, Session, Stage};

fn session(login: &Login) -> Session {
    Session::open(login, login.port).unwrap()
}

on_both! {
    /// T-421: `app_rw` has `+@all`.
    a_group_with_every_command_has_none_of_administrators(stage) {
        let login = stage.mint("app_rw", 600).await;
        let mut job = session(&login);
        for attempt in [
            &["ACL", "SETUSER", "default", "nopass"][..],
            &["ACL", "LIST"],
            &["ACL", "GETUSER", "hallpass"],
            &["CONFIG", "SET", "requirepass", ""],
            &["CONFIG", "REWRITE"],
            &["REPLICAOF", "127.0.0.1", "1"],
            &["SHUTDOWN", "NOSAVE"],
            &["FLUSHALL"],
            &["FLUSHDB"],
            &["SWAPDB", "0", "1"],
            &["MIGRATE", "127.0.0.1", "1", "app:k", "0", "10"],
            &["MONITOR"],
            &["SAVE"],
            &["CLIENT", "LIST"],
            &["CLIENT", "KILL", "TYPE", "normal"],
            &["CLIENT", "PAUSE", "10000"],
            &["CLIENT", "NO-EVICT", "on"],
            &["CLIENT", "UNBLOCK", "1"],
            &["KEYS", "*"],
            &["SCAN", "0"],
            &["RANDOMKEY"],
            &["PUBSUB", "CHANNELS"],
            &["SCRIPT", "DEBUG", "SYNC"],
            &["SCRIPT", "FLUSH"],
            &["SCRIPT", "KILL"],
            &["SORT", "app:l", "BY", "other:*"],
            &["SLOWLOG", "GET"],
            &["LATENCY", "RESET"],
            &["CLUSTER", "RESET"],
        ] {
            let said = job.say(attempt).unwrap_err();
            assert!(said.contains("NOPERM") || said.contains("no permissions"), "{attempt:?}: {said}");
        }
        assert_eq!(job.say(&["SET", "app:k", "3"]).unwrap(), "OK");
    }

    /// T-426
    a_script_has_the_keys_of_its_caller(stage) {
        let login = stage.mint("app_rw", 600).await;
        let mut job = session(&login);
        let script = "return redis.call('GET', 'other:k')";
        let said = job.say(&["EVAL", script, "0"]).unwrap_err();
        assert!(said.contains("ACL") || said.contains("can't access"), "{said}");
        let named = "return redis.call('GET', KEYS[1])";
        assert!(job.say(&["EVAL", named, "1", "other:k"]).unwrap_err().contains("NOPERM"));
        let hidden = "return redis.pcall('ACL', 'SETUSER', 'x', 'on')";
        let said = job.say(&["EVAL", hidden, "0"]);
        assert!(said.as_ref().is_err_and(|said| said.contains("script")), "{said:?}");
        let own = "return redis.call('GET', 'app:k')";
        assert_eq!(job.say(&["EVAL", own, "0"]).unwrap(), "1");
    }

    /// T-426: it would run later with the power of whoever calls it.
    no_function_is_left_behind(stage) {
        let login = stage.mint("app_rw", 600).await;
        let mut job = session(&login);
        let library = "#!lua name=evil\nredis.register_function('f', function() return redis.call('GET', 'other:k') end)";
        for attempt in [
            &["FUNCTION", "LOAD", library][..],
            &["FUNCTION", "LOAD", "REPLACE", library],
            &["FUNCTION", "RESTORE", "x"],
            &["FUNCTION", "FLUSH"],
            &["FUNCTION", "DELETE", "good"],
            &["FUNCTION", "LIST"],
        ] {
            assert!(job.say(attempt).unwrap_err().contains("NOPERM"), "{attempt:?}");
        }
        // Those of the application run with the power of the job.
        let good = "#!lua name=good\nredis.register_function('g', function(keys) return redis.call('GET', keys[1]) end)";
        stage.server().say(&["FUNCTION", "LOAD", good]);
        assert_eq!(job.say(&["FCALL", "g", "1", "app:k"]).unwrap(), "1");
        assert!(job.say(&["FCALL", "g", "1", "other:k"]).unwrap_err().contains("NOPERM"));
        assert_eq!(stage.server().say(&["FUNCTION", "STATS"]).matches("libraries_count").count(), 1);
    }

    /// T-427
    tracking_and_channels_show_no_names_of_others(stage) {
        let login = stage.mint("app_rw", 600).await;
        let mut job = session(&login);
        for attempt in [
            &["CLIENT", "TRACKING", "on", "BCAST"][..],
            &["CLIENT", "TRACKING", "on", "REDIRECT", "1"],
            &["PSUBSCRIBE", "*"],
            &["PSUBSCRIBE", "__key*__:*"],
            &["SUBSCRIBE", "__redis__:invalidate"],
            &["SUBSCRIBE", "other:x"],
            &["PUBLISH", "other:x", "y"],
            &["SSUBSCRIBE", "other:x"],
        ] {
            let said = job.say(attempt).unwrap_err();
            assert!(said.contains("NOPERM"), "{attempt:?}: {said}");
        }
        assert_eq!(job.say(&["PUBLISH", "app:x", "y"]).unwrap(), "0");
        job.say(&["SUBSCRIBE", "app:x"]).unwrap();
    }

    /// T-422
    a_session_that_waits_subscribes_or_holds_a_transaction_is_closed(stage) {
        let login = stage.mint("app_rw", 600).await;
        let mut blocked = session(&login);
        blocked.send(&["BLPOP", "app:list", "0"]);
        let mut subscribed = session(&login);
        subscribed.say(&["SUBSCRIBE", "app:x"]).unwrap();
        let mut transaction = session(&login);
        transaction.say(&["MULTI"]).unwrap();
        assert_eq!(transaction.say(&["SET", "app:late", "1"]).unwrap(), "QUEUED");
        let mut watching = session(&login);
        watching.say(&["WATCH", "app:k"]).unwrap();
        let mut waiting = session(&login);
        waiting.send(&["WAIT", "1", "0"]);
        let mut silent = session(&login);
        silent.send(&["CLIENT", "REPLY", "OFF"]);
        silent.send(&["BLPOP", "app:list", "0"]);
        assert_eq!(stage.revoke(&login).await, Revoked::Gone);
        stage.server().say(&["RPUSH", "app:list", "x"]);
        stage.server().say(&["PUBLISH", "app:x", "y"]);
        assert!(blocked.wait().is_err());
        assert!(subscribed.wait().is_err());
        assert!(transaction.say(&["EXEC"]).is_err());
        assert!(watching.say(&["GET", "app:k"]).is_err());
        assert!(waiting.wait().is_err());
        assert_eq!(stage.server().say(&["EXISTS", "app:late"]), ":0");
        assert_eq!(stage.server().say(&["LLEN", "app:list"]), ":1");
        let clients = stage.server().say(&["CLIENT", "LIST"]);
        assert!(!clients.contains(&login.username), "{clients}");
    }

    /// T-422
    no_session_escapes_by_becoming_somebody_else(stage) {
        let login = stage.mint("app_rw", 600).await;
        for escape in [
            &["RESET"][..],
            &["AUTH", "default", ""],
            &["AUTH", "hallpass", "x"],
            &["HELLO", "3", "AUTH", "default", ""],
            &["SELECT", "1"],
        ] {
            let mut job = session(&login);
            let _ = job.say(escape);
            let said = job.say(&["GET", "other:k"]).unwrap_err();
            assert!(said.contains("NOPERM") || said.contains("NOAUTH") || said.contains("Authentication required"), "{escape:?}: {said}");
        }
    }

    /// T-422
    nothing_that_was_sent_before_the_end_runs_after_it(stage) {
        let login = stage.mint("app_rw", 600).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4).map(|number| {
            let (name, password, port) = (login.username.clone(), login.password.expose().clone(), login.port);
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                let url = format!("redis://{name}:{password}@127.0.0.1:{port}");
                let client = redis::Client::open(url).unwrap();
                let mut late = 0;
                // It reconnects for as long as it is let in, and sends ten commands at once.
                while !is_over.load(Ordering::SeqCst) {
                    let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_secs(1)) else { continue };
                    let mut pipe = redis::pipe();
                    for _ in 0..10 {
                        pipe.cmd("SET").arg(format!("app:{number}")).arg("x");
                    }
                    while pipe.query::<()>(&mut connection).is_ok() {
                        late += u32::from(is_over.load(Ordering::SeqCst));
                    }
                }
                let again = client.get_connection_with_timeout(Duration::from_secs(1));
                (late, again.is_ok())
            })
        }).collect();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(stage.revoke(&login).await, Revoked::Gone);
        for key in ["app:0", "app:1", "app:2", "app:3"] {
            stage.server().say(&["DEL", key]);
        }
        is_over.store(true, Ordering::SeqCst);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (0, false));
        }
        assert_eq!(stage.server().say(&["EXISTS", "app:0", "app:1", "app:2", "app:3"]), ":0");
    }

    /// T-420: what keeps the record permits nothing, and cannot be changed.
    a_record_is_no_power_and_not_the_jobs(stage) {
        let login = stage.mint("app_ro", 600).await;
        let user = stage.server().say(&["ACL", "GETUSER", &login.username]);
        let pattern = user.lines().find(|line| line.starts_with("~hp1:")).unwrap();
        let key = pattern.trim_start_matches('~').to_owned();
        stage.server().say(&["SET", &key, "x"]);
        let mut job = session(&login);
        for attempt in [&["GET", key.as_str()][..], &["SET", &key, "y"], &["DEL", &key]] {
            assert!(job.say(attempt).unwrap_err().contains("NOPERM"), "{attempt:?}");
        }
    }
}

/// T-428: Redis does nothing else while a script runs. The lease is owed, the operator hears what to do, and
/// it ends as soon as the server answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_does_not_end_delays_its_end_and_is_named() {
    let stage = Stage::with(Flavour::Redis, 1, 1, &["--busy-reply-threshold", "100"]);
    let login = stage.mint("app_rw", 600).await;
    stage.targets.sweep("app").await.unwrap();
    let mut job = session(&login);
    job.send(&["EVAL", "while true do end", "0"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = tokio::time::Instant::now();
    assert_eq!(stage.revoke(&login).await, Revoked::Pending);
    assert!(began.elapsed() < Duration::from_secs(15));
    let reasons = stage.database().reasons(&login.username).await.unwrap();
    assert!(
        reasons.iter().any(|reason| reason.contains("SCRIPT KILL")),
        "{reasons:?}"
    );
    stage.server().say(&["SCRIPT", "KILL"]);
    crate::support::wait::until("it is gone", || async {
        let _ = stage.targets.sweep("app").await;
        stage.leases().is_empty()
    })
    .await;
    assert!(Session::open(&login, login.port).is_err());
}
