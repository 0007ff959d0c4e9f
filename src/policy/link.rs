//! Links to policies at the commit that was loaded: the setting `policies.url` with its placeholders
//! filled in.
//!
//! A template is checked once, when the settings are read. Every link that it makes is an https URL
//! whose host the operator wrote, without characters that a page or a terminal reads as markup
//! (T-230). Only names of files in the policies' folder are filled in.

use std::fmt;

use url::Url;

use crate::text::url_path;
use crate::yaml::Place;

/// An https URL with `{commit}`, `{path}` and, if wanted, `{line}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Commit,
    Path,
    Line,
}

impl LinkTemplate {
    /// Reads the text of a template.
    ///
    /// # Errors
    /// What is wrong with it. The text itself is not repeated, because it may hold a secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_TEMPLATE {
            return Err("is longer than 1024 bytes");
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || PUNCTUATION.contains(&byte);
        if !text.bytes().all(is_allowed) {
            return Err(
                "holds a character other than ASCII letters, digits, placeholders and `-._~:/?#@!$&+,;=%`",
            );
        }
        let parts = parts(text)?;
        if !parts.contains(&Part::Commit) {
            return Err("lacks `{commit}`: a link to a branch shows policies that did not decide");
        }
        if !parts.contains(&Part::Path) {
            return Err("lacks `{path}`");
        }
        // A placeholder in the host could lead to another one.
        let head = match parts.first() {
            Some(Part::Text(head)) => head.as_str(),
            Some(Part::Commit | Part::Path | Part::Line) | None => "",
        };
        let host = head.strip_prefix("https://").ok_or("is not an https URL")?;
        let (host, _) = host
            .split_once('/')
            .ok_or("has no path between its host and its first placeholder")?;
        if host.is_empty() {
            return Err("has no host");
        }
        if host.contains('@') {
            return Err("holds a user name or a password");
        }
        let template = Self(parts);
        let example = template.fill("0", "a.yaml", 1);
        let url = Url::parse(&example).map_err(|_| "is not a URL")?;
        let names_secret = |name: &str| {
            let name = name.to_ascii_lowercase();
            SECRETS.iter().any(|word| name.contains(word))
        };
        if url.query_pairs().any(|(name, _)| names_secret(&name)) {
            return Err("has a query parameter for a secret; jobs and their logs show the link");
        }
        Ok(template)
    }

    fn fill(&self, commit: &str, path: &str, line: usize) -> String {
        let mut url = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Commit => url.push_str(commit),
                Part::Path => url.push_str(&url_path(path)),
                Part::Line => url.push_str(&line.to_string()),
            }
        }
        url
    }
}

