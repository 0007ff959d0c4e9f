//! `credentials:` what exists, how far it may go, and who answers for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::each::Expansion;
use super::teams::Teams;
use super::{DefinitionReader, bounds, limits, taken};
use crate::credential::kind::{self, KINDS, Kind};
use crate::policy::parse::{self, Raw, Realm};
use crate::policy::{CredentialClass, CredentialDefinition, MOST_LABELS, PolicySet, Rotation};
use crate::yaml::diagnostic::{Place, Problems, Span, nearest};
use crate::yaml::duration;
use crate::yaml::reader::{Fields, MAX_TEXT, NodeReader, listed};
use crate::yaml::{Entry, Node};

/// The credentials of all files, as far as they could be read. What is wrong with one of them is
/// said once, where it is defined, and not again where it is named.
pub(super) struct Credentials {
    pub(super) definitions: BTreeMap<String, Arc<CredentialDefinition>>,
    pub(super) places: BTreeMap<String, Place>,
    /// Whose file defines each.
    realms: BTreeMap<String, Realm>,
    /// Names of those too faulty to know what they are.
    unread: BTreeSet<String>,
    /// Some were read with a fault, so that an owner or a target may be missing.
    has_faults: bool,
    /// Some file could not be read whole, so that there may be more.
    has_gaps: bool,
}

