//! `each:` one entry for every row. A row fills in the placeholders `{column}` of an entry before
//! anything else is read, and its cells stay exact texts. Not: what the entry means.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::rosters::{Found, Roster, Rosters, check_cell, is_column};
use crate::policy::parse::Realm;
use crate::yaml::diagnostic::{Row, Span, nearest};
use crate::yaml::reader::{NodeReader, listed};
use crate::yaml::{Entry, Node, NodeKind, Scalar};

/// Makes entries from templates.
pub(super) struct Expansion<'a> {
    rosters: &'a Rosters,
    /// The bytes that may still be written out.
    left: Cell<usize>,
    /// Some template could not be expanded, so entries may be missing.
    has_gaps: Cell<bool>,
}

/// The rows of an entry's `each`.
struct Table<'r> {
    roster: Option<&'r Roster>,
    /// Further columns: the entry is made for each of their values.
    lists: Vec<(&'r str, Vec<&'r str>)>,
    /// The row of entries without a roster.
    row: Arc<Row>,
}

/// Cells by the name of their column.
type Cells<'r> = Vec<(&'r str, &'r str)>;

impl<'a> Expansion<'a> {
    pub(super) const fn new(rosters: &'a Rosters) -> Self {
        Self {
            rosters,
            left: Cell::new(MAX_WRITTEN),
            has_gaps: Cell::new(false),
        }
    }

    /// Whether entries may be missing after an error that is already reported.
    pub(super) const fn has_gaps(&self) -> bool {
        self.has_gaps.get()
    }

    /// Calls `read` for each entry that `entry` stands for: itself, or one for each row.
    pub(super) fn entries(
        &self,
        yaml: &NodeReader<'_>,
        realm: Realm,
        entry: &Entry,
        mut read: impl FnMut(&Entry, Option<&Arc<Row>>),
    ) {
        let Some(each) = each_of(&entry.value) else {
            return read(entry, None);
        };
        let key = Node {
            span: entry.span,
            kind: NodeKind::Scalar(entry.key.clone()),
        };
        let parts = [&key, &entry.value];
        self.expand(yaml, realm, each, &parts, |cells, row| {
            let key = self.scalar(yaml, &entry.key, entry.span, cells, "", row)?;
            let entry = Entry {
                key,
                span: entry.span,
                value: self.fill(yaml, &entry.value, cells, "", row)?,
            };
            read(&entry, Some(row));
            Some(())
        });
    }

    /// The same for an item of a list.
    pub(super) fn items(
        &self,
        yaml: &NodeReader<'_>,
        realm: Realm,
        item: &Node,
        mut read: impl FnMut(&Node, Option<&Arc<Row>>),
    ) {
        let Some(each) = each_of(item) else {
            return read(item, None);
        };
        self.expand(yaml, realm, each, &[item], |cells, row| {
            read(&self.fill(yaml, item, cells, "", row)?, Some(row));
            Some(())
        });
    }

