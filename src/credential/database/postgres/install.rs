//! The SQL that a DBA reviews and installs once: what the broker's logins can do is written in it.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use super::settings::{GroupCeiling, MAX_LIVE, PostgresSettings, SHORTEST_LIFE};
use psql::{connect, create_control, introduction};

mod psql;
pub mod uninstall;

/// What is run in one database, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The database to be connected to.
    pub database: String,
    /// Statements, without any of psql's own commands.
    pub sql: String,
}

/// The whole installation for a server of that major version.
///
/// # Errors
/// The version is not supported, no credential uses the target, or the settings name other logins
/// than those that it makes.
pub fn sections(
    settings: &PostgresSettings,
    groups: &[GroupCeiling],
    version: u32,
) -> Result<Vec<Section>, String> {
    check(settings, groups, version)?;
    let words = Words {
        settings,
        groups,
        version,
    };
    let mut sections = vec![
        Section {
            database: "postgres".to_owned(),
            sql: words.fill(CLUSTER),
        },
        Section {
            database: settings.control_database.clone(),
            sql: words.control(),
        },
    ];
    for database in &settings.databases {
        sections.push(Section {
            database: database.clone(),
            sql: words.database(database),
        });
    }
    sections.push(Section {
        database: "postgres".to_owned(),
        sql: words.fill(FINISH),
    });
    Ok(sections)
}

/// The same as one file for `psql -f`, which begins with what it allows.
///
/// # Errors
/// As [`sections`].
pub fn file(
    name: &str,
    settings: &PostgresSettings,
    groups: &[GroupCeiling],
    version: u32,
) -> Result<String, String> {
    let mut text = introduction(name, settings, groups, version);
    let sections = sections(settings, groups, version)?;
    for section in &sections {
        if section.database == settings.control_database {
            text.push_str(&create_control(&section.database));
        }
        text.push_str(&connect(&section.database));
        text.push_str(&section.sql);
        text.push('\n');
    }
    Ok(text)
}

/// A function of section 3 as it was installed: the cleaner calls nothing else of that name
/// (T-101, T-121).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Installed {
    /// Name and types, as `regprocedure` prints them.
    pub(super) signature: String,
    /// SHA-256 of the body, in hexadecimal digits.
    pub(super) body: String,
}

/// The functions of section 3.
#[must_use]
pub(super) fn database_functions(settings: &PostgresSettings, version: u32) -> Vec<Installed> {
    let words = Words {
        settings,
        groups: &[],
        version,
    };
    let installed = |(signature, body): &(&str, &str)| Installed {
        signature: (*signature).to_owned(),
        body: HEXLOWER
            .encode(digest(&SHA256, format!("\n{}", words.fill(body)).as_bytes()).as_ref()),
    };
    DATABASE_FUNCTIONS.iter().map(installed).collect()
}

/// The settings that the functions of section 3 run with, as the catalogue keeps them.
pub(super) fn function_config(version: u32) -> Vec<String> {
    let config = FUNCTION_SETTINGS
        .iter()
        .filter(|setting| setting.since <= version);
    config
        .map(|setting| format!("{}={}", setting.name, setting.kept))
        .collect()
}

fn check(settings: &PostgresSettings, groups: &[GroupCeiling], version: u32) -> Result<(), String> {
    check_target(settings, version)?;
    if groups.is_empty() {
        return Err(
            "no credential of the policies uses this target, so there is nothing to allow; add a credential with `kind: postgres` first"
                .to_owned(),
        );
    }
    for name in groups.iter().map(|group| &group.group) {
        check_name(name)?;
    }
    check_logins(settings)
}

/// The names of the logins are part of the functions, so the file makes no others.
fn check_logins(settings: &PostgresSettings) -> Result<(), String> {
    let logins = [
        ("user", &settings.user, "hallpass"),
        ("cleaner.user", &settings.cleaner.user, "hallpass_clean"),
    ];
    for (key, found, expected) in logins {
        if found != expected {
            return Err(format!(
                "`{key}` of the target is `{}`, but the install file makes the login `{expected}`; write `{expected}` in the settings",
                crate::text::escape(found)
            ));
        }
    }
    Ok(())
}

