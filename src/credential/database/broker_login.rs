//! The login that a broker uses now, and its password: what the password file says.
//!
//! A target has two logins for its brokers, so that one can get a new password while the other is in use:
//! the `user` of the settings, and the same name with `_2`. A file of one line is the password of `user`.
//! A second line names the login, so one rename of the file changes both.

use crate::secret::{Secret, SecretSource, SecretStamp};

#[derive(Clone, Debug)]
pub(super) struct BrokerLogin {
    pub(super) user: String,
    pub(super) password: Secret<String>,
}

impl BrokerLogin {
    /// Reads the login of a target whose settings name `user`.
    ///
    /// # Errors
    /// The password cannot be read; the error names the login.
    pub(super) fn read(user: &str, source: &SecretSource) -> Result<Self, String> {
        let text = source.read();
        let text =
            text.map_err(|error| format!("the password of `{user}` cannot be read: {error}"))?;
        let named = text.expose().split_once('\n');
        let named = named.filter(|(_, name)| *name == user || *name == second(user));
        Ok(match named {
            Some((password, name)) => Self {
                user: name.to_owned(),
                password: Secret::new(password.to_owned()),
            },
            None => Self {
                user: user.to_owned(),
                password: text,
            },
        })
    }

    /// The text of a password file with this login.
    pub(super) fn to_text(&self) -> Secret<String> {
        Secret::new(format!("{}\n{}\n", self.password.expose(), self.user))
    }

    /// The password alone, where a source is wanted.
    pub(super) fn source(&self) -> SecretSource {
        SecretSource::Value(self.password.clone())
    }
}

/// The second login of a target whose settings name `user`.
pub(super) fn second(user: &str) -> String {
    format!("{user}_2")
}

/// Whether a connection was opened with the secret that is there now. One that cannot be looked at is
/// taken for the same.
pub(super) fn is_current(source: &SecretSource, opened_with: Option<SecretStamp>) -> bool {
    let now = source.stamp();
    now.is_none() || now == opened_with
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// T-468
    #[test]
    fn the_second_line_of_a_password_file_names_one_of_the_two_logins() {
        for (text, user, password) in [
            ("pass", "hallpass", "pass"),
            ("pass\n", "hallpass", "pass"),
            ("pass\nhallpass", "hallpass", "pass"),
            ("pass\nhallpass_2\n", "hallpass_2", "pass"),
            ("pass\nhallpass_2\r\n", "hallpass_2", "pass"),
            // Neither is a login of the target, so all of it is the password, as before.
            ("pass\nhallpass_3\n", "hallpass", "pass\nhallpass_3"),
            ("pass\n\n", "hallpass", "pass\n"),
            ("pass\nhallpass_2\n\n", "hallpass", "pass\nhallpass_2\n"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("password");
            fs::write(&file, text).unwrap();
            let login = BrokerLogin::read("hallpass", &SecretSource::File(file.clone())).unwrap();
            assert_eq!(
                (login.user.as_str(), login.password.expose().as_str()),
                (user, password),
                "{text:?}"
            );
        }
    }

    /// T-468
    #[test]
    fn a_written_login_is_read_again() {
        for user in ["hallpass", "hallpass_2"] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("password");
            let login = BrokerLogin {
                user: user.to_owned(),
                password: Secret::new("a-b_c".to_owned()),
            };
            fs::write(&file, login.to_text().expose()).unwrap();
            let source = SecretSource::File(file.clone());
            let again = BrokerLogin::read("hallpass", &source).unwrap();
            assert_eq!(again.user, user);
            assert_eq!(again.password.expose(), "a-b_c");
        }
    }

    /// T-468
    #[test]
    fn a_replaced_file_is_noticed_and_a_missing_one_is_not_taken_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let source = SecretSource::File(file.clone());
        fs::write(&file, "one").unwrap();
        let opened_with = source.stamp();
        assert!(is_current(&source, opened_with));
        let other = folder.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &file).unwrap();
        assert!(!is_current(&source, opened_with));
        fs::remove_file(&file).unwrap();
        assert!(is_current(&source, opened_with));
        let value = SecretSource::Value(Secret::new("one".to_owned()));
        assert!(is_current(&value, None));
    }
}
