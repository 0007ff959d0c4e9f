//! The job that `policy explain` is about: facts, claims, a token, or a decision in an audit file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::{RecordedDecision, RecordedOutcome};
use crate::broker::NoDevKeys;
use crate::cli::job::{self, JobFile};
use crate::cli::policy::request::{self, LineOf, Request};
use crate::cli::{Failure, Terminal, runtime};
use crate::client::Environment;
use crate::clock::{Clock, SystemClock};
use crate::policy::{Ask, PolicySet, examples};
use crate::provider::Facts;
use crate::reason::Class;
use crate::text::{count, escape};
use crate::token::Verifier;
use crate::token::keys::RemoteKeys;
use crate::yaml::duration;

/// Where the job is described. One of four.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Job")]
pub(super) struct SourceArgs {
    /// A file with facts, as `job:` of a test has them, in YAML or JSON; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["claims", "token", "audit"])]
    facts: Option<PathBuf>,
    /// A file with the claims as JSON; `-` reads standard input
    #[arg(
        long,
        visible_alias = "from-claims",
        value_name = "FILE",
        conflicts_with_all = ["token", "audit"]
    )]
    claims: Option<PathBuf>,
    /// A file with a token; `-` reads standard input. The token is verified with the keys that its
    /// issuer publishes
    #[arg(
        long,
        visible_alias = "from-token",
        value_name = "FILE",
        conflicts_with = "audit"
    )]
    token: Option<PathBuf>,
    /// The address of the broker that the token is for [env: `HALLPASS_BROKER`]
    #[arg(
        long,
        value_name = "URL",
        requires = "token",
        conflicts_with = "unverified"
    )]
    broker: Option<String>,
    /// Only decode the token: anyone can write such a token
    #[arg(long, requires = "token")]
    unverified: bool,
    /// An audit file with the decision of `--decision`; `-` reads standard input
    #[arg(long, value_name = "FILE", requires = "decision")]
    audit: Option<PathBuf>,
    /// The request ID of a decision in the audit file, or the ID of its intent
    #[arg(long, value_name = "ID", requires = "audit")]
    decision: Option<String>,
}

/// A job, and what is known of it.
pub(super) struct Job {
    pub(super) facts: Facts,
    /// `facts`, `claims`, `token` or `audit`.
    pub(super) from: &'static str,
    /// The token was verified.
    pub(super) is_verified: bool,
    /// What a reader must know, each a sentence.
    pub(super) warnings: Vec<String>,
    pub(super) recorded: Option<Audited>,
}

/// The decision in the audit file.
pub(super) struct Audited {
    pub(super) place: LineOf,
    pub(super) decision: RecordedDecision,
    pub(super) ask: Ask,
}

impl Audited {
    /// What was decided, in a sentence.
    pub(super) fn sentence(&self) -> String {
        match &self.decision.outcome {
            RecordedOutcome::Granted { policy, ttl, .. } => {
                format!("granted by policy {policy} for {}", duration::print(*ttl))
            }
            RecordedOutcome::Denied { decision, .. } => format!("denied: {decision}"),
        }
    }
}

impl SourceArgs {
    /// Whether a decision of an audit file is explained, which names the credential.
    pub(super) const fn is_audit(&self) -> bool {
        self.audit.is_some()
    }

    pub(super) fn job(&self, set: &PolicySet, out: &mut Terminal) -> Result<Job, Failure> {
        let job = |facts, from, is_verified| Job {
            facts,
            from,
            is_verified,
            warnings: Vec::new(),
            recorded: None,
        };
        if let Some(path) = &self.facts {
            return Ok(job(of_facts(path, set, out)?, "facts", false));
        }
        if let (Some(path), Some(id)) = (&self.audit, &self.decision) {
            return of_audit(path, id, set);
        }
        if let Some(path) = &self.token {
            return self.of_token(path, set, out);
        }
        let file = JobFile::of(self.claims.as_ref(), None);
        let file = file.map_err(|_| Failure::Usage(WHICH_JOB.to_owned()))?;
        Ok(job(file.facts(set, out)?, "claims", false))
    }

    /// The job of a token, which is verified as a broker does, with the keys that its issuer
    /// publishes now. Tokens of `hallpass dev` are of keys that no broker takes.
    fn of_token(&self, path: &Path, set: &PolicySet, out: &mut Terminal) -> Result<Job, Failure> {
        let token = job::UnverifiedToken::read(path, set)?;
        let is_verified = !self.unverified && !job::is_of_dev(&token.issuer);
        let (facts, warnings) = if is_verified {
            (self.verified(&token, set)?, Vec::new())
        } else {
            out.error_report(&format!("WARNING: {}", job::NOT_VERIFIED));
            (token.facts(set)?, vec![job::NOT_VERIFIED.to_owned()])
        };
        Ok(Job {
            facts,
            from: "token",
            is_verified,
            warnings,
            recorded: None,
        })
    }

