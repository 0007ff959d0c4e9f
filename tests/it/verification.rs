//! Is this token genuine? Every way in which it may not be, and where keys come from.
#![cfg(test)]

mod blocked;
mod claims;
mod issuer;
mod keys;
mod remote;
mod server;
mod shape;
mod vectors;
