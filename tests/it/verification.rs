//! Is this token genuine? Every way in which it may not be, and where keys come from.
#![cfg(test)]

mod admission;
mod algorithms;
mod blocked;
mod claims;
mod documents;
mod environment;
mod floods;
mod header;
mod issuer;
mod json;
mod keys;
mod network;
mod outage;
mod remote;
mod shape;
mod spiffe;
mod times;
mod vectors;
mod world;
