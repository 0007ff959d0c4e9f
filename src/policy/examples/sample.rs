//! Sample jobs of each provider, and values that fit a pattern.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::pattern::{Observed, Operator, Pattern};
use crate::provider::{self, Fact, FactType, FactValue, Workflow};
use crate::yaml::Node;
use crate::yaml::diagnostic::nearest;
use crate::yaml::reader::{MAX_TEXT, NodeReader, listed};

/// A job that a test can start from.
#[derive(Debug)]
pub(super) struct Sample {
    name: &'static str,
    pub(super) provider: &'static str,
    trigger: &'static str,
    /// The file that the run starts from, below the repository.
    workflow: &'static str,
    texts: &'static [(Fact, &'static str)],
}

/// The sample of that name.
pub(super) fn find(yaml: &NodeReader<'_>, node: &Node) -> Option<&'static Sample> {
    let name = yaml.ascii(node, "`like`", MAX_TEXT)?;
    let found = SAMPLES.iter().find(|sample| sample.name == name);
    if found.is_none() {
        let names = SAMPLES.map(|sample| sample.name);
        let help = match nearest(name, names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the samples are {}", listed(&names)),
        };
        yaml.error_help(
            "sample",
            node.span,
            format!("unknown sample job `{name}`"),
            Some(help),
        );
    }
    found
}

impl Sample {
    /// The facts of the sample with changes. What depends on a changed fact follows it: the owner and
    /// the workflow file follow the repository, the ref of a pull request follows the trigger.
    pub(super) fn with(
        &self,
        given: BTreeMap<Fact, FactValue>,
        unset: &[Fact],
    ) -> BTreeMap<Fact, FactValue> {
        let text = |text: &str| FactValue::Text(text.to_owned());
        let mut facts: BTreeMap<_, _> = self
            .texts
            .iter()
            .map(|(fact, value)| (*fact, text(value)))
            .collect();
        facts.insert(Fact::RefProtected, FactValue::Bool(true));
        let has_event = given.contains_key(&Fact::Event) || given.contains_key(&Fact::Trigger);
        if !has_event {
            facts.insert(Fact::Trigger, text(self.trigger));
        }
        let trigger = given
            .get(&Fact::Trigger)
            .or_else(|| facts.get(&Fact::Trigger));
        let is_pull = trigger == Some(&text("pull_request"));
        if is_pull {
            let r#ref = match self.provider {
                "gitlab" => "refs/merge-requests/7/head",
                _ => "refs/pull/7/merge",
            };
            facts.insert(Fact::Ref, text(r#ref));
            facts.insert(Fact::RefProtected, FactValue::Bool(false));
        }
        facts.extend(given);
        let value = |facts: &BTreeMap<Fact, FactValue>, fact| match facts.get(&fact) {
            Some(FactValue::Text(text)) => Some(text.clone()),
            Some(
                FactValue::Bool(_)
                | FactValue::List(_)
                | FactValue::Workflow(_)
                | FactValue::Address(_)
                | FactValue::Time(_),
            )
            | None => None,
        };
        let repository = value(&facts, Fact::Repository).unwrap_or_default();
        let owner = provider::find(self.provider).and_then(|one| one.owner_of(&repository));
        if let Some(owner) = owner {
            facts.entry(Fact::Owner).or_insert_with(|| text(owner));
        }
        let workflow = FactValue::Workflow(Workflow {
            path: self.workflow.replace("REPOSITORY", &repository),
            r#ref: value(&facts, Fact::Ref),
        });
        facts
            .entry(Fact::EntryWorkflow)
            .or_insert_with(|| workflow.clone());
        if self.provider == "github" {
            facts.entry(Fact::JobWorkflow).or_insert(workflow);
        }
        facts.retain(|fact, _| !unset.contains(fact));
        facts
    }
}

const GITHUB: &[(Fact, &str)] = &[
    (Fact::Repository, "acme/shop"),
    (Fact::RepositoryId, "702114500"),
    (Fact::OwnerId, "65923871"),
    (Fact::Ref, "refs/heads/main"),
    (Fact::Actor, "r-okafor"),
    (Fact::ActorId, "9911204"),
    (Fact::Sha, COMMIT),
    (Fact::RunId, "18244017713"),
    (Fact::RunAttempt, "1"),
    (Fact::JobId, "51877120934"),
    (Fact::Runner, "hosted"),
    (Fact::Visibility, "private"),
];

const GITLAB: &[(Fact, &str)] = &[
    (Fact::Repository, "acme-group/reports"),
    (Fact::RepositoryId, "61840277"),
    (Fact::RunRepositoryId, "61840277"),
    (Fact::OwnerId, "9133570"),
    (Fact::Ref, "refs/heads/main"),
    (Fact::Actor, "r.okafor"),
    (Fact::ActorId, "1402233"),
    (Fact::Sha, COMMIT),
    (Fact::RunId, "2204417820"),
    (Fact::JobId, "13880214477"),
    (Fact::Runner, "hosted"),
    (Fact::Visibility, "private"),
];

/// Texts of a fact as they occur at a provider, that of its samples first; of another provider, as at
/// GitHub.
pub(crate) fn usual_texts(provider: &str, fact: Fact) -> impl Iterator<Item = &'static str> {
    let samples = if provider == "gitlab" { GITLAB } else { GITHUB };
    let texts = samples.iter().chain(REFS);
    texts
        .filter(move |(known, _)| *known == fact)
        .map(|(_, text)| *text)
}

/// Refs beside those of the samples.
const REFS: &[(Fact, &str)] = &[
    (Fact::Ref, "refs/heads/feature"),
    (Fact::Ref, "refs/tags/v1.0.0"),
];

const GITHUB_WORKFLOW: &str = "REPOSITORY/.github/workflows/deploy.yml";
const GITLAB_WORKFLOW: &str = "gitlab.com/REPOSITORY//.gitlab-ci.yml";

/// Every sample job.
/// The names that `like` takes.
pub(crate) fn sample_names() -> impl Iterator<Item = &'static str> {
    SAMPLES.iter().map(|sample| sample.name)
}

