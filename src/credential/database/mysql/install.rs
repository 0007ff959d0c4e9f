//! The SQL that a DBA reviews and installs once: what the broker's login can do is written in it.

use super::flavor::Flavor;
use super::settings::{Ceiling, MAX_LIVE, MysqlSettings, SHORTEST_LIFE, Tls};
use crate::credential::database::broker_login::second;
use crate::text::escape;

/// The statements of the installation, in order.
///
/// # Errors
/// The settings or the policies name something that cannot be written into the file, or no credential uses the
/// target.
pub fn statements(
    settings: &MysqlSettings,
    ceilings: &[Ceiling],
    flavor: Flavor,
) -> Result<Vec<String>, String> {
    check(settings, ceilings)?;
    let words = Words {
        settings,
        ceilings,
        flavor,
    };
    Ok(split(&words.fill(&format!("{ACCOUNTS}{PROCEDURES}"))))
}

/// The same as one file for the `mariadb` or `mysql` client, which begins with what it allows.
///
/// # Errors
/// As [`statements`].
pub fn file(
    name: &str,
    settings: &MysqlSettings,
    ceilings: &[Ceiling],
    flavor: Flavor,
) -> Result<String, String> {
    let statements = statements(settings, ceilings, flavor)?;
    let mut text = introduction(name, settings, ceilings, flavor);
    push_statements(&mut text, &statements);
    Ok(text)
}

/// The file that takes everything away again. It stops while there are leases.
///
/// # Errors
/// The settings name something that cannot be written into the file.
pub fn uninstall(name: &str, settings: &MysqlSettings, flavor: Flavor) -> Result<String, String> {
    check_settings(settings)?;
    let words = Words {
        settings,
        ceilings: &[],
        flavor,
    };
    let mut text = format!(
        "-- Removes what `hallpass target install` made for target {name}. Run it with the client's default of stopping at an error.\n\n"
    );
    push_statements(&mut text, &split(&words.fill(UNINSTALL)));
    Ok(text)
}

fn split(text: &str) -> Vec<String> {
    let parts = text.split("\n//\n");
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

fn push_statements(text: &mut String, statements: &[String]) {
    text.push_str("DELIMITER //\n\n");
    for statement in statements {
        text.push_str(statement);
        text.push_str("\n//\n");
    }
}

fn introduction(
    name: &str,
    settings: &MysqlSettings,
    ceilings: &[Ceiling],
    flavor: Flavor,
) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "-- hallpass, target {name}, for {}. Run once as an administrator, and again after every change:\n--   {} -h {} -P {} -u root -p < this-file.sql\n-- Then set the password of the broker's login with the output of `hallpass target passwords {name}`.\n--\n-- It makes a locked account that owns the procedures, and the broker's login `{}`, which can call them and\n-- nothing else. Whoever holds the broker's password can make logins\n",
        flavor.name(),
        match flavor {
            Flavor::MariaDb => "mariadb",
            Flavor::MySql => "mysql",
        },
        settings.host,
        settings.port,
        settings.user,
    );
    for ceiling in ceilings {
        let what = if ceiling.is_checkout {
            format!(
                "or hand out account {}@'%', to one job at a time",
                ceiling.group
            )
        } else {
            format!("in group {}", ceiling.group)
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "--   {what}: for at most {} s, with at most {} connections each",
            ceiling.longest_life, ceiling.connections
        );
    }
    let _ = write!(
        text,
        "-- and end those again: names that begin with `{}`. At most {MAX_LIVE} at a time, at most {} of one repository.\n-- Every minute an event of the server ends what no broker did; it needs `event_scheduler = ON`.\n\n",
        settings.prefix, settings.places_per_repository
    );
    text
}

fn check(settings: &MysqlSettings, ceilings: &[Ceiling]) -> Result<(), String> {
    check_settings(settings)?;
    if ceilings.is_empty() {
        return Err(
            "no credential of the policies uses this target, so there is nothing to allow; add a credential with `kind: mysql` first"
                .to_owned(),
        );
    }
    ceilings
        .iter()
        .try_for_each(|ceiling| check_group(&ceiling.group))
}

fn check_settings(settings: &MysqlSettings) -> Result<(), String> {
    check_name("user", &settings.user)?;
    if second(&settings.user).len() > LONGEST_ACCOUNT {
        return Err(format!(
            "`user` of the target has {} characters, at most {} are allowed: the file makes a second login with `_2` after the name",
            settings.user.len(),
            LONGEST_ACCOUNT.saturating_sub(2)
        ));
    }
    if settings.user == DEFINER {
        return Err(format!(
            "`user` of the target is `{DEFINER}`, which owns the procedures and is locked; name the broker's own login, e.g. `hallpass`"
        ));
    }
    Ok(())
}

