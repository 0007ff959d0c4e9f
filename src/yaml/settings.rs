//! Reads the values of a settings file: paths relative to its folder, and secrets by file or
//! environment variable. The checks of single values are those of the node reader.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostic::Span;
use super::reader::NodeReader;
use super::{Entry, Node, NodeKind, value_of};
use crate::secret::{Secret, SecretSource, without_line_end};

/// The settings file, with the folder and environment that its values refer to.
pub(crate) struct File<'a> {
    pub(crate) reader: NodeReader<'a>,
    pub(crate) folder: &'a Path,
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
}

impl File<'_> {
    pub(crate) fn section<'b>(&'b self, node: &'b Node, what: &str) -> Option<Section<'b>> {
        Some(Section {
            file: self,
            what: what.to_owned(),
            span: node.span,
            entries: self.reader.entries(node, what)?,
            known: RefCell::new(Vec::new()),
        })
    }
}

/// A mapping. Keys that were not read are reported at its end.
pub(crate) struct Section<'a> {
    file: &'a File<'a>,
    what: String,
    span: Span,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The value of a key, if it is present.
    pub(crate) fn optional(&self, key: &'static str) -> Option<Item<'a>> {
        self.known.borrow_mut().push(key);
        Some(Item {
            file: self.file,
            node: value_of(self.entries, key)?,
            what: format!("`{key}`"),
        })
    }

    /// Reads an optional key into its field. A value that is wrong is reported, and the field stays as
    /// it is.
    pub(crate) fn set<T>(
        &self,
        key: &'static str,
        field: &mut T,
        read: impl FnOnce(&Item<'a>) -> Option<T>,
    ) {
        if let Some(value) = self.optional(key).and_then(|item| read(&item)) {
            *field = value;
        }
    }

    /// The value of a key that must be present.
    pub(crate) fn required(&self, key: &'static str) -> Option<Item<'a>> {
        let item = self.optional(key);
        if item.is_none() {
            self.file.reader.missing(key, &self.what, self.span);
        }
        item
    }

    /// Refuses a key of a later version.
    pub(crate) fn planned(&self, key: &'static str, help: &str) {
        if let Some(item) = self.optional(key) {
            self.file.reader.planned(key, item.node.span, Some(help));
        }
    }

    /// Every entry, for a section whose keys are names that the operator chose.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Item<'a>)> {
        let item = |entry: &'a Entry| {
            let item = Item {
                file: self.file,
                node: &entry.value,
                what: format!("`{}`", entry.key.text),
            };
            (entry.key.text.as_str(), item)
        };
        self.entries.iter().map(item).collect()
    }

    /// Reports every key that was not read.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        self.file.reader.unknown(self.entries, &self.what, &known);
    }
}

/// One value, with its key.
pub(crate) struct Item<'a> {
    file: &'a File<'a>,
    node: &'a Node,
    what: String,
}

impl<'a> Item<'a> {
    /// Reports an error about this value.
    pub(crate) fn wrong<T>(&self, message: &str, help: &str) -> Option<T> {
        let span = self.node.span;
        self.file
            .reader
            .error_help("wrong-value", span, message, Some(help));
        None
    }

    /// Reports an error about a value that may hold a secret, without its text.
    pub(crate) fn wrong_unseen<T>(&self, problem: &str, help: &str) -> Option<T> {
        self.report_unseen("wrong-value", problem, help)
    }

    fn report_unseen<T>(&self, rule: &'static str, problem: &str, help: &str) -> Option<T> {
        let problem = format!("{} {problem}", self.what);
        self.file
            .reader
            .error_unseen(rule, self.node, &problem, help);
        None
    }

    pub(crate) fn text(&self) -> Option<String> {
        let text = self.file.reader.any_text(self.node, &self.what)?;
        if text.contains("${") {
            return self.wrong(
                &format!("{} cannot come from the environment", self.what),
                "`${env:NAME}` is for secrets only; write the value here",
            );
        }
        Some(text.to_owned())
    }

    /// Text that may hold a secret, as it is written. Errors about it must not repeat it.
    pub(crate) fn text_unseen(&self) -> Option<String> {
        let text = self.file.reader.any_text(self.node, &self.what)?;
        Some(text.to_owned())
    }

    /// A path; a relative one is relative to the settings file.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.text().map(|text| self.file.folder.join(text))
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.file.reader.boolean(self.node, &self.what)
    }

    pub(crate) fn number(&self, least: u64, most: u64) -> Option<u64> {
        let range = least..=most;
        self.file.reader.number(self.node, &self.what, &range)
    }

    /// A duration such as `500ms`, `10s`, `15m`, `1h30m` or `7d`.
    pub(crate) fn duration(&self, least: Duration, most: Duration) -> Option<Duration> {
        let range = least..=most;
        let reader = &self.file.reader;
        reader.duration_within(self.node, &self.what, &range)
    }

    pub(crate) fn list(&self) -> Option<Vec<Self>> {
        let nodes = self.file.reader.list(self.node, &self.what)?;
        let what = format!("an entry of {}", self.what);
        let items = nodes.iter().map(|node| Item {
            file: self.file,
            node,
            what: what.clone(),
        });
        Some(items.collect())
    }

    pub(crate) fn section(&self) -> Option<Section<'a>> {
        self.file.section(self.node, &self.what)
    }

    /// A mapping with `file:`; anything else would be the secret itself in the settings.
    pub(crate) fn section_or_secret(&self, what: &str) -> Option<Section<'a>> {
        if self.node.entries().is_some() {
            return self.section();
        }
        self.wrong(
            &format!("`{what}` must say which file it is in"),
            "write `{ file: /run/secrets/... }`: settings must not contain secrets",
        )
    }

    /// Where a secret is: `{ file: path }` or `${env:NAME}`.
    pub(crate) fn secret(&self) -> Option<SecretSource> {
        let text = match &self.node.kind {
            NodeKind::Map(_) => {
                let section = self.section()?;
                let file = section.required("file").and_then(|item| item.path());
                section.finish();
                return file.map(SecretSource::File);
            }
            NodeKind::Scalar(scalar) => &scalar.text,
            NodeKind::List(_) => "",
        };
        let name = text
            .strip_prefix("${env:")
            .and_then(|rest| rest.strip_suffix('}'));
        let Some(name) = name else {
            // The text itself is not repeated: it is probably the secret.
            return self.report_unseen(
                "secret-in-clear",
                "must say where the secret is, not what it is",
                "write `{ file: /run/secrets/... }` or `${env:NAME}`, and change the secret: it was in a file",
            );
        };
        let value = (self.file.environment)(name).map(Secret::new);
        let value = value.as_ref().map(|value| without_line_end(value.expose()));
        match value {
            Some(value) if !value.is_empty() => {
                Some(SecretSource::Value(Secret::new(value.to_owned())))
            }
            Some(_) | None => self.wrong(
                &format!("environment variable `{name}` is not set"),
                "set it, or write `{ file: /run/secrets/... }`",
            ),
        }
    }
}
