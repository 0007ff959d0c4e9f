//! What a group may do, in Redis's own words: key patterns, channels, commands.
//!
//! The words come from the settings alone, never from a policy or a job. The grammar is closed: nothing
//! in it can begin another rule, set a password or open a selector (T-420).

/// A group of the settings. Its leases get these rules, and after them those of [`DENIED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Key patterns: `~pattern`, `%R~pattern`, `%W~pattern`.
    pub keys: Vec<String>,
    /// Channels of publish and subscribe: `&pattern`.
    pub channels: Vec<String>,
    /// Commands and categories: `+@read`, `+get`, `-del`.
    pub commands: Vec<String>,
}

impl Group {
    /// The rules of a lease, after `reset`.
    #[must_use]
    pub fn rules(&self) -> Vec<&str> {
        let asked = self.commands.iter().map(String::as_str);
        let again = asked.clone().filter(|word| {
            let name = word.strip_prefix('+');
            name.is_some_and(|name| ON_REQUEST.contains(&name))
        });
        let keys = self.keys.iter().map(String::as_str);
        let channels = self.channels.iter().map(String::as_str);
        keys.chain(["resetchannels"])
            .chain(channels)
            .chain(["-@all"])
            .chain(asked)
            .chain(DENIED)
            .chain(again)
            .collect()
    }

    /// Whether it may use each key of every database.
    #[must_use]
    pub fn has_every_key(&self) -> bool {
        let patterns = self.keys.iter().filter_map(|key| key.split_once('~'));
        patterns
            .into_iter()
            .any(|(_, pattern)| is_everything(pattern))
    }

    /// Whether it may use each channel, those that name changed keys included.
    #[must_use]
    pub fn has_every_channel(&self) -> bool {
        let mut patterns = self
            .channels
            .iter()
            .filter_map(|text| text.strip_prefix('&'));
        patterns.any(is_everything)
    }

    /// Whether it may run scripts: one that does not end holds up the whole server.
    #[must_use]
    pub fn has_scripts(&self) -> bool {
        let gives = |word: &&String| {
            matches!(word.as_str(), "+@scripting" | "+@all" | "+@slow")
                || word.starts_with("+eval")
                || word.starts_with("+fcall")
        };
        self.commands.iter().any(|word| gives(&word))
    }
}

/// Taken from every lease, whatever its group asks for: the commands of administrators; those that show
/// names of keys and channels beyond the patterns; functions, whose code others would run later; and `LCS`,
/// which holds up the server for the product of two lengths.
pub const DENIED: [&str; 14] = [
    "-@admin",
    "-@dangerous",
    "-acl",
    "-function",
    "-script",
    "-scan",
    "-keys",
    "-randomkey",
    "-cluster|getkeysinslot",
    "-lcs",
    "-client|tracking",
    "-client|caching",
    "-pubsub|channels",
    "-pubsub|shardchannels",
];

/// Of the denied, those that a group gets if it lists them by their own names.
const ON_REQUEST: [&str; 13] = [
    "scan",
    "keys",
    "randomkey",
    "cluster|getkeysinslot",
    "lcs",
    "info",
    "role",
    "script|load",
    "script|exists",
    "client|tracking",
    "client|caching",
    "pubsub|channels",
    "pubsub|shardchannels",
];

/// Denied too, and never given back: listing one would promise what no lease gets.
const NEVER: [&str; 38] = [
    "acl",
    "bgrewriteaof",
    "bgsave",
    "client|kill",
    "client|list",
    "client|no-evict",
    "client|pause",
    "client|unblock",
    "client|unpause",
    "config",
    "debug",
    "failover",
    "flushall",
    "flushdb",
    "function",
    "lastsave",
    "latency",
    "migrate",
    "module",
    "monitor",
    "pfdebug",
    "pfselftest",
    "psync",
    "replconf",
    "replicaof",
    "restore",
    "restore-asking",
    "save",
    "script",
    "script|debug",
    "script|flush",
    "script|kill",
    "shutdown",
    "slaveof",
    "slowlog",
    "sort",
    "swapdb",
    "sync",
];

/// Reads a key pattern.
///
/// # Errors
/// What is expected.
pub(super) fn key(text: &str) -> Result<String, String> {
    let marks = ["~", "%R~", "%W~", "%RW~"];
    let mut patterns = marks.iter().filter_map(|mark| text.strip_prefix(mark));
    match patterns.next() {
        Some(pattern) if is_pattern(pattern) => Ok(text.to_owned()),
        Some(_) | None => Err(format!(
            "is no key pattern; write `~`, `%R~` or `%W~` and a pattern, like `%R~app:*`, {PATTERN}"
        )),
    }
}

/// Reads a channel.
///
/// # Errors
/// What is expected.
pub(super) fn channel(text: &str) -> Result<String, String> {
    match text.strip_prefix('&') {
        Some(pattern) if is_pattern(pattern) => Ok(text.to_owned()),
        Some(_) | None => Err(format!(
            "is no channel; write `&` and a pattern, like `&app:*`, {PATTERN}"
        )),
    }
}

