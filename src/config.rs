//! The settings file to typed settings, once. With client/source the only reader of the environment.
//!
//! `hallpass.yaml` says how hallpass is deployed; whom to trust and who gets what is in the policies.
//! It holds no secret: only where one is. What is wrong with it comes together, each with its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::audit::sink::{self, SinkSettings};
use crate::credential::target::TargetSettings;
use crate::file::read_text;
use crate::policy::Disclosure;
use crate::policy::link::LinkTemplate;
use crate::replay::StoreSettings;
use crate::token::Blocked;
use crate::yaml;
use crate::yaml::diagnostic::{Diagnostic, Diagnostics, Place, Problems, Source, Span};

mod blocked;
mod changes;
mod limits;
mod listen;
mod replay;
mod signing;
mod targets;

pub use changes::Change;
pub use limits::Limits;
pub use listen::{Listen, OperatorHost, TlsFiles};
pub use signing::Signing;

use crate::yaml::reader::NodeReader;
use crate::yaml::settings::{File, Item};

/// How one hallpass is deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The broker's own name: the `iss` of minted tokens, and the `aud` that jobs request. An https
    /// URL without a trailing slash; http only for loopback addresses.
    pub issuer: String,
    /// This replica's name in the audit chain.
    pub replica: String,
    /// Files of root keys, the active one first.
    pub root_keys: Vec<PathBuf>,
    pub listen: Listen,
    /// The folder of the policies.
    pub policies: PathBuf,
    /// How jobs and their readers reach a policy at its commit.
    pub policy_url: Option<PolicyUrl>,
    /// How often settings and policies are checked for changes; `None`: on SIGHUP only.
    pub reload: Option<Duration>,
    /// Where credentials are issued or created, by name.
    pub targets: BTreeMap<String, Arc<dyn TargetSettings>>,
    /// How minted tokens are signed.
    pub signing: Signing,
    /// Where used tokens are remembered. It cannot change while a broker runs.
    pub replay: StoreSettings,
    pub sinks: Vec<AuditSink>,
    pub limits: Limits,
    /// How much of a policy a denial discloses.
    pub disclose: Disclosure,
    /// Issuers and keys whose tokens are refused (T-64).
    pub blocked: Blocked,
    /// The folder of the clients that the broker serves to jobs, if any.
    pub clients: Option<PathBuf>,
    /// The file they were read from, to be read again.
    pub file: Option<PathBuf>,
}

/// Links to policies: the template, and the file with the commit of the policies' folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyUrl {
    pub template: LinkTemplate,
    pub commit: PathBuf,
}

#[derive(Clone, Debug)]
pub struct AuditSink {
    pub settings: Arc<dyn SinkSettings>,
    /// Nothing is minted while this sink does not accept events.
    pub required: bool,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("settings file `{path}` cannot be read: {problem}", path = .path.display())]
    Unreadable { path: PathBuf, problem: String },
    #[error("{0}")]
    Wrong(Diagnostics),
}

impl SettingsError {
    /// The error with the option that names another file, where that may help.
    #[must_use]
    pub fn with_option(&self, option: &str) -> String {
        match self {
            Self::Unreadable { .. } => format!("{self}; name another with `{option}`"),
            Self::Wrong(_) => self.to_string(),
        }
    }
}

