//! A glob: the first line is the pattern, the rest the value.

use hallpass::policy::pattern::Glob;

pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (pattern, value) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(glob) = Glob::parse(pattern) else {
        assert!(!is_glob(pattern), "{pattern:?} was refused");
        return;
    };
    assert!(is_glob(pattern), "{pattern:?} was accepted");
    assert_eq!(glob.text(), pattern);
    let (fits, steps) = glob.fits_in(value);
    assert_eq!(fits, glob.fits(value));
    assert!(steps <= (pattern.len() + 1) * value.len(), "{steps} steps");
    if !pattern.contains('*') {
        assert!(glob.fits(pattern));
        assert_eq!(fits, pattern == value);
    }
    if value.len() <= 2_048 {
        assert_eq!(fits, by_definition(pattern.as_bytes(), value.as_bytes()));
    }
    // A star may stand for nothing, or for one more letter.
    assert!(glob.fits(&pattern.replace('*', "")));
    assert!(glob.fits(&pattern.replace('*', "~")));
}

fn is_glob(pattern: &str) -> bool {
    (1..=256).contains(&pattern.len())
        && pattern
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && !b"?[]{}\\".contains(&byte))
        && !pattern.contains("***")
}

/// Which ends of the value each front of the pattern reaches: a table, row by row.
fn by_definition(pattern: &[u8], value: &[u8]) -> bool {
    let mut reached = vec![false; value.len() + 1];
    reached[0] = true;
    let mut rest = pattern;
    while let Some((first, after)) = rest.split_first() {
        let anything = rest.starts_with(b"**");
        let mut next = vec![false; value.len() + 1];
        for at in 0..=value.len() {
            next[at] = match first {
                b'*' => {
                    let longer = at > 0 && next[at - 1] && (anything || value[at - 1] != b'/');
                    reached[at] || longer
                }
                byte => at > 0 && reached[at - 1] && value[at - 1] == *byte,
            };
        }
        reached = next;
        rest = if anything { &rest[2..] } else { after };
    }
    reached[value.len()]
}
