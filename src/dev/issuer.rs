//! The embedded CI issuer.
