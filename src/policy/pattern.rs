//! Exact text, list, glob, under, member, not, present. Not: claims.

use std::fmt;

use crate::provider::{FactValue, Workflow};
use crate::yaml::scalar::scalar;

/// What a fact must be for a condition to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This text, byte for byte.
    Exact(String),
    /// Any of these; no lists within.
    Any(Vec<Self>),
    All(Vec<Operator>),
    Is(bool),
    /// Told at all, or not told.
    Present(bool),
    /// A workflow file; at least one of the two is given.
    Workflow {
        path: Option<Box<Self>>,
        /// The ref it was taken from.
        r#ref: Option<Box<Self>>,
    },
}

/// One line of a mapping of operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Fits the glob as a whole.
    Glob(Glob),
    /// Is this path or lies below it.
    Under(String),
    /// Has this among its entries; for lists only.
    Member(String),
    /// Is told, and does not fit.
    Not(Box<Pattern>),
}

/// What a job says, as a pattern sees it.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// Nothing. It satisfies nothing but `{present: false}` (T-47).
    Absent,
    Text(&'a str),
    Bool(bool),
    List(&'a [String]),
    Workflow(&'a Workflow),
    /// A raw claim that is neither text nor boolean.
    Other,
    /// A raw claim with text no condition may compare: it satisfies nothing at all (T-48).
    Foreign,
}

impl<'a> From<Option<&'a FactValue>> for Seen<'a> {
    fn from(value: Option<&'a FactValue>) -> Self {
        match value {
            None => Self::Absent,
            Some(FactValue::Text(text)) => Self::Text(text),
            Some(FactValue::Bool(value)) => Self::Bool(*value),
            Some(FactValue::List(entries)) => Self::List(entries),
            Some(FactValue::Workflow(workflow)) => Self::Workflow(workflow),
        }
    }
}

impl Pattern {
    pub(super) fn of_texts(texts: Vec<String>) -> Self {
        let mut exact: Vec<_> = texts.into_iter().map(Self::Exact).collect();
        match (exact.len(), exact.pop()) {
            (1, Some(one)) => one,
            (_, last) => Self::Any(exact.into_iter().chain(last).collect()),
        }
    }

    /// Whether what the job says fits. Values of another type fit nothing (T-46).
    #[must_use]
    pub fn fits(&self, seen: Seen<'_>) -> bool {
        match (self, seen) {
            (_, Seen::Foreign) => false,
            (Self::Present(wanted), seen) => *wanted != matches!(seen, Seen::Absent),
            (Self::Exact(text), Seen::Text(seen)) => text == seen,
            (Self::Any(patterns), seen) => patterns.iter().any(|pattern| pattern.fits(seen)),
            (Self::All(operators), seen @ (Seen::Text(_) | Seen::List(_))) => {
                operators.iter().all(|operator| operator.fits(seen))
            }
            (Self::Is(wanted), Seen::Bool(seen)) => *wanted == seen,
            (Self::Workflow { path, r#ref }, Seen::Workflow(seen)) => {
                let seen_ref = seen.r#ref.as_deref().map_or(Seen::Absent, Seen::Text);
                path.as_ref()
                    .is_none_or(|path| path.fits(Seen::Text(&seen.path)))
                    && r#ref.as_ref().is_none_or(|pattern| pattern.fits(seen_ref))
            }
            (
                Self::Exact(_) | Self::All(_) | Self::Is(_) | Self::Workflow { .. },
                Seen::Absent
                | Seen::Text(_)
                | Seen::Bool(_)
                | Seen::List(_)
                | Seen::Workflow(_)
                | Seen::Other,
            ) => false,
        }
    }

    /// The texts it accepts, when it accepts nothing but a list of exact ones.
    #[must_use]
    pub fn exact_texts(&self) -> Option<Vec<&str>> {
        match self {
            Self::Exact(text) => Some(vec![text]),
            Self::Any(patterns) => patterns
                .iter()
                .map(|pattern| match pattern {
                    Self::Exact(text) => Some(text.as_str()),
                    Self::Any(_)
                    | Self::All(_)
                    | Self::Is(_)
                    | Self::Present(_)
                    | Self::Workflow { .. } => None,
                })
                .collect(),
            Self::All(_) | Self::Is(_) | Self::Present(_) | Self::Workflow { .. } => None,
        }
    }

    /// It names this text exactly, alone or in a list.
    #[must_use]
    pub fn names(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Any(patterns) => patterns.iter().any(|pattern| pattern.names(text)),
            Self::All(_) | Self::Is(_) | Self::Present(_) | Self::Workflow { .. } => false,
        }
    }

    /// Every glob in it that widens what it accepts: not those under `not`.
    pub(super) fn globs(&self) -> Vec<&Glob> {
        match self {
            Self::Exact(_) | Self::Is(_) | Self::Present(_) => Vec::new(),
            Self::Any(patterns) => patterns.iter().flat_map(Self::globs).collect(),
            Self::All(operators) => operators
                .iter()
                .filter_map(|operator| match operator {
                    Operator::Glob(glob) => Some(glob),
                    Operator::Under(_) | Operator::Member(_) | Operator::Not(_) => None,
                })
                .collect(),
            Self::Workflow { path, r#ref } => [path, r#ref]
                .into_iter()
                .flatten()
                .flat_map(|pattern| pattern.globs())
                .collect(),
        }
    }
}

/// As YAML in one line, so that reading it gives the same pattern.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(&scalar(text)),
            Self::Any(patterns) => {
                let list: Vec<_> = patterns.iter().map(Self::to_string).collect();
                write!(f, "[{}]", list.join(", "))
            }
            Self::All(operators) => {
                let list: Vec<_> = operators.iter().map(Operator::to_string).collect();
                write!(f, "{{ {} }}", list.join(", "))
            }
            Self::Is(value) => write!(f, "{value}"),
            Self::Present(value) => write!(f, "{{ present: {value} }}"),
            Self::Workflow { path, r#ref } => {
                let list: Vec<_> = [("path", path), ("ref", r#ref)]
                    .into_iter()
                    .filter_map(|(key, part)| part.as_ref().map(|part| format!("{key}: {part}")))
                    .collect();
                write!(f, "{{ {} }}", list.join(", "))
            }
        }
    }
}

impl Operator {
    /// Whether text or a list fits. Text has no entries, and a list is no text (T-46).
    pub(super) fn fits(&self, seen: Seen<'_>) -> bool {
        match (self, seen) {
            (Self::Glob(glob), Seen::Text(seen)) => glob.fits(seen),
            (Self::Under(top), Seen::Text(seen)) => is_under(top, seen),
            (Self::Member(member), Seen::List(entries)) => entries.contains(member),
            (Self::Not(pattern), Seen::Text(_) | Seen::List(_)) => !pattern.fits(seen),
            (Self::Glob(_) | Self::Under(_) | Self::Member(_) | Self::Not(_), _) => false,
        }
    }
}

/// The path itself, or below it.
pub(super) fn is_under(top: &str, seen: &str) -> bool {
    seen.strip_prefix(top)
        .is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glob(glob) => write!(f, "glob: {}", scalar(glob.text())),
            Self::Under(top) => write!(f, "under: {}", scalar(top)),
            Self::Member(member) => write!(f, "member: {}", scalar(member)),
            Self::Not(pattern) => write!(f, "not: {pattern}"),
        }
    }
}

