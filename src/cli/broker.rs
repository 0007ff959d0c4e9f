//! What every command has in common that talks to a broker: its options, its errors, its masks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::signals::Signals;
use super::table::table;
use super::wrap::columns;
use super::{Failure, Terminal};
use crate::client::format::{rivals, variables};
use crate::client::source::{self, SOURCES};
use crate::client::ssh::WAY_OUT;
use crate::client::{
    BrokerAddress, Client, ClientError, Environment, Proxy, Received, Settings, TransportSettings,
};
use crate::clock::SystemClock;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::text::{escape, escape_up_to};
use crate::wire::{FailedCondition, Refusal};
use crate::yaml::duration;

/// Options for reaching the broker and for the job's token.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Broker")]
pub(super) struct BrokerArgs {
    /// The broker's address, which is also the audience of the job's token [env: `HALLPASS_BROKER`]
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// PEM file of CA certificates to trust in addition to the public CAs [env: `HALLPASS_CA`]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Proxy for all hosts but loopback and those of `NO_PROXY`; `HTTPS_PROXY` is ignored
    /// [env: `HALLPASS_PROXY`]
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// How long to keep retrying if the broker is unreachable or busy
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    /// Source of the job's token; default: detected
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(SOURCES.iter().map(|source| source.name)))]
    source: Option<String>,
    /// Also accept a token with this audience; services with the same audience could use the token too.
    /// For CIs that fix the audience [env: `HALLPASS_ALLOW_AUDIENCE`]
    #[arg(long, value_name = "AUDIENCE")]
    allow_audience: Option<String>,
}

/// The folder that the steps of a job share.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Broker")]
pub(super) struct JobArgs {
    /// Folder that only this job can read, for what its steps share; made if it is missing
    /// [env: `HALLPASS_JOB_DIR`]
    #[arg(long, value_name = "DIR")]
    job_dir: Option<PathBuf>,
}

impl JobArgs {
    /// The environment of this process, with the folder of `--job-dir` in it.
    ///
    /// # Errors
    /// The folder of `--job-dir` cannot be made.
    pub(super) fn environment(&self) -> Result<Environment, Failure> {
        let mut environment = Environment::of_this_process();
        if let Some(folder) = &self.job_dir {
            let folder = std::path::absolute(folder).map_err(Failure::local)?;
            environment.set_job_folder(&folder);
        }
        match (environment.make_job_folder(), &self.job_dir) {
            (Err(error), Some(folder)) => Err(Failure::Local(format!(
                "`--job-dir {}` cannot be used: {error}",
                escape(&folder.to_string_lossy())
            ))),
            // Without the folder each step gets a login of its own (T-136).
            (Err(_), None) | (Ok(()), _) => Ok(environment),
        }
    }
}

impl BrokerArgs {
    /// How long to try, all in all.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    fn proxy(&self, environment: &Environment) -> Option<Proxy> {
        let option = self.proxy.as_deref().map(|url| (url, "`--proxy`"));
        let variable = || Some((environment.get("HALLPASS_PROXY")?, "HALLPASS_PROXY"));
        let (url, origin) = option.or_else(variable)?;
        let url = Secret::new(url.to_owned());
        Some(Proxy { url, origin })
    }

    /// A client for the broker that options and environment name.
    pub(super) fn client(&self, environment: Environment) -> Result<Client, Failure> {
        hide_memory();
        let address = self
            .broker
            .as_deref()
            .or_else(|| environment.get("HALLPASS_BROKER"))
            .ok_or_else(|| {
                Failure::Usage(
                    "which broker? Give its address with `--broker` or HALLPASS_BROKER, like `https://hallpass.example`; to try hallpass on this machine, run `hallpass dev`"
                        .to_owned(),
                )
            })?;
        let settings = Settings {
            broker: BrokerAddress::parse(address).map_err(Failure::usage)?,
            route: TransportSettings {
                ca: self.ca.clone().or_else(|| environment.path("HALLPASS_CA")),
                proxy: self.proxy(&environment),
                no_proxy: environment
                    .get("NO_PROXY")
                    .or_else(|| environment.get("no_proxy"))
                    .map(str::to_owned),
            },
            patience: self.timeout,
            source: self.source.as_deref().and_then(source::named),
            allowed_audience: self
                .allow_audience
                .as_deref()
                .or_else(|| environment.get("HALLPASS_ALLOW_AUDIENCE"))
                .map(str::to_owned),
            environment,
        };
        Client::new(settings, Arc::new(SystemClock::new())).map_err(failure)
    }
}

/// No core file of this process, and no look into its memory or environment by the job's other
/// processes (T-93). It does not pass on to a child.
fn hide_memory() {
    #[cfg(target_os = "linux")]
    if nix::sys::prctl::set_dumpable(false).is_err() {
        // Only a precaution: on a kernel without it we are as other programs are.
    }
}