    /// Calls `make` for each row. A row that cannot be filled in is reported and left out.
    fn expand(
        &self,
        yaml: &NodeReader<'_>,
        realm: Realm,
        each: &Node,
        parts: &[&Node],
        mut make: impl FnMut(&Cells<'_>, &Arc<Row>) -> Option<()>,
    ) {
        let Some(table) = self.table(yaml, realm, each) else {
            return self.has_gaps.set(true);
        };
        let columns = table.columns();
        // Every part is checked, so that all errors are reported.
        let checks = parts
            .iter()
            .map(|part| check(yaml, part, &columns, each.span));
        if checks.filter(|is_right| !is_right).count() == 0 {
            table.rows(|cells, row| {
                if make(cells, row).is_none() {
                    self.has_gaps.set(true);
                }
                self.left.get() > 0
            });
        } else {
            self.has_gaps.set(true);
        }
        if self.left.get() == 0 {
            let message = "the entries of all rosters have more than 512 MiB";
            yaml.error("roster-size", each.span, message);
            self.has_gaps.set(true);
        }
    }

    fn table<'r>(
        &'r self,
        yaml: &NodeReader<'_>,
        realm: Realm,
        each: &'r Node,
    ) -> Option<Table<'r>> {
        let lines = yaml.entries(each, "`each`")?;
        if lines.is_empty() {
            let help =
                "name a roster, or columns with their values: each: { tier: [dev, production] }";
            yaml.error_help("empty", each.span, "`each` is empty", Some(help));
            return None;
        }
        let mut table = Table {
            roster: None,
            lists: Vec::new(),
            row: Arc::new(Row::new(yaml.place(each.span).shared_source(), each.span)),
        };
        let mut is_right = true;
        for line in lines {
            let name = line.key.text.as_str();
            if name == "roster" {
                match self.rosters.find(yaml, realm, &line.value) {
                    Found::Roster(roster) => table.roster = Some(roster),
                    Found::Faulty => is_right = false,
                }
            } else if is_column(name) {
                match values(yaml, name, &line.value) {
                    Some(values) => table.lists.push((name, values)),
                    None => is_right = false,
                }
            } else {
                let message = format!("`{name}` in `each` is not the name of a column");
                let help = "lower-case letters, digits and `_`, beginning with a letter";
                yaml.error_help("column", line.span, message, Some(help));
                is_right = false;
            }
        }
        let of_roster = |name: &str| {
            let columns = table.roster.map(|roster| &roster.columns);
            columns.is_some_and(|columns| columns.iter().any(|column| column == name))
        };
        for line in lines.iter().filter(|line| of_roster(&line.key.text)) {
            let message = format!("the roster has a column `{}` too", line.key.text);
            yaml.error_help("column", line.span, message, Some("rename one of them"));
            is_right = false;
        }
        if is_right && table.size().is_none_or(|size| size > MAX_ENTRIES) {
            let message = format!("`each` makes more than {MAX_ENTRIES} entries");
            let help = "use fewer rows or values, or several entries";
            yaml.error_help("roster-size", each.span, message, Some(help));
            return None;
        }
        is_right.then_some(table)
    }

    /// A node with its placeholders filled in. `key` is the key of the value that it is part of.
    fn fill(
        &self,
        yaml: &NodeReader<'_>,
        node: &Node,
        cells: &Cells<'_>,
        key: &str,
        row: &Arc<Row>,
    ) -> Option<Node> {
        let kind = match &node.kind {
            NodeKind::Scalar(scalar) => {
                NodeKind::Scalar(self.scalar(yaml, scalar, node.span, cells, key, row)?)
            }
            NodeKind::List(items) => {
                let items = items
                    .iter()
                    .map(|item| self.fill(yaml, item, cells, key, row));
                NodeKind::List(items.collect::<Option<_>>()?)
            }
            NodeKind::Map(entries) => {
                let entries = entries.iter().filter(|entry| !is_each(node, entry));
                let entries = entries.map(|entry| {
                    Some(Entry {
                        key: entry.key.clone(),
                        span: entry.span,
                        value: self.fill(yaml, &entry.value, cells, &entry.key.text, row)?,
                    })
                });
                NodeKind::Map(entries.collect::<Option<_>>()?)
            }
        };
        Some(Node {
            span: node.span,
            kind,
        })
    }

    fn scalar(
        &self,
        yaml: &NodeReader<'_>,
        scalar: &Scalar,
        span: Span,
        cells: &Cells<'_>,
        key: &str,
        row: &Arc<Row>,
    ) -> Option<Scalar> {
        let mut filled = scalar.clone();
        if scalar.text.contains('{') {
            filled.text.clear();
            // What a cell spells is text, also if it looks like a number.
            filled.plain = false;
            for part in parts(&scalar.text).ok()? {
                match part {
                    Part::Text(text) => filled.text.push_str(text),
                    Part::Column(name) => {
                        let (_, cell) = cells.iter().find(|(column, _)| *column == name)?;
                        if let Err(problem) = check_use(key, cell) {
                            let message = format!("`{name}` is `{cell}`, {problem}");
                            let yaml = yaml.again_in_row(row);
                            yaml.error("cell", span, message);
                            return None;
                        }
                        filled.text.push_str(cell);
                    }
                }
            }
        }
        let size = filled.text.len().saturating_add(OVERHEAD);
        self.left.set(self.left.get().saturating_sub(size));
        (self.left.get() > 0).then_some(filled)
    }
}

