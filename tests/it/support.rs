//! support
pub mod tokens;