/// The exit code and the text of an error.
pub(super) fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::Denied(refusal) => Failure::Denied(denial(&refusal, columns(io::stderr()))),
        ClientError::Spent(refusal) => Failure::Denied(format!(
            "{}\n\n{WAY_OUT}",
            denial(&refusal, columns(io::stderr()))
        )),
        ClientError::Unreachable { .. }
        | ClientError::NotNow { .. }
        | ClientError::Silent { .. }
        | ClientError::Answer { .. } => Failure::Unreachable(error.to_string()),
        ClientError::Source(crate::client::SourceError::Request(inner)) => failure(*inner),
        ClientError::Address(_)
        | ClientError::Format(_)
        | ClientError::Source(crate::client::SourceError::Several { .. }) => {
            Failure::Usage(error.to_string())
        }
        ClientError::Setting(_)
        | ClientError::File(_)
        | ClientError::Key(_)
        | ClientError::Agent(_)
        | ClientError::NotSealedAsAsked { .. }
        | ClientError::Source(_)
        | ClientError::FalseIssuer { .. } => Failure::Local(error.to_string()),
    }
}

/// [`failure`] of `get` or `exec`. A token that was used before comes with the way out, which depends
/// on what the steps of this job share.
pub(super) fn failure_of_exchange(mut error: ClientError, client: &Client) -> Failure {
    let is_replay = matches!(
        &error,
        ClientError::Denied(refusal) if refusal.is(Reason::TokenReplayed)
    );
    if let ClientError::Denied(refusal) | ClientError::Spent(refusal) = &mut error
        && refusal.is(Reason::TokenReplayed)
    {
        // The broker's sentence is for programs that send requests: it names a header.
        refusal.error_description =
            Some("the job's ID token was already used for this credential".to_owned());
    }
    let is_silent = matches!(&error, ClientError::Silent { .. });
    let failure = failure(error);
    if let (Failure::Unreachable(text), true) = (&failure, is_silent) {
        return Failure::Unreachable(format!(
            "{text}\n\nIf the broker issued a credential, the same command in this job returns it; otherwise the credential\nexpires."
        ));
    }
    if let (Failure::Denied(text), true) = (&failure, is_replay) {
        return Failure::Denied(format!("{text}\n\n{}", way_out(client.shared_folder())));
    }
    failure
}

/// What lets the steps of a job with one token have a credential more than once.
fn way_out(shared: Option<&Path>) -> String {
    let why = "An ID token can be used once for each credential.";
    match shared {
        None => format!(
            "{why}\nThe steps of a job can share one login, but no folder is known for it: name one that only this\njob can read in every step, with `--job-dir DIR` or HALLPASS_JOB_DIR, and use `hallpass get` or\n`hallpass exec --keep` in each."
        ),
        Some(folder) => format!(
            "{why}\nThe steps of this job share one login if each uses `hallpass get` or `hallpass exec --keep` with the\nsame options, as the same user, and sees the same folder {}. A login that has ended is not reissued.",
            quoted(&folder.to_string_lossy())
        ),
    }
}

/// A refusal as its reader can act on it: the sentence, a table of what failed, the job's own facts.
fn denial(refusal: &Refusal, width: Option<usize>) -> String {
    let mut text = format!("denied: {refusal}");
    if !refusal.failed_conditions.is_empty() {
        text.push_str("\n\n");
        text.push_str(&table(&conditions(&refusal.failed_conditions), width));
    }
    if let Some(when) = refusal.when.as_deref().filter(|when| !when.is_empty()) {
        text.push_str("\n\nThis job, as a policy would name it:\n");
        for line in when.lines().take(MAX_LINES) {
            text.push_str("\n  ");
            text.push_str(&escape(line));
        }
    }
    text
}

/// The conditions that failed, as a table.
pub(super) fn conditions<'a>(
    failed: impl IntoIterator<Item = &'a FailedCondition>,
) -> Vec<Vec<String>> {
    let header = ["policy", "fact", "expected", "actual"].map(str::to_owned);
    let mut rows = vec![header.to_vec()];
    for condition in failed.into_iter().take(MAX_LINES) {
        let mut actual = shown(&condition.actual);
        if let Some(hint) = &condition.hint {
            actual = format!("{actual}  ({})", escape(hint));
        }
        rows.push(vec![
            escape(&condition.policy),
            escape(&condition.fact),
            shown(&condition.expected),
            actual,
        ]);
    }
    rows
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(not said)".to_owned(),
        Value::String(text) => escape(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            escape(&value.to_string())
        }
    }
}

/// Tells GitHub's runner to cover these texts in the log, before anything can print them.
///
/// On standard error: the runner obeys commands on both, and standard output is often being captured
/// by `$(…)`, where a command would become part of the value. It covers the job's log and nothing
/// else: not files, artifacts or caches. GitLab covers only variables that were there when the job
/// began, so there nothing can be done but not to print.
///
/// # Errors
/// The masking command was not written, so the secret must not be printed.
pub(super) fn mask(
    environment: &Environment,
    received: &Received,
    out: &mut Terminal,
) -> Result<(), Failure> {
    if !environment.is_github() {
        return Ok(());
    }
    for secret in received.secrets() {
        for command in mask_commands(secret.expose()) {
            out.command(&command)?;
        }
    }
    // An address holds the password percent-encoded, which may be another text.
    for variable in variables(received, None, None) {
        if matches!(variable.name.as_str(), "DATABASE_URL" | "REDIS_URL") {
            for command in mask_commands(variable.value.expose()) {
                out.command(&command)?;
            }
        }
    }
    Ok(())
}

