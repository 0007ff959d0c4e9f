//! One test binary: each module is a subject, and tests talk to real servers and the real binary.

mod action;
mod audit;
mod cli;
mod client;
mod credential;
mod demo;
mod dependencies;
mod docs;
mod exchange;
mod fuzz;
mod http;
mod install;
mod lists;
mod logs;
mod openapi;
mod policy;
mod properties;
mod provider;
mod reload;
mod replay;
mod ssh;
mod support;
mod verification;
