//! Blocks of conditions: which facts may be named where, and with which words.

use super::Issuer;
use super::patterns::{self, Compared};
use crate::policy::diagnostic::{Span, nearest};
use crate::policy::pattern::{MAX_PATTERN, Operator, Pattern};
use crate::policy::read::{Sheet, listed};
use crate::policy::yaml::{Entry, Node, NodeKind};
use crate::policy::{Block, Condition, Subject};
use crate::provider::{Fact, Reader, TRIGGERS};

/// What a block is about, which decides what it may name.
pub(super) struct About<'a> {
    /// E.g. ``policy `shop-migrate` ``.
    what: &'a str,
    /// Whose jobs; `None` where they may be of any issuer.
    reader: Option<&'a Reader>,
    /// It may name one of these.
    issuers: Option<&'a [Issuer]>,
    /// It is about jobs of several issuers, whose ids mean different things.
    without_ids: bool,
}

impl<'a> About<'a> {
    pub(super) const fn tenants(what: &'a str, reader: &'a Reader) -> Self {
        Self {
            what,
            reader: Some(reader),
            issuers: None,
            without_ids: false,
        }
    }

    pub(super) const fn policy(what: &'a str, reader: &'a Reader, without_ids: bool) -> Self {
        Self {
            what,
            reader: Some(reader),
            issuers: None,
            without_ids,
        }
    }

    pub(super) const fn requirement(what: &'a str, issuers: &'a [Issuer]) -> Self {
        Self {
            what,
            reader: None,
            issuers: Some(issuers),
            without_ids: false,
        }
    }
}

/// A block, or a list of blocks.
pub(super) fn blocks(sheet: &mut Sheet<'_>, node: &Node, about: &About<'_>) -> Option<Vec<Block>> {
    match &node.kind {
        NodeKind::List(_) => {
            let items = sheet.items(node, format!("the list of blocks of {}", about.what))?;
            let read: Vec<_> = items.iter().map(|item| block(sheet, item, about)).collect();
            read.into_iter().collect()
        }
        NodeKind::Scalar(_) | NodeKind::Map(_) => {
            block(sheet, node, about).map(|block| vec![block])
        }
    }
}

/// One block: every line must hold. All lines are read, whatever is wrong with the first.
pub(super) fn block(sheet: &mut Sheet<'_>, node: &Node, about: &About<'_>) -> Option<Block> {
    let entries = sheet.entries(node, format!("a block of conditions of {}", about.what))?;
    if entries.is_empty() {
        let message = format!("a block of conditions of {} is empty", about.what);
        sheet.error("empty", node.span, message);
        return None;
    }
    let mut block = Block {
        conditions: Vec::new(),
        places: Vec::new(),
    };
    let mut complete = true;
    for entry in entries {
        match lines(sheet, entry, about) {
            Some(read) => {
                for condition in read {
                    block.conditions.push(condition);
                    block.places.push(sheet.place(Span {
                        start: entry.span.start,
                        end: entry.value.span.end,
                    }));
                }
            }
            None => complete = false,
        }
    }
    if about.issuers.is_some() && !ids_have_issuer(sheet, &block, about, node.span) {
        return None;
    }
    complete.then_some(block)
}

/// Ids of two issuers may be equal and mean different things.
fn ids_have_issuer(sheet: &mut Sheet<'_>, block: &Block, about: &About<'_>, span: Span) -> bool {
    let named = block
        .conditions
        .iter()
        .any(|condition| condition.subject == Subject::Issuer);
    let id = block
        .conditions
        .iter()
        .find_map(|condition| match &condition.subject {
            Subject::Fact(fact) if fact.is_id() => Some(*fact),
            Subject::Fact(_) | Subject::Claim(_) | Subject::Issuer => None,
        });
    let Some(id) = id.filter(|_| !named) else {
        return true;
    };
    let message = format!("a block of {} names `{id}` without its issuer", about.what);
    sheet.error_help(
        "id-without-issuer",
        span,
        message,
        Some("name `issuer` beside it: equal ids of two issuers are different things"),
    );
    false
}

