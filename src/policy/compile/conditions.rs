//! Blocks of conditions: which facts may be named where, and with which words.

use super::issuers::Issuers;
use super::patterns::{self, Compared};
use super::properties;
use super::time::{self, Zone};
use crate::policy::pattern::{MAX_PATTERN, Operator, Pattern};
use crate::policy::{Block, Condition, Subject};
use crate::provider::{Fact, FactType, Reader, TRIGGERS, is_commit_id};
use crate::yaml::diagnostic::{Span, nearest};
use crate::yaml::reader::{NodeReader, listed};
use crate::yaml::{Entry, Node, NodeKind};

/// What a block is about, which decides what it may name.
pub(super) struct About<'a> {
    /// E.g. ``policy `shop-migrate` ``.
    what: &'a str,
    /// Whose jobs; `None` where they may be of any issuer.
    reader: Option<&'a Reader>,
    /// It may name one of these.
    issuers: Option<&'a Issuers>,
    /// It is about jobs of several issuers, whose ids mean different things.
    without_ids: bool,
    /// It is read at each decision, so it may name what a request has and its job has not. The zone of
    /// its times.
    of_request: Option<&'a Zone>,
}

impl<'a> About<'a> {
    pub(super) const fn tenants(what: &'a str, reader: &'a Reader) -> Self {
        Self {
            what,
            reader: Some(reader),
            issuers: None,
            without_ids: false,
            of_request: None,
        }
    }

    pub(super) const fn policy(
        what: &'a str,
        reader: &'a Reader,
        without_ids: bool,
        zone: &'a Zone,
    ) -> Self {
        Self {
            what,
            reader: Some(reader),
            issuers: None,
            without_ids,
            of_request: Some(zone),
        }
    }

    pub(super) const fn requirement(what: &'a str, issuers: &'a Issuers, zone: &'a Zone) -> Self {
        Self {
            what,
            reader: None,
            issuers: Some(issuers),
            without_ids: false,
            of_request: Some(zone),
        }
    }

    /// The jobs of a team; `reader` where they are of one issuer.
    pub(super) const fn team(
        what: &'a str,
        reader: Option<&'a Reader>,
        issuers: &'a Issuers,
    ) -> Self {
        Self {
            what,
            reader,
            issuers: Some(issuers),
            without_ids: reader.is_none(),
            of_request: None,
        }
    }

    pub(super) const fn what(&self) -> &str {
        self.what
    }

    /// The readers of the jobs: of the one issuer, or of those that the block names.
    pub(super) fn readers(&self, named: &[&str]) -> Vec<&'a Reader> {
        if let Some(reader) = self.reader {
            return vec![reader];
        }
        let issuers = self.issuers.into_iter().flat_map(Issuers::iter);
        let readers = issuers.map(|issuer| &issuer.reader);
        readers
            .filter(|reader| named.contains(&reader.issuer.name.as_str()))
            .collect()
    }

    /// What the fact's values are. In a requirement a fact is a list where every issuer that has it
    /// declares it so, of those that the block names or else of all.
    fn fact_type(&self, fact: Fact, named: &[&str]) -> FactType {
        if let Some(reader) = self.reader {
            return reader.fact_type(fact);
        }
        let issuers = self.issuers.into_iter().flat_map(Issuers::iter);
        let mut types = issuers
            .filter(|issuer| {
                named.is_empty() || named.contains(&issuer.reader.issuer.name.as_str())
            })
            .filter(|issuer| has_fact(Some(&issuer.reader), fact))
            .map(|issuer| issuer.reader.fact_type(fact));
        match types.next() {
            Some(first) if types.all(|other| other == first) => first,
            Some(_) | None => fact.fact_type(),
        }
    }
}

