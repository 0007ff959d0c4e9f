//! `teams:` folders with limits. Reads the limits, and decides whose each file is. Not: how an entry
//! is compared with them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::Credentials;
use super::issuers::Issuers;
use super::{PolicyIssuer, taken};
use crate::policy::files::{Folder, about};
use crate::policy::parse::{Raw, Realm};
use crate::policy::pattern::{Glob, Observed, Operator, Pattern};
use crate::policy::{Block, CredentialClass};
use crate::yaml::diagnostic::{Diagnostic, Place, Problems, Span, nearest};
use crate::yaml::duration;
use crate::yaml::reader::NodeReader;
use crate::yaml::scalar::{list, scalar};

mod read;

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
    pub(super) may: May,
    may_place: Place,
    /// Credentials of others that it may grant.
    borrows: BTreeMap<String, Place>,
}

/// `may:` of a team.
#[derive(Debug, Default)]
pub(super) struct May {
    /// The longest lifetime of what it defines and grants.
    pub(super) max_ttl: Option<(Duration, Place)>,
    /// The lint rules whose findings its files may waive.
    waive: Vec<&'static str>,
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
pub(in crate::policy) struct Teams {
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

    /// With the addresses of issuers in place of their names.
    fn keys(&self, issuers: &[PolicyIssuer]) -> Vec<(String, String)> {
        let jobs = self.jobs.with_issuers(|name| {
            let readers = &mut issuers.iter().map(|issuer| &issuer.reader.issuer);
            let issuer = readers.find(|issuer| issuer.name == name);
            issuer.map(|issuer| issuer.url.as_str())
        });
        let mut keys = vec![
            ("folder".to_owned(), scalar(&self.folder)),
            ("names".to_owned(), self.names.to_string()),
            ("jobs".to_owned(), jobs.to_yaml()),
            ("owner".to_owned(), scalar(&self.owner)),
        ];
        let borrows = list(self.borrows.keys().map(String::as_str));
        keys.push(("borrows".to_owned(), borrows));
        if let Some((longest, _)) = self.may.max_ttl {
            keys.push(("may.max_ttl".to_owned(), duration::print(longest)));
        }
        let waive = list(self.may.waive.iter().copied());
        keys.push(("may.waive".to_owned(), waive));
        for (name, limits) in &self.uses {
            let key = |key: &str| format!("uses.{name}.{key}");
            keys.push((key("at_least"), limits.at_least.name().to_owned()));
            let bounds = limits.bounds.iter();
            keys.extend(bounds.map(|(bound, (pattern, _))| (key(bound), pattern.to_string())));
        }
        keys
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

    /// The keys of each team with their values, as in the file.
    pub(super) fn limits(
        &self,
        issuers: &[PolicyIssuer],
    ) -> BTreeMap<String, Vec<(String, String)>> {
        let teams = self.all.iter();
        teams
            .map(|team| (team.name.clone(), team.keys(issuers)))
            .collect()
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

    /// Whether a file of this realm may waive findings of the rule. If not, it is reported.
    pub(in crate::policy) fn may_waive(
        &self,
        yaml: &NodeReader<'_>,
        realm: Realm,
        rule: &str,
        span: Span,
    ) -> bool {
        let Some(team) = self.of(realm) else {
            return true;
        };
        if team.may.waive.contains(&rule) {
            return true;
        }
        let message = format!("team `{}` may not waive rule `{rule}`", team.name);
        let help = format!(
            "the limits of the team are at {}: the rule is missing from `waive` of its `may`",
            team.may_place
        );
        yaml.error_help("team-limit", span, message, Some(help));
        false
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
                    let help = "move it to a file directly in the folder of policies; a team's file may have `credentials`, `policies`, `rosters` and `waive`";
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
pub(in crate::policy) fn is_below(name: &str, folder: &str) -> bool {
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
            let read = read::team(&yaml, entry, issuers);
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
        Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => Vec::new(),
    }
}

fn as_glob(operator: &Operator) -> Option<Glob> {
    match operator {
        Operator::Glob(glob) => Some(glob.clone()),
        Operator::Under(_) | Operator::Member(_) | Operator::Not(_) => None,
    }
}
