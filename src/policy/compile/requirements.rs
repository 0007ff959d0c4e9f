//! `require:` what no policy may relax.

use super::conditions::{self, About};
use super::credentials::Credentials;
use super::policies::{self, Parts};
use super::taken;
use crate::credential::kind::KINDS;
use crate::policy::parse::{self, Raw};
use crate::policy::pattern::{Glob, Operator, Pattern};
use crate::policy::{CredentialClass, Requirement, Selector};
use crate::yaml::diagnostic::{Problems, Span, nearest};
use crate::yaml::reader::{NodeReader, listed};
use crate::yaml::{Node, NodeKind};

/// Every requirement of all files.
pub(super) fn compile(raws: &[Raw], parts: &Parts<'_>, problems: &Problems) -> Vec<Requirement> {
    let mut requirements: Vec<Requirement> = Vec::new();
    for raw in raws {
        for node in &raw.requirements {
            let yaml = NodeReader::new(&raw.source, problems);
            let Some(read) = requirement(&yaml, node, parts) else {
                continue;
            };
            match requirements.iter().find(|known| known.name == read.name) {
                Some(first) => {
                    problems.push(taken("requirement", &read.name, read.place, &first.place));
                }
                None => requirements.push(read),
            }
        }
    }
    requirements
}

fn requirement(yaml: &NodeReader<'_>, node: &Node, parts: &Parts<'_>) -> Option<Requirement> {
    let keys = ["name", "of", "jobs", "unless", "because", "shadow_until"];
    let fields = yaml.fields(node, "a requirement", &keys)?;
    let start = Span {
        start: node.span.start,
        end: node.span.start.saturating_add(1),
    };
    let name_node = yaml.required(&fields, "name", "a requirement", start);
    let name = name_node.and_then(|node| {
        let name = yaml.text(node, "`name` of a requirement")?;
        parse::name(yaml, name, node.span, "requirement")
    });
    let what = name.map_or_else(
        || "a requirement".to_owned(),
        |name| format!("requirement `{name}`"),
    );
    let at = name_node.map_or(start, |node| node.span);
    let of_node = yaml.required(&fields, "of", &what, at);
    let of = of_node.and_then(|node| selector(yaml, node, &what, parts.credentials));
    let about = About::requirement(&what, parts.issuers, parts.zone);
    let jobs = yaml
        .required(&fields, "jobs", &what, at)
        .and_then(|node| conditions::block(yaml, node, &about));
    let unless = match fields.get("unless") {
        Some(node) => conditions::block(yaml, node, &about).map(Some),
        None => Some(None),
    };
    let because = yaml
        .required(&fields, "because", &what, at)
        .and_then(|node| yaml.text(node, format!("`because` of {what}")));
    let shadow_until = policies::time(yaml, &fields, "shadow_until", &what);
    Some(Requirement {
        name: name?.to_owned(),
        of: of?,
        jobs: jobs?,
        unless: unless?,
        because: because?.to_owned(),
        shadow_until,
        place: yaml.place(at),
        of_place: yaml.place(of_node.map_or(at, |node| node.span)),
    })
}

pub(super) fn selector(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    credentials: &Credentials,
) -> Option<Selector> {
    let what = format!("`of` of {what}");
    if let NodeKind::Scalar(scalar) = &node.kind
        && !node.is_nothing()
    {
        if scalar.text == "all" {
            return Some(Selector::default());
        }
        let help = Some("write `all`, or a mapping such as { class: critical }");
        yaml.error_help(
            "wrong-type",
            node.span,
            format!("{what} is `{}`", scalar.text),
            help,
        );
        return None;
    }
    let keys = ["credential", "class", "kind", "owner", "target"];
    let fields = yaml.fields(node, &what, &keys)?;
    if yaml.entries(node, &what)?.is_empty() {
        let help = Some("write `of: all` if every credential is meant");
        yaml.error_help("empty", node.span, format!("{what} is empty"), help);
        return None;
    }
    let classes = [
        CredentialClass::Low,
        CredentialClass::Moderate,
        CredentialClass::Critical,
    ]
    .map(CredentialClass::name);
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let (owners, targets) = (credentials.owners(), credentials.targets());
    let mut part = |key: &'static str| {
        let node = fields.get(key)?;
        Some(match key {
            "credential" => names(yaml, node, credentials),
            "class" => words(yaml, node, key, &classes),
            "kind" => words(yaml, node, key, &kinds),
            "owner" => known(yaml, node, key, &owners, credentials),
            _ => known(yaml, node, key, &targets, credentials),
        })
    };
    let parts = keys.map(&mut part);
    if parts.iter().any(|part| matches!(part, Some(None))) {
        return None;
    }
    let [credential, class, kind, owner, target] = parts.map(Option::flatten);
    Some(Selector {
        credential,
        class,
        kind,
        owner,
        target,
    })
}

