//! The `sub` claim of GitHub and GitLab, taken apart: hallpass never compares it as one text (T-51).

use super::condition::{Line, Lines, NO_EXTRAORDINARY, Wanted, reference};
use crate::policy::Subject;
use crate::policy::pattern::Pattern;
use crate::provider::{Fact, Provider};

/// The conditions that say the same as a `sub`.
///
/// # Errors
/// Why the text cannot be taken apart.
pub(super) fn subject(provider: &'static Provider, wanted: &Wanted) -> Result<Lines, String> {
    wanted.check_stars()?;
    match provider.name {
        "github" => github(provider, wanted),
        "gitlab" => gitlab(provider, wanted),
        _ => Err(format!(
            "hallpass does not take the `sub` of {} apart; write its claims as separate conditions",
            provider.name
        )),
    }
}

/// `repo:OWNER/REPOSITORY:CONTEXT`, also with `@ID` after both names.
fn github(provider: &'static Provider, wanted: &Wanted) -> Result<Lines, String> {
    let text = wanted.text();
    let rest = text.strip_prefix("repo:").ok_or_else(|| {
        format!("`{text}` does not begin with `repo:`; is `sub` customised there?")
    })?;
    let (names, context) = match rest.split_once(':') {
        Some((names, context)) => (names, context),
        None if rest.ends_with("**") => (rest, "**"),
        None => {
            return Err(format!(
                "`{text}` has nothing after the repository, so it never fits"
            ));
        }
    };
    let (owner, repository) = names
        .split_once('/')
        .filter(|(owner, _)| !owner.contains('*'))
        .ok_or_else(|| format!("`{text}` also fits owners whose names only begin alike"))?;
    let mut lines = Vec::new();
    let ((owner, owner_id), (repository, repository_id)) = (with_id(owner), with_id(repository));
    if repository.chars().all(|c| c == '*') {
        lines.push(Line::fact(Fact::Owner, &Wanted::Exact(owner.to_owned()))?);
    } else {
        // A repository's name has no `/`.
        let name = format!("{owner}/{}", repository.replace("**", "*"));
        lines.push(Line::fact(Fact::Repository, &wanted.of(&name))?);
    }
    for (fact, id) in [
        (Fact::OwnerId, owner_id),
        (Fact::RepositoryId, repository_id),
    ] {
        if let Some(id) = id {
            lines.push(Line::fact(fact, &wanted.of(id))?);
        }
    }
    lines.extend(github_context(provider, wanted, context)?);
    Ok(lines)
}

/// What follows the repository. A job of an environment has no `ref:` or `pull_request` there.
fn github_context(
    provider: &'static Provider,
    wanted: &Wanted,
    context: &str,
) -> Result<Lines, String> {
    let without_environment = || {
        Line::new(Subject::Fact(Fact::Environment), Pattern::Present(false))
            .note("GitHub writes the environment into `sub` instead, if the job has one")
    };
    if context == "**" {
        return Ok(Vec::new());
    }
    if context == "pull_request" {
        let trigger = Wanted::Exact(context.to_owned());
        return Ok(vec![
            Line::fact(Fact::Trigger, &trigger)?,
            without_environment(),
        ]);
    }
    match context.split_once(':') {
        Some(("environment", name)) if !name.contains(':') => {
            let name = name.replace("%3A", ":");
            let line = Line::fact(Fact::Environment, &wanted.of(&name))?;
            Ok(vec![line.note(NO_EXTRAORDINARY)])
        }
        Some(("ref", name)) if !name.contains(':') => Ok(vec![
            reference(provider, &[wanted.of(name)])?,
            without_environment(),
        ]),
        Some(_) | None => Err(format!(
            "`{context}` is no context of GitHub's usual `sub`; write its claims as separate conditions"
        )),
    }
}

/// `NAME@ID`: the form of repositories created since July 2026.
fn with_id(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((name, id)) => (name, Some(id)),
        None => (name, None),
    }
}

