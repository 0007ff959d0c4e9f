//! A private PostgreSQL server in a temporary folder.
