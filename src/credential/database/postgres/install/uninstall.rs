//! The file that removes what the install file made.

use std::fmt::Write as _;

use super::psql::connect;
use super::{PostgresSettings, Section, Words, check_target, identifier};

/// What is run in each database, in order. The control database itself is dropped by the [`file`] only.
///
/// # Errors
/// The version is not supported.
fn sections(settings: &PostgresSettings, version: u32) -> Result<Vec<Section>, String> {
    check_target(settings, version)?;
    let words = Words {
        settings,
        groups: &[],
        version,
    };
    let mut sections = vec![Section {
        database: "postgres".to_owned(),
        sql: words.fill(BEGIN),
    }];
    let listed = settings.databases.iter();
    for database in listed.chain([&settings.control_database]) {
        sections.push(Section {
            database: database.clone(),
            sql: words.fill(DATABASE),
        });
    }
    Ok(sections)
}

/// One file for `psql -f`. It refuses to run while there are leases, or objects of ended ones.
///
/// # Errors
/// The version is not supported.
pub fn file(name: &str, settings: &PostgresSettings, version: u32) -> Result<String, String> {
    let words = Words {
        settings,
        groups: &[],
        version,
    };
    let control = &settings.control_database;
    let mut text = format!(
        "-- hallpass: removes all that `hallpass target install {name}` made on this server, for PostgreSQL {version}: functions,
-- schemas, grants, roles, and database {control} unless something else is in it.
--
-- It refuses to run while there are leases, and while hallpass_quarantine owns something. Take the target out of the
-- settings of every broker first. Run it as the role that ran the install file: psql -X -f THIS_FILE postgres

\\set ON_ERROR_STOP on
"
    );
    for section in sections(settings, version)? {
        text.push_str(&connect(&section.database));
        text.push_str(&section.sql);
        text.push('\n');
    }
    text.push_str(IS_EMPTY);
    text.push_str(&connect("postgres"));
    let _ = writeln!(
        text,
        "\\if :hallpass_is_empty\nDROP DATABASE {};\n\\else\n\\echo database {control} holds more than hallpass made, and is kept\n\\endif\n",
        identifier(control)
    );
    text.push_str(&words.fill(ROLES));
    Ok(text)
}

/// Nothing in the control database but what every database begins with.
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid >= 16384)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid >= 16384)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE oid >= 16384) AS hallpass_is_empty \\gset
";
const BEGIN: &str = include_str!("uninstall_begin.sql");
const DATABASE: &str = include_str!("uninstall_database.sql");
const ROLES: &str = include_str!("uninstall_finish.sql");
