//! What is counted. Every label's values come from closed lists, so that no caller adds a series
//! (T-97).

use std::fmt;
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::credential::target::{ConnectionStatus, LeaseState, TargetStatus};
use crate::reason::Reason;
use crate::replay::StoreStatus;
use crate::token::keys::remote::IssuerStatus;

/// The counters of one broker.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // Wrong buckets would be an error of ours that the test below finds; without them a
        // histogram becomes a summary, which is still right.
        let builder = PrometheusBuilder::new();
        let recorder = match builder.set_buckets(&BUCKETS) {
            Ok(builder) => builder.build_recorder(),
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        let handle = recorder.handle();
        let metrics = Self { recorder, handle };
        // Who watches for an increase misses the first of what was not there at zero.
        for outcome in ["loaded", "failed"] {
            metrics.count("hallpass_reloads_total", reload_labels(outcome), 0);
        }
        metrics
    }

    pub(super) fn request(&self, route: &'static str, status: u16, took: Duration) {
        let labels = vec![
            Label::from_static_parts("route", route),
            Label::new("status", status.to_string()),
        ];
        self.count("hallpass_requests_total", labels, 1);
        let key = Key::from_parts(
            "hallpass_request_seconds",
            vec![Label::from_static_parts("route", route)],
        );
        self.recorder
            .register_histogram(&key, &METADATA)
            .record(took.as_secs_f64());
    }

    /// One subject token was shown: what came of it, and whose it was if we know the issuer.
    pub(super) fn exchange(&self, door: &'static str, issuer: &str, reason: Reason) {
        let labels = vec![
            Label::from_static_parts("door", door),
            Label::new("issuer", issuer.to_owned()),
            Label::from_static_parts("reason", reason.code()),
        ];
        self.count("hallpass_exchanges_total", labels, 1);
    }

    /// Settings and policies were loaded anew, or could not be.
    pub(crate) fn reload(&self, outcome: &'static str) {
        self.count("hallpass_reloads_total", reload_labels(outcome), 1);
    }

    /// A form had parameters that we do not know (T-06).
    pub(super) fn unknown_parameters(&self, count: usize) {
        if count > 0 {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.count("hallpass_unknown_parameters_total", Vec::new(), count);
        }
    }

    /// How the store of used tokens is now. What it does not know has no series.
    pub(super) fn used_tokens(&self, status: &StoreStatus) {
        let usable = usize::from(status.problem.is_none());
        self.gauge("hallpass_used_tokens_usable", Some(usable));
        self.gauge("hallpass_used_tokens", status.used);
        self.gauge("hallpass_used_tokens_capacity", status.capacity);
    }

    /// Fetches of an issuer's keys, by how they ended.
    pub(super) fn key_fetches(&self, issuer: &IssuerStatus) {
        for (outcome, count) in &issuer.fetches {
            let labels = vec![
                Label::new("issuer", issuer.name.clone()),
                Label::from_static_parts("outcome", outcome),
            ];
            let key = Key::from_parts("hallpass_key_fetches_total", labels);
            let counter = self.recorder.register_counter(&key, &METADATA);
            counter.absolute(*count);
        }
    }

    /// How far the leases of a target have ended, and what of it somebody should look at.
    pub(super) fn leases(&self, target: &str, status: &TargetStatus) {
        let set = |name: &'static str, labels: Vec<Label>, value: usize| {
            let gauge = self
                .recorder
                .register_gauge(&Key::from_parts(name, labels), &METADATA);
            gauge.set(f64::from(u32::try_from(value).unwrap_or(u32::MAX)));
        };
        let of_target = || Label::new("target", target.to_owned());
        for state in LeaseState::ALL {
            let labels = vec![of_target(), Label::from_static_parts("state", state.name())];
            let count = status.leases.get(&state).copied().unwrap_or_default();
            set("hallpass_leases", labels, count);
        }
        set(
            "hallpass_foreign_leases",
            vec![of_target()],
            status.foreign_leases,
        );
        let quarantined = usize::try_from(status.quarantined).unwrap_or_default();
        set(
            "hallpass_quarantined_objects",
            vec![of_target()],
            quarantined,
        );
    }

    /// Connections to a target as one of its two logins, and those that its server refused.
    pub(super) fn connections(&self, target: &str, status: &ConnectionStatus) {
        let labels = || {
            vec![
                Label::new("target", target.to_owned()),
                Label::from_static_parts("login", status.login),
            ]
        };
        let gauges = [
            ("hallpass_target_connections", status.open),
            ("hallpass_target_connections_limit", status.most),
        ];
        for (name, value) in gauges {
            let value = u32::try_from(value).unwrap_or(u32::MAX);
            let key = Key::from_parts(name, labels());
            let gauge = self.recorder.register_gauge(&key, &METADATA);
            gauge.set(f64::from(value));
        }
        for (reason, count) in &status.refused {
            let mut labels = labels();
            labels.push(Label::from_static_parts("reason", reason));
            let key = Key::from_parts("hallpass_target_connections_refused_total", labels);
            let counter = self.recorder.register_counter(&key, &METADATA);
            counter.absolute(*count);
        }
    }

    /// The text that Prometheus reads (exposition format 0.0.4).
    pub(super) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Drains what histograms keep between two reads.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    fn gauge(&self, name: &'static str, value: Option<usize>) {
        if let Some(value) = value.and_then(|value| u32::try_from(value).ok()) {
            self.recorder
                .register_gauge(&Key::from_static_name(name), &METADATA)
                .set(f64::from(value));
        }
    }

    fn count(&self, name: &'static str, labels: Vec<Label>, by: u64) {
        let key = Key::from_parts(name, labels);
        self.recorder
            .register_counter(&key, &METADATA)
            .increment(by);
    }
}

fn reload_labels(outcome: &'static str) -> Vec<Label> {
    vec![Label::from_static_parts("outcome", outcome)]
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

const METADATA: Metadata<'_> = Metadata::new("hallpass", Level::INFO, None);

/// Seconds: an exchange for a token takes a fraction of a millisecond, one for a database login
/// some ten, a request at most ten seconds.
const BUCKETS: [f64; 10] = [
    0.000_2, 0.000_5, 0.001, 0.005, 0.02, 0.05, 0.2, 1.0, 3.0, 10.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// T-97
    #[test]
    fn requests_are_counted_in_a_fixed_number_of_series() {
        let metrics = Metrics::new();
        for outcome in ["loaded", "failed"] {
            let line = format!("hallpass_reloads_total{{outcome=\"{outcome}\"}} 0");
            assert!(metrics.render().contains(&line), "{line}");
        }
        for _ in 0..3 {
            metrics.request("/token", 200, Duration::from_millis(2));
            metrics.exchange("/token", "github", Reason::Success);
        }
        let text = metrics.render();
        assert!(
            text.contains(r#"hallpass_requests_total{route="/token",status="200"} 3"#),
            "{text}"
        );
        assert!(
            text.contains(
                r#"hallpass_exchanges_total{door="/token",issuer="github",reason="ok"} 3"#
            ),
            "{text}"
        );
        assert!(
            text.contains(r#"hallpass_request_seconds_bucket{route="/token",le="0.005"} 3"#),
            "{text}"
        );
    }
}
