//! hallpass, a CI identity broker: a job's OIDC token in, a short-lived scoped credential out.
//!
//! The story is one function, [`exchange`]: verify, identify, decide, reserve, record, mint, record.
//! Each step makes the evidence that the next one takes by value, so that leaving one out does not
//! compile:
//!
//! ```text
//! SubjectToken -> Verified -> Job -> Permit -> Reserved -> Recorded -> Credential + Lease
//!    token/       token/   provider/ policy/   replay/     audit/      credential/
//! ```
//!
//! Who knows whom:
//!
//! ```text
//! main -> cli -> { http, client, dev } -> exchange
//!      -> { token, provider, policy, replay, audit, credential } -> { lease, rootkey, clock, secret }
//! provider -> token      policy -> provider, token (TrustedIssuer)      replay -> policy (Permit)
//! audit -> replay (Reserved)      credential -> audit (Recorded)
//! ```

pub mod audit;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod credential;
#[cfg(feature = "dev")]
pub mod dev;
pub mod exchange;
pub mod http;
pub mod lease;
pub mod policy;
pub mod provider;
pub mod replay;
pub mod rootkey;
pub mod secret;
pub mod text;
pub mod token;
