//! A credential as environment variables: the names that libpq and its friends look for.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use super::libpq::login;
use super::{mysql, redis};
use crate::client::answer::Received;
use crate::credential::database::postgres::url::{Parts, connection_url};
use crate::credential::kind::Form;
use crate::secret::Secret;
use crate::text::escape;

#[derive(Debug)]
pub struct Variable {
    /// Its name: capital letters, digits and `_`.
    pub name: String,
    /// Its value; not every one is a secret, but none is worth printing.
    pub value: Secret<String>,
}

impl Variable {
    /// With the prefix before its name.
    #[must_use]
    pub fn new(name: &str, prefix: Option<&Prefix>, value: Secret<String>) -> Self {
        let name = match prefix {
            Some(Prefix(prefix)) => format!("{prefix}_{name}"),
            None => name.to_owned(),
        };
        Self { name, value }
    }
}

/// What stands before a variable's name, so that one job can hold several credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(String);

impl Prefix {
    /// Takes letters, digits and `_`, as the names of variables are made of.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim_end_matches('_');
        let is_name = name.len() <= MAX_PREFIX
            && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_name {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!(
                "`{}` is no prefix for variables; expected letters, digits and `_`, like `SHOP`",
                escape(text)
            ))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The variables of a credential: for a database what libpq reads (`PG*`) or `MYSQL_*`, and `DATABASE_URL`; for
/// Redis `REDISCLI_AUTH` and `REDIS_*`, for a signed token `HALLPASS_TOKEN`, for any other kind `HALLPASS_` and the
/// member's name for each text of one line, and `HALLPASS_LOGIN_` and the name for those that the target chose.
#[must_use]
pub fn variables(
    received: &Received,
    prefix: Option<&Prefix>,
    ca_file: Option<&Path>,
) -> Vec<Variable> {
    pairs(received, ca_file)
        .into_iter()
        .map(|(name, value)| Variable::new(&name, prefix, value))
        .collect()
}

/// Those of libpq's variables that would win over a login's own, or fail beside them, because they
/// were set for another server: PGHOSTADDR and PGSERVICE lead elsewhere even beside a connection
/// address. Left out are the login's own, and those that only say how a session behaves.
#[must_use]
pub fn rivals(received: &Received, ca_file: Option<&Path>) -> Vec<&'static str> {
    if redis::login(received).is_some() {
        return redis::RIVALS.to_vec();
    }
    if login(received).is_none() {
        return Vec::new();
    }
    let own = pairs(received, ca_file);
    LIBPQ
        .into_iter()
        .filter(|name| own.iter().all(|(ours, _)| ours != name))
        .collect()
}

fn pairs(received: &Received, ca_file: Option<&Path>) -> Vec<(Cow<'static, str>, Secret<String>)> {
    if let Some(login) = login(received) {
        let pairs = libpq(&Parts { ca_file, ..login }).into_iter();
        return pairs.map(|(name, value)| (name.into(), value)).collect();
    }
    if let Some(login) = redis::login(received) {
        let pairs = redis::variables(&login).into_iter();
        let ca = ca_file.map(|path| {
            let path = path.to_string_lossy().into_owned();
            ("REDIS_CA_FILE", Secret::new(path))
        });
        let pairs = pairs.chain(ca);
        return pairs.map(|(name, value)| (name.into(), value)).collect();
    }
    if let Some(login) = mysql::login(received) {
        let pairs = mysql::pairs(&login, ca_file).into_iter();
        return pairs.map(|(name, value)| (name.into(), value)).collect();
    }
    if let Some(token) = received.members.text("token") {
        return vec![("HALLPASS_TOKEN".into(), token.clone())];
    }
    // Formats end a value at the end of its line, so that texts of several lines stay out.
    let members = received.kind.members.iter();
    let members = members.filter(|member| member.form != Form::Lines);
    let texts = members.filter_map(|member| {
        let text = received.members.text(member.name)?;
        let name = format!("HALLPASS_{}", member.name.to_ascii_uppercase());
        Some((name.into(), text.clone()))
    });
    // Never a name of its own choice: it could be one that a program of the job obeys (T-460).
    let named = received.kind.members.iter();
    let named = named.flat_map(|member| received.members.named(member.name));
    let named = named.map(|(name, text)| {
        let name = format!("HALLPASS_LOGIN_{}", name.to_ascii_uppercase());
        (name.into(), text.clone())
    });
    texts.chain(named).collect()
}

