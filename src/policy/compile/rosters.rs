//! `rosters:` finite tables, from whose rows entries are made. Not: how a row fills in an entry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::taken;
use super::teams::Teams;
use crate::policy::csv;
use crate::policy::files::Folder;
use crate::policy::parse::{self, Raw, Realm};
use crate::text::is_printable;
use crate::yaml::diagnostic::{Diagnostic, Place, Problems, Row, Source, Span, nearest};
use crate::yaml::reader::{Fields, MAX_TEXT, NodeReader, listed};
use crate::yaml::{Entry, Node, value_of};

/// A table of texts.
#[derive(Debug)]
pub(super) struct Roster {
    /// The names of the columns.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<RosterRow>,
    place: Place,
}

/// A row of a roster: a cell for each column.
#[derive(Debug)]
pub(super) struct RosterRow {
    pub(super) cells: Vec<String>,
    pub(super) row: Arc<Row>,
}

/// The rosters of all files. Those of a team are its own.
#[derive(Debug, Default)]
pub(super) struct Rosters {
    /// `None` for a roster that could not be read, which is already reported.
    all: BTreeMap<(Realm, String), Option<Roster>>,
    /// Some file could not be read whole, so there may be more.
    has_gaps: bool,
}

/// What a name stands for.
pub(super) enum Found<'a> {
    Roster(&'a Roster),
    /// It does not exist or could not be read, which is reported.
    Faulty,
}

impl Rosters {
    /// Each roster that was read, with the places of its rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = Place>)> {
        self.all.iter().filter_map(|((_, name), roster)| {
            let rows = roster.as_ref()?.rows.iter();
            Some((name.as_str(), rows.map(|row| row.row.place())))
        })
    }

    /// The roster of that name for a file of that realm. One that does not exist is reported.
    pub(super) fn find(&self, yaml: &NodeReader<'_>, realm: Realm, node: &Node) -> Found<'_> {
        let Some(name) = yaml.text(node, "`roster` of `each`") else {
            return Found::Faulty;
        };
        if let Some(known) = self.all.get(&(realm, name.to_owned())) {
            return known.as_ref().map_or(Found::Faulty, Found::Roster);
        }
        if !self.has_gaps {
            let names = self.all.keys().filter(|(of, _)| *of == realm);
            let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
            let help = match nearest(name, names.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if matches!(realm, Realm::Team(_)) => {
                    "define it under `rosters` in a file of the team; a team uses only its own rosters"
                        .to_owned()
                }
                None => "define it under `rosters`".to_owned(),
            };
            let message = format!("unknown roster `{name}`");
            yaml.error_help("unknown-roster", node.span, message, Some(help));
        }
        Found::Faulty
    }
}

/// Every roster of all files.
pub(super) fn compile(
    raws: &[Raw],
    has_gaps: bool,
    folder: &mut Folder,
    teams: &Teams,
    problems: &Problems,
) -> Rosters {
    let mut rosters = Rosters {
        all: BTreeMap::new(),
        has_gaps,
    };
    for raw in raws {
        for entry in &raw.rosters {
            let yaml = NodeReader::new(&raw.source, problems);
            if raw.realm == Realm::Root {
                let file = entry.value.entries().unwrap_or_default();
                let file = value_of(file, "file").and_then(Node::scalar);
                let name = file.map(|file| file.text.as_str()).unwrap_or_default();
                let place = yaml.place(entry.span_of("file"));
                teams.check_root_file(name, place, problems);
            }
            let prefix = teams.folder_of(raw.realm).map(|name| format!("{name}/"));
            let roster = roster(&yaml, entry, folder, prefix.as_deref().unwrap_or_default());
            let key = (raw.realm, entry.key.text.clone());
            if let Some(Some(first)) = rosters.all.get(&key) {
                let place = yaml.place(entry.span);
                problems.push(taken("roster", &entry.key.text, place, &first.place));
                continue;
            }
            rosters.all.insert(key, roster);
        }
    }
    rosters
}

