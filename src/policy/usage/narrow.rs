//! Narrower texts of policies: without what was not used, and with lives as long as the longest that
//! was needed. It proves nothing: the caller compares the two texts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{BlockUse, GrantUse, PolicyUse, Times, Usage};
use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::yaml::diagnostic::{Place, Problems, Source, Span};
use crate::yaml::duration;
use crate::yaml::edit::{Edit, in_order, without_entry, without_items};
use crate::yaml::{Entry, Node, parse, value_of};

/// Changes of policy files.
#[derive(Debug, Default)]
pub(crate) struct Narrowing {
    pub(crate) files: Vec<NarrowedFile>,
    /// What each change takes away.
    pub(crate) changes: Vec<Remark>,
    /// Entries that are left as they are, and why.
    pub(crate) left: Vec<Remark>,
}

#[derive(Debug)]
pub(crate) struct NarrowedFile {
    pub(crate) source: Arc<Source>,
    /// In order.
    pub(crate) edits: Vec<Edit>,
}

/// A sentence about a part of a file.
#[derive(Debug)]
pub(crate) struct Remark {
    pub(crate) place: Place,
    pub(crate) text: String,
}

/// The uses of one entry of a file: an entry makes a policy for each issuer and row.
type EntryUses<'u, 'set> = Vec<&'u PolicyUse<'set>>;

impl Usage<'_> {
    /// Removes policies without a use since `from`. Of the others, removes what never had one, and lowers
    /// lives. `leave` says why a policy must stay as it is.
    pub(crate) fn narrow(
        &self,
        from: Timestamp,
        mut leave: impl FnMut(&Policy) -> Option<String>,
    ) -> Narrowing {
        let mut files: BTreeMap<&str, BTreeMap<Span, EntryUses<'_, '_>>> = BTreeMap::new();
        for one in &self.policies {
            let place = &one.policy.place;
            let entries = files.entry(place.source().name()).or_default();
            entries.entry(place.span()).or_default().push(one);
        }
        let mut narrowing = Narrowing::default();
        for entries in files.into_values() {
            let first = entries.values().flatten().next();
            let Some(source) = first.map(|one| one.policy.place.shared_source()) else {
                continue;
            };
            let mut file = FileNarrowing {
                narrowing: &mut narrowing,
                source: &source,
                policy: "",
                edits: Vec::new(),
            };
            file.narrow(&entries, from, &mut leave);
            let edits = in_order(file.edits);
            if !edits.is_empty() {
                narrowing.files.push(NarrowedFile { source, edits });
            }
        }
        narrowing
    }
}

struct FileNarrowing<'n> {
    narrowing: &'n mut Narrowing,
    source: &'n Arc<Source>,
    /// The name of the entry, as written.
    policy: &'n str,
    edits: Vec<Edit>,
}

impl<'n> FileNarrowing<'n> {
    fn narrow(
        &mut self,
        entries: &BTreeMap<Span, EntryUses<'_, '_>>,
        from: Timestamp,
        leave: &mut impl FnMut(&Policy) -> Option<String>,
    ) {
        let root = parse(self.source, &Problems::default());
        let sections = root.as_ref().and_then(Node::entries).unwrap_or_default();
        let section = sections.iter().find(|entry| entry.key.text == "policies");
        let Some((section, items)) = section.and_then(|one| Some((one, one.value.items()?))) else {
            return;
        };
        let mut gone = BTreeSet::new();
        for (span, uses) in entries {
            self.policy = self.written(*span);
            if let Some(reason) = uses.iter().find_map(|one| leave(one.policy)) {
                self.leave(*span, &reason);
                continue;
            }
            let mut numbered = items.iter().enumerate();
            let Some((number, item)) = numbered.find(|(_, item)| covers(item.span, *span)) else {
                continue;
            };
            if uses.iter().any(|one| one.times.since(from)) {
                self.entry(item, uses);
                continue;
            }
            gone.insert(number);
            let last = uses.iter().filter_map(|one| one.times.last).max();
            let last = last.map_or_else(|| "never used".to_owned(), |at| format!("last use {at}"));
            self.change(*span, &format!("is removed: {last}"));
        }
        self.policy = "*";
        let removed = if gone.len() == items.len() {
            without_entry(self.source.text(), section).map(|edit| vec![edit])
        } else {
            without_items(self.source.text(), &section.value, &gone)
        };
        self.take(removed, section);
    }

