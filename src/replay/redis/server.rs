//! Reads the server's INFO and maps its errors.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, Value};

use super::entry::as_text;

/// What matters of `INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// Another one after every restart.
    pub(super) run: String,
    /// Whether it says what it does when it is full.
    pub(super) says_policy: bool,
}

/// Reads `INFO`; a server that could forget a live entry is refused (T-70).
///
/// # Errors
/// Why nothing can be kept there.
pub(super) fn about(info: &Value) -> Result<About, String> {
    let text = as_text(info).ok_or("returned no text for INFO")?;
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .find_map(|(key, value)| (key == name).then_some(value))
    };
    if field("cluster_enabled") == Some("1") || field("redis_mode") == Some("cluster") {
        return Err(CLUSTER.to_owned());
    }
    if field("redis_mode") == Some("sentinel") {
        return Err("is a Sentinel; name the server that it watches in `replay.url`".to_owned());
    }
    if field("role").is_some_and(|role| role != "master") {
        return Err(READ_ONLY.to_owned());
    }
    if field("loading").is_some_and(|loading| loading != "0") {
        return Err("is still loading its data".to_owned());
    }
    let policy = field("maxmemory_policy");
    if field("maxmemory") != Some("0") && policy.is_some_and(|policy| policy != "noeviction") {
        return Err(
            "forgets used tokens when its memory is full; set its `maxmemory-policy` to `noeviction`"
                .to_owned(),
        );
    }
    let run = field("run_id").filter(|run| {
        (8..=64).contains(&run.len()) && run.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    Ok(About {
        run: run.ok_or("does not report its `run_id` (INFO)")?.to_owned(),
        says_policy: policy.is_some(),
    })
}

/// What an error means, without the server's own words: they may repeat what we sent.
pub(super) fn said(error: &RedisError) -> String {
    if error.is_timeout() {
        return SLOW.to_owned();
    }
    if error.is_io_error() {
        return lost(error);
    }
    let code = if error.kind() == ErrorKind::AuthenticationFailed {
        "WRONGPASS".to_owned()
    } else {
        code(error)
    };
    let known = MEANINGS.iter().find(|(known, _)| *known == code);
    match known {
        Some((_, meaning)) => (*meaning).to_owned(),
        None if code.is_empty() => "does not speak the protocol of Redis".to_owned(),
        None => format!("refused with {code}"),
    }
}

fn lost(error: &RedisError) -> String {
    // The crate hands on what went wrong inside of two errors: its own, and one of the system.
    let is_tls = error
        .source()
        .and_then(|inner| inner.downcast_ref::<Arc<dyn Error + Send + Sync>>())
        .and_then(|inner| inner.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>);
    if is_tls {
        format!("cannot be trusted: {error}")
    } else if error.is_connection_dropped() && !error.is_connection_refusal() {
        "closed the connection".to_owned()
    } else {
        format!("cannot be reached: {error}")
    }
}

/// The server refused, so it changed nothing.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// The first word of an error. Older servers put it inside of the text of a script that failed.
fn code(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    let inner = || {
        let detail = error.detail()?;
        if DENIED.iter().any(|words| detail.contains(words)) {
            return Some("NOPERM");
        }
        let mut known = MEANINGS.iter().map(|(known, _)| *known);
        known.find(|known| *known != "ERR" && detail.split([' ', '-']).any(|word| word == *known))
    };
    let code = match code {
        "ERR" => inner().unwrap_or(code),
        code => code,
    };
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(32)
        .collect()
}

const CLUSTER: &str =
    "is a cluster, which is not supported; use one server, or a managed one without cluster mode";
const READ_ONLY: &str = "is a read-only replica; name the primary in `replay.url`";

const MEANINGS: [(&str, &str); 17] = [
    ("OOM", "is full (OOM); give it more `maxmemory`"),
    ("READONLY", READ_ONLY),
    ("LOADING", "is still loading its data"),
    ("MASTERDOWN", READ_ONLY),
    ("NOAUTH", "requires authentication; set `replay.password`"),
    (
        "WRONGPASS",
        "refused the login; see `replay.user` and `replay.password`",
    ),
    (
        "NOPERM",
        "denies `replay.user` a command that hallpass needs; `docs/operations.md` lists these commands",
    ),
    ("WRONGTYPE", super::FOREIGN),
    ("MOVED", CLUSTER),
    ("ASK", CLUSTER),
    ("CROSSSLOT", CLUSTER),
    ("CLUSTERDOWN", CLUSTER),
    (
        "MISCONF",
        "cannot save its data and rejects writes (MISCONF)",
    ),
    ("NOREPLICAS", "has too few replicas of its own (NOREPLICAS)"),
    ("BUSY", "is busy with a script (BUSY)"),
    ("NOTBUSY", "is busy with a script (BUSY)"),
    ("ERR", "refused a command (ERR)"),
];

/// How servers tell that a script may not run one of its commands; no code is given for that.
const DENIED: [&str; 2] = ["ACL failure in script", "executing the script can't run"];

pub(super) const SLOW: &str = "did not answer in time";

#[cfg(test)]
mod tests {
    use super::*;

    fn said_of(info: &str) -> Result<About, String> {
        about(&Value::BulkString(info.replace('\n', "\r\n").into_bytes()))
    }

    const GOOD: &str = "# Server\nrun_id:0123456789abcdef\nredis_mode:standalone\nrole:master\nloading:0\nmaxmemory:100\nmaxmemory_policy:noeviction\ncluster_enabled:0\n";

    /// T-70
    #[test]
    fn a_server_that_could_forget_is_refused_by_what_it_says() {
        assert!(said_of(GOOD).unwrap().says_policy);
        let problem = |from: &str, to: &str| said_of(&GOOD.replace(from, to)).unwrap_err();
        for policy in [
            "allkeys-lru",
            "allkeys-lfu",
            "volatile-lru",
            "volatile-ttl",
            "allkeys-random",
        ] {
            assert!(
                problem("noeviction", policy).contains("noeviction"),
                "{policy}"
            );
        }
        assert!(
            said_of(
                &GOOD
                    .replace("noeviction", "allkeys-lru")
                    .replace("maxmemory:100", "maxmemory:0")
            )
            .is_ok()
        );
        assert!(problem("role:master", "role:slave").contains("read-only"));
        assert!(problem("loading:0", "loading:1").contains("loading"));
        assert!(problem("cluster_enabled:0", "cluster_enabled:1").contains("cluster"));
        assert!(problem("standalone", "sentinel").contains("Sentinel"));
        assert!(problem("run_id:0123456789abcdef", "run_id:").contains("run_id"));
        assert!(problem("run_id:0123456789abcdef", "run_id:0123456789 abc").contains("run_id"));
        assert!(about(&Value::Nil).is_err());
    }

    #[test]
    fn a_managed_server_that_hides_its_policy_is_noted() {
        let hidden = GOOD.replace("maxmemory_policy:noeviction\n", "");
        assert!(!said_of(&hidden).unwrap().says_policy);
    }

    #[test]
    fn an_error_is_told_without_the_words_of_the_server() {
        let error = |text: &'static str| {
            let text = format!("-{text}\r\n");
            redis::parse_redis_value(text.as_bytes())
                .and_then(Value::extract_error)
                .unwrap_err()
        };
        insta::assert_snapshot!(said(&error("OOM command not allowed canary")), @"is full (OOM); give it more `maxmemory`");
        insta::assert_snapshot!(said(&error("MOVED 1234 10.0.0.1:6379")), @"is a cluster, which is not supported; use one server, or a managed one without cluster mode");
        insta::assert_snapshot!(said(&error("ERR unknown command 'AUTH', with args beginning with: 'canary'")), @"refused a command (ERR)");
        insta::assert_snapshot!(said(&error("ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed")), @"is full (OOM); give it more `maxmemory`");
        insta::assert_snapshot!(said(&error("ODD\u{1b}[31m thing")), @"refused with ODD31m");
        assert!(is_refusal(&error("OOM x")) && is_refusal(&error("READONLY x")));
    }
}
