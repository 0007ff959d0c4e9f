//! Rotates the password of a broker's login, with two logins and verify-before-commit.
//!
//! The login that is not in use gets a new password, which is tried with a real login before the password
//! file names it. The file is replaced by one rename. Until then the server and the old file fit together;
//! from then on the server and the new file do. The old login stays valid for brokers that have not
//! switched yet; the next rotation gives it a new password.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::broker_login::{BrokerLogin, second};
use super::order::random_password;
use crate::secret::SecretSource;

mod file;

use file::NewFile;

/// What only one kind of server knows about a rotation.
#[async_trait]
pub(super) trait Rotation: Send + Sync {
    /// Sets the password of `idle`, logged in as `current`. The server gets a hash or verifier. With
    /// `ends_sessions` it ends the sessions of `idle`; without, it refuses while there are some.
    async fn set_password(
        &self,
        current: &BrokerLogin,
        idle: &BrokerLogin,
        ends_sessions: bool,
    ) -> Result<(), String>;

    /// Logs in to every server that brokers log in to, and calls what a broker calls.
    async fn try_login(&self, login: &BrokerLogin) -> Result<(), String>;
}

/// The result of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The login that the file names now.
    pub login: String,
    /// The one that it named before, which is still valid.
    pub before: String,
    pub file: PathBuf,
    /// What is left to do.
    pub note: Option<String>,
}

/// Gives the login that is not in use a new password, and puts both into the password file.
///
/// # Errors
/// What failed. The password file is as it was, and so is the login that it names.
pub(super) async fn rotate(
    (user, source): (&str, &SecretSource),
    server: &dyn Rotation,
    ends_sessions: bool,
) -> Result<Rotated, String> {
    let path = password_file(source)?;
    // Everything that the file needs is tried before anything changes on the server.
    let mut new_file = NewFile::begin(path)?;
    // The very file that is replaced, wherever the path leads by now.
    let replaced = SecretSource::File(new_file.replaced().to_owned());
    let current = BrokerLogin::read(user, &replaced)?;
    let other = if current.user == user {
        second(user)
    } else {
        user.to_owned()
    };
    let idle = BrokerLogin {
        user: other,
        password: random_password().map_err(|error| error.message)?,
    };
    new_file.write(&idle.to_text())?;
    let (old, new) = (&current.user, &idle.user);
    let as_before = format!(
        "`{}` is unchanged, and `{old}` is still in use",
        path.display()
    );
    server
        .set_password(&current, &idle, ends_sessions)
        .await
        .map_err(|problem| format!("login `{new}` got no new password: {problem}; {as_before}"))?;
    server.try_login(&idle).await.map_err(|problem| {
        format!("login `{new}` with its new password does not work: {problem}; {as_before}")
    })?;
    new_file
        .commit()
        .map_err(|problem| format!("{problem}; {as_before}"))?;
    Ok(Rotated {
        login: idle.user,
        before: current.user,
        file: path.to_owned(),
        note: None,
    })
}

fn password_file(source: &SecretSource) -> Result<&Path, String> {
    match source {
        SecretSource::File(path) => Ok(path),
        SecretSource::Value(_) => Err(
            "the password is in an environment variable, which cannot be rotated; write `password: { file: PATH }` in the settings"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests;
