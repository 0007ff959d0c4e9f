//! Lease: the name that carries its own expiry, the sealed handle. Not: any database.
