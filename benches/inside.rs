//! The parts of an exchange inside one process, without servers: `make bench BENCH=inside`.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, LazyLock};

use divan::{Bencher, black_box};
use hallpass::audit::event::IntentRecord;
use hallpass::audit::{AuditLine, AuditLog, Event, Sink, SinkEntry};
use hallpass::clock::{Clock, SystemClock};
use hallpass::dev::issuer::{GithubJob, Issuer, github_claims};
use hallpass::lease::{self, LeaseContents};
use hallpass::policy::diff::Diff;
use hallpass::policy::pattern::Glob;
use hallpass::policy::{Ask, PolicySet};
use hallpass::provider::{Job, Reader};
use hallpass::replay::UsedTokens as _;
use hallpass::replay::memory::MemoryTokens;
use hallpass::rootkey::{RootKey, RootKeys};
use hallpass::token::keys::FileKeys;
use hallpass::token::{SubjectToken, Verifier};
use tokio::runtime::{Builder, Runtime};

fn main() {
    divan::main();
}

/// Issuer, audience, algorithm, key, signature and times of one RS256 token.
#[divan::bench]
fn verify(bencher: Bencher<'_, '_>) {
    let parts = &*PARTS;
    bencher.bench(|| parts.runtime.block_on(parts.verifier.verify(&parts.token)));
}

/// The decision over 10,000 policies, of a job that one of them fits.
#[divan::bench]
fn decide(bencher: Bencher<'_, '_>) {
    let parts = &*PARTS;
    let now = parts.clock.now();
    bencher
        .with_inputs(|| parts.job())
        .bench_values(|job| parts.policies.decide(job, &parts.ask, now));
}

#[divan::bench]
fn glob(bencher: Bencher<'_, '_>) {
    let glob = Glob::parse("refs/heads/release/**/v*").expect("it is a glob");
    bencher.bench(|| glob.fits(black_box("refs/heads/release/2026/11/v17.4.2-rc.1")));
}

/// One intent written as JSON, chained to the line before, and handed over to a sink that takes all.
#[divan::bench]
fn audit_line(bencher: Bencher<'_, '_>) {
    let parts = &*PARTS;
    let now = parts.clock.now();
    let permit = parts.policies.decide(parts.job(), &parts.ask, now);
    let permit = permit.map_err(|_| "refused").expect("a policy fits");
    let tokens = MemoryTokens::new(Arc::clone(&parts.clock), 10);
    let id = "req_1euvop0dhmnishfk72prijuc";
    let reserved = parts.runtime.block_on(tokens.reserve(permit, None, id));
    let reserved = reserved.expect("it is the first use");
    let event = Event::Intent(IntentRecord::of(&reserved, "bench-1".to_owned(), id));
    let sink = SinkEntry {
        sink: Box::new(Nowhere),
        required: true,
    };
    let clock = Arc::clone(&parts.clock);
    let log = AuditLog::new(vec![sink], &parts.root_keys, clock, "bench", "boot");
    let log = log.expect("the sink takes all");
    bencher.bench(|| {
        // It refuses what its sink is too far behind for.
        while log.note(&event).is_err() {
            let _ignored = parts.runtime.block_on(log.settle());
        }
    });
}

#[divan::bench]
fn seal_lease_handle(bencher: Bencher<'_, '_>) {
    let parts = &*PARTS;
    bencher.bench(|| lease::seal(&parts.lease, &parts.root_keys));
}

#[divan::bench]
fn open_lease_handle(bencher: Bencher<'_, '_>) {
    let parts = &*PARTS;
    let handle = lease::seal(&parts.lease, &parts.root_keys).expect("it is short");
    bencher.bench(|| lease::open(handle.expose(), &parts.root_keys));
}

/// YAML to policies that serve.
#[divan::bench(args = [10_000], sample_count = 5, sample_size = 1)]
fn load_policies(bencher: Bencher<'_, '_>, count: usize) {
    let text = policies(count, "refs/heads/main");
    bencher.bench(|| PolicySet::from_texts(&[("root.yaml", ROOT), ("policies.yaml", &text)]));
}