/// Names of credentials: text, a list of texts, or `{ glob: … }`.
fn names(yaml: &NodeReader<'_>, node: &Node, credentials: &Credentials) -> Option<Pattern> {
    if let NodeKind::Map(entries) = &node.kind {
        let fields = yaml.fields(node, "`credential` of a selector", &["glob"])?;
        let Some(glob) = fields.get("glob") else {
            if entries.is_empty() {
                yaml.error("empty", node.span, "`credential` of a selector is empty");
            }
            return None;
        };
        if entries.len() > 1 {
            return None;
        }
        let text = yaml.text(glob, "`glob` of credential")?;
        return match Glob::parse(text) {
            Ok(glob) => Some(Pattern::All(vec![Operator::Glob(glob)])),
            Err(problem) => {
                yaml.error("glob", glob.span, problem);
                None
            }
        };
    }
    let names: Vec<&str> = credentials.names().collect();
    let texts = texts(yaml, node, "credential")?;
    if !credentials.are_all_known() {
        return Some(Pattern::of_texts(texts));
    }
    all_of(yaml, node, "credential", texts, &names)
}

/// Owners or targets: text or a list of texts, each of which some credential has. A slip would
/// switch the requirement off.
fn known(
    yaml: &NodeReader<'_>,
    node: &Node,
    key: &str,
    known: &[&str],
    credentials: &Credentials,
) -> Option<Pattern> {
    let texts = texts(yaml, node, key)?;
    if !credentials.are_all_read() {
        return Some(Pattern::of_texts(texts));
    }
    all_of(yaml, node, key, texts, known)
}

/// Words of a closed list, whether or not a credential has them.
fn words(yaml: &NodeReader<'_>, node: &Node, key: &str, known: &[&str]) -> Option<Pattern> {
    let texts = texts(yaml, node, key)?;
    all_of(yaml, node, key, texts, known)
}

/// Selectors are not conditions: what a credential *is* not can change with every credential.
fn texts(yaml: &NodeReader<'_>, node: &Node, key: &str) -> Option<Vec<String>> {
    if let NodeKind::Map(_) = &node.kind {
        let message =
            format!("`{key}` of a selector is text or a list of texts, and takes no operators");
        let help = if key == "credential" {
            "name what is meant, or write credential: { glob: \"shop-db/*\" }"
        } else {
            "name what is meant, or write `of: all`"
        };
        yaml.error_help("wrong-type", node.span, message, Some(help));
        return None;
    }
    yaml.texts(node, format!("`{key}` of a selector"))
}

fn all_of(
    yaml: &NodeReader<'_>,
    node: &Node,
    key: &str,
    texts: Vec<String>,
    known: &[&str],
) -> Option<Pattern> {
    let mut is_right = true;
    for text in &texts {
        if known.contains(&text.as_str()) {
            continue;
        }
        let help = match nearest(text, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if known.is_empty() => format!("no credential has a {key}"),
            None => format!("there are {}", listed(known)),
        };
        let message = format!("unknown {key} `{text}`: it would select nothing");
        yaml.error_help("unknown-selector", node.span, message, Some(help));
        is_right = false;
    }
    is_right.then(|| Pattern::of_texts(texts))
}