impl Settings {
    /// Reads a settings file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// The file cannot be read, or everything that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |problem: String| SettingsError::Unreadable {
            path: path.to_owned(),
            problem,
        };
        let text = read_text(path, MAX_FILE).map_err(|error| unreadable(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let settings = Self::parse(&path.display().to_string(), text, folder, &environment);
        let mut settings = settings.map_err(SettingsError::Wrong)?;
        settings.file = Some(path.to_owned());
        Ok(settings)
    }

    /// Reads the text of a settings file; `environment` is asked for `${env:NAME}`.
    ///
    /// # Errors
    /// Everything that is wrong in it, with places.
    pub fn parse(
        name: &str,
        text: String,
        folder: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Diagnostics> {
        let source = Source::new(name, name, text);
        let problems = Problems::default();
        let root = yaml::parse(&source, &problems);
        if root.is_none() && problems.count() == 0 {
            problems.push(empty(&source));
        }
        let file = File {
            reader: NodeReader::new(&source, &problems),
            folder,
            environment,
        };
        let settings = root.as_ref().and_then(|node| Self::read(&file, node));
        let problems = Diagnostics::from(problems);
        match settings {
            Some(settings) if !problems.has_errors() => Ok(settings),
            Some(_) | None => Err(problems),
        }
    }

    fn read(file: &File<'_>, root: &yaml::Node) -> Option<Self> {
        let root = file.section(root, "the settings")?;
        let issuer = root.required("issuer").and_then(|item| issuer(&item));
        let replica = root.optional("replica").map(|item| replica(&item));
        let root_keys = root.required("root_key").and_then(|item| root_keys(&item));
        let listen = match root.optional("listen") {
            Some(item) => item.section().and_then(|section| listen::read(&section)),
            None => Some(Listen::default()),
        };
        let policies = root.required("policies").and_then(|item| policies(&item));
        let targets = match root.optional("targets") {
            Some(item) => targets::read(&item),
            None => Some(BTreeMap::new()),
        };
        let signing = match root.optional("signing") {
            Some(item) => item.section().map(|section| signing::read(&section)),
            None => Some(Signing::default()),
        };
        let replay = root.optional("replay").map_or_else(
            || Some(StoreSettings::default()),
            |item| replay::read(&item, targets.as_ref()),
        );
        let sinks = root.required("audit").and_then(|item| audit(&item));
        let limits = match root.optional("limits") {
            Some(item) => item.section().map(|section| limits::read(&section)),
            None => Some(Limits::default()),
        };
        let disclose = root
            .optional("disclose")
            .map_or(Some(Disclosure::default()), |item| disclose(&item));
        let blocked = root
            .optional("blocked")
            .map_or_else(|| Some(Blocked::new()), |item| blocked::read(&item));
        let clients = root
            .optional("clients")
            .map_or(Some(None), |item| clients(&item).map(Some));
        root.finish();
        let (policies, policy_url, reload) = policies?;
        Some(Self {
            issuer: issuer?,
            replica: replica.unwrap_or_else(|| Some(host_name()))?,
            root_keys: root_keys?,
            listen: listen?,
            policies,
            policy_url,
            reload,
            targets: targets?,
            signing: signing?,
            replay: replay?,
            sinks: sinks?,
            limits: limits?,
            disclose: disclose?,
            blocked: blocked?,
            clients: clients?,
            file: None,
        })
    }
}

fn empty(source: &Arc<Source>) -> Diagnostic {
    let place = Place::new(Arc::clone(source), Span::default());
    Diagnostic::error("empty", place, "the settings file is empty".to_owned())
        .help("begin with `issuer:`, `root_key:`, `policies:` and `audit:`")
}

impl PartialEq for AuditSink {
    fn eq(&self, other: &Self) -> bool {
        let settings = |sink: &Self| sink.settings.description();
        (self.required, settings(self)) == (other.required, settings(other))
    }
}

impl Eq for AuditSink {}

/// Checks our own name: tokens and clouds compare it byte for byte.
fn issuer(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    match issuer_problem(&text) {
        None => Some(text),
        Some((problem, help)) => item.wrong(&format!("`issuer` {problem}"), help),
    }
}

/// What is wrong with the URL of a broker, and the likely fix.
pub(crate) fn issuer_problem(text: &str) -> Option<(&'static str, &'static str)> {
    let https = "write the https URL that jobs reach hallpass by, e.g. `https://hallpass.acme.dev`";
    let Ok(url) = Url::parse(text) else {
        return Some(("is not a URL", https));
    };
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
        return Some(("is not an https URL", https));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some(("holds a user name or a password", https));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Some(("has a query or a fragment", https));
    }
    if text.ends_with('/') {
        return Some((
            "ends with a slash",
            "leave the slash out: names are compared byte for byte",
        ));
    }
    let canonical = url.as_str();
    if canonical != text && canonical.strip_suffix('/') != Some(text) {
        return Some((
            "is not in its canonical form",
            "write scheme and host in lower case, without the default port",
        ));
    }
    None
}

fn replica(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let fits = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if fits {
        Some(text)
    } else {
        item.wrong(
            "`replica` must be 1 to 64 letters, digits, `.`, `-` or `_`",
            "leave it out to use the host name",
        )
    }
}

/// `{file: …}`, with `previous: [{file: …}]` while a root key is being replaced.
fn root_keys(item: &Item<'_>) -> Option<Vec<PathBuf>> {
    let section = item.section_or_secret("root_key")?;
    let current = section.required("file").and_then(|file| file.path());
    let mut files = vec![current];
    for entry in section
        .optional("previous")
        .and_then(|list| list.list())
        .unwrap_or_default()
    {
        let file = entry.section_or_secret("previous").and_then(|section| {
            let file = section.required("file").and_then(|file| file.path());
            section.finish();
            file
        });
        files.push(file);
    }
    section.finish();
    files.into_iter().collect()
}