    fn verified(&self, token: &job::UnverifiedToken, set: &PolicySet) -> Result<Facts, Failure> {
        let environment = Environment::of_this_process();
        let broker = self
            .broker
            .as_deref()
            .or_else(|| environment.get("HALLPASS_BROKER"));
        let broker = broker.ok_or_else(|| Failure::Usage(WHICH_BROKER.to_owned()))?;
        let reader = job::trusted(set, &token.issuer)?;
        let issuers = vec![Arc::clone(&reader.issuer)];
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let verified = runtime()?.block_on(async {
            let keys = Arc::new(RemoteKeys::start(&issuers, Arc::clone(&clock)));
            let verifier = Verifier::new(broker.to_owned(), issuers.clone(), keys, clock)
                .with_rule(Arc::new(NoDevKeys));
            verifier.verify(&token.token).await
        });
        let verified = verified.map_err(|error| {
            if matches!(error.reason().class(), Class::Refused(_)) {
                Failure::Denied(format!(
                    "a broker would reject the token: {error}; `--unverified` explains its claims anyway"
                ))
            } else {
                Failure::Local(format!("the token cannot be verified: {error}"))
            }
        })?;
        let job = reader.identify(verified);
        let job = job.map_err(|error| Failure::Denied(error.to_string()))?;
        Ok(job.facts().clone())
    }
}

fn of_facts(path: &Path, set: &PolicySet, out: &mut Terminal) -> Result<Facts, Failure> {
    let shown = path.display().to_string();
    let text = String::from_utf8(job::read(path)?);
    let text = text.map_err(|_| Failure::Local(format!("`{}` is not UTF-8", escape(&shown))))?;
    examples::job_of_text(&shown, &text, set).map_err(|errors| {
        out.error_report(&errors.render(true));
        Failure::Local(format!("`{}` does not describe a job", escape(&shown)))
    })
}

fn of_audit(path: &Path, id: &str, set: &PolicySet) -> Result<Job, Failure> {
    let mut found = None;
    let files = [path.to_owned()];
    let problems = request::read(
        &files,
        "policy explain --decision ID --audit",
        |_| {},
        |place, decision| {
            let is_it = decision.request_id == id || decision.intent.as_deref() == Some(id);
            if is_it && found.is_none() {
                found = Some((place, decision));
            }
        },
    )?;
    let Some((place, decision)) = found else {
        return Err(Failure::Local(format!(
            "no decision `{}` in `{}`; expected the `request_id` or `intent` of an event `intent` or `denial`",
            escape(id),
            escape(&path.display().to_string())
        )));
    };
    let mut warnings = Vec::new();
    if let Some(first) = problems.first() {
        let all = count(problems.len(), "finding");
        warnings.push(format!(
            "the audit file is not whole, {all}, the first: {first}"
        ));
    }
    let reader = job::trusted(set, &decision.issuer)?;
    let cannot =
        |problem: String| Failure::Local(format!("{place} cannot be explained: {problem}"));
    let job = reader
        .recorded(&decision.job, &decision.claims)
        .map_err(cannot)?;
    let request = Request::of(&decision).map_err(cannot)?;
    if !request.is_whole {
        warnings.push(
            "the event does not record the requested life, and perhaps scopes: taken as left open"
                .to_owned(),
        );
    }
    if !request.has_inputs && set.bounds_inputs(&decision.credential) {
        warnings.push("the event does not record the inputs of the request".to_owned());
    }
    let missing = set.undecided_by(&job, &decision.credential, decision.time);
    if let Some(problem) = missing {
        warnings.push(format!("{problem}: taken as absent"));
    }
    if decision.revision != set.revision() {
        warnings.push(format!(
            "these policies are {}; other ones decided: {}",
            set.revision(),
            escape(&decision.revision)
        ));
    }
    Ok(Job {
        facts: job.facts,
        from: "audit",
        is_verified: false,
        warnings,
        recorded: Some(Audited {
            place,
            decision,
            ask: request.ask,
        }),
    })
}

const WHICH_JOB: &str = "which job? Give a file with its facts by `--facts FILE`, with its claims by `--claims FILE`, or with its token by `--token FILE`; `-` reads standard input; or an audited decision by `--audit FILE --decision ID`";
const WHICH_BROKER: &str = "which broker is the token for? Give its address by `--broker` or HALLPASS_BROKER; `--unverified` explains the claims without verifying the token";
