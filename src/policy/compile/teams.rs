//! `teams:` folders with limits. Reads the limits, and decides whose each file is. Not: how an entry
//! is compared with them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::conditions::{self, About};
use super::credentials::{self, Credentials};
use super::issuers::Issuers;
use super::rosters::is_plain_path;
use super::taken;
use crate::credential::kind::{self, KINDS, TeamBound};
use crate::policy::files::{Folder, about};
use crate::policy::parse::{self, Raw, Realm};
use crate::policy::pattern::{Glob, Observed, Operator, Pattern};
use crate::policy::{Block, CredentialClass};
use crate::yaml::diagnostic::{Diagnostic, Place, Problems, Span, nearest};
use crate::yaml::reader::{Fields, MAX_TEXT, NodeReader};
use crate::yaml::{Entry, Node, NodeKind};

/// A team: its folder, and what its files may define.
#[derive(Debug)]
pub(super) struct Team {
    pub(super) name: String,
    /// The place of its name.
    pub(super) place: Place,
    folder: String,
    folder_place: Place,
    /// The names of its credentials and policies.
    names: Pattern,
    pub(super) names_place: Place,
    /// What every job of its policies must meet, the issuer included.
    pub(super) jobs: Arc<Block>,
    /// The issuers of its jobs.
    pub(super) issuers: Vec<String>,
    pub(super) jobs_place: Place,
    /// What its credentials may reach, by target or by kind.
    pub(super) uses: BTreeMap<String, Use>,
    pub(super) uses_place: Place,
    pub(super) owner: String,
    pub(super) owner_place: Place,
    pub(super) max_ttl: Option<(Duration, Place)>,
    /// Credentials of others that it may grant.
    borrows: BTreeMap<String, Place>,
}

/// What a team may reach in one target, or with one kind that has no targets.
#[derive(Debug)]
pub(super) struct Use {
    /// The allowed values, by key of the definition.
    pub(super) bounds: BTreeMap<&'static str, (Pattern, Place)>,
    /// The lowest class of what it reaches.
    pub(super) at_least: CredentialClass,
    pub(super) at_least_place: Place,
    pub(super) place: Place,
}

/// The teams of all files.
#[derive(Debug, Default)]
pub(super) struct Teams {
    all: Vec<Team>,
    /// Some team or file could not be read, so there may be more.
    has_gaps: bool,
}

impl Team {
    /// Whether it may define a credential or policy of that name.
    pub(super) fn may_name(&self, name: &str) -> bool {
        self.names.fits(Observed::Text(name))
    }

    pub(super) fn borrows(&self, credential: &str) -> bool {
        self.borrows.contains_key(credential)
    }
}

impl Teams {
    /// The team that may write a file.
    pub(super) fn of(&self, realm: Realm) -> Option<&Team> {
        match realm {
            Realm::Team(number) => self.all.get(number),
            Realm::Root | Realm::Unknown => None,
        }
    }

    /// Every folder.
    pub(super) fn folders(&self) -> Vec<String> {
        self.all.iter().map(|team| team.folder.clone()).collect()
    }

    pub(super) fn folder_of(&self, realm: Realm) -> Option<&str> {
        self.of(realm).map(|team| team.folder.as_str())
    }

    /// Reports a name that a file of this realm must not define (T-120).
    pub(super) fn check_name(
        &self,
        yaml: &NodeReader<'_>,
        realm: Realm,
        what: &str,
        name: &str,
        span: Span,
    ) {
        match realm {
            Realm::Team(_) => {
                let Some(team) = self.of(realm).filter(|team| !team.may_name(name)) else {
                    return;
                };
                let message = format!("team `{}` may not define a {what} `{name}`", team.name);
                let help = format!("its names are limited at {}", team.names_place);
                yaml.error_help("team-name", span, message, Some(help));
            }
            Realm::Root => {
                let Some(team) = self.all.iter().find(|team| team.may_name(name)) else {
                    return;
                };
                let message = format!(
                    "the name of {what} `{name}` belongs to team `{}`",
                    team.name
                );
                let help = format!(
                    "choose another name, or change the names of the team at {}",
                    team.names_place
                );
                yaml.error_help("team-name", span, message, Some(help));
            }
            Realm::Unknown => {}
        }
    }

    /// Reports borrowed credentials that do not exist, or that the team defines itself.
    pub(super) fn check_borrows(&self, credentials: &Credentials, problems: &Problems) {
        let borrowed = self.all.iter().flat_map(|team| team.borrows.iter());
        for (name, place) in borrowed.filter(|(name, _)| !credentials.may_exist(name)) {
            let message = format!("unknown credential `{name}` in `borrows`");
            let help = match nearest(name, credentials.names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "name a credential that is defined outside the team's folder".to_owned(),
            };
            let problem = Diagnostic::error("unknown-credential", place.clone(), message);
            problems.push(problem.help(help));
        }
    }

