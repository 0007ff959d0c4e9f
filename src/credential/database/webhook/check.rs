//! `hallpass target check`: does the other side answer, and does a lease come and go?

use super::Webhook;
use super::contract::{CHECK, Check, Checked, SHORT, VERSION};
use crate::credential::database::findings::{Findings, SWEPT, throw_away};
use crate::credential::database::{Database as _, DatabaseError, NewLogin, Order};
use crate::credential::target::Finding;
use crate::rootkey::RootKeys;

impl Webhook {
    /// Goes through what makes leases fail, and makes and ends one of each group.
    pub(super) async fn check(&self, signer: (&str, &RootKeys)) -> Vec<Finding> {
        let mut findings = Findings::default();
        let checked = self.ask_to_check().await;
        match checked {
            Ok(checked) => self.judge(&checked, &mut findings),
            Err(error) => {
                findings.error(
                    format!("the other side {error}"),
                    "see that it runs, that `url`, `ca` and `networks` are right, and that it knows the broker's published keys",
                );
                return findings.into_vec();
            }
        }
        if let Err(error) = self.list().await {
            findings.error(format!("the leases cannot be listed: it {error}"), CONTRACT);
        }
        for group in &self.settings.groups {
            self.try_a_lease(signer, group, &mut findings).await;
        }
        findings.into_vec()
    }

    pub(super) async fn ask_to_check(&self) -> Result<Checked, DatabaseError> {
        self.peer.ask(CHECK, &Check {}, SHORT).await
    }

    /// What the answer to a check says.
    pub(super) fn judge(&self, checked: &Checked, findings: &mut Findings) {
        let version = checked.contract;
        if version == VERSION {
            findings.fine(format!(
                "it answers, with version {version} of the contract"
            ));
        } else {
            findings.error(
                format!("it has version {version} of the contract, expected {VERSION}"),
                "use a version of the other side that fits this hallpass",
            );
        }
        findings.clock(checked.time);
        for group in &self.settings.groups {
            if !checked.groups.contains(group) {
                findings.error(
                    format!("group `{group}` of the settings is not one of its `groups`"),
                    "add the group there, or take it out of the settings",
                );
            }
        }
    }

    async fn try_a_lease(&self, signer: (&str, &RootKeys), group: &str, findings: &mut Findings) {
        let order = match throw_away(signer, group, self.clock.now()) {
            Ok(order) => order,
            Err(error) => return findings.error(error.message, "run the check again"),
        };
        match self.create(&login(&order)).await {
            Ok(Some(made)) => {
                findings.fine(format!("a lease in group `{group}` can be made"));
                findings.end_throw_away(self, &made.login, SWEPT).await;
            }
            Ok(None) => findings.error(
                format!("a lease in group `{group}` that was never made is said to be over"),
                CONTRACT,
            ),
            Err(error) => findings.error(
                format!("a throw-away lease in group `{group}` could not be made: it {error}"),
                CONTRACT,
            ),
        }
    }
}

/// What an order asks for.
pub(super) fn login(order: &Order) -> NewLogin<'_> {
    NewLogin {
        random: &order.random,
        password: &order.password,
        life: order.life,
        group: &order.wanted.group,
        act_as_group: false,
        record: &order.record,
        used_until: order.used_until,
        holder: &order.holder_hash,
        may_create: true,
    }
}

const CONTRACT: &str = "run the check again with `--contract`, which names the rule that is broken";
