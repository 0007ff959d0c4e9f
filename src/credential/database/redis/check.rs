//! `hallpass target check`: would a lease here do what it should, and no more?

use ::redis::{Value, cmd};
use aws_lc_rs::rand;

use super::node::Node;
use super::rules::Group;
use super::settings::SHORTEST_LIFE;
use super::user::{acl, get_user, items, text};
use super::view::Whole;
use super::{Redis, User};
use crate::clock::Timestamp;
use crate::credential::database::findings::{
    Findings, NO_HOLDER, SWEPT, THROW_AWAY_LIFE, throw_away,
};
use crate::credential::database::{Database as _, DatabaseError, NewLogin, random_password};
use crate::credential::target::Finding;
use crate::lease::rand13;
use crate::rootkey::RootKeys;
use crate::secret::SecretSource;

impl Redis {
    /// Goes through everything that makes leases fail, live on or reach too far, and tries a throw-away
    /// lease of each group on each server, signed as those of the target that `signer` names.
    pub async fn check(&self, signer: Option<(&str, &RootKeys)>) -> Vec<Finding> {
        let mut findings = Findings::default();
        let view = self.look().await;
        for (_, error) in &view.missing {
            findings.error(
                format!("a server cannot be used: {error}"),
                "see that it runs, and that host, port, TLS, user and password of the settings are right",
            );
        }
        let whole = match self.complete(view).await {
            Ok(whole) => whole,
            Err(error) => {
                findings.error(
                    format!("the servers cannot be used together: {error}"),
                    "list every master and replica under `nodes`, and say under `masters` how many masters there are",
                );
                return findings.into_vec();
            }
        };
        for node in servers(&whole) {
            self.check_server(node, &mut findings).await;
        }
        if let Err(error) = self.check_clock(whole.time) {
            findings.error(error.to_string(), "synchronise both clocks");
        }
        if self.settings.user == "default" {
            findings.warn(
                "the broker logs in as `default`, the user of everybody who gives no name"
                    .to_owned(),
                "make a user of its own with `hallpass target install`",
            );
        }
        for (name, group) in &self.settings.groups {
            Self::check_group(name, group, &mut findings);
            self.try_a_lease(&whole, (name, group), signer, &mut findings)
                .await;
        }
        findings.into_vec()
    }

    async fn check_server(&self, node: &Node, findings: &mut Findings) {
        let name = &node.name;
        match node.about().await {
            Ok(about) if about.is_supported() => {
                findings.fine(format!("{name}: {} answers", about.words()));
            }
            Ok(about) => findings.error(
                format!("{name} is {}", about.words()),
                "Redis 7.0 or later, or Valkey, is needed",
            ),
            Err(error) => findings.error(error.to_string(), "run the check again"),
        }
        match node.ask(&get_user("default")).await.as_ref().map(User::read) {
            Ok(Some(user)) if user.is_on && user.has_no_password => findings.error(
                format!("{name} lets everybody in as `default`, without a password: leases limit nothing there"),
                "ACL SETUSER default off, or give it a password",
            ),
            Ok(_) => findings.fine(format!("{name}: no user gets in without a password")),
            Err(error) => findings.error(
                format!("{name}: users cannot be read: {error}"),
                "run the command that `hallpass target install` prints, on this server",
            ),
        }
        let mut command = cmd("CONFIG");
        command.arg("GET").arg("aclfile");
        let file = node.ask(&command).await.ok();
        let file = file.as_ref().and_then(|answer| items(answer).last());
        let has_file = file.and_then(text).is_some_and(|path| !path.is_empty());
        if has_file {
            findings.warn(
                format!("{name} has an ACL file: an `ACL SAVE` while there are leases keeps them, and a restart or `ACL LOAD` brings them back until the next sweep"),
                "run `ACL SAVE` only while `hallpass leases list` shows none",
            );
        }
    }

    fn check_group(name: &str, group: &Group, findings: &mut Findings) {
        if group.has_every_key() {
            findings.warn(
                format!("group `{name}` has every key of every database of the servers"),
                "name the keys that jobs need, like `%R~app:*`",
            );
        }
        if group.has_every_channel() {
            findings.warn(
                format!(
                    "group `{name}` has every channel, those of keyspace notifications included"
                ),
                "name the channels that jobs need, like `&app:*`",
            );
        }
        if group.has_scripts() {
            findings.warn(
                format!("group `{name}` may run scripts: one that does not end holds up the whole server, and the end of its lease with it"),
                "leave out `+@scripting`, `+@slow` and `+@all`, or add `-@scripting`",
            );
        }
    }