fn check_target(settings: &PostgresSettings, version: u32) -> Result<(), String> {
    if !(15..=18).contains(&version) {
        return Err(format!(
            "PostgreSQL {version} is not supported, expected 15 to 18"
        ));
    }
    for name in &settings.allowed_roles {
        check_name(name)?;
    }
    if let Some(database) = settings
        .databases
        .iter()
        .find(|name| **name == settings.control_database)
    {
        return Err(format!(
            "database `{database}` is where the broker keeps its functions, leases cannot use it"
        ));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    if is_plain(name) {
        return Ok(());
    }
    Err(format!(
        "role name `{}` cannot stand in the file: expected 1 to 63 letters, digits, `_`, `-`, `.` or spaces",
        crate::text::escape(name)
    ))
}

/// Role names come from policies. One that closes a quote, a comment or a function's body would write
/// SQL of its own into a file that a superuser runs.
fn is_plain(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .chars()
            .all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | ' '))
}

/// What stands for the placeholders of the templates.
struct Words<'a> {
    settings: &'a PostgresSettings,
    groups: &'a [GroupCeiling],
    version: u32,
}

impl Words<'_> {
    fn control(&self) -> String {
        self.fill(&format!("{FIRST}{}", CONTROL.replace("{{schema}}", SCHEMA)))
    }

    fn database(&self, database: &str) -> String {
        let mut text = DATABASE.replace("{{schema}}", SCHEMA);
        for (name, body) in BODIES {
            text = text.replace(&format!("{{{{{name}}}}}"), body);
        }
        // The name goes in last: whatever it is, nothing in it is taken for a placeholder.
        self.fill(&text)
            .replace("{{database}}", &identifier(database))
    }

    fn fill(&self, text: &str) -> String {
        let settings = self.settings;
        // From 16 on memberships carry INHERIT and SET of their own.
        let either = |new: &str, old: &str| if self.version >= 16 { new } else { old }.to_owned();
        let prefix = &settings.prefix;
        let groups = || self.groups.iter().map(|group| group.group.as_str());
        let leaving = self.groups.iter().filter(|group| group.without_acting);
        let databases = settings.databases.iter().map(String::as_str);
        let functions =
            |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
        let words = [
            ("version", self.version.to_string()),
            ("own_roles", list(OWN_ROLES.into_iter())),
            (
                "broker_connections",
                settings.broker_connection_limit().to_string(),
            ),
            (
                "cleaner_connections",
                settings.cleaner_connection_limit().to_string(),
            ),
            ("control_database", identifier(&settings.control_database)),
            ("control_text", literal(&settings.control_database)),
            (
                "control_functions",
                functions(&mut CONTROL_FUNCTIONS.into_iter()),
            ),
            (
                "database_functions",
                functions(&mut DATABASE_FUNCTIONS.iter().map(|(signature, _)| *signature)),
            ),
            ("databases", list(databases)),
            (
                "signal_options",
                either(" WITH INHERIT TRUE, SET FALSE", ""),
            ),
            ("installer_membership", either(INSTALLER_MEMBERSHIP, "")),
            ("rotating_membership", either(ROTATING_MEMBERSHIP, "")),
            ("lent_by_installer", either(" AND m.grantor = m.member", "")),
            (
                "connect_options",
                either(" WITH INHERIT TRUE, SET FALSE", ""),
            ),
            (
                "usable_membership",
                either(" AND (m.inherit_option OR m.set_option)", ""),
            ),
            (
                "admin_grants",
                if self.version >= 16 {
                    self.admin_grants()
                } else {
                    String::new()
                },
            ),
            ("prefix", prefix.clone()),
            ("prefix_length", prefix.len().to_string()),
            ("pattern", lease_pattern(prefix)),
            (
                "allowed_roles",
                list(settings.allowed_roles.iter().map(String::as_str)),
            ),
            (
                "event_trigger_names",
                list(settings.event_triggers.iter().map(String::as_str)),
            ),
            (
                "places_per_repository",
                settings.places_per_repository.to_string(),
            ),
            ("shortest_life", SHORTEST_LIFE.to_string()),
            ("longest_token", LONGEST_TOKEN.to_string()),
            ("record_bytes", RECORD_BYTES.to_string()),
            ("max_live", MAX_LIVE.to_string()),
            ("contract", CONTRACT.to_owned()),
            ("turn", TURN.to_owned()),
            ("step_budget", STEP_BUDGET.to_owned()),
            ("most_relations", MOST_RELATIONS.to_string()),
            ("most_large_objects", MOST_LARGE_OBJECTS.to_string()),
            ("most_routines", MOST_ROUTINES.to_string()),
            ("most_hanging", MOST_HANGING.to_string()),
            ("most_problems", MOST_PROBLEMS.to_string()),
            ("ceilings", self.ceilings()),
            ("acts", either(ACTS_BY_OPTION, ACTS_BY_HEIR)),
            ("grant_group", either(GRANT_WITH_OPTIONS, GRANT_PLAIN)),
            ("check_members", either(MEMBERS_WITH_OPTIONS, MEMBERS_PLAIN)),
            (
                "lend_lease_options",
                either(" WITH INHERIT TRUE, SET FALSE", ""),
            ),
            ("lend_options", either(" WITH INHERIT TRUE, SET TRUE", "")),
            ("take_back_options", either(" GRANTED BY CURRENT_USER", "")),
            (
                "leaving_groups",
                list(leaving.map(|group| group.group.as_str())),
            ),
            ("target_groups", list(groups())),
            ("settings", self.function_settings()),
        ];
        words.iter().fold(with_parts(text), |text, (name, word)| {
            text.replace(&format!("{{{{{name}}}}}"), word)
        })
    }

    fn function_settings(&self) -> String {
        let settings = FUNCTION_SETTINGS
            .iter()
            .filter(|setting| setting.since <= self.version);
        let clauses: Vec<String> = settings
            .map(|setting| format!("SET {} = {}", setting.name, setting.written))
            .collect();
        clauses.join(" ")
    }

    fn admin_grants(&self) -> String {
        let groups: Vec<String> = self
            .groups
            .iter()
            .map(|group| identifier(&group.group))
            .collect();
        format!(
            "GRANT hallpass, hallpass_2, hallpass_connect, hallpass_quarantine, {} TO hallpass_definer WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;\n",
            groups.join(", ")
        )
    }

    fn ceilings(&self) -> String {
        let rows: Vec<String> = self
            .groups
            .iter()
            .map(|group| {
                format!(
                    "    ({}::text, {}, {}, {})",
                    literal(&group.group),
                    group.longest_life,
                    group.connections,
                    group.act_as_group
                )
            })
            .collect();
        rows.join(",\n")
    }
}

