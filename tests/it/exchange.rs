//! An exchange from end to end, through the real router: what each kind of job gets, and hears.
#![cfg(test)]

mod breaker;
mod each_claim;
mod every_provider;
mod failures;
mod generic;
mod github;
mod gitlab;
mod makers;
mod new_claims;
pub(crate) mod one_machine;
mod people;
mod properties;
mod remote;
mod repeats;
mod revoke;
mod rs256;
mod spiffe;
