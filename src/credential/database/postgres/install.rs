//! The SQL that a DBA reviews and installs once: what the broker's logins can do is written in it.

use std::fmt::Write as _;

use super::settings::{GroupCeiling, MAX_LIVE, SHORTEST_LIFE, TargetSettings};

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
/// The version is not supported, or no credential uses the target.
pub fn sections(
    settings: &TargetSettings,
    groups: &[GroupCeiling],
    version: u32,
) -> Result<Vec<Section>, String> {
    check(settings, groups, version)?;
    let words = Words {
        settings,
        groups,
        grants_have_options: version >= 16,
    };
    let mut sections = vec![
        Section {
            database: "postgres".to_owned(),
            sql: words.fill(CLUSTER, &version.to_string()),
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
    Ok(sections)
}

/// The same as one file for `psql -f`, which begins with what it allows.
///
/// # Errors
/// As [`sections`].
pub fn file(
    name: &str,
    settings: &TargetSettings,
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

/// The body of `clean_here` as it was installed: the cleaner calls nothing else of that name
/// (databases.md P-1).
#[must_use]
pub(super) fn clean_body(settings: &TargetSettings, version: u32) -> String {
    Words {
        settings,
        groups: &[],
        grants_have_options: version >= 16,
    }
    .clean_body()
}

/// The settings that `clean_here` runs with, as the catalogue keeps them.
pub(super) fn function_config(version: u32) -> Vec<String> {
    let mut config = vec![
        "search_path=pg_catalog, pg_temp".to_owned(),
        "TimeZone=UTC".to_owned(),
        "DateStyle=ISO, MDY".to_owned(),
        "lock_timeout=2s".to_owned(),
    ];
    if version >= 16 {
        config.push("createrole_self_grant=".to_owned());
    }
    config
}

fn check(settings: &TargetSettings, groups: &[GroupCeiling], version: u32) -> Result<(), String> {
    if !(15..=18).contains(&version) {
        return Err(format!(
            "PostgreSQL {version} is not supported, expected 15 to 18"
        ));
    }
    if groups.is_empty() {
        return Err(
            "no credential of the policies uses this target, so there is nothing to allow; add a credential with `kind: postgres` first"
                .to_owned(),
        );
    }
    let names = groups
        .iter()
        .map(|group| &group.group)
        .chain(&settings.allowed_roles);
    for name in names {
        if !is_plain(name) {
            return Err(format!(
                "role name `{}` cannot stand in the file: expected 1 to 63 letters, digits, `_`, `-`, `.` or spaces",
                crate::text::escape(name)
            ));
        }
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
    settings: &'a TargetSettings,
    groups: &'a [GroupCeiling],
    /// From 16 on memberships carry INHERIT and SET of their own.
    grants_have_options: bool,
}

impl Words<'_> {
    fn control(&self) -> String {
        let text = CONTROL.replace("{{schema}}", SCHEMA).replace(
            "{{tidy}}",
            &TIDY.replace("{{functions}}", &list(CONTROL_FUNCTIONS.iter().copied())),
        );
        self.fill(&text, "")
    }

    fn database(&self, database: &str) -> String {
        let text = DATABASE
            .replace("{{schema}}", SCHEMA)
            .replace(
                "{{tidy}}",
                &TIDY.replace("{{functions}}", &list(DATABASE_FUNCTIONS.iter().copied())),
            )
            .replace("{{clean_body}}", CLEAN);
        // The name goes in last: whatever it is, nothing in it is taken for a placeholder.
        self.fill(&text, "")
            .replace("{{database}}", &identifier(database))
    }

    fn clean_body(&self) -> String {
        format!("\n{}", self.fill(CLEAN, ""))
    }

    fn fill(&self, text: &str, version: &str) -> String {
        let either =
            |new: &str, old: &str| if self.grants_have_options { new } else { old }.to_owned();
        let prefix = &self.settings.prefix;
        let groups = || self.groups.iter().map(|group| group.group.as_str());
        let owning = self.groups.iter().filter(|group| group.act_as_group);
        let words = [
            ("version", version.to_owned()),
            ("definer_inherit", "INHERIT".to_owned()),
            (
                "broker_connections",
                self.settings.broker_connection_limit().to_string(),
            ),
            (
                "cleaner_connections",
                self.settings.cleaner_connection_limit().to_string(),
            ),
            (
                "control_database",
                identifier(&self.settings.control_database),
            ),
            (
                "signal_options",
                either(" WITH INHERIT TRUE, SET FALSE", ""),
            ),
            (
                "admin_grants",
                if self.grants_have_options {
                    self.admin_grants()
                } else {
                    String::new()
                },
            ),
            ("prefix", prefix.clone()),
            ("prefix_length", prefix.len().to_string()),
            ("pattern", format!("^{prefix}[0-9a-v]{{7}}_[0-9a-v]{{13}}$")),
            (
                "allowed_roles",
                list(self.settings.allowed_roles.iter().map(String::as_str)),
            ),
            ("shortest_life", SHORTEST_LIFE.to_string()),
            ("record_bytes", RECORD_BYTES.to_string()),
            ("max_live", MAX_LIVE.to_string()),
            ("contract", CONTRACT.to_owned()),
            ("ceilings", self.ceilings()),
            ("grant_group", either(GRANT_WITH_OPTIONS, GRANT_PLAIN)),
            ("check_members", either(MEMBERS_WITH_OPTIONS, MEMBERS_PLAIN)),
            ("acting_membership", either(" AND m.set_option", "")),
            ("borrow_options", either(" WITH INHERIT TRUE, SET TRUE", "")),
            ("lend_options", either(" WITH INHERIT TRUE, SET FALSE", "")),
            ("take_back_options", either(" GRANTED BY CURRENT_USER", "")),
            (
                "owning_groups",
                list(owning.map(|group| group.group.as_str())),
            ),
            ("target_groups", list(groups())),
            (
                "settings",
                format!(
                    "{FUNCTION_SETTINGS}{}",
                    either(" SET createrole_self_grant = ''", "")
                ),
            ),
        ];
        words.iter().fold(text.to_owned(), |text, (name, word)| {
            text.replace(&format!("{{{{{name}}}}}"), word)
        })
    }

    fn admin_grants(&self) -> String {
        let groups: Vec<String> = self
            .groups
            .iter()
            .map(|group| identifier(&group.group))
            .collect();
        format!(
            "GRANT hallpass_connect, hallpass_quarantine, {} TO hallpass_definer WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;\n",
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

fn introduction(
    name: &str,
    settings: &TargetSettings,
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
-- Run it as a superuser: psql -X -f THIS_FILE postgres. It may be run again at any time, and has to be when
-- groups or ceilings change. Then set both passwords: \\password hallpass, \\password hallpass_clean.
-- Also close every other database of this server to leased logins: REVOKE CONNECT, TEMPORARY ON DATABASE …
-- FROM PUBLIC. `hallpass target check {name}` finds those that are open.

\\set ON_ERROR_STOP on
"
    );
    text
}

/// Makes the control database, unless there is one of that name.
fn create_control(database: &str) -> String {
    format!(
        "SELECT {} WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {}) \\gexec\n",
        literal(&format!("CREATE DATABASE {}", identifier(database))),
        literal(database)
    )
}

/// psql's command to go to a database, whatever its name is: a quote, a line break, or `=`, which psql
/// would take for a connection string.
fn connect(database: &str) -> String {
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

/// A name as SQL takes it.
pub(super) fn identifier(name: &str) -> String {
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
const SCHEMA: &str = include_str!("install/schema.sql");
const TIDY: &str = include_str!("install/tidy.sql");
const CLEAN: &str = include_str!("install/clean_here.sql");

/// Nothing that a caller set in its session changes what a function does (databases.md P-4).
const FUNCTION_SETTINGS: &str = "SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, MDY' SET lock_timeout = '2s'";

const GRANT_WITH_OPTIONS: &str = "  EXECUTE format('GRANT %I TO %I WITH INHERIT %s, SET %s', p_group, name, CASE WHEN p_act_as_group THEN 'FALSE' ELSE 'TRUE' END, CASE WHEN p_act_as_group THEN 'TRUE' ELSE 'FALSE' END);";
const GRANT_PLAIN: &str = "  EXECUTE format('GRANT %I TO %I', p_group, name);";
const MEMBERS_WITH_OPTIONS: &str = "      OR EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = made AND (m.inherit_option OR m.set_option))";
const MEMBERS_PLAIN: &str = "      OR EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = made)";

const CONTROL_FUNCTIONS: [&str; 17] = [
    "ceilings",
    "name_front",
    "name_end",
    "unfit",
    "find",
    "mint",
    "lease_oid",
    "disable",
    "terminate",
    "terminate_ended",
    "ghosts",
    "strip",
    "drop_login",
    "deps",
    "ended",
    "leases",
    "version",
];
const DATABASE_FUNCTIONS: [&str; 3] = ["owning_groups", "target_groups", "clean_here"];

/// Which functions there are and what they take; a broker that finds another says so.
pub(super) const CONTRACT: &str = "1";
/// The longest record in a login's comment.
pub(super) const RECORD_BYTES: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::database::postgres::Cleaner;
    use crate::secret::{Secret, SecretSource};

    fn settings() -> TargetSettings {
        let password = || SecretSource::Value(Secret::new("x".to_owned()));
        let login = |user: &str| (user.to_owned(), password());
        let (user, password) = login("hallpass_clean");
        let cleaner = Cleaner { user, password };
        let databases = vec!["shop".to_owned()];
        TargetSettings::new(
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
