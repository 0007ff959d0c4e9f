//! The real binary: its commands, exit codes and texts.
#![cfg(test)]

mod doctor;
mod exec;
mod exec_file;
mod generated;
mod help;
mod init;
mod job_file;
mod keys;
mod list;
mod output;
mod provider;
mod revoke;
mod several;
mod target;