/// A pattern of literal text, `*` for any characters within one `/` segment, and `**` for any
/// characters at all. It fits the whole value or not at all, in time linear in the value (T-75).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    /// Literal bytes up to the first star: most values differ here already.
    prefix: usize,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Segment,
    Anything,
}

impl Glob {
    /// Compiles a glob.
    ///
    /// # Errors
    /// A finished sentence: `?`, `[`, `{` and `\` have other meanings in each CI's own globs, so
    /// none is given to them here.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_text(text)?;
        if let Some(odd) = text
            .chars()
            .find(|c| matches!(c, '?' | '[' | ']' | '{' | '}' | '\\'))
        {
            return Err(format!(
                "`{odd}` has no meaning in the glob `{text}`: only `*` (within one `/` segment) and `**` (across them) have"
            ));
        }
        if text.contains("***") {
            return Err(format!(
                "`***` has no meaning in the glob `{text}`: use `*` or `**`"
            ));
        }
        let mut tokens = Vec::with_capacity(text.len());
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'*' if bytes.next_if_eq(&b'*').is_some() => Token::Anything,
                b'*' => Token::Segment,
                byte => Token::Byte(byte),
            });
        }
        Ok(Self {
            prefix: text.find('*').unwrap_or(text.len()),
            text: text.to_owned(),
            tokens,
        })
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole value fits.
    #[must_use]
    pub fn fits(&self, value: &str) -> bool {
        self.fits_in(value).0
    }

    /// Whether some text that begins so fits.
    #[must_use]
    pub fn allows_start(&self, start: &str) -> bool {
        let mut now = Positions::default();
        now.add(0, &self.tokens);
        for byte in start.bytes() {
            now = step(&self.tokens, now, byte);
        }
        !now.is_empty()
    }

    /// The same, with the number of steps it took: at most one per token and byte of the value.
    #[must_use]
    pub fn fits_in(&self, value: &str) -> (bool, usize) {
        let prefix = self.text.get(..self.prefix).unwrap_or_default();
        let Some(rest) = value.strip_prefix(prefix) else {
            return (false, 0);
        };
        let tokens = self.tokens.get(self.prefix..).unwrap_or_default();
        match tokens {
            [] => return (rest.is_empty(), 0),
            [Token::Anything] => return (true, 0),
            [Token::Segment] => return (!rest.contains('/'), rest.len()),
            _ => {}
        }
        simulate(tokens, rest.as_bytes())
    }
}