/// Whether a role or account may be in the file.
///
/// # Errors
/// What it is made of, and what it may be made of.
pub(super) fn check_group(name: &str) -> Result<(), String> {
    check_name("group", name)
}

/// Names come from settings and policies. One that closes a quote would write SQL of its own into a file that an
/// administrator runs.
fn check_name(key: &str, name: &str) -> Result<(), String> {
    let is_plain = (1..=LONGEST_ACCOUNT).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if is_plain {
        return Ok(());
    }
    Err(format!(
        "`{key}` is `{}`, which cannot be in the installed file; expected 1 to {LONGEST_ACCOUNT} of A-Z, a-z, 0-9, `_`, `-` and `.`",
        escape(name)
    ))
}

/// What stands for the placeholders of the templates.
struct Words<'a> {
    settings: &'a MysqlSettings,
    ceilings: &'a [Ceiling],
    flavor: Flavor,
}

impl Words<'_> {
    fn fill(&self, text: &str) -> String {
        let settings = self.settings;
        let prefix = &settings.prefix;
        let number = |number: u32| number.to_string();
        let words = [
            ("grant_groups", self.grant_groups()),
            ("grant_calls", self.grant_calls()),
            ("ceilings", self.ceilings()),
            ("broker", settings.user.clone()),
            ("broker_account", format!("'{}'@'%'", settings.user)),
            ("second", second(&settings.user)),
            (
                "second_account",
                format!("'{}'@'%'", second(&settings.user)),
            ),
            (
                "broker_connections",
                number(settings.broker_connection_limit()),
            ),
            (
                "require",
                match settings.tls {
                    Tls::VerifyFull => "SSL",
                    Tls::Disable => "NONE",
                }
                .to_owned(),
            ),
            ("prefix", prefix.clone()),
            ("prefix_length", prefix.len().to_string()),
            ("pattern", format!("^{prefix}[0-9a-v]{{7}}_[0-9a-v]{{13}}$")),
            ("name_length", prefix.len().saturating_add(21).to_string()),
            ("shortest_life", number(SHORTEST_LIFE)),
            ("longest_token", number(LONGEST_TOKEN)),
            ("record_bytes", RECORD_BYTES.to_string()),
            ("max_live", number(MAX_LIVE)),
            (
                "places_per_repository",
                number(settings.places_per_repository),
            ),
            ("making_time", number(MAKING_TIME)),
            ("grace", number(GRACE)),
            ("contract", CONTRACT.to_owned()),
            ("server", self.flavor.name().to_owned()),
        ];
        let text = text
            .replace("{{opening}}", OPENING)
            .replace("{{not_ours}}", NOT_OURS)
            .replace(
                "{{create_user}}",
                self.of(CREATE_MARIADB, CREATE_MYSQL).trim_end(),
            );
        let text = FLAVORED
            .iter()
            .chain(&PRIVILEGES)
            .fold(text, |text, (name, mariadb, mysql)| {
                text.replace(&format!("{{{{{name}}}}}"), self.of(mariadb, mysql))
            });
        words.iter().fold(text, |text, (name, word)| {
            text.replace(&format!("{{{{{name}}}}}"), word)
        })
    }

    const fn of<'t>(&self, mariadb: &'t str, mysql: &'t str) -> &'t str {
        match self.flavor {
            Flavor::MariaDb => mariadb,
            Flavor::MySql => mysql,
        }
    }

    /// Roles only: an account that is checked out is changed, and never granted.
    fn grant_groups(&self) -> String {
        let groups = self.ceilings.iter().filter(|ceiling| !ceiling.is_checkout);
        let host = self.of("", "@'%'");
        let grants = groups.map(|ceiling| {
            format!(
                "GRANT '{}'{host} TO {DEFINER}@localhost WITH ADMIN OPTION\n//\n",
                ceiling.group
            )
        });
        grants.collect::<Vec<_>>().concat()
    }

    fn grant_calls(&self) -> String {
        let (broker, second) = (&self.settings.user, second(&self.settings.user));
        let grants = CALLS.iter().map(|name| {
            format!(
                "GRANT EXECUTE ON PROCEDURE hallpass.{name} TO '{broker}'@'%', '{second}'@'%'\n//\n"
            )
        });
        grants.collect::<Vec<_>>().concat()
    }

    fn ceilings(&self) -> String {
        let rows: Vec<String> = self
            .ceilings
            .iter()
            .map(|ceiling| {
                format!(
                    "  ('{}', {}, {}, {})",
                    ceiling.group, ceiling.is_checkout, ceiling.longest_life, ceiling.connections
                )
            })
            .collect();
        rows.join(",\n")
    }
}

