//! Rows for people, spreadsheets and Markdown; and when a file of a folder last changed.

use std::collections::BTreeMap;
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::git::git;
use crate::cli::Terminal;
use crate::clock::Timestamp;
use crate::text::escape_up_to;

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    #[value(alias = "human")]
    Text,
    /// One JSON document, for programs
    Json,
    /// Comma-separated values (RFC 4180), for spreadsheets
    Csv,
    /// A table in Markdown
    Markdown,
}

/// Columns with a name each, and rows.
pub(super) struct Sheet {
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<String>>,
}

impl Sheet {
    pub(super) fn print(&self, format: Format, out: &mut Terminal) {
        match format {
            Format::Text => {
                let header = self
                    .columns
                    .iter()
                    .map(|name| name.to_uppercase().replace('_', " "));
                let rows = self.rows.iter().map(|row| cells(row, |cell| cell));
                let rows: Vec<Vec<String>> =
                    std::iter::once(header.collect()).chain(rows).collect();
                out.table(&rows);
            }
            Format::Json => out.json(&Value::Array(self.to_json()).to_string()),
            Format::Csv => {
                let header = self.columns.iter().map(|name| (*name).to_owned()).collect();
                let rows = self.rows.iter().map(|row| cells(row, csv));
                for row in std::iter::once(header).chain(rows) {
                    let row: Vec<String> = row;
                    // Lines end in CRLF, and the writer adds the second half.
                    out.verbatim(&format!("{}\r", row.join(",")));
                }
            }
            Format::Markdown => {
                let rule: Vec<_> = self.columns.iter().map(|_| "---").collect();
                out.verbatim(&format!(
                    "| {} |\n|{}|",
                    self.columns.join(" | "),
                    rule.join("|")
                ));
                for row in &self.rows {
                    out.verbatim(&format!("| {} |", cells(row, markdown).join(" | ")));
                }
            }
        }
    }

    pub(super) fn to_json(&self) -> Vec<Value> {
        let object = |row: &Vec<String>| {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            let cells = row.iter().map(|cell| Value::from(cell.as_str()));
            Value::Object(names.zip(cells).collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }
}

/// The cells of a row as printable ASCII, spelled for a format.
fn cells(row: &[String], spell: fn(String) -> String) -> Vec<String> {
    row.iter()
        .map(|cell| spell(escape_up_to(cell, LONGEST)))
        .collect()
}

/// A cell that no spreadsheet takes for a formula (T-272).
fn csv(cell: String) -> String {
    let cell = match cell.trim_start().chars().next() {
        Some('=' | '+' | '-' | '@' | '|' | '%') => format!("'{cell}"),
        Some(_) | None => cell,
    };
    if cell.contains(['"', ',', '\'']) || cell.starts_with(' ') {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell
}

/// Text without markup, links and cells of its own (T-272).
#[expect(
    clippy::needless_pass_by_value,
    reason = "one shape for every spelling"
)]
fn markdown(cell: String) -> String {
    let mut text = String::with_capacity(cell.len());
    for letter in cell.chars() {
        match letter {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            // A bare address would become a link.
            ':' => text.push_str("&#58;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '#' | '!' | '@' => {
                text.push('\\');
                text.push(letter);
            }
            _ => text.push(letter),
        }
    }
    text
}

/// When files last changed, by git.
pub(super) struct Changes<'a> {
    dir: &'a Path,
    known: BTreeMap<String, String>,
}

impl<'a> Changes<'a> {
    pub(super) const fn of(dir: &'a Path) -> Self {
        Self {
            dir,
            known: BTreeMap::new(),
        }
    }

    /// The date and the short commit ID of the last change of a file; empty without git.
    pub(super) fn of_file(&mut self, name: &str) -> String {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let found = self.ask(name).unwrap_or_default();
        self.known.insert(name.to_owned(), found.clone());
        found
    }

    /// When the file or a roster last changed; `None` without git, and if one of them differs from
    /// the last commit.
    pub(super) fn time_of(&self, name: &str) -> Option<Timestamp> {
        let files = [format!(":(literal){name}"), ":(glob)**/*.csv".to_owned()];
        let changed = self.git(&["status", "--porcelain", "--"], &files)?;
        if !changed.is_empty() {
            return None;
        }
        let time = self.git(
            &["log", "-1", "--no-ext-diff", "--format=%ct", "--"],
            &files,
        )?;
        time.parse().ok().map(Timestamp::from_unix)
    }

    fn ask(&self, name: &str) -> Option<String> {
        let file = [format!(":(literal){name}")];
        self.git(
            &["log", "-1", "--no-ext-diff", "--format=%cs %h", "--"],
            &file,
        )
    }

    fn git(&self, command: &[&str], files: &[String]) -> Option<String> {
        let files = files.iter().map(String::as_str);
        let arguments: Vec<&str> = command.iter().copied().chain(files).collect();
        let text = String::from_utf8(git(self.dir, &arguments)?).ok()?;
        Some(text.trim().to_owned())
    }
}

/// Bytes of one cell.
const LONGEST: usize = 4_096;