/// Walks the value once, keeping the set of tokens that could come next. The set never holds more
/// than there are tokens, whatever the value is: no backtracking.
fn simulate(tokens: &[Token], value: &[u8]) -> (bool, usize) {
    let mut now = Positions::default();
    now.add(0, tokens);
    let mut steps: usize = 0;
    for byte in value {
        steps = steps.saturating_add(now.iter().count());
        now = step(tokens, now, *byte);
        if now.is_empty() {
            return (false, steps);
        }
    }
    (now.has(tokens.len()), steps)
}

/// The tokens that could come after one more byte.
fn step(tokens: &[Token], now: Positions, byte: u8) -> Positions {
    let mut next = Positions::default();
    for position in now.iter() {
        match tokens.get(position) {
            Some(Token::Byte(wanted)) if *wanted == byte => {
                next.add(position.saturating_add(1), tokens);
            }
            Some(Token::Anything) => next.add(position, tokens),
            Some(Token::Segment) if byte != b'/' => next.add(position, tokens),
            Some(Token::Byte(_) | Token::Segment) | None => {}
        }
    }
    next
}

/// A set of positions in a glob: one bit each, as a glob has at most 256 bytes.
#[derive(Clone, Copy, Default)]
struct Positions([u64; 5]);

impl Positions {
    /// Adds a position, and the one after it where a star may stand for nothing.
    fn add(&mut self, position: usize, tokens: &[Token]) {
        self.set(position);
        if matches!(tokens.get(position), Some(Token::Segment | Token::Anything)) {
            self.set(position.saturating_add(1));
        }
    }

    fn set(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    fn has(&self, position: usize) -> bool {
        self.0
            .get(position / 64)
            .is_some_and(|word| word & (1 << (position % 64)) != 0)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        self.0
            .into_iter()
            .enumerate()
            .flat_map(|(index, mut word)| {
                std::iter::from_fn(move || {
                    if word == 0 {
                        return None;
                    }
                    let bit = usize::try_from(word.trailing_zeros()).unwrap_or_default();
                    word &= word.wrapping_sub(1);
                    Some(index.saturating_mul(64).saturating_add(bit))
                })
            })
    }
}

/// What any text of a pattern must be: 1 to 256 bytes of printable ASCII, as the values it is
/// compared with are (T-48).
pub(super) fn check_text(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the pattern is empty".to_owned());
    }
    if text.len() > MAX_PATTERN {
        return Err(format!(
            "the pattern has {} bytes, at most {MAX_PATTERN} are allowed",
            text.len()
        ));
    }
    if let Some(odd) = text.chars().find(|c| !matches!(c, ' '..='~')) {
        let code = u32::from(odd);
        return Err(format!(
            "the pattern holds U+{code:04X}, which no job can: facts are printable ASCII"
        ));
    }
    Ok(())
}

