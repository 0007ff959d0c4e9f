//! Sealed delivery: what a recipient opens and what not, and what the broker and its client do about it.
#![cfg(test)]

mod broker;
mod client;
mod jwcrypto;
mod message;
mod open;