fn parts(text: &str) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("has a `{` without its `}`")?;
        if before.contains('}') {
            return Err("has a `}` without its `{`");
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(match name {
            "commit" => Part::Commit,
            "path" => Part::Path,
            "line" => Part::Line,
            _ => return Err("has a placeholder other than `{commit}`, `{path}` and `{line}`"),
        });
        rest = after;
    }
    if rest.contains('}') {
        return Err("has a `}` without its `{`");
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// The full hash of a commit: SHA-1 or SHA-256, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit(String);

impl Commit {
    /// The commit in the text of a file, without the white space around it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        let is_hash = [40, 64].contains(&text.len());
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hash && is_hex).then(|| Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The template, with the commit of the policies that were loaded with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLinks {
    pub template: LinkTemplate,
    pub commit: Commit,
}

impl PolicyLinks {
    /// The link to what is at this place of a policy file.
    #[must_use]
    pub(super) fn to(&self, place: &Place) -> String {
        let (path, (line, _)) = (place.source().name(), place.position());
        self.template.fill(&self.commit.0, path, line)
    }
}

/// The longest template, in bytes.
const MAX_TEMPLATE: usize = 1_024;
/// What a template may hold beside letters and digits. Without quotes, brackets, `*`, `|`, `\` and
/// white space, a link is never markup and always one word of a shell but for `&;?!$#`.
const PUNCTUATION: &[u8] = b"-._~:/?#@!$&+,;=%{}";
/// What the name of a query parameter holds that carries a secret.
const SECRETS: &[&str] = &[
    "token",
    "key",
    "secret",
    "pass",
    "sig",
    "auth",
    "credential",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// T-230
    #[test]
    fn a_template_is_an_https_url_whose_host_is_written_out() {
        for (text, problem) in [
            ("http://git.acme.dev/{commit}/{path}", "https"),
            ("javascript:alert({commit}{path})", "character"),
            ("data:{commit}{path}", "https"),
            ("{commit}{path}", "https"),
            ("https://{path}/{commit}", "path between"),
            ("https://git.{path}.dev/{commit}", "path between"),
            ("https:///{commit}/{path}", "no host"),
            ("https://git.acme.dev{path}/{commit}", "path between"),
            (
                "https://git.acme.dev:{line}/{commit}/{path}",
                "path between",
            ),
            ("https://git acme/{commit}/{path}", "character"),
            ("https://git.acme.dev/[x](y){commit}/{path}", "character"),
            ("https://git.acme.dev/<b>{commit}/{path}", "character"),
            ("https://git.acme.dev/\n{commit}/{path}", "character"),
            ("https://git.acme.dev/ä/{commit}/{path}", "character"),
            ("https://git.acme.dev/{commit}", "`{path}`"),
            ("https://git.acme.dev/{path}", "`{commit}`"),
            ("https://git.acme.dev/{commit}/{file}", "placeholder"),
            ("https://git.acme.dev/{commit}/{path", "without"),
            ("https://git.acme.dev/{commit}}/{path}", "without"),
            ("https://git.acme.dev/{{commit}}/{path}", "placeholder"),
        ] {
            let found = LinkTemplate::parse(text).unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
        let long = format!(
            "https://git.acme.dev/{}/{{commit}}/{{path}}",
            "a".repeat(1_024)
        );
        assert!(LinkTemplate::parse(&long).is_err());
    }

    /// T-231
    #[test]
    fn a_template_with_a_secret_is_refused_without_its_text() {
        for text in [
            "https://robot:hunter2@git.acme.dev/{commit}/{path}",
            "https://hunter2@git.acme.dev/{commit}/{path}",
            "https://git.acme.dev/{path}?ref={commit}&private_token=hunter2",
            "https://git.acme.dev/{path}?ref={commit}&ApiKey=hunter2",
            "https://git.acme.dev/{path}?ref={commit}&X-Signature=hunter2",
            "https://git.acme.dev/{path}?ref={commit}&%74oken=hunter2",
        ] {
            let found = LinkTemplate::parse(text).unwrap_err();
            assert!(!found.contains("hunter2"), "{found}");
        }
    }

    /// T-232
    #[test]
    fn the_path_is_one_percent_encoded_name() {
        for (template, url) in [
            (
                "https://git.acme.dev/acme/policies/blob/{commit}/policies/{path}#L{line}",
                "https://git.acme.dev/acme/policies/blob/abc/policies/a%20%28b%29%3F%23%C3%A4%5D.yaml#L7",
            ),
            (
                "https://dev.acme.dev/_git/p?path=/{path}&version=GC{commit}&line={line}",
                "https://dev.acme.dev/_git/p?path=/a%20%28b%29%3F%23%C3%A4%5D.yaml&version=GCabc&line=7",
            ),
        ] {
            let template = LinkTemplate::parse(template).unwrap();
            assert_eq!(template.fill("abc", "a (b)?#ä].yaml", 7), url);
        }
    }

    /// T-233
    #[test]
    fn a_commit_is_a_whole_hash() {
        let hash = "0123456789abcdef0123456789ABCDEF01234567";
        let commit = Commit::parse(&format!(" {hash}\n")).unwrap();
        assert_eq!(commit.to_string(), hash.to_lowercase());
        assert!(Commit::parse(&"a".repeat(64)).is_some());
        for text in [
            "",
            "main",
            "ref: refs/heads/main",
            hash.strip_prefix('0').unwrap(),
            &format!("{hash} {hash}"),
        ] {
            assert_eq!(Commit::parse(text), None, "{text}");
        }
        let crafted = format!("../{}", "a".repeat(37));
        assert_eq!(Commit::parse(&crafted), None);
    }
}