/// Warns of variables of this environment that libpq obeys before ours, where we cannot unset them.
pub(super) fn warn_of_rivals(
    environment: &Environment,
    received: &Received,
    ca_file: Option<&Path>,
    out: &mut Terminal,
) {
    let mut names = rivals(received, ca_file);
    names.retain(|name| environment.has(name));
    let is_redis = names.first() == Some(&"VALKEYCLI_AUTH");
    if !names.is_empty() {
        out.error(&format!(
            "hallpass: warning: {} may use {} of this environment instead of the values of `{}`, even with {}; unset them where the login is used",
            if is_redis { "valkey-cli" } else { "libpq" },
            names.join(", "),
            escape(&received.name),
            if is_redis { "REDISCLI_AUTH" } else { "DATABASE_URL" }
        ));
    }
}

/// One command for each line: the runner covers lines.
fn mask_commands(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| format!("::add-mask::{}", line.replace('%', "%25")))
}

/// Runs the asynchronous part of a command.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Local(format!("cannot start the async runtime: {error}")))?;
    let result = runtime.block_on(work);
    // A thread may still wait for a name or a pipe; the result is there.
    runtime.shutdown_background();
    result
}

/// [`block_on`] for work that may run a CI's program: a signal that ends us ends that first (T-434).
pub(super) fn block_on_until_signal<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut signals = Signals::catch_briefly()?;
    let result = block_on(async {
        tokio::select! {
            biased;
            result = work => Ok(Ok(result)),
            caught = signals.next() => Ok(Err(caught)),
        }
    })?;
    match result {
        Ok(result) => {
            signals.release();
            result
        }
        Err(caught) => {
            signals.end_by(caught);
            Err(Failure::Child(caught.exit_code()))
        }
    }
}

/// `text` for a message that names a file or a command.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", escape_up_to(text, 120))
}

const MAX_LINES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal {
            error: "invalid_request".to_owned(),
            error_description: Some("fact `ref` is `refs/heads/dev`".to_owned()),
            retryable: false,
            reason: Some("policy.condition".to_owned()),
            request_id: Some("req_1".to_owned()),
            failed_conditions: vec![FailedCondition {
                policy: "shop-migrate".to_owned(),
                fact: "ref".to_owned(),
                expected: "refs/heads/main".into(),
                actual: "refs/heads/dev".into(),
                hint: None,
            }],
            when: Some("when:\n  repository: acme/shop\n".to_owned()),
        }
    }

    #[test]
    fn a_denial_shows_what_failed_and_what_to_paste() {
        insta::assert_snapshot!(denial(&refusal(), None), @r"
        denied: fact `ref` is `refs/heads/dev` (policy.condition, request req_1)

          policy        fact  expected         actual
          shop-migrate  ref   refs/heads/main  refs/heads/dev

        This job, as a policy would name it:

          when:
            repository: acme/shop
        ");
    }

    /// T-91
    #[test]
    fn nothing_in_a_denial_reaches_the_terminal_unescaped() {
        let hostile = "\u{1b}]0;owned\u{7}\u{202e}\r";
        let mut refusal = refusal();
        refusal.error_description = Some(hostile.to_owned());
        refusal.reason = Some(hostile.to_owned());
        refusal.request_id = Some(hostile.to_owned());
        refusal.when = Some(hostile.to_owned());
        refusal.failed_conditions = vec![FailedCondition {
            policy: hostile.to_owned(),
            fact: hostile.to_owned(),
            expected: serde_json::json!([hostile]),
            actual: hostile.into(),
            hint: Some(hostile.to_owned()),
        }];
        let text = denial(&refusal, Some(40));
        assert!(
            text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')),
            "{text:?}"
        );
    }

    #[test]
    fn the_way_out_of_a_replay_fits_what_the_steps_share() {
        insta::assert_snapshot!(way_out(None), @r"
        An ID token can be used once for each credential.
        The steps of a job can share one login, but no folder is known for it: name one that only this
        job can read in every step, with `--job-dir DIR` or HALLPASS_JOB_DIR, and use `hallpass get` or
        `hallpass exec --keep` in each.
        ");
        insta::assert_snapshot!(way_out(Some(Path::new("/job/hallpass-0"))), @r"
        An ID token can be used once for each credential.
        The steps of this job share one login if each uses `hallpass get` or `hallpass exec --keep` with the
        same options, as the same user, and sees the same folder `/job/hallpass-0`. A login that has ended is not reissued.
        ");
    }

    #[test]
    fn a_mask_is_one_command_whatever_the_secret_holds() {
        let commands = |text| mask_commands(text).collect::<Vec<_>>();
        assert_eq!(commands("a%0Ab"), ["::add-mask::a%250Ab"]);
        assert_eq!(commands("a\nb\n\n"), ["::add-mask::a", "::add-mask::b"]);
    }
}