/// A block, or a list of blocks.
pub(super) fn blocks(yaml: &NodeReader<'_>, node: &Node, about: &About<'_>) -> Option<Vec<Block>> {
    match &node.kind {
        NodeKind::List(_) => {
            let items = yaml.items(node, format!("the list of blocks of {}", about.what))?;
            let read: Vec<_> = items.iter().map(|item| block(yaml, item, about)).collect();
            read.into_iter().collect()
        }
        NodeKind::Scalar(_) | NodeKind::Map(_) => block(yaml, node, about).map(|block| vec![block]),
    }
}

/// One block: every line must hold. All lines are read, whatever is wrong with the first.
pub(super) fn block(yaml: &NodeReader<'_>, node: &Node, about: &About<'_>) -> Option<Block> {
    let entries = yaml.entries(node, format!("a block of conditions of {}", about.what))?;
    if entries.is_empty() {
        let message = format!("a block of conditions of {} is empty", about.what);
        yaml.error("empty", node.span, message);
        return None;
    }
    let mut block = Block {
        conditions: Vec::new(),
        places: Vec::new(),
    };
    let named = named_issuers(entries);
    let mut complete = true;
    for entry in entries {
        match lines(yaml, entry, about, &named) {
            Some(read) => {
                for condition in read {
                    block.conditions.push(condition);
                    block.places.push(yaml.place(Span {
                        start: entry.span.start,
                        end: entry.value.span.end,
                    }));
                }
            }
            None => complete = false,
        }
    }
    if about.issuers.is_some() && !ids_have_issuer(yaml, &block, about, node.span) {
        return None;
    }
    complete.then_some(block)
}

/// Ids of two issuers may be equal and mean different things.
fn ids_have_issuer(yaml: &NodeReader<'_>, block: &Block, about: &About<'_>, span: Span) -> bool {
    let named = block
        .conditions
        .iter()
        .any(|condition| condition.subject == Subject::Issuer);
    let id = block
        .conditions
        .iter()
        .find_map(|condition| match &condition.subject {
            Subject::Fact(fact) if fact.is_id() => Some(*fact),
            Subject::Fact(_) | Subject::Claim(_) | Subject::Property(_) | Subject::Issuer => None,
        });
    let Some(id) = id.filter(|_| !named) else {
        return true;
    };
    let message = format!("a block of {} names `{id}` without its issuer", about.what);
    yaml.error_help(
        "id-without-issuer",
        span,
        message,
        Some("name `issuer` beside it: equal ids of two issuers are different things"),
    );
    false
}

/// The issuers that a block of a requirement is about, as far as they can be read.
fn named_issuers(entries: &[Entry]) -> Vec<&str> {
    let line = entries.iter().find(|entry| entry.key.text == "issuer");
    let nodes = match line.map(|line| &line.value.kind) {
        Some(NodeKind::List(items)) => items.as_slice(),
        Some(NodeKind::Scalar(scalar)) => return vec![&scalar.text],
        Some(NodeKind::Map(_)) | None => &[],
    };
    let texts = nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Scalar(scalar) => Some(scalar.text.as_str()),
        NodeKind::List(_) | NodeKind::Map(_) => None,
    });
    texts.collect()
}

fn lines(
    yaml: &NodeReader<'_>,
    entry: &Entry,
    about: &About<'_>,
    named: &[&str],
) -> Option<Vec<Condition>> {
    let name = entry.key.text.as_str();
    if name == "claim" {
        return claims(yaml, entry);
    }
    if name == "property" {
        return properties::conditions(yaml, entry, about, named);
    }
    if name == "issuer"
        && let Some(issuers) = about.issuers
    {
        return issuer(yaml, entry, issuers).map(|condition| vec![condition]);
    }
    let fact = fact(yaml, entry, about)?;
    let compared = words(fact).map_or_else(
        || Compared::Fact(about.fact_type(fact, named)),
        Compared::Word,
    );
    let pattern = match (compared, about.of_request) {
        (Compared::Fact(FactType::Clock), Some(zone)) => {
            time::pattern(yaml, &entry.value, fact.name(), zone)?
        }
        _ => patterns::pattern(yaml, &entry.value, fact.name(), compared)?,
    };
    full_ref(yaml, fact, &pattern, entry.value.span, about)?;
    Some(vec![Condition {
        subject: Subject::Fact(fact),
        pattern,
    }])
}

