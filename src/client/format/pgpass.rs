//! A line of libpq's password file: `host:port:database:user:password`.

use super::libpq::{NEEDS, login};
use super::{Format, Options};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    needs: NEEDS,
    merge: Some(merge),
    ..Format::new(
        "pgpass",
        "libpq's password file, for --out; other entries of the file stay",
        text,
    )
};

fn text(received: &Received, _: &Options<'_>) -> Option<Secret<String>> {
    let login = login(received)?;
    let password = field(login.password.expose());
    Some(Secret::new(format!(
        "{}:{}:{}:{}:{}",
        field(login.host).expose(),
        login.port,
        field(login.database).expose(),
        field(login.username).expose(),
        password.expose()
    )))
}

/// Ours comes first, since libpq takes the first line that fits. A comment names the credential, so
/// that the next login takes the place of this one; libpq skips comments.
fn merge(file: &[u8], credential: &str, entry: &Secret<String>) -> Secret<Vec<u8>> {
    let mark = format!("# hallpass {credential}");
    let mut merged = Secret::new(format!("{mark}\n{}\n", entry.expose()).into_bytes());
    let mut lines = file.split_inclusive(|byte| *byte == b'\n');
    while let Some(line) = lines.next() {
        if line.trim_ascii_end() == mark.as_bytes() {
            lines.next();
            continue;
        }
        merged = Secret::new([merged.expose().as_slice(), line].concat());
    }
    merged
}

/// `:` and `\` are escaped with `\` (PostgreSQL manual, "The Password File").
fn field(text: &str) -> Secret<String> {
    let escaped = Secret::new(text.replace('\\', r"\\"));
    Secret::new(escaped.expose().replace(':', r"\:"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{jwt, login, refusal, write};
    use super::*;

    #[test]
    fn colons_and_backslashes_are_escaped() {
        insta::assert_snapshot!(write(&FORMAT, &login()), @r#"db.acme.dev:5432:shop orders:hp_abc1234_xyz:p'a\:s\\s$(id)`w"ö/@?#%&"#);
    }

    #[test]
    fn other_entries_stay_and_an_earlier_login_goes() {
        let merged = |file: &str, entry: &str| {
            let entry = Secret::new(entry.to_owned());
            let merged = merge(file.as_bytes(), "shop-db/read", &entry);
            String::from_utf8(merged.expose().clone()).unwrap()
        };
        let mine = "# mine\n*:*:*:*:other\n# hallpass shop-db/migrate\na:1:b:c:d";
        let once = merged(mine, "h:1:d:hp_1:one");
        assert_eq!(
            once,
            format!("# hallpass shop-db/read\nh:1:d:hp_1:one\n{mine}")
        );
        let twice = merged(&once, "h:1:d:hp_2:two");
        assert_eq!(
            twice,
            format!("# hallpass shop-db/read\nh:1:d:hp_2:two\n{mine}")
        );
        assert_eq!(merged("", "x"), "# hallpass shop-db/read\nx\n");
    }

    #[test]
    fn a_signed_token_is_no_password() {
        insta::assert_snapshot!(refusal(&FORMAT, &jwt()), @"format `pgpass` needs member `host`, which `deploy-api`, a signed token, does not have: use one of `json`, `env`, `fish`, `powershell`, `dotenv`, `docker`, `kube-exec`, `git`");
    }
}