/// The locked account that owns the procedures.
const DEFINER: &str = "hallpass_definer";
const ACCOUNTS: &str = include_str!("install/accounts.sql");
const PROCEDURES: &str = include_str!("install/procedures.sql");
const CREATE_MARIADB: &str = include_str!("install/create_mariadb.sql");
const CREATE_MYSQL: &str = include_str!("install/create_mysql.sql");
const UNINSTALL: &str = include_str!("install/uninstall.sql");

/// Nothing that a caller set in its session changes what a procedure does: a session may set its own time, keep a
/// transaction open, or have every read take locks until then.
const OPENING: &str = "COMMIT AND NO CHAIN NO RELEASE;
  SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;
  SET SESSION autocommit = 1, timestamp = DEFAULT, SESSION lock_wait_timeout = 2, SESSION innodb_lock_wait_timeout = 2;";

/// What is in the database `hallpass` and has no business there: `what`.
const NOT_OURS: &str = "SELECT CONCAT(LOWER(t.TABLE_TYPE), ' ', t.TABLE_NAME, COALESCE(CONCAT(' of engine ', t.ENGINE), '')) AS what FROM information_schema.TABLES t
      WHERE t.TABLE_SCHEMA = 'hallpass' AND NOT (t.TABLE_NAME IN ('leases', 'checkouts', 'ceilings') AND t.TABLE_TYPE = 'BASE TABLE' AND t.ENGINE = 'InnoDB')
        AND NOT (t.TABLE_NAME IN ('accounts', 'memberships') AND t.TABLE_TYPE = 'VIEW')
    UNION ALL SELECT CONCAT('trigger ', r.TRIGGER_NAME) FROM information_schema.TRIGGERS r WHERE 'hallpass' IN (r.TRIGGER_SCHEMA, r.EVENT_OBJECT_SCHEMA)
    UNION ALL SELECT CONCAT('event ', e.EVENT_NAME) FROM information_schema.EVENTS e WHERE e.EVENT_SCHEMA = 'hallpass' AND e.DEFINER <> 'hallpass_definer@localhost'
    UNION ALL SELECT CONCAT('constraint ', k.CONSTRAINT_NAME, ' of table ', k.TABLE_NAME) FROM information_schema.TABLE_CONSTRAINTS k
      WHERE k.TABLE_SCHEMA = 'hallpass' AND k.CONSTRAINT_TYPE NOT IN ('PRIMARY KEY', 'UNIQUE')
    UNION ALL SELECT CONCAT('foreign key ', f.CONSTRAINT_NAME, ' to it in database ', f.CONSTRAINT_SCHEMA) FROM information_schema.REFERENTIAL_CONSTRAINTS f
      WHERE f.UNIQUE_CONSTRAINT_SCHEMA = 'hallpass' AND f.CONSTRAINT_SCHEMA <> 'hallpass'";

