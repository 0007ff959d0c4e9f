//! What the administrator of the server adds to its files.

use super::{CertificateAuthority, PostgresCaSettings};

/// What `hallpass target install` prints.
pub(super) fn text(
    target: &str,
    settings: &PostgresCaSettings,
    authority: &CertificateAuthority,
) -> Result<String, String> {
    let certificate = authority.certificate(target)?;
    let databases = settings.databases.join(",");
    let roles = settings.roles.iter();
    let access: Vec<String> = roles
        .clone()
        .map(|role| {
            format!("hostssl {databases} {role} all cert map={MAP}\nhost all {role} all reject\nlocal all {role} reject")
        })
        .collect();
    let map: Vec<String> = roles
        .clone()
        .map(|role| format!(r#"{MAP} "/^hp\.{role}\.[0-9a-v]{{7}}\.[0-9a-v]{{13}}$" {role}"#))
        .collect();
    let statements: Vec<String> = roles
        .map(|role| {
            format!(
                "#   CREATE ROLE {role} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD NULL;"
            )
        })
        .collect();
    Ok(format!(
        r"# PostgreSQL that takes client certificates of hallpass target `{target}`, for its administrator.
# The CA's key is enough to log in as each role below. A certificate cannot be revoked, only expire.

# 1. The roles are yours, and there for good. Give them no password and no power of an administrator:
{statements}
#   REVOKE CONNECT ON DATABASE … FROM PUBLIC, and GRANT CONNECT, for what they may enter.

# 2. ssl = on, and the CA ({fingerprint})
# added to the file of ssl_ca_file:
{certificate}
# 3. pg_hba.conf, before every other line that lets these roles in:
{access}

# 4. pg_ident.conf:
{map}

# 5. SELECT pg_reload_conf(); and see that pg_hba_file_rules and, from 16 on, pg_ident_file_mappings have no error.

# A session outlives its certificate. This ends those whose time is over; run it every minute, as a role with
# pg_read_all_stats and pg_signal_backend, e.g. with pg_cron:
#   SELECT pg_terminate_backend(pid) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
#   WHERE client_dn ~ '^/CN=hp\.[a-z0-9_]+\.[0-9a-v]{{7}}\.[0-9a-v]{{13}}$'
#     AND split_part(client_dn, '.', 3) COLLATE {quote}C{quote} < (SELECT string_agg(substr('0123456789abcdefghijklmnopqrstuv',
#       ((extract(epoch FROM now())::bigint >> (5 * (7 - i))) & 31)::int + 1, 1), '' ORDER BY i) FROM generate_series(1, 7) i);
",
        statements = statements.join("\n"),
        fingerprint = authority.fingerprint(),
        access = access.join("\n"),
        map = map.join("\n"),
        quote = '"',
    ))
}

/// What `hallpass target uninstall` prints.
pub(super) fn removal(target: &str, authority: &CertificateAuthority) -> String {
    format!(
        "# PostgreSQL that takes client certificates of hallpass target `{target}`, CA {}.\n\
         # Remove its certificate from the file of ssl_ca_file, its lines from pg_hba.conf and pg_ident.conf, run\n\
         # SELECT pg_reload_conf(); and end the sessions of its roles.\n",
        authority.fingerprint()
    )
}

const MAP: &str = "hallpass";