    /// The text of a scalar without its quotes.
    fn written(&self, span: Span) -> &'n str {
        let text = self.source.text().get(span.start..span.end);
        text.unwrap_or_default().trim_matches(['"', '\''])
    }

    fn remark(&self, span: Span, text: &str) -> Remark {
        Remark {
            place: Place::new(Arc::clone(self.source), span),
            text: format!("policy `{}` {text}", self.policy),
        }
    }

    fn change(&mut self, span: Span, text: &str) {
        let remark = self.remark(span, text);
        self.narrowing.changes.push(remark);
    }

    fn leave(&mut self, span: Span, reason: &str) {
        let remark = self.remark(span, &format!("is left alone: {reason}"));
        self.narrowing.left.push(remark);
    }

    /// Takes the edits of an entry over, if its layout is known.
    fn take(&mut self, edits: Option<Vec<Edit>>, entry: &Entry) {
        match edits {
            Some(edits) => self.edits.extend(edits),
            None => self.leave(
                entry.span,
                &format!(
                    "expected each item of `{}` on a line that begins with `- `, or a list between brackets",
                    entry.key.text
                ),
            ),
        }
    }

    /// Narrows an entry that was used.
    fn entry(&mut self, item: &Node, uses: &EntryUses<'_, '_>) {
        for entry in item.entries().unwrap_or_default() {
            match entry.key.text.as_str() {
                "grant" => self.grants(entry, uses),
                "when" => self.blocks(entry, uses),
                _ => {}
            }
        }
    }

    fn grants(&mut self, entry: &Entry, uses: &EntryUses<'_, '_>) {
        let Some(items) = entry.value.items() else {
            return;
        };
        let mut gone = BTreeSet::new();
        for (number, item) in items.iter().enumerate() {
            let grants: Vec<_> = uses.iter().map(|one| one.grants.get(number)).collect();
            let Some(grants): Option<Vec<&GrantUse<'_>>> = grants.into_iter().collect() else {
                return;
            };
            if is_unused(grants.iter().map(|one| one.times)) {
                gone.insert(number);
            } else {
                self.life(item, &grants);
                self.scopes(item, &grants);
            }
        }
        let name = |item: &Node| {
            let name = value_of(item.entries()?, "credential")?.scalar()?;
            Some(format!("the grant of `{}`", name.text))
        };
        self.items(entry, items, &gone, |item| name(item).unwrap_or_default());
    }

    /// Lowers `ttl` to the longest life.
    fn life(&mut self, item: &Node, grants: &[&GrantUse<'_>]) {
        let fields = item.entries().unwrap_or_default();
        let Some(node) = value_of(fields, "ttl") else {
            return;
        };
        // A placeholder is another life in each row.
        let written = node
            .scalar()
            .and_then(|one| duration::parse(&one.text).ok());
        let needed = grants.iter().map(|one| {
            let longest = one.longest.unwrap_or_default();
            longest.max(one.grant.credential.kind.shortest())
        });
        let needed = needed.max().unwrap_or_default();
        let given = grants.iter().map(|one| one.grant.longest()).max();
        let (Some(written), Some(given)) = (written, given) else {
            return;
        };
        if needed >= given || needed < Duration::from_secs(1) {
            return;
        }
        let text = duration::print(needed);
        let was = duration::print(written);
        self.change(
            node.span,
            &format!("has `ttl` lowered from {was} to {text}, the longest life in the log"),
        );
        let span = node.span;
        self.edits.push(Edit { span, text });
    }

    fn scopes(&mut self, item: &Node, grants: &[&GrantUse<'_>]) {
        let fields = item.entries().unwrap_or_default();
        let Some(entry) = fields.iter().find(|entry| entry.key.text == "scopes") else {
            return;
        };
        let uses = grants
            .iter()
            .map(|one| one.scopes.iter().map(|(_, times)| *times).collect());
        self.list(entry, &uses.collect::<Vec<_>>());
    }

    fn blocks(&mut self, entry: &Entry, uses: &EntryUses<'_, '_>) {
        let nodes = entry.value.items();
        let nodes = nodes.unwrap_or(std::slice::from_ref(&entry.value));
        let mut gone = BTreeSet::new();
        for (number, node) in nodes.iter().enumerate() {
            let blocks: Vec<_> = uses.iter().map(|one| one.blocks.get(number)).collect();
            let Some(blocks): Option<Vec<&BlockUse<'_>>> = blocks.into_iter().collect() else {
                return;
            };
            if is_unused(blocks.iter().map(|one| one.times)) {
                gone.insert(number);
            } else {
                self.lists(node, &blocks);
            }
        }
        if entry.value.items().is_some() {
            self.items(entry, nodes, &gone, |_| "a block of `when`".to_owned());
        }
    }

    /// Removes members of lists of a block.
    fn lists(&mut self, node: &Node, blocks: &[&BlockUse<'_>]) {
        for line in node.entries().unwrap_or_default() {
            let is_of_line = |place: &Place| {
                let Span { start, end } = place.span();
                (start, end) == (line.span.start, line.value.span.end)
            };
            let lists = blocks.iter().map(|block| {
                let mut lists = block.lists.iter().filter(|one| is_of_line(one.place));
                let list = lists.next().filter(|_| lists.next().is_none())?;
                Some(list.members.iter().map(|(_, times)| *times).collect())
            });
            if let Some(uses) = lists.collect::<Option<Vec<Vec<Times>>>>() {
                self.list(line, &uses);
            }
        }
    }

    /// Removes items of a list that have no use in any policy of the entry.
    fn list(&mut self, entry: &Entry, uses: &[Vec<Times>]) {
        let Some(items) = entry.value.items() else {
            return;
        };
        if uses.iter().any(|times| times.len() != items.len()) {
            return;
        }
        let unused = |number: &usize| {
            let times = uses.iter().filter_map(|times| times.get(*number));
            is_unused(times.copied())
        };
        let gone = (0..items.len()).filter(unused).collect();
        let (key, source) = (&entry.key.text, self.source);
        self.items(entry, items, &gone, |item| {
            let text = source.text().get(item.span.start..item.span.end);
            format!("`{key}: {}`", text.unwrap_or_default().trim())
        });
    }

    /// Removes items, unless none would be left. `name` is for people.
    fn items(
        &mut self,
        entry: &Entry,
        items: &[Node],
        gone: &BTreeSet<usize>,
        name: impl Fn(&Node) -> String,
    ) {
        if gone.len() >= items.len() || gone.is_empty() {
            return;
        }
        for item in gone.iter().filter_map(|number| items.get(*number)) {
            self.change(item.span, &format!("loses {}: never used", name(item)));
        }
        let edits = without_items(self.source.text(), &entry.value, gone);
        self.take(edits, entry);
    }
}

fn is_unused(mut times: impl Iterator<Item = Times>) -> bool {
    times.all(|one| one.uses == 0)
}

const fn covers(outer: Span, inner: Span) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
