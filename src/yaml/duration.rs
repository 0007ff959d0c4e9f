//! Parses and prints durations of settings, policies, requests and flags: `30s`, `15m`, `1h30m`, `7d`.
//! Not: limits on them.

use std::time::Duration;

/// Reads a duration of whole seconds, at least one.
///
/// # Errors
/// A finished sentence part: what was found and how it should look.
pub fn parse(text: &str) -> Result<Duration, String> {
    match read(text)? {
        Duration::ZERO => Err(format!("`{text}` is too short, expected at least `1s`")),
        time if time.subsec_nanos() > 0 => Err(format!(
            "`{text}` has parts of a second, expected whole seconds such as `1s`"
        )),
        time => Ok(time),
    }
}

/// Reads a duration that may have milliseconds, or be zero.
///
/// # Errors
/// As [`parse`].
pub(crate) fn read(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "`{text}` has no unit; write `{text}s` for seconds, `{text}m` for minutes"
        ));
    }
    sum(text)
        .ok_or_else(|| format!("`{text}` is not a duration such as `30s`, `15m`, `1h30m` or `7d`"))
}

/// Days, hours, minutes, seconds and milliseconds, in that order, each at most once.
fn sum(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum: u64 = 0;
    for (unit, factor) in UNITS {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let Some(after) = after.strip_prefix(unit) else {
            continue;
        };
        // `5ms` is no five minutes and an `s`.
        if unit == "m" && after.starts_with('s') {
            continue;
        }
        let number: u64 = number.parse().ok()?;
        sum = sum.checked_add(number.checked_mul(factor)?)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then_some(Duration::from_millis(sum))
}

/// Writes a duration in the grammar that [`parse`] reads.
#[must_use]
pub fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3_600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ];
    let mut text = String::new();
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&count.to_string());
        text.push_str(unit);
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// Each with its milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for (text, seconds) in [
            ("30s", 30),
            ("15m", 900),
            ("1h", 3_600),
            ("1h30m", 5_400),
            ("1h1m1s", 3_661),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
            assert_eq!(print(Duration::from_secs(seconds)), text);
        }
        assert_eq!(parse("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(parse("1d12h"), Ok(Duration::from_secs(129_600)));
        assert_eq!(print(Duration::from_secs(129_600)), "36h");
    }

    #[test]
    fn settings_may_have_parts_of_a_second() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("1s500ms", 1_500),
            ("1m5ms", 60_005),
            ("0s", 0),
        ] {
            assert_eq!(read(text), Ok(Duration::from_millis(milliseconds)));
            assert_eq!(print(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        insta::assert_snapshot!(parse("10").unwrap_err(), @"`10` has no unit; write `10s` for seconds, `10m` for minutes");
        for text in [
            "",
            "15",
            "m",
            "15 m",
            "-5m",
            "5m1h",
            "1m1m",
            "1.5h",
            "15M",
            "1h1d",
            "0s",
            "0d0h",
            "500ms",
            "1s500ms",
            "1ms1s",
            "9999999999999999d",
            "99999999999999999999s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
