//! `require:` what no policy may relax.

use super::conditions::{self, About};
use super::patterns::{self, Compared};
use super::{Issuer, taken};
use crate::policy::diagnostic::{Diagnostic, Span};
use crate::policy::parse::{self, Raw};
use crate::policy::read::Sheet;
use crate::policy::yaml::{Node, NodeKind};
use crate::policy::{Requirement, Selector};
use crate::provider::FactType;

/// Every requirement of all files.
pub(super) fn compile(
    raws: &[Raw],
    issuers: &[Issuer],
    problems: &mut Vec<Diagnostic>,
) -> Vec<Requirement> {
    let mut requirements: Vec<Requirement> = Vec::new();
    for raw in raws {
        for node in &raw.requirements {
            let mut sheet = Sheet {
                source: &raw.source,
                problems,
            };
            let Some(read) = requirement(&mut sheet, node, issuers) else {
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

fn requirement(sheet: &mut Sheet<'_>, node: &Node, issuers: &[Issuer]) -> Option<Requirement> {
    let keys = ["name", "of", "jobs", "unless", "because"];
    let fields = sheet.fields(node, "a requirement", &keys)?;
    let start = Span {
        start: node.span.start,
        end: node.span.start.saturating_add(1),
    };
    let name_node = sheet.required(&fields, "name", "a requirement", start)?;
    let name = sheet.text(name_node, "`name` of a requirement")?;
    let name = parse::name(sheet, name, name_node.span, "requirement")?;
    let what = format!("requirement `{name}`");
    let at = name_node.span;
    let of = sheet
        .required(&fields, "of", &what, at)
        .and_then(|node| selector(sheet, node, &what));
    let about = About::requirement(&what, issuers);
    let jobs = sheet
        .required(&fields, "jobs", &what, at)
        .and_then(|node| conditions::block(sheet, node, &about));
    let unless = match fields.get("unless") {
        Some(node) => conditions::block(sheet, node, &about).map(Some),
        None => Some(None),
    };
    let because = sheet
        .required(&fields, "because", &what, at)
        .and_then(|node| sheet.text(node, format!("`because` of {what}")));
    Some(Requirement {
        name: name.to_owned(),
        of: of?,
        jobs: jobs?,
        unless: unless?,
        because: because?.to_owned(),
        place: sheet.place(at),
    })
}

fn selector(sheet: &mut Sheet<'_>, node: &Node, what: &str) -> Option<Selector> {
    let what = format!("`of` of {what}");
    if let NodeKind::Scalar(scalar) = &node.kind {
        if scalar.text == "all" {
            return Some(Selector::default());
        }
        let help = Some("write `all`, or a mapping such as { class: critical }");
        sheet.error_help(
            "wrong-type",
            node.span,
            format!("{what} is `{}`", scalar.text),
            help,
        );
        return None;
    }
    let keys = ["credential", "class", "kind", "owner", "target"];
    let fields = sheet.fields(node, &what, &keys)?;
    if sheet.entries(node, &what)?.is_empty() {
        let help = Some("write `of: all` if every credential is meant");
        sheet.error_help("empty", node.span, format!("{what} is empty"), help);
        return None;
    }
    let mut part = |key: &str| match fields.get(key) {
        Some(node) => patterns::pattern(sheet, node, key, Compared::Fact(FactType::Text)).map(Some),
        None => Some(None),
    };
    let (credential, class, kind) = (part("credential"), part("class"), part("kind"));
    let (owner, target) = (part("owner"), part("target"));
    Some(Selector {
        credential: credential?,
        class: class?,
        kind: kind?,
        owner: owner?,
        target: target?,
    })
}
