//! Patterns for facts: exact text, list, glob, `under`, `member`, `not` and `present`.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::time_window::TimeWindow;
use crate::clock::Timestamp;
use crate::provider::{FactValue, Workflow};
use crate::yaml::duration;
use crate::yaml::scalar::scalar;

/// The pattern that a fact must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This text, byte for byte.
    Exact(String),
    /// Any of these; no lists within.
    Any(Vec<Self>),
    All(Vec<Operator>),
    Is(bool),
    /// Present, or absent.
    Present(bool),
    /// A workflow file; at least one of the two is given.
    Workflow {
        path: Option<Box<Self>>,
        /// The ref of the workflow file.
        r#ref: Option<Box<Self>>,
    },
    /// An address of this network.
    Network(IpNet),
    /// Decided within this window.
    Time(TimeWindow),
    /// At most so long ago.
    Age(Duration),
}

/// One line of a mapping of operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The whole value matches the glob.
    Glob(Glob),
    /// The value is this path or below it.
    Under(String),
    /// The list has this entry.
    Member(String),
    /// The value is present and does not match.
    Not(Box<Pattern>),
}

/// A job's value, as patterns see it.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'a> {
    /// No value. Matches only `{present: false}` (T-47).
    Absent,
    Text(&'a str),
    Bool(bool),
    List(&'a [String]),
    Workflow(&'a Workflow),
    Address(IpAddr),
    /// When the decision is made.
    Time(Timestamp),
    /// Seconds since it was.
    Age(i64),
    /// A raw claim that is neither text nor boolean.
    Other,
    /// A raw claim with text outside printable ASCII. Matches nothing (T-48).
    Foreign,
}

impl<'a> From<Option<&'a FactValue>> for Observed<'a> {
    fn from(value: Option<&'a FactValue>) -> Self {
        match value {
            None => Self::Absent,
            Some(FactValue::Text(text)) => Self::Text(text),
            Some(FactValue::Bool(value)) => Self::Bool(*value),
            Some(FactValue::List(entries)) => Self::List(entries),
            Some(FactValue::Workflow(workflow)) => Self::Workflow(workflow),
            Some(FactValue::Address(address)) => Self::Address(*address),
            Some(FactValue::Time(at)) => Self::Time(*at),
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

    /// Whether the value matches. Values of another type never match (T-46).
    #[must_use]
    pub fn fits(&self, seen: Observed<'_>) -> bool {
        match (self, seen) {
            (_, Observed::Foreign) => false,
            (Self::Present(wanted), seen) => *wanted != matches!(seen, Observed::Absent),
            (Self::Exact(text), Observed::Text(seen)) => text == seen,
            (Self::Any(patterns), seen) => patterns.iter().any(|pattern| pattern.fits(seen)),
            (
                Self::All(operators),
                seen @ (Observed::Text(_) | Observed::List(_) | Observed::Address(_)),
            ) => operators.iter().all(|operator| operator.fits(seen)),
            (Self::Network(network), Observed::Address(seen)) => network.contains(&seen),
            (Self::Time(window), Observed::Time(at)) => window.holds(at),
            (Self::Age(most), Observed::Age(seconds)) => {
                u64::try_from(seconds.max(0)).is_ok_and(|seconds| seconds <= most.as_secs())
            }
            (Self::Is(wanted), Observed::Bool(seen)) => *wanted == seen,
            (Self::Workflow { path, r#ref }, Observed::Workflow(seen)) => {
                let seen_ref = seen
                    .r#ref
                    .as_deref()
                    .map_or(Observed::Absent, Observed::Text);
                path.as_ref()
                    .is_none_or(|path| path.fits(Observed::Text(&seen.path)))
                    && r#ref.as_ref().is_none_or(|pattern| pattern.fits(seen_ref))
            }
            (
                Self::Exact(_)
                | Self::All(_)
                | Self::Is(_)
                | Self::Workflow { .. }
                | Self::Network(_)
                | Self::Time(_)
                | Self::Age(_),
                Observed::Absent
                | Observed::Text(_)
                | Observed::Bool(_)
                | Observed::List(_)
                | Observed::Workflow(_)
                | Observed::Address(_)
                | Observed::Time(_)
                | Observed::Age(_)
                | Observed::Other,
            ) => false,
        }
    }

    /// Whether it names a member of a list that has a comma.
    pub(super) fn names_comma(&self) -> bool {
        self.has_operator(
            &|operator| matches!(operator, Operator::Member(name) if name.contains(',')),
        )
    }

    /// Whether it limits the values: it says more than whether there is one, and than what it must not be.
    pub(super) fn narrows(&self) -> bool {
        match self {
            Self::Present(_) => false,
            Self::Any(patterns) => patterns.iter().all(Self::narrows),
            Self::All(operators) => operators
                .iter()
                .any(|operator| !matches!(operator, Operator::Not(_))),
            Self::Workflow { path, r#ref } => {
                let mut parts = [path, r#ref].into_iter().flatten();
                parts.any(|part| part.narrows())
            }
            Self::Exact(_) | Self::Is(_) | Self::Network(_) | Self::Time(_) | Self::Age(_) => true,
        }
    }

    /// Whether it negates something.
    pub(super) fn negates(&self) -> bool {
        self.has_operator(&|operator| matches!(operator, Operator::Not(_)))
    }

    fn has_operator(&self, wanted: &dyn Fn(&Operator) -> bool) -> bool {
        match self {
            Self::Any(patterns) => patterns.iter().any(|one| one.has_operator(wanted)),
            Self::All(operators) => operators.iter().any(|one| {
                let inner = matches!(one, Operator::Not(inner) if inner.has_operator(wanted));
                inner || wanted(one)
            }),
            Self::Exact(_)
            | Self::Is(_)
            | Self::Present(_)
            | Self::Workflow { .. }
            | Self::Network(_)
            | Self::Time(_)
            | Self::Age(_) => false,
        }
    }

    /// The texts that it accepts, if it is exact text or a list of exact texts.
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
                    | Self::Workflow { .. }
                    | Self::Network(_)
                    | Self::Time(_)
                    | Self::Age(_) => None,
                })
                .collect(),
            Self::All(_)
            | Self::Is(_)
            | Self::Present(_)
            | Self::Workflow { .. }
            | Self::Network(_)
            | Self::Time(_)
            | Self::Age(_) => None,
        }
    }

    /// Whether it names this text exactly, alone or in a list.
    #[must_use]
    pub fn names(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Any(patterns) => patterns.iter().any(|pattern| pattern.names(text)),
            Self::All(_)
            | Self::Is(_)
            | Self::Present(_)
            | Self::Workflow { .. }
            | Self::Network(_)
            | Self::Time(_)
            | Self::Age(_) => false,
        }
    }

    /// Every glob in it, except those under `not`.
    pub(super) fn globs(&self) -> Vec<&Glob> {
        match self {
            Self::Exact(_)
            | Self::Is(_)
            | Self::Present(_)
            | Self::Network(_)
            | Self::Time(_)
            | Self::Age(_) => Vec::new(),
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

/// Prints the pattern as YAML in one line that parses to the same pattern.
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
            Self::Network(network) => f.write_str(&scalar(&network.to_string())),
            Self::Time(window) => write!(f, "{window}"),
            Self::Age(most) => write!(f, "{{ within: {} }}", duration::print(*most)),
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
    /// Whether text, a list or an address matches. Text has no entries, and a list is not text (T-46).
    pub(super) fn fits(&self, seen: Observed<'_>) -> bool {
        match (self, seen) {
            (Self::Glob(glob), Observed::Text(seen)) => glob.fits(seen),
            (Self::Under(top), Observed::Text(seen)) => is_under(top, seen),
            (Self::Member(member), Observed::List(entries)) => entries.contains(member),
            (Self::Not(pattern), Observed::Text(_) | Observed::List(_) | Observed::Address(_)) => {
                !pattern.fits(seen)
            }
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
/// characters at all. It matches the whole value, in time linear in the value (T-75).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    text: String,
    /// Literal bytes up to the first `*`. Most values already differ here.
    prefix: usize,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Token {
    Byte(u8),
    Segment,
    Anything,
}

impl Glob {
    /// Compiles a glob.
    ///
    /// # Errors
    /// The glob is empty, too long or not printable ASCII, or has `?`, `[`, `{` or `\`: these mean
    /// something different in each CI's globs, so they are rejected.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_text(text)?;
        if let Some(odd) = text
            .chars()
            .find(|c| matches!(c, '?' | '[' | ']' | '{' | '}' | '\\'))
        {
            return Err(format!(
                "`{odd}` is not supported in the glob `{text}`; use `*` (within one `/` \
                 segment) or `**` (across segments)"
            ));
        }
        if text.contains("***") {
            return Err(format!(
                "`***` is not supported in the glob `{text}`; use `*` or `**`"
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

    /// Whether the whole value matches.
    #[must_use]
    pub fn fits(&self, value: &str) -> bool {
        self.fits_in(value).0
    }

    /// Whether some text with this prefix matches.
    #[must_use]
    pub fn allows_start(&self, start: &str) -> bool {
        let start = start.bytes();
        let now = start.fold(self.start(), |now, byte| self.step(now, byte));
        !now.is_empty()
    }

    /// Where a walk over a value starts.
    pub(super) fn start(&self) -> Positions {
        let mut now = Positions::default();
        now.add(0, &self.tokens);
        now
    }

    /// The positions after one more byte.
    pub(super) fn step(&self, now: Positions, byte: u8) -> Positions {
        step(&self.tokens, now, byte)
    }

    /// Whether a value that ends here matches.
    pub(super) fn ends(&self, now: Positions) -> bool {
        now.has(self.tokens.len())
    }

    /// Whether every value that goes on from here matches, or none; `None`: it depends.
    pub(super) fn fate(&self, now: Positions) -> Option<bool> {
        let last = self.tokens.len().saturating_sub(1);
        let is_open = self.tokens.last() == Some(&Token::Anything) && now.has(last);
        match (now.is_empty(), is_open) {
            (true, _) => Some(false),
            (false, true) => Some(true),
            (false, false) => None,
        }
    }

    /// Whether some text matches both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (own_end, other_end) = (self.tokens.len(), other.tokens.len());
        let mut seen = HashSet::new();
        let mut open = vec![(0, 0)];
        while let Some((here, there)) = open.pop() {
            if !seen.insert((here, there)) {
                continue;
            }
            if (here, there) == (own_end, other_end) {
                return true;
            }
            let (one, two) = (self.tokens.get(here), other.tokens.get(there));
            let (own_next, other_next) = (here.saturating_add(1), there.saturating_add(1));
            // A wildcard may match nothing more.
            if matches!(one, Some(Token::Segment | Token::Anything)) {
                open.push((own_next, there));
            }
            if matches!(two, Some(Token::Segment | Token::Anything)) {
                open.push((here, other_next));
            }
            // Both take one more byte. Two wildcards need none in common.
            match (one, two) {
                (Some(Token::Byte(one)), Some(Token::Byte(two))) if one == two => {
                    open.push((own_next, other_next));
                }
                (Some(Token::Byte(byte)), Some(wildcard)) if wildcard.takes(*byte) => {
                    open.push((own_next, there));
                }
                (Some(wildcard), Some(Token::Byte(byte))) if wildcard.takes(*byte) => {
                    open.push((here, other_next));
                }
                _ => {}
            }
        }
        false
    }

    /// Whether the whole value matches, and the number of steps: at most one per token and byte of
    /// the value.
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

impl Token {
    /// Whether it is a wildcard that takes this byte.
    const fn takes(self, byte: u8) -> bool {
        match self {
            Self::Byte(_) => false,
            Self::Segment => byte != b'/',
            Self::Anything => true,
        }
    }
}

/// Walks the value once and keeps the set of tokens that can come next. There is no backtracking:
/// the set never holds more than all tokens.
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

/// The tokens that can come after one more byte.
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

/// A set of positions in a glob, one bit each: a glob has at most 256 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Positions([u64; 5]);

impl Positions {
    /// Adds a position, and the next one if the token is a wildcard, which may match nothing.
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

/// Checks a text of a pattern: 1 to 256 bytes of printable ASCII, like the values it is compared
/// with (T-48).
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
            "the pattern has U+{code:04X}, which matches nothing: facts are printable ASCII"
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
            @"`?` is not supported in the glob `v?`; use `*` (within one `/` segment) or `**` \
                (across segments)"
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
            assert!(!pattern.fits(Observed::Absent), "{pattern}");
        }
        assert!(Pattern::Present(false).fits(Observed::Absent));
    }

    /// T-46
    #[test]
    fn a_value_of_another_type_fits_nothing() {
        assert!(!Pattern::Exact("true".to_owned()).fits(Observed::Bool(true)));
        assert!(!Pattern::Is(true).fits(Observed::Text("true")));
        assert!(!Pattern::All(vec![Operator::Glob(glob("**"))]).fits(Observed::Other));
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
            assert!(!pattern.fits(Observed::Text(value)), "{value}");
        }
        assert!(!Pattern::Present(true).fits(Observed::Foreign));
        assert!(!Pattern::Present(false).fits(Observed::Foreign));
    }

    #[test]
    fn under_is_the_path_itself_or_below_and_member_one_entry() {
        let under = Operator::Under("acme-group".to_owned());
        let under = |text| under.fits(Observed::Text(text));
        assert!(under("acme-group") && under("acme-group/pay"));
        assert!(!under("acme-groupx") && !under("acme"));
        let member = Operator::Member("eu-west-1".to_owned());
        let entries = ["eu-west-1".to_owned(), "us-east-1".to_owned()];
        assert!(member.fits(Observed::List(&entries)));
        assert!(!member.fits(Observed::List(&entries[1..])));
        assert!(
            !member.fits(Observed::Text("eu-west-1")),
            "text has no entries"
        );
    }

    #[test]
    fn globs_overlap_if_some_text_matches_both() {
        for (one, two, expected) in [
            ("pay-*/**", "pay-db/read", true),
            ("pay-*/**", "pay/read", false),
            ("pay-*/**", "*/read", true),
            ("pay-*", "pay-db/read", false),
            ("pay-**", "*-x/y", true),
            ("a*b", "a*c", false),
            ("a*", "*a", true),
            ("*", "**", true),
            ("a/*", "*/b", true),
            ("a/*", "*b", false),
            ("shop", "shop", true),
            ("shop", "Shop", false),
        ] {
            assert_eq!(glob(one).overlaps(&glob(two)), expected, "{one} {two}");
            assert_eq!(glob(two).overlaps(&glob(one)), expected, "{two} {one}");
        }
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
