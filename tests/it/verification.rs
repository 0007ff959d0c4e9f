//! Is this token genuine? Every way in which it may not be, and where keys come from.
#![cfg(test)]

mod blocked;
mod claims;
mod floods;
mod issuer;
mod keys;
mod outage;
mod remote;
mod server;
mod shape;
mod vectors;
mod world;