fn lines(sheet: &mut Sheet<'_>, entry: &Entry, about: &About<'_>) -> Option<Vec<Condition>> {
    let name = entry.key.text.as_str();
    if name == "claim" {
        return claims(sheet, entry);
    }
    if name == "issuer"
        && let Some(issuers) = about.issuers
    {
        return issuer(sheet, entry, issuers).map(|condition| vec![condition]);
    }
    let fact = fact(sheet, entry, about)?;
    let pattern = patterns::pattern(
        sheet,
        &entry.value,
        fact.name(),
        Compared::Fact(fact.fact_type()),
    )?;
    words(sheet, fact, &pattern, entry.value.span)?;
    full_ref(sheet, fact, &pattern, entry.value.span, about)?;
    Some(vec![Condition {
        subject: Subject::Fact(fact),
        pattern,
    }])
}

fn issuer(sheet: &mut Sheet<'_>, entry: &Entry, issuers: &[Issuer]) -> Option<Condition> {
    let names = sheet.texts(&entry.value, "`issuer`")?;
    for name in &names {
        if !issuers
            .iter()
            .any(|issuer| issuer.reader.issuer.name == *name)
        {
            unknown_issuer(sheet, name, entry.value.span, issuers);
            return None;
        }
    }
    let mut exact: Vec<_> = names.into_iter().map(Pattern::Exact).collect();
    let pattern = match (exact.len(), exact.pop()) {
        (1, Some(one)) => one,
        (_, last) => Pattern::Any(exact.into_iter().chain(last).collect()),
    };
    Some(Condition {
        subject: Subject::Issuer,
        pattern,
    })
}

/// Reports an issuer that is not defined.
pub(super) fn unknown_issuer(sheet: &mut Sheet<'_>, name: &str, span: Span, issuers: &[Issuer]) {
    let names: Vec<_> = issuers
        .iter()
        .map(|issuer| issuer.reader.issuer.name.as_str())
        .collect();
    let help = match nearest(name, names.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("the issuers are {}", listed(&names)),
    };
    sheet.error_help(
        "unknown-issuer",
        span,
        format!("unknown issuer `{name}`"),
        Some(help),
    );
}

fn claims(sheet: &mut Sheet<'_>, entry: &Entry) -> Option<Vec<Condition>> {
    let entries = sheet.entries(&entry.value, "`claim`")?;
    if entries.is_empty() {
        sheet.error("empty", entry.value.span, "`claim` is empty");
        return None;
    }
    let mut conditions = Vec::new();
    for line in entries {
        let pointer = sheet.scalar(&line.key, line.span, "the pointer to a claim")?;
        check_pointer(sheet, pointer, line.span, "claim")?;
        let pattern = patterns::pattern(sheet, &line.value, pointer, Compared::Claim)?;
        let subject = Subject::Claim(pointer.to_owned());
        conditions.push(Condition { subject, pattern });
    }
    Some(conditions)
}

/// A JSON pointer (RFC 6901) as a value.
pub(super) fn pointer<'n>(sheet: &mut Sheet<'_>, node: &'n Node, what: &str) -> Option<&'n str> {
    let text = sheet.ascii(node, what, MAX_PATTERN)?;
    check_pointer(sheet, text, node.span, what)?;
    Some(text)
}

fn check_pointer(sheet: &mut Sheet<'_>, text: &str, span: Span, what: &str) -> Option<()> {
    if text.starts_with('/') && text.len() > 1 && text.len() <= MAX_PATTERN {
        return Some(());
    }
    let help = format!("write \"/{}\"", text.trim_start_matches('/'));
    sheet.error_help(
        "pointer",
        span,
        format!("{what}: `{text}` is not a JSON pointer (RFC 6901)"),
        Some(help),
    );
    None
}

fn fact(sheet: &mut Sheet<'_>, entry: &Entry, about: &About<'_>) -> Option<Fact> {
    let name = entry.key.text.as_str();
    let known = facts_of(about.reader);
    let Some(fact) = Fact::from_name(name).filter(|fact| known.contains(fact)) else {
        unknown_fact(sheet, name, entry.span, &known, about.reader);
        return None;
    };
    if about.without_ids && fact.is_id() {
        let message = format!(
            "`{name}` cannot be named by {}, which has several issuers",
            about.what
        );
        sheet.error_help(
            "id-without-issuer",
            entry.span,
            message,
            Some("write one policy per issuer: equal ids of two issuers are different things"),
        );
        return None;
    }
    Some(fact)
}

