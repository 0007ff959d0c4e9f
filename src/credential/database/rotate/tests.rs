use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::secret::Secret;

const USER: &str = "hallpass";

/// A server that fails at a step.
#[derive(Debug, Default)]
struct Fake {
    passwords: Mutex<BTreeMap<String, String>>,
    /// The step that fails: 0 none, 1 before the password is set, 2 after, 3 the login.
    fails: u8,
}

impl Fake {
    fn new(fails: u8) -> Self {
        let passwords = BTreeMap::from([(USER.to_owned(), "first".to_owned())]);
        Self {
            passwords: Mutex::new(passwords),
            fails,
        }
    }

    fn lets_in(&self, login: &BrokerLogin) -> bool {
        let passwords = self.passwords.lock().unwrap();
        passwords.get(&login.user) == Some(login.password.expose())
    }
}

#[async_trait]
impl Rotation for Fake {
    async fn set_password(
        &self,
        current: &BrokerLogin,
        idle: &BrokerLogin,
        _ends_sessions: bool,
    ) -> Result<(), String> {
        assert!(self.lets_in(current));
        assert_ne!(current.user, idle.user);
        if self.fails == 1 {
            return Err("refused".to_owned());
        }
        let password = idle.password.expose().clone();
        self.passwords
            .lock()
            .unwrap()
            .insert(idle.user.clone(), password);
        if self.fails == 2 {
            return Err("no answer".to_owned());
        }
        Ok(())
    }

    async fn try_login(&self, login: &BrokerLogin) -> Result<(), String> {
        if self.fails == 3 || !self.lets_in(login) {
            return Err("not let in".to_owned());
        }
        Ok(())
    }
}

fn folder() -> (TempDir, SecretSource) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "first\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    (folder, SecretSource::File(file))
}

fn files(folder: &TempDir) -> Vec<String> {
    let names = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// T-468
#[tokio::test]
async fn each_rotation_gives_the_other_login_a_new_password() {
    let (folder, source) = folder();
    let server = Fake::new(0);
    for (login, before) in [("hallpass_2", "hallpass"), ("hallpass", "hallpass_2")].repeat(2) {
        let old = BrokerLogin::read(USER, &source).unwrap();
        let rotated = rotate((USER, &source), &server, false).await.unwrap();
        assert_eq!(
            (rotated.login.as_str(), rotated.before.as_str()),
            (login, before)
        );
        let new = BrokerLogin::read(USER, &source).unwrap();
        assert_eq!(new.user, login);
        assert!(server.lets_in(&new) && server.lets_in(&old));
        assert!(new.password.expose().len() >= 32);
    }
    assert_eq!(files(&folder), ["password"]);
    let mode = fs::metadata(folder.path().join("password")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o7777, 0o640);
}

/// T-468
#[tokio::test]
async fn whatever_fails_the_file_is_as_it_was_and_the_next_rotation_works() {
    for fails in 1..=3 {
        let (folder, source) = folder();
        let mut server = Fake::new(fails);
        let problem = rotate((USER, &source), &server, false).await.unwrap_err();
        assert!(problem.contains("`hallpass` is still in use"), "{problem}");
        assert_eq!(files(&folder), ["password"]);
        let text = fs::read_to_string(folder.path().join("password")).unwrap();
        assert_eq!(text, "first\n");
        assert!(server.lets_in(&BrokerLogin::read(USER, &source).unwrap()));
        server.fails = 0;
        rotate((USER, &source), &server, false).await.unwrap();
        assert!(server.lets_in(&BrokerLogin::read(USER, &source).unwrap()));
    }
}

/// T-468
#[tokio::test]
async fn what_a_killed_rotation_left_is_written_over_and_two_at_once_are_not() {
    let (folder, source) = folder();
    fs::write(folder.path().join(".password.rotating"), "half").unwrap();
    let server = Fake::new(0);
    let SecretSource::File(path) = &source else {
        panic!("it is a file")
    };
    let other = NewFile::begin(path).unwrap();
    let problem = rotate((USER, &source), &server, false).await.unwrap_err();
    assert!(problem.contains("another rotation is running"), "{problem}");
    drop(other);
    rotate((USER, &source), &server, false).await.unwrap();
    assert_eq!(files(&folder), ["password"]);
}

/// T-468
#[tokio::test]
async fn a_link_stays_one_and_what_it_leads_to_is_replaced() {
    let (folder, source) = folder();
    let link = folder.path().join("link");
    symlink(folder.path().join("password"), &link).unwrap();
    let linked = SecretSource::File(link.clone());
    let server = Fake::new(0);
    rotate((USER, &linked), &server, false).await.unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let (one, other) = (
        BrokerLogin::read(USER, &source).unwrap(),
        BrokerLogin::read(USER, &linked).unwrap(),
    );
    assert_eq!(one.user, other.user);
    assert!(server.lets_in(&one) && server.lets_in(&other));
}

#[tokio::test]
async fn a_password_that_is_no_file_is_not_rotated() {
    let server = Fake::new(0);
    let value = SecretSource::Value(Secret::new("first".to_owned()));
    let problem = rotate((USER, &value), &server, false).await.unwrap_err();
    assert!(problem.contains("environment variable"), "{problem}");
    let (folder, _) = folder();
    for gone in ["none", "."] {
        let source = SecretSource::File(folder.path().join(gone));
        assert!(rotate((USER, &source), &server, false).await.is_err());
    }
}
