//! `waive:` findings that a policy file accepts, with a reason and an end.
//!
//! A waiver holds for its own file. A team's file waives only what the team's `may` lists. It turns the finding into a note, so that it stays visible. Once it
//! has ended, `check` fails; a broker, which does not compare dates here, keeps serving.

use super::super::compile::Teams;
use super::super::parse::{Raw, Realm};
use super::{Fix, Found};
use crate::clock::Timestamp;
use crate::text::escape;
use crate::yaml::Node;
use crate::yaml::diagnostic::{Diagnostic, Place, Problems, Severity};
use crate::yaml::reader::NodeReader;

/// An entry of `waive:`.
#[derive(Debug)]
pub(in crate::policy) struct Waiver {
    pub(in crate::policy) rule: &'static str,
    pub(in crate::policy) because: String,
    pub(in crate::policy) until: Timestamp,
    pub(in crate::policy) place: Place,
}

impl Waiver {
    /// The waivers of all files.
    pub(in crate::policy) fn read_all(
        raws: &[Raw],
        teams: &Teams,
        problems: &Problems,
    ) -> Vec<Self> {
        let nodes = raws.iter().flat_map(|raw| {
            let yaml = NodeReader::new(&raw.source, problems);
            let entries = raw.waivers.iter();
            entries.filter_map(move |node| Self::read(&yaml, raw.realm, teams, node))
        });
        nodes.collect()
    }

    fn read(yaml: &NodeReader<'_>, realm: Realm, teams: &Teams, node: &Node) -> Option<Self> {
        let what = "an entry of `waive`";
        let fields = yaml.fields(node, what, &["rule", "because", "until"])?;
        let because = yaml.required(&fields, "because", what, node.span);
        let because = because.and_then(|node| yaml.text(node, format!("`because` of {what}")));
        let until = yaml.required(&fields, "until", what, node.span);
        let until = until.and_then(|node| yaml.time(node, format!("`until` of {what}")));
        let rule = yaml.required(&fields, "rule", what, node.span)?;
        let known = super::rule_named(yaml, rule, &format!("`rule` of {what}"))?;
        if !teams.may_waive(yaml, realm, known.id, rule.span) {
            return None;
        }
        Some(Self {
            rule: known.id,
            because: because?.to_owned(),
            until: until?,
            place: yaml.place(rule.span),
        })
    }

    fn has_ended(&self, now: Option<Timestamp>) -> bool {
        now.is_some_and(|now| now >= self.until)
    }

    fn covers(&self, finding: &Diagnostic) -> bool {
        self.rule == finding.rule && self.place.source().name() == finding.place.source().name()
    }
}

/// The findings with the waived ones as notes, and what is wrong with the waivers.
pub(super) fn apply(
    waivers: &[Waiver],
    found: Vec<(Diagnostic, Option<Fix>)>,
    now: Option<Timestamp>,
) -> Found {
    let is_unused = |waiver: &&Waiver| !found.iter().any(|(finding, _)| waiver.covers(finding));
    let unused = waivers.iter().filter(is_unused).map(|waiver| {
        let message = format!("rule `{}` has no finding in this file", waiver.rule);
        let mut problem = Diagnostic::error("waiver-unused", waiver.place.clone(), message);
        problem.severity = Severity::Warning;
        problem.help("remove the entry of `waive`")
    });
    let ended = waivers.iter().filter(|waiver| waiver.has_ended(now));
    let ended = ended.map(|waiver| {
        let (rule, until) = (waiver.rule, waiver.until);
        let message = format!("the waiver of rule `{rule}` ended at {until}");
        Diagnostic::error("waiver-ended", waiver.place.clone(), message)
            .help("fix the finding, or set a later `until` with a reason")
    });
    let mut result = Found {
        findings: unused.chain(ended).collect(),
        fixes: Vec::new(),
    };
    for (mut finding, fix) in found {
        let mut active = waivers.iter().filter(|waiver| !waiver.has_ended(now));
        if let Some(waiver) = active.find(|waiver| waiver.covers(&finding)) {
            let (until, because) = (waiver.until, escape(&waiver.because));
            finding.severity = Severity::Note;
            finding.help = Some(format!("waived until {until}: {because}"));
        } else {
            result.fixes.extend(fix);
        }
        result.findings.push(finding);
    }
    result
}