    async fn try_a_lease(
        &self,
        whole: &Whole<'_>,
        (name, group): (&str, &Group),
        signer: Option<(&str, &RootKeys)>,
        findings: &mut Findings,
    ) {
        let order = signer.map(|signer| throw_away(signer, name, self.clock.now()));
        let (random, password, record) = match order {
            Some(Ok(order)) => (order.random, order.password, order.record),
            Some(Err(_)) => return,
            None => {
                let mut random = [0; 32];
                let (Ok(()), Ok(password)) = (rand::fill(&mut random), random_password()) else {
                    return;
                };
                (rand13(&random), password, UNSIGNED.to_owned())
            }
        };
        let login = NewLogin {
            random: &random,
            password: &password,
            life: THROW_AWAY_LIFE.max(SHORTEST_LIFE),
            group: name,
            act_as_group: false,
            record: &record,
            used_until: Timestamp::from_unix(0),
            holder: NO_HOLDER,
            may_create: true,
        };
        let made = match self.create(&login).await {
            Ok(Some(made)) => made.login,
            Ok(None) => return,
            Err(error) => {
                findings.error(
                    format!("a throw-away lease in group `{name}` could not be made: {error}"),
                    "the reason is in the sentence before",
                );
                return;
            }
        };
        let secret = SecretSource::Value(password);
        for node in servers(whole) {
            match node.try_login(&made, &secret).await {
                Ok(_) => findings.fine(format!(
                    "a lease in group `{name}` can log in to {}",
                    node.name
                )),
                Err(error) => findings.error(
                    format!(
                        "a lease in group `{name}` cannot log in to {}: {error}",
                        node.name
                    ),
                    "see that the server is no proxy with users of its own",
                ),
            }
            for problem in beyond(node, &made, group).await {
                findings.error(
                    format!("a lease in group `{name}` on {} {problem}", node.name),
                    "report this: rules that hallpass adds to each group forbid it",
                );
            }
        }
        findings.end_throw_away(self, &made, SWEPT).await;
    }
}

fn servers<'a>(whole: &'a Whole<'_>) -> impl Iterator<Item = &'a Node> {
    [whole.decider]
        .into_iter()
        .chain(whole.others.iter().copied())
        .chain(whole.replicas.iter().copied())
}

/// What the server would let the lease do that no lease may.
async fn beyond(node: &Node, login: &str, group: &Group) -> Vec<String> {
    let mut problems = Vec::new();
    for words in FORBIDDEN {
        if is_asked(group, words) {
            continue;
        }
        let mut command = acl("DRYRUN", &[login]);
        command.arg(*words);
        match node.ask(&command).await {
            Ok(Value::Okay) => problems.push(format!("may run `{}`", words.join(" "))),
            Ok(_) | Err(DatabaseError::Refused { .. }) => {}
            Err(error) => problems.push(format!("cannot be looked at: {error}")),
        }
    }
    problems
}

/// Whether the group lists the command by its name, or the subcommand by both.
fn is_asked(group: &Group, words: &[&str]) -> bool {
    let mut named = group
        .commands
        .iter()
        .filter_map(|word| word.strip_prefix('+'));
    named.any(|name| match name.split_once('|') {
        Some((command, subcommand)) => words.starts_with(&[command, subcommand]),
        None => words.first() == Some(&name),
    })
}

/// What `ACL DRYRUN` must refuse, unless a group asks for the command by its name.
const FORBIDDEN: &[&[&str]] = &[
    &["acl", "whoami"],
    &["config", "get", "maxmemory"],
    &["flushall"],
    &["flushdb"],
    &["shutdown"],
    &["monitor"],
    &["client", "list"],
    &["client", "tracking", "on", "bcast"],
    &["function", "flush"],
    &["script", "flush"],
    &["keys", "*"],
    &["scan", "0"],
    &["randomkey"],
    &["cluster", "getkeysinslot", "0", "1"],
    &["info"],
];

const UNSIGNED: &str = r#"{"v":1,"pol":"target check"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_the_group_lists_is_not_held_against_it() {
        let group = Group {
            keys: Vec::new(),
            channels: Vec::new(),
            commands: vec![
                "+@read".to_owned(),
                "+scan".to_owned(),
                "+client|tracking".to_owned(),
            ],
        };
        let asked = FORBIDDEN.iter().filter(|words| is_asked(&group, words));
        let asked: Vec<_> = asked.map(|words| words.join(" ")).collect();
        assert_eq!(asked, ["client tracking on bcast", "scan 0"]);
    }
}