/// What names of leases match, in the server's own words.
pub(super) fn lease_pattern(prefix: &str) -> String {
    format!("^{prefix}[0-9a-v]{{7}}_[0-9a-v]{{13}}$")
}

/// The parts that several bodies share, which have placeholders of their own.
fn with_parts(text: &str) -> String {
    text.replace("{{opening}}", OPENING.trim_end())
        .replace("{{unless_live}}", UNLESS_LIVE.trim_end())
}

/// A name as SQL takes it.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it, whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(literal).collect::<Vec<_>>().join(", ")
}

const CLUSTER: &str = include_str!("install/cluster.sql");
const CONTROL: &str = include_str!("install/control.sql");
const DATABASE: &str = include_str!("install/database.sql");
const FIRST: &str = include_str!("install/first.sql");
const SCHEMA: &str = include_str!("install/schema.sql");
const FINISH: &str = include_str!("install/finish.sql");
/// How every function of section 3 that is given a login begins.
const OPENING: &str = include_str!("install/opening.sql");
/// How those continue that work on what an ended login left to the quarantine.
const UNLESS_LIVE: &str = include_str!("install/unless_live.sql");
const EVENT_TRIGGERS: &str = include_str!("install/event_triggers.sql");
const DISARM: &str = include_str!("install/disarm.sql");
const DROP_CODE: &str = include_str!("install/drop_code.sql");
const FENCE: &str = include_str!("install/fence.sql");
const HAND_OVER: &str = include_str!("install/hand_over.sql");
const DROP_GRANTS: &str = include_str!("install/drop_grants.sql");
const BODIES: [(&str, &str); 6] = [
    ("event_triggers", EVENT_TRIGGERS),
    ("disarm", DISARM),
    ("drop_code", DROP_CODE),
    ("fence", FENCE),
    ("hand_over", HAND_OVER),
    ("drop_grants", DROP_GRANTS),
];

/// A setting of our functions, as it is written and as the catalogue keeps it.
struct FunctionSetting {
    name: &'static str,
    written: &'static str,
    kept: &'static str,
    /// The first version that knows it.
    since: u32,
}

