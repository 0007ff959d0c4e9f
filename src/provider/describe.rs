//! A provider for people: what its table and rules say, in words.

use serde::Serialize;

use super::claims::ClaimType;
use super::{Audience, Need, Provider};
use crate::yaml::duration;

/// What is known of a provider.
#[derive(Debug, Serialize)]
pub struct Description {
    pub name: &'static str,
    pub title: &'static str,
    /// How its tokens are verified, in sentences.
    pub rules: Vec<String>,
    /// How a job gets a token.
    pub token: &'static str,
    /// Policies to start from.
    pub policies: String,
    pub claims: Vec<ClaimLine>,
    pub triggers: Vec<TriggerLine>,
    /// What `policy check` finds in policies for it.
    pub findings: Vec<NeedLine>,
    /// What its tokens do not say.
    pub limits: &'static [&'static str],
}

/// A line of the table.
#[derive(Debug, Serialize)]
pub struct ClaimLine {
    pub name: &'static str,
    #[serde(rename = "type")]
    pub claim_type: &'static str,
    pub kind: &'static str,
    pub facts: Vec<&'static str>,
}

/// The trigger of an event.
#[derive(Debug, Serialize)]
pub struct TriggerLine {
    pub event: &'static str,
    pub trigger: &'static str,
}

/// A condition that policies need.
#[derive(Debug, Serialize)]
pub struct NeedLine {
    pub severity: &'static str,
    /// Only of a policy that grants more than credentials of class `low`.
    pub above_low: bool,
    /// What a policy without it does, after "a policy that".
    pub finds: &'static str,
    pub help: &'static str,
}

impl NeedLine {
    /// As a line of a list.
    #[must_use]
    pub fn shown(&self) -> String {
        let class = if self.above_low {
            ", above class `low`"
        } else {
            ""
        };
        format!("{} ({}{class}): {}", self.finds, self.severity, self.help)
    }
}

impl ClaimType {
    /// The words in documentation.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::FreeText => "free text",
            Self::FlagText => "`\"true\"` or `\"false\"`",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::List => "list",
            Self::Object => "object",
        }
    }
}

fn needed(need: &Need) -> NeedLine {
    NeedLine {
        severity: need.severity.name(),
        above_low: !need.for_low,
        finds: need.without,
        help: need.help,
    }
}

impl Provider {
    /// The provider for people.
    #[must_use]
    pub fn description(&self) -> Description {
        let claims = self.claims.iter().map(|line| ClaimLine {
            name: line.name,
            claim_type: line.claim_type.shown(),
            kind: line.kind.name(),
            facts: self
                .facts_of_claim(line.name)
                .into_iter()
                .map(super::Fact::name)
                .collect(),
        });
        let triggers = self.events().into_iter();
        let triggers = triggers.map(|(trigger, event)| TriggerLine { event, trigger });
        Description {
            name: self.name,
            title: self.title,
            rules: self.rules_in_words(),
            token: self.guide.token,
            policies: self.policies(),
            claims: claims.collect(),
            triggers: triggers.collect(),
            findings: self.needs.iter().map(needed).collect(),
            limits: self.guide.limits,
        }
    }

    fn rules_in_words(&self) -> Vec<String> {
        let rules = &self.rules;
        let time = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or_default();
            duration::print(std::time::Duration::from_secs(seconds))
        };
        let issuer = match self.usual_issuer {
            Some(issuer) => format!("issuer: {issuer}"),
            None => "issuer: its `url` is required".to_owned(),
        };
        let algorithms: Vec<_> = rules.algorithms.iter().map(|one| one.name()).collect();
        let always = |what| {
            format!(
                "audience: always {what}, so `shared_audience: accepted` and, in the job, HALLPASS_ALLOW_AUDIENCE are required"
            )
        };
        let audience = match rules.audience {
            Audience::Own if self.is_of_people() => {
                "audience: the client ID of the sign-in".to_owned()
            }
            Audience::Own => "audience: the broker's, which the job asks for".to_owned(),
            Audience::Beside => {
                "audience: the broker's, beside the provider's own, which `audiences` must name"
                    .to_owned()
            }
            Audience::Fixed(audience) => always(audience),
            Audience::Issuer => always("the issuer's URL"),
            Audience::IssuerHost => always("the issuer's host"),
        };
        let used_once = if rules.has_jti {
            "each token is used once, known by: `jti`"
        } else {
            "each token is used once, known by: its hash"
        };
        vec![
            issuer,
            format!("algorithms: {}", algorithms.join(", ")),
            audience,
            format!("longest lifetime: {}", time(rules.max_lifetime)),
            format!("maximum age: {}", time(rules.max_age)),
            used_once.to_owned(),
        ]
    }
}
