//! Compares a credential of a team with the team's limits. The definition of a credential is the real
//! grant, so the limits are about what it reaches (T-120).

use super::teams::{Team, Use};
use crate::credential::kind::{BoundRule, RESOURCE, TeamBound};
use crate::policy::CredentialDefinition;
use crate::policy::pattern::{Observed, Pattern};
use crate::yaml::diagnostic::{Place, Span};
use crate::yaml::duration;
use crate::yaml::reader::{Fields, NodeReader};

/// Reports everything in which the credential goes beyond the team's limits.
pub(super) fn check(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    credential: &CredentialDefinition,
    team: &Team,
) {
    let limited = Limited { yaml, fields, team };
    let name = &credential.name;
    if credential.owner != team.owner {
        let message = format!(
            "`owner` of credential `{name}` is `{}`, expected `{}`",
            credential.owner, team.owner
        );
        limited.refuse("owner", message, &team.owner_place);
    }
    if let Some((most, limit)) = &team.may.max_ttl
        && credential.max_ttl > *most
    {
        let [found, most] = [credential.max_ttl, *most].map(duration::print);
        let message = format!(
            "`max_ttl` of credential `{name}` is {found}, team `{}` may have at most {most}",
            team.name
        );
        limited.refuse("max_ttl", message, limit);
    }
    let (key, reached) = match credential.target() {
        Some(target) => ("target", target),
        None => ("kind", credential.kind.name),
    };
    let Some(allowed) = team.uses.get(reached) else {
        let message = format!("team `{}` may not use {key} `{reached}`", team.name);
        return limited.refuse(key, message, &team.uses_place);
    };
    if credential.class < allowed.at_least {
        let message = format!(
            "`class` of credential `{name}` is `{}`, expected at least `{}` for {key} `{reached}`",
            credential.class, allowed.at_least
        );
        limited.refuse("class", message, &allowed.at_least_place);
    }
    for bound in credential.kind.teams.iter().chain([&RESOURCE]) {
        limited.check_bound(bound, allowed, reached);
    }
}

/// A definition, and the team whose limits it is compared with.
struct Limited<'a> {
    yaml: &'a NodeReader<'a>,
    fields: &'a Fields<'a>,
    team: &'a Team,
}

impl Limited<'_> {
    /// Compares one key of the definition. An empty list is as if the key were missing.
    fn check_bound(&self, bound: &TeamBound, allowed: &Use, reached: &str) {
        let (key, team) = (bound.key, &self.team.name);
        let node = self.fields.get(key);
        let nodes = node.map_or(&[][..], |node| {
            node.items().unwrap_or(std::slice::from_ref(node))
        });
        let Some((pattern, limit)) = allowed.bounds.get(key) else {
            let may_give = bound.rule == BoundRule::Narrows;
            if node.is_some() && !may_give {
                let message = format!(
                    "team `{team}` may not choose `{key}`: `{}` is missing from `{reached}` in its `uses`",
                    bound.uses
                );
                self.refuse(key, message, &allowed.place);
            }
            return;
        };
        if nodes.is_empty() && bound.rule != BoundRule::Adds {
            let message = format!("key `{key}` is missing: team `{team}` must choose it");
            self.refuse("kind", message, limit);
        }
        for node in nodes {
            let value = node.scalar().map(|scalar| scalar.text.as_str());
            if !value.is_some_and(|value| fits(pattern, value)) {
                let message = format!(
                    "`{key}` is `{}`, which team `{team}` may not use",
                    value.unwrap_or_default()
                );
                self.refuse_at(node.span, message, limit);
            }
        }
    }

    fn refuse(&self, key: &str, message: String, limit: &Place) {
        let span = self
            .fields
            .get(key)
            .map_or(self.fields.span(), |node| node.span);
        self.refuse_at(span, message, limit);
    }

    fn refuse_at(&self, span: Span, message: String, limit: &Place) {
        let help = format!("the limit is at {limit}");
        self.yaml
            .error_help("team-limit", span, message, Some(help));
    }
}

fn fits(pattern: &Pattern, value: &str) -> bool {
    pattern.fits(Observed::Text(value))
}