const SAMPLES: [Sample; 4] = [
    sample("github-push", "github", "push", GITHUB_WORKFLOW, GITHUB),
    sample(
        "github-pull-request",
        "github",
        "pull_request",
        GITHUB_WORKFLOW,
        GITHUB,
    ),
    sample("gitlab-push", "gitlab", "push", GITLAB_WORKFLOW, GITLAB),
    sample(
        "gitlab-merge-request",
        "gitlab",
        "pull_request",
        GITLAB_WORKFLOW,
        GITLAB,
    ),
];

const fn sample(
    name: &'static str,
    provider: &'static str,
    trigger: &'static str,
    workflow: &'static str,
    texts: &'static [(Fact, &'static str)],
) -> Sample {
    Sample {
        name,
        provider,
        trigger,
        workflow,
        texts,
    }
}

const COMMIT: &str = "5f0c1d9e7a2b48c36d41f8e90ab7c2d35e6f1a04";

/// A value of that type that fits the pattern, if one is found. `None` also for a pattern that only an
/// absent fact fits.
pub(crate) fn value_for(pattern: &Pattern, fact_type: FactType) -> Option<FactValue> {
    match (fact_type, pattern) {
        (FactType::Bool, Pattern::Is(value)) => Some(FactValue::Bool(*value)),
        (FactType::Bool, Pattern::Present(true)) => Some(FactValue::Bool(true)),
        (FactType::Workflow, Pattern::Workflow { path, r#ref }) => {
            let part = |part: &Option<Box<Pattern>>, usual: &str| match part {
                Some(pattern) => text_for(pattern),
                None => Some(usual.to_owned()),
            };
            Some(FactValue::Workflow(Workflow {
                path: part(path, "acme/ci/.github/workflows/ci.yml")?,
                r#ref: Some(part(r#ref, "refs/heads/main")?),
            }))
        }
        (FactType::Workflow, Pattern::Present(true)) => Some(FactValue::Workflow(Workflow {
            path: "acme/ci/.github/workflows/ci.yml".to_owned(),
            r#ref: Some("refs/heads/main".to_owned()),
        })),
        // A job has no time: its test has.
        (FactType::Bool | FactType::Workflow | FactType::Clock | FactType::Age, _) => None,
        (FactType::List, _) => {
            let entries = members(pattern);
            let entries = if entries.is_empty() {
                vec!["other".to_owned()]
            } else {
                entries
            };
            let fits = pattern.fits(Observed::List(&entries));
            fits.then_some(FactValue::List(entries))
        }
        (FactType::Text, _) => text_for(pattern).map(FactValue::Text),
        (FactType::Network, _) => address_for(pattern).map(FactValue::Address),
    }
}

/// A text that fits the pattern, if one is found.
fn text_for(pattern: &Pattern) -> Option<String> {
    let found = candidates(pattern).into_iter();
    let mut found = found.chain(OTHERS.map(str::to_owned));
    found.find(|text| pattern.fits(Observed::Text(text)))
}

fn candidates(pattern: &Pattern) -> Vec<String> {
    match pattern {
        Pattern::Exact(text) => vec![text.clone()],
        Pattern::Any(patterns) => patterns.iter().flat_map(candidates).collect(),
        Pattern::All(operators) => operators
            .iter()
            .flat_map(|operator| match operator {
                Operator::Glob(glob) => ["x", "1", "x-1", ""]
                    .map(|word| glob.text().replace("**", word).replace('*', word))
                    .to_vec(),
                Operator::Under(top) => vec![top.clone(), format!("{top}/x")],
                Operator::Member(_) | Operator::Not(_) => Vec::new(),
            })
            .collect(),
        Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => Vec::new(),
    }
}

/// An address that fits the pattern, if one is found: the first of a network, or one for documentation.
fn address_for(pattern: &Pattern) -> Option<IpAddr> {
    let networks: &[Pattern] = match pattern {
        Pattern::Any(networks) => networks,
        Pattern::Exact(_)
        | Pattern::All(_)
        | Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => std::slice::from_ref(pattern),
    };
    let first = networks.iter().filter_map(|network| match network {
        Pattern::Network(network) => network.hosts().next(),
        Pattern::Exact(_)
        | Pattern::Any(_)
        | Pattern::All(_)
        | Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Time(_)
        | Pattern::Age(_)
        | Pattern::Workflow { .. } => None,
    });
    let mut found = first.chain(ADDRESSES);
    found.find(|address| pattern.fits(Observed::Address(*address)))
}

fn members(pattern: &Pattern) -> Vec<String> {
    match pattern {
        Pattern::Any(patterns) => patterns.first().map(members).unwrap_or_default(),
        Pattern::All(operators) => operators
            .iter()
            .filter_map(|operator| match operator {
                Operator::Member(member) => Some(member.clone()),
                Operator::Glob(_) | Operator::Under(_) | Operator::Not(_) => None,
            })
            .collect(),
        Pattern::Exact(_)
        | Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => Vec::new(),
    }
}

/// Addresses for documentation (RFC 5737, RFC 3849).
const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
];

/// Texts for a pattern that says only what a fact must not be.
const OTHERS: [&str; 4] = ["refs/heads/other", "refs/tags/other", "other", "1"];
