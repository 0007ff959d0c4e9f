//! What is said, to whom: no secret, no forged line, no flood.
#![cfg(test)]

mod canary;
mod capture;
mod flood;
mod forged;
mod probes;
mod process;
mod requests;
mod serving;
