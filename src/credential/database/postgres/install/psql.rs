//! What of the printed file is for psql: the summary on top, and the way from database to database.

use std::fmt::Write as _;

use super::{GroupCeiling, MAX_LIVE, PostgresSettings, identifier, literal};

/// What the file allows, needs, and leaves to do.
pub(super) fn introduction(
    name: &str,
    settings: &PostgresSettings,
    groups: &[GroupCeiling],
    version: u32,
) -> String {
    let mut text = format!(
        "-- hallpass: what the broker may do on target {name}, for PostgreSQL {version}
--
-- Login `hallpass` can call the functions of section 2 and do nothing else. With its password alone somebody
-- can make logins, named {prefix}…, within these ceilings, and end them:
--
",
        prefix = settings.prefix,
    );
    for group in groups {
        let acts = if group.act_as_group {
            ", acting as the group"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "--   in group {}: for at most {} s, with at most {} connections each{acts}",
            group.group, group.longest_life, group.connections
        );
    }
    let _ = write!(
        text,
        "--
-- It cannot read or write the databases, grant a role, or touch a login that is not named so. At most {MAX_LIVE}
-- such logins live at once. Login `hallpass_clean` can only clean up after ended ones.
--
-- It needs an administrator: a superuser, or on a managed server a role with CREATEROLE, CREATEDB (unless database
-- {control} exists and is its own),{admin} to be the owner of each listed database, or a role that
-- may grant itself the owner. Membership WITH ADMIN OPTION in pg_signal_backend is better: without it sessions on standbys are not ended.
-- All of it is looked at first. The groups must exist.
--
-- Run it: psql -X -f THIS_FILE postgres. It may be run again at any time, by the same role, and has to be when
-- groups or ceilings change. Then set both passwords: \\password hallpass, \\password hallpass_clean.
-- Also close every other database of this server to leased logins: REVOKE CONNECT, TEMPORARY ON DATABASE …
-- FROM PUBLIC. `hallpass target check {name}` finds those that are open.
-- `hallpass target uninstall {name}` prints what removes all of it again.

\\set ON_ERROR_STOP on
",
        control = settings.control_database,
        admin = if version >= 16 {
            " ADMIN on the groups, and"
        } else {
            ""
        },
    );
    text
}

/// Makes the control database, unless there is one of that name.
pub(super) fn create_control(database: &str) -> String {
    format!(
        "SELECT {} WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {}) \\gexec\n",
        literal(&format!("CREATE DATABASE {}", identifier(database))),
        literal(database)
    )
}

/// psql's command to go to a database, whatever its name is: a quote, a line break, or `=`, which psql
/// would take for a connection string.
pub(super) fn connect(database: &str) -> String {
    if database
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    {
        return format!("\\connect {database}\n\n");
    }
    let quoted = database.replace('\\', "\\\\").replace('\'', "\\'");
    let target = literal(&format!("dbname='{quoted}'"));
    format!(
        "SELECT {target} AS hallpass_target \\gset\n\\connect -reuse-previous=on :\"hallpass_target\"\n\n"
    )
}
