//! `hallpass target rotate-login`: one login of the broker sets the password of the other, by an installed
//! function that can do nothing else.

use async_trait::async_trait;
use tokio_postgres::types::Type;

use super::{Connections, PostgresSettings, UNDEFINED_FUNCTION, verifier};
use crate::credential::database::DatabaseError;
use crate::credential::database::broker_login::BrokerLogin;
use crate::credential::database::rotate::Rotation;

#[async_trait]
impl Rotation for PostgresSettings {
    async fn set_password(
        &self,
        current: &BrokerLogin,
        idle: &BrokerLogin,
        ends_sessions: bool,
    ) -> Result<(), String> {
        let verifier = verifier(&idle.password).map_err(|error| error.to_string())?;
        let connections = self.connections_of(current)?;
        let set = || {
            let values = [
                (&verifier as _, Type::TEXT),
                (&ends_sessions as _, Type::BOOL),
            ];
            let connections = &connections;
            async move {
                connections
                    .query("SELECT hallpass.set_password($1, $2)", &values)
                    .await
            }
        };
        let mut answered = set().await;
        if ends_sessions && answered.is_ok() {
            // One that logged in with the old password while the new one was set.
            answered = set().await;
        }
        answered.map(drop).map_err(|error| match &error {
            DatabaseError::Refused { code, .. } if code == UNDEFINED_FUNCTION => {
                "the installed file makes one login only; run the file that `hallpass target install` prints, and rotate again".to_owned()
            }
            DatabaseError::Refused { message, .. } => message.clone(),
            DatabaseError::Unreachable(_) | DatabaseError::Unknown(_) => format!("the server {error}"),
        })
    }

    async fn try_login(&self, login: &BrokerLogin) -> Result<(), String> {
        let connections = self.connections_of(login)?;
        let answered = connections.query("SELECT hallpass.version()", &[]).await;
        answered
            .map(drop)
            .map_err(|error| format!("the server {error}"))
    }
}

impl PostgresSettings {
    fn connections_of(&self, login: &BrokerLogin) -> Result<Connections, String> {
        let source = login.source();
        Connections::new(self, &self.control_database, (&login.user, &source), 1)
    }
}
