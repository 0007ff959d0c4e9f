//! `hallpass target rotate-login`: one login of the broker sets the password of the other, by an installed
//! procedure that can do nothing else.

use async_trait::async_trait;

use super::connection::{Connections, column};
use super::{Flavor, MysqlSettings, password_hash};
use crate::credential::database::broker_login::BrokerLogin;
use crate::credential::database::rotate::Rotation;
use crate::credential::database::{DatabaseError, RefusalKind};

#[async_trait]
impl Rotation for MysqlSettings {
    async fn set_password(
        &self,
        current: &BrokerLogin,
        idle: &BrokerLogin,
        ends_sessions: bool,
    ) -> Result<(), String> {
        let connections = self.connections_of(current)?;
        let version = version(&connections).await?;
        let hash = password_hash(Flavor::of_version(&version), &idle.password);
        let hash = hash.map_err(|error| error.to_string())?;
        let values = || vec![hash.as_str().into(), ends_sessions.into()];
        let sql = "CALL hallpass.set_password(?, ?)";
        let mut called = connections.call(sql, values()).await;
        if ends_sessions && called.is_ok() {
            // One that logged in with the old password while the new one was set.
            called = connections.call(sql, values()).await;
        }
        called.map(drop).map_err(|error| match &error {
            DatabaseError::Refused { kind: RefusalKind::NotInstalled, .. } => {
                "the installed file makes one login only; run the file that `hallpass target install` prints, and rotate again".to_owned()
            }
            DatabaseError::Refused { message, .. } => message.clone(),
            DatabaseError::Unreachable(_) | DatabaseError::Unknown(_) => format!("the server {error}"),
        })
    }

    async fn try_login(&self, login: &BrokerLogin) -> Result<(), String> {
        version(&self.connections_of(login)?).await.map(drop)
    }
}

impl MysqlSettings {
    fn connections_of(&self, login: &BrokerLogin) -> Result<Connections, String> {
        Connections::of_login(self, (&login.user, &login.source()), 1)
    }
}

async fn version(connections: &Connections) -> Result<String, String> {
    let answered = connections
        .call("CALL hallpass.version()", Vec::new())
        .await;
    let version = answered.and_then(|rows| match rows.first() {
        Some(row) => column(row, 1),
        None => Ok(String::new()),
    });
    version.map_err(|error| format!("the server {error}"))
}
