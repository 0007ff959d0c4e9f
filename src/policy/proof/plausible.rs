//! Texts that a reader takes for real ones, in place of a shortest text such as `refs/heads/`.

use super::lang::Lang;

/// Whether a text that was found may stay as it is.
pub(super) fn is_plain(text: &str) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    is_word(text.as_bytes().first()) && is_word(text.as_bytes().last())
}

/// Texts that are made from the patterns among the sets, with words in their gaps. Not each of them is in
/// all sets.
pub(super) fn texts(sets: &[&Lang]) -> Vec<String> {
    let mut parts = Parts::default();
    for set in sets {
        parts.read(set);
    }
    if parts.paths.is_empty() && parts.refs.is_empty() {
        return parts.texts;
    }
    parts.paths.push(WORKFLOW.to_owned());
    parts.refs.push("refs/heads/main".to_owned());
    let paths = parts.paths.iter();
    paths
        .flat_map(|path| parts.refs.iter().map(move |r#ref| format!("{path}@{ref}")))
        .collect()
}

#[derive(Default)]
struct Parts {
    texts: Vec<String>,
    /// Of workflows.
    paths: Vec<String>,
    refs: Vec<String>,
}

impl Parts {
    fn read(&mut self, set: &Lang) {
        match set {
            Lang::And(parts) => parts.iter().for_each(|part| self.read(part)),
            Lang::Path(paths) => self.paths.extend(named(paths)),
            Lang::Ref { texts, .. } => self.refs.extend(named(texts)),
            Lang::All
            | Lang::Words(_)
            | Lang::Glob(_)
            | Lang::Under(_)
            | Lang::Not(_)
            | Lang::Or(_)
            | Lang::Decimal
            | Lang::File(..)
            | Lang::Listed(_)
            | Lang::After(..)
            | Lang::Starting(_)
            | Lang::Part(..) => self.texts.extend(named(set)),
        }
    }
}

fn named(set: &Lang) -> Vec<String> {
    match set {
        Lang::Words(words) => words.iter().take(MOST).cloned().collect(),
        Lang::Glob(glob) => {
            let filled = |word: &str| glob.0.text().replace("**", word).replace('*', word);
            WORDS.map(filled).to_vec()
        }
        Lang::Under(top) => WORDS.map(|word| format!("{top}/{word}")).to_vec(),
        Lang::And(parts) | Lang::Or(parts) => parts.iter().flat_map(|part| named(part)).collect(),
        Lang::All
        | Lang::Not(_)
        | Lang::Decimal
        | Lang::Path(_)
        | Lang::Ref { .. }
        | Lang::File(..)
        | Lang::Listed(_)
        | Lang::Starting(_)
        | Lang::Part(..)
        | Lang::After(..) => Vec::new(),
    }
}

/// The last one is for patterns that take parts of a path.
const WORDS: [&str; 5] = ["next", "other", "a-1", "1", "next/one"];
const WORKFLOW: &str = "acme/shop/.github/workflows/deploy.yml";
/// Words that are taken of a long list.
const MOST: usize = 16;
