//! The only place that knows axum.
