//! Typed values out of the spanned tree of a settings file; every problem is kept with its place.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Place, Source, Span};
use super::{Entry, Node, NodeKind, Scalar, duration, unknown_keys, value_of};
use crate::secret::{Secret, SecretSource, without_line_end};

/// What every part of the file is read with.
pub(crate) struct Reader<'a> {
    source: Arc<Source>,
    folder: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    problems: RefCell<Vec<Diagnostic>>,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(
        source: Arc<Source>,
        folder: &'a Path,
        environment: &'a dyn Fn(&str) -> Option<String>,
        problems: Vec<Diagnostic>,
    ) -> Self {
        Self {
            source,
            folder,
            environment,
            problems: RefCell::new(problems),
        }
    }

    pub(crate) fn into_problems(self) -> Vec<Diagnostic> {
        self.problems.into_inner()
    }

    /// The file holds nothing, unless something else is wrong already.
    pub(crate) fn empty(&self) {
        if self.problems.borrow().is_empty() {
            self.report(
                "empty",
                Span::default(),
                "the settings file is empty",
                "begin with `issuer:`, `root_key:`, `policies:` and `audit:`",
            );
        }
    }

    pub(crate) fn section<'b>(&'b self, node: &'b Node, what: &str) -> Option<Section<'b>> {
        let Some(entries) = node.entries() else {
            self.report(
                "wrong-type",
                node.span,
                &format!("{what} must be a mapping, found {}", node.is_a()),
                "write `key: value` lines",
            );
            return None;
        };
        Some(Section {
            reader: self,
            span: node.span,
            entries,
            known: RefCell::new(Vec::new()),
        })
    }

    fn report(&self, rule: &'static str, span: Span, message: &str, help: &str) {
        let place = Place::new(Arc::clone(&self.source), span);
        let problem = Diagnostic::error(rule, place, message.to_owned()).help(help);
        self.problems.borrow_mut().push(problem);
    }
}

/// A mapping whose keys are all known at its end.
pub(crate) struct Section<'a> {
    reader: &'a Reader<'a>,
    span: Span,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The value of a key, if it is there.
    pub(crate) fn optional(&self, key: &'static str) -> Option<Item<'a>> {
        self.known.borrow_mut().push(key);
        Some(Item {
            reader: self.reader,
            node: value_of(self.entries, key)?,
            key: key.to_owned(),
        })
    }

    /// The value of a key that must be there.
    pub(crate) fn required(&self, key: &'static str) -> Option<Item<'a>> {
        let item = self.optional(key);
        if item.is_none() {
            self.reader.report(
                "missing-key",
                self.span,
                &format!("key `{key}` is missing"),
                &format!("add a line `{key}: ...`"),
            );
        }
        item
    }

    /// A key that is designed and not built: refused, since ignoring it would be a lie.
    pub(crate) fn planned(&self, key: &'static str, help: &str) {
        if let Some(item) = self.optional(key) {
            let _: Option<()> = item.wrong(&format!("`{key}` is not supported yet"), help);
        }
    }

    /// Every entry, for sections whose keys are names of the reader's own.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Item<'a>)> {
        self.entries
            .iter()
            .map(|entry| {
                let item = Item {
                    reader: self.reader,
                    node: &entry.value,
                    key: entry.key.text.clone(),
                };
                (entry.key.text.as_str(), item)
            })
            .collect()
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        for (entry, meant) in unknown_keys(self.entries, &known) {
            let help = match meant {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.reader.report(
                "unknown-key",
                entry.span,
                &format!("unknown key `{}`", entry.key.text),
                &help,
            );
        }
    }
}

/// One value, with the key it stands under.
pub(crate) struct Item<'a> {
    reader: &'a Reader<'a>,
    node: &'a Node,
    key: String,
}

impl<'a> Item<'a> {
    /// Reports what is wrong with it.
    pub(crate) fn wrong<T>(&self, message: &str, help: &str) -> Option<T> {
        self.reader
            .report("wrong-value", self.node.span, message, help);
        None
    }