fn libpq(login: &Parts<'_>) -> Vec<(&'static str, Secret<String>)> {
    let text = |text: &str| Secret::new(text.to_owned());
    let mut pairs = vec![
        ("PGHOST", text(login.host)),
        ("PGPORT", Secret::new(login.port.to_string())),
        ("PGDATABASE", text(login.database)),
        ("PGUSER", text(login.username)),
        ("PGPASSWORD", login.password.clone()),
        ("PGSSLMODE", text(login.sslmode)),
    ];
    if let Some(path) = login.ca_file {
        pairs.push(("PGSSLROOTCERT", text(&path.to_string_lossy())));
    }
    if let Some(options) = login.options {
        pairs.push(("PGOPTIONS", text(options)));
    }
    pairs.push(("DATABASE_URL", connection_url(login)));
    pairs
}

const MAX_PREFIX: usize = 64;

/// What libpq reads of where to connect, as whom, and how the server is known (PostgreSQL manual,
/// "Environment Variables"). Not here: PGAPPNAME, PGCLIENTENCODING, `PGCONNECT_TIMEOUT`, PGDATESTYLE,
/// PGGEQO, PGTZ and PGLOCALEDIR, which are the job's to choose.
const LIBPQ: [&str; 36] = [
    "PGCHANNELBINDING",
    "PGDATABASE",
    "PGGSSDELEGATION",
    "PGGSSENCMODE",
    "PGGSSLIB",
    "PGHOST",
    "PGHOSTADDR",
    "PGKRBSRVNAME",
    "PGLOADBALANCEHOSTS",
    "PGMAXPROTOCOLVERSION",
    "PGMINPROTOCOLVERSION",
    "PGOAUTHDEBUG",
    "PGOPTIONS",
    "PGPASSFILE",
    "PGPASSWORD",
    "PGPORT",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGREQUIRESSL",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLCERT",
    "PGSSLCERTMODE",
    "PGSSLCOMPRESSION",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLKEY",
    "PGSSLMAXPROTOCOLVERSION",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMODE",
    "PGSSLNEGOTIATION",
    "PGSSLROOTCERT",
    "PGSSLSNI",
    "PGSYSCONFDIR",
    "PGTARGETSESSIONATTRS",
    "PGUSER",
];

#[cfg(test)]
mod tests {
    use super::super::tests::{jwt, login};
    use super::*;

    #[test]
    fn a_prefix_stands_before_every_name() {
        let prefix = Prefix::parse("SHOP").unwrap();
        let names: Vec<String> = variables(&login(), Some(&prefix), Some(Path::new("/ca.pem")))
            .into_iter()
            .map(|variable| variable.name)
            .collect();
        insta::assert_snapshot!(names.join(" "), @"SHOP_PGHOST SHOP_PGPORT SHOP_PGDATABASE SHOP_PGUSER SHOP_PGPASSWORD SHOP_PGSSLMODE SHOP_PGSSLROOTCERT SHOP_PGOPTIONS SHOP_DATABASE_URL");
        assert_eq!(Prefix::parse("SHOP_"), Ok(prefix));
    }

    #[test]
    fn every_variable_that_libpq_reads_is_known() {
        let library = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/target/embedded-postgres/native/lib/libpq.so.5"
        );
        let bytes = std::fs::read(library)
            .expect("PostgreSQL 18 is fetched by deploy/dev/embedded-postgres.sh");
        let session = [
            "PGAPPNAME",
            "PGCLIENTENCODING",
            "PGCONNECT_TIMEOUT",
            "PGDATESTYLE",
            "PGGEQO",
            "PGTZ",
        ];
        let mut found = 0;
        for text in bytes.split(|byte| *byte == 0) {
            let is_name = text.starts_with(b"PG")
                && !text.starts_with(b"PGRES_")
                && text
                    .iter()
                    .all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
            if let Some(name) = is_name.then(|| std::str::from_utf8(text).unwrap()) {
                let is_known = LIBPQ.contains(&name) || session.contains(&name);
                assert!(is_known, "libpq reads {name}");
                found += 1;
            }
        }
        assert!(found >= LIBPQ.len(), "only {found} names were found");
    }

    #[test]
    fn a_logins_own_variables_are_no_rivals_and_a_token_has_none() {
        let names = rivals(&login(), Some(Path::new("/ca.pem")));
        for own in variables(&login(), None, Some(Path::new("/ca.pem"))) {
            assert!(!names.contains(&own.name.as_str()), "{}", own.name);
        }
        assert!(names.contains(&"PGHOSTADDR") && !names.contains(&"PGOPTIONS"));
        assert_eq!(rivals(&jwt(), None), Vec::<&str>::new());
    }

    #[test]
    fn what_no_variable_can_begin_with_is_no_prefix() {
        for text in [
            "",
            "1A",
            "A-B",
            "A=B",
            "A B",
            "PATH\n",
            "ä",
            &"A".repeat(65),
        ] {
            assert!(Prefix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_signed_token_has_one_variable() {
        let variables = variables(&jwt(), None, None);
        assert_eq!(variables.len(), 1);
        assert_eq!(variables[0].name, "HALLPASS_TOKEN");
        assert_eq!(variables[0].value.expose(), "header.claims.signature");
    }
}
