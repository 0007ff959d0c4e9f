//! What the listeners do with requests, well-formed and not, through real sockets.
#![cfg(test)]

mod clients;
mod clock;
mod cost;
mod disclosure;
mod doors;
mod failures;
mod inputs;
mod labels;
mod limits;
mod operator;
mod parameters;
mod routes;
mod shadow;
mod smuggling;
mod standard;
pub(crate) mod start;
mod wire;
