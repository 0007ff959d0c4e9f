//! support
pub(crate) mod tokens;