    /// Sets the realm of every file. Reports files in a sub-folder of no team, and sections that a
    /// team's file must not have (T-120).
    pub(super) fn assign(&self, raws: &mut [Raw], problems: &Problems) {
        for raw in raws.iter_mut().filter(|raw| raw.realm == Realm::Unknown) {
            let yaml = NodeReader::new(&raw.source, problems);
            let name = raw.source.name();
            if let Some(number) = self
                .all
                .iter()
                .position(|team| is_below(name, &team.folder))
            {
                for (name, span) in &raw.of_root {
                    let message = format!("`{name}` is not allowed in a team's file");
                    let help = "move it to a file directly in the folder of policies; a team's file may have `credentials`, `policies` and `rosters`";
                    yaml.error_help("team-section", *span, message, Some(help));
                }
                raw.realm = Realm::Team(number);
            } else if !self.has_gaps {
                let shown = yaml.place(Span::default());
                let message = format!("`{}` is in a sub-folder that no team has", shown.file());
                let help =
                    "move it to the folder of policies itself, or define a team with this `folder`";
                yaml.error_help("sub-folder", Span::default(), message, Some(help));
            }
        }
    }

    /// Reports files that one team may write and that are read as another's: links, and files of
    /// the root that are in a team's folder (T-120).
    pub(super) fn check_files(&self, folder: &Folder, problems: &Problems) {
        let owner_of_name = |name: &str| {
            let mut teams = self.all.iter().enumerate();
            teams
                .find(|(_, team)| is_below(name, &team.folder))
                .map(|(number, _)| number)
        };
        let folders: Vec<Option<PathBuf>> = self
            .all
            .iter()
            .map(|team| folder.real_folder(&team.folder))
            .collect();
        for (number, team) in self.all.iter().enumerate() {
            let own = folders.get(number).and_then(Option::as_ref);
            let others = self.all.iter().zip(&folders).take(number);
            let mut shared = others.filter(|(other, folder)| {
                let by_name =
                    is_in(&team.folder, &other.folder) || is_in(&other.folder, &team.folder);
                let by_place = own
                    .zip(folder.as_ref())
                    .is_some_and(|(own, other)| own.starts_with(other) || other.starts_with(own));
                by_name || by_place
            });
            if let Some((other, _)) = shared.next() {
                let message = format!(
                    "the folder `{}` of team `{}` is also that of team `{}`",
                    team.folder, team.name, other.name
                );
                let help = format!("the other folder is at {}", other.folder_place);
                let place = team.folder_place.clone();
                problems.push(Diagnostic::error("team-folder", place, message).help(help));
            }
        }
        for name in folder.names() {
            let real = folder.real(name);
            let mut real_owners = folders.iter();
            let owner_of_file = real_owners.position(|folder| {
                folder
                    .as_ref()
                    .is_some_and(|folder| real.starts_with(folder))
            });
            let owner = owner_of_name(name);
            if owner == owner_of_file {
                continue;
            }
            let team = owner_of_file
                .or(owner)
                .and_then(|number| self.all.get(number));
            let team = team.map(|team| team.name.as_str()).unwrap_or_default();
            let problem = if owner_of_file.is_some() {
                format!(
                    "is a file in the folder of team `{team}`, which others must not read as theirs"
                )
            } else {
                format!("is a symbolic link that leads out of the folder of team `{team}`")
            };
            problems.push(about(name, "team-file", problem));
        }
    }

    /// Reports a file that the root reads from a team's folder, where the team could change it.
    pub(super) fn check_root_file(&self, name: &str, place: Place, problems: &Problems) {
        if let Some(team) = self.all.iter().find(|team| is_below(name, &team.folder)) {
            let message = format!(
                "`{name}` is in the folder of team `{}`, which could change it",
                team.name
            );
            let problem = Diagnostic::error("team-file", place, message);
            problems.push(problem.help("move the file out of the team's folder"));
        }
    }
}