const fn setting(
    name: &'static str,
    written: &'static str,
    kept: &'static str,
    since: u32,
) -> FunctionSetting {
    FunctionSetting {
        name,
        written,
        kept,
        since,
    }
}

/// Nothing that a caller set in its session changes what a function does (T-104).
const FUNCTION_SETTINGS: [FunctionSetting; 8] = [
    setting(
        "search_path",
        "pg_catalog, pg_temp",
        "pg_catalog, pg_temp",
        15,
    ),
    setting("TimeZone", "'UTC'", "UTC", 15),
    setting("DateStyle", "'ISO, MDY'", "ISO, MDY", 15),
    setting("standard_conforming_strings", "on", "on", 15),
    setting("idle_in_transaction_session_timeout", "'15s'", "15s", 15),
    setting("lock_timeout", "'2s'", "2s", 15),
    setting("createrole_self_grant", "''", "", 16),
    setting("transaction_timeout", "0", "0", 17),
];

/// The roles that the file makes; no group may be inside one, and nobody else may be a member.
pub(super) const OWN_ROLES: [&str; 7] = [
    "hallpass_definer",
    "hallpass",
    "hallpass_2",
    "hallpass_clean",
    "hallpass_janitor",
    "hallpass_connect",
    "hallpass_quarantine",
];

const GRANT_WITH_OPTIONS: &str = "  EXECUTE format('GRANT %I TO %I WITH INHERIT %s, SET %s', p_group, name, CASE WHEN p_act_as_group THEN 'FALSE' ELSE 'TRUE' END, CASE WHEN p_act_as_group THEN 'TRUE' ELSE 'FALSE' END);";
const GRANT_PLAIN: &str = "  EXECUTE format('GRANT %I TO %I', p_group, name);";
const MEMBERS_WITH_OPTIONS: &str = "      OR EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = made AND (m.inherit_option OR m.set_option))";
const MEMBERS_PLAIN: &str = "      OR EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = made)";
const ACTS_BY_OPTION: &str = "EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.set_option AND pg_get_userbyid(m.roleid) <> 'hallpass_connect')";
const ACTS_BY_HEIR: &str = "hallpass.heir(r.oid) <> 'hallpass_quarantine'";
/// From 16 on whoever creates a role without being a superuser keeps the right to give it away, without having its
/// power (grantor 10 is the server's first superuser).
const INSTALLER_MEMBERSHIP: &str = "
      AND NOT (m.admin_option AND NOT m.inherit_option AND NOT m.set_option AND m.grantor = 10 AND pg_get_userbyid(m.member) = current_user)";

/// The owner of the functions sets the passwords of the broker's logins, and has none of their power.
const ROTATING_MEMBERSHIP: &str = "
      AND NOT (r.rolname IN ('hallpass', 'hallpass_2') AND pg_get_userbyid(m.member) = 'hallpass_definer' AND NOT m.inherit_option AND NOT m.set_option)";

const CONTROL_FUNCTIONS: [&str; 29] = [
    "hallpass.ceilings()",
    "hallpass.name_front(bigint)",
    "hallpass.name_end(text)",
    "hallpass.unfit(text)",
    "hallpass.find(text)",
    "hallpass.mint(text, text, integer, text, boolean, integer, text, bigint, text, boolean)",
    "hallpass.lease_oid(text)",
    "hallpass.cut(text)",
    "hallpass.disable(text)",
    "hallpass.terminate(text)",
    "hallpass.lease_sessions()",
    "hallpass.not_live(text[])",
    "hallpass.ghosts()",
    "hallpass.take_turn()",
    "hallpass.end_turn()",
    "hallpass.unblock()",
    "hallpass.recover()",
    "hallpass.take_back()",
    "hallpass.lend(text, text)",
    "hallpass.heir(oid)",
    "hallpass.drop_login(text)",
    "hallpass.deps(text)",
    "hallpass.foreign_memberships(text)",
    "hallpass.ended(text, integer)",
    "hallpass.leases()",
    "hallpass.shared_rights()",
    "hallpass.prune()",
    "hallpass.set_password(text, boolean)",
    "hallpass.version()",
];
/// Each with its body.
const DATABASE_FUNCTIONS: [(&str, &str); 6] = [
    ("hallpass.event_triggers()", EVENT_TRIGGERS),
    ("hallpass.disarm(text,oid)", DISARM),
    ("hallpass.drop_code(text,oid)", DROP_CODE),
    ("hallpass.fence(text)", FENCE),
    ("hallpass.hand_over(text,oid,oid)", HAND_OVER),
    ("hallpass.drop_grants(text)", DROP_GRANTS),
];