/// The longest text of a pattern, in bytes.
pub const MAX_PATTERN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text).unwrap()
    }

    /// T-75
    #[test]
    fn a_glob_fits_the_whole_value_and_a_star_stays_in_its_segment() {
        for (pattern, value, expected) in [
            ("refs/tags/v*", "refs/tags/v1.2", true),
            ("refs/tags/v*", "refs/tags/v", true),
            ("refs/tags/v*", "refs/tags/v1/x", false),
            ("refs/tags/v*", "xrefs/tags/v1", false),
            ("refs/heads/**", "refs/heads/a/b", true),
            ("refs/heads/**", "refs/heads", false),
            ("**/shop", "acme/x/shop", true),
            ("**/shop", "shop", false),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--b--c\n", false),
            ("a*b*c", "abbc", true),
            ("a*/b", "ax/b", true),
            ("a*/b", "ax/y/b", false),
            ("a**b", "a/x/b", true),
            ("*", "", true),
            ("acme/shop", "acme/shop", true),
            ("acme.shop", "acme-shop", false),
            ("a|b", "a", false),
            ("(?i)a", "A", false),
        ] {
            // `(?i)a` does not compile: `?` is refused.
            let fits = Glob::parse(pattern).is_ok_and(|glob| glob.fits(value));
            assert_eq!(fits, expected, "{pattern} against {value:?}");
        }
    }

    /// T-75
    #[test]
    fn signs_with_meanings_elsewhere_are_refused_in_a_glob() {
        for text in ["v?", "[ab]", "{a,b}", r"a\*", "a***", "", "a]"] {
            assert!(Glob::parse(text).is_err(), "{text}");
        }
        assert!(Glob::parse(&"a".repeat(257)).is_err());
        assert!(Glob::parse("caf\u{e9}").is_err());
        insta::assert_snapshot!(
            Glob::parse("v?").unwrap_err(),
            @"`?` has no meaning in the glob `v?`: only `*` (within one `/` segment) and `**` (across them) have"
        );
    }

    /// T-75: 64 KiB against a pattern that makes a backtracking matcher slow.
    #[test]
    fn a_glob_takes_time_linear_in_the_value() {
        for pattern in ["*a*a*a*", "**a**a**a**b", "*a*a*a*a*a*a*a*a*a*b"] {
            let glob = glob(pattern);
            let (_, half) = glob.fits_in(&"a".repeat(32 * 1024));
            let (_, whole) = glob.fits_in(&"a".repeat(64 * 1024));
            assert!(
                whole <= 2 * half + pattern.len() * pattern.len(),
                "{pattern}: {half} then {whole}"
            );
            assert!(
                whole <= 64 * 1024 * (pattern.len() + 1),
                "{pattern}: {whole}"
            );
        }
        assert!(glob("*a*a*a*").fits(&"a".repeat(64 * 1024)));
    }

    /// T-47
    #[test]
    fn an_absent_value_fits_nothing_but_present_false() {
        let not = Pattern::All(vec![Operator::Not(Box::new(Pattern::Exact(
            "x".to_owned(),
        )))]);
        let any = Pattern::All(vec![Operator::Glob(glob("**"))]);
        for pattern in [&not, &any, &Pattern::Present(true), &Pattern::Is(false)] {
            assert!(!pattern.fits(Seen::Absent), "{pattern}");
        }
        assert!(Pattern::Present(false).fits(Seen::Absent));
    }

    /// T-46
    #[test]
    fn a_value_of_another_type_fits_nothing() {
        assert!(!Pattern::Exact("true".to_owned()).fits(Seen::Bool(true)));
        assert!(!Pattern::Is(true).fits(Seen::Text("true")));
        assert!(!Pattern::All(vec![Operator::Glob(glob("**"))]).fits(Seen::Other));
    }

    /// T-48
    #[test]
    fn look_alikes_are_other_texts() {
        let pattern = Pattern::Exact("acme/shop".to_owned());
        for value in [
            "\u{430}cme/shop",
            "ACME/shop",
            "acme\u{ff0f}shop",
            "acme/shop\u{202e}",
            "acme/\u{212a}",
        ] {
            assert!(!pattern.fits(Seen::Text(value)), "{value}");
        }
        assert!(!Pattern::Present(true).fits(Seen::Foreign));
        assert!(!Pattern::Present(false).fits(Seen::Foreign));
    }

    #[test]
    fn under_is_the_path_itself_or_below_and_member_one_entry() {
        let under = Operator::Under("acme-group".to_owned());
        let under = |text| under.fits(Seen::Text(text));
        assert!(under("acme-group") && under("acme-group/pay"));
        assert!(!under("acme-groupx") && !under("acme"));
        let member = Operator::Member("eu-west-1".to_owned());
        let entries = ["eu-west-1".to_owned(), "us-east-1".to_owned()];
        assert!(member.fits(Seen::List(&entries)));
        assert!(!member.fits(Seen::List(&entries[1..])));
        assert!(!member.fits(Seen::Text("eu-west-1")), "text has no entries");
    }

    #[test]
    fn a_glob_allows_the_starts_of_texts_that_fit() {
        for (pattern, expected) in [
            ("refs/heads/*", true),
            ("**", true),
            ("r*/heads/x", true),
            ("*/heads/x", true),
            ("*", false),
            ("release/*", false),
            ("refs*", false),
        ] {
            assert_eq!(glob(pattern).allows_start("refs/"), expected, "{pattern}");
        }
    }
}