/// The folder, links to what is in it, and how often it is looked at.
fn policies(item: &Item<'_>) -> Option<(PathBuf, Option<PolicyUrl>, Option<Duration>)> {
    let section = item.section()?;
    let path = section.required("path").and_then(|item| item.path());
    let reload = section.optional("reload");
    let url = section.optional("url");
    let template = url.as_ref().map(link_template);
    let commit = section.optional("commit").map(|item| {
        let section = item.section()?;
        let file = section.required("file").and_then(|item| item.path());
        section.finish();
        Some((item, file?))
    });
    section.finish();
    let policy_url = match (template, commit) {
        (None, None) => None,
        (Some(template), Some(commit)) => Some(PolicyUrl {
            template: template?,
            commit: commit?.1,
        }),
        (Some(_), None) => {
            return url?.wrong(
                "`policies.url` is set without `policies.commit`",
                "write `commit: { file: policies.commit }`, a file with the commit of the policies",
            );
        }
        (None, Some(commit)) => {
            return commit?
                .0
                .wrong("`policies.commit` is set without `policies.url`", URL_HELP);
        }
    };
    let reload = match reload {
        None => Some(RELOAD),
        Some(item) if item.text()? == "off" => None,
        Some(item) => Some(item.duration(MIN_RELOAD, MAX_RELOAD)?),
    };
    Some((path?, policy_url, reload))
}

/// The text is not repeated in an error, because a URL may hold a password.
fn link_template(item: &Item<'_>) -> Option<LinkTemplate> {
    let text = item.text_unseen()?;
    match LinkTemplate::parse(&text) {
        Ok(template) => Some(template),
        Err(problem) => item.wrong_unseen(problem, URL_HELP),
    }
}

/// `{folder: …}`.
fn clients(item: &Item<'_>) -> Option<PathBuf> {
    let section = item.section()?;
    let folder = section.required("folder").and_then(|item| item.path());
    section.finish();
    folder
}

fn audit(item: &Item<'_>) -> Option<Vec<AuditSink>> {
    let section = item.section()?;
    let sinks = section.required("sinks").and_then(|list| {
        let entries = list.list()?;
        if entries.is_empty() {
            return list.wrong(
                "`sinks` is empty: nothing would be recorded",
                "write e.g. `- { kind: file, path: audit.jsonl, required: true }`",
            );
        }
        let sinks = entries.iter().map(read_sink).collect::<Option<Vec<_>>>()?;
        if sinks.iter().any(|sink| sink.required) {
            Some(sinks)
        } else {
            list.wrong(
                "no sink is required: credentials could be minted that nothing records",
                "write `required: true` in at least one",
            )
        }
    });
    section.finish();
    sinks
}

fn read_sink(item: &Item<'_>) -> Option<AuditSink> {
    let section = item.section()?;
    let word = section.required("kind");
    let required = section.optional("required").map(|item| item.boolean());
    let word = word?;
    let text = word.text()?;
    let Some(kind) = sink::KINDS.iter().find(|kind| kind.name == text) else {
        let known = sink::KINDS.map(|kind| format!("`{}`", kind.name));
        return word.wrong(
            &format!("unknown kind of sink `{text}`"),
            &format!("write {}", known.join(" or ")),
        );
    };
    let settings = (kind.read)(&section);
    section.finish();
    Some(AuditSink {
        settings: settings?,
        required: required.unwrap_or(Some(false))?,
    })
}

fn disclose(item: &Item<'_>) -> Option<Disclosure> {
    let text = item.text()?;
    match Disclosure::from_name(&text) {
        Some(disclosure) => Some(disclosure),
        None => item.wrong(
            &format!("`disclose` cannot be `{text}`"),
            "write `never`, `repository` or `always`",
        ),
    }
}

/// The machine's name, of characters that a replica's name may have.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_'))
        .take(64)
        .collect();
    if name.is_empty() {
        "hallpass".to_owned()
    } else {
        name
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "config is where the environment is read"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// More than any settings file needs.
const MAX_FILE: u64 = 1 << 20;
/// How often changes are looked for where the settings do not say.
const RELOAD: Duration = Duration::from_secs(10);
const URL_HELP: &str =
    "write e.g. `https://git.acme.dev/acme/policies/blob/{commit}/{path}#L{line}`";
const MIN_RELOAD: Duration = Duration::from_secs(1);
const MAX_RELOAD: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
