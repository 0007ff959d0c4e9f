//! hallpass, a CI identity broker: a job's OIDC token in, a short-lived scoped credential out.
//!
//! The exchange pipeline is one function, [`exchange`]: verify, identify, decide, reserve, record, mint,
//! record.
//! Each step returns the evidence that the next one consumes, so that code without a step does not
//! compile:
//!
//! ```text
//! SubjectToken -> Verified -> Job -> Permit -> Reserved -> Recorded -> Credential + Lease
//!    token/       token/   provider/ policy/   replay/     audit/      credential/
//! ```
//!
//! Dependencies between modules:
//!
//! ```text
//! main -> cli -> { broker -> http, client, dev } -> exchange
//!      -> { token, provider, policy, replay, audit, credential }
//!      -> { wire, yaml, lease, rootkey, clock, file, length_prefix, outgoing, reason, secret, stdio, text, tls }
//! provider   -> token (Verified, its claims)
//! policy     -> provider (Facts), token (TrustedIssuer, strict JSON), credential (the list of kinds)
//! replay     -> policy (Permit)
//! audit      -> replay (Reserved, Reach), provider (Job)
//! credential -> audit (Recorded), policy (what a grant is for), provider (Fact), replay, token (TokenId,
//!               the rules for published keys)
//! exchange   -> lease (opens the handles that come back to be revoked)
//! config     -> yaml, and the settings types of policy, credential, replay and token
//! broker     -> config, http and every part of an exchange: composition, reload, upkeep, shutdown
//! yaml       -> text, clock, secret: one reader of nodes, for policies and settings
//! outgoing   -> text, token (which addresses are permitted)
//! lease      -> rootkey, clock, secret      rootkey -> length_prefix, secret
//! ```
//!
//! `client` knows only `clock`, `file`, `length_prefix`, `network`, `reason`, `secret`, `text`, `tls`, `wire`
//! and what a kind of credential is (`credential::kind`): the client needs nothing of the broker. `dev` starts
//! a whole broker through `broker`, and `serve` never uses it.

pub mod audit;
pub mod broker;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod credential;
#[cfg(feature = "dev")]
pub mod dev;
pub mod exchange;
mod file;
pub mod http;
pub mod lease;
mod length_prefix;
mod network;
mod outgoing;
pub mod policy;
pub mod provider;
pub mod reason;
pub mod replay;
pub mod rootkey;
pub mod secret;
mod stdio;
pub mod text;
mod tls;
pub mod token;
pub mod wire;
pub mod yaml;