impl Credentials {
    /// Those of a set that was read whole.
    pub(super) fn of(set: &PolicySet) -> Self {
        Self {
            definitions: set.credentials.clone(),
            places: set.credential_places.clone(),
            realms: BTreeMap::new(),
            unread: BTreeSet::new(),
            has_faults: false,
            has_gaps: false,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<CredentialDefinition>> {
        self.definitions.get(name)
    }

    /// It is defined, or could be, where nothing can be read.
    pub(super) fn may_exist(&self, name: &str) -> bool {
        self.has_gaps || self.unread.contains(name) || self.definitions.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let read = self.definitions.keys();
        read.chain(&self.unread).map(String::as_str)
    }

    pub(super) const fn are_all_known(&self) -> bool {
        !self.has_gaps
    }

    /// There are no others, and of each everything is known.
    pub(super) fn are_all_read(&self) -> bool {
        !self.has_gaps && !self.has_faults
    }

    pub(super) fn owners(&self) -> Vec<&str> {
        let all = self.definitions.values();
        distinct(all.map(|credential| credential.owner.as_str()))
    }

    pub(super) fn targets(&self) -> Vec<&str> {
        let all = self.definitions.values();
        distinct(all.filter_map(|credential| credential.target()))
    }
}

impl Credentials {
    /// Adds a credential, unless its name or its `resource` is taken.
    fn add(
        &mut self,
        yaml: &NodeReader<'_>,
        entry: &Entry,
        realm: Realm,
        credential: CredentialDefinition,
        resources: &mut BTreeMap<String, Place>,
    ) {
        let place = yaml.place(entry.span);
        if let Some(first) = self.places.get(&credential.name) {
            return yaml.report(taken("credential", &credential.name, place, first));
        }
        if let Some(uri) = &credential.resource {
            // Compared byte for byte in a request, but two spellings of one URI must not lead to
            // two credentials.
            let spelling = url::Url::parse(uri).map_or_else(|_| uri.clone(), String::from);
            let resource = yaml.place(entry.span_of("resource"));
            if let Some(first) = resources.get(&spelling) {
                return yaml.report(taken("resource", uri, resource, first));
            }
            resources.insert(spelling, resource);
        }
        let name = credential.name.clone();
        self.places.insert(name.clone(), place);
        self.realms.insert(name.clone(), realm);
        self.definitions.insert(name, Arc::new(credential));
    }

    /// Whose file defines it.
    pub(super) fn realm_of(&self, name: &str) -> Option<Realm> {
        self.realms.get(name).copied()
    }
}

fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let words: BTreeSet<&str> = words.collect();
    words.into_iter().collect()
}

/// Every credential of all files.
pub(super) fn compile(
    raws: &[Raw],
    has_gaps: bool,
    teams: &Teams,
    expansion: &Expansion<'_>,
    problems: &Problems,
) -> Credentials {
    let mut credentials = Credentials {
        definitions: BTreeMap::new(),
        places: BTreeMap::new(),
        realms: BTreeMap::new(),
        unread: BTreeSet::new(),
        has_faults: false,
        has_gaps,
    };
    let mut resources: BTreeMap<String, Place> = BTreeMap::new();
    for raw in raws {
        for template in &raw.credentials {
            let yaml = NodeReader::new(&raw.source, problems);
            expansion.entries(&yaml, raw.realm, template, |entry, row| {
                let before = problems.count();
                let yaml = NodeReader::new(&raw.source, problems).in_row(row);
                let read = credential(&yaml, entry, raw.realm, teams);
                credentials.has_faults |= problems.count() > before;
                match read {
                    Some(read) => credentials.add(&yaml, entry, raw.realm, read, &mut resources),
                    None => {
                        credentials.unread.insert(entry.key.text.clone());
                    }
                }
            });
        }
    }
    credentials.has_gaps |= expansion.has_gaps();
    credentials
}

/// Reads one definition to its end, so that all its errors are reported. A value that could not be
/// read is replaced by a stand-in, since a set with an error is never built.
fn credential(
    yaml: &NodeReader<'_>,
    entry: &Entry,
    realm: Realm,
    teams: &Teams,
) -> Option<CredentialDefinition> {
    let name = yaml.scalar(&entry.key, entry.span, "the name of a credential")?;
    let name = parse::name(yaml, name, entry.span, "credential")?;
    teams.check_name(yaml, realm, "credential", name, entry.span);
    let team = teams.of(realm);
    let what = format!("credential `{name}`");
    // The kind decides which keys there may be, so it is read first.
    let all = || KINDS.iter().flat_map(|kind| kind.keys).copied();
    let word = yaml
        .entries(&entry.value, &what)?
        .iter()
        .find(|line| line.key.text == "kind");
    let kind = if let Some(word) = word {
        kind(yaml, &word.value, &what)
    } else {
        let message = format!("key `kind` is missing from {what}");
        yaml.error("missing-key", entry.span, message);
        None
    };
    let mut known = COMMON.to_vec();
    match kind {
        Some(kind) => known.extend(kind.keys),
        None => known.extend(all()),
    }
    let fields = yaml.fields(&entry.value, &what, &known)?;
    let specific = kind.and_then(|kind| {
        (kind.read)(&mut DefinitionReader {
            yaml,
            fields: &fields,
            what: &what,
            at: entry.span,
        })
    });
    let inputs = match (kind, fields.get("inputs")) {
        (Some(kind), Some(node)) => bounds::read(yaml, node, kind, &what),
        (Some(_) | None, _) => BTreeMap::new(),
    };
    let max_ttl = ceiling(yaml, &fields, kind, &what, entry.span);
    let free = |key| free_text(yaml, &fields, key, &what, entry.span);
    let owner = match team.filter(|_| fields.get("owner").is_none()) {
        Some(team) => Some(team.owner.clone()),
        None => free("owner"),
    };
    let purpose = free("purpose");
    let class = yaml
        .required(&fields, "class", &what, entry.span)
        .and_then(|node| class(yaml, node, &format!("`class` of {what}")));
    let resource = match fields.get("resource") {
        Some(node) => resource(yaml, node, &what).map(Some),
        None => Some(None),
    };
    let dependents = match fields.get("dependents") {
        Some(node) => yaml.texts(node, format!("`dependents` of {what}")),
        None => Some(Vec::new()),
    };
    let rotate = fields
        .get("rotate")
        .and_then(|node| rotation(yaml, node, &what));
    let labels = fields
        .get("labels")
        .and_then(|node| labels(yaml, node, &what));
    if let (Some(target), Some(node)) = (
        specific.as_ref().and_then(|specific| specific.target()),
        fields.get("target"),
    ) && kind::find(target).is_some()
    {
        let message = format!("`target` of {what} is `{target}`, which is the name of a kind");
        let help =
            "rename the target, also in the settings; `uses` of a team could not tell them apart";
        yaml.error_help("target-name", node.span, message, Some(help));
    }
    let read = CredentialDefinition {
        name: name.to_owned(),
        kind: kind?,
        specific: specific?,
        inputs,
        max_ttl: max_ttl.unwrap_or(LONGEST),
        owner: owner.unwrap_or_default(),
        purpose: purpose.unwrap_or_default(),
        class: class.unwrap_or(CredentialClass::Low),
        resource: resource.unwrap_or_default(),
        dependents: dependents.unwrap_or_default(),
        rotate,
        labels: labels.unwrap_or_default(),
    };
    if let Some(team) = team {
        limits::check(yaml, &fields, &read, team);
    }
    Some(read)
}

/// `rotate:` how often a value must change, and how long the old one stays valid.
fn rotation(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Rotation> {
    let what = format!("`rotate` of {what}");
    let fields = yaml.fields(node, &what, &["every", "grace"])?;
    let every = yaml.required(&fields, "every", &what, node.span);
    let every = every.and_then(|node| yaml.duration(node, format!("`every` of {what}")));
    let grace = match fields.get("grace") {
        Some(node) => yaml.duration(node, format!("`grace` of {what}")).map(Some),
        None => Some(None),
    };
    let (every, grace) = (every?, grace?);
    if grace.is_some_and(|grace| grace >= every) {
        let message = format!("`grace` of {what} must be shorter than `every`");
        yaml.error("duration", node.span, message);
        return None;
    }
    Some(Rotation { every, grace })
}

/// `labels:` of a credential, for audit events and metrics.
fn labels(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<BTreeMap<String, String>> {
    let what = format!("`labels` of {what}");
    let entries = yaml.entries(node, &what)?;
    if !(1..=MOST_LABELS).contains(&entries.len()) {
        let message = format!(
            "{what} are {} labels, expected 1 to {MOST_LABELS}",
            entries.len()
        );
        yaml.error("labels", node.span, message);
        return None;
    }
    let mut labels = BTreeMap::new();
    for entry in entries {
        let name = yaml.scalar(&entry.key, entry.span, "the name of a label")?;
        if !is_label(name) {
            let message = format!(
                "`{name}` in {what} must be 1 to {LONGEST_LABEL} lower-case letters, digits and `_`, beginning with a letter"
            );
            yaml.error("labels", entry.span, message);
            continue;
        }
        let value = yaml.ascii(&entry.value, format!("`{name}` in {what}"), MAX_TEXT);
        labels.insert(name.to_owned(), value.unwrap_or_default().to_owned());
    }
    Some(labels)
}

/// What Prometheus and SQL take as a name without quotes.
fn is_label(name: &str) -> bool {
    name.len() <= LONGEST_LABEL
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn resource(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<String> {
    let uri = yaml.ascii(node, format!("`resource` of {what}"), parse::MAX_RESOURCE)?;
    if parse::is_resource(uri) {
        return Some(uri.to_owned());
    }
    yaml.error_help(
        "resource",
        node.span,
        format!("`resource` of {what} is `{uri}`, expected an absolute URI without a fragment"),
        Some("for example https://deploy.acme.dev"),
    );
    None
}

fn kind(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<&'static Kind> {
    let word = yaml.text(node, format!("`kind` of {what}"))?;
    let found = kind::find(word);
    if found.is_none() {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let help = match nearest(word, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the kinds are {}", listed(&names)),
        };
        yaml.error_help(
            "unknown-kind",
            node.span,
            format!("unknown kind `{word}`"),
            Some(help),
        );
    }
    found
}

/// Scope tokens of RFC 6749 section 3.3: they are joined by spaces later.
pub(super) fn scopes(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Vec<String>> {
    let scopes = yaml.texts(node, what)?;
    let odd = scopes.iter().find(|scope| scope.contains([' ', '"', '\\']));
    if let Some(odd) = odd {
        let message = format!(
            "`{odd}` in {what} is not a scope (RFC 6749 section 3.3): no spaces, quotes or backslashes"
        );
        yaml.error("scope", node.span, message);
        return None;
    }
    Some(scopes)
}

/// T-86: the ceiling of ceilings is an hour.
fn ceiling(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    kind: Option<&Kind>,
    what: &str,
    at: Span,
) -> Option<Duration> {
    let node = yaml.required(fields, "max_ttl", what, at)?;
    let max_ttl = yaml.duration(node, format!("`max_ttl` of {what}"))?;
    if max_ttl > LONGEST {
        let message = format!(
            "`max_ttl` of {what} is {}, at most {} is allowed",
            duration::print(max_ttl),
            duration::print(LONGEST)
        );
        yaml.error("duration", node.span, message);
        return None;
    }
    if let Some(kind) = kind {
        check_shortest(yaml, node, &format!("`max_ttl` of {what}"), max_ttl, kind);
    }
    Some(max_ttl)
}

/// Reports a lifetime that the kind cannot be issued for: the broker would refuse every request.
pub(super) fn check_shortest(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    ttl: Duration,
    kind: &Kind,
) {
    let shortest = kind.shortest();
    if ttl < shortest {
        let [found, least] = [ttl, shortest].map(duration::print);
        let noun = kind.noun;
        let message = format!("{what} is {found}, {noun} can only be issued for at least {least}");
        yaml.error_help(
            "duration",
            node.span,
            message,
            Some(format!("write `{least}` or more")),
        );
    }
}

fn free_text(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    key: &str,
    what: &str,
    at: Span,
) -> Option<String> {
    let node = yaml.required(fields, key, what, at)?;
    yaml.text(node, format!("`{key}` of {what}"))
        .map(str::to_owned)
}

pub(super) fn class(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<CredentialClass> {
    let word = yaml.text(node, what)?;
    let classes = [
        CredentialClass::Low,
        CredentialClass::Moderate,
        CredentialClass::Critical,
    ];
    let found = classes.into_iter().find(|class| class.name() == word);
    if found.is_none() {
        let names = classes.map(CredentialClass::name);
        let help = match nearest(word, names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the classes are {}", listed(&names)),
        };
        yaml.error_help(
            "unknown-class",
            node.span,
            format!("unknown class `{word}`"),
            Some(help),
        );
    }
    found
}

/// The keys of every kind.
const COMMON: &[&str] = &[
    "kind",
    "max_ttl",
    "owner",
    "purpose",
    "class",
    "resource",
    "inputs",
    "dependents",
    "rotate",
    "labels",
];

/// The longest name of a label, in bytes.
const LONGEST_LABEL: usize = 63;

/// The longest life of any credential (T-86).
const LONGEST: Duration = Duration::from_secs(3_600);