/// The advisory lock that stands for a turn at cleaning up.
pub(super) const TURN: &str = "1213223251, 1";
/// How long one call of a step goes on before it commits what it did.
const STEP_BUDGET: &str = "400 ms";
/// More relations than this, or more large objects, are handed over in several transactions: one for all would take
/// the locks of the whole server.
const MOST_RELATIONS: u32 = 200;
const MOST_LARGE_OBJECTS: u32 = 1_000;
const MOST_PROBLEMS: u32 = 5;
/// Routines that one call looks at.
const MOST_ROUTINES: u32 = 2_000;
/// What hangs on a routine that is dropped, at most.
const MOST_HANGING: u32 = 1_000;
/// A used token is remembered for a week longer than its login lives, at most.
const LONGEST_TOKEN: u32 = 7 * 24 * 3_600;

/// Which functions there are and what they take; a broker that finds another says so.
pub(super) const CONTRACT: &str = "2";
/// The longest record in a login's comment.
pub(super) const RECORD_BYTES: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::database::postgres::Cleaner;
    use crate::secret::{Secret, SecretSource};

    fn settings() -> PostgresSettings {
        let password = || SecretSource::Value(Secret::new("x".to_owned()));
        let login = |user: &str| (user.to_owned(), password());
        let (user, password) = login("hallpass_clean");
        let cleaner = Cleaner { user, password };
        let databases = vec!["shop".to_owned()];
        PostgresSettings::new(
            "db.acme.dev".to_owned(),
            databases,
            login("hallpass"),
            cleaner,
        )
    }

    fn ceiling(group: &str) -> GroupCeiling {
        GroupCeiling {
            group: group.to_owned(),
            longest_life: 900,
            connections: 5,
            act_as_group: true,
            without_acting: false,
        }
    }

    /// T-104
    #[test]
    fn the_file_begins_with_what_the_broker_may_do() {
        let text = file("shop-db", &settings(), &[ceiling("shop_owner")], 16).unwrap();
        assert_eq!(
            text.lines().find(|line| line.contains("in group")).unwrap(),
            "--   in group shop_owner: for at most 900 s, with at most 5 connections each, acting as the group"
        );
        assert!(text.contains("    ('shop_owner'::text, 900, 5, true)"));
        assert!(!text.contains("{{"), "a placeholder is left");
    }

    #[test]
    fn every_function_of_the_file_says_what_it_is_for() {
        let text = file("shop-db", &settings(), &[ceiling("shop_owner")], 16).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let silent: Vec<&[&str]> = lines
            .windows(2)
            .filter(|pair| pair[1].starts_with("CREATE FUNCTION") && !pair[0].starts_with("--"))
            .collect();
        assert_eq!(silent, Vec::<&[&str]>::new());
    }

    /// T-85
    #[test]
    fn a_group_that_would_write_sql_of_its_own_is_refused() {
        for name in [
            "",
            "a\nGRANT",
            "a'b",
            "a$$b",
            "a\\b",
            "a\"b",
            "{{prefix}}",
            "a;b",
            "a\u{2028}b",
        ] {
            let refused = sections(&settings(), &[ceiling(name)], 16);
            assert!(refused.is_err(), "{name}");
        }
        let text = file("shop-db", &settings(), &[ceiling("a$$; DROP TABLE x")], 16).unwrap_err();
        insta::assert_snapshot!(text, @"role name `a$$; DROP TABLE x` cannot stand in the file: expected 1 to 63 letters, digits, `_`, `-`, `.` or spaces");
    }

    #[test]
    fn versions_that_are_not_supported_are_refused() {
        let text = file("shop-db", &settings(), &[ceiling("a")], 14).unwrap_err();
        insta::assert_snapshot!(text, @"PostgreSQL 14 is not supported, expected 15 to 18");
    }

    /// T-85
    #[test]
    fn psql_is_told_of_a_database_whatever_its_name_is() {
        assert_eq!(connect("shop"), "\\connect shop\n\n");
        assert_eq!(
            connect("a'b\n=\""),
            "SELECT E'dbname=''a\\\\''b\n=\"''' AS hallpass_target \\gset\n\\connect -reuse-previous=on :\"hallpass_target\"\n\n"
        );
    }
}