/// `project_path:PATH:ref_type:TYPE:ref:NAME`.
fn gitlab(provider: &'static Provider, wanted: &Wanted) -> Result<Lines, String> {
    let text = wanted.text();
    let rest = text.strip_prefix("project_path:").ok_or_else(|| {
        format!("`{text}` does not begin with `project_path:`; is `sub` customised there?")
    })?;
    let (path, context) = match rest.split_once(':') {
        Some((path, context)) => (path, context),
        None if rest.ends_with("**") => (rest, "**"),
        None => {
            return Err(format!(
                "`{text}` has nothing after the project, so it never fits"
            ));
        }
    };
    if path
        .split('/')
        .next()
        .is_none_or(|group| group.contains('*'))
    {
        return Err(format!(
            "`{text}` also fits groups whose names only begin alike"
        ));
    }
    let mut lines = vec![Line::fact(Fact::Repository, &wanted.of(path))?];
    if context == "**" {
        return Ok(lines);
    }
    let parts: Vec<_> = context.split(':').collect();
    let (kind, name) = match parts.as_slice() {
        ["ref_type", kind, "ref", name] => (*kind, *name),
        ["ref_type", kind, "**"] => (*kind, "**"),
        _ => return Err(format!("`{context}` is no context of GitLab's usual `sub`")),
    };
    let prefix = match kind {
        "branch" => "refs/heads/",
        "tag" => "refs/tags/",
        "**" => {
            lines.push(reference(provider, &[wanted.of(name)])?);
            return Ok(lines);
        }
        other => {
            return Err(format!(
                "`ref_type:{other}` never fits; it is `branch` or `tag`"
            ));
        }
    };
    lines.push(Line::fact(
        Fact::Ref,
        &wanted.of(&format!("{prefix}{name}")),
    )?);
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;

    fn shown(name: &str, text: &str) -> Result<String, String> {
        let lines = subject(provider::find(name).unwrap(), &Wanted::with_stars(text))?;
        let lines: Vec<_> = lines.iter().map(|line| line.condition.to_yaml()).collect();
        Ok(lines.join(", "))
    }

    /// T-51
    #[test]
    fn a_subject_becomes_conditions_on_separate_facts() {
        for (provider, text, expected) in [
            (
                "github",
                "repo:acme/shop:ref:refs/heads/main",
                "repository: acme/shop, ref: refs/heads/main, environment: { present: false }",
            ),
            (
                "github",
                "repo:acme@65923871/shop@702114500:environment:prod%3Aeu",
                "repository: acme/shop, owner_id: \"65923871\", repository_id: \"702114500\", environment: \"prod:eu\"",
            ),
            ("github", "repo:acme/shop:*", "repository: acme/shop"),
            ("github", "repo:acme/*", "owner: acme"),
            (
                "github",
                "repo:acme/app-*:pull_request",
                "repository: { glob: \"acme/app-*\" }, trigger: pull_request, environment: { present: false }",
            ),
            (
                "github",
                "repo:acme/shop:ref:refs/tags/v*",
                "repository: acme/shop, ref: { glob: \"refs/tags/v**\" }, environment: { present: false }",
            ),
            (
                "gitlab",
                "project_path:acme/pay/api:ref_type:branch:ref:main",
                "repository: acme/pay/api, ref: refs/heads/main",
            ),
            (
                "gitlab",
                "project_path:acme/*:ref_type:tag:ref:v*",
                "repository: { glob: \"acme/**\" }, ref: { glob: \"refs/tags/v**\" }",
            ),
        ] {
            assert_eq!(shown(provider, text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_subject_that_reaches_further_than_it_looks_is_refused() {
        for (provider, text) in [
            ("github", "repo:acme*"),
            ("github", "repo:*/shop:*"),
            ("github", "repo:acme/shop"),
            ("github", "repository_owner:acme:repo:acme/shop"),
            (
                "github",
                "repo:acme/shop:job_workflow_ref:acme/ci/x.yml@refs/heads/main",
            ),
            ("github", "repo:acme/shop:ref:main"),
            ("gitlab", "project_path:acme*:ref_type:branch:ref:main"),
            (
                "gitlab",
                "project_path:acme/pay:ref_type:merge_request:ref:1",
            ),
        ] {
            assert!(shown(provider, text).is_err(), "{text}");
        }
    }
}