fn roster(
    yaml: &NodeReader<'_>,
    entry: &Entry,
    folder: &mut Folder,
    prefix: &str,
) -> Option<Roster> {
    let name = yaml.scalar(&entry.key, entry.span, "the name of a roster")?;
    let name = parse::name(yaml, name, entry.span, "roster")?;
    let what = format!("roster `{name}`");
    let fields = yaml.fields(&entry.value, &what, &["key", "file", "rows"])?;
    let key = yaml.required(&fields, "key", &what, entry.span);
    let key_name = key.and_then(|node| yaml.text(node, format!("`key` of {what}")));
    let (columns, rows) = match (fields.get("file"), fields.get("rows")) {
        (Some(file), None) => from_file(yaml, file, folder, prefix, &what)?,
        (None, Some(rows)) => from_rows(yaml, rows, &what)?,
        (Some(node), Some(_)) => {
            let message = format!("{what} has both `file` and `rows`");
            yaml.error_help("roster", node.span, message, Some("keep one of them"));
            return None;
        }
        (None, None) => {
            let message = format!("{what} has no rows");
            let help = "add `file: NAME.csv`, or `rows: [ { ... }, ... ]`";
            yaml.error_help("missing-key", entry.span, message, Some(help));
            return None;
        }
    };
    let roster = Roster {
        columns,
        rows,
        place: yaml.place(entry.span),
    };
    let are_distinct = check_keys(yaml, &roster, &fields, key_name?, &what);
    are_distinct.then_some(roster)
}

/// Reports two rows with the same key.
fn check_keys(
    yaml: &NodeReader<'_>,
    roster: &Roster,
    fields: &Fields<'_>,
    key: &str,
    what: &str,
) -> bool {
    let Some(at) = roster.columns.iter().position(|column| column == key) else {
        let span = fields.get("key").map_or(fields.span(), |node| node.span);
        let columns: Vec<&str> = roster.columns.iter().map(String::as_str).collect();
        let message = format!("{what} has no column `{key}`");
        let help = format!("its columns are {}", listed(&columns));
        yaml.error_help("roster", span, message, Some(help));
        return false;
    };
    let mut seen: HashMap<&str, &RosterRow> = HashMap::new();
    let mut are_distinct = true;
    for row in &roster.rows {
        let Some(value) = row.cells.get(at) else {
            continue;
        };
        if let Some(first) = seen.insert(value, row) {
            let message = format!("two rows of {what} have the `{key}` `{value}`");
            let help = format!("the other row is at {}", first.row.place());
            yaml.report(Diagnostic::error("roster-key", row.row.place(), message).help(help));
            are_distinct = false;
        }
    }
    are_distinct
}

type Table = (Vec<String>, Vec<RosterRow>);

fn from_file(
    yaml: &NodeReader<'_>,
    node: &Node,
    folder: &mut Folder,
    prefix: &str,
    what: &str,
) -> Option<Table> {
    let name = yaml.ascii(node, format!("`file` of {what}"), MAX_TEXT)?;
    if !is_plain_path(name) {
        let message = format!("`file` of {what} is `{name}`, expected a path within the folder");
        let help = "write e.g. apps.csv, without `..`, a leading `/` or hidden folders";
        yaml.error_help("roster", node.span, message, Some(help));
        return None;
    }
    let source = match folder.other_source(&format!("{prefix}{name}")) {
        Ok(source) => source,
        Err(problem) => {
            yaml.error("roster", node.span, format!("`{name}` {problem}"));
            return None;
        }
    };
    let report = |span, message: String| {
        let place = Place::new(Arc::clone(&source), span);
        yaml.report(Diagnostic::error("roster", place, message));
    };
    let records = match csv::read(source.text()) {
        Ok(records) => records,
        Err((span, problem)) => {
            report(span, problem);
            return None;
        }
    };
    let mut records = records.into_iter();
    let Some(header) = records.next() else {
        yaml.error("roster", node.span, format!("`{name}` is empty"));
        return None;
    };
    if let Err(problem) = check_columns(&header.cells) {
        report(header.span, problem);
        return None;
    }
    let mut rows = Vec::new();
    let mut are_right = true;
    for record in records {
        match check_cells(&header.cells, &record.cells) {
            Ok(()) => rows.push(row(&source, record.span, record.cells)),
            Err(problem) => {
                report(record.span, problem);
                are_right = false;
            }
        }
    }
    if rows.is_empty() && are_right {
        yaml.error(
            "roster",
            node.span,
            format!("`{name}` has a header but no rows"),
        );
        return None;
    }
    are_right.then_some((header.cells, rows))
}

