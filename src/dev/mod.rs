//! A CI and a database to try it with (feature `dev`, default on; shared with the tests). Never used by serve.

pub mod demo;
pub mod issuer;
pub mod postgres;
pub mod stage;
pub mod state;