fn facts_of(reader: Option<&Reader>) -> Vec<Fact> {
    let Some(reader) = reader else {
        return Fact::ALL.to_vec();
    };
    let mapped = |fact: &Fact| {
        reader.claim_map.contains_key(fact) || (*fact == Fact::Trigger && reader.tells_events())
    };
    reader
        .provider
        .facts
        .iter()
        .map(|(fact, _)| *fact)
        .filter(|fact| !reader.provider.claims.is_empty() || mapped(fact))
        .collect()
}

/// Reports a fact that there is not, or that this issuer's tokens do not tell.
pub(super) fn unknown_fact(
    sheet: &mut Sheet<'_>,
    name: &str,
    span: Span,
    known: &[Fact],
    reader: Option<&Reader>,
) {
    let names: Vec<_> = known.iter().map(|fact| fact.name()).collect();
    let of_claim = reader.and_then(|reader| reader.provider.fact_of_claim(name));
    let help = match (of_claim, nearest(name, names.iter().copied())) {
        (Some(fact), _) => format!("the claim `{name}` is our fact `{fact}`"),
        (None, _) if name == "sub" => {
            "conditions read separate facts, such as `repository` and `ref`, not pieces of `sub`"
                .to_owned()
        }
        (None, Some(meant)) => format!("did you mean `{meant}`?"),
        (None, None) => format!("the facts are {}", listed(&names)),
    };
    let message = match (Fact::from_name(name), reader) {
        (Some(_), Some(reader)) => format!(
            "tokens of issuer `{}` (provider `{}`) do not tell `{name}`",
            reader.issuer.name, reader.provider.name
        ),
        (Some(_) | None, _) => format!("unknown fact `{name}`"),
    };
    sheet.error_help("unknown-fact", span, message, Some(help));
}

/// Facts with a closed list of words: another word is a mistake, as no job can have it.
fn words(sheet: &mut Sheet<'_>, fact: Fact, pattern: &Pattern, span: Span) -> Option<()> {
    let known: &[&str] = if fact == Fact::Trigger {
        &TRIGGERS
    } else if fact == Fact::RefType {
        &["branch", "tag", "pull", "other"]
    } else if fact == Fact::Runner {
        &["hosted", "self-hosted"]
    } else {
        return Some(());
    };
    for text in texts(pattern) {
        if known.contains(&text) {
            continue;
        }
        let help = match nearest(text, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("it is one of {}", listed(known)),
        };
        sheet.error_help(
            "unknown-word",
            span,
            format!("`{fact}` is never `{text}`"),
            Some(help),
        );
        return None;
    }
    Some(())
}

/// A short name such as `main` could be a branch or a tag, and no job has it.
fn full_ref(
    sheet: &mut Sheet<'_>,
    fact: Fact,
    pattern: &Pattern,
    span: Span,
    about: &About<'_>,
) -> Option<()> {
    let ours = about
        .reader
        .is_none_or(|reader| !reader.provider.claims.is_empty());
    if fact != Fact::Ref || !ours {
        return Some(());
    }
    let short = texts(pattern)
        .into_iter()
        .find(|text| !text.starts_with("refs/"));
    let Some(short) = short else {
        return Some(());
    };
    let help = format!("write refs/heads/{short} for the branch, or refs/tags/{short} for the tag");
    sheet.error_help(
        "short-ref",
        span,
        format!("`{short}` is not a full ref"),
        Some(help),
    );
    None
}

/// Every exact text in a pattern of text, under `not` too.
fn texts(pattern: &Pattern) -> Vec<&str> {
    match pattern {
        Pattern::Exact(text) => vec![text],
        Pattern::Any(patterns) => patterns.iter().flat_map(texts).collect(),
        Pattern::All(operators) => operators
            .iter()
            .flat_map(|operator| match operator {
                Operator::Not(pattern) => texts(pattern),
                Operator::Glob(_) | Operator::Under(_) | Operator::Member(_) => Vec::new(),
            })
            .collect(),
        Pattern::Is(_) | Pattern::Present(_) | Pattern::Workflow { .. } => Vec::new(),
    }
}