fn issuer(yaml: &NodeReader<'_>, entry: &Entry, issuers: &Issuers) -> Option<Condition> {
    let names = yaml.texts(&entry.value, "`issuer`")?;
    let mut are_known = true;
    for name in &names {
        are_known &= issuers.find(yaml, name, entry.value.span).is_some();
    }
    are_known.then(|| Condition {
        subject: Subject::Issuer,
        pattern: Pattern::of_texts(names),
    })
}

fn claims(yaml: &NodeReader<'_>, entry: &Entry) -> Option<Vec<Condition>> {
    let entries = yaml.entries(&entry.value, "`claim`")?;
    if entries.is_empty() {
        yaml.error("empty", entry.value.span, "`claim` is empty");
        return None;
    }
    let mut conditions = Vec::new();
    for line in entries {
        let pointer = yaml.scalar(&line.key, line.span, "the pointer to a claim")?;
        check_pointer(yaml, pointer, line.span, "claim")?;
        let pattern = patterns::pattern(yaml, &line.value, pointer, Compared::Claim)?;
        let subject = Subject::Claim(pointer.to_owned());
        conditions.push(Condition { subject, pattern });
    }
    Some(conditions)
}

/// A JSON pointer (RFC 6901) as a value.
pub(super) fn pointer<'n>(yaml: &NodeReader<'_>, node: &'n Node, what: &str) -> Option<&'n str> {
    let text = yaml.ascii(node, what, MAX_PATTERN)?;
    check_pointer(yaml, text, node.span, what)?;
    Some(text)
}

fn check_pointer(yaml: &NodeReader<'_>, text: &str, span: Span, what: &str) -> Option<()> {
    if text.len() > MAX_PATTERN {
        let message = format!("{what}: the pointer is longer than {MAX_PATTERN} bytes");
        yaml.error("pointer", span, message);
        return None;
    }
    let message = format!("{what}: `{text}` is not a JSON pointer (RFC 6901)");
    if !text.starts_with('/') || text.len() == 1 {
        let help = format!("write \"/{}\"", text.trim_start_matches('/'));
        yaml.error_help("pointer", span, message, Some(help));
        return None;
    }
    // Read by no claim at all, `{ present: false }` would always hold.
    let mut after_tildes = text.split('~').skip(1);
    if after_tildes.any(|rest| !rest.starts_with(['0', '1'])) {
        let help = "in a name, `~` is written `~0` and `/` is written `~1`";
        yaml.error_help("pointer", span, message, Some(help));
        return None;
    }
    Some(())
}

fn fact(yaml: &NodeReader<'_>, entry: &Entry, about: &About<'_>) -> Option<Fact> {
    let name = entry.key.text.as_str();
    let Some(fact) = Fact::from_name(name).filter(|fact| has_fact(about.reader, *fact)) else {
        let known = Fact::ALL.iter().copied();
        let known: Vec<Fact> = known.filter(|fact| has_fact(about.reader, *fact)).collect();
        unknown_fact(yaml, name, entry.span, &known, about.reader);
        return None;
    };
    if fact.is_of_request() && about.of_request.is_none() {
        let message = format!("`{name}` cannot be named by {}", about.what);
        let help = "it is of the request, not of the job: name it in `when` of a policy, or in a requirement";
        yaml.error_help("of-request", entry.span, message, Some(help));
        return None;
    }
    if about.without_ids && fact.is_id() {
        let message = format!(
            "`{name}` cannot be named by {}, which has several issuers",
            about.what
        );
        yaml.error_help(
            "id-without-issuer",
            entry.span,
            message,
            Some("write one policy per issuer: equal ids of two issuers are different things"),
        );
        return None;
    }
    Some(fact)
}

