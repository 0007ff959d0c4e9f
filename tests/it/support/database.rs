//! A database that makes logins in memory, and misbehaves when told to.

use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;
use hallpass::audit::Recorded;
use hallpass::credential::target::Target;
use hallpass::credential::{Credential, Mint, MintError, PostgresLogin, Revoked};
use hallpass::lease::{self, LeaseContents};
use hallpass::reason::Reason;
use hallpass::rootkey::RootKeys;
use hallpass::secret::Secret;
use tokio::sync::Semaphore;

use super::leaks;

/// What the next mint does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Good,
    /// Refuses before it makes anything.
    Refuses,
    /// Breaks off, and nobody knows whether there is a login.
    BreaksOff,
    /// Refuses until somebody changes the target.
    RefusesForGood,
    Panics,
}

/// Stands in no output, ever.
pub(crate) const CANARY: &str = "canary-7c1e9b52d0";

#[derive(Debug)]
pub(crate) struct FakeDatabase {
    roots: RootKeys,
    state: Mutex<State>,
    /// A mint waits for a place here.
    pub(crate) gate: Semaphore,
    /// A revocation waits for a place here.
    pub(crate) exit: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    is_down: bool,
    revocations_panic: bool,
    started: usize,
    minted: usize,
    live: BTreeSet<String>,
    /// Names that were revoked, which a database makes no second time.
    ended: BTreeSet<String>,
}

impl FakeDatabase {
    pub(crate) fn new(roots: RootKeys) -> Self {
        Self {
            roots,
            state: Mutex::default(),
            gate: Semaphore::new(1_000),
            exit: Semaphore::new(1_000),
        }
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Revocations find nobody there.
    pub(crate) fn down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    /// Revocations panic.
    pub(crate) fn revocations_panic(&self, panic: bool) {
        self.state.lock().unwrap().revocations_panic = panic;
    }

    /// Mints that began.
    pub(crate) fn started(&self) -> usize {
        self.state.lock().unwrap().started
    }

    /// Logins made so far.
    pub(crate) fn minted(&self) -> usize {
        self.state.lock().unwrap().minted
    }

    /// Logins that are there now.
    pub(crate) fn live(&self) -> usize {
        self.state.lock().unwrap().live.len()
    }

    fn refusal(nothing_made: bool) -> MintError {
        MintError {
            message: "database `shop` did not create the user".to_owned(),
            reason: Reason::DatabaseUnreachable,
            nothing_made,
        }
    }
}

fn password() -> Secret<String> {
    leaks::secret("a password", CANARY);
    Secret::new(CANARY.to_owned())
}

#[async_trait]
impl Mint for FakeDatabase {
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        self.state.lock().unwrap().started += 1;
        let _place = self.gate.acquire().await.unwrap();
        let mood = self.state.lock().unwrap().mood;
        match mood {
            Mood::Good => {}
            Mood::Refuses => return Err(Self::refusal(true)),
            Mood::BreaksOff => return Err(Self::refusal(false)),
            Mood::RefusesForGood => {
                return Err(MintError {
                    reason: Reason::DatabaseCeiling,
                    ..Self::refusal(true)
                });
            }
            Mood::Panics => panic!("{CANARY}"),
        }
        let reserved = recorded.reserved();
        let permit = reserved.permit();
        let name = if reserved.is_shared() {
            let id = reserved.login_id().id;
            let (_, end) = id.split_at(id.len() - 8);
            format!("hp_{end}")
        } else {
            let (id, _) = permit.job().token().digest.split_at(8);
            format!("hp_{id}")
        };
        let lease = LeaseContents {
            target: "shop-db".to_owned(),
            name: name.clone(),
            expires_at: reserved.expires_at(),
            policy: permit.policy().to_owned(),
            issuer: permit.job().facts().issuer_url().to_owned(),
            subject: permit.job().subject().to_owned(),
            repository: None,
        };
        let mut state = self.state.lock().unwrap();
        if reserved.is_shared() && state.ended.contains(&name) {
            return Err(MintError {
                reason: Reason::LeaseOver,
                ..Self::refusal(false)
            });
        }
        if state.live.insert(name.clone()) {
            state.minted += 1;
        }
        Ok(Credential {
            definition: permit.credential().clone(),
            members: PostgresLogin {
                username: name.clone(),
                password: password(),
                host: "db.test".to_owned(),
                port: 5_432,
                database: "shop".to_owned(),
                sslmode: "verify-full",
                ca: None,
                options: Some("-c role=shop_readers".to_owned()),
            }
            .into_members(),
            expires_at: reserved.expires_at(),
            lease: Some(lease::seal(&lease, &self.roots).unwrap()),
            public_id: name,
        })
    }
}

#[async_trait]
impl Target for FakeDatabase {
    fn continues(&self, _other: &dyn Target) -> bool {
        true
    }

    async fn revoke(&self, lease: &LeaseContents) -> Result<(Revoked, String), MintError> {
        let _place = self.exit.acquire().await.unwrap();
        let panics = self.state.lock().unwrap().revocations_panic;
        assert!(!panics, "{CANARY}");
        let mut state = self.state.lock().unwrap();
        if state.is_down {
            return Ok((Revoked::Pending, String::new()));
        }
        state.live.remove(&lease.name);
        state.ended.insert(lease.name.clone());
        Ok((Revoked::Gone, String::new()))
    }
}
