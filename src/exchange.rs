//! The story in one function: verify, identify, decide, reserve, record, mint, record.
//! Not: HTTP, SQL, file formats, any provider by name.
