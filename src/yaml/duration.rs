//! Durations as policies and requests write them: `30s`, `15m`, `1h`, `1h30m`. Not: limits on them.

use std::time::Duration;

/// Reads a duration of hours, minutes and seconds, in that order, each at most once.
///
/// # Errors
/// A finished sentence part: what was found and how it should look.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as `30s`, `15m` or `1h30m`");
    let mut rest = text;
    let mut seconds: u64 = 0;
    for (unit, factor) in [('h', 3_600), ('m', 60), ('s', 1)] {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        if let Some(after) = after.strip_prefix(unit) {
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let part = number.checked_mul(factor).ok_or_else(wrong)?;
            seconds = seconds.checked_add(part).ok_or_else(wrong)?;
            rest = after;
        }
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "`{text}` has no unit; write `{text}s` for seconds, `{text}m` for minutes"
        ));
    }
    if !rest.is_empty() || text.is_empty() {
        return Err(wrong());
    }
    if seconds == 0 {
        return Err(format!(
            "`{text}` is no time at all, expected at least one second"
        ));
    }
    Ok(Duration::from_secs(seconds))
}

/// Writes a duration so that [`parse`] reads it back; fractions of a second are cut off.
#[must_use]
pub fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3_600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
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
            "1d",
            "0s",
            "99999999999999999999s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