/// Two sets of which one policy, or each, changed.
#[divan::bench(args = [1, 10_000], sample_count = 3, sample_size = 1)]
fn diff_of_10000_policies(bencher: Bencher<'_, '_>, changed: usize) {
    let old = load(&policies(POLICIES, "refs/heads/main"));
    let new = policies(POLICIES, "refs/heads/main");
    let new = load(&new.replacen("refs/heads/main", "refs/heads/next", changed));
    let now = PARTS.clock.now();
    bencher.bench(|| Diff::of(&old, &new, now, &[]));
}

/// What one broker with 10,000 policies has.
struct Parts {
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    policies: PolicySet,
    reader: Reader,
    verifier: Verifier,
    token: SubjectToken,
    ask: Ask,
    root_keys: RootKeys,
    lease: LeaseContents,
}

static PARTS: LazyLock<Parts> = LazyLock::new(Parts::new);

impl Parts {
    fn new() -> Self {
        hallpass::broker::install_crypto_provider();
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let policies = load(&policies(POLICIES, "refs/heads/main"));
        let reader = policies.readers().first().expect("there is one").clone();
        let ci = runtime.block_on(Issuer::start("")).expect("it starts");
        let job = GithubJob::new(ISSUER, AUDIENCE, clock.now());
        let token = ci.sign(&github_claims(&job)).expect("it signs");
        let keys = FileKeys::new().with_document(&reader.issuer, ci.jwks().to_string().as_bytes());
        let verifier = Verifier::new(
            AUDIENCE.to_owned(),
            vec![Arc::clone(&reader.issuer)],
            Arc::new(keys.expect("it is a key set")),
            Arc::clone(&clock),
        );
        let root_key = RootKey::generate().expect("there are random bytes");
        let root_keys = RootKeys::new(AUDIENCE, 1, vec![root_key]);
        Self {
            lease: LeaseContents {
                target: "shop-db".to_owned(),
                name: "hp_1lg7ei3_0123456789abc".to_owned(),
                expires_at: clock.now(),
                policy: "shop-deploy".to_owned(),
                issuer: ISSUER.to_owned(),
                subject: "repo:acme/shop:ref:refs/heads/main".to_owned(),
                repository: Some("acme/shop".to_owned()),
            },
            runtime,
            clock,
            policies,
            reader,
            verifier,
            token: SubjectToken::new(token),
            ask: Ask {
                credential: "deploy-api".to_owned(),
                ..Ask::default()
            },
            root_keys: root_keys.expect("there is one"),
        }
    }

    fn job(&self) -> Job {
        let verified = self.runtime.block_on(self.verifier.verify(&self.token));
        let verified = verified.expect("the token is good");
        self.reader.identify(verified).expect("its claims are too")
    }
}

/// A sink that takes every line.
#[derive(Debug)]
struct Nowhere;

impl Sink for Nowhere {
    fn name(&self) -> &'static str {
        "nowhere"
    }

    fn write(&mut self, lines: &[AuditLine]) -> io::Result<usize> {
        Ok(lines.len())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn load(policies: &str) -> PolicySet {
    let loaded = PolicySet::from_texts(&[("root.yaml", ROOT), ("policies.yaml", policies)]);
    let loaded = loaded.expect("they are policies").servable();
    loaded.expect("they have no errors").0
}

/// So many policies, that of `acme/shop` first.
fn policies(count: usize, r#ref: &str) -> String {
    let mut text = "policies:\n".to_owned();
    for number in 0..count {
        let (name, id) = match number {
            0 => ("shop".to_owned(), 702_114_589),
            _ => (format!("repository-{number}"), number),
        };
        let _ignored = writeln!(
            text,
            "  - {{ name: \"{name}-deploy\", issuer: ci, when: {{ repository: acme/{name}, repository_id: \"{id}\", ref: {ref}, trigger: [push, manual] }}, grant: [ {{ credential: deploy-api, ttl: 5m, scopes: [\"deploy:staging\"] }} ] }}"
        );
    }
    text
}

const POLICIES: usize = 10_000;
const ISSUER: &str = "https://ci.acme.dev";
const AUDIENCE: &str = "https://hallpass.acme.dev";
const ROOT: &str = "
issuers:
  ci: { provider: github, url: \"https://ci.acme.dev\", tenants: [ { owner: acme, owner_id: \"48213377\" } ] }
credentials:
  deploy-api: { kind: jwt, audience: \"https://deploy.acme.dev\", scopes: [\"deploy:staging\"], claims: [repository, repository_id, ref], max_ttl: 10m, owner: team-platform, purpose: deploys, class: moderate }
";