/// Whether the file is in the folder, at any depth.
fn is_below(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Whether the folder is the other, or in it.
fn is_in(folder: &str, other: &str) -> bool {
    folder == other || is_below(folder, other)
}

/// Every team of the root's files.
pub(super) fn compile(
    raws: &[Raw],
    has_gaps: bool,
    issuers: &Issuers,
    problems: &Problems,
) -> Teams {
    let mut teams = Teams {
        has_gaps,
        ..Teams::default()
    };
    for raw in raws.iter().filter(|raw| raw.realm == Realm::Root) {
        for entry in &raw.teams {
            let yaml = NodeReader::new(&raw.source, problems);
            let before = problems.count();
            let read = team(&yaml, entry, issuers);
            let Some(team) = read.filter(|_| problems.count() == before) else {
                teams.has_gaps = true;
                continue;
            };
            let mut known = teams.all.iter();
            if let Some(first) = known.find(|known| known.name == team.name) {
                let place = yaml.place(entry.span);
                problems.push(taken("team", &team.name, place, &first.place));
                continue;
            }
            for other in &teams.all {
                if let Some((one, two)) = overlap(&team.names, &other.names) {
                    let message = format!(
                        "names of team `{}` may be names of team `{}`: `{one}` and `{two}`",
                        team.name, other.name
                    );
                    let help = format!("the other names are at {}", other.names_place);
                    let place = team.names_place.clone();
                    problems.push(Diagnostic::error("team-names", place, message).help(help));
                }
            }
            teams.all.push(team);
        }
    }
    teams
}

fn team(yaml: &NodeReader<'_>, entry: &Entry, issuers: &Issuers) -> Option<Team> {
    let name = yaml.scalar(&entry.key, entry.span, "the name of a team")?;
    let name = parse::name(yaml, name, entry.span, "team")?;
    let what = format!("team `{name}`");
    let keys = ["folder", "names", "jobs", "uses", "owner", "may", "borrows"];
    let fields = yaml.fields(&entry.value, &what, &keys)?;
    let required = |key| yaml.required(&fields, key, &what, entry.span);
    let place = |key| yaml.place(fields.get(key).map_or(entry.span, |node| node.span));
    let folder = required("folder").and_then(|node| folder(yaml, node, &what));
    let names = required("names")
        .and_then(|node| texts_or_globs(yaml, node, &format!("`names` of {what}")));
    let jobs = required("jobs").and_then(|node| jobs(yaml, node, &what, issuers));
    let uses = match fields.get("uses") {
        Some(node) => uses(yaml, node, &what),
        None => Some(BTreeMap::new()),
    };
    let owner = required("owner").and_then(|node| yaml.text(node, format!("`owner` of {what}")));
    let max_ttl = fields.get("may").and_then(|node| may(yaml, node, &what));
    let borrows = match fields.get("borrows") {
        Some(node) => borrows(yaml, node, &what),
        None => BTreeMap::new(),
    };
    let (jobs, issuers) = jobs?;
    Some(Team {
        name: name.to_owned(),
        place: yaml.place(entry.span),
        folder: folder?,
        folder_place: place("folder"),
        names: names?,
        names_place: place("names"),
        jobs: Arc::new(jobs),
        issuers,
        jobs_place: place("jobs"),
        uses: uses?,
        uses_place: place("uses"),
        owner: owner?.to_owned(),
        owner_place: place("owner"),
        max_ttl,
        borrows,
    })
}

fn folder(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<String> {
    let text = yaml.ascii(node, format!("`folder` of {what}"), MAX_TEXT)?;
    if is_plain_path(text) {
        return Some(text.to_owned());
    }
    let message =
        format!("`folder` of {what} is `{text}`, expected a folder within that of the policies");
    let help = "write e.g. teams/pay, without `..`, a `/` at either end or hidden folders";
    yaml.error_help("team-folder", node.span, message, Some(help));
    None
}

fn jobs(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    issuers: &Issuers,
) -> Option<(Block, Vec<String>)> {
    let what = format!("`jobs` of {what}");
    let lines = yaml.entries(node, &what)?;
    let Some(line) = crate::yaml::value_of(lines, "issuer") else {
        let help = "add e.g. `issuer: github`";
        let message = format!("key `issuer` is missing from {what}");
        yaml.error_help("missing-key", node.span, message, Some(help));
        return None;
    };
    let names = yaml.texts(line, format!("`issuer` of {what}"))?;
    let found: Vec<_> = names
        .iter()
        .filter_map(|name| issuers.find(yaml, name, line.span))
        .collect();
    let reader = match found.as_slice() {
        [one] => Some(&one.reader),
        _ => None,
    };
    if found.len() < names.len() {
        return None;
    }
    let about = About::team(&what, reader, issuers);
    Some((conditions::block(yaml, node, &about)?, names))
}

fn uses(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<BTreeMap<String, Use>> {
    let what = format!("`uses` of {what}");
    let mut uses = BTreeMap::new();
    let mut is_right = true;
    for entry in yaml.entries(node, &what)? {
        let name = yaml.scalar(&entry.key, entry.span, "the name of a target or kind");
        match name.and_then(|name| use_of(yaml, entry, name, &what)) {
            Some(read) => {
                uses.insert(entry.key.text.clone(), read);
            }
            None => is_right = false,
        }
    }
    is_right.then_some(uses)
}

fn use_of(yaml: &NodeReader<'_>, entry: &Entry, name: &str, what: &str) -> Option<Use> {
    let what = format!("`{name}` in {what}");
    let known = bounds_of(name);
    let keys: Vec<&str> = std::iter::once("at_least")
        .chain(known.iter().map(|bound| bound.uses))
        .collect();
    let fields = yaml.fields(&entry.value, &what, &keys)?;
    let at_least = yaml.required(&fields, "at_least", &what, entry.span);
    let class =
        at_least.and_then(|node| credentials::class(yaml, node, &format!("`at_least` of {what}")));
    let mut bounds = BTreeMap::new();
    let mut is_right = true;
    for bound in known {
        let Some(node) = fields.get(bound.uses) else {
            continue;
        };
        match texts_or_globs(yaml, node, &format!("`{}` of {what}", bound.uses)) {
            Some(pattern) => {
                bounds.insert(bound.key, (pattern, yaml.place(node.span)));
            }
            None => is_right = false,
        }
    }
    if !is_right {
        return None;
    }
    Some(Use {
        bounds,
        at_least: class?,
        at_least_place: yaml.place(at_least.map_or(entry.span, |node| node.span)),
        place: yaml.place(entry.span),
    })
}

/// What an entry of `uses` may limit: a kind's keys, or those of every kind that has targets, and
/// the keys of every credential.
fn bounds_of(name: &str) -> Vec<TeamBound> {
    let with_targets = || KINDS.iter().filter(|kind| kind.keys.contains(&"target"));
    let mut bounds = match kind::find(name) {
        Some(kind) => kind.teams.to_vec(),
        None => with_targets()
            .flat_map(|kind| kind.teams)
            .copied()
            .collect(),
    };
    bounds.push(kind::RESOURCE);
    bounds
}

fn may(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<(Duration, Place)> {
    let what = format!("`may` of {what}");
    let fields: Fields<'_> = yaml.fields(node, &what, &["max_ttl"])?;
    let node = fields.get("max_ttl")?;
    let max_ttl = yaml.duration(node, format!("`max_ttl` of {what}"))?;
    Some((max_ttl, yaml.place(node.span)))
}

fn borrows(yaml: &NodeReader<'_>, node: &Node, what: &str) -> BTreeMap<String, Place> {
    let what = format!("`borrows` of {what}");
    let mut borrows = BTreeMap::new();
    for item in yaml.items(node, &what).unwrap_or_default() {
        if let Some(name) = yaml.ascii(item, format!("an entry of {what}"), MAX_TEXT) {
            borrows.insert(name.to_owned(), yaml.place(item.span));
        }
    }
    borrows
}

/// A text, `{ glob: … }`, or a list of these.
fn texts_or_globs(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Pattern> {
    if let NodeKind::List(_) = &node.kind {
        let items = yaml.items(node, what)?;
        let read: Vec<_> = items
            .iter()
            .map(|item| text_or_glob(yaml, item, what))
            .collect();
        return Some(Pattern::Any(read.into_iter().collect::<Option<_>>()?));
    }
    text_or_glob(yaml, node, what)
}

fn text_or_glob(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Pattern> {
    let NodeKind::Map(_) = &node.kind else {
        return Some(Pattern::Exact(yaml.ascii(node, what, MAX_TEXT)?.to_owned()));
    };
    let fields = yaml.fields(node, what, &["glob"])?;
    let text = yaml.required(&fields, "glob", what, node.span)?;
    let glob = yaml.text(text, format!("`glob` of {what}"))?;
    match Glob::parse(glob) {
        Ok(glob) => Some(Pattern::All(vec![Operator::Glob(glob)])),
        Err(problem) => {
            yaml.error("glob", text.span, problem);
            None
        }
    }
}

/// Two parts of the patterns that one name could fit.
fn overlap(one: &Pattern, two: &Pattern) -> Option<(String, String)> {
    let others = as_globs(two);
    as_globs(one).into_iter().find_map(|one| {
        let two = others.iter().find(|two| one.overlaps(two))?;
        Some((one.text().to_owned(), two.text().to_owned()))
    })
}

/// The parts of a pattern of texts and globs. A text is a glob without stars.
fn as_globs(pattern: &Pattern) -> Vec<Glob> {
    match pattern {
        Pattern::Exact(text) => Glob::parse(text).into_iter().collect(),
        Pattern::Any(patterns) => patterns.iter().flat_map(as_globs).collect(),
        Pattern::All(operators) => operators.iter().filter_map(as_glob).collect(),
        Pattern::Is(_) | Pattern::Present(_) | Pattern::Workflow { .. } => Vec::new(),
    }
}

fn as_glob(operator: &Operator) -> Option<Glob> {
    match operator {
        Operator::Glob(glob) => Some(glob.clone()),
        Operator::Under(_) | Operator::Member(_) | Operator::Not(_) => None,
    }
}
