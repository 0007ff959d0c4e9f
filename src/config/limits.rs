//! Limits on sizes, times and counts (T-01 to T-04), each with a fixed maximum.

use std::time::Duration;

use crate::yaml::settings::Section;

/// The load that one broker accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    /// Concurrent exchanges; further ones get 503.
    pub exchanges: usize,
    /// Exchanges and explanations per repository and minute.
    pub per_repository: u32,
    /// From the first to the last byte of a request head.
    pub head_time: Duration,
    /// From the request head to the response.
    pub request_time: Duration,
    /// From a response to the next request on the connection.
    pub idle_time: Duration,
    pub handshake_time: Duration,
    /// For requests in flight when the broker stops.
    pub shutdown_time: Duration,
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of a subject token.
    pub subject_token: usize,
    /// Bytes of a head.
    pub head: usize,
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            exchanges: 256,
            per_repository: 60,
            head_time: Duration::from_secs(5),
            request_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(30),
            handshake_time: Duration::from_secs(5),
            shutdown_time: Duration::from_secs(10),
            body: 64 << 10,
            subject_token: 16 << 10,
            head: 32 << 10,
            fields: 64,
        }
    }
}

/// Reads `limits:`. What is not there, or wrong, keeps its default; wrong ones are reported.
pub(super) fn read(section: &Section<'_>) -> Limits {
    let mut limits = Limits::default();
    let count = |key, least, most, field: &mut usize| {
        section.set(key, field, |item| {
            usize::try_from(item.number(least, most)?).ok()
        });
    };
    count("connections", 16, 65_536, &mut limits.connections);
    count("exchanges", 1, 4_096, &mut limits.exchanges);
    count("body_bytes", 1 << 10, 256 << 10, &mut limits.body);
    count(
        "subject_token_bytes",
        1 << 10,
        64 << 10,
        &mut limits.subject_token,
    );
    count("head_bytes", 8 << 10, 64 << 10, &mut limits.head);
    count("head_fields", 16, 96, &mut limits.fields);
    section.set(
        "per_repository_and_minute",
        &mut limits.per_repository,
        |item| u32::try_from(item.number(1, 6_000)?).ok(),
    );
    let time = |key, most: u64, field: &mut Duration| {
        section.set(key, field, |item| {
            item.duration(SHORTEST, Duration::from_secs(most))
        });
    };
    time("head_time", 30, &mut limits.head_time);
    time("request_time", 60, &mut limits.request_time);
    time("idle_time", 300, &mut limits.idle_time);
    time("handshake_time", 30, &mut limits.handshake_time);
    time("shutdown_time", 60, &mut limits.shutdown_time);
    section.finish();
    limits
}

const SHORTEST: Duration = Duration::from_millis(50);
