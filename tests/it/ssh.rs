//! SSH certificates: what is signed, and what real hosts make of it.
#![cfg(test)]

mod agent;
mod certificate;
mod host;
mod keys;
mod login;
mod policy;
pub(crate) mod real;
mod serve;
pub(crate) mod stage;
