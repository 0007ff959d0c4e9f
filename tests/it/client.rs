//! A job and its broker: what is asked, of whom, how often, and what hostile answers come to.
#![cfg(test)]

mod audience;
mod environment;
mod exchange;
pub(crate) mod fake;
mod formats;
mod github;
mod gitlab;
pub(crate) mod handed_over;
mod hostile;
mod job_dir;
mod kept;
mod mysql;
pub(crate) mod real;
mod sources;
pub(crate) mod tls;
mod vercel;
