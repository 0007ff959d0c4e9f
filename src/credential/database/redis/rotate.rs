//! `hallpass target rotate-login`: the broker's user makes the second one again, on every server.

use ::redis::cmd;
use async_trait::async_trait;

use super::install::RULES;
use super::node::Node;
use super::settings::RedisServers;
use super::user::{acl, password_rule, text};
use crate::credential::database::broker_login::BrokerLogin;
use crate::credential::database::rotate::Rotation;
use crate::tls;

#[async_trait]
impl Rotation for RedisServers {
    async fn set_password(
        &self,
        current: &BrokerLogin,
        idle: &BrokerLogin,
        ends_sessions: bool,
    ) -> Result<(), String> {
        let nodes = self.nodes_as(current)?;
        for node in &nodes {
            let sessions = sessions(node, &idle.user).await?;
            if sessions > 0 && !ends_sessions {
                return Err(format!(
                    "{}: `{}` has {sessions} open sessions, of brokers that still use it or of someone else; wait until they have switched, or end them with `--end-sessions`",
                    node.name, idle.user
                ));
            }
        }
        for node in &nodes {
            if ends_sessions {
                // The server closes the connections of a user that is deleted.
                let deleted = node.ask(&acl("DELUSER", &[&idle.user])).await;
                deleted.map_err(|error| error.to_string())?;
            }
            let rule = password_rule(&idle.password);
            let mut rules = vec![idle.user.as_str(), "reset", "on", "-@all"];
            rules.extend(RULES);
            rules.push(&rule);
            let made = node.ask(&acl("SETUSER", &rules)).await;
            made.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn try_login(&self, login: &BrokerLogin) -> Result<(), String> {
        for node in self.nodes_as(login)? {
            let answered = node.ask(&acl("WHOAMI", &[])).await;
            let answered = answered.map_err(|error| error.to_string())?;
            if text(&answered) != Some(login.user.as_str()) {
                return Err(format!("{} takes it for another user", node.name));
            }
        }
        Ok(())
    }
}

impl RedisServers {
    fn nodes_as(&self, login: &BrokerLogin) -> Result<Vec<Node>, String> {
        let settings = Self {
            user: login.user.clone(),
            password: login.source(),
            ..self.clone()
        };
        let ca = settings.ca.as_deref().map(tls::read_ca).transpose();
        let ca = ca.map_err(|error| format!("the CA file cannot be read: {error}"))?;
        let nodes = settings.nodes.iter();
        nodes
            .map(|node| Node::new(&settings, node, ca.as_deref()))
            .collect()
    }
}

/// How many connections a user has.
async fn sessions(node: &Node, user: &str) -> Result<usize, String> {
    let mut command = cmd("CLIENT");
    command.arg("LIST");
    let listed = node.ask(&command).await.map_err(|error| {
        if error.code() == Some("NOPERM") {
            "the broker's user may not list connections; run the command that `hallpass target install` prints on each server, and rotate again".to_owned()
        } else {
            error.to_string()
        }
    })?;
    let field = format!("user={user}");
    let lines = text(&listed).unwrap_or_default().lines();
    let of_user = lines.filter(|line| line.split(' ').any(|word| word == field));
    Ok(of_user.count())
}