impl Table<'_> {
    fn columns(&self) -> BTreeSet<&str> {
        let of_roster = self.roster.iter().flat_map(|roster| &roster.columns);
        let of_lists = self.lists.iter().map(|(name, _)| *name);
        of_roster.map(String::as_str).chain(of_lists).collect()
    }

    /// The number of entries; `None` if it cannot be counted.
    fn size(&self) -> Option<usize> {
        let rows = self.roster.map_or(1, |roster| roster.rows.len());
        let mut lists = self.lists.iter();
        lists.try_fold(rows, |size, (_, values)| size.checked_mul(values.len()))
    }

    /// Calls `make` for each combination of a row of the roster and the values of the lists, until
    /// it returns `false`.
    fn rows(&self, mut make: impl FnMut(&Cells<'_>, &Arc<Row>) -> bool) {
        let Some(roster) = self.roster else {
            combine(&self.lists, &mut Vec::new(), &mut |cells| {
                make(cells, &self.row)
            });
            return;
        };
        for row in &roster.rows {
            let columns = roster.columns.iter().map(String::as_str);
            let mut cells = columns.zip(row.cells.iter().map(String::as_str)).collect();
            if !combine(&self.lists, &mut cells, &mut |cells| make(cells, &row.row)) {
                return;
            }
        }
    }
}

/// Calls `make` with each combination of the lists' values, until it returns `false`.
fn combine<'r>(
    lists: &[(&'r str, Vec<&'r str>)],
    cells: &mut Cells<'r>,
    make: &mut dyn FnMut(&Cells<'_>) -> bool,
) -> bool {
    let Some(((name, values), rest)) = lists.split_first() else {
        return make(cells);
    };
    values.iter().all(|value| {
        cells.push((name, value));
        let continues = combine(rest, cells, make);
        cells.pop();
        continues
    })
}

/// The values of a column listed in `each`.
fn values<'r>(yaml: &NodeReader<'_>, name: &str, node: &'r Node) -> Option<Vec<&'r str>> {
    let what = format!("column `{name}` of `each`");
    let nodes = yaml.items(node, &what)?;
    let mut values: Vec<&str> = Vec::new();
    let mut is_right = true;
    for node in nodes {
        let Some(value) = yaml.text(node, format!("a value of {what}")) else {
            is_right = false;
            continue;
        };
        if let Err(problem) = check_cell(value) {
            yaml.error("cell", node.span, format!("a value of {what} {problem}"));
            is_right = false;
        } else if values.contains(&value) {
            let message = format!("`{value}` is given twice in {what}");
            yaml.error("duplicate", node.span, message);
            is_right = false;
        }
        values.push(value);
    }
    is_right.then_some(values)
}

/// The value of an entry's `each`.
fn each_of(node: &Node) -> Option<&Node> {
    let mut lines = node.entries()?.iter();
    lines
        .find(|line| line.key.text == "each")
        .map(|line| &line.value)
}

/// Whether it is the `each` of the template itself, which its entries do not have.
fn is_each(node: &Node, entry: &Entry) -> bool {
    entry.key.text == "each" && each_of(node).is_some_and(|each| each.span == entry.value.span)
}

