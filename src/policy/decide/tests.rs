//! lint/mod
