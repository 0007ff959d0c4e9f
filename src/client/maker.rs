//! What this side makes for a credential of a kind that certifies it: the list of makers.
//!
//! A job can bring such an input of its own with `--input`. Where it does not, the maker of the kind
//! makes one for the run, and sees to it that the command or the file gets what belongs to it.

use std::fmt;

use tokio::sync::mpsc;

use super::Ask;
use super::answer::Received;
use super::error::ClientError;
use super::source::Environment;
use super::ssh;
use crate::credential::kind::{Kind, Member};
use crate::secret::Secret;

/// Every maker there is. A new one is its file and a line here.
pub const MAKERS: &[&dyn Maker] = &[&ssh::KeyPairs];

/// The maker for a credential of `kind`, unless the job brings the input itself.
pub(super) fn find(kind: &Kind, ask: &Ask) -> Option<&'static dyn Maker> {
    let mut makers = MAKERS.iter().copied();
    makers.find(|maker| maker.kind() == kind && !ask.inputs.contains_key(maker.input()))
}

/// Makes the required input of one kind.
pub trait Maker: Send + Sync + fmt::Debug {
    fn kind(&self) -> &'static Kind;

    /// The name of the input.
    fn input(&self) -> &'static str;

    /// What belongs to the input and stays on this side: the member that formats find it under.
    fn member(&self) -> Member;

    /// What a job does whose token was used for such a credential before: what was made then is not
    /// there any more, so no repeat helps.
    fn way_out(&self) -> &'static str;

    /// Makes a new input from the system's randomness.
    ///
    /// # Errors
    /// The system gave no random bytes.
    fn make(&self) -> Result<Box<dyn Made>, ClientError>;
}

/// What was made for one credential.
pub trait Made: Send + fmt::Debug {
    /// The input that is sent.
    ///
    /// # Errors
    /// It cannot be encoded.
    fn input(&self) -> Result<String, ClientError>;

    /// What stays on this side, as a file or another program takes it.
    ///
    /// # Errors
    /// It cannot be encoded.
    fn member(&self) -> Result<Secret<String>, ClientError>;

    /// Serves it to a command, until what is returned is dropped. Must be called within a runtime.
    ///
    /// # Errors
    /// The credential was not made for it, or this machine has no place for it.
    fn serve(
        self: Box<Self>,
        received: &Received,
        environment: &Environment,
        reports: Reports,
    ) -> Result<Box<dyn Served>, ClientError>;
}

/// What a command uses while it runs.
pub trait Served: Send + fmt::Debug {
    /// The variables that lead to it.
    fn variables(&self) -> Vec<(&'static str, String)>;

    /// The job's own variables that lead elsewhere.
    fn rivals(&self) -> &'static [&'static str];
}

/// Where a served command's problems go: sentences for the job's author.
pub type Reports = mpsc::Sender<String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maker_makes_a_required_input_of_its_kind_and_a_member_of_its_own() {
        for maker in MAKERS {
            let kind = maker.kind();
            let input = kind.inputs.iter().find(|input| input.name == maker.input());
            let input = input.unwrap();
            assert!(input.required, "{maker:?}");
            let made = maker.make().unwrap();
            (input.check)(&made.input().unwrap()).unwrap();
            assert_ne!(
                made.input().unwrap(),
                maker.make().unwrap().input().unwrap()
            );
            assert!(maker.member().is_secret() && !kind.has(maker.member().name));
        }
    }
}
