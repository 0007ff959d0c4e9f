//! Reads one team: its folder, its jobs, and the limits of what it defines.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::conditions::{self, About};
use super::super::credentials;
use super::super::issuers::Issuers;
use super::super::rosters::is_plain_path;
use super::{May, Team, Use};
use crate::credential::kind::{self, KINDS, TeamBound};
use crate::policy::pattern::{Glob, Operator, Pattern};
use crate::policy::{Block, lint, parse};
use crate::yaml::diagnostic::Place;
use crate::yaml::reader::{MAX_TEXT, NodeReader, listed};
use crate::yaml::{Entry, Node, NodeKind};

/// Reads an entry of `teams:`.
pub(super) fn team(yaml: &NodeReader<'_>, entry: &Entry, issuers: &Issuers) -> Option<Team> {
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
    let may = match fields.get("may") {
        Some(node) => may(yaml, node, &what),
        None => Some(May::default()),
    };
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
        may: may?,
        may_place: place("may"),
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
    if kind::find(name).is_some_and(|kind| kind.keys.contains(&"target")) {
        let message = format!("{what} names the kind `{name}`, expected one of its targets");
        let plain = KINDS.iter().filter(|kind| !kind.keys.contains(&"target"));
        let plain: Vec<&str> = plain.map(|kind| kind.name).collect();
        let help = format!(
            "name each target that the team may use; of the kinds only {} has none",
            listed(&plain)
        );
        yaml.error_help("team-uses", entry.span, message, Some(help));
        return None;
    }
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

fn may(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<May> {
    let what = format!("`may` of {what}");
    let fields = yaml.fields(node, &what, &["max_ttl", "waive"])?;
    let max_ttl = match fields.get("max_ttl") {
        Some(node) => Some((
            yaml.duration(node, format!("`max_ttl` of {what}"))?,
            yaml.place(node.span),
        )),
        None => None,
    };
    let waive = match fields.get("waive") {
        Some(node) => waivable(yaml, node, &format!("`waive` of {what}"))?,
        None => Vec::new(),
    };
    Some(May { max_ttl, waive })
}

/// The rules whose findings the team may waive.
fn waivable(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Vec<&'static str>> {
    yaml.texts(node, what)?;
    let items = node.items().unwrap_or(std::slice::from_ref(node));
    let rules = items.iter().map(|item| lint::rule_named(yaml, item, what));
    rules.map(|rule| Some(rule?.id)).collect()
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