/// Checks the placeholders of a template once, not for each row.
fn check(yaml: &NodeReader<'_>, node: &Node, columns: &BTreeSet<&str>, each: Span) -> bool {
    if node.span == each {
        return true;
    }
    match &node.kind {
        NodeKind::Scalar(scalar) => check_text(yaml, &scalar.text, node.span, columns),
        NodeKind::List(items) => {
            let checks = items.iter().map(|item| check(yaml, item, columns, each));
            checks.filter(|is_right| !is_right).count() == 0
        }
        NodeKind::Map(entries) => {
            let mut are_right = true;
            for entry in entries {
                let key = entry.key.text.as_str();
                if key.contains(['{', '}']) {
                    let message = format!("the key `{key}` has a placeholder");
                    let help = "placeholders are for values and for the name of a credential";
                    yaml.error_help("placeholder", entry.span, message, Some(help));
                    are_right = false;
                } else if columns.contains(key) && entry.value.is_nothing() && entries.len() == 1 {
                    let message = format!("`{{{key}}}` without quotes is a mapping");
                    let help = format!("quote it: \"{{{key}}}\"");
                    yaml.error_help("placeholder", node.span, message, Some(help));
                    are_right = false;
                }
                if WITHOUT_CELLS.contains(&key)
                    && let Some(span) = placeholder(&entry.value)
                {
                    let message = format!("`{key}` has a placeholder");
                    let help = "a cell is text, and this is not text: write the value itself";
                    yaml.error_help("placeholder", span, message, Some(help));
                    are_right = false;
                    continue;
                }
                are_right &= check(yaml, &entry.value, columns, each);
            }
            are_right
        }
    }
}

/// The first text with a brace.
fn placeholder(node: &Node) -> Option<Span> {
    match &node.kind {
        NodeKind::Scalar(scalar) => scalar.text.contains('{').then_some(node.span),
        NodeKind::List(items) => items.iter().find_map(placeholder),
        NodeKind::Map(entries) => entries.iter().find_map(|entry| placeholder(&entry.value)),
    }
}

fn check_text(yaml: &NodeReader<'_>, text: &str, span: Span, columns: &BTreeSet<&str>) -> bool {
    let parts = match parts(text) {
        Ok(parts) => parts,
        Err(problem) => {
            let message = format!("`{text}` {problem}");
            let help = "a placeholder is the name of a column in braces: {app}";
            yaml.error_help("placeholder", span, message, Some(help));
            return false;
        }
    };
    let names = parts.iter().filter_map(|part| match part {
        Part::Column(name) => Some(*name),
        Part::Text(_) => None,
    });
    let mut are_known = true;
    for name in names.filter(|name| !columns.contains(name)) {
        let known: Vec<&str> = columns.iter().copied().collect();
        let help = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{{{meant}}}`?"),
            None => format!("the columns are {}", listed(&known)),
        };
        let message = format!("unknown column `{name}` in `{text}`");
        yaml.error_help("unknown-column", span, message, Some(help));
        are_known = false;
    }
    are_known
}

/// A cell is exact text: it must not become a wildcard, or change what a path is below.
fn check_use(key: &str, cell: &str) -> Result<(), &'static str> {
    match key {
        "glob" if cell.contains('*') => {
            Err("which must not contain `*` where it fills in a `glob`")
        }
        "under" if cell.contains('*') || cell.ends_with('/') => {
            Err("which must not contain `*` or end in `/` where it fills in an `under`")
        }
        _ => Ok(()),
    }
}

enum Part<'t> {
    Text(&'t str),
    Column(&'t str),
}

/// The parts of a text with placeholders. The error completes a sentence that begins with the text.
fn parts(text: &str) -> Result<Vec<Part<'_>>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, end) = after
            .split_once('}')
            .ok_or("has `{` without a closing `}`")?;
        if before.contains('}') {
            break;
        }
        if name.is_empty() || name.contains('{') {
            return Err("has braces without the name of a column");
        }
        parts.extend([Part::Text(before), Part::Column(name)]);
        rest = end;
    }
    if rest.contains('}') {
        return Err("has `}` without an opening `{`");
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

/// The keys whose values are no text.
const WITHOUT_CELLS: [&str; 2] = ["source_ip", "time"];
/// The most entries that one `each` may make.
const MAX_ENTRIES: usize = 100_000;
/// The most bytes of all entries that are made from rosters.
const MAX_WRITTEN: usize = 512 * 1_024 * 1_024;
/// What a text costs beside its bytes.
const OVERHEAD: usize = 64;