/// What differs: the placeholder, MariaDB's text and MySQL's.
const FLAVORED: [(&str, &str, &str); 19] = [
    (
        "is_other_server",
        "VERSION() NOT LIKE '%MariaDB%'",
        "VERSION() LIKE '%MariaDB%'",
    ),
    (
        "is_locked",
        "COALESCE(JSON_VALUE(Priv, '$.account_locked'), '0') IN ('1', 'true')",
        "account_locked = 'Y'",
    ),
    ("is_account", "u.is_role = 'N'", "TRUE"),
    (
        "is_role",
        "COALESCE(JSON_VALUE(u.Priv, '$.is_role'), '0') IN ('1', 'true')",
        "u.account_locked = 'Y'",
    ),
    ("accounts_table", "mysql.global_priv", "mysql.user"),
    ("role_host", "", "%"),
    (
        "has_global",
        "COALESCE(JSON_VALUE(u.Priv, '$.access'), '0') <> '0'",
        "'Y' IN (u.Select_priv, u.Insert_priv, u.Update_priv, u.Delete_priv, u.Create_priv, u.Drop_priv, u.Reload_priv, u.Shutdown_priv, u.Process_priv, u.File_priv, u.Grant_priv, u.References_priv, u.Index_priv, u.Alter_priv, u.Show_db_priv, u.Super_priv, u.Create_tmp_table_priv, u.Lock_tables_priv, u.Execute_priv, u.Repl_slave_priv, u.Repl_client_priv, u.Create_view_priv, u.Show_view_priv, u.Create_routine_priv, u.Alter_routine_priv, u.Create_user_priv, u.Event_priv, u.Trigger_priv, u.Create_tablespace_priv, u.Create_role_priv, u.Drop_role_priv)",
    ),
    (
        "has_dynamic",
        "",
        "UNION ALL SELECT a.name, CONCAT('has the privilege ', g.PRIV) FROM above a JOIN mysql.global_grants g ON g.USER = a.name AND g.HOST = a.host",
    ),
    (
        "mandatory",
        "",
        "ELSEIF @@GLOBAL.mandatory_roles <> '' THEN
    SET p_problem = CONCAT('every login would also get the roles of mandatory_roles: ', LEFT(@@GLOBAL.mandatory_roles, 100));",
    ),
    // What is granted to PUBLIC reaches every login.
    ("everybody", "PUBLIC", ""),
    (
        "memberships",
        "SELECT User AS member, Host AS member_host, Role AS role, '' AS role_host, Admin_option = 'Y' AS administers FROM mysql.roles_mapping",
        "SELECT TO_USER AS member, TO_HOST AS member_host, FROM_USER AS role, FROM_HOST AS role_host, WITH_ADMIN_OPTION = 'Y' AS administers FROM mysql.role_edges",
    ),
    // Well-formed hashes that no password is known to have.
    (
        "no_password",
        "IDENTIFIED VIA mysql_native_password USING '*0000000000000000000000000000000000000000'",
        "IDENTIFIED WITH caching_sha2_password AS '$A$005$...............................................................'",
    ),
    (
        "no_password_text",
        "IDENTIFIED VIA mysql_native_password USING ''*0000000000000000000000000000000000000000''",
        "IDENTIFIED WITH caching_sha2_password AS ''$A$005$...............................................................''",
    ),
    (
        "has_no_password",
        "COALESCE(JSON_VALUE(Priv, '$.authentication_string'), '') = '*0000000000000000000000000000000000000000'",
        "authentication_string = '$A$005$...............................................................'",
    ),
    (
        "with_hash",
        "IDENTIFIED VIA mysql_native_password USING ', QUOTE(p_hash), '",
        "IDENTIFIED WITH caching_sha2_password AS 0x', p_hash, '",
    ),
    (
        "hash_pattern",
        "^[*][0-9A-F]{40}$",
        "^24412430303524[0-9A-F]{126}$",
    ),
    ("hash_length", "41", "140"),
    // MariaDB cuts a walk short without an error.
    (
        "recursion",
        "SET SESSION max_recursive_iterations = 1000;",
        "SET SESSION cte_max_recursion_depth = 1000;",
    ),
    ("or_can_log_in", "", " or can log in"),
];
/// Privileges that have other names or are needed on one of them only.
/// `SET DEFAULT ROLE … FOR` another account needs `UPDATE` on the system tables in MariaDB.
const PRIVILEGES: [(&str, &str, &str); 2] = [
    ("update_mysql", ", UPDATE", ""),
    ("connection_admin", "CONNECTION ADMIN", "CONNECTION_ADMIN"),
];

/// What the broker's login may call.
const CALLS: [&str; 13] = [
    "mint",
    "disable",
    "terminate",
    "drop_login",
    "ghosts",
    "ended",
    "list",
    "prune",
    "fitness",
    "problems",
    "list_ceilings",
    "set_password",
    "version",
];

/// Which procedures there are and what they take; a broker that finds another says so.
pub(super) const CONTRACT: &str = "1";
/// The longest record of a lease.
const RECORD_BYTES: usize = 2_048;
/// A used token is remembered for a week longer than its login lives, at most.
const LONGEST_TOKEN: u32 = 7 * 24 * 3_600;
/// Seconds after which a login that is not complete is given up.
const MAKING_TIME: u32 = 60;
/// Seconds after its end at which the server itself ends a login: brokers come first.
const GRACE: u32 = 30;
/// The length of an account's name in MySQL. MariaDB has longer ones.
const LONGEST_ACCOUNT: usize = 32;
