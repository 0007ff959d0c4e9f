//! Metrics: one list, from which `/metrics` and `docs/metrics.md` are made. The values of every label
//! come from closed sets, so that no caller can add a series (T-97).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, prometheus_text};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::credential::target::{ConnectionStatus, LeaseState, TargetStatus};
use crate::exchange::BreakerStatus;
use crate::policy::ShadowOutcome;
use crate::reason::Reason;
use crate::replay::StoreStatus;
use crate::token::keys::remote::IssuerStatus;

/// A metric as it is documented.
#[derive(Clone, Debug)]
pub struct Metric {
    /// The name in `/metrics`; that of a counter ends in `_total`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The label names of each series, in order.
    pub labels: Vec<&'static str>,
    /// One sentence in Markdown, without its full stop.
    pub help: &'static str,
}

/// Every metric of a broker.
#[must_use]
pub fn list() -> Vec<Metric> {
    Metrics::new().list.metrics
}

/// The metrics of one broker.
pub(crate) struct Metrics {
    requests: Labelled<Counter, 2>,
    request_seconds: Labelled<Histogram, 1>,
    exchanges: Labelled<Counter, 3>,
    shadow_decisions: Labelled<Counter, 2>,
    labelled_grants: Labelled<Counter, 2>,
    labels: Mutex<BTreeSet<(String, String)>>,
    unknown_parameters: Labelled<Counter, 0>,
    reloads: Labelled<Counter, 1>,
    used_tokens_usable: Labelled<Gauge, 0>,
    used_tokens: Labelled<Gauge, 0>,
    used_tokens_capacity: Labelled<Gauge, 0>,
    new_claims: Labelled<Gauge, 1>,
    key_fetches: Labelled<Counter, 2>,
    leases: Labelled<Gauge, 2>,
    foreign_leases: Labelled<Gauge, 1>,
    quarantined_objects: Labelled<Gauge, 1>,
    connections: Labelled<Gauge, 2>,
    connections_limit: Labelled<Gauge, 2>,
    connections_refused: Labelled<Counter, 3>,
    paused: Labelled<Gauge, 1>,
    paused_requests: Labelled<Counter, 1>,
    list: List,
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "one metric after the other")]
    pub(crate) fn new() -> Self {
        let mut list = List::default();
        let metrics = Self {
            requests: list.add(
                "hallpass_requests_total",
                ["route", "status"],
                "Requests on both listeners. Status `499`: the caller went away before the answer",
                Counter::default,
            ),
            request_seconds: list.add(
                "hallpass_request_seconds",
                ["route"],
                "Time from the head of a request to its answer, in seconds",
                || Histogram::new(BUCKETS),
            ),
            exchanges: list.add(
                "hallpass_exchanges_total",
                ["door", "issuer", "reason"],
                "Requests for a credential, by path (`door`), issuer (`unknown` unless it is configured) \
                 and reason code, which is `ok` for a grant",
                Counter::default,
            ),
            shadow_decisions: list.add(
                "hallpass_shadow_decisions_total",
                ["would", "entry"],
                "Decisions that an entry with `shadow_until` would change: `refuse` (a requirement) or \
                 `grant` (a policy), and the name of the entry",
                Counter::default,
            ),
            labelled_grants: list.add(
                "hallpass_labelled_grants_total",
                ["label", "value"],
                "Grants of credentials that have `labels`, once for each label. At most 1,000 labels have \
                 a series; further ones are counted with an empty `label` and `value`",
                Counter::default,
            ),
            labels: Mutex::default(),
            unknown_parameters: list.add(
                "hallpass_unknown_parameters_total",
                [],
                "Parameters of forms at `/token` that the broker does not know and ignored",
                Counter::default,
            ),
            reloads: list.add(
                "hallpass_reloads_total",
                ["outcome"],
                "Reloads of settings and policies: `loaded`, or `failed` where the previous version stays",
                Counter::default,
            ),
            used_tokens_usable: list.add(
                "hallpass_used_tokens_usable",
                [],
                "1 if the store of used tokens works, 0 if it does not; nothing is minted then",
                Gauge::default,
            ),
            used_tokens: list.add(
                "hallpass_used_tokens",
                [],
                "Used tokens that the store remembers (store in memory only)",
                Gauge::default,
            ),
            used_tokens_capacity: list.add(
                "hallpass_used_tokens_capacity",
                [],
                "Used tokens that the store has room for (store in memory only)",
                Gauge::default,
            ),
            new_claims: list.add(
                "hallpass_new_claims",
                ["issuer"],
                "Claims in an issuer's tokens that its provider did not send before: the audit event \
                 `new_claim` names each. At most 32 are told apart",
                Gauge::default,
            ),
            key_fetches: list.add(
                "hallpass_key_fetches_total",
                ["issuer", "outcome"],
                "Fetches of an issuer's keys: `ok`, or the reason code of the error",
                Counter::default,
            ),
            leases: list.add(
                "hallpass_leases",
                ["target", "state"],
                "Leases of a database target by state, as the last sweep found them",
                Gauge::default,
            ),
            foreign_leases: list.add(
                "hallpass_foreign_leases",
                ["target"],
                "Live logins that no broker with the same root key made; should be 0",
                Gauge::default,
            ),
            quarantined_objects: list.add(
                "hallpass_quarantined_objects",
                ["target"],
                "Database objects in quarantine; should be 0",
                Gauge::default,
            ),
            connections: list.add(
                "hallpass_target_connections",
                ["target", "login"],
                "Open connections to a database target as its `broker` or `cleaner` login",
                Gauge::default,
            ),
            connections_limit: list.add(
                "hallpass_target_connections_limit",
                ["target", "login"],
                "Connections that this broker may open as the login",
                Gauge::default,
            ),
            connections_refused: list.add(
                "hallpass_target_connections_refused_total",
                ["target", "login", "reason"],
                "Connections that the server refused: `login_limit`, `database_limit` or `server_full`",
                Counter::default,
            ),
            paused: list.add(
                "hallpass_target_paused",
                ["target"],
                "1 while requests for the target are refused because its server failed several times in a row",
                Gauge::default,
            ),
            paused_requests: list.add(
                "hallpass_target_paused_requests_total",
                ["target"],
                "Requests that were refused for that reason",
                Counter::default,
            ),
            list,
        };
        // An alert on an increase misses the first one of a series that did not exist at zero.
        for outcome in ["loaded", "failed"] {
            metrics.reloads.with([outcome]);
        }
        metrics
    }

    pub(super) fn request(&self, route: &str, status: u16, took: Duration) {
        self.requests.with([route, &status.to_string()]).inc();
        let seconds = took.as_secs_f64();
        self.request_seconds.with([route]).observe(seconds);
    }

    /// A subject token was exchanged or rejected; the issuer is one that is configured, or unknown.
    pub(super) fn exchange(&self, door: &str, issuer: &str, reason: Reason) {
        self.exchanges.with([door, issuer, reason.code()]).inc();
    }

    /// An entry with `shadow_until` would have changed a decision. Its name is one of the policies'.
    pub(super) fn shadow(&self, outcome: &ShadowOutcome) {
        let would = match outcome {
            ShadowOutcome::WouldGrant { .. } => "grant",
            ShadowOutcome::WouldRefuse { .. } => "refuse",
        };
        self.shadow_decisions.with([would, outcome.entry()]).inc();
    }

    /// A credential was granted. Its labels are those of the policies, which may have many over time.
    pub(super) fn granted(&self, labels: &BTreeMap<String, String>) {
        for (label, value) in labels {
            let pair = (label.clone(), value.clone());
            let mut known = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
            let is_counted =
                known.contains(&pair) || known.len() < MOST_LABEL_SERIES && known.insert(pair);
            let labels = if is_counted {
                [label.as_str(), value.as_str()]
            } else {
                ["", ""]
            };
            self.labelled_grants.with(labels).inc();
        }
    }

    /// Settings and policies were reloaded, or failed to.
    pub(crate) fn reload(&self, outcome: &str) {
        self.reloads.with([outcome]).inc();
    }

    /// A form had parameters that we do not know (T-06).
    pub(super) fn unknown_parameters(&self, count: usize) {
        if count > 0 {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.unknown_parameters.with([]).inc_by(count);
        }
    }

    /// The state of the store of used tokens. What the store does not know has no series.
    pub(super) fn used_tokens(&self, status: &StoreStatus) {
        let usable = usize::from(status.problem.is_none());
        self.used_tokens_usable.set([], usable);
        if let Some(used) = status.used {
            self.used_tokens.set([], used);
        }
        if let Some(capacity) = status.capacity {
            self.used_tokens_capacity.set([], capacity);
        }
    }

    pub(super) fn new_claims(&self, issuer: &str, count: usize) {
        self.new_claims.set([issuer], count);
    }

    pub(super) fn key_fetches(&self, issuer: &IssuerStatus) {
        for (outcome, count) in &issuer.fetches {
            self.key_fetches.set([&issuer.name, outcome], *count);
        }
    }

    pub(super) fn leases(&self, target: &str, status: &TargetStatus) {
        for state in LeaseState::ALL {
            let count = status.leases.get(&state).copied().unwrap_or_default();
            self.leases.set([target, state.name()], count);
        }
        self.foreign_leases.set([target], status.foreign_leases);
        let quarantined = usize::try_from(status.quarantined).unwrap_or_default();
        self.quarantined_objects.set([target], quarantined);
    }

    pub(super) fn connections(&self, target: &str, status: &ConnectionStatus) {
        let labels = [target, status.login];
        self.connections.set(labels, status.open);
        self.connections_limit.set(labels, status.most);
        for (reason, count) in &status.refused {
            let labels = [target, status.login, reason];
            self.connections_refused.set(labels, *count);
        }
    }

    pub(super) fn breaker(&self, target: &str, status: BreakerStatus) {
        self.paused.set([target], usize::from(status.is_open));
        self.paused_requests.set([target], status.refused);
    }

    /// The text that Prometheus reads (exposition format 0.0.4).
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _: fmt::Result = prometheus_text::encode(&mut text, &self.list.registry);
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Collects the metrics while they are made.
#[derive(Default)]
struct List {
    registry: Registry,
    metrics: Vec<Metric>,
}

