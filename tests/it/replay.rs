//! Stores of used tokens: one suite for all of them, a real server made to misbehave, and brokers
//! that share one.
#![cfg(test)]

mod brokers;
mod proxy;
mod server;
mod stage;
mod suite;
mod windows;