fn row(source: &Arc<Source>, span: Span, cells: Vec<String>) -> RosterRow {
    RosterRow {
        cells,
        row: Arc::new(Row::new(Arc::clone(source), span)),
    }
}

fn from_rows(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Table> {
    let items = yaml.items(node, format!("`rows` of {what}"))?;
    let mut columns: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    let mut are_right = true;
    for (number, item) in items.iter().enumerate() {
        let name = format!("a row of {what}");
        let Some(entries) = yaml.entries(item, &name) else {
            are_right = false;
            continue;
        };
        if number == 0 {
            columns = entries.iter().map(|entry| entry.key.text.clone()).collect();
            if let Err(problem) = check_columns(&columns) {
                yaml.error("roster", item.span, problem);
                return None;
            }
        }
        let known: Vec<&str> = columns.iter().map(String::as_str).collect();
        let Some(fields) = yaml.fields(item, &name, &known) else {
            continue;
        };
        are_right &= entries
            .iter()
            .all(|entry| known.contains(&entry.key.text.as_str()));
        let mut cells = Vec::new();
        for column in &columns {
            let cell = yaml
                .required(&fields, column, &name, item.span)
                .and_then(|node| yaml.ascii(node, format!("`{column}` of {name}"), MAX_TEXT));
            cells.extend(cell.map(str::to_owned));
        }
        if cells.len() < columns.len() {
            are_right = false;
        } else if let Err(problem) = check_cells(&columns, &cells) {
            yaml.error("roster", item.span, problem);
            are_right = false;
        } else {
            let place = yaml.place(item.span);
            let row = Row::new(place.shared_source(), item.span);
            rows.push(RosterRow {
                cells,
                row: Arc::new(row),
            });
        }
    }
    are_right.then_some((columns, rows))
}

/// Columns have different names, of letters, digits and `_`.
fn check_columns(columns: &[String]) -> Result<(), String> {
    for (number, column) in columns.iter().enumerate() {
        if !is_column(column) {
            let shown = column.escape_default();
            return Err(format!(
                "the column `{shown}` must be lower-case letters, digits and `_`, and begin with a letter"
            ));
        }
        if columns.iter().take(number).any(|other| other == column) {
            return Err(format!("two columns are named `{column}`"));
        }
    }
    if columns.is_empty() {
        return Err("there are no columns".to_owned());
    }
    Ok(())
}

/// Whether it is the name of a column. `roster` would be read as the name of a roster in `each`.
pub(super) fn is_column(name: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    name.len() <= MAX_COLUMN
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(is_allowed)
        && name != "roster"
}

fn check_cells(columns: &[String], cells: &[String]) -> Result<(), String> {
    let (expected, found) = (columns.len(), cells.len());
    if expected != found {
        return Err(format!(
            "the row has {found} values, the header has {expected}"
        ));
    }
    for (column, cell) in columns.iter().zip(cells) {
        check_cell(cell).map_err(|problem| format!("`{column}` {problem}"))?;
    }
    Ok(())
}

/// Checks a value that fills in placeholders. The error completes a sentence that begins with the
/// name of its column.
pub(super) fn check_cell(cell: &str) -> Result<(), String> {
    if cell.is_empty() {
        return Err("is empty".to_owned());
    }
    if cell.len() > MAX_TEXT {
        let found = cell.len();
        return Err(format!("has {found} bytes, at most {MAX_TEXT} are allowed"));
    }
    if !is_printable(cell) {
        return Err("has characters outside printable ASCII".to_owned());
    }
    if cell.contains(['{', '}']) {
        return Err(format!("is `{cell}`, which must not contain `{{` or `}}`"));
    }
    Ok(())
}

/// A relative path without hidden folders, `.` or `..`.
pub(super) fn is_plain_path(path: &str) -> bool {
    let is_part = |part: &str| {
        let mut bytes = part.bytes();
        !part.starts_with('.')
            && !part.is_empty()
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    path.split('/').all(is_part)
}

/// The longest name of a column, in bytes.
const MAX_COLUMN: usize = 64;