    fn scalar(&self, expected: &str) -> Option<&'a Scalar> {
        match &self.node.kind {
            NodeKind::Scalar(scalar) if !self.node.is_nothing() => Some(scalar),
            NodeKind::Scalar(_) => self.wrong(
                &format!("`{}` has no value", self.key),
                &format!("write {expected}, or leave the line out"),
            ),
            NodeKind::List(_) | NodeKind::Map(_) => self.wrong(
                &format!(
                    "`{}` must be {expected}, found {}",
                    self.key,
                    self.node.is_a()
                ),
                &format!("write {expected}"),
            ),
        }
    }

    pub(crate) fn text(&self) -> Option<String> {
        let text = &self.scalar("text")?.text;
        if text.contains("${") {
            return self.wrong(
                &format!("`{}` cannot come from the environment", self.key),
                "`${env:NAME}` is for secrets only; write the value itself",
            );
        }
        Some(text.clone())
    }

    /// A path; a relative one is relative to the settings file.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.text().map(|text| self.reader.folder.join(text))
    }

    pub(crate) fn truth(&self) -> Option<bool> {
        self.scalar("`true` or `false`")?;
        self.node.truth().or_else(|| {
            self.wrong(
                &format!("`{}` must be `true` or `false`", self.key),
                "write one of them, without quotes",
            )
        })
    }

    pub(crate) fn number(&self, least: u64, most: u64) -> Option<u64> {
        let text = self.text()?;
        let number = plain_number(&text);
        if self.node.plain().is_none() && number.is_some() {
            return self.wrong(
                &format!("`{}` must be a number, found the text \"{text}\"", self.key),
                &format!("write it without quotes: {text}"),
            );
        }
        match number {
            Some(number) if (least..=most).contains(&number) => Some(number),
            Some(_) | None => self.wrong(
                &format!(
                    "`{}` must be a number from {least} to {most}, found `{text}`",
                    self.key
                ),
                "write plain digits, without a zero or a sign in front",
            ),
        }
    }

    /// A time such as `500ms`, `10s`, `15m`, `1h30m` or `7d`.
    pub(crate) fn duration(&self, least: Duration, most: Duration) -> Option<Duration> {
        let text = self.text()?;
        match duration::read(&text) {
            Some(time) if (least..=most).contains(&time) => Some(time),
            Some(_) => self.wrong(
                &format!(
                    "`{}` must be from {least:?} to {most:?}, found `{text}`",
                    self.key
                ),
                "write a time in between",
            ),
            None if plain_number(&text).is_some() => self.wrong(
                &format!("`{}` has no unit: `{text}`", self.key),
                &format!("write `{text}s` for seconds; the units are ms, s, m, h and d"),
            ),
            None => self.wrong(
                &format!("`{}` is not a time: `{text}`", self.key),
                "write numbers with d, h, m, s or ms, e.g. `10s` or `1h30m`",
            ),
        }
    }

    pub(crate) fn list(&self) -> Option<Vec<Self>> {
        let Some(nodes) = self.node.items() else {
            return self.wrong(
                &format!("`{}` must be a list, found {}", self.key, self.node.is_a()),
                "write `[ ... ]`",
            );
        };
        let items = nodes.iter().map(|node| Item {
            reader: self.reader,
            node,
            key: self.key.clone(),
        });
        Some(items.collect())
    }

    pub(crate) fn section(&self) -> Option<Section<'a>> {
        self.reader.section(self.node, &format!("`{}`", self.key))
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
            return self.secret_in_clear();
        };
        let value = (self.reader.environment)(name).map(Secret::new);
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

    fn secret_in_clear<T>(&self) -> Option<T> {
        self.report_unseen(
            "secret-in-clear",
            "must say where the secret is, not what it is",
            "write `{ file: /run/secrets/... }` or `${env:NAME}`, and change the secret: it was in a file",
        )
    }

    /// Reports what is wrong with a value that may hold a secret.
    pub(crate) fn wrong_unseen<T>(&self, problem: &str, help: &str) -> Option<T> {
        self.report_unseen("wrong-value", problem, help)
    }

    /// The snippet of a diagnostic would show the secret, so this one points at nothing.
    fn report_unseen<T>(&self, rule: &'static str, problem: &str, help: &str) -> Option<T> {
        let place = Place::new(Arc::clone(&self.reader.source), self.node.span);
        let (line, column) = place.position();
        let masked = Source::new(place.file(), place.file(), String::new());
        let problem = Diagnostic::error(
            rule,
            Place::new(masked, Span::default()),
            format!("`{}` in line {line}, column {column} {problem}", self.key),
        )
        .help(help);
        self.reader.problems.borrow_mut().push(problem);
        None
    }
}

/// Digits as every reader of YAML takes them: `010` is eight for some, and `+10` text for others.
fn plain_number(text: &str) -> Option<u64> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}
