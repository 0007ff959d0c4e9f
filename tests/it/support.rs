//! What tests share: a whole broker on free ports, and the fakes around it.
#![cfg(test)]

pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod hostile_issuer;
pub(crate) mod leaks;
pub(crate) mod mariadb;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod sink;
pub(crate) mod sources;
pub(crate) mod tokens;
pub(crate) mod vectors;
pub(crate) mod wait;

pub(crate) use broker::TestBroker;