impl List {
    fn add<M, const N: usize>(
        &mut self,
        name: &'static str,
        labels: [&'static str; N],
        help: &'static str,
        new: fn() -> M,
    ) -> Labelled<M, N>
    where
        M: EncodeMetric + TypedMetric + fmt::Debug + Send + Sync + 'static,
    {
        let family = Family::new_with_constructor(new);
        // The registry appends the suffix of a counter and the full stop.
        let registered = name.strip_suffix("_total").unwrap_or(name);
        self.registry.register(registered, help, family.clone());
        self.metrics.push(Metric {
            name,
            kind: M::TYPE.as_str().to_owned(),
            labels: labels.to_vec(),
            help,
        });
        Labelled { labels, family }
    }
}

/// A metric with a series for each set of values of its labels.
struct Labelled<M, const N: usize> {
    labels: [&'static str; N],
    family: Family<[(&'static str, String); N], M>,
}

impl<M: Clone, const N: usize> Labelled<M, N> {
    fn with(&self, values: [&str; N]) -> M {
        let mut names = self.labels.into_iter();
        let labels = values.map(|value| (names.next().unwrap_or_default(), value.to_owned()));
        self.family.get_or_create_owned(&labels)
    }
}

impl<const N: usize> Labelled<Gauge, N> {
    fn set(&self, labels: [&str; N], value: usize) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.with(labels).set(value);
    }
}

impl<const N: usize> Labelled<Counter, N> {
    /// For what is counted elsewhere.
    fn set(&self, labels: [&str; N], count: u64) {
        self.with(labels).inner().store(count, Ordering::Relaxed);
    }
}

/// The most series for labels of credentials.
const MOST_LABEL_SERIES: usize = 1_000;

/// Seconds: an exchange for a token takes a fraction of a millisecond, one for a database login
/// about ten, a request at most ten seconds.
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

    /// T-307
    #[test]
    fn labels_of_credentials_have_a_bounded_number_of_series() {
        let metrics = Metrics::new();
        let grant = |value: usize| {
            metrics.granted(&BTreeMap::from([("app".to_owned(), value.to_string())]));
        };
        (0..1_500).for_each(grant);
        grant(7);
        let text = metrics.render();
        let name = "hallpass_labelled_grants_total{";
        assert_eq!(text.matches(name).count(), 1_001);
        assert!(text.contains(r#"{label="app",value="7"} 2"#));
        assert!(text.contains(r#"{label="",value=""} 500"#));
    }

    #[test]
    fn every_metric_of_the_list_is_written_and_no_other() {
        let metrics = Metrics::new();
        metrics.request("/token", 200, Duration::ZERO);
        metrics.exchange("/token", "github", Reason::Success);
        metrics.unknown_parameters(1);
        metrics.used_tokens(&StoreStatus {
            problem: None,
            used: Some(1),
            capacity: Some(2),
        });
        metrics.new_claims("github", 2);
        metrics.key_fetches(&IssuerStatus {
            name: "github".to_owned(),
            url: String::new(),
            keys: None,
            age: None,
            usable: true,
            problem: None,
            last_error: None,
            fetches: BTreeMap::from([("ok", 7)]),
        });
        metrics.leases("shop", &TargetStatus::default());
        let refused = BTreeMap::from([("server_full", 3)]);
        metrics.connections(
            "shop",
            &ConnectionStatus {
                login: "broker",
                refused,
                ..ConnectionStatus::default()
            },
        );
        metrics.breaker("shop", BreakerStatus::default());
        metrics.shadow(&ShadowOutcome::WouldGrant {
            policy: "shop-migrate".to_owned(),
        });
        metrics.granted(&BTreeMap::from([("service".to_owned(), "shop".to_owned())]));
        let text = metrics.render();
        let of_list: Vec<String> = list()
            .iter()
            .map(|metric| {
                let (name, kind, help) = (metric.name, &metric.kind, metric.help);
                format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n")
            })
            .collect();
        for head in &of_list {
            assert!(text.contains(head), "{head} is not in {text}");
        }
        assert_eq!(text.matches("# TYPE ").count(), of_list.len());
        assert!(
            text.contains(r#"{issuer="github",outcome="ok"} 7"#),
            "{text}"
        );
        assert!(
            text.contains(r#"{target="shop",login="broker",reason="server_full"} 3"#),
            "{text}"
        );
        assert!(text.contains("hallpass_used_tokens_capacity 2\n"), "{text}");
    }
}
