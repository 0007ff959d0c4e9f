//! How does a job get its credential?
