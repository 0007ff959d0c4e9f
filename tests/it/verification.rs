//! Is this token genuine? Every way in which it may not be, and where keys come from.
#![cfg(test)]

mod admission;
mod blocked;
mod claims;
mod documents;
mod environment;
mod floods;
mod issuer;
mod keys;
mod network;
mod outage;
mod remote;
mod shape;
mod vectors;
mod world;