/// Whether tokens of the issuer have the fact. Without an issuer, any issuer may.
fn has_fact(reader: Option<&Reader>, fact: Fact) -> bool {
    let Some(reader) = reader else {
        return true;
    };
    let provider = reader.provider;
    let is_mapped = || {
        reader.claim_map.contains_key(&fact)
            || fact.is_of_request()
            || (fact == Fact::Trigger && reader.has_events())
    };
    provider.provides(fact) && (!provider.claims.is_empty() || is_mapped())
}

/// Reports a fact that there is not, or that this issuer's tokens do not tell.
pub(super) fn unknown_fact(
    yaml: &NodeReader<'_>,
    name: &str,
    span: Span,
    known: &[Fact],
    reader: Option<&Reader>,
) {
    let names: Vec<_> = known.iter().map(|fact| fact.name()).collect();
    let of_claim = reader.and_then(|reader| reader.provider.fact_of_claim(name));
    let is_property = |reader: &Reader| reader.properties.contains_key(name);
    let help = match (of_claim, nearest(name, names.iter().copied())) {
        _ if reader.is_some_and(is_property) => {
            format!("write it as a property: `property: {{ {name}: ... }}`")
        }
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
    yaml.error_instead("unknown-fact", span, (message, help), name, names);
}

/// The words of a fact that has a closed list of them.
fn words(fact: Fact) -> Option<&'static [&'static str]> {
    if fact == Fact::Trigger {
        Some(&TRIGGERS)
    } else if fact == Fact::RefType {
        Some(&["branch", "tag", "pull", "other"])
    } else if fact == Fact::Runner {
        Some(&["hosted", "self-hosted"])
    } else {
        None
    }
}

/// A short name such as `main` could be a branch or a tag, and no job has it: as text, and within
/// `glob`, `under` and `not`, where it would never fit or always.
fn full_ref(
    yaml: &NodeReader<'_>,
    fact: Fact,
    pattern: &Pattern,
    span: Span,
    about: &About<'_>,
) -> Option<()> {
    // What a `generic` issuer's claim holds is its own affair; a workflow's ref was cut by us.
    let is_ours = about.reader.is_none_or(|reader| {
        let is_short = reader.provider.has_short(fact);
        !reader.provider.claims.is_empty() && !is_short
    });
    let short = if let Pattern::Workflow { r#ref, .. } = pattern {
        r#ref.as_ref().and_then(|r#ref| short_ref(r#ref, true))
    } else if is_ours && [Fact::Ref, Fact::BaseRef].contains(&fact) {
        short_ref(pattern, false)
    } else {
        None
    };
    let Some(short) = short else {
        return Some(());
    };
    let message = format!("`{short}` is not a full ref, so no job has it in `{fact}`");
    let tail = short.trim_start_matches('/');
    let help = format!("write refs/heads/{tail} for the branch, or refs/tags/{tail} for the tag");
    yaml.error_help("short-ref", span, message, Some(help));
    None
}

/// The first text of a pattern, of whatever operator, that no full ref can fit.
fn short_ref(pattern: &Pattern, or_commit: bool) -> Option<&str> {
    match pattern {
        Pattern::Exact(text) => {
            let is_full = text.starts_with(REFS) || (or_commit && is_commit_id(text));
            (!is_full).then_some(text.as_str())
        }
        Pattern::Any(patterns) => patterns
            .iter()
            .find_map(|pattern| short_ref(pattern, or_commit)),
        Pattern::All(operators) => operators.iter().find_map(|operator| match operator {
            Operator::Glob(glob) => (!glob.allows_start(REFS)).then(|| glob.text()),
            Operator::Under(top) => {
                (!top.starts_with(REFS) && top != "refs").then_some(top.as_str())
            }
            Operator::Not(pattern) => short_ref(pattern, or_commit),
            Operator::Member(_) => None,
        }),
        Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => None,
    }
}

/// What every full ref begins with.
const REFS: &str = "refs/";