/// Reads a command or a category.
///
/// # Errors
/// What is expected.
pub(super) fn command(text: &str) -> Result<String, String> {
    let (gives, name) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(name), _) => (true, name),
        (None, Some(name)) => (false, name),
        (None, None) => return Err(COMMAND.to_owned()),
    };
    if let Some(category) = name.strip_prefix('@') {
        let is_word = (1..=32).contains(&category.len())
            && category.bytes().all(|byte| byte.is_ascii_lowercase());
        if !is_word {
            return Err(COMMAND.to_owned());
        }
        if gives && matches!(category, "admin" | "dangerous") {
            return Err("is for administrators, and no lease gets it".to_owned());
        }
        return Ok(text.to_owned());
    }
    let mut parts = name.split('|');
    let first = parts.next().is_some_and(is_command);
    let second = parts.next().is_none_or(is_command);
    if !first || !second || parts.next().is_some() {
        return Err(COMMAND.to_owned());
    }
    let base = name.split('|').next().unwrap_or(name);
    let is_never = NEVER.contains(&name) || (base != "script" && NEVER.contains(&base));
    if gives && is_never {
        return Err("is for administrators, and no lease gets it".to_owned());
    }
    Ok(text.to_owned())
}

fn is_command(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// Printable, and without what Redis or its files of users read as the end or the front of something.
fn is_pattern(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"()\"'\\".contains(&byte))
}

fn is_everything(pattern: &str) -> bool {
    pattern.bytes().all(|byte| byte == b'*')
}

/// A plain name of a group: it is part of a rule.
pub(super) fn is_group(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

const LONGEST: usize = 256;
const PATTERN: &str =
    "of 1 to 256 printable ASCII characters without blanks, quotes, parentheses and `\\`";
const COMMAND: &str = "is no command; write `+` or `-` and a command or category in lower case, like `+@read`, `+get` or `+config|get`";

#[cfg(test)]
mod tests {
    use super::*;

    /// T-420
    #[test]
    fn no_word_of_a_group_is_another_rule() {
        for text in [
            "~app:*",
            "%R~app:*",
            "%W~a",
            "%RW~a",
            "~*",
            "~{tag}:[a-c]?^x",
            "~a~b",
            "~a&b",
        ] {
            assert_eq!(key(text), Ok(text.to_owned()), "{text}");
        }
        let long = format!("~{}", "a".repeat(257));
        for text in [
            "", "~", "app:*", "allkeys", "%~a", "%RR~a", "%r~a", "~a b", "~a\n", "~a\0", "~a\t",
            "(~a)", "~a)", "~\"a\"", "~a'", "~a\\", "~\u{e9}", "#abc", ">pw", "nopass", "on",
            "reset", "+@all", "&a", " ~a", "~a ", &long,
        ] {
            assert!(key(text).is_err(), "{text:?}");
        }
        for text in ["&app:*", "&*"] {
            assert_eq!(channel(text), Ok(text.to_owned()), "{text}");
        }
        for text in [
            "",
            "&",
            "allchannels",
            "app",
            "~a",
            "&a b",
            "&a)",
            "&a\n&b",
            "+@all",
        ] {
            assert!(channel(text).is_err(), "{text:?}");
        }
        for text in [
            "+@read",
            "-@write",
            "+@all",
            "+get",
            "-del",
            "+config|get|x",
        ] {
            assert_eq!(command(text).is_ok(), !text.contains("|get|"), "{text}");
        }
        for text in [
            "",
            "+",
            "-",
            "get",
            "@read",
            "+@",
            "+@Read",
            "+GET",
            "+get ",
            "+get x",
            "+get\n",
            "+get|",
            "+|get",
            "+get|a|b",
            "~a",
            ">pw",
            "#abc",
            "nopass",
            "allcommands",
            "(+get)",
            "+ft.search(",
            "+1",
        ] {
            assert!(command(text).is_err(), "{text:?}");
        }
        for name in ["a b", "", "a:b", "a)", "~a", "a\0", "\u{e9}"] {
            assert!(!is_group(name), "{name:?}");
        }
    }

    /// T-421
    #[test]
    fn what_administrators_do_is_in_no_group() {
        for name in NEVER {
            assert!(command(&format!("+{name}")).is_err(), "{name}");
            assert!(command(&format!("-{name}")).is_ok(), "{name}");
        }
        for text in [
            "+@admin",
            "+@dangerous",
            "+acl|whoami",
            "+config|get",
            "+function|load",
            "+module|load",
        ] {
            assert!(command(text).is_err(), "{text}");
        }
        for name in ON_REQUEST {
            assert!(command(&format!("+{name}")).is_ok(), "{name}");
        }
    }

    /// T-421
    #[test]
    fn what_is_denied_comes_after_what_a_group_asks_for() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let group = Group {
            keys: words(&["%R~app:*"]),
            channels: words(&["&app:*"]),
            commands: words(&["+@all", "+scan", "-get"]),
        };
        let rules = group.rules();
        let at = |word: &str| rules.iter().position(|rule| *rule == word).unwrap();
        assert!(at("-@all") < at("+@all") && at("+@all") < at("-@dangerous"));
        assert!(at("resetchannels") < at("&app:*"));
        assert_eq!(rules.last(), Some(&"+scan"));
        assert!(!group.has_every_key() && !group.has_every_channel() && group.has_scripts());
    }
}
